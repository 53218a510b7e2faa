"""What a generation answers to a set of queries, and how good that is."""

from __future__ import annotations

import msgspec

from outcrop.evaluation import JudgedQueries, Measures, RankedDocument, Run, measure
from outcrop.judging.sides import Side

NDCG_DEPTH = 10


class Answers(msgspec.Struct, frozen=True):
    """The rankings of one generation for each query id, and their measures if any of the queries is judged."""

    name: str
    rankings: dict[str, tuple[RankedDocument, ...]]
    measures: Measures | None

    def ids(self, query_id: str, k: int) -> list[str]:
        """The best `k` documents for a query."""
        return [one.document_id for one in self.rankings[query_id][:k]]

    @property
    def ndcg(self) -> dict[str, float]:
        """The nDCG@10 of each judged query."""
        return {} if self.measures is None else {one.query_id: one.ndcg_at_10 for one in self.measures.per_query}


def answers(side: Side, queries: JudgedQueries, k: int) -> Answers:
    """Search every query, at least `k` deep, and 10 where nDCG@10 is to be computed."""
    name = f"generation {side.info.number}"
    depth = max(k, NDCG_DEPTH) if queries.judgements else k
    rankings = {query_id: side.ranking(text, depth) for query_id, text in queries.queries.items()}
    measures = measure(Run(name=name, rankings=rankings), queries) if queries.judgements else None
    return Answers(name=name, rankings=rankings, measures=measures)

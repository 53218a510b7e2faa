"""nDCG@10, recall@100 and MRR@10 of a run, computed by ir-measures."""

from __future__ import annotations

import importlib
from typing import Any

import msgspec

from outcrop.errors import InvalidInput, MissingExtra
from outcrop.evaluation.beir import JudgedQueries
from outcrop.evaluation.runs import Run


class QueryScores(msgspec.Struct, frozen=True):
    """The measures of one query, each in [0, 1]."""

    query_id: str
    ndcg_at_10: float
    recall_at_100: float
    mrr_at_10: float


class Measures(msgspec.Struct, frozen=True):
    """The measures of a run: the mean over all judged queries, and each query's own values in the order of the judgements."""

    ndcg_at_10: float
    recall_at_100: float
    mrr_at_10: float
    per_query: tuple[QueryScores, ...]


def measure(run: Run, judged: JudgedQueries) -> Measures:
    """nDCG@10, recall@100 and MRR@10 of `run`, as published for BEIR.

    nDCG (Järvelin and Kekäläinen, 2002) is ir-measures' default, which is trec_eval's: linear gains (the grade itself, not
    2^grade - 1), discount log2(rank + 1). For recall and MRR a document counts as relevant from grade 1; negative grades count
    as 0. MRR@10 is 1 / rank of the first relevant document, 0 beyond rank 10. A judged query that returned nothing, or that has
    no relevant document, counts as zero; queries of the run that are not judged are ignored.

    The documents are taken in the order of the run, whatever their scores: trec_eval would break ties by document id, so that two
    measures could disagree about which document came first, and neither need agree with what a user sees.

    Raises `MissingExtra` without the extra `eval`, and `InvalidInput` when no query is judged.
    """
    if not judged.judgements:
        raise InvalidInput(f"judged queries {judged.name!r}: no query has judgements, so there is nothing to measure")
    library = _ir_measures()
    by_measure = {"ndcg_at_10": library.nDCG @ 10, "recall_at_100": library.R @ 100, "mrr_at_10": library.RR @ 10}
    values = {name: dict.fromkeys(judged.judgements, 0.0) for name in by_measure}
    names = {wanted: name for name, wanted in by_measure.items()}
    for metric in library.iter_calc(list(names), judged.judgements, _by_rank(run, judged)):
        values[names[metric.measure]][metric.query_id] = float(metric.value)
    per_query = tuple(
        QueryScores(query_id=query_id, **{name: values[name][query_id] for name in by_measure}) for query_id in judged.judgements
    )
    means = {name: sum(values[name].values()) / len(per_query) for name in by_measure}
    return Measures(**means, per_query=per_query)


def require_measures() -> None:
    """Raise `MissingExtra` if the measures cannot be computed here: to be asked before the searching, which may take long."""
    _ir_measures()


def _by_rank(run: Run, judged: JudgedQueries) -> dict[str, dict[str, float]]:
    return {
        query_id: {document.document_id: -float(rank) for rank, document in enumerate(run.rankings.get(query_id, ()), start=1)}
        for query_id in judged.judgements
    }


def _ir_measures() -> Any:
    try:
        return importlib.import_module("ir_measures")
    except ImportError as error:
        raise MissingExtra(
            "measuring quality needs ir-measures, which is not installed; run: pip install 'outcrop[eval]'",
            extra="eval",
            remedy="pip install 'outcrop[eval]'",
        ) from error

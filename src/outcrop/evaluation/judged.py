"""Evaluate a collection on judged queries: each leg, the hybrid, and whether fusion helps."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import msgspec

from outcrop.errors import InvalidInput, NoActiveGeneration, UnknownGeneration
from outcrop.evaluation.beir import JudgedQueries
from outcrop.evaluation.measures import QueryScores, measure
from outcrop.evaluation.runs import RankedDocument, Run
from outcrop.evaluation.verdict import Verdict, paired_bootstrap
from outcrop.model import GenerationInfo, SearchMode

ALL_MODES: tuple[SearchMode, ...] = ("lexical", "vector", "hybrid")
_RECALL_DEPTH = 100


class FoundDocument(Protocol):
    """What evaluation reads of a hit."""

    @property
    def document_id(self) -> str:
        """The document that the hit belongs to."""
        ...

    @property
    def score(self) -> float:
        """Higher is better."""
        ...


class Searchable(Protocol):
    """What evaluation needs of a collection."""

    @property
    def active(self) -> GenerationInfo | None:
        """The generation that searches see."""
        ...

    def generations(self) -> Sequence[GenerationInfo]:
        """All generations."""
        ...

    def search(
        self,
        query: str,
        *,
        k: int,
        mode: SearchMode,
        candidates: int,
        fusion: Any,
        cache: bool,
        generation: int | None,
    ) -> Iterable[FoundDocument]:
        """Hits, best first, at most one of a document."""
        ...


class ModeEvaluation(msgspec.Struct, frozen=True):
    """One search mode on the judged queries: means over all of them, each query's values, and the run they come from.

    `took_seconds` is the wall time of all searches one after the other, embedding included.
    """

    mode: SearchMode
    ndcg_at_10: float
    recall_at_100: float
    mrr_at_10: float
    query_count: int
    per_query: tuple[QueryScores, ...]
    took_seconds: float
    run: Run


class Evaluation(msgspec.Struct, frozen=True):
    """The modes that were evaluated, in the order asked; notes on what was left out; and the verdict on fusion, if there is one.

    `verdict` compares the hybrid with its better leg by nDCG@10; None unless the hybrid and a leg were both evaluated.
    """

    name: str
    generation: int
    modes: tuple[ModeEvaluation, ...]
    notes: tuple[str, ...]
    verdict: Verdict | None

    def mode(self, name: str) -> ModeEvaluation:
        """The evaluation of one mode. Raises `InvalidInput` when it was not evaluated."""
        for evaluated in self.modes:
            if evaluated.mode == name:
                return evaluated
        raise InvalidInput(
            f"the mode {name!r} was not evaluated on {self.name!r}; evaluated: {', '.join(found.mode for found in self.modes)}"
        )

    def __str__(self) -> str:
        lines = [f"{self.name}, generation {self.generation}, {self.modes[0].query_count} judged queries"]
        lines += [
            f"  {found.mode:8} nDCG@10 {found.ndcg_at_10:.3f}  recall@100 {found.recall_at_100:.3f}  MRR@10 {found.mrr_at_10:.3f}"
            for found in self.modes
        ]
        lines += [f"  {self.verdict}"] if self.verdict else []
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def evaluate(
    collection: Searchable,
    judged: JudgedQueries,
    *,
    modes: Sequence[SearchMode] = ALL_MODES,
    k: int = 100,
    candidates: int = 100,
    fusion: Any = None,
    generation: GenerationInfo | int | str | None = None,
    drop_identical_ids: bool = False,
) -> Evaluation:
    """Search every judged query in every mode and measure what comes back, at the level of documents.

    `k` is how many documents a search returns, `candidates` how many each leg contributes (raised to `k` where lower), `fusion` is
    passed to the search, and `generation` is searched instead of the active one. A mode that the generation cannot
    do (there are no vectors, or its vectors were given and queries cannot be embedded) is left out with a note.
    `drop_identical_ids` removes a document whose id equals the query's, as BEIR does; only sets whose queries are documents of the
    corpus (ArguAna, Quora) need it, and elsewhere it removes documents whose number happens to be the query's.

    Raises `InvalidInput` when a mode is unknown or given twice, when none can be evaluated, or when no query is judged;
    `NoActiveGeneration` and `UnknownGeneration`; `MissingExtra` without the extra `eval`.
    """
    _check(judged, modes, k)
    info = _generation(collection, generation)
    possible, notes = _possible_modes(info, modes)
    settings = _Settings(
        k=k, candidates=max(k, candidates), fusion=fusion, generation=info.number, drop_identical_ids=drop_identical_ids
    )
    evaluated = tuple(_evaluate_mode(collection, judged, mode, settings) for mode in possible)
    notes += _judgement_notes(judged, evaluated, k)
    return Evaluation(name=judged.name, generation=info.number, modes=evaluated, notes=tuple(notes), verdict=_verdict(evaluated))


class _Settings(msgspec.Struct, frozen=True):
    k: int
    candidates: int
    fusion: Any
    generation: int
    drop_identical_ids: bool


def _check(judged: JudgedQueries, modes: Sequence[SearchMode], k: int) -> None:
    wrong = [mode for mode in modes if mode not in ALL_MODES]
    if wrong or not modes or len(set(modes)) != len(modes):
        raise InvalidInput(f"modes must be different ones of {', '.join(ALL_MODES)}; found {list(modes)!r}", parameter="modes")
    if k < 1:
        raise InvalidInput(f"k must be at least 1, found {k}", parameter="k")
    if not judged.judgements:
        raise InvalidInput(f"judged queries {judged.name!r}: no query has judgements, so there is nothing to evaluate")


def _generation(collection: Searchable, wanted: GenerationInfo | int | str | None) -> GenerationInfo:
    """The generation to evaluate, resolved once, so that a promotion during the evaluation does not mix two generations."""
    if isinstance(wanted, GenerationInfo):
        return wanted
    known = collection.generations()
    if wanted is None:
        active = collection.active
        if active is None:
            raise NoActiveGeneration(
                "the collection has no active generation to evaluate; build one with promote=True, or name a generation",
                collection=getattr(collection, "name", None),
            )
        return active
    for info in known:
        if wanted in (info.number, info.uuid):
            return info
    numbers = [info.number for info in known]
    raise UnknownGeneration(f"there is no generation {wanted!r}; there are {numbers}", generation=wanted, available=numbers)


def _possible_modes(info: GenerationInfo, modes: Sequence[SearchMode]) -> tuple[list[SearchMode], list[str]]:
    if info.recipe.dimension is None:
        reason = f"generation {info.number} has no vectors"
    elif info.recipe.embedder is None:
        reason = f"the vectors of generation {info.number} were given, so that a query's text cannot be embedded"
    else:
        return list(modes), []
    left_out = [mode for mode in modes if mode != "lexical"]
    if len(left_out) == len(modes):
        raise InvalidInput(
            f"nothing to evaluate: {reason}, and only {', '.join(modes)} was asked for; add lexical", parameter="modes"
        )
    return ["lexical"], [f"{' and '.join(left_out)} left out: {reason}"] if left_out else []


def _evaluate_mode(collection: Searchable, judged: JudgedQueries, mode: SearchMode, settings: _Settings) -> ModeEvaluation:
    rankings: dict[str, tuple[RankedDocument, ...]] = {}
    started = time.perf_counter()
    for query_id in judged.judgements:
        rankings[query_id] = _search(collection, query_id, judged.queries[query_id], mode=mode, settings=settings)
    took_seconds = time.perf_counter() - started
    run = Run(name=mode, rankings=rankings)
    measures = measure(run, judged)
    return ModeEvaluation(
        mode=mode,
        ndcg_at_10=measures.ndcg_at_10,
        recall_at_100=measures.recall_at_100,
        mrr_at_10=measures.mrr_at_10,
        query_count=len(measures.per_query),
        per_query=measures.per_query,
        took_seconds=took_seconds,
        run=run,
    )


def _search(
    collection: Searchable, query_id: str, text: str, *, mode: SearchMode, settings: _Settings
) -> tuple[RankedDocument, ...]:
    hits = collection.search(
        text,
        k=settings.k,
        mode=mode,
        candidates=settings.candidates,
        fusion=settings.fusion,
        cache=False,
        generation=settings.generation,
    )
    return tuple(
        RankedDocument(document_id=hit.document_id, score=float(hit.score))
        for hit in hits
        if not (settings.drop_identical_ids and hit.document_id == query_id)
    )


def _judgement_notes(judged: JudgedQueries, evaluated: tuple[ModeEvaluation, ...], k: int) -> list[str]:
    notes = []
    unjudged_count = len(judged.queries) - judged.judged_count
    if unjudged_count:
        notes.append(f"{unjudged_count} of {len(judged.queries)} queries have no judgements and were left out")
    hopeless_count = sum(all(grade < 1 for grade in grades.values()) for grades in judged.judgements.values())
    if hopeless_count:
        notes.append(f"{hopeless_count} judged queries have no relevant document and count as zero")
    if k < _RECALL_DEPTH:
        notes.append(f"recall@100 was computed from {k} documents a query; ask for k=100")
    if not any(_found_a_judged_document(found.run, judged) for found in evaluated):
        notes.append("no search found any judged document: are the ids in the judgements those of the collection's documents?")
    return notes


def _found_a_judged_document(run: Run, judged: JudgedQueries) -> bool:
    return any(
        document.document_id in judged.judgements[query_id] for query_id, ranking in run.rankings.items() for document in ranking
    )


def _verdict(evaluated: tuple[ModeEvaluation, ...]) -> Verdict | None:
    hybrid = next((found for found in evaluated if found.mode == "hybrid"), None)
    legs = [found for found in evaluated if found.mode != "hybrid"]
    if hybrid is None or not legs:
        return None
    better = max(legs, key=lambda leg: leg.ndcg_at_10)
    return paired_bootstrap(hybrid.mode, hybrid.per_query, better.mode, better.per_query)

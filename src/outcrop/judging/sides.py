"""A generation as it is judged: what is known about it, its documents, and a way to search it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec
from numpy.typing import ArrayLike

from outcrop.documents import Documents
from outcrop.evaluation import RankedDocument
from outcrop.filters import Filter
from outcrop.model import Degraded, GenerationInfo
from outcrop.retrieval.executor import Executor
from outcrop.retrieval.fusion import Fusion
from outcrop.retrieval.generation import OpenGeneration
from outcrop.retrieval.hits import Hits
from outcrop.retrieval.request import Options, prepare


class Search(Protocol):
    """Searches one generation, whatever is promoted meanwhile."""

    def __call__(
        self,
        query: str | None = None,
        *,
        vector: ArrayLike | None = None,
        k: int = 10,
        mode: str | None = None,
        where: str | Mapping[str, Any] | Filter | None = None,
        candidates: int | None = None,
    ) -> Hits:
        """Hits as `Collection.search` gives them. `candidates` None is the collection's own number, or `k` if that is more."""
        ...


class Side(msgspec.Struct, frozen=True, eq=False):
    """One of the two generations that are held against each other. It must stay pinned as long as this value is used."""

    info: GenerationInfo
    documents: Documents
    search: Search

    def ranking(self, query: str, depth: int) -> tuple[RankedDocument, ...]:
        """The best documents for a query, at most `depth`."""
        return tuple(RankedDocument(document_id=hit.document_id, score=float(hit.score)) for hit in self.search(query, k=depth))


def searcher(
    executor: Executor,
    opened: OpenGeneration,
    *,
    candidates: int = 100,
    fusion: Fusion | None = None,
    degraded: Degraded | None = None,
) -> Search:
    """A function that searches one open generation. It must be pinned as long as the function is used."""
    usual = candidates

    def search(
        query: str | None = None,
        *,
        vector: ArrayLike | None = None,
        k: int = 10,
        mode: str | None = None,
        where: str | Mapping[str, Any] | Filter | None = None,
        candidates: int | None = None,
    ) -> Hits:
        deep = max(usual, k) if candidates is None else candidates
        options = Options(k=k, mode=mode, where=where, candidates=deep, fusion=fusion)
        return executor.search(opened, prepare(query, vector, options, opened.manifest.recipe), degraded)

    return search

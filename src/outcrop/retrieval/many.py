"""Many searches at once, on all cores: each is run as it would be alone, so that the answers are the same.

What they share is the embedder, which takes the queries of a window in one call where it can, and the generation. Vectors are not
searched in one call of FAISS: that takes 0.15 ms a vector on two cores, before candidates are scored again, where searching one
by one takes 0.22 with it (100,000 x 256), of 0.8 ms a query.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from outcrop import spans
from outcrop.embedding.failures import mapped_failures
from outcrop.embedding.protocol import EmbedsQueries
from outcrop.errors import EmbeddingFailed, InvalidQuery, OutcropError
from outcrop.model import Degraded
from outcrop.retrieval.executor import Executor, checked_embedding, query_vector
from outcrop.retrieval.generation import OpenGeneration
from outcrop.retrieval.hits import Hits
from outcrop.retrieval.request import Options, Request, prepare
from outcrop.retrieval.turns import cores

_WINDOW = 1_024
_T = TypeVar("_T")
_Embedded = tuple[NDArray[np.float32] | None, float | None]


class Batch:
    """Searches that are checked, all of them, before the first one runs. Raises as `prepare`, with `query_index`."""

    def __init__(
        self,
        queries: Sequence[str | None] | None,
        vectors: Sequence[ArrayLike | None] | NDArray[np.float32] | None,
        options: Options,
        generation: OpenGeneration,
    ) -> None:
        self._generation = generation
        self.requests: list[Request] = []
        for position, (query, vector) in enumerate(_pairs(queries, vectors)):
            with _naming(position):
                self.requests.append(prepare(query, vector, options, generation.manifest.recipe))

    def run(self, executor: Executor, degraded: Degraded | None) -> list[Hits]:
        """The answers in the order of the queries. Of several that fail the first one is raised, with `query_index`."""
        found: list[Hits] = []
        for start in range(0, len(self.requests), _WINDOW):
            requests = self.requests[start : start + _WINDOW]
            embedded = self._embedded(requests, start)
            search = _Search(executor, self._generation, degraded, requests=requests, embedded=embedded, start=start)
            found += on_all_cores(search, len(requests))
        return found

    def _embedded(self, requests: Sequence[Request], start: int) -> dict[int, _Embedded]:
        """By place in the window the vectors of queries that are to be embedded, if the embedder takes many."""
        places = [place for place, one in enumerate(requests) if one.mode != "lexical" and one.vector is None]
        embedder = self._generation.embedder if places else None
        if not isinstance(embedder, EmbedsQueries):
            return {}
        began = perf_counter()
        with spans.step("embed"), mapped_failures(embedder):
            made = embedder.embed_queries([requests[place].query for place in places])
        if len(made) != len(places):
            spec = embedder.identity.spec
            raise EmbeddingFailed(
                f"the embedder {spec!r} made {len(made)} vectors of {len(places)} queries; mend its embed_queries",
                embedder=spec,
                status=None,
            )
        each_ms = (perf_counter() - began) * 1e3 / len(places)
        vectors: dict[int, _Embedded] = {}
        for place, row in zip(places, made, strict=True):
            with _naming(start + place):
                vectors[place] = checked_embedding(row, embedder, self._generation.manifest.recipe), each_ms
        return vectors


class _Search:
    """One search of a window, by its place in it."""

    def __init__(
        self,
        executor: Executor,
        generation: OpenGeneration,
        degraded: Degraded | None,
        *,
        requests: Sequence[Request],
        embedded: dict[int, _Embedded],
        start: int,
    ) -> None:
        self._executor = executor
        self._generation = generation
        self._degraded = degraded
        self.requests = requests
        self._embedded = embedded
        self._start = start

    def __call__(self, place: int) -> Hits:
        embedded = self._embedded.get(place)
        embed = query_vector if embedded is None else lambda _generation, _request: embedded
        with _naming(self._start + place):
            return self._executor.search(self._generation, self.requests[place], self._degraded, embed=embed)


def on_all_cores(run: Callable[[int], _T], count: int) -> list[_T]:
    """`[run(0), ..., run(count - 1)]`, on as many threads as there are cores, the caller's among them.

    They are begun in order. When one fails no more are begun, and of those that failed the first one's error is raised.
    """
    done: dict[int, _T] = {}
    failed: dict[int, BaseException] = {}
    places = iter(range(count))

    def work() -> None:
        for place in places:
            try:
                done[place] = run(place)
            except BaseException as error:  # noqa: BLE001 - raised again on the caller's thread
                failed[place] = error
            if failed:
                return

    threads = [threading.Thread(target=work, name=f"outcrop-many-{number}") for number in range(1, min(cores(), count))]
    for one in threads:
        one.start()
    work()
    for one in threads:
        one.join()
    if failed:
        raise failed[min(failed)]
    return [done[place] for place in range(count)]


def _pairs(
    queries: Sequence[str | None] | None, vectors: Sequence[ArrayLike | None] | NDArray[np.float32] | None
) -> Iterator[tuple[str | None, ArrayLike | None]]:
    """Each query with its vector."""
    if isinstance(queries, str):
        raise InvalidQuery("queries is one text; give a list of queries, or use search()", parameter="queries")
    if queries is None and vectors is None:
        raise InvalidQuery("there is nothing to search for: give queries, vectors or both", parameter="queries")
    texts = None if queries is None else list(queries)
    given = None if vectors is None else list(vectors)
    count = len(given) if texts is None and given is not None else len(texts or ())
    if given is not None and len(given) != count:
        raise InvalidQuery(f"there are {count} queries and {len(given)} vectors; give one for each", parameter="vectors")
    return zip([None] * count if texts is None else texts, [None] * count if given is None else given, strict=True)


@contextmanager
def _naming(position: int) -> Iterator[None]:
    """Say in an error which query it is about."""
    try:
        yield
    except OutcropError as error:
        named = {**error.values, "query_index": position}
        raise type(error)(f"query {position}: {error.message}", **named) from error

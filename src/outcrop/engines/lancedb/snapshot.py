"""An index as of one version of the table: what the legs search. Nothing in it changes any more."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from outcrop.analysis import Analyzer
from outcrop.documents import Documents
from outcrop.engines.lancedb import vector_index
from outcrop.engines.lancedb.library import calling, is_gone, lancedb, run
from outcrop.engines.lancedb.location import Place
from outcrop.engines.lancedb.predicate import Predicate, compile_filter
from outcrop.engines.lancedb.table import MARKER_SLOT, SLOT, TERMS, TITLE_TERMS, VECTOR, Facts, normalized
from outcrop.engines.protocol import Ranking
from outcrop.filters import Filter, matches
from outcrop.model import Chunk, Degraded, Recipe, TermScore

TITLE_BOOST = 0.25
QUERY_TERMS_MAX = 1024
"""Of a query with more terms the first this many count."""

_SELECTED_SHARE_MIN = 0.1  # below it, the selected rows are scanned exactly
_FIELD_DEPTH, _FIELD_DEPTH_FACTOR = 1_000, 10
_SCORE = "_score"
_FETCHED_PAGE = 500
_SLOTS_PER_QUERY = 2000
_NOTHING = Ranking(slots=np.empty(0, np.int64), scores=np.empty(0, np.float32))
_Found = TypeVar("_Found")


class Version(msgspec.Struct, frozen=True, eq=False):
    """A handle on one version of the table, and what was read of it. `reopen` gives another handle on the same version.

    `unindexed_count` chunks are in no index yet; `lag` also counts all those that wait for a first vector index.
    """

    table: Any
    number: int
    reopen: Callable[[], Coroutine[Any, Any, Any]]
    sequence: int
    facts: Facts
    names: frozenset[str]
    chunk_count: int
    unindexed_count: int
    lag: int


class LanceSnapshot:
    """The LanceDB engine's `IndexSnapshot`. `check_open` raises `Closed` once the index is closed."""

    engine = "lancedb"
    degraded: Degraded | None = None

    def __init__(
        self,
        place: Place,
        recipe: Recipe,
        version: Version,
        *,
        documents: Documents,
        analyzer: Analyzer,
        check_open: Callable[[], None],
    ) -> None:
        self.sequence = version.sequence
        self.lag = version.lag
        self.version = version
        self._place = place
        self._recipe = recipe
        self._documents = documents
        self._analyzer = analyzer
        self._check_open = check_open

    def __repr__(self) -> str:
        return f"LanceSnapshot(sequence={self.sequence}, version {self.version.number}, lag={self.lag})"

    def lexical(self, query: str, k: int, where: Filter | None) -> Ranking:
        """BM25(text) + 0.25 x BM25(title) over the analyzer's terms, as the built-in engine scores; `text` holds the title too.

        Of each field the best 1,000 chunks count, or ten times `k` if that is more: where a query's terms occur in more, a title
        that is worse than those adds nothing. LanceDB's own sum of two fields is exact there, and takes three times as long.

        Chunks that are not indexed yet (an eighth at most, see `LanceIndex.apply`) are counted apart, and of them only those
        that the filter selects: until they are absorbed, their scores are a little off.
        """
        self._check_open()
        terms = " ".join(self._analyzer.terms(query)[:QUERY_TERMS_MAX])
        if not terms:
            return _NOTHING

        async def search(table: Any, limit: int, condition: str | None) -> Ranking:
            depth = min(self.version.chunk_count, max(_FIELD_DEPTH, _FIELD_DEPTH_FACTOR * limit))
            fields = (lancedb().query.MatchQuery(terms, field) for field in (TERMS, TITLE_TERMS))
            queries = [_columns(table.query().nearest_to_text(field), condition, [SLOT, _SCORE], depth) for field in fields]
            import asyncio

            texts, titles = await asyncio.gather(*queries)
            found = _summed(texts, titles)
            return Ranking(slots=found.slots[:limit], scores=found.scores[:limit])

        return self._selected(search, k, where)

    def nearest(self, vector: NDArray[np.float32], k: int, where: Filter | None) -> Ranking:
        """The nearest chunks: through the index, and what it does not have yet one by one."""
        return self._searched(vector, k, where, exact=False)

    def nearest_exact(self, vector: NDArray[np.float32], k: int, where: Filter | None) -> Ranking:
        """The nearest chunks, past the index."""
        return self._searched(vector, k, where, exact=True)

    def _searched(self, vector: NDArray[np.float32], k: int, where: Filter | None, *, exact: bool) -> Ranking:
        self._check_open()
        if self._recipe.dimension is None:
            return _NOTHING
        wanted = np.ascontiguousarray(vector, np.float32)
        wanted = normalized(wanted) if self._recipe.metric == "cosine" else wanted

        async def search(table: Any, limit: int, condition: str | None) -> Ranking:
            return await self._nearest(table, wanted, limit, condition, exactly=exact)

        return self._selected(search, k, where)

    def fetch(self, slots: Sequence[int]) -> list[Chunk]:
        """The chunks of these slots, in one statement."""
        self._check_open()
        return self._documents.fetch(slots)

    def explain(self, query: str, slots: Sequence[int]) -> list[tuple[TermScore, ...]]:  # noqa: ARG002 - see there
        """Nothing for any slot: LanceDB does not say what a term contributes."""
        self._check_open()
        return [() for _ in slots]

    def vectors(self, slots: Sequence[int]) -> list[NDArray[np.float32] | None]:
        """The vectors of these slots, as the table holds them."""
        self._check_open()
        found: dict[int, NDArray[np.float32]] = {}
        if self._recipe.dimension is None:
            return [None] * len(slots)
        for start in range(0, len(slots), _SLOTS_PER_QUERY):
            found |= self._retried(partial(_vectors, slots=slots[start : start + _SLOTS_PER_QUERY]))
        return [found.get(slot) for slot in slots]

    async def _nearest(
        self, table: Any, vector: NDArray[np.float32], limit: int, condition: str | None, *, exactly: bool
    ) -> Ranking:
        """By the index, unless a filter leaves so few that scanning them is cheaper, or the index finds fewer than there are."""
        facts, metric = self.version.facts, self._recipe.metric
        count = self.version.chunk_count if condition is None else await table.count_rows(condition)
        share = min(1.0, count / self.version.chunk_count)
        if not count:
            return _NOTHING

        async def search(*, exact: bool) -> Ranking:
            begun = table.vector_search(vector).column(VECTOR)
            query = vector_index.tuned(begun, limit + 1, facts=facts, metric=metric, share=share, exact=exact)
            found = await _columns(query, condition, [SLOT, "_distance"], limit + 1)  # the marker may be among them
            ranking = _ranking(found[SLOT], vector_index.as_scores(found["_distance"], metric))
            chunks = ranking.slots != MARKER_SLOT
            return Ranking(slots=ranking.slots[chunks][:limit], scores=ranking.scores[chunks][:limit])

        found = await search(exact=exactly or share < _SELECTED_SHARE_MIN)
        return await search(exact=True) if len(found) < min(limit, count) and facts.kind != "flat" else found

    def _selected(self, search: Callable[..., Coroutine[Any, Any, Ranking]], k: int, where: Filter | None) -> Ranking:
        """At most `k` of what `search` finds that `where` selects; it is asked for more until there are `k`, or no more."""
        limit = min(k, self.version.chunk_count)
        if limit < 1:
            return _NOTHING
        predicate = None if where is None else compile_filter(where, self.version.names)
        if where is None or predicate is None or predicate.exact:
            return self._retried(partial(search, limit=limit, condition=_sql(predicate)))
        while True:
            found = self._retried(partial(search, limit=limit, condition=_sql(predicate)))
            kept = self._matching(found, where)
            if len(kept) >= k or len(found) < limit or limit >= self.version.chunk_count:
                return Ranking(slots=kept.slots[:k], scores=kept.scores[:k])
            limit = min(4 * limit, self.version.chunk_count)

    def _matching(self, found: Ranking, where: Filter) -> Ranking:
        """Those of a ranking that the filter selects, by the metadata of their documents."""
        slots = found.slots.tolist()
        matching: set[int] = set()
        for start in range(0, len(slots), _FETCHED_PAGE):
            chunks = self._documents.fetch(slots[start : start + _FETCHED_PAGE])
            matching.update(chunk.slot for chunk in chunks if matches(where, chunk.metadata))
        kept = np.array([slot in matching for slot in slots], bool)
        return Ranking(slots=found.slots[kept], scores=found.scores[kept])

    def _retried(self, read: Callable[[Any], Coroutine[Any, Any, _Found]]) -> _Found:
        """Read from the version; once more from a new handle, if a file was not found."""
        with calling(self._place, "read"):
            try:
                return run(read(self.version.table))
            except (RuntimeError, ValueError, OSError) as error:
                if not is_gone(error):
                    raise
            return run(self._reread(read))

    async def _reread(self, read: Callable[[Any], Coroutine[Any, Any, _Found]]) -> _Found:
        return await read(await self.version.reopen())


def _summed(texts: dict[str, NDArray[Any]], titles: dict[str, NDArray[Any]]) -> Ranking:
    """The chunks that were found by their texts, with what their titles add to the score."""
    order = np.argsort(titles[SLOT])
    slots, added = titles[SLOT][order], TITLE_BOOST * titles[_SCORE][order]
    scores = texts[_SCORE].astype(np.float32)
    if len(slots):
        place = np.minimum(np.searchsorted(slots, texts[SLOT]), len(slots) - 1)
        scores = scores + np.where(slots[place] == texts[SLOT], added[place], np.float32(0))
    return _ranking(texts[SLOT], scores)


def _sql(predicate: Predicate | None) -> str | None:
    return None if predicate is None or predicate.sql == "true" else predicate.sql


async def _columns(query: Any, condition: str | None, names: list[str], limit: int) -> dict[str, NDArray[Any]]:
    """The columns of what a query finds; a condition selects before the query cuts off."""
    if condition is not None:
        query = query.where(condition)
    found = await query.select(names).limit(limit).to_arrow()
    return {name: found.column(name).to_numpy() for name in names}


def _ranking(slots: NDArray[np.int64], scores: NDArray[np.float32]) -> Ranking:
    finite = np.isfinite(scores)
    slots, scores = slots[finite].astype(np.int64), scores[finite].astype(np.float32)
    order = np.lexsort((slots, -scores))
    return Ranking(slots=slots[order], scores=scores[order])


async def _vectors(table: Any, slots: Sequence[int]) -> dict[int, NDArray[np.float32]]:
    listed = ", ".join(str(int(slot)) for slot in slots)
    query = table.query().where(f"{SLOT} IN ({listed}) AND {vector_index.WITH_VECTOR}").select([SLOT, VECTOR])
    found = await query.to_arrow()
    if not found.num_rows:
        return {}
    rows = np.asarray(found.column(VECTOR).combine_chunks().flatten(), np.float32).reshape(found.num_rows, -1)
    return dict(zip(found.column(SLOT).to_pylist(), rows, strict=True))

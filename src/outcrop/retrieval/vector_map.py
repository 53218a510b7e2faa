"""Where do a generation's vectors lie? Makes a map of them, and places queries on it.

How the vectors lie in the plane is kept, encoded, under the generation, the write that it shows and the number of points: so
another colour, and every query, is placed on the same map. What points say is read anew each time.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from outcrop.engines.protocol import IndexSnapshot, answered
from outcrop.errors import IllegalState, InvalidInput, InvalidQuery
from outcrop.memory import MemoryBudget
from outcrop.retrieval import layout
from outcrop.retrieval.cache import BoundedCache
from outcrop.retrieval.executor import query_vector
from outcrop.retrieval.generation import OpenGeneration
from outcrop.retrieval.layout import Floats, Plane
from outcrop.retrieval.map_values import MapColours, Placed, PlacedHit, VectorMap
from outcrop.retrieval.request import Options, prepare
from outcrop.retrieval.single_flight import SingleFlight

POINTS_MAX = 50_000
_KEPT_SECONDS = 3_600.0
_BLOCK = 8_192
_TEXT_CHARACTERS = 160
_NAMES_MAX = 10
_NAME_CHARACTERS = 60
_NUMBERS_MIN = 6  # fewer different numbers are categories
_ABSENT = object()


class _Layout(msgspec.Struct, frozen=True, eq=False):
    """Points of a map: `slots` (n,) at `places` (n, 2), of `chunk_count` chunks."""

    slots: NDArray[np.int64]
    places: Floats
    plane: Plane
    chunk_count: int
    neighbours_kept: float | None


class Maps:
    """Makes maps, and keeps how vectors lie, within the memory budget. Safe to use from many threads."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._kept = BoundedCache(budget.account("query cache"), seconds=_KEPT_SECONDS)
        self._making: SingleFlight[bytes] = SingleFlight(waited_seconds_max=120.0)

    def map(self, generation: OpenGeneration, points_max: int, color: str | None) -> VectorMap:
        """The map of a generation. Raises `IllegalState` without vectors, and `InvalidInput`."""
        index = _checked(generation, points_max)
        with generation.read_at(index.sequence):
            found = self._layout(generation, index, points_max)
            said = generation.documents.labels(found.slots.tolist(), _TEXT_CHARACTERS)
        return VectorMap(
            generation=generation.name.number,
            generation_uuid=generation.name.uuid,
            sequence=index.sequence,
            chunk_count=found.chunk_count,
            point_count=len(found.slots),
            x=found.places[:, 0].copy(),
            y=found.places[:, 1].copy(),
            ids=tuple(one.id for one in said),
            titles=tuple(one.title for one in said),
            texts=tuple(one.text for one in said),
            colours=None if color is None else colours(color, [one.metadata for one in said]),
            variance_share=found.plane.variance_share,
            neighbours_kept=found.neighbours_kept,
        )

    def place(self, generation: OpenGeneration, points_max: int, query: str | None, *, vector: ArrayLike | None, k: int) -> Placed:
        """Where a query lies on that map, and its `k` nearest chunks. Raises what searching raises besides."""
        index = _checked(generation, points_max)
        request = prepare(query, vector, Options(k=k, mode="vector"), generation.manifest.recipe)
        asked, _ = query_vector(generation, request)
        if asked is None:
            raise InvalidQuery(f"the query {request.query!r:.80} has no word that the embedder knows", parameter="query")
        with generation.read_at(index.sequence):
            found = self._layout(generation, index, points_max)
            ranking = answered(index, lambda snapshot: snapshot.nearest(asked, k, None))
            slots = ranking.slots.tolist()
            chunks = {one.slot: one for one in index.fetch(slots)}
            near = [
                (slot, one) for slot, one in zip(slots, index.vectors(slots), strict=True) if one is not None and slot in chunks
            ]
        scores = dict(zip(slots, ranking.scores.tolist(), strict=True))
        length = float(np.linalg.norm(asked)) if generation.manifest.recipe.metric == "cosine" else 1.0
        places = found.plane.place(found.plane.reduced(np.stack([asked / (length or 1.0), *(one for _, one in near)])))
        own = dict(zip(found.slots.tolist(), found.places.tolist(), strict=True))  # on the map already
        hits = []
        for rank, ((slot, _), place) in enumerate(zip(near, places[1:].tolist(), strict=True), 1):
            chunk, (x, y) = chunks[slot], own.get(slot, place)
            hits.append(PlacedHit(chunk.id, rank, scores[slot], chunk.title, chunk.text[:_TEXT_CHARACTERS], x, y))
        return Placed(float(places[0, 0]), float(places[0, 1]), tuple(hits))

    def close(self) -> None:
        """Keep nothing any more."""
        self._kept.clear()

    def _layout(self, generation: OpenGeneration, index: IndexSnapshot, points_max: int) -> _Layout:
        key = f"{generation.name.uuid}.{index.sequence}.{points_max}".encode()
        kept = self._kept.get(key)
        if kept is None:
            kept, _ = self._making.run(key, lambda: _encoded(_laid_out(generation, index, points_max)))
            self._kept.put(key, kept)
        return _decoded(kept)


def colours(field: str, metadata: Sequence[dict[str, Any]]) -> MapColours:
    """What a metadata field, `a.b` for one within an object, says of each point. Of a list the first entry counts.

    >>> found = colours("kind", [{"kind": "ore"}, {}, {"kind": ["gem", "ore"]}, {"kind": "ore"}])
    >>> found.names, found.codes.tolist()
    (('ore', 'gem'), [0, -1, 1, 0])
    """
    found = [_value(field, one) for one in metadata]
    numbers = [one for one in found if isinstance(one, int | float) and not isinstance(one, bool)]
    present = sum(one is not _ABSENT for one in found)
    if len(numbers) == present and len(set(numbers)) >= _NUMBERS_MIN:
        values = np.array([np.nan if one is _ABSENT else one for one in found], np.float64)
        return MapColours(field, "numbers", values=values, least=float(min(numbers)), most=float(max(numbers)))
    texts = [None if one is _ABSENT else _name(one) for one in found]
    counts = Counter(one for one in texts if one is not None)
    names = [name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    shown = names if len(names) <= _NAMES_MAX else names[: _NAMES_MAX - 1]
    code = {name: place for place, name in enumerate(shown)}
    other = len(shown)
    codes = np.array([-1 if one is None else code.get(one, other) for one in texts], np.int16)
    return MapColours(field, "categories", names=(*shown, *(["other"] if len(names) > len(shown) else [])), codes=codes)


def _checked(generation: OpenGeneration, points_max: int) -> IndexSnapshot:
    if not 1 <= points_max <= POINTS_MAX:
        raise InvalidInput(f"points_max is {points_max}; a map has 1 to {POINTS_MAX} points", parameter="points_max")
    if generation.manifest.recipe.dimension is None:
        raise _unmapped(generation)
    return generation.index.snapshot()


def _unmapped(generation: OpenGeneration) -> IllegalState:
    number = generation.name.number
    return IllegalState(
        f"generation {number} has no vectors, so there is no map of it; build one with an embedder", generation=number
    )


def _laid_out(generation: OpenGeneration, index: IndexSnapshot, points_max: int) -> _Layout:
    """Reads the vectors twice, in blocks: a few of them for the plane, then all to be placed. Few dimensions of each are kept."""
    chunk_count, sampled = generation.documents.sample(index.sequence, points_max)
    slots = np.array(sampled, np.int64)
    _, some = _vectors(index, slots[layout.evenly(len(slots), layout.FITTED_MAX)])
    if not len(some):
        raise _unmapped(generation)
    plane = layout.fitted(some)
    kept, reduced = [], []
    for start in range(0, len(slots), _BLOCK):
        there, vectors = _vectors(index, slots[start : start + _BLOCK])
        kept.append(there)
        reduced.append(plane.reduced(vectors))
    along = np.concatenate(reduced)
    places = plane.place(along)
    return _Layout(np.concatenate(kept), places, plane, chunk_count, layout.neighbours_kept(along, places))


def _vectors(index: IndexSnapshot, slots: NDArray[np.int64]) -> tuple[NDArray[np.int64], Floats]:
    """The slots that have a vector, and the vectors."""
    found = index.vectors(slots.tolist())
    there = np.array([one is not None for one in found], bool)
    vectors = [one for one in found if one is not None]
    return slots[there], np.stack(vectors) if vectors else np.empty((0, 0), np.float32)


def _encoded(one: _Layout) -> bytes:
    content = io.BytesIO()
    plane = one.plane
    about = np.array([plane.variance_share, one.chunk_count, np.nan if one.neighbours_kept is None else one.neighbours_kept])
    arrays = {"slots": one.slots, "places": one.places, "about": about}
    of_plane = {name: getattr(plane, name) for name in ("mean", "axes", "landmarks")}
    np.savez(content, **arrays, **of_plane, landmark_places=plane.places)  # type: ignore[arg-type]  # its keywords are arrays
    return content.getvalue()


def _decoded(kept: bytes) -> _Layout:
    with np.load(io.BytesIO(kept), allow_pickle=False) as found:
        share, count, kept_share = found["about"].tolist()
        plane = Plane(found["mean"], found["axes"], found["landmarks"], found["landmark_places"], share)
        return _Layout(found["slots"], found["places"], plane, int(count), None if np.isnan(kept_share) else kept_share)


def _value(field: str, metadata: dict[str, Any]) -> object:
    found: object = metadata
    for part in field.split("."):
        if not isinstance(found, dict) or part not in found:
            return _ABSENT
        found = cast(dict[str, Any], found)[part]
    if isinstance(found, list):
        found = found[0] if found else None
    return _ABSENT if found is None else found


def _name(value: object) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text[:_NAME_CHARACTERS]

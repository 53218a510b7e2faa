"""What a map of vectors is, as values."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray


class MapColours(msgspec.Struct, frozen=True, eq=False):
    """What a metadata field says of each point of a map.

    Of `kind` "categories", `codes` (int16, one a point) are places in `names`, the most frequent first, with "other" at the end
    where there are more than ten; -1 where a document has no such field. Of `kind` "numbers", `values` (float64) are the numbers,
    NaN where there is none, between `least` and `most`.
    """

    field: str
    kind: Literal["categories", "numbers"]
    names: tuple[str, ...] = ()
    codes: NDArray[np.int16] | None = None
    values: NDArray[np.float64] | None = None
    least: float | None = None
    most: float | None = None


class VectorMap(msgspec.Struct, frozen=True, eq=False):
    """Where a generation's chunks lie in the plane, by their vectors: arrays with an entry for each point.

    `x` and `y` (float32) lie within [-1, 1]; what is near each other there is mostly alike, distances mean little. `ids` are the
    chunks', `texts` how they begin. The points are `point_count` of `chunk_count` chunks, evenly taken. `neighbours_kept` says how
    true the picture is (see `outcrop.retrieval.layout.neighbours_kept`); `variance_share` is what the two principal axes, a plain
    projection, would hold of the variance.
    """

    generation: int
    generation_uuid: str
    sequence: int
    chunk_count: int
    point_count: int
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    ids: tuple[str, ...]
    titles: tuple[str | None, ...]
    texts: tuple[str, ...]
    colours: MapColours | None
    variance_share: float
    neighbours_kept: float | None


class PlacedHit(msgspec.Struct, frozen=True):
    """A chunk that is near a query, and where it lies on the map."""

    id: str
    rank: int
    score: float
    title: str | None
    text: str
    x: float
    y: float


class Placed(msgspec.Struct, frozen=True):
    """Where a query would lie on a map, and the chunks that are nearest to it in all dimensions."""

    x: float
    y: float
    hits: tuple[PlacedHit, ...]

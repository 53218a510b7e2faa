"""The map of a generation's vectors: true to neighbourhoods, the same each time, and of what is alive."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import outcrop
from outcrop import Config, Document
from outcrop.collection import Collection
from outcrop.errors import IllegalState, InvalidInput, InvalidQuery
from outcrop.retrieval import layout
from outcrop.retrieval.vector_map import colours


def _heaps(count: int, heaps: int, dimension: int = 24) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    chance = np.random.default_rng(7)
    of = np.arange(count) % heaps
    return (chance.normal(0, 8, (heaps, dimension))[of] + chance.normal(0, 1, (count, dimension))).astype(np.float32), of


def test_what_lies_together_lies_together_in_the_plane_though_two_axes_cannot_show_it() -> None:
    vectors, of = _heaps(3_000, 30)
    plane = layout.fitted(vectors)
    along = plane.reduced(vectors)
    places = plane.place(along)

    nearest = layout.squared_distances(places, places)
    np.fill_diagonal(nearest, np.inf)
    assert (of[nearest.argmin(1)] == of).mean() > 0.98
    assert (layout.neighbours_kept(along, places) or 0) > (layout.neighbours_kept(along, along[:, :2]) or 1)
    assert np.abs(places).max() <= 1.0001


@pytest.mark.parametrize("count", [1, 2, 3, 5, 60, 700])
def test_any_number_of_vectors_has_a_place_and_always_the_same(count: int) -> None:
    vectors, _ = _heaps(count, 5, 8)

    first, second = layout.fitted(vectors), layout.fitted(vectors)
    places = first.place(first.reduced(vectors))
    assert places.shape == (count, 2)
    assert np.isfinite(places).all()
    assert (places == second.place(second.reduced(vectors))).all()


def test_equal_vectors_lie_at_one_place() -> None:
    vectors = np.ones((50, 4), np.float32)

    plane = layout.fitted(vectors)
    assert np.isfinite(plane.place(plane.reduced(vectors))).all()


Filled = Callable[..., Collection]


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Filled]:
    """Builds a collection of four heaps of vectors; its database is closed at the end."""

    def build(count: int = 40, engine: str = "builtin") -> Collection:
        config = Config.mvp_only(background=False) if engine == "builtin" else Config.lancedb_test(background=False)
        stones = held.enter_context(outcrop.open(tmp_path, config=config)).create_collection("stones", embedder="none")
        vectors, of = _heaps(count, 4, 8)
        stones.build(
            [
                Document(
                    f"d-{number}",
                    f"stone {number}",
                    title=f"T{number}",
                    metadata={"heap": int(of[number]), "n": number},
                    vector=one,
                )
                for number, one in enumerate(vectors)
            ],
            promote=True,
        )
        return stones

    with ExitStack() as held:
        yield build


@pytest.mark.parametrize("engine", ["builtin", "lancedb"])
def test_a_map_has_every_living_chunk_once_with_what_it_says(filled: Filled, engine: str) -> None:
    if engine == "lancedb":
        pytest.importorskip("lancedb", reason="the extra 'lancedb' is not installed")
    stones = filled(engine=engine)
    stones.delete(["d-3"])
    stones.upsert(Document("d-40", "a new one", metadata={"heap": 9}, vector=np.ones(8)))

    found = stones.vector_map(color="heap")
    assert sorted(found.ids) == sorted(f"d-{number}#0" for number in range(41) if number != 3)
    assert found.point_count == found.chunk_count == len(found.x) == len(found.y) == len(found.texts) == 40
    at = found.ids.index("d-7#0")
    assert (found.titles[at], found.texts[at]) == ("T7", "stone 7")
    assert found.colours is not None
    assert found.colours.names[found.colours.codes[at]] == "3"


def test_the_same_state_is_the_same_map_and_a_write_makes_another(filled: Filled) -> None:
    stones = filled()

    first = stones.vector_map()
    assert (stones.vector_map(color="n").x == first.x).all()
    stones.delete(["d-3"])
    later = stones.vector_map()
    assert later.sequence > first.sequence
    assert later.point_count == 39


def test_of_many_chunks_an_even_sample_is_taken(filled: Filled) -> None:
    stones = filled(200)

    found = stones.vector_map(50, color="n")
    assert (found.point_count, found.chunk_count) == (50, 200)
    assert found.colours is not None
    assert found.colours.kind == "numbers"
    assert set(np.diff(found.colours.values)) == {4.0}


def test_a_query_lies_where_its_like_do_with_its_hits_on_the_map_or_not(filled: Filled) -> None:
    stones = filled(200)
    whole, own = stones.vector_map(), stones.get("d-17")[0]

    placed = stones.place_on_map(vector=own.vector, k=5)
    assert placed.hits[0].id == "d-17#0"
    at = whole.ids.index("d-17#0")
    assert (placed.hits[0].x, placed.hits[0].y) == pytest.approx((whole.x[at], whole.y[at]))
    heap = np.array([place % 4 == 1 for place in range(200)])
    places = np.stack([whole.x, whole.y], 1)
    centre = places[[whole.ids.index(f"d-{place}#0") for place in np.flatnonzero(heap)]].mean(0)
    others = places[[whole.ids.index(f"d-{place}#0") for place in np.flatnonzero(~heap)]].mean(0)
    here = np.array([placed.x, placed.y])
    assert np.linalg.norm(here - centre) < np.linalg.norm(here - others)
    assert len(stones.place_on_map(vector=own.vector, k=5, points_max=20).hits) == 5


def test_what_has_no_map_says_why(tmp_path: Path) -> None:
    with outcrop.open(tmp_path, config=Config.mvp_only(background=False)) as db:
        plain = db.create_collection("plain", embedder="none")
        plain.upsert({"id": "a", "text": "no vector"})
        with pytest.raises(IllegalState, match="generation 1 has no vectors"):
            plain.vector_map()
        words = db.create_collection("words", embedder="hashing:32")
        words.upsert({"id": "a", "text": "slate"})
        with pytest.raises(InvalidInput, match="points_max is 0"):
            words.vector_map(0)
        with pytest.raises(InvalidQuery, match="the query is empty"):
            words.place_on_map("")
        assert words.vector_map().point_count == 1
        assert words.place_on_map("slate").hits[0].id == "a#0"


@pytest.mark.parametrize(
    ("values", "kind", "names"),
    [
        ([1, 2, 3, 4, 5, 6], "numbers", ()),
        ([1, 2, 3, 1, 1, 1], "categories", ("1", "2", "3")),
        ([True, False, True], "categories", ("true", "false")),
        (["a", 1, 2, 3, 4, 5, 6], "categories", ("1", "2", "3", "4", "5", "6", "a")),
        ([f"n{number:02}" for number in range(12)], "categories", (*(f"n{number:02}" for number in range(9)), "other")),
    ],
)
def test_a_field_of_many_numbers_is_a_ramp_and_any_other_has_categories(
    values: list[object], kind: str, names: tuple[str, ...]
) -> None:
    found = colours("a.b", [*({"a": {"b": value}} for value in values), {"a": 1}, {}])

    assert found.kind == kind
    assert found.names == names
    if found.codes is not None:
        assert found.codes[-2:].tolist() == [-1, -1]
        assert max(found.codes) == len(names) - 1
    else:
        assert found.values is not None
        assert np.isnan(found.values[-2:]).all()

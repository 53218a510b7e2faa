"""The metadata columns of a part: exactly the meaning of filters, on disk, and refused when damaged."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outcrop.engines.builtin.columns import Columns, ColumnsWriter
from outcrop.errors import Closed, Damaged, UnsupportedFormat
from outcrop.filters import Filter, In, matches, parse
from outcrop.testing import samples
from tests.damage import overwrite

FILTERS_EACH = 20


def written(directory: Path, rows: list[dict[str, Any]]) -> Columns:
    writer = ColumnsWriter()
    for row, metadata in enumerate(rows):
        writer.add(row, metadata)
    writer.write(directory)
    return Columns.open(directory, len(rows))


def selected(columns: Columns, where: str) -> list[int]:
    tree = parse(where)
    assert tree is not None
    return [int(row) for row in np.flatnonzero(columns.mask(tree))]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.randoms(use_true_random=False))
def test_a_mask_is_what_the_filter_means_for_each_row(tmp_path: Path, rng: random.Random) -> None:
    rows = [samples.metadata(rng) for _ in range(rng.randrange(40))]
    columns = written(tmp_path, rows)
    for where in [samples.condition(rng) for _ in range(FILTERS_EACH)]:
        assert columns.mask(where).tolist() == [matches(where, metadata) for metadata in rows]


def test_random_filters_hit_and_miss_often_enough_to_mean_something(tmp_path: Path) -> None:
    rng = random.Random(7)
    rows = [samples.metadata(rng) for _ in range(300)]
    columns = written(tmp_path, rows)
    telling = 0
    for where in [samples.condition(rng) for _ in range(300)]:
        mask = columns.mask(where)
        assert mask.tolist() == [matches(where, metadata) for metadata in rows]
        telling += bool(mask.any() and not mask.all())
    assert telling > 150


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.5, 1.0])
def test_a_mask_is_exact_at_every_selectivity(tmp_path: Path, share: float) -> None:
    rng = np.random.default_rng(3)
    number, lang = rng.permutation(10_000), rng.integers(0, 2, 10_000)
    rows = [
        {"n": int(n), "half": n / 2, "id": f"{n:05d}", "lang": "de" if de else "en"} for n, de in zip(number, lang, strict=True)
    ]
    columns = written(tmp_path, rows)
    limit = int(share * len(rows))
    for where in (f"n < {limit}", f"half < {limit / 2}", f"id < '{limit:05d}'"):
        tree = parse(where)
        assert tree is not None
        assert np.array_equal(columns.mask(tree), number < limit)
        both = parse(f"{where} AND NOT lang = 'de'")
        assert both is not None
        assert np.array_equal(columns.mask(both), (number < limit) & (lang == 0))
    assert not columns.mask(parse("n < 0") or In("n", ())).any()


def test_rows_without_metadata_are_selected_by_negations_only(tmp_path: Path) -> None:
    columns = written(tmp_path, [{}, {"a": 1}, {}])
    assert selected(columns, "a = 1") == [1]
    assert selected(columns, "NOT a = 1") == [0, 2]
    assert selected(columns, "b IS NULL") == [0, 1, 2]


def test_rows_may_be_added_in_any_order_and_left_out(tmp_path: Path) -> None:
    writer = ColumnsWriter()
    for row in (4, 1, 3):
        writer.add(row, {"a": row % 2, "s": str(row)})
    writer.write(tmp_path)
    columns = Columns.open(tmp_path, 6)
    assert selected(columns, "a = 1") == [1, 3]
    assert selected(columns, "s >= '3'") == [3, 4]
    assert selected(columns, "a IS NULL") == [0, 2, 5]


def test_columns_know_their_fields(tmp_path: Path) -> None:
    columns = written(tmp_path, [{"b": {"c": [1, "x"]}, "a": None}, {"z.z": True, "../evil": 1}])
    assert columns.fields == ("../evil", "b.c", "z.z")
    assert sorted(path.name for path in (tmp_path / "columns").iterdir()) == ["data.bin", "index.msgpack"]


def test_columns_can_be_had_without_files() -> None:
    writer = ColumnsWriter()
    writer.add(0, {"n": 1, "s": "x"})
    writer.add(1, {"n": 2.5, "s": "y"})
    columns = writer.columns(3)
    assert selected(columns, "n > 2 OR s = 'x'") == [0, 1]
    assert selected(columns, "s IS NULL") == [2]


def test_a_mask_is_the_callers_own(tmp_path: Path) -> None:
    columns = written(tmp_path, [{"a": 1}, {"a": 2}])
    tree: Filter | None = parse("a = 1")
    assert tree is not None
    columns.mask(tree)[:] = True
    assert columns.mask(tree).tolist() == [True, False]


def test_closed_columns_refuse_and_close_twice(tmp_path: Path) -> None:
    columns = written(tmp_path, [{"a": 1}])
    columns.close()
    columns.close()
    with pytest.raises(Closed):
        selected(columns, "a = 1")


def test_a_missing_file_is_damage_that_says_so(tmp_path: Path) -> None:
    for name in ("data.bin", "index.msgpack"):
        written(tmp_path, [{"a": 1}]).close()
        (tmp_path / "columns" / name).unlink()
        with pytest.raises(Damaged, match=name.replace(".", r"\.")) as caught:
            Columns.open(tmp_path, 1)
        assert caught.value.missing


def test_a_file_cut_short_is_damage(tmp_path: Path) -> None:
    for name in ("data.bin", "index.msgpack"):
        written(tmp_path, [{"a": 1, "s": "x"}, {"a": 2, "s": "y"}]).close()
        path = tmp_path / "columns" / name
        overwrite(path, path.read_bytes()[:-3])
        with pytest.raises(Damaged, match="verify") as caught:
            Columns.open(tmp_path, 2)
        assert not caught.value.missing


@pytest.mark.parametrize("place", [(-8, 1), (0, 10**9), (10**9, 1), (0, -1)])
def test_an_index_that_points_outside_the_data_is_damage(tmp_path: Path, place: tuple[int, int]) -> None:
    written(tmp_path, [{"a": 1}]).close()
    path = tmp_path / "columns" / "index.msgpack"
    index = msgspec.msgpack.decode(path.read_bytes())
    index["columns"][0]["arrays"]["rows"] = place
    path.write_bytes(msgspec.msgpack.encode(index))
    with pytest.raises(Damaged, match="rows"):
        Columns.open(tmp_path, 1)


def test_rows_beyond_the_part_are_damage(tmp_path: Path) -> None:
    written(tmp_path, [{"a": 1}, {"a": 2}]).close()
    columns = Columns.open(tmp_path, 1)
    with pytest.raises(Damaged, match="1 rows"):
        selected(columns, "a >= 1")


def test_a_newer_format_is_refused_as_such(tmp_path: Path) -> None:
    written(tmp_path, [{"a": 1}]).close()
    path = tmp_path / "columns" / "index.msgpack"
    index = msgspec.msgpack.decode(path.read_bytes())
    path.write_bytes(msgspec.msgpack.encode(index | {"format": 2}))
    with pytest.raises(UnsupportedFormat) as caught:
        Columns.open(tmp_path, 1)
    assert (caught.value.found, caught.value.supported) == (2, 1)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**6), st.integers(0, 255))
def test_a_flipped_byte_never_crashes_the_process(tmp_path: Path, position: int, byte: int) -> None:
    written(tmp_path, [{"a": 1, "s": "x"}, {"a": [2, 2**60 + 1], "s": "yy"}, {"b": True}]).close()
    path = tmp_path / "columns" / ("data.bin" if position % 2 else "index.msgpack")
    content = bytearray(path.read_bytes())
    content[position % len(content)] = byte
    overwrite(path, content)
    try:
        columns = Columns.open(tmp_path, 3)
        assert selected(columns, "a > 1 OR s >= 'x' OR b OR NOT a = 2 OR s IN ('yy', 'z')") is not None
    except Damaged as error:
        assert str(tmp_path) in str(error)

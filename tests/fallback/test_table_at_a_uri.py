"""Collections whose LanceDB tables lie outside of the database: in a folder that is shared, and in an S3 store that may be down."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import outcrop
from outcrop import Config
from outcrop.engines.lancedb import LanceEngine, location
from outcrop.engines.lancedb.building import Building
from outcrop.engines.protocol import Availability
from outcrop.errors import OutcropError, StorageFailed
from outcrop.generations.manifest import required
from tests.engines import stores
from tests.engines.stores import Store
from tests.fallback.drilling import answered_by, config, eventually, found, generation, opened, recovers, rocks

pytest.importorskip("lancedb")

NOTHING_KEPT: dict[str, Any] = {"kept_generations": 0, "kept_days": 0, "warm_generations": 0}
ANOTHER_PROCESS = """
import sys, outcrop
from outcrop import Config
with outcrop.open(sys.argv[1], config=Config.production(background=False)) as db:
    hits = db.collection("rocks").search("basalt", k=90, mode="lexical")
    print(hits.engine, len(hits))
"""


@pytest.fixture
def store() -> Iterator[Store]:
    with stores.running_store() as running:
        yield running


def at(uri: object, **overrides: Any) -> Config:
    return config(lancedb_uri=str(uri), **overrides)


def in_another_process(folder: Path) -> str:
    done = subprocess.run([sys.executable, "-c", ANOTHER_PROCESS, str(folder)], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def tables(place: Path) -> list[str]:
    """The folders of tables below a place."""
    return sorted(path.parent.name for path in place.glob("rocks/*/chunks.lance"))


def test_a_collection_in_a_store_is_written_searched_promoted_and_collected(tmp_path: Path, store: Store) -> None:
    with opened(tmp_path / "kb", at(store.uri, **NOTHING_KEPT)) as collection:
        assert answered_by(collection) == "lancedb"
        first = generation(tmp_path / "kb").name
        assert all(key.startswith(f"search/rocks/{first}-") for key in store.held())
        assert not (generation(tmp_path / "kb") / "lancedb" / "chunks.lance").exists()
        collection.upsert(rocks(5, "basalt", begin=100))
        collection.delete(["d1"])
        assert (answered_by(collection, "basalt"), len(found(collection, "basalt", mode="lexical"))) == ("lancedb", 5)
        assert "d1" not in found(collection, "granite", mode="lexical")
        collection.optimize()
        collection.verify()
        assert in_another_process(tmp_path / "kb") == "lancedb 5"
        collection.build([*rocks(30, "slate"), *rocks(5, "basalt", begin=100)], promote=True)
        assert answered_by(collection, "slate") == "lancedb"
        report = collection.gc()
        assert not any(first in key for key in store.held()), report.kept
        assert store.held()
        assert first not in {path.name for path in (tmp_path / "kb" / "rocks" / "generations").iterdir()}


def test_while_the_store_is_down_the_built_in_index_answers_and_lancedb_catches_up_later(tmp_path: Path, store: Store) -> None:
    with opened(tmp_path / "kb", at(store.uri, breaker_failures_max=1)) as collection:
        assert answered_by(collection) == "lancedb"
        store.stop()
        collection.upsert(rocks(3, "basalt", begin=100))
        hits = collection.search("basalt", k=90, mode="lexical")
        assert (hits.engine, len(hits)) == ("builtin", 3)
        eventually(lambda: "was not reached" in str(collection.search("basalt").degraded))
        said = str(collection.search("basalt").degraded)
        assert f"{store.uri}/rocks/" in said
        assert "AWS_ENDPOINT_URL" in said
        assert stores.VARIABLES["AWS_SECRET_ACCESS_KEY"] not in said
        store.start()  # empty, as after a disaster
        recovers(collection)
        assert len(found(collection, "basalt", mode="lexical")) == 3
        assert len(found(collection, "granite", mode="lexical")) == 30


def test_what_an_unreachable_store_holds_is_collected_later(tmp_path: Path, store: Store) -> None:
    with opened(tmp_path / "kb", at(store.uri, **NOTHING_KEPT)) as collection:
        old = generation(tmp_path / "kb").name
    with opened(tmp_path / "kb", config(use_lancedb=False, **NOTHING_KEPT)) as collection:
        collection.build([*rocks(30, "slate"), *rocks(5, "basalt", begin=100)], promote=True)
        assert collection.search("slate").engine == "builtin"  # and lets go of the generation before
        assert store.held()
        store.stop()
        report = collection.gc()
        assert ["was not reached" in item.reason for item in report.kept if item.path.endswith(old)] == [True], report
        store.start()
        assert any(item.path.endswith(old) for item in collection.gc().removed)


def test_tables_in_another_folder_are_moved_by_no_configuration_and_go_with_their_generations(tmp_path: Path) -> None:
    shared = tmp_path / "shared tables"
    with opened(tmp_path / "kb", at(shared.as_uri())) as collection:
        assert answered_by(collection) == "lancedb"
        assert len(tables(shared)) == 1
    with opened(tmp_path / "kb", config(**NOTHING_KEPT)) as collection:
        assert answered_by(collection) == "lancedb"
        collection.upsert(rocks(3, "basalt", begin=100))
        assert (answered_by(collection, "basalt"), len(found(collection, "basalt", mode="lexical"))) == ("lancedb", 3)
        collection.verify()
        collection.build([*rocks(30, "slate"), *rocks(5, "basalt", begin=100)], promote=True)
        assert (generation(tmp_path / "kb") / "lancedb" / "chunks.lance").is_dir()
        assert answered_by(collection, "slate") == "lancedb"  # and lets go of the generation before
        report = collection.gc()
        assert tables(shared) == [], report.kept
    assert list(shared.iterdir()) == []


def test_a_table_that_is_built_anew_goes_to_where_the_configuration_says(tmp_path: Path) -> None:
    with opened(tmp_path / "kb", at(tmp_path / "one")) as collection, opened(tmp_path / "kb", at(tmp_path / "two")) as other:
        assert answered_by(collection) == answered_by(other) == "lancedb"
        assert other.repair().chunks == 30
        assert (tables(tmp_path / "one"), len(tables(tmp_path / "two"))) == ([], 1)
        recovers(collection)
        collection.upsert(rocks(3, "basalt", begin=100))
        recovers(other)
        assert found(other, "basalt", mode="lexical") == found(collection, "basalt", mode="lexical") == {"d100", "d101", "d102"}
        assert len(tables(tmp_path / "two")) == 1


def no_seal(_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("lies_in", ["shared", None])
@pytest.mark.parametrize("goes_to", ["a file/tables", "another", None])
def test_a_repair_that_fails_leaves_the_index_that_works(
    tmp_path: Path, lies_in: str | None, goes_to: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").touch()
    with opened(tmp_path / "kb", config(lancedb_uri=None if lies_in is None else str(tmp_path / lies_in))) as collection:
        assert answered_by(collection) == "lancedb"
        before = location.of(generation(tmp_path / "kb")).uri
    with opened(tmp_path / "kb", config(lancedb_uri=None if goes_to is None else str(tmp_path / goes_to))) as collection:
        recovers(collection)
        with monkeypatch.context() as broken:
            broken.setattr(Building, "seal", no_seal)
            with pytest.raises(OSError, match=r"Not a directory|No space left"):
                collection.repair()
        assert location.of(generation(tmp_path / "kb")).uri == before
        assert [path.name for path in generation(tmp_path / "kb").glob("*lancedb*")] == ["lancedb"]
        assert tables(tmp_path / "another") == []
        recovers(collection)
        collection.upsert(rocks(3, "basalt", begin=100))
        recovers(collection)
        assert len(found(collection, "basalt", mode="lexical")) == 3
        assert len(found(collection, "granite", mode="lexical")) == 30
        assert all(one.healthy for one in collection.verify())


def test_a_table_that_cannot_be_removed_keeps_no_other_one_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path / "kb", at(tmp_path / "one")) as collection:
        assert answered_by(collection) == "lancedb"
    folder = generation(tmp_path / "kb")
    shutil.copytree(folder / "lancedb", folder / ".lancedb-aside")  # what a repair puts aside names a place too
    held = location.of(folder).local
    assert held is not None
    other = tmp_path / "two" / held.relative_to(tmp_path / "one")
    (folder / ".lancedb-aside" / "location").write_bytes(location._noted(str(other)))
    shutil.copytree(held, other)
    removed, remove = [], location.remove

    def one_fails(local: Path) -> None:
        removed.append(local)
        if len(removed) == 1:
            raise StorageFailed("not now", path=local, errno_name="EIO")
        remove(local)

    monkeypatch.setattr(location, "remove", one_fails)
    with pytest.raises(StorageFailed, match="not now"):
        LanceEngine().drop(folder)
    assert sorted(removed) == sorted([held, other])
    assert not removed[1].exists()


def test_a_build_that_failed_leaves_no_table_elsewhere(tmp_path: Path) -> None:
    def broken() -> Iterator[Any]:
        yield from rocks(5)
        raise ValueError("no more")

    with outcrop.open(tmp_path / "kb", config=at(tmp_path / "shared", batch_documents=2)) as db:
        made = db.create_collection("rocks", embedder="hashing:32")
        with pytest.raises((OutcropError, ValueError)):
            made.build(broken())
    assert tables(tmp_path / "shared") == []


def test_a_collection_that_is_dropped_takes_its_tables_along(tmp_path: Path) -> None:
    with opened(tmp_path / "kb", at(tmp_path / "shared")):
        assert len(tables(tmp_path / "shared")) == 1
    with outcrop.open(tmp_path / "kb", config=config()) as db:
        db.drop_collection("rocks")
    assert tables(tmp_path / "shared") == []


def test_what_an_unreachable_store_holds_of_a_dropped_collection_is_collected_later(
    tmp_path: Path, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(tmp_path / "kb", at(store.uri)):
        uri = location.of(generation(tmp_path / "kb")).uri
    with outcrop.open(tmp_path / "kb", config=config()) as db:
        other = db.create_collection("others", embedder="hashing:32")
        store.door.shut()
        db.drop_collection("rocks")
        assert db.collections() == ["others"]
        (left,) = (tmp_path / "kb").glob(".dropped-*")
        assert [path.name for path in left.rglob("*") if path.is_file()] == ["location"]
        assert f"stays noted in {left}" in caplog.text
        assert uri in caplog.text
        assert ["was not reached" in item.reason for item in other.gc().kept if item.path == str(left)] == [True]
        assert store.held()
        store.door.open()
        assert [item.path for item in other.gc().removed] == [str(left)]
        assert store.held() == []
    assert not left.exists()


def test_a_generation_says_where_its_table_lies_if_not_in_its_own_folder(tmp_path: Path) -> None:
    with opened(tmp_path / "kb", at(tmp_path / "shared")) as collection:
        (first,) = collection.stats().generations
        assert first.table_uri == location.of(generation(tmp_path / "kb")).uri
        assert Path(first.table_uri).parent == tmp_path / "shared" / "rocks"
    with opened(tmp_path / "kb", config()) as collection:
        built = collection.build([*rocks(30), *rocks(5, "basalt", begin=100)])
        assert built.table_uri is None
        assert [one.table_uri for one in collection.generations()] == [first.table_uri, None]


def test_a_missing_table_elsewhere_is_built_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(tmp_path / "kb", at(tmp_path / "shared")):
        pass
    shutil.rmtree(tmp_path / "shared")
    with opened(tmp_path / "kb", at(tmp_path / "shared")) as collection:
        recovers(collection)
        assert "is missing; the LanceDB index is built anew from the documents" in caplog.text
        assert len(found(collection, "granite", mode="lexical")) == 30


@pytest.mark.parametrize("stands_in", ["a file", "a link to itself"])
def test_while_the_folder_of_tables_cannot_be_read_everything_else_goes_on(
    tmp_path: Path, stands_in: str, caplog: pytest.LogCaptureFixture
) -> None:
    shared, gone = tmp_path / "shared", tmp_path / "gone"
    with opened(tmp_path / "kb", at(shared, **NOTHING_KEPT)) as collection:
        assert answered_by(collection) == "lancedb"
        shared.rename(gone)
        if stands_in == "a file":
            shared.touch()
        else:
            shared.symlink_to(shared)
        hits = collection.search("granite", k=90, mode="lexical")
        assert len(hits) == 30
        assert "Roll back" not in str(hits.degraded)  # it heals by itself
        collection.upsert(rocks(3, "basalt", begin=100))
        assert len(found(collection, "basalt", mode="lexical")) == 3
        assert all(one.healthy for one in collection.verify())
        assert "the LanceDB index was not verified" in caplog.text
        collection.build([*rocks(30, "slate"), *rocks(3, "basalt", begin=100)], promote=True)
        assert answered_by(collection, "slate") == "builtin"
        collection.optimize()
        collection.gc()
        with pytest.raises(StorageFailed, match=r"shared"):
            collection.repair()
        shared.unlink()
        gone.rename(shared)
        recovers(collection)
        assert len(found(collection, "basalt", mode="lexical")) == 3


@pytest.mark.parametrize("stands_in", ["a file", "a link to itself"])
def test_a_folder_of_tables_that_cannot_be_read_is_no_damage(tmp_path: Path, stands_in: str) -> None:
    shared = tmp_path / "shared"
    with opened(tmp_path / "kb", at(shared)):
        pass
    shared.rename(tmp_path / "gone")
    if stands_in == "a file":
        shared.touch()
    else:
        shared.symlink_to(shared)
    recipe = required(generation(tmp_path / "kb")).recipe
    for look in (LanceEngine().open, LanceEngine().verify):
        with pytest.raises(StorageFailed, match="shared"):
            look(recipe, generation(tmp_path / "kb"))


def test_tables_in_folders_are_removed_without_lancedb(tmp_path: Path) -> None:
    with opened(tmp_path / "kb", at(tmp_path / "shared")):
        assert len(tables(tmp_path / "shared")) == 1
    with outcrop.open(tmp_path / "kb", config=Config.mvp_only(background=False)) as db:
        db.drop_collection("rocks")
    assert tables(tmp_path / "shared") == []
    assert not list((tmp_path / "kb").glob(".dropped-*"))


@pytest.mark.parametrize("knows_where", [True, False])
def test_a_damaged_note_of_where_a_table_lies_keeps_no_generation_from_going(
    tmp_path: Path, knows_where: bool, caplog: pytest.LogCaptureFixture
) -> None:
    shared = tmp_path / "shared"
    with opened(tmp_path / "kb", at(shared, **NOTHING_KEPT)):
        old = generation(tmp_path / "kb")
    with opened(tmp_path / "kb", at(shared) if knows_where else config(**NOTHING_KEPT)) as collection:
        collection.build([*rocks(30, "slate")], promote=True)
        assert answered_by(collection, "slate") == "lancedb"
    (old / "lancedb" / "location").write_text("garbage")
    with opened(tmp_path / "kb", config(**NOTHING_KEPT, **({"lancedb_uri": str(shared)} if knows_where else {}))) as collection:
        assert answered_by(collection, "slate") == "lancedb"
        assert [item.path for item in collection.gc().removed] == [str(old)]
        left = [name for name in tables(shared) if name.startswith(old.name)]
        assert left == [] if knows_where else len(left) == 1
        assert ("if the LanceDB table that it named is still there, it stays" in caplog.text) is not knows_where
        assert answered_by(collection, "slate") == "lancedb"
        collection.verify()


def test_a_repair_after_the_note_was_damaged_removes_the_table_before_and_no_other(tmp_path: Path) -> None:
    with opened(tmp_path / "kb", at(tmp_path / "shared")):
        pass
    (generation(tmp_path / "kb") / "lancedb" / "location").write_text("garbage")
    before = tables(tmp_path / "shared")
    with opened(tmp_path / "kb", at(tmp_path / "shared")) as collection:
        recovers(collection)
        after = tables(tmp_path / "shared")
        assert len(after) == 1
        assert after != before
        assert len(found(collection, "granite", mode="lexical")) == 30


def test_verify_says_that_lancedb_was_not_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(tmp_path / "kb"):
        pass
    lacking = Availability(available=False, reason="not installed", remedy="install it")
    monkeypatch.setattr(LanceEngine, "availability", lambda _: lacking)
    with opened(tmp_path / "kb") as collection:
        assert all(one.healthy for one in collection.verify())
    assert "the LanceDB index was not verified: the engine 'lancedb' cannot be used: not installed" in caplog.text


def test_other_files_beside_a_table_are_never_removed(tmp_path: Path) -> None:
    with opened(tmp_path / "kb", at(tmp_path / "shared")):
        place = location.of(generation(tmp_path / "kb"))
    assert place.local is not None
    (place.local / "notes.txt").write_text("mine")
    LanceEngine().drop(generation(tmp_path / "kb"))
    assert [path.name for path in place.local.iterdir()] == ["notes.txt"]

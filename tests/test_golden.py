"""The golden example of format 1: a database that was made once is read, searched, written and rolled back as on its first day.

`tests/golden/format-1.tar.gz` and `format-1.json` (what it answers) were made with the first release of format 1 by
`tests/golden/make.py`, and are for ever. **Every later version of Outcrop must pass these tests with those very files.** They may
get stricter. If one fails, the change under test has broken the databases that people have: mend the change.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import outcrop
from outcrop import Collection, Config, Database, Document, Gate
from outcrop.testing import oracle

GOLDEN = Path(__file__).parent / "golden"
EXPECTED: dict[str, Any] = json.loads((GOLDEN / "format-1.json").read_text(encoding="utf-8"))
SEARCHES = [
    pytest.param(name, one["asked"], one["answer"], id=f"{name}-{number}")
    for name, expected in EXPECTED.items()
    for number, one in enumerate(expected["searches"])
]
TOLERANCE = 1e-5
LOCKS = ("lease", ".lock", ".queue")
ANYTHING = Gate(vanished_share_max=1.0)


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database, to be read only."""
    folder = tmp_path_factory.mktemp("golden") / "kb"
    unpack(folder)
    return folder


@pytest.fixture(scope="session")
def reading(unpacked: Path) -> Iterator[Database]:
    with outcrop.open(unpacked, config=Config.test(), read_only=True) as db:
        yield db


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A copy to write to."""
    unpack(tmp_path / "kb")
    with outcrop.open(tmp_path / "kb", config=Config.test()) as opened:
        yield opened


def unpack(folder: Path) -> None:
    with tarfile.open(GOLDEN / "format-1.tar.gz") as archive:
        archive.extractall(folder, filter="data")


def documents(name: str) -> list[Document]:
    """The documents that were in a collection, in the order of writing."""
    return [Document(**one) for one in EXPECTED[name]["documents"]]


def by_id(collection: Collection) -> dict[str, Document]:
    return {document.id: document for document in collection.scan()}


def found(collection: Collection, **asked: Any) -> list[str]:
    return [hit.document_id for hit in collection.search(**asked)]


def check_vectors(collection: Collection) -> None:
    """The points nearest to each of some points are what brute force says of the collection's documents as they are now."""
    stored = list(collection.scan())
    vectors = np.array([document.vector for document in stored])
    for number in (0, 100, len(stored) - 1):
        expected = oracle.nearest(vectors, vectors[number], 5, "l2")
        hits = collection.search(vector=vectors[number], k=5)
        assert [hit.score for hit in hits] == pytest.approx([score for _, score in expected], abs=TOLERANCE)
        assert hits[0].document_id == stored[number].id


def content(folder: Path) -> dict[str, str]:
    """The checksum of every file that is no lock."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(LOCKS)]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize(("name", "asked", "answer"), SEARCHES)
def test_a_search_answers_as_it_did(reading: Database, name: str, asked: dict[str, Any], answer: dict[str, Any]) -> None:
    hits = reading.collection(name).search(**asked)
    assert answer["hits"]
    assert [hit.id for hit in hits] == [chunk for chunk, _ in answer["hits"]]
    assert [hit.score for hit in hits] == pytest.approx([score for _, score in answer["hits"]], abs=TOLERANCE)
    assert (hits.generation, hits.sequence, hits.index_lag) == (answer["generation"], answer["sequence"], answer["index_lag"])


@pytest.mark.parametrize("name", EXPECTED)
def test_every_document_is_there_as_it_was_written(reading: Database, name: str) -> None:
    collection, expected = reading.collection(name), documents(name)
    assert list(collection.scan()) == expected
    assert collection.get([expected[-1].id, "unknown", expected[0].id]) == [expected[-1], expected[0]]
    assert collection.count() == len(expected)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_filter_selects_what_it_did(reading: Database, name: str) -> None:
    for where, count in EXPECTED[name]["counts"].items():
        selected = oracle.select(documents(name), where)
        assert 0 < len(selected) < len(documents(name)), f"{where} tells nothing"
        assert reading.collection(name).count(where) == len(selected) == count
        assert list(reading.collection(name).scan(where)) == selected


def test_the_nearest_points_were_right_from_the_beginning(reading: Database) -> None:
    check_vectors(reading.collection("points"))


@pytest.mark.parametrize("name", EXPECTED)
def test_the_history_and_the_generations_are_told_as_they_were(reading: Database, name: str) -> None:
    collection = reading.collection(name)
    history = [{key: getattr(entry, key) for key in one} for entry, one in zip(collection.history(), known(name), strict=True)]
    assert history == known(name)
    for info, one in zip(collection.generations(), EXPECTED[name]["generations"], strict=True):
        told = {key: getattr(info, key) for key in one if key not in ("recipe", "path", "size_bytes")}
        assert told == {key: value for key, value in one.items() if key in told}
        assert info.recipe.chunker == one["recipe"]["chunker"]
        assert (info.recipe.embedder is None) == (one["recipe"]["embedder"] is None)


def known(name: str) -> list[dict[str, Any]]:
    history: list[dict[str, Any]] = EXPECTED[name]["history"]
    return history


def test_the_example_has_a_bit_of_everything(reading: Database) -> None:
    notes, points, cut = (reading.collection(name) for name in ("notes", "points", "cut"))
    assert [info.status for info in notes.generations()] == ["archived", "active"]
    assert [info.status for info in points.generations()] == ["archived", "active", "ready"]
    assert [info.status for info in cut.generations()] == ["active", "damaged"]
    kinds = [(info.vector_index or "").partition(" ")[0] for info in points.generations()]
    assert kinds == ["ivf_pq", "hnsw", "flat"]
    assert (reading.path / "notes" / "active").is_file()
    assert not (reading.path / "notes" / "active").is_symlink()
    assert (reading.path / "points" / "active").is_symlink()
    assert [(entry.kind, entry.forced) for entry in points.history()] == [
        ("promote", False),
        ("promote", True),
        ("rollback", False),
        ("rollback", False),
    ]
    gate = notes.history()[1].gate
    assert gate is not None
    assert [check["name"] for check in gate["checks"]] == ["documents", "required ids", "vanished ids", "overlap@10"]


def test_every_byte_is_what_was_written(reading: Database) -> None:
    for name in EXPECTED:
        reports = reading.collection(name).verify()
        assert reports
        assert [report.fault for report in reports] == [None] * len(reports)


def test_reading_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "kb"
    unpack(folder)
    before = content(folder)
    with outcrop.open(folder, config=Config.test(), read_only=True) as db:
        for name in ("notes", "points"):
            collection = db.collection(name)
            for one in EXPECTED[name]["searches"]:
                collection.search(**one["asked"])
            assert list(collection.scan()) == documents(name)
            collection.stats()
            collection.verify()
            collection.gc(dry_run=True)
    assert content(folder) == before
    assert len(before) > 100


def test_the_collector_would_take_what_it_would_have_taken(reading: Database) -> None:
    for name, expected in EXPECTED.items():
        found = reading.collection(name).gc(dry_run=True)
        assert [[item.kind, item.generation] for item in found.removed] == expected["gc"]
        assert [item for item in found.kept if item.kind == "unknown"] == []
    assert EXPECTED["cut"]["gc"] == [["generation", 2], ["build", 3]]


def test_rolling_back_replays_the_journal_and_loses_nothing(db: Database) -> None:
    notes = db.collection("notes")
    assert found(notes, query="obsidian", mode="lexical", generation=1) == ["gone"]
    assert found(notes, query="polish", mode="lexical", generation=1) == []
    plan = notes.rollback(dry_run=True)
    assert (plan.generation, plan.entries, plan.embedded_documents, plan.lexical_documents) == (1, 6, 2, 0)
    assert notes.rollback().number == 1
    assert by_id(notes) == {document.id: document for document in documents("notes")}
    assert found(notes, query="obsidian", mode="lexical") == []
    assert found(notes, query="polish", mode="lexical") == ["marble"]
    assert found(notes, query="anything", mode="vector", where="checked and year = 2021")
    assert notes.rollback().number == 2
    assert by_id(notes) == {document.id: document for document in documents("notes")}
    assert [entry.kind for entry in notes.history()] == ["promote", "promote", "rollback", "rollback"]


def test_given_vectors_survive_a_rollback(db: Database) -> None:
    points = db.collection("points")
    assert points.rollback().number == 1
    check_vectors(points)
    assert by_id(points) == {document.id: document for document in documents("points")}


def test_a_further_write_goes_on_from_the_last(db: Database) -> None:
    notes = db.collection("notes")
    wrote = notes.upsert([Document("slate", "Slate again, from Galicia."), Document("new", "Gneiss is striped.")])
    assert (wrote.sequence, wrote.upserted, wrote.replaced) == (EXPECTED["notes"]["sequence"] + 1, 2, 1)
    assert found(notes, query="Galicia", mode="lexical") == ["slate"]
    assert found(notes, query="Gneiss is striped.", mode="vector")[0] == "new"
    assert notes.delete(where="kind = 'igneous'").deleted == 2
    assert notes.update_metadata("new", {"kind": "metamorphic"}).updated == 1
    assert set(by_id(notes)) == {"slate", "new", "marble", "shale", "chalk", "Kreide/Rügen#1"}
    assert notes.rollback().number == 1
    assert notes.get("slate")[0].text == "Slate again, from Galicia."
    assert notes.count() == 6


def test_absorbing_and_merging_change_no_answer(db: Database) -> None:
    for name in ("notes", "points"):
        collection = db.collection(name)
        before = [found(collection, **one["asked"]) for one in EXPECTED[name]["searches"]]
        assert collection.optimize().absorbed == 4
        assert collection.stats().index_lag == 0
        assert [found(collection, **one["asked"]) for one in EXPECTED[name]["searches"]] == before
        assert all(report.healthy for report in collection.verify())
        assert list(collection.scan()) == documents(name)
    check_vectors(db.collection("points"))


def test_what_was_written_before_goes_into_the_next_generation(db: Database) -> None:
    points = db.collection("points")
    info = points.build(promote=True, gate=Gate(required_ids=["p264", "p267"], vanished_share_max=0.0))
    assert (info.number, info.document_count, info.vanished, info.revived) == (4, len(documents("points")), 0, 0)
    check_vectors(points)
    assert points.promote(3, gate=ANYTHING).document_count == len(documents("points"))  # built before the last writes
    check_vectors(points)


def test_a_write_that_was_cut_short_becomes_visible_with_the_next(db: Database) -> None:
    cut = db.collection("cut")
    assert found(cut, query="shells", mode="lexical") == []
    assert [document.id for document in cut.scan()] == ["slate", "granite", "basalt"]
    cut.upsert(Document("after", "Flint lies in it."))
    assert found(cut, query="shells", mode="lexical") == ["chalk"]
    assert found(cut, query="Flint", mode="lexical") == ["after"]
    assert [document.id for document in cut.scan()] == ["slate", "granite", "basalt", "chalk", "shale", "after"]


def test_a_build_that_was_cut_short_stands_in_nobodys_way(db: Database) -> None:
    cut = db.collection("cut")
    info = cut.build(promote=True)
    assert info.number == 4
    assert [document.id for document in cut.scan()] == ["slate", "granite", "basalt", "chalk", "shale"]
    assert cut.get([document.id for document in documents("cut")]) == documents("cut")
    assert sorted(info.number for info in cut.generations()) == [1, 2, 4]
    removed = cut.gc().removed
    assert [item.generation for item in removed] == [2]
    assert all(report.healthy for report in cut.verify())


def test_the_example_names_no_machine(unpacked: Path) -> None:
    actors = {entry["actor"] for expected in EXPECTED.values() for entry in expected["history"]}
    assert actors == {"maker@example, process 1"}
    with tarfile.open(GOLDEN / "format-1.tar.gz") as archive:
        members = archive.getmembers()
    assert {(member.uid, member.gid, member.uname, member.gname) for member in members} == {(0, 0, "", "")}
    assert not [member.name for member in members if member.name.endswith((*LOCKS, "-shm"))]
    paths = re.compile(rb"/(?:home|root|tmp|work|var|Users)/")
    files = [path for path in unpacked.rglob("*") if path.is_file()]
    assert [path.name for path in files if paths.search(path.read_bytes())] == []

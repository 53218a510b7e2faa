"""Disks that are full, folders that are closed to us, files that were damaged: a clear error, and what was there still answers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import outcrop
from outcrop import Config, Document
from outcrop.errors import Damaged, NotFound, StorageFailed, UnknownCollection
from tests.damage import overwrite

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="limits, users and modes are those of POSIX systems")

DOCUMENTS = [Document(f"d{i}", f"granite number {i} " + "and many more words " * 20, metadata={"n": i}) for i in range(400)]


@pytest.fixture
def kb(tmp_path: Path) -> Path:
    with outcrop.open(tmp_path / "kb", config=Config.test()) as db:
        db.create_collection("rocks", embedder="hashing:64").build(DOCUMENTS[:50], promote=True)
    return tmp_path / "kb"


def assert_unharmed(kb: Path) -> None:
    with outcrop.open(kb, config=Config.test()) as db:
        rocks = db.collection("rocks")
        assert [info.number for info in rocks.generations()] == [1]
        assert len(list((kb / "rocks" / "generations").iterdir())) == 1
        hits = rocks.search("granite", k=5)
        assert (len(hits), hits.generation) == (5, 1)


# Builds under a limit on the size of files: the same refusals of write() as a full disk gives, at a place of our choosing.
LIMITED = """
import resource, signal, sys
import outcrop
from outcrop import Config, Document
from outcrop.errors import StorageFailed
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
db = outcrop.open(sys.argv[1], config=Config.test(embedding_cache_bytes_max=0))
rocks = db.collection("rocks")
documents = [Document(f"d{i}", f"granite number {i} " + "and many more words " * 20, metadata={"n": i}) for i in range(400)]
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    rocks.build(documents)
except StorageFailed as error:
    print("refused:", error)
else:
    print("built")
"""


def build_limited(kb: Path, size_bytes: int) -> str:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(kb), str(size_bytes)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("size_kib", [40, 80, 120, 160, 240])
def test_a_build_that_runs_out_of_space_says_so_and_harms_nothing(kb: Path, size_kib: int) -> None:
    assert build_limited(kb, size_kib * 1024).startswith("refused:")
    for left in (kb / "rocks" / "generations").glob("000002-*"):  # what was embedded is kept for the next build
        assert {path.name for path in left.iterdir()} <= {
            "documents.sqlite",
            "documents.sqlite-wal",
            "documents.sqlite-shm",
            "embedded.log",
        }
        shutil.rmtree(left)
    assert_unharmed(kb)


def test_without_the_limit_the_same_build_succeeds_and_goes_on_from_what_was_kept(kb: Path) -> None:
    assert build_limited(kb, 240 * 1024).startswith("refused:")
    assert len(list((kb / "rocks" / "generations").iterdir())) == 2
    assert build_limited(kb, 1 << 30) == "built\n"
    with outcrop.open(kb, config=Config.test()) as db:
        assert [info.document_count for info in db.collection("rocks").generations()] == [50, 400]
    assert len(list((kb / "rocks" / "generations").iterdir())) == 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("mounting a small file system needs more rights than this user has")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def test_a_full_disk_says_so_and_the_active_generation_goes_on(small_disk: Path) -> None:
    with outcrop.open(small_disk / "kb", config=Config.test(embedding_cache_bytes_max=0)) as db:
        rocks = db.create_collection("rocks", embedder="none")
        rocks.build(DOCUMENTS[:20], promote=True)
        with pytest.raises(StorageFailed, match=r"full|space"):
            rocks.build(Document(f"d{i}", f"granite {i} " + os.urandom(400).hex()) for i in range(20_000))
        assert len(rocks.search("granite", k=5)) == 5
        assert rocks.build(DOCUMENTS[:30], promote=True).document_count == 30


AS_ANYBODY = """
import os, sys, tempfile
import outcrop
from outcrop import Config, Document
from outcrop.errors import OutcropError
with tempfile.TemporaryDirectory() as folder, outcrop.open(folder, config=Config.test()) as db:  # imports what is imported late
    db.create_collection("rocks", embedder="hashing:64").build([Document("a", "x")], promote=True).recipe
    db.collection("rocks").search("x")
if os.getuid() == 0:  # root may write anywhere
    os.setgid(65534)
    os.setuid(65534)
try:
    db = outcrop.open(sys.argv[1], config=Config.test(), read_only=sys.argv[2] == "search")
    rocks = db.create_collection("more") if sys.argv[2] == "create" else db.collection("rocks")
    if sys.argv[2] == "build":
        rocks.build([Document("a", "x")])
    if sys.argv[2] == "search":
        print(len(rocks.search("granite", k=5)))
except OutcropError as error:
    print(type(error).__name__, error)
"""


def as_anybody(kb: Path, action: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", AS_ANYBODY, str(kb), action], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def closed(kb: Path) -> Iterator[Path]:
    """A database that may be read but not written."""
    if os.getuid() == 0:  # then another user tries, who must be able to get here
        for parent in kb.parents:
            if not parent.stat().st_mode & 0o005:
                parent.chmod(parent.stat().st_mode | 0o005)
    folders = [kb, *(path for path in kb.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    yield kb
    for folder in folders:
        folder.chmod(0o755)


def test_a_database_that_may_not_even_be_looked_at_is_refused(kb: Path) -> None:
    kb.parent.chmod(0o700)
    said = as_anybody(kb, "search")
    assert os.getuid() or said.startswith("StorageFailed"), said


def test_searching_needs_the_right_to_make_lock_files_and_says_so(closed: Path) -> None:
    assert "Permission denied" in as_anybody(closed, "search")


@pytest.mark.parametrize("action", ["create", "build"])
def test_a_folder_without_permission_is_named_with_what_to_do(closed: Path, action: str) -> None:
    said = as_anybody(closed, action)
    assert said.startswith("StorageFailed")
    assert "Permission denied" in said or "permissions" in said


def test_a_file_in_the_place_of_a_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kb").write_text("a file")
    with pytest.raises(StorageFailed, match="is a file; a database is a folder"):
        outcrop.open(tmp_path / "kb")


def test_reading_a_database_that_is_not_there_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no database"):
        outcrop.open(tmp_path / "kb", read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_collection_is_answered_with_the_nearest_name(kb: Path) -> None:
    with outcrop.open(kb) as db, pytest.raises(UnknownCollection, match="did you mean 'rocks'") as caught:
        db.collection("rock")
    assert caught.value.nearest == "rocks"


@pytest.mark.parametrize("name", ["", "..", ".", "a/b", "a\\b", "../x", "UPPER", "-x", "a" * 65, "ü", "a b", "con", "a\n", None, 7])
def test_a_name_that_could_leave_the_folder_is_no_name(tmp_path: Path, name: object) -> None:
    with outcrop.open(tmp_path / "kb", config=Config.test()) as db:
        for use in (db.create_collection, db.collection, db.drop_collection):
            with pytest.raises(outcrop.errors.InvalidName):
                use(name)  # type: ignore[operator]
        assert db.collections() == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kb"]


@pytest.mark.parametrize("name", ["collection.json", "journal.sqlite"])
def test_a_damaged_file_of_a_collection_is_named(kb: Path, name: str) -> None:
    (kb / "rocks" / name).write_bytes(b"\x00garbage" * 1000)
    with outcrop.open(kb, config=Config.test()) as db, pytest.raises(Damaged, match=name.replace(".", r"\.")):
        db.collection("rocks").generations()


@pytest.mark.parametrize(
    "pattern", ["manifest.json", "documents.sqlite", "slots.npy", "index.msgpack", "vectors.f32", "builtin/text/meta.json"]
)
@pytest.mark.parametrize("fault", ["removed", "emptied", "overwritten"])
def test_a_damaged_active_generation_is_set_aside_and_an_earlier_one_serves(kb: Path, pattern: str, fault: str) -> None:
    with outcrop.open(kb, config=Config.test()) as db:
        second = db.collection("rocks").build(promote=True)
    damaged = next(path for path in Path(second.path).rglob("*") if path.as_posix().endswith(pattern))
    for side in ("-wal", "-shm"):
        Path(f"{damaged}{side}").unlink(missing_ok=True)
    if fault == "removed":
        damaged.unlink()
    else:
        overwrite(damaged, b"" if fault == "emptied" else b"\xff" * (damaged.stat().st_size + 1))

    with outcrop.open(kb, config=Config.test(), read_only=True) as db:
        hits = db.collection("rocks").search("granite", k=5)
        assert (hits.generation, len(hits)) == (1, 5)
        assert damaged.name in str(hits.degraded) or str(damaged.parent) in str(hits.degraded)
        assert db.collection("rocks").history()[-1].generation == 2
    with outcrop.open(kb, config=Config.test()) as db:
        rocks = db.collection("rocks")
        hits = rocks.search("granite", k=5)
        assert (hits.generation, len(hits)) == (1, 5)
        assert hits.degraded
        assert "generation 2 is damaged" in rocks.stats().degraded
        assert [(one.generation, one.previous, one.kind) for one in rocks.history()][-1] == (1, 2, "quarantine")
        rocks.upsert(Document("late", "late granite"))
        assert rocks.promote(rocks.build()).number == 3
        assert rocks.search("late").degraded is None

"""The record of system calls is complete, and a power cut takes what was not synced and nothing else."""

from __future__ import annotations

import random
import signal
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import tantivy

from tests.crash import disk
from tests.crash.calls import Call, Kind
from tests.crash.conftest import Recorded
from tests.crash.disk import Disk, Loss, Tree

REPLACE = """
import os
def put(content, sync_file, sync_folder):
    with open("new", "wb") as file:
        file.write(content)
        if sync_file:
            file.flush()
            os.fsync(file.fileno())
    os.replace("new", "file")
    if sync_folder:
        folder = os.open(".", os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
put(b"old", True, True)
note("begun")
"""


def cuts(folder: Path, recorded: list[Call], loss: Loss = Loss.ALL, *, seeds: int = 1) -> list[tuple[list[str], Tree]]:
    """After every call: the notes so far, and what a power cut leaves."""
    shown, notes, found = Disk(folder), [], []
    for index, call in enumerate(recorded):
        if call.kind == Kind.NOTE:
            notes.append(call.data.decode())
        shown.apply(call)
        found += [(list(notes), shown.after_cut(loss, random.Random(f"{index} {seed}"))) for seed in range(seeds)]
    return found


@pytest.mark.parametrize("loss", Loss)
def test_a_file_replaced_with_every_sync_holds_the_old_content_or_the_new(folder: Path, recorded: Recorded, loss: Loss) -> None:
    calls = recorded(f'{REPLACE}put(b"newer", True, True)\nnote("done")')
    begun = [(notes, tree) for notes, tree in cuts(folder, calls, loss, seeds=20) if notes]
    assert {tree["file"] for _, tree in begun} == {b"old", b"newer"}
    assert {tree["file"] for notes, tree in begun if "done" in notes} == {b"newer"}


def test_without_the_sync_of_the_file_its_content_may_be_lost(folder: Path, recorded: Recorded) -> None:
    calls = recorded(f'{REPLACE}put(b"newer", False, True)\nnote("done")')
    assert {tree["file"] for notes, tree in cuts(folder, calls) if "done" in notes} == {b""}


def test_without_the_sync_of_the_folder_the_rename_may_be_lost(folder: Path, recorded: Recorded) -> None:
    calls = recorded(f'{REPLACE}put(b"newer", True, False)\nnote("done")')
    assert {tree["file"] for notes, tree in cuts(folder, calls) if "done" in notes} == {b"old"}
    assert {tree["file"] for notes, tree in cuts(folder, calls, Loss.LATER, seeds=20) if "done" in notes} == {b"old", b"newer"}


def test_what_was_removed_may_be_back_until_its_folder_is_synced(folder: Path, recorded: Recorded) -> None:
    calls = recorded(f"{REPLACE}os.remove('file')\nnote('removed')\nos.fsync(os.open('.', os.O_RDONLY))\nnote('synced')\n")
    found = cuts(folder, calls)
    assert {"file" in tree for notes, tree in found if notes[-1:] == ["removed"]} == {True, False}
    assert {"file" in tree for notes, tree in found if notes[-1:] == ["synced"]} == {False}


def test_a_folder_moved_elsewhere_is_never_lost(folder: Path, recorded: Recorded) -> None:
    program = """
import os
def sync(path):
    os.fsync(os.open(path, os.O_RDONLY))
for name in ("from", "to", "from/it"):
    os.mkdir(name)
sync("from")
sync(".")
note("made")
os.rename("from/it", "to/it")
sync("to")
sync(".")
"""
    for loss in Loss:
        kept = [tree for notes, tree in cuts(folder, recorded(program), loss, seeds=10) if notes]
        assert {("from/it" in tree) + ("to/it" in tree) for tree in kept} == {1}
        for name in ("from/it", "to/it", "from", "to"):
            (folder / name).exists() and (folder / name).rmdir()


DATABASE = """
import sqlite3
connection = sqlite3.connect("db", isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("PRAGMA synchronous = {synchronous}")
connection.execute("PRAGMA wal_autocheckpoint = 8")
connection.execute("CREATE TABLE t (n INTEGER, filler TEXT)")
for n in range(1, 21):
    connection.execute("INSERT INTO t VALUES (?, ?)", (n, "x" * 2000))
    note(str(n))
{end}
"""


def rows(tree: Tree, path: Path) -> int | None:
    """How many rows the database of a tree holds; None if it is damaged."""
    disk.write(tree, path)
    if not (path / "db").exists():
        return 0
    connection = sqlite3.connect(path / "db")
    try:
        found = [n for (n,) in connection.execute("SELECT n FROM t ORDER BY n")]
        whole = connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return len(found) if whole and found == list(range(1, len(found) + 1)) else None
    except sqlite3.DatabaseError as error:
        return 0 if "no such table" in str(error) else None
    finally:
        connection.close()


@pytest.mark.parametrize("loss", Loss)
@pytest.mark.parametrize("end", ["connection.close()", "import os; os._exit(0)"])
def test_sqlite_with_every_commit_synced_loses_no_commit(
    folder: Path, recorded: Recorded, tmp_path: Path, loss: Loss, end: str
) -> None:
    calls = recorded(DATABASE.format(synchronous="FULL", end=end))
    found = [(len(notes), rows(tree, tmp_path / f"cut{i}")) for i, (notes, tree) in enumerate(cuts(folder, calls, loss))]
    assert len(found) > 100
    assert [(noted, there) for noted, there in found if there is None or not noted <= there <= noted + 1] == []


def test_sqlite_without_syncs_loses_commits(folder: Path, recorded: Recorded, tmp_path: Path) -> None:
    calls = recorded(DATABASE.format(synchronous="OFF", end="connection.close()"))
    found = [(len(notes), rows(tree, tmp_path / f"cut{i}")) for i, (notes, tree) in enumerate(cuts(folder, calls))]
    assert any(there is None or noted > there for noted, there in found)


INDEX = """
import os, tantivy
builder = tantivy.SchemaBuilder()
builder.add_integer_field("n", indexed=True, stored=True)
index = tantivy.Index(builder.build(), os.getcwd())
writer = index.writer(15_000_000, 1)
for n in range(1, 4):
    writer.add_document(tantivy.Document(n=n))
    writer.commit()
    if {synced}:
        os.fsync(os.open(".", os.O_RDONLY))
    note(str(n))
writer.wait_merging_threads()
"""


def documents(tree: Tree, path: Path) -> int:
    disk.write(tree, path)
    if not (path / "meta.json").exists():
        return 0
    index = tantivy.Index.open(str(path))
    return index.searcher().num_docs


def test_tantivy_loses_no_commit_if_its_folder_is_synced_afterwards(folder: Path, recorded: Recorded, tmp_path: Path) -> None:
    calls = recorded(INDEX.format(synced=True))
    assert any(call.kind == Kind.RENAME and call.other.endswith("/meta.json") for call in calls), "its renames are seen"
    found = [(len(notes), documents(tree, tmp_path / f"cut{i}")) for i, (notes, tree) in enumerate(cuts(folder, calls))]
    assert [(noted, there) for noted, there in found if not noted <= there <= noted + 1] == []


def test_tantivy_alone_may_lose_its_last_commit(folder: Path, recorded: Recorded, tmp_path: Path) -> None:
    calls = recorded(INDEX.format(synced=False))
    found = [(len(notes), documents(tree, tmp_path / f"cut{i}")) for i, (notes, tree) in enumerate(cuts(folder, calls))]
    assert any(noted > there for noted, there in found)


FILES_OF_LIBRARIES = """
import os, faiss, numpy as np
index = faiss.IndexFlatL2(8)
index.add(np.arange(800, dtype=np.float32).reshape(100, 8))
faiss.write_index(index, "index.faiss")
np.save("array.npy", np.arange(1000))
with open("appended", "ab") as file:
    file.write(b"one")
with open("appended", "ab") as file:
    file.write(b"two")
os.symlink("appended", "link")
os.truncate(os.open("appended", os.O_RDWR), 4)
"""


def test_every_write_of_faiss_and_numpy_is_recorded(folder: Path, recorded: Recorded) -> None:
    shown = Disk(folder)
    for call in recorded(FILES_OF_LIBRARIES):
        shown.apply(call)
    assert shown.now() == disk.read(folder)
    assert shown.now()["appended"] == b"onet"
    assert len(np.load(folder / "array.npy")) == 1000
    assert shown.after_cut() == {}, "and neither library syncs anything"


def test_stores_into_a_mapped_file_are_refused_as_invisible(folder: Path, recorded: Recorded) -> None:
    calls = recorded("import numpy; numpy.memmap('mapped', dtype='u1', mode='w+', shape=10)[:] = 7")
    with pytest.raises(ValueError, match=r"cannot be shown: STRANGE .*/mapped"):
        cuts(folder, calls)


def test_at_the_nth_call_the_process_is_killed(folder: Path, recorded: Recorded) -> None:
    program = "import os\nfor n in range(9):\n    os.mkdir(str(n))"
    assert len(recorded(program, expected=-signal.SIGKILL, FAULTS_KILL_AT="4")) == 3
    assert sorted(path.name for path in folder.iterdir()) == ["0", "1", "2"]


@pytest.mark.parametrize(("place", "reordered"), [("builtin/text", False), ("builtin/other", True)])
def test_only_tantivys_folders_are_promised_an_order_of_names(
    folder: Path, recorded: Recorded, place: str, reordered: bool
) -> None:
    """A list is replaced, then what the old one names is removed: with an order, whoever has the old list has its files."""
    program = f"""
import os
os.makedirs("{place}")
os.chdir("{place}")
for name in ("list", "a"):
    open(name, "wb").close()
for path in (".", "..", "../.."):
    os.fsync(os.open(path, os.O_RDONLY))
note("begun")
open("new", "wb").close()
os.rename("new", "list-2")
os.remove("list")
os.remove("a")
"""
    found = [tree for notes, tree in cuts(folder, recorded(program), Loss.ANY, seeds=200) if notes]
    seen = {(f"{place}/list-2" in tree, f"{place}/list" in tree, f"{place}/a" in tree) for tree in found}
    assert {(False, True, True), (True, True, True), (True, False, True), (True, False, False)} <= seen
    assert ((False, False, False) in seen) == ((False, True, False) in seen) == reordered

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from outcrop.engines.builtin.text import TextReader
from outcrop.engines.builtin.text_writer import TextWriter
from outcrop.engines.protocol import IndexedChunk

IN_A_PROCESS_OF_ITS_OWN = """
import signal, sys
from pathlib import Path
from outcrop.engines.builtin.text import TextReader
from outcrop.engines.builtin.text_writer import TextWriter
from outcrop.engines.protocol import IndexedChunk
from outcrop.errors import StorageFailed

def chunk(slot):
    return IndexedChunk(slot=slot, title=None, text=f"granite word{slot}", metadata={}, vector=None)

directory = Path(sys.argv[1])
"""

FULL_DISK = """
import resource
writer = TextWriter.create(directory, "english")
writer.add([chunk(0)])
writer.commit(1)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (64, resource.RLIM_INFINITY))
for _ in range(3):
    try:
        writer.add([chunk(1)])
        writer.delete([0])
        writer.commit(2)
    except StorageFailed as error:
        print("refused", flush=True)
reader = TextReader.open(directory, "english")
assert (reader.newest().sequence, reader.newest().search("granite", 9, None).slots.tolist()) == (1, [0])
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
writer.add([chunk(1)])
writer.delete([0])
writer.commit(2)
writer.close()
assert (reader.newest().sequence, reader.newest().search("granite", 9, None).slots.tolist()) == (2, [1])
print("recovered")
"""

ENDLESS_WRITES = """
slot = int(sys.argv[2])
writer = TextWriter.open(directory, "english")
while True:
    slot += 1
    writer.add([chunk(slot)])
    writer.delete([slot - 3])
    writer.commit(slot)
    print(slot, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no RLIMIT_FSIZE to play a full disk with")
def test_a_commit_that_the_disk_refuses_changes_nothing_and_the_writer_goes_on_when_there_is_room(tmp_path: Path) -> None:
    command = [sys.executable, "-c", IN_A_PROCESS_OF_ITS_OWN + FULL_DISK, str(tmp_path / "index")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.split() == ["refused", "refused", "refused", "recovered"], done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_after_a_kill_at_any_time_the_index_holds_a_whole_write_and_takes_the_next(tmp_path: Path) -> None:
    writer = TextWriter.create(tmp_path, "english")
    writer.add([IndexedChunk(slot=0, title=None, text="granite", metadata={}, vector=None)])
    writer.commit(0)
    writer.close()
    sequence = 0
    for commits in (1, 4, 2, 7, 3):
        command = [sys.executable, "-c", IN_A_PROCESS_OF_ITS_OWN + ENDLESS_WRITES, str(tmp_path), str(sequence)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            acknowledged = [int(process.stdout.readline()) for _ in range(commits)][-1]
            process.kill()
        reader = TextReader.open(tmp_path, "english")
        sequence = reader.newest().sequence
        assert sequence >= acknowledged
        assert sorted(reader.newest().search("granite", 9, None).slots.tolist()) == list(range(max(0, sequence - 2), sequence + 1))
        assert reader.newest().chunk_count == min(3, sequence + 1)
        reader.close()


def test_segment_files_of_which_tantivy_knows_nothing_are_removed_and_wedge_nothing(tmp_path: Path) -> None:
    """As a copy of a folder may hold them that was being written: the next commit wants the very name of one."""
    index, copy = tmp_path / "index", tmp_path / "copy"
    with closing(TextWriter.create(index, "english")) as writer:
        writer.add([chunk(0), chunk(1)])
        writer.commit(1)
    shutil.copytree(index, copy)
    delete(copy, 0, sequence=2)
    (wanted,) = {path.name for path in copy.glob("*.del")}
    left = (wanted, f"{'0' * 32}.idx", f"{'0' * 32}.7.del")
    for name in (*left, "notes.txt"):
        (index / name).write_bytes(b"torn")
    delete(index, 0, sequence=2)
    there = {path.name for path in index.iterdir()}
    assert not there & set(left[1:])
    assert "notes.txt" in there
    with closing(TextReader.open(index, "english")) as reader:
        reader.verify()
        assert reader.newest().search("granite", 9, None).slots.tolist() == [1]


def chunk(slot: int) -> IndexedChunk:
    return IndexedChunk(slot=slot, title=None, text=f"granite word{slot}", metadata={}, vector=None)


def delete(directory: Path, slot: int, *, sequence: int) -> None:
    with closing(TextWriter.open(directory, "english")) as writer:
        writer.delete([slot])
        writer.commit(sequence)

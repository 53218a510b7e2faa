"""One builder, one writer: between threads, between processes, after kills and forks, and with a busy writer."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from outcrop.errors import CollectionLocked, StorageFailed
from outcrop.generations import locks
from outcrop.generations.layout import CollectionFolder
from outcrop.generations.locks import Owner

BEGINNING = """
import os, sys, time
from pathlib import Path
from outcrop.generations import locks
from outcrop.generations.layout import CollectionFolder
folder = CollectionFolder(Path(sys.argv[1]))
"""
HOLDS = """
with locks.writing(folder, 5):
    print("held", flush=True)
    sys.stdin.read()
"""
HOLDS_AND_HAS_A_CHILD = """
with locks.writing(folder, 5):
    child = os.fork()
    if not child:
        time.sleep(60)
        os._exit(0)
    print("held", child, flush=True)
    sys.stdin.read()
"""
IS_BUSY = """
print("held", flush=True)
while True:
    with locks.writing(folder, 30):
        time.sleep(0.002)
"""
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.fixture
def folder(tmp_path: Path) -> CollectionFolder:
    return CollectionFolder(tmp_path)


@contextmanager
def another_process(program: str, folder: CollectionFolder) -> Iterator[subprocess.Popen[str]]:
    """A process that runs the program, once it has said that it holds the lock; killed at the end."""
    command = [sys.executable, "-c", BEGINNING + program, str(folder.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str], word: str) -> str:
    """The line that the process said, which begins with the word."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith(word), line
    return line


def refusal(folder: CollectionFolder, timeout_seconds: float = 0.05) -> CollectionLocked:
    with pytest.raises(CollectionLocked) as caught, locks.writing(folder, timeout_seconds):
        pass
    return caught.value


def test_the_refusal_names_the_process_its_host_and_when_it_took_the_lock(folder: CollectionFolder) -> None:
    with another_process(HOLDS, folder) as holder:
        said(holder, "held")
        error = refusal(folder)
    assert error.owner.pid == holder.pid
    assert error.owner.host == socket.gethostname()
    assert datetime.fromisoformat(error.owner.since).tzinfo is not None
    assert str(error).startswith(f"{folder.path} is being written by {error.owner} (waited 0.05 s).")
    assert "Wait for it" in str(error)
    assert isinstance(error, TimeoutError)
    assert error.path == folder.path


def test_threads_exclude_each_other_as_processes_do(folder: CollectionFolder) -> None:
    with locks.writing(folder, 1):
        errors: list[CollectionLocked] = []
        thread = threading.Thread(target=lambda: errors.append(refusal(folder)))
        thread.start()
        thread.join()
        assert errors[0].owner.pid == os.getpid()
        assert f"process {os.getpid()} (this one) on" in str(errors[0])
    with locks.writing(folder, 0):
        pass


def test_many_threads_that_count_together_lose_nothing(folder: CollectionFolder) -> None:
    counter = folder.path / "counter"
    counter.write_text("0")

    def count() -> None:
        for _ in range(20):
            with locks.writing(folder, 30):
                counter.write_text(str(int(counter.read_text()) + 1))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.read_text() == "80"


def test_whoever_waits_gets_in_beside_a_busy_writer(folder: CollectionFolder) -> None:
    with another_process(IS_BUSY, folder) as busy:
        said(busy, "held")
        got_in = 0
        for _ in range(10):
            with locks.writing(folder, 10):
                got_in += 1
        assert busy.poll() is None
    assert got_in == 10


def test_whoever_is_in_the_queue_is_the_next_whatever_others_try(folder: CollectionFolder) -> None:
    """Without the queue the one who releases the lock and takes it again at once always wins against one who polls."""
    order: list[str] = []

    def wait_in_the_queue() -> None:
        with locks.writing(folder, 30):
            order.append("waited")

    with locks.writing(folder, 1):
        waiter = threading.Thread(target=wait_in_the_queue)
        waiter.start()
        while not is_locked(folder.writer_queue):
            time.sleep(0.001)
    with locks.writing(folder, 30):
        order.append("came later")
    waiter.join()
    assert order == ["waited", "came later"]


def is_locked(path: Path) -> bool:
    try:
        with locks.held(path, timeout_seconds=0, action="tried"):
            return False
    except CollectionLocked:
        return True


def test_the_lock_of_a_killed_process_is_free_at_once_whatever_it_wrote(folder: CollectionFolder) -> None:
    with another_process(HOLDS, folder) as holder:
        said(holder, "held")
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        assert str(holder.pid) in folder.writer_lock.read_text()
        with locks.writing(folder, 0):
            assert str(os.getpid()) in folder.writer_lock.read_text()


@needs_fork
def test_the_lock_of_a_killed_process_is_free_though_its_forked_child_lives(folder: CollectionFolder) -> None:
    with another_process(HOLDS_AND_HAS_A_CHILD, folder) as holder:
        child = int(said(holder, "held").split()[1])
        try:
            refusal(folder)
            os.kill(holder.pid, signal.SIGKILL)
            holder.wait()
            os.kill(child, 0)  # it lives
            with locks.writing(folder, 0):
                pass
        finally:
            os.kill(child, signal.SIGKILL)


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_that_ends_leaves_the_parents_lock_alone(folder: CollectionFolder) -> None:
    with locks.writing(folder, 1):
        child = os.fork()
        if not child:
            code = 1
            try:
                refusal(folder)
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        with another_process(HOLDS.replace("5", "0.05"), folder) as other:
            assert other.wait() != 0
    with locks.writing(folder, 0):
        pass


def test_what_stands_in_a_lock_file_decides_nothing(folder: CollectionFolder) -> None:
    for content in (b"", b"\0\xff garbled", b'{"pid": "none"}\n', b'{"pid":1,"host":"elsewhere","since":"never"}\n'):
        folder.writer_lock.write_bytes(content)
        with locks.writing(folder, 0):
            pass


def test_an_owner_that_cannot_be_read_is_another_process_or_thread(folder: CollectionFolder) -> None:
    with locks.writing(folder, 1):
        folder.writer_lock.write_bytes(b"garbled\n")
        error = refusal(folder)
    assert error.owner is None
    assert "by another process or thread (waited" in str(error)


def test_a_lock_that_was_released_names_nobody(folder: CollectionFolder) -> None:
    with locks.writing(folder, 1):
        assert locks._owner(folder.writer_lock) is not None
    assert locks._owner(folder.writer_lock) is None


def test_a_lock_file_that_was_moved_away_with_its_folder_is_not_the_lock_any_more(tmp_path: Path) -> None:
    """A waiter has the old file open when the collection is dropped and made anew under its name."""
    folder = CollectionFolder(tmp_path / "kb")
    folder.path.mkdir()
    got: list[bool] = []

    def wait() -> None:
        with locks.held(folder.build_lock, timeout_seconds=30, action="being built"):
            got.append(is_locked(folder.build_lock))

    with locks.held(folder.build_lock, timeout_seconds=1, action="being built"):
        waiter = threading.Thread(target=wait)
        waiter.start()
        folder.path.rename(tmp_path / "dropped")
        folder.path.mkdir()
    waiter.join()
    assert got == [True]


def test_the_locks_of_two_generations_are_two(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    refused = pytest.raises(CollectionLocked, match="a is being brought up to date by process")
    with locks.applying(tmp_path / "a", 0), locks.applying(tmp_path / "b", 0), refused, locks.applying(tmp_path / "a", 0):
        pass


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed, match=r"writer\.queue"), locks.writing(CollectionFolder(tmp_path / "missing"), 1):
        pass


def test_an_owner_reads_as_a_sentence() -> None:
    assert (
        str(Owner(pid=71, host="web-1", since="2026-01-01T12:04:00+00:00")) == "process 71 on web-1 since 2026-01-01T12:04:00+00:00"
    )

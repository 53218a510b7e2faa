"""A generation that is open anywhere is nobody's alone: threads, processes, forked children, kills, missing permissions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from outcrop.errors import CollectionLocked
from outcrop.generations import leases
from outcrop.generations.leases import Lease

HOLDS = """
import sys
from pathlib import Path
from outcrop.generations import leases
lease = leases.take(Path(sys.argv[1]))
print("held", lease.protects, flush=True)
sys.stdin.read()
"""
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


@pytest.fixture
def generation(tmp_path: Path) -> Path:
    directory = tmp_path / "generation"
    directory.mkdir()
    return directory


def take(directory: Path) -> Lease:
    lease = leases.take(directory)
    assert lease is not None
    return lease


def is_free(directory: Path) -> bool:
    with leases.try_exclusive(directory) as free:
        assert leases.is_taken(directory)  # by this very block, if not by another
        return free


def forked(work: Callable[[], object]) -> int:
    """The pid of a child that does the work and exits with 0 if it raised nothing."""
    child = os.fork()
    if not child:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return child


def exit_code(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_generation_is_taken_until_its_last_lease_is_released(generation: Path) -> None:
    assert is_free(generation)
    first, second = take(generation), take(generation)
    assert first.protects
    first.release()
    first.release()
    assert not first.protects
    assert not is_free(generation)
    second.release()
    assert is_free(generation)
    assert not leases.is_taken(generation)


def test_the_leases_of_two_generations_are_two(generation: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    lease = take(generation)
    assert is_free(other)
    lease.release()


def test_another_processs_lease_counts_until_it_is_killed(generation: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(generation)], stdin=-1, stdout=-1, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held True\n"
        assert not is_free(generation)
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        assert is_free(generation)


@needs_fork
def test_a_forked_child_keeps_the_lease_that_its_parent_releases(generation: Path) -> None:
    lease = take(generation)
    until, end = os.pipe()
    child = forked(lambda: (os.close(end), os.read(until, 1)))
    lease.release()
    assert not is_free(generation)
    os.close(end)
    assert exit_code(child) == 0
    assert is_free(generation)
    os.close(until)


@needs_fork
def test_a_forked_child_that_lets_go_leaves_the_parents_lease_alone(generation: Path) -> None:
    lease = take(generation)
    assert exit_code(forked(lease.release)) == 0
    assert not is_free(generation)
    lease.release()


def test_a_generation_that_is_gone_has_no_leases(generation: Path) -> None:
    generation.rmdir()
    assert leases.take(generation) is None
    assert not leases.is_taken(generation)
    with leases.try_exclusive(generation) as free:
        assert not free


def test_whoever_asks_for_a_lease_while_the_generation_is_removed_finds_it_gone(generation: Path, tmp_path: Path) -> None:
    take(generation).release()
    found: list[Lease | None] = []
    asking = threading.Event()

    def ask() -> None:
        asking.set()
        found.append(leases.take(generation))

    thread = threading.Thread(target=ask)
    with leases.try_exclusive(generation) as free:
        assert free
        thread.start()
        asking.wait()
        generation.rename(tmp_path / "removed")
    thread.join()
    assert found == [None]


def test_whoever_asks_for_a_lease_while_somebody_only_looks_gets_it(generation: Path) -> None:
    found: list[Lease | None] = []
    thread = threading.Thread(target=lambda: found.append(leases.take(generation)))
    with leases.try_exclusive(generation):
        thread.start()
    thread.join()
    assert found[0] is not None
    assert found[0].protects
    found[0].release()


def test_a_collector_that_hangs_is_named(generation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_WAITED_SECONDS_MAX", 0.01)
    with leases.try_exclusive(generation), pytest.raises(CollectionLocked, match="is being removed by another process"):
        leases.take(generation)


def test_looking_makes_no_file(generation: Path) -> None:
    assert not leases.is_taken(generation)
    assert list(generation.iterdir()) == []


def without_rights(work: Callable[[], object]) -> int:
    """What a child's exit code is that works without the rights to write into the test's folders."""

    def unprivileged() -> None:
        if os.getuid() == 0:
            os.setuid(65_534)
        work()

    return exit_code(forked(unprivileged))


@pytest.fixture
def foreign() -> Iterator[Path]:
    """A generation that only its owner may write into. Not below pytest's folder, which nobody else may look into."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        directory = Path(folder) / "generation"
        directory.mkdir()
        directory.chmod(0o555)
        yield directory


@needs_fork
def test_whoever_may_only_read_has_a_lease_if_the_file_is_there(foreign: Path) -> None:
    foreign.chmod(0o755)
    take(foreign).release()
    foreign.chmod(0o555)

    def read() -> None:
        lease = take(foreign)
        assert lease.protects
        assert leases.is_taken(foreign)

    assert without_rights(read) == 0


@needs_fork
def test_whoever_may_not_make_the_file_reads_without_a_lease(foreign: Path) -> None:
    def read() -> None:
        lease = take(foreign)
        assert not lease.protects
        lease.release()
        with leases.try_exclusive(foreign) as free:
            assert not free  # nor may such a process delete anything

    assert without_rights(read) == 0
    assert list(foreign.iterdir()) == []


def test_nobody_who_has_a_lease_ever_loses_the_folder(tmp_path: Path) -> None:
    """Readers take leases on the newest generation there is while a collector removes all that it can get for itself."""
    names = [f"{number:03d}" for number in range(60)]
    lost: list[str] = []
    served = [0]
    done = threading.Event()
    (tmp_path / names[0]).mkdir()

    def read() -> None:
        while not done.is_set():
            for directory in sorted(tmp_path.glob("[0-9]*")):
                lease = leases.take(directory)
                if lease is not None:
                    served[0] += 1
                    if not directory.is_dir():
                        lost.append(directory.name)
                    lease.release()

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    removed = 0
    for name in names[1:]:
        (tmp_path / name).mkdir()
        for directory in sorted(tmp_path.glob("[0-9]*"))[:-1]:
            with leases.try_exclusive(directory) as free:
                if free:
                    directory.rename(tmp_path / f".removed-{directory.name}")
                    removed += 1
    done.set()
    for reader in readers:
        reader.join()
    assert lost == []
    assert removed
    assert served[0]

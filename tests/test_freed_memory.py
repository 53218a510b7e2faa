"""Freed memory goes back to the system, in processes that write."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import outcrop
from outcrop import Document, freed_memory
from outcrop.freed_memory import KEPT_BYTES, Holes

_SIXTEEN = """
import ctypes, threading
from outcrop import freed_memory
fields = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in fields.split()]
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes, libc.mallinfo2.restype = ctypes.c_void_p, [ctypes.c_void_p], Info
def one_after_another():
    for block in [libc.malloc(1 << 20) for _ in range(16)]:
        libc.free(block)
def kept():
    before = libc.mallinfo2().fordblks
    thread = threading.Thread(target=one_after_another)
    thread.start()
    thread.join()
    return libc.mallinfo2().fordblks - before
libc.free(libc.malloc(30 << 20))  # the threshold rises
print(kept(), freed_memory.keep_little(), kept())
"""


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """What the C library was told, by a process that has not told it anything yet, where nobody has set anything."""
    made: list[tuple[int, int]] = []

    def mallopt(parameter: int, value: int) -> int:
        made.append((parameter, value))
        return 1

    for name in [name for name in os.environ if name.startswith("MALLOC_") or name == "GLIBC_TUNABLES"]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(freed_memory, "_function", {"mallopt": mallopt}.get)
    freed_memory.keep_little.cache_clear()
    yield made
    freed_memory.keep_little.cache_clear()


def test_both_thresholds_are_set_once(calls: list[tuple[int, int]]) -> None:
    assert freed_memory.keep_little()
    assert freed_memory.keep_little()
    assert sorted(calls) == [(-3, KEPT_BYTES), (-1, KEPT_BYTES)]


@pytest.mark.parametrize(("name", "value"), [("MALLOC_TRIM_THRESHOLD_", "1"), ("GLIBC_TUNABLES", "glibc.malloc.mmap_max=9")])
def test_what_the_user_has_set_stays(calls: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert not freed_memory.keep_little()
    assert not calls


def test_another_c_library_is_left_alone(calls: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freed_memory, "_function", lambda _: None)
    assert not freed_memory.keep_little()
    assert not Holes().give_back()
    assert not calls


def test_a_process_that_only_searches_is_left_alone_and_one_that_writes_is_not(
    calls: list[tuple[int, int]], tmp_path: Path
) -> None:
    with outcrop.open(tmp_path / "kb") as db:
        db.create_collection("papers", embedder="none").upsert(Document(id="a", text="granite"))
    assert calls
    calls.clear()
    freed_memory.keep_little.cache_clear()
    with outcrop.open(tmp_path / "kb") as db:
        papers = db.collection("papers")
        assert papers.search("granite")
        assert not calls
        papers.upsert(Document(id="b", text="basalt"))
        assert calls


def test_holes_are_given_back_for_at_most_a_twentieth_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now, trimmed_at = [0.0], []

    def malloc_trim(_: int) -> int:
        trimmed_at.append(now[0])
        now[0] += 1
        return 1

    monkeypatch.setattr(freed_memory, "_function", {"malloc_trim": malloc_trim}.get)
    holes = Holes(lambda: now[0])
    while now[0] < 100:
        assert holes.give_back() == (now[0] - 1 in trimmed_at)
        now[0] += 1
    assert trimmed_at == [0, 20, 40, 60, 80]


def test_a_stream_gives_back_after_its_batches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: list[int] = []
    monkeypatch.setattr(Holes, "give_back", lambda _: given.append(papers.count()))
    with outcrop.open(tmp_path / "kb") as db:
        papers = db.create_collection("papers", embedder="none")
        papers.upsert_many((Document(id=f"{number}", text="granite") for number in range(6)), batch_documents=2)
    assert given == [2, 4, 6]


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc 2.33")
def test_the_end_of_a_threads_arena_goes_back() -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_") and name != "GLIBC_TUNABLES"}
    run = subprocess.run([sys.executable, "-c", _SIXTEEN], env=clean, capture_output=True, text=True, check=True)
    before, was_set, after = run.stdout.split()
    assert was_set == "True"
    assert int(before) > 15 * 1024**2 > 2 * KEPT_BYTES > int(before) + int(after)

"""The cache in memory: bounded in bytes and in time, and honest about what it holds."""

from __future__ import annotations

import gc
import os
import random
import tracemalloc

import pytest

from outcrop.memory import Account
from outcrop.retrieval.cache import BoundedCache


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def cache_of(limit_bytes: int = 1_000_000, seconds: float = 60.0) -> tuple[BoundedCache, Account, Clock]:
    account, clock = Account("query cache", limit_bytes), Clock()
    return BoundedCache(account, seconds=seconds, clock=clock), account, clock


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def test_what_was_put_in_is_found_under_its_key_alone() -> None:
    cache, _, _ = cache_of()
    cache.put(key(1), b"one")
    cache.put(key(2), b"")
    assert (cache.get(key(1)), cache.get(key(2)), cache.get(key(3))) == (b"one", b"", None)


def test_an_entry_lasts_so_many_seconds_however_often_it_is_asked_for() -> None:
    cache, _, clock = cache_of(seconds=60.0)
    cache.put(key(1), b"one")
    clock.now += 59.9
    assert cache.get(key(1)) == b"one"
    clock.now += 0.1
    assert cache.get(key(1)) is None
    cache.put(key(1), b"anew")
    clock.now += 59.9
    assert cache.get(key(1)) == b"anew"


def test_entries_whose_time_is_over_are_let_go_when_something_is_put_in() -> None:
    cache, account, clock = cache_of(seconds=60.0)
    for number in range(100):
        cache.put(key(number), bytes(1000))
    clock.now += 60.0
    cache.put(key(100), b"new")
    assert cache.stats().entries == 1
    assert account.used_bytes < 1000


def test_what_was_not_asked_for_longest_makes_room() -> None:
    cache, account, _ = cache_of(limit_bytes=16_000)
    for number in range(8):
        cache.put(key(number), bytes(1600))
    assert cache.get(key(0)) is not None
    cache.put(key(8), bytes(1600))
    held = [number for number in range(9) if cache.get(key(number)) is not None]
    assert held == [0, 2, 3, 4, 5, 6, 7, 8]
    assert account.used_bytes <= 16_000


def test_it_never_holds_more_than_its_account_whatever_is_put_in() -> None:
    cache, account, _ = cache_of(limit_bytes=50_000)
    rng = random.Random(5)
    for _ in range(2000):
        cache.put(key(rng.randrange(200)), bytes(rng.randrange(8000)))
        assert account.used_bytes <= 50_000
    assert account.peak_bytes > 40_000
    cache.clear()
    assert (account.used_bytes, cache.stats().entries) == (0, 0)


def test_an_entry_that_would_drive_out_most_others_is_not_kept() -> None:
    cache, _, _ = cache_of(limit_bytes=80_000)
    cache.put(key(1), b"small")
    cache.put(key(2), bytes(10_001))
    assert (cache.get(key(1)), cache.get(key(2))) == (b"small", None)


def test_a_value_in_the_place_of_another_counts_once() -> None:
    cache, account, _ = cache_of()
    cache.put(key(1), bytes(5000))
    cache.put(key(1), bytes(100))
    assert cache.stats().entries == 1
    assert account.used_bytes < 1000


def test_the_size_it_gives_is_the_memory_that_it_takes() -> None:
    account = Account("query cache", 10_000_000)
    cache = BoundedCache(account, seconds=3600)
    for size_bytes in (1, 300, 6000):
        cache.clear()
        gc.collect()
        tracemalloc.start()
        for number in range(1000, 2000):
            cache.put(key(number), bytes(bytearray(size_bytes)))
        taken = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert taken / 1.3 < account.used_bytes < taken * 1.3, size_bytes


def test_hits_and_misses_are_counted_also_what_another_was_just_making() -> None:
    cache, _, _ = cache_of()
    assert cache.stats().hit_rate is None
    assert cache.get(key(1)) is None
    cache.count(hit=False)
    cache.put(key(1), b"one")
    assert cache.get(key(1)) is not None
    assert cache.get(key(2)) is None
    cache.count(hit=True)
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.hit_rate) == (2, 1, pytest.approx(2 / 3))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_goes_on_with_what_it_inherits() -> None:
    cache, account, _ = cache_of()
    cache.put(key(1), b"one")
    with cache._lock:  # as if another thread held it at that moment
        child = os.fork()
        if not child:
            found = cache.get(key(1))
            cache.put(key(2), b"two")
            cache.clear()
            os._exit(0 if (found, account.used_bytes) == (b"one", 0) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (cache.get(key(1)), cache.get(key(2))) == (b"one", None)

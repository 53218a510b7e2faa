from __future__ import annotations

import threading
import traceback
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outcrop.ingest import Bound, StageClock, pipeline, staged
from outcrop.memory import Account


@pytest.fixture(autouse=True)
def no_thread_left_behind() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) - before == set()


def endless(closed: list[bool] | None = None) -> Iterator[int]:
    number = 0
    try:
        while True:
            yield number
            number += 1
    finally:
        if closed is not None:
            closed.append(True)


@settings(max_examples=50, deadline=None)
@given(items=st.lists(st.integers(), max_size=50), stages=st.integers(0, 4), queue_size=st.integers(1, 5))
def test_items_go_through_all_stages_in_order(items: list[int], stages: int, queue_size: int) -> None:
    result = staged(iter(items), *[lambda item: item + 1] * stages, queue_size=queue_size)
    assert list(result) == [item + stages for item in items]


def test_source_and_stages_each_run_in_a_thread_of_their_own_and_at_once() -> None:
    threads: list[int] = []
    together = threading.Barrier(3, timeout=30)

    def source() -> Iterator[int]:
        for number in range(3):
            threads.append(threading.get_ident())
            if number == 2:
                together.wait()
            yield number

    def first(number: int) -> int:
        threads.append(threading.get_ident())
        if number == 1:
            together.wait()
        return number

    def second(number: int) -> int:
        threads.append(threading.get_ident())
        if number == 0:
            together.wait()
        return number

    assert list(staged(source(), first, second, queue_size=1)) == [0, 1, 2]
    assert len(set(threads)) == 3
    assert threading.get_ident() not in threads


def test_a_slow_consumer_holds_the_source_back_to_the_bound() -> None:
    bound = 3 * (2 + 1)
    read: list[int] = []
    reached = {taken + bound: threading.Event() for taken in range(1, 6)}

    def source() -> Iterator[int]:
        for number in endless():
            read.append(number)
            if number + 1 in reached:
                reached[number + 1].set()
            yield number

    with closing(staged(source(), str, int, queue_size=2)) as items:
        for taken in range(1, 6):
            assert next(items) == taken - 1
            assert reached[taken + bound].wait(30), "it goes on to the bound"
            assert len(read) == taken + bound, "and no further"


def test_an_error_in_a_stage_is_raised_here_with_its_own_traceback_and_stops_everything() -> None:
    closed: list[bool] = []
    mistake = ValueError("stage two")

    def second(number: int) -> int:
        if number == 5:
            raise mistake
        return number

    items = staged(endless(closed), lambda number: number, second, queue_size=2)
    with pytest.raises(ValueError, match="stage two") as caught:
        list(items)
    assert caught.value is mistake
    assert "second" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert closed == [True], "a source that is a generator is closed"
    assert list(items) == []


def test_an_error_in_the_source_is_raised_here() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise KeyError("source")

    with pytest.raises(KeyError, match="source"):
        list(staged(source(), str))


def test_an_error_while_every_queue_is_full_does_not_hang() -> None:
    entered = threading.Event()

    def second(_: int) -> int:
        entered.wait(30)
        raise OSError(28, "disk full")

    items = staged(endless(), lambda number: number, second, queue_size=1)
    entered.set()
    with pytest.raises(OSError, match="disk full"):
        next(items)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, GeneratorExit])
def test_whatever_passes_through_the_consumer_stops_all_threads(error: type[BaseException]) -> None:
    closed: list[bool] = []
    items = staged(endless(closed), str, queue_size=3)
    assert next(items) == "0"
    with pytest.raises(error):
        items.throw(error)
    assert closed == [True]


def test_closing_early_stops_all_threads_and_an_unused_pipeline_starts_none() -> None:
    closed: list[bool] = []
    items = staged(endless(closed), str)
    before = threading.active_count()
    assert next(items) == "0"
    assert threading.active_count() == before + 2
    items.close()
    assert closed == [True]
    assert threading.active_count() == before
    staged(endless(), str)
    assert threading.active_count() == before


def test_a_source_that_does_not_return_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "_LEFT_BEHIND_SECONDS", 0.01)
    returns = threading.Event()

    def source() -> Iterator[int]:
        yield 1
        returns.wait()

    items = staged(source(), str)
    assert next(items) == "1"
    items.close()
    left = [thread for thread in threading.enumerate() if thread.name == "outcrop-read"]
    returns.set()
    for thread in left:
        thread.join(30)


def test_stop_iteration_in_a_stage_is_an_error_and_no_quiet_end() -> None:
    def stage(_: int) -> int:
        raise StopIteration

    with pytest.raises(RuntimeError):
        list(staged(iter([1, 2]), stage))


def test_none_and_false_are_items_like_any_other() -> None:
    assert list(staged(iter([None, False, 0]), lambda item: item)) == [None, False, 0]


def test_a_queue_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, found 0"):
        staged(iter([]), queue_size=0)


def test_a_clock_runs_while_its_stage_works() -> None:
    class Ticks:
        """Stands still but for `work`."""

        now = 0.0

        def __call__(self) -> float:
            return self.now

    ticks = [Ticks(), Ticks(), Ticks()]

    def work(of: int, seconds: float) -> int:
        ticks[of].now += seconds
        return of

    clocks = [StageClock(str(number), clock=one) for number, one in enumerate(ticks)]
    items = (work(0, 1) for _ in range(5))
    assert len(list(staged(items, lambda _: work(1, 2), lambda _: work(2, 3), clocks=clocks))) == 5
    assert [clock.seconds for clock in clocks] == [5, 10, 15]


def test_one_clock_is_wanted_for_the_source_and_each_stage() -> None:
    with pytest.raises(ValueError, match="2 clocks"):
        staged(iter([1]), str, clocks=[StageClock("read")])


@pytest.mark.parametrize("failing", ["source", "first", "last"])
def test_what_went_through_all_stages_before_a_failure_is_given_out_before_it_is_raised(failing: str) -> None:
    finished = threading.Semaphore(0)

    def source() -> Iterator[int]:
        yield from range(3)
        if failing == "source":
            wait_for_three()
        yield 3

    def wait_for_three() -> None:
        for _ in range(3):
            finished.acquire()
        raise ValueError("no")

    def first(item: int) -> int:
        if item == 3 and failing == "first":
            wait_for_three()
        return item

    def last(item: int) -> int:
        if item == 3:
            raise ValueError("no")
        finished.release()
        return item

    given: list[int] = []
    with pytest.raises(ValueError, match="no"):
        given.extend(staged(source(), first, last, queue_size=5))
    assert given == [0, 1, 2]


class Grain:
    """An item that weighs `sizes[0]`, and after each stage the next of them."""

    def __init__(self, sizes: list[int]) -> None:
        self.sizes = sizes

    @property
    def size_bytes(self) -> int:
        return self.sizes[0]

    def grown(self) -> Grain:
        return Grain(self.sizes[1:])


GROWTH_MAX = 3


@st.composite
def grains(draw: st.DrawFn, stages: int) -> list[Grain]:
    """Items of any size that grow from stage to stage, to three times what they were at most."""
    read = draw(st.lists(st.integers(0, 300), max_size=40))
    factors = st.lists(st.floats(1, GROWTH_MAX), min_size=stages, max_size=stages).map(sorted)
    return [Grain([size, *(int(size * factor) for factor in draw(factors))]) for size in read]


@settings(max_examples=100, deadline=None)
@given(data=st.data(), stages=st.integers(0, 3), queue_size=st.integers(1, 4), limit=st.integers(0, 1000))
def test_bytes_under_way_are_bounded_and_no_stage_waits_for_ever(
    data: st.DataObject, stages: int, queue_size: int, limit: int
) -> None:
    given_in = data.draw(grains(stages))
    account = Account("ingestion", limit)
    bound = Bound(account=account, weigh=lambda grain: grain.size_bytes)
    given_out = list(staged(iter(given_in), *[Grain.grown] * stages, queue_size=queue_size, bound=bound))
    assert [grain.sizes for grain in given_out] == [grain.sizes[stages:] for grain in given_in]
    assert account.used_bytes == 0
    largest = max((grain.size_bytes for grain in given_in), default=0)
    assert account.peak_bytes <= GROWTH_MAX * max(limit, GROWTH_MAX * largest)
    if not stages:
        assert account.peak_bytes <= max(limit, largest)


def test_the_reader_takes_as_much_for_an_item_as_those_before_became() -> None:
    account = Account("ingestion", 100)
    bound = Bound(account=account, weigh=lambda grain: grain.size_bytes)
    with closing(staged((Grain([10, 50]) for _ in range(20)), Grain.grown, queue_size=20, bound=bound)) as items:
        for _ in range(12):
            next(items)
        assert account.used_bytes <= 100, "two of fifty, and not ten of ten that grow to five hundred"


def test_a_pipeline_that_ends_early_holds_nothing_and_its_reader_waits_no_longer() -> None:
    account = Account("ingestion", 25)
    bound = Bound(account=account, weigh=lambda _: 10)
    items = staged(endless(), str, queue_size=5, bound=bound)
    assert next(items) == "0"
    items.close()
    assert account.used_bytes == 0

    def second(number: int) -> int:
        if number == 1:
            raise OSError(28, "disk full")
        return number

    with pytest.raises(OSError, match="disk full"):
        list(staged(endless(), second, queue_size=5, bound=bound))
    assert account.used_bytes == 0

from __future__ import annotations

import pytest

from outcrop.ingest import Meter, Progress, StageClock, StageShare


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_sink_is_told_at_most_ten_times_a_second_and_at_the_end() -> None:
    clock, seen = Clock(), list[Progress]()
    meter = Meter(seen.append, size_bytes=1000, clock=clock)
    meter.begin("read")
    for number in range(1000):
        clock.now += 0.001
        meter.advance(documents=1, chunks=2, position_bytes=number + 1)
    assert 9 <= len(seen) - 1 <= 10
    last = meter.finish()
    assert seen[-1] == last
    assert (last.phase, last.documents, last.chunks, last.position_bytes, last.size_bytes) == ("read", 1000, 2000, 1000, 1000)
    assert last.rate == pytest.approx(1000)
    assert last.remaining_seconds == 0
    halfway = next(progress for progress in seen if progress.documents > 400)
    assert halfway.remaining_seconds == pytest.approx(1 - halfway.seconds)


def test_counted_documents_tell_the_time_left_better_than_bytes() -> None:
    clock = Clock()
    meter = Meter(size_bytes=10, document_count=100, clock=clock)
    meter.begin("read")
    clock.now += 5
    meter.advance(documents=20, skipped=5, position_bytes=10)
    progress = meter.finish()
    assert progress.fraction == 0.25
    assert progress.remaining_seconds == pytest.approx(15)
    assert (progress.skipped, progress.rate) == (5, 4)


def test_without_a_total_the_time_left_is_unknown() -> None:
    clock = Clock()
    meter = Meter(clock=clock)
    meter.begin("read")
    meter.advance(documents=3)
    assert meter.finish().rate == 0.0
    clock.now += 1
    assert (meter.finish().fraction, meter.finish().remaining_seconds) == (None, None)


def test_a_new_phase_counts_from_zero_and_the_old_ones_last_state_is_told() -> None:
    clock, seen = Clock(), list[Progress]()
    meter = Meter(seen.append, document_count=4, clock=clock)
    meter.begin("read")
    meter.advance(documents=4)
    clock.now += 2
    meter.begin("index")
    assert [(progress.phase, progress.documents, progress.seconds) for progress in seen] == [
        ("read", 0, 0),
        ("read", 4, 2),
        ("index", 0, 0),
    ]


def test_what_the_sink_raises_reaches_the_builder() -> None:
    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt(progress.phase)

    with pytest.raises(KeyboardInterrupt, match="read"):
        Meter(stop).begin("read")


def test_the_slowest_stage_is_the_one_that_worked_most() -> None:
    clock, seen = Clock(), list[Progress]()
    read, embed = StageClock("read", clock=clock), StageClock("embed", clock=clock)
    meter = Meter(seen.append, clock=clock)
    meter.begin("build", [read, embed])
    with read:
        clock.now += 1
    with embed:
        clock.now += 2
    clock.now += 1
    assert meter.finish().stages == (StageShare("read", 0.25), StageShare("embed", 0.5))
    assert meter.finish().slowest == StageShare("embed", 0.5)
    meter.begin("index")
    assert (seen[-1].stages, seen[-1].slowest) == ((), None)


def test_work_that_runs_counts_before_it_ends() -> None:
    clock = Clock()
    embed = StageClock("embed", clock=clock)
    with embed:
        clock.now += 3
        assert embed.seconds == 3
    clock.now += 1
    assert embed.seconds == 3

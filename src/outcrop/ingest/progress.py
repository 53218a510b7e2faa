"""How far a build is: a frozen value, given to a sink about ten times a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import msgspec

from outcrop import spans
from outcrop.ingest.stage_clock import StageClock
from outcrop.memory import Account


class StageShare(msgspec.Struct, frozen=True):
    """How much of a phase's time one of its stages has worked, in [0, 1]. Stages run at once: the shares do not add up to 1."""

    name: str
    busy: float


class Progress(msgspec.Struct, frozen=True):
    """How far one phase of a build is.

    `rate` is documents a second over the phase; `skipped` counts bad records, `reused` the documents that an interrupted build had
    prepared already. `remaining_seconds` is None while nothing is known to tell it from. `size_bytes` and `document_count` are the
    source's totals, where it has them. `stages` are the stages that overlap in this phase; what is under way between them holds
    `held_bytes`, of at most about `held_bytes_max`.
    """

    phase: str
    documents: int
    chunks: int
    position_bytes: int | None
    size_bytes: int | None
    seconds: float
    rate: float
    skipped: int
    remaining_seconds: float | None
    document_count: int | None = None
    reused: int = 0
    stages: tuple[StageShare, ...] = ()
    held_bytes: int | None = None
    held_bytes_max: int | None = None

    @property
    def slowest(self) -> StageShare | None:
        """The stage that worked most and sets the pace: the others wait for it. None for a phase without stages."""
        return max(self.stages, key=lambda stage: stage.busy, default=None)

    @property
    def fraction(self) -> float | None:
        """The part that is done, in [0, 1], or None when no total is known. Counted documents tell it better than bytes."""
        if self.document_count:
            return min((self.documents + self.skipped) / self.document_count, 1.0)
        if self.size_bytes and self.position_bytes is not None:
            return min(self.position_bytes / self.size_bytes, 1.0)
        return None


ProgressSink = Callable[[Progress], None]
"""What shows progress. It is called on the thread that builds and must be quick; what it raises stops the build."""


class Meter:
    """Adds up what a build does and tells a sink, at most once in `interval_seconds`. For one thread.

    >>> seen = []
    >>> meter = Meter(seen.append, document_count=2)
    >>> meter.begin("embed")
    >>> meter.advance(documents=2, chunks=3)
    >>> meter.finish().fraction, seen[-1].chunks
    (1.0, 3)
    """

    def __init__(
        self,
        sink: ProgressSink | None = None,
        *,
        size_bytes: int | None = None,
        document_count: int | None = None,
        memory: Account | None = None,
        interval_seconds: float = 0.1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sink = sink
        self._size_bytes = size_bytes
        self._document_count = document_count
        self._memory = memory
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._phase: str | None = None
        self._position_bytes: int | None = None
        self._stages: Sequence[StageClock] = ()
        self._reset("build")

    def begin(self, phase: str, stages: Sequence[StageClock] = ()) -> None:
        """End the phase before, if there was one, and start another from zero, in which `stages` work. The sink is told at once."""
        if self._phase is not None:
            self._tell(self._clock())
        self._reset(phase)
        self._phase = phase
        self._stages = stages
        spans.phase(phase)
        self._tell(self._started)

    def advance(
        self, *, documents: int = 0, chunks: int = 0, skipped: int = 0, reused: int = 0, position_bytes: int | None = None
    ) -> None:
        """Add to the counts; `position_bytes` is where the source is now, not an addition."""
        self._documents += documents
        self._chunks += chunks
        self._skipped += skipped
        self._reused += reused
        if position_bytes is not None:
            self._position_bytes = position_bytes
        if self._sink is not None and (now := self._clock()) - self._told >= self._interval_seconds:
            self._tell(now)

    def finish(self) -> Progress:
        """Tell the sink the last state of the phase and return it."""
        spans.phase(None)
        return self._tell(self._clock())

    def _reset(self, phase: str) -> None:
        self._name = phase
        self._documents = self._chunks = self._skipped = self._reused = 0
        self._position_bytes = None
        self._stages = ()
        self._started = self._told = self._clock()

    def _tell(self, now: float) -> Progress:
        seconds = now - self._started
        memory = self._memory if self._stages else None
        progress = Progress(
            phase=self._name,
            documents=self._documents,
            chunks=self._chunks,
            position_bytes=self._position_bytes,
            size_bytes=self._size_bytes,
            seconds=seconds,
            rate=self._documents / seconds if seconds > 0 else 0.0,
            skipped=self._skipped,
            remaining_seconds=None,
            document_count=self._document_count,
            reused=self._reused,
            stages=tuple(
                StageShare(stage.name, min(stage.seconds / seconds, 1.0) if seconds > 0 else 0.0) for stage in self._stages
            ),
            held_bytes=None if memory is None else memory.used_bytes,
            held_bytes_max=None if memory is None else memory.limit_bytes,
        )
        fraction = progress.fraction
        if fraction and seconds > 0:
            progress = msgspec.structs.replace(progress, remaining_seconds=seconds * (1 - fraction) / fraction)
        self._told = now
        if self._sink is not None:
            self._sink(progress)
        return progress

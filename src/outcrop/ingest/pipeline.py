"""Bounded stages on threads: reading, chunking, embedding and writing overlap, and memory stays bounded."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import GeneratorType
from typing import Any

from outcrop.ingest.stage_clock import StageClock
from outcrop.ingest.weighing import Bound, Scale

_WAKE_SECONDS = 0.5
_LEFT_BEHIND_SECONDS = 5.0


def staged(
    source: Iterator[Any],
    *stages: Callable[[Any], Any],
    queue_size: int = 8,
    clocks: Sequence[StageClock] = (),
    bound: Bound | None = None,
) -> Generator[Any, None, None]:
    """Each item of `source` put through the stages in order; the source and every stage run in a thread of their own.

    Order is kept. Queues of `queue_size` items join the threads: at most `(len(stages) + 1) * (queue_size + 1)` items are under way
    between the source and the consumer, and no more bytes than `bound` allows, if it is given: an item has its bytes until the
    consumer asks for the next. For stages that wait or release the GIL (files, compression, embedders, SQLite).

    An exception in the source or in a stage is raised here as the very same object, with its traceback. Then, and when the
    consumer closes the generator or an exception (`KeyboardInterrupt` too) passes through it, all threads stop as soon as the
    call that each is in returns, and no thread is left when the generator has ended. Items under way are dropped; but before an
    exception of the source or a stage is raised, those that have been through all stages are still given out, since their work
    may have been dear. A source that is a generator is closed. Only a source that does not return from a read, such as an idle
    pipe, is left behind after five seconds. Nothing starts before the first item is asked for.

    `clocks`, if given, are one for the source and one for each stage: they run while it works.

    Raises `ValueError` when `queue_size` is below 1 or the number of clocks is another.

    >>> list(staged(iter([1, 2, 3]), lambda number: number * 10, str))
    ['10', '20', '30']
    """
    if queue_size < 1:
        raise ValueError(f"queue_size must be at least 1, found {queue_size}")
    if clocks and len(clocks) != len(stages) + 1:
        raise ValueError(f"{len(stages) + 1} clocks are wanted, one for the source and one for each stage, found {len(clocks)}")
    line = _Line()
    scale = Scale(bound, lambda: line.stopped)
    queues = [_Queue(line, queue_size) for _ in range(len(stages) + 1)]
    clocked: Sequence[AbstractContextManager[Any]] = clocks or [nullcontext()] * (len(stages) + 1)
    reading = (scale.admitted(_timed(source, clocked[0])), source, queues[0], line)
    threads = [threading.Thread(target=_read, args=reading, name="outcrop-read", daemon=True)]
    for index, (stage, clock) in enumerate(zip(stages, clocked[1:], strict=True)):
        arguments = (scale.weighed(_clocked(stage, clock)), queues[index], queues[index + 1], line)
        threads.append(threading.Thread(target=_run, args=arguments, name=f"outcrop-stage-{index + 1}", daemon=True))
    return _staged(threads, queues[-1], line, scale)


def _staged(threads: list[threading.Thread], output: _Queue, line: _Line, scale: Scale) -> Generator[Any, None, None]:
    started: list[threading.Thread] = []
    try:
        for thread in threads:
            thread.start()
            started.append(thread)
        yield from scale.released(output)
        if line.error is not None:
            scale.close()
            _end(started)
            yield from scale.released(output.rest())
            raise line.error
    finally:
        line.stop()
        scale.close()
        _end(started[1:])
        for reader in started[:1]:
            reader.join(_LEFT_BEHIND_SECONDS)
        line.error = None  # its traceback refers to this frame


def _end(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join()


class _Line:
    """What all threads of one pipeline share: the condition that they wait on, whether to stop, and the first error."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.stopped = False
        self.error: BaseException | None = None

    def stop(self, error: BaseException | None = None) -> None:
        with self.changed:
            if error is not None and not self.stopped:
                self.error = error
            self.stopped = True
            self.changed.notify_all()


class _Queue:
    """A bounded queue that ends when its writer has closed it and it is empty, or at once when the line stops."""

    def __init__(self, line: _Line, size: int) -> None:
        self._line = line
        self._size = size
        self._items: deque[Any] = deque()
        self._closed = False

    def put(self, item: Any) -> bool:
        """Wait for room and append; False when the line has stopped: then there is room for what is finished, and no more."""
        changed = self._line.changed
        with changed:
            while len(self._items) >= self._size and not self._line.stopped:
                changed.wait()
            self._items.append(item)
            changed.notify_all()
            return not self._line.stopped

    def close(self) -> None:
        with self._line.changed:
            self._closed = True
            self._line.changed.notify_all()

    def rest(self) -> Iterator[Any]:
        """What is still there, once nobody appends any more."""
        while self._items:
            yield self._items.popleft()

    def __iter__(self) -> Iterator[Any]:
        changed = self._line.changed
        while True:
            with changed:
                while not self._items and not self._closed and not self._line.stopped:
                    changed.wait(_WAKE_SECONDS)  # an endless wait in the main thread cannot be interrupted on Windows
                if self._line.stopped or not self._items:
                    return
                item = self._items.popleft()
                changed.notify_all()
            yield item


def _timed(source: Iterator[Any], clock: AbstractContextManager[Any]) -> Iterator[Any]:
    end = object()
    while True:
        with clock:
            item = next(source, end)
        if item is end:
            return
        yield item


def _clocked(stage: Callable[[Any], Any], clock: AbstractContextManager[Any]) -> Callable[[Any], Any]:
    def work(item: Any) -> Any:
        with clock:
            return stage(item)

    return work


def _read(items: Iterator[Any], source: Iterator[Any], output: _Queue, line: _Line) -> None:
    try:
        try:
            for item in items:
                if not output.put(item):
                    break
        finally:
            if isinstance(source, GeneratorType):
                source.close()
        output.close()
    except BaseException as error:  # noqa: BLE001 - raised again in the consumer
        line.stop(error)


def _run(stage: Callable[[Any], Any], items: _Queue, output: _Queue, line: _Line) -> None:
    try:
        for item in items:
            if not output.put(stage(item)):
                return
        output.close()
    except BaseException as error:  # noqa: BLE001 - raised again in the consumer
        line.stop(error)

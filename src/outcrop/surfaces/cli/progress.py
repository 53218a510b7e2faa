"""A build's progress on the standard error: a bar in a terminal, a line now and then in a file; and what was skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from outcrop import BadRecord, Progress
from outcrop.surfaces.cli.rendering import note, plain, screen, size

SKIPPED_SHOWN = 20
_LINE_EVERY_SECONDS = 10.0
_SLOWEST_AFTER_SECONDS = 1.0

Sink = Callable[[Progress], None]


@contextmanager
def shown(*, quiet: bool) -> Iterator[Sink | None]:
    """What `Collection.build(progress=...)` takes: None when quiet, else something that shows how far the build is."""
    console = screen(stderr=True)
    if quiet:
        yield None
    elif not console.is_terminal:
        yield _lines()
    else:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=12),
            TextColumn("{task.fields[told]}"),
            TimeElapsedColumn(),
        )
        with Bars(*columns, console=console, transient=True, refresh_per_second=10) as bars:
            yield _bar(bars)


def told(progress: Progress) -> str:
    """How far a build is, in words."""
    parts = []
    if progress.fraction is not None:
        parts.append(f"{progress.fraction:.0%}")
    elif progress.position_bytes:
        parts.append(f"{size(progress.position_bytes)} read")
    if progress.documents:
        parts.append(f"{progress.documents:,} documents, {progress.rate:,.0f}/s")
    if progress.reused:
        parts.append(f"{progress.reused:,} from the interrupted build")
    if progress.skipped:
        parts.append(f"{progress.skipped:,} skipped")
    if progress.remaining_seconds is not None and progress.remaining_seconds >= 1:
        parts.append(f"{duration(progress.remaining_seconds)} left")
    if progress.slowest is not None and progress.seconds >= _SLOWEST_AFTER_SECONDS:
        parts.append(f"{progress.slowest.name} sets the pace ({progress.slowest.busy:.0%} busy)")
    if progress.held_bytes and progress.held_bytes_max:
        parts.append(f"{size(progress.held_bytes)} of {size(progress.held_bytes_max)} under way")
    return ", ".join(parts)


def name_of(phase: str) -> str:
    """A phase in a word: the line is short, and the pipeline's own name lists all its steps."""
    return "build" if "," in phase else phase


def duration(seconds: float) -> str:
    """Seconds for people.

    >>> duration(9.5), duration(75), duration(3700)
    ('9.5 s', '1 min 15 s', '1 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class Skipped:
    """Tells of the first records that a build skipped, and counts them all. Give `told` to `Collection.build(on_skip=...)`."""

    def __init__(self) -> None:
        self.count = 0

    def told(self, bad: BadRecord) -> None:
        """One more."""
        self.count += 1
        if self.count <= SKIPPED_SHOWN:
            note(f"skipped: {plain(str(bad.error), one_line=True)}", style="bold yellow")

    def close(self) -> None:
        """Say how many there were besides those told."""
        if self.count > SKIPPED_SHOWN:
            note(f"skipped: {self.count - SKIPPED_SHOWN:,} more, {self.count:,} in all", style="bold yellow")


def _bar(bars: Bars) -> Sink:
    task = bars.add_task("read", total=None, told="")
    phase = "read"

    def sink(progress: Progress) -> None:
        nonlocal task, phase
        if progress.phase != phase:  # a bar that has had an end cannot lose it, so the next phase has another bar
            bars.remove_task(task)
            task, phase = bars.add_task(name_of(progress.phase), total=None, told=""), progress.phase
        fraction = progress.fraction
        if fraction is None:
            bars.update(task, told=told(progress))
        else:
            bars.update(task, told=told(progress), total=1.0, completed=fraction)

    return sink


def _lines() -> Sink:
    last = 0.0

    def sink(progress: Progress) -> None:
        nonlocal last
        if progress.seconds < last:  # another phase began
            last = 0.0
        if progress.seconds - last >= _LINE_EVERY_SECONDS:
            last = progress.seconds
            note(f"{name_of(progress.phase)}: {told(progress) or f'{duration(progress.seconds)} so far'}")

    return sink

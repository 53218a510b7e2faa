"""From counts to what people and programs are told."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from time import time

import msgspec

from outcrop.errors import InvalidInput
from outcrop.files import storage_errors
from outcrop.insights.advice import advice, against_unfiltered, unknown
from outcrop.insights.counting import Asked, Spread
from outcrop.insights.facts import Facts
from outcrop.insights.line import Line
from outcrop.insights.segments import Reading, listed
from outcrop.insights.tally import LISTED, STEPS, Tally, steps_of
from outcrop.insights.values import AskedQuery, Busiest, FilterUse, Insights, ModeTimes, Silence, SlowQuery, StepTimes

_SECONDS_PER_DAY = 86_400.0
_DAYS_MAX = 36_500.0
_HOUR_SECONDS = 3600
_MODES = ("lexical", "vector", "hybrid")


def read(folder: Path, days: float, facts: Facts, *, logging: str | None) -> Insights:
    """What the log in a folder tells of the last days. Reads it once, in memory that does not depend on its length.

    Raises `InvalidInput`, `StorageFailed`.
    """
    if isinstance(days, bool) or not isinstance(days, int | float) or not 0 < days <= _DAYS_MAX:
        raise InvalidInput(f"days is {days!r}; it must be a number above 0, up to {_DAYS_MAX:g}")
    reading = Reading(folder, time() - days * _SECONDS_PER_DAY)
    tally = Tally(facts.config.query_cache_seconds)
    tally.add_all(reading)
    with storage_errors(folder):
        size_bytes = sum(one.size_bytes for one in listed(folder))
    facts = msgspec.structs.replace(facts, log_bytes=size_bytes, days=days)
    return told(tally, facts, skipped=reading.skipped, logging=logging)


def told(tally: Tally, facts: Facts, *, skipped: int, logging: str | None) -> Insights:
    """The counts as values, with advice."""
    seconds = tally.last_at - tally.first_at
    busiest = max(tally.hours.items(), key=lambda item: item[1], default=None)
    return Insights(
        collection=facts.collection,
        days=facts.days,
        since=_iso(tally.first_at) if tally.searches else None,
        until=_iso(tally.last_at) if tally.searches else None,
        log_bytes=facts.log_bytes,
        logging=logging,
        searches=tally.searches,
        estimated=round(tally.estimated),
        per_second=round(tally.estimated / seconds, 3) if seconds > 0 else None,
        busiest=None if busiest is None else Busiest(at=_iso(busiest[0] * _HOUR_SECONDS), searches=busiest[1]),
        vector_only=tally.counts["vector_only"],
        zero_results=tally.counts["zero_results"],
        cached=tally.counts["cached"],
        degraded=dict(tally.degraded),
        skipped_lines=skipped,
        undercounted=tally.queries.undercounted,
        modes=tuple(ModeTimes(mode, tally.by_mode[mode].times()) for mode in _MODES if mode in tally.by_mode),  # type: ignore[arg-type]  # one of SearchMode
        steps=_steps(tally),
        slowest=tuple(_slow(line) for line in tally.slowest()),
        frequent=_asked(tally, "searches"),
        nothing_found=_asked(tally, "zero_results"),
        silences=_silences(tally),
        filters=_filters(tally, facts),
        advice=advice(tally, facts),
    )


def _steps(tally: Tally) -> tuple[StepTimes, ...]:
    return tuple(
        StepTimes(name, spread.times(), round(spread.total / tally.total_ms, 4) if tally.total_ms else 0.0)
        for name, spread in tally.steps.items()
        if spread.count
    )


def _slow(line: Line) -> SlowQuery:
    took = {name: took for name, took in zip(STEPS, steps_of(line), strict=True) if took is not None}
    step = max(took, key=lambda name: took[name], default="total")
    return SlowQuery(
        query=line.query,
        where=line.where,
        mode=line.mode,
        at=_iso(line.at),
        total_ms=line.total_ms,
        step=step,
        step_ms=round(took.get(step, line.total_ms), 3),
        hits=line.hits,
    )


def _asked(tally: Tally, by: str) -> tuple[AskedQuery, ...]:
    return tuple(_one(query, where, asked, by) for query, where, asked in tally.queries.top(by, LISTED))


def _one(query: str, where: str | None, asked: Asked, by: str) -> AskedQuery:
    return AskedQuery(
        query=query,
        where=where,
        searches=asked.searches,
        matching=getattr(asked, by),
        cached=asked.cached,
        last_at=_iso(asked.last_at),
    )


def _silences(tally: Tally) -> tuple[Silence, ...]:
    searches, hits = tally.counts["hybrid_shown"], tally.counts["hybrid_hits"]
    return tuple(
        Silence(
            leg=name,
            searches=searches,
            silent=leg.silent,
            contributed=round(leg.hits / hits, 4) if hits else None,
            queries=_asked(tally, f"{name}_silent"),
        )
        for name, leg in tally.legs.items()
        if searches
    )


def _filters(tally: Tally, facts: Facts) -> tuple[FilterUse, ...]:
    most = sorted(tally.shapes.items(), key=lambda item: -item[1].searches)[:LISTED]
    found = []
    for where, shape in most:
        run = Spread().merged(shape.by_mode.values())
        ratio, _ = against_unfiltered(tally, shape)
        few = shape.selected.count * 2 > shape.searches
        found.append(
            FilterUse(
                where=where,
                searches=shape.searches,
                zero_results=shape.zero_results,
                times=run.times() if run.count else None,
                ratio=None if ratio is None else round(ratio, 2),
                selected=round(shape.selected.percentile(50)) if few else None,
                unknown_fields=unknown(shape.fields, facts),
                slow_fields=tuple(field for field in shape.fields if field in facts.slow_fields),
            )
        )
    return tuple(found)


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")

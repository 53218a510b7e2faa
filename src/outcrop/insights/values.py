"""What the query log tells, as frozen values."""

from __future__ import annotations

import msgspec

from outcrop.model import SearchMode


class Times(msgspec.Struct, frozen=True):
    """How long so many searches took, in milliseconds. Percentiles are within 2 %."""

    searches: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


class ModeTimes(msgspec.Struct, frozen=True):
    """The searches of one mode that were really run: those from the cache are not among them."""

    mode: SearchMode
    times: Times


class StepTimes(msgspec.Struct, frozen=True):
    """One step of the searches that ran it. `share` is its part of the time of all searches; legs that ran at once count both.

    "waiting" is what no step accounts for: above all waiting for a core.
    """

    step: str
    times: Times
    share: float


class SlowQuery(msgspec.Struct, frozen=True):
    """A search that took long, the longest of those for the same. `query` is None if it was a vector; `at` is UTC, ISO 8601."""

    query: str | None
    where: str | None
    mode: SearchMode
    at: str
    total_ms: float
    step: str
    step_ms: float
    hits: int


class AskedQuery(msgspec.Struct, frozen=True):
    """A query with the shape of its filter. `matching` counts the searches for it that are as its list says, of `searches`."""

    query: str
    where: str | None
    searches: int
    matching: int
    cached: int
    last_at: str


class Silence(msgspec.Struct, frozen=True):
    """How often one leg had found none of the hits shown, of `searches` hybrid ones that showed any, and for which queries most.

    `contributed` is the share of all their hits that this leg had found, alone or with the other one; None if there were none.
    """

    leg: str
    searches: int
    silent: int
    contributed: float | None
    queries: tuple[AskedQuery, ...]


class FilterUse(msgspec.Struct, frozen=True):
    """How a shape of filter does. `times` is of searches that were run; `ratio` that of its median to that of searches without a
    filter in the same modes, None where there are too few.

    `selected` is the median number of chunks that it let the vector leg find where it found fewer than it looked for; None where
    that is not known. No document has `unknown_fields`; `slow_fields` have no column of their own.
    """

    where: str
    searches: int
    zero_results: int
    times: Times | None
    ratio: float | None
    selected: int | None
    unknown_fields: tuple[str, ...]
    slow_fields: tuple[str, ...]


class Advice(msgspec.Struct, frozen=True):
    """What to change. `rule` names what was found, for programs; `finding` says it with its numbers; `change` says what to do."""

    rule: str
    finding: str
    change: str


class Busiest(msgspec.Struct, frozen=True):
    """The hour with the most searches. `at` is when it began, UTC, ISO 8601."""

    at: str
    searches: int


class Insights(msgspec.Struct, frozen=True):
    """What the query log of the last `days` tells. Counts are of searches that were logged, which stand for `estimated` ones.

    `since` and `until` are the times of the first and last of them (UTC, ISO 8601; None without any), `log_bytes` the size of the
    log. `logging` is None if this process logs, else why it does not. `skipped_lines` could not be read. `undercounted` is by how
    much the counts of single queries may be too low, because there were too many different ones to keep them all; 0: exact.
    """

    collection: str
    days: float
    since: str | None
    until: str | None
    log_bytes: int
    logging: str | None
    searches: int
    estimated: int
    per_second: float | None
    busiest: Busiest | None
    vector_only: int
    zero_results: int
    cached: int
    degraded: dict[str, int]
    skipped_lines: int
    undercounted: int
    modes: tuple[ModeTimes, ...]
    steps: tuple[StepTimes, ...]
    slowest: tuple[SlowQuery, ...]
    frequent: tuple[AskedQuery, ...]
    nothing_found: tuple[AskedQuery, ...]
    silences: tuple[Silence, ...]
    filters: tuple[FilterUse, ...]
    advice: tuple[Advice, ...]

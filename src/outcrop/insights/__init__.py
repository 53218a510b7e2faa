"""The query log, and what it tells: what is asked, what is slow, what finds nothing, and what to change about it."""

from outcrop.insights.facts import facts_of
from outcrop.insights.log import QueryLog
from outcrop.insights.segments import forget
from outcrop.insights.telling import read
from outcrop.insights.values import (
    Advice,
    AskedQuery,
    Busiest,
    FilterUse,
    Insights,
    ModeTimes,
    Silence,
    SlowQuery,
    StepTimes,
    Times,
)

__all__ = [
    "Advice",
    "AskedQuery",
    "Busiest",
    "FilterUse",
    "Insights",
    "ModeTimes",
    "QueryLog",
    "Silence",
    "SlowQuery",
    "StepTimes",
    "Times",
    "facts_of",
    "forget",
    "read",
]

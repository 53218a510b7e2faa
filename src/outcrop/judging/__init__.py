"""Is one generation fit to follow another? Gates that decide it, and comparisons that show it."""

from outcrop.judging.checks import run_gate
from outcrop.judging.comparing import compare
from outcrop.judging.comparison import Comparison, DocumentChanges, GenerationFigures, IdSample, QueryChanges, QueryComparison
from outcrop.judging.gate import Gate
from outcrop.judging.latency import Latency
from outcrop.judging.queries import QueriesLike, queries_of
from outcrop.judging.report import GateCheck, GateContext, GateReport, refusal
from outcrop.judging.sides import Search, Side, searcher

__all__ = [
    "Comparison",
    "DocumentChanges",
    "Gate",
    "GateCheck",
    "GateContext",
    "GateReport",
    "GenerationFigures",
    "IdSample",
    "Latency",
    "QueriesLike",
    "QueryChanges",
    "QueryComparison",
    "Search",
    "Side",
    "compare",
    "queries_of",
    "refusal",
    "run_gate",
    "searcher",
]

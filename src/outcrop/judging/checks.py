"""Runs a gate's checks. Every one is run, whatever the others say: whoever is refused sees the whole of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import cache, partial
from time import perf_counter
from typing import Any, Literal, NamedTuple

import msgspec

from outcrop.errors import OutcropError
from outcrop.evaluation import JudgedQueries, overlap, paired_bootstrap
from outcrop.judging.answers import Answers, answers
from outcrop.judging.custom import custom_check, in_words
from outcrop.judging.differences import sampled, vanished
from outcrop.judging.gate import Gate
from outcrop.judging.latency import interleaved
from outcrop.judging.queries import only
from outcrop.judging.report import GateCheck, GateContext, GateReport
from outcrop.judging.sides import Side
from outcrop.judging.tables import named_ids

OVERLAP_K = 10
_IDS_PER_READING = 100
_ROUNDING = 1e-9  # a mean that misses its limit by less is what the limit says
_Which = Literal["judged", "unjudged"]
_log = logging.getLogger("outcrop")


def run_gate(
    gate: Gate | None,
    candidate: Side,
    active: Side | None,
    *,
    clock: Callable[[], float] = perf_counter,
    none_active: str = "there is no active generation",
) -> GateReport:
    """Check the candidate; `gate` None asks only what is always asked. A failed check is in the report and raises nothing.

    A check that cannot be done (a search that fails, a function that raises) has failed, with the error's text. `none_active` says
    why there is no active generation to compare with. `clock` gives seconds.
    """
    asked = Gate() if gate is None else gate
    case = _Case(asked, candidate, active, clock, cache(partial(_answers, asked)))
    checks = [_checked(kind, limit, case, none_active) for kind in _KINDS if (limit := kind.limit(asked)) is not None]
    checks += [custom_check(check, _context(case)) for check in asked.checks]
    return GateReport(
        generation=candidate.info.number,
        active=None if active is None else active.info.number,
        passed=all(check.passed for check in checks),
        checks=tuple(checks),
    )


class _Case(NamedTuple):
    """What the checks look at. `answers` searches a generation's queries once, whoever asks."""

    gate: Gate
    candidate: Side
    active: Side | None
    clock: Callable[[], float]
    answers: Callable[[Side, _Which], Answers]


class _Found(NamedTuple):
    passed: bool
    text: str
    values: dict[str, Any]


class _Kind(NamedTuple):
    """A kind of check. `limit` is what a gate asks in words, None if it does not ask; `run` compares with the active generation if
    `comparing` is set."""

    name: str
    limit: Callable[[Gate], str | None]
    run: Callable[..., _Found]
    comparing: bool = False


def _checked(kind: _Kind, limit: str, case: _Case, none_active: str) -> GateCheck:
    if not kind.comparing:
        found = _tried(kind.name, partial(kind.run, case))
    elif case.active is None:
        found = _Found(passed=True, text=f"not compared: {none_active}", values={})
    else:
        found = _tried(kind.name, partial(kind.run, case, case.active))
    return GateCheck(name=kind.name, passed=found.passed, found=found.text, limit=limit, values=found.values)


def _tried(name: str, run: Callable[[], _Found]) -> _Found:
    try:
        return run()
    except Exception as error:  # noqa: BLE001 - a candidate that cannot be checked must not be promoted, whatever the reason
        _log.warning("the gate's check %r could not be done: %s", name, error, exc_info=not isinstance(error, OutcropError))
        return _Found(passed=False, text=f"could not be checked: {in_words(error)}", values={"error": in_words(error)})


def _context(case: _Case) -> GateContext:
    return GateContext(
        candidate=case.candidate.info,
        active=None if case.active is None else case.active.info,
        search=case.candidate.search,
        search_active=None if case.active is None else case.active.search,
        get=case.candidate.documents.get,
        queries=case.gate.queries,
    )


def _documents(case: _Case) -> _Found:
    return _at_least(case.candidate.documents.counts().documents, case.gate.documents_min)


def _chunks(case: _Case) -> _Found:
    return _at_least(case.candidate.documents.counts().chunks, case.gate.chunks_min)


def _at_least(count: int, least: int | None) -> _Found:
    return _Found(passed=least is None or count >= least, text=f"{count:,}", values={"count": count, "min": least})


def _required_ids(case: _Case) -> _Found:
    wanted = case.gate.required_ids
    lacking = sampled(_lacking(case.candidate, wanted))
    text = f"{lacking.count:,} of {len(wanted):,} missing{named_ids(lacking.examples, lacking.count)}"
    values = {"required": len(wanted), "missing": lacking.count, "examples": list(lacking.examples)}
    return _Found(passed=not lacking.count, text=text, values=values)


def _lacking(side: Side, ids: tuple[str, ...]) -> Iterator[str]:
    for start in range(0, len(ids), _IDS_PER_READING):
        page = ids[start : start + _IDS_PER_READING]
        there = {document.id for document in side.documents.get(page)}
        yield from (one for one in page if one not in there)


def _vanished(case: _Case, active: Side) -> _Found:
    lacking = vanished(active.documents, case.candidate.documents)
    before = active.documents.counts().documents
    share = lacking.count / before if before else 0.0
    text = f"{lacking.count:,} of {before:,}, {share:.1%}{named_ids(lacking.examples, lacking.count)}"
    values = {"vanished": lacking.count, "active": before, "share": share, "examples": list(lacking.examples)}
    return _Found(passed=share <= case.gate.vanished_share_max + _ROUNDING, text=text, values=values)


def _recall(case: _Case) -> _Found:
    recall, least = case.candidate.info.recall, case.gate.recall_min
    if recall is None:
        return _Found(passed=False, text="there is no vector index", values={"recall": None})
    return _Found(passed=least is None or recall >= least - _ROUNDING, text=f"{recall:.3f}", values={"recall": recall})


def _ndcg(case: _Case, active: Side) -> _Found:
    ours, theirs = (case.answers(side, "judged").measures for side in (case.candidate, active))
    assert ours is not None, "a gate that asks for nDCG has judged queries"
    assert theirs is not None
    verdict = paired_bootstrap(
        f"generation {case.candidate.info.number}", ours.per_query, f"generation {active.info.number}", theirs.per_query
    )
    text = (
        f"{ours.ndcg_at_10:.3f} against {theirs.ndcg_at_10:.3f}: {verdict.difference:+.3f} ({verdict.confidence:.0%} interval"
        f" {verdict.low:+.3f} to {verdict.high:+.3f}, {_counted(verdict.query_count)})"
    )
    values = {"candidate": ours.ndcg_at_10, "active": theirs.ndcg_at_10, **msgspec.to_builtins(verdict)}
    most = case.gate.ndcg_drop
    return _Found(passed=most is None or -verdict.difference <= most + _ROUNDING, text=text, values=values)


def _overlap(case: _Case, active: Side) -> _Found:
    queries = _queries(case.gate)
    which: _Which = "unjudged" if len(queries.queries) > queries.judged_count else "judged"
    ours, theirs = (case.answers(side, which) for side in (case.candidate, active))
    shares = [overlap(ours.ids(one, OVERLAP_K), theirs.ids(one, OVERLAP_K)) for one in ours.rankings]
    mean = sum(shares) / len(shares)
    least = case.gate.overlap_min
    text = f"{mean:.3f}, the mean of {_counted(len(shares), which)}"
    values = {"overlap": mean, "query_count": len(shares), "lowest": min(shares)}
    return _Found(passed=least is None or mean >= least - _ROUNDING, text=text, values=values)


def _latency(case: _Case, active: Side) -> _Found:
    texts = list(_queries(case.gate).queries.values())
    ours, theirs = interleaved(case.candidate.search, active.search, texts, clock=case.clock)
    ratio = ours.p95_ms / max(theirs.p95_ms, 1e-6)
    most = case.gate.latency_p95_ratio_max
    text = f"{ours.p95_ms:.2f} ms against {theirs.p95_ms:.2f} ms: {ratio:.2f} times ({ours.search_count} searches each)"
    values = {"ratio": ratio, "candidate": msgspec.to_builtins(ours), "active": msgspec.to_builtins(theirs)}
    return _Found(passed=most is None or ratio <= most + _ROUNDING, text=text, values=values)


def _answers(gate: Gate, side: Side, which: _Which) -> Answers:
    queries = _queries(gate)
    return answers(
        side, only(queries, [one for one in queries.queries if (one in queries.judgements) == (which == "judged")]), OVERLAP_K
    )


def _queries(gate: Gate) -> JudgedQueries:
    """The queries of a gate that asks something of them, which it cannot do without."""
    assert isinstance(gate.queries, JudgedQueries)
    return gate.queries


def _counted(number: int, kind: str = "") -> str:
    return " ".join([f"{number:,}", *([kind] if kind else []), "query" if number == 1 else "queries"])


def _most_vanished(share: float) -> str | None:
    return None if share == 1 else f"at most {share * 100:g}%"


def _no_slower(ratio: float | None) -> str | None:
    return None if ratio is None else f"at most {ratio:g} times"


def _no_less(least: float | None) -> str | None:
    return None if least is None else f"at least {least:,}" if isinstance(least, int) else f"at least {least:g}"


#: In the order of the report: what is cheap to find out comes first.
_KINDS = (
    _Kind("documents", lambda gate: _no_less(gate.documents_min), _documents),
    _Kind("chunks", lambda gate: _no_less(gate.chunks_min), _chunks),
    _Kind("required ids", lambda gate: "none missing" if gate.required_ids else None, _required_ids),
    _Kind("vanished ids", lambda gate: _most_vanished(gate.vanished_share_max), _vanished, comparing=True),
    _Kind("index recall", lambda gate: _no_less(gate.recall_min), _recall),
    _Kind("nDCG@10", lambda gate: None if gate.ndcg_drop is None else f"at most {gate.ndcg_drop:g} lower", _ndcg, comparing=True),
    _Kind("overlap@10", lambda gate: _no_less(gate.overlap_min), _overlap, comparing=True),
    _Kind("p95 latency", lambda gate: _no_slower(gate.latency_p95_ratio_max), _latency, comparing=True),
)

"""`outcrop insights`: what the query log tells."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from outcrop import Insights
from outcrop.insights import AskedQuery, FilterUse, Silence
from outcrop.surfaces.cli.arguments import AsJson, CollectionName, Yes
from outcrop.surfaces.cli.program import Invocation, WrongUsage, invocation
from outcrop.surfaces.cli.rendering import counted, facts, moment, note, plain, show, size, write_json

_SHOWN = 10
_QUERY_CHARACTERS = 60
_OFF = "outcrop serve logs searches; a program does with query_log_share = 1 (docs/guides/insights.md)"


def insights(
    context: typer.Context,
    collection: CollectionName,
    days: Annotated[float, typer.Option(help="Look at so many days.", metavar="N")] = 7.0,
    forget: Annotated[bool, typer.Option("--forget", help="Remove the log instead.")] = False,
    yes: Yes = False,
    json: AsJson = False,
) -> None:
    """Show what is searched for, and what to change about it.

    From the log that outcrop serve keeps of searches: what is slow, what is asked often, what finds nothing, what each leg and
    each filter does, and advice where the numbers carry it. --forget removes the log.

    Examples:
      outcrop insights papers --days 1
      outcrop insights papers --forget
    """
    call = invocation(context)
    if forget:
        _forget(call, collection, yes=yes, json=json)
        return
    with call.opened(read_only=True) as db:
        found = db.collection(collection).insights(days)
    if json:
        write_json(found)
    elif found.searches:
        show(*_spaced(_parts(found)))
    else:
        older = f"; the log has {size(found.log_bytes)} of older ones" if found.log_bytes else ""
        show(Text(f"No search of the last {counted_days(days)} is in the log of {collection}{older}."))
        note(f"note: {_OFF}")


def counted_days(days: float) -> str:
    """Days for people.

    >>> counted_days(1.0), counted_days(0.5)
    ('1 day', '0.5 days')
    """
    return "1 day" if days == 1 else f"{days:g} days"


def _forget(call: Invocation, collection: str, *, yes: bool, json: bool) -> None:
    if not yes and not sys.stdin.isatty():
        raise WrongUsage("a log that was removed does not come back; to do it without being asked, say --yes")
    if not yes:
        typer.confirm(f"Remove the log of what was searched for in {collection}?", abort=True)
    with call.opened(read_only=False) as db:
        size_bytes = db.collection(collection).forget_queries()
    if json:
        write_json({"collection": collection, "removed_bytes": size_bytes})
    else:
        show(Text(f"Removed the query log of {collection} ({size(size_bytes)})."))


def _parts(found: Insights) -> Iterable[RenderableType]:
    yield facts(_totals(found))
    yield _titled("advice", _advice(found))
    yield _titled("time", _times(found))
    if found.slowest:
        yield _titled("slowest", _slowest(found))
    yield from _asked("asked most", found.frequent, "cached", lambda one: f"{one.cached:,}")
    yield from _asked("found nothing", found.nothing_found, "nothing", lambda one: f"{one.matching:,}")
    for one in found.silences:
        if one.silent:
            yield from _asked(_silence(one), one.queries, "without it", lambda query: f"{query.matching:,}")
    if found.filters:
        yield _titled("filters", _filters(found.filters))


def _totals(found: Insights) -> list[tuple[str, RenderableType | None]]:
    logged = f"{found.searches:,}"
    if found.estimated != found.searches:
        logged += f" logged, which stand for about {found.estimated:,}"
    busiest = found.busiest
    rate = None if found.per_second is None else f"{found.per_second:,.3g} a second"
    if rate is not None and busiest is not None:
        rate += f"; {busiest.searches:,} in the hour from {moment(busiest.at)[:16]} UTC"
    degraded = ", ".join(f"{count:,} {cause}" for cause, count in sorted(found.degraded.items()))
    return [
        ("searches", logged),
        ("from", f"{moment(found.since)} to {moment(found.until)} UTC"),
        ("rate", rate),
        ("found nothing", _of(found.zero_results, found.searches)),
        ("cached", _of(found.cached, found.searches)),
        ("degraded", degraded if degraded else None),
        ("by vector alone", _of(found.vector_only, found.searches) if found.vector_only else None),
        ("log", size(found.log_bytes)),
        ("not read", counted(found.skipped_lines, "line") if found.skipped_lines else None),
        ("counts", f"of single queries may be too low by {found.undercounted}" if found.undercounted else None),
    ]


def _advice(found: Insights) -> RenderableType:
    if not found.advice:
        return Text("Nothing that the numbers carry.", style="dim")
    table = _table("", "")
    for number, one in enumerate(found.advice, 1):
        text = Text(f"{plain(one.finding, one_line=True)}\n")
        text.append(f"→ {plain(one.change, one_line=True)}", style="bold")
        table.add_row(f"{number}.", text)
    table.show_header = False
    return table


def _times(found: Insights) -> Table:
    table = _table("milliseconds", ">searches", ">p50", ">p95", ">p99", ">longest", ">of the time")
    for mode in found.modes:
        times = mode.times
        table.add_row(
            mode.mode, f"{times.searches:,}", *(_ms(one) for one in (times.p50_ms, times.p95_ms, times.p99_ms, times.max_ms)), ""
        )
    for step in found.steps:
        times = step.times
        numbers = (_ms(one) for one in (times.p50_ms, times.p95_ms, times.p99_ms, times.max_ms))
        table.add_row(Text(f"  {step.step}", style="dim"), f"{times.searches:,}", *numbers, f"{step.share:.0%}")
    return table


def _slowest(found: Insights) -> Table:
    table = _table("query", ">ms", "most of it", ">hits", "when (UTC)")
    for one in found.slowest[:_SHOWN]:
        table.add_row(
            _query(one.query, one.where), _ms(one.total_ms), f"{one.step} {_ms(one.step_ms)}", f"{one.hits:,}", moment(one.at)
        )
    return table


def _asked(title: str, queries: Sequence[AskedQuery], name: str, number: Callable[[AskedQuery], str]) -> Iterable[RenderableType]:
    if not queries:
        return
    table = _table("query", ">searches", f">{name}", "last (UTC)")
    for one in queries[:_SHOWN]:
        table.add_row(_query(one.query, one.where), f"{one.searches:,}", number(one), moment(one.last_at))
    yield _titled(title, table)


def _silence(one: Silence) -> str:
    contributed = "" if one.contributed is None else f"; it has found {one.contributed:.0%} of the hits shown"
    return f"answered without the {one.leg} leg: {_of(one.silent, one.searches)} hybrid searches{contributed}"


def _filters(filters: Sequence[FilterUse]) -> Table:
    table = _table("filter", ">searches", ">nothing", ">p50 ms", ">p95 ms", ">x unfiltered", ">selects", "")
    for one in filters[:_SHOWN]:
        times = ("-", "-") if one.times is None else (_ms(one.times.p50_ms), _ms(one.times.p95_ms))
        remarks = [f"no document has {field}" for field in one.unknown_fields] + [
            f"no column for {field}" for field in one.slow_fields
        ]
        table.add_row(
            Text(plain(one.where, one_line=True)),
            f"{one.searches:,}",
            f"{one.zero_results:,}",
            *times,
            "-" if one.ratio is None else f"{one.ratio:g}",
            "many" if one.selected is None else f"{one.selected:,}",
            Text(plain("; ".join(remarks), one_line=True), style="bold yellow"),
        )
    return table


def _query(query: str | None, where: str | None) -> Text:
    text = Text("(a vector)" if query is None else plain(query, one_line=True))
    text.truncate(_QUERY_CHARACTERS, overflow="ellipsis")
    if where is not None:
        text.append(f"  {plain(where, one_line=True)}", style="dim")
    return text


def _table(*columns: str) -> Table:
    """A table with these columns, those that begin with > aligned to the right."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for place, name in enumerate(columns):
        right = name.startswith(">")
        table.add_column(
            name.removeprefix(">"), justify="right" if right else "left", no_wrap=right, overflow="fold", ratio=None if place else 1
        )
    return table


def _titled(title: str, content: RenderableType) -> RenderableType:
    table = Table.grid()
    table.add_column()
    table.add_row(Text(title.upper(), style="bold"))
    table.add_row(Padding(content, (0, 0, 0, 2)))
    return table


def _spaced(parts: Iterable[RenderableType]) -> list[RenderableType]:
    spaced: list[RenderableType] = []
    for part in parts:
        spaced += [part, Text("")]
    return spaced[:-1]


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:,.1f}" if milliseconds >= 1 else f"{milliseconds:.2f}"


def _of(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} ({part / whole:.1%})" if whole else f"{part:,}"

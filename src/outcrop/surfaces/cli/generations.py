"""`outcrop generations`, `promote`, `rollback` and `history`: which generation is live, and since when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from outcrop import Collection, GateReport, GenerationInfo
from outcrop.errors import Damaged
from outcrop.model import HistoryEntry, RollbackPlan
from outcrop.surfaces.cli.arguments import AsJson, CollectionName, GateFile, gate_of, generation_of
from outcrop.surfaces.cli.program import invocation
from outcrop.surfaces.cli.progress import duration
from outcrop.surfaces.cli.rendering import counted, facts, generations_table, moment, note, plain, screen, show, write_json


def list_generations(context: typer.Context, collection: CollectionName, json: AsJson = False) -> None:
    """List the generations of a collection.

    The active one answers searches; a ready one waits to be promoted; an archived one was active before.

    Example:
      outcrop generations papers
    """
    with invocation(context).opened(read_only=True) as db:
        opened = db.collection(collection)
        found, damaged = opened.generations(), opened.damaged()
    if json:
        faults = [{"number": one.name.number, "uuid": one.name.uuid, "reason": one.reason} for one in damaged]
        write_json({"collection": collection, "generations": found, "damaged": faults})
        return
    if found:
        show(generations_table(found, width=screen().width))
    elif not damaged:
        show(Text(f"No generations yet. Build one: outcrop build {collection} SOURCE --promote"))
    for info in found:
        if info.table_uri is not None:
            show(Text(f"generation {info.number}: its LanceDB table is {plain(info.table_uri, one_line=True)}", style="dim"))
    for one in damaged:
        note(f"damaged: generation {one.name.number}: {plain(one.reason, one_line=True)}", style="bold red")


def promote(
    context: typer.Context,
    collection: CollectionName,
    generation: Annotated[str, typer.Argument(metavar="N", help="The generation's number, or its uuid.", show_default=False)],
    gate: GateFile = None,
    force: Annotated[bool, typer.Option("--force", help="Promote whatever the gate says. The history shows that.")] = False,
    json: AsJson = False,
) -> None:
    """Put a generation live, in one atomic step.

    Every write made since it was built is in it then. First its files are compared with their checksums, and the gate is asked;
    without --gate that is whether more than a tenth of the documents would vanish. If it refuses, its report is shown and nothing
    is changed. Searches that have begun end on the generation they began with.

    Examples:
      outcrop promote papers 2
      outcrop promote papers 2 --gate gate.toml
    """
    asked = gate_of(gate)
    call = invocation(context)
    with call.opened(read_only=False) as db:
        opened = db.collection(collection)
        before = _active_if_readable(opened)
        after = opened.promote(generation_of(generation) or generation, gate=asked, force=force)
        report = _gate_report(opened, after)
    if json:
        write_json(
            {"collection": collection, "previous": None if before is None else before.number, "active": after, "gate": report}
        )
        return
    if before is not None and before.uuid == after.uuid:
        show(Text(f"Generation {after.number} of {collection} was active already; nothing changed."))
        return
    if report is not None:
        _say_gate(report)
    _tell(collection, before, after)
    if before is not None:
        show(Text(f"To take it back: {plain(call.command('rollback'))} {collection}", style="dim"))


def rollback(
    context: typer.Context,
    collection: CollectionName,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="N", help="To this generation and not to the one before.", show_default=False),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would take.")] = False,
    allow_lexical: Annotated[
        bool,
        typer.Option("--allow-lexical", help="If documents cannot be embedded now, let them be found by their words only."),
    ] = False,
    json: AsJson = False,
) -> None:
    """Go back to the generation before, without losing a write.

    It is brought up to date first. A second rollback rolls forward again. Nothing is built, nothing is lost.

    Examples:
      outcrop rollback papers --dry-run
      outcrop rollback papers
      outcrop rollback papers --to 3
    """
    target = None if to is None else generation_of(to) or to
    call = invocation(context)
    with call.opened(read_only=dry_run) as db:
        opened = db.collection(collection)
        before = _active_if_readable(opened)
        if dry_run:
            plan = opened.rollback(target, dry_run=True)
            if json:
                write_json(plan)
            else:
                show_plan(before, plan)
                command = f"{call.command('rollback')} {collection}{'' if to is None else f' --to {to}'}"
                show(Text(f"Nothing was changed. To do it: {plain(command, one_line=True)}", style="dim"))
            return
        after = opened.rollback(target, allow_lexical=allow_lexical)
    if json:
        write_json({"collection": collection, "previous": None if before is None else before.number, "active": after})
        return
    if before is not None and before.uuid == after.uuid:
        show(Text(f"Generation {after.number} of {collection} was active already; nothing changed."))
        return
    _tell(collection, before, after)
    if after.unembedded:
        note(f"warning: {counted(after.unembedded, 'chunk')} could not be embedded: found by words only", style="bold yellow")


def history(context: typer.Context, collection: CollectionName, json: AsJson = False) -> None:
    """Show which generation was put live when.

    And by whom, what it was built from, and what its gate said.

    Example:
      outcrop history papers
    """
    with invocation(context).opened(read_only=True) as db:
        found = db.collection(collection).history()
    if json:
        write_json(found)
    elif not found:
        show(Text(f"No generation of {collection} was promoted yet."))
    else:
        show(history_table(found))


def show_plan(before: GenerationInfo | None, plan: RollbackPlan) -> None:
    """What a rollback would take."""
    lexical = Text(counted(plan.lexical_documents, "document"), style="bold yellow") if plan.lexical_documents else None
    reason = None if plan.reason is None else Text(plain(plan.reason, one_line=True), style="bold yellow")
    is_another = before is not None and before.number != plan.generation
    instead = f" instead of generation {before.number}" if before is not None and is_another else ""
    rows = [
        ("would be active", f"generation {plan.generation}{instead}"),
        ("to be applied", counted(plan.entries, "journal entry", "journal entries")),
        ("to be embedded", counted(plan.embedded_documents, "document")),
        ("cannot be embedded", lexical),
        ("not here", reason),
        ("takes about", duration(plan.seconds)),
    ]
    show(facts(rows))
    if plan.lexical_documents or plan.reason is not None:
        show(Text("Documents without vectors would be found by their words only: that needs --allow-lexical."))


def history_table(found: Sequence[HistoryEntry]) -> Table:
    """A row for each change of the active generation."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for name in ("when (UTC)", "what", "generation"):
        table.add_column(name, no_wrap=True)
    for name in ("gate", "built from", "by"):
        table.add_column(name, overflow="fold")
    for one in found:
        change = str(one.generation) if one.previous is None else f"{one.previous} -> {one.generation}"
        what = Text(f"{one.kind}, forced" if one.forced else one.kind, style="bold red" if one.kind == "quarantine" else "")
        table.add_row(moment(one.at), what, change, _gate_in_words(one.gate), plain(one.source), plain(one.actor))
    return table


def _gate_in_words(gate: dict[str, Any] | None) -> str:
    if gate is None:
        return "not asked"
    report = msgspec.convert(gate, GateReport)
    if report.passed:
        return f"passed ({counted(len(report.checks), 'check')})"
    return f"refused: {', '.join(check.name for check in report.failed)}"


def _gate_report(collection: Collection, promoted: GenerationInfo) -> GateReport | None:
    """What the gate said of the promotion that just happened."""
    last = [one for one in collection.history() if one.generation == promoted.number][-1:]
    return msgspec.convert(last[0].gate, GateReport) if last and last[0].gate is not None else None


def _say_gate(report: GateReport) -> None:
    if report.passed:
        show(Text(f"The gate let it pass: {', '.join(check.name for check in report.checks)}."))
        return
    screen(stderr=True).print(Text(plain(str(report))), soft_wrap=True)
    note("warning: promoted by force", style="bold yellow")


def _active_if_readable(collection: Collection) -> GenerationInfo | None:
    """The active generation, for the message only: to promote another one is how a damaged one is replaced."""
    try:
        return collection.active
    except Damaged:
        return None


def _tell(collection: str, before: GenerationInfo | None, after: GenerationInfo) -> None:
    instead = "" if before is None else f" instead of generation {before.number}"
    show(Text(f"Generation {after.number} of {collection} is active now{instead}: {counted(after.document_count, 'document')}."))

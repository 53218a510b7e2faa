"""`outcrop optimize`, `gc`, `verify` and `repair`: what keeps a collection fast, small and sound."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from outcrop.generations.collecting import GcReport
from outcrop.surfaces.cli import exit_codes
from outcrop.surfaces.cli.arguments import AsJson, CollectionName, GenerationNumber, generation_of
from outcrop.surfaces.cli.program import invocation
from outcrop.surfaces.cli.progress import duration
from outcrop.surfaces.cli.rendering import counted, note, plain, screen, show, size, write_json


def optimize(context: typer.Context, collection: CollectionName, json: AsJson = False) -> None:
    """Put what was written since into the index.

    Until then searches look at it one by one. Needed rarely: a process that stays open does it in the background. Searches and
    writes go on meanwhile.

    Example:
      outcrop optimize papers
    """
    with invocation(context).opened(read_only=False) as db, screen(stderr=True).status("optimizing"):
        report = db.collection(collection).optimize()
    if json:
        write_json(report)
        return
    sizes = f"{size(report.size_bytes_before)} before, {size(report.size_bytes_after)} now"
    show(Text(f"{counted(report.absorbed, 'chunk')} put into the index of {collection} in {duration(report.seconds)}; {sizes}."))


def gc(
    context: typer.Context,
    collection: CollectionName,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    json: AsJson = False,
) -> None:
    """Remove generations that are not kept any more.

    Also what crashes left behind, and what of the journal nobody needs. What is kept is configuration (docs/configuration.md).
    Nothing that any process has open is removed.

    Examples:
      outcrop gc papers --dry-run
      outcrop gc papers
    """
    with invocation(context).opened(read_only=dry_run) as db:
        report = db.collection(collection).gc(dry_run=dry_run)
    if json:
        write_json(report)
        return
    if report.removed or report.kept:
        show(_removal_table(report))
    trimmed = counted(report.journal_entries, "entry", "entries")
    verb = "Would free" if dry_run else "Freed"
    show(Text(f"{verb} {size(report.freed_bytes)} and {trimmed} of the journal; {size(report.kept_bytes)} stay."))


def verify(
    context: typer.Context,
    collection: CollectionName,
    generation: Annotated[
        str | None, typer.Argument(metavar="N", help="This generation only, by its number or its uuid.", show_default=False)
    ] = None,
    look_only: Annotated[bool, typer.Option("--look-only", help="Change nothing, whatever is found.")] = False,
    json: AsJson = False,
) -> None:
    """Compare generations with their checksums.

    Every byte: a few seconds for each gigabyte. If the active one is damaged, the newest healthy one takes its place with every
    write in it, unless --look-only. If only its LanceDB index is, it serves on: see outcrop repair. Exit code 8 if any is damaged.

    Examples:
      outcrop verify papers
      outcrop verify papers 2 --look-only
    """
    wanted = None if generation is None else generation_of(generation) or generation
    with invocation(context).opened(read_only=look_only) as db, screen(stderr=True).status("verifying"):
        opened = db.collection(collection)
        before = opened.history()
        reports = opened.verify(wanted)
        replaced = opened.history()[len(before) :]
    if json:
        journal = next((one for one in reports if one.generation is None), None)
        of_generations = [msgspec.to_builtins(one) for one in reports if one.generation is not None]
        write_json({"collection": collection, "generations": of_generations, "journal": journal, "replaced": replaced})
    for one in reports if not json else ():
        what = "journal" if one.generation is None else f"generation {one.generation}"
        if one.healthy:
            show(Text(f"{what.capitalize()}: as it was written."))
        else:
            note(f"damaged: {what}: {plain(one.fault or '', one_line=True)}", style="bold red")
    if not any(one.generation is not None for one in reports) and not json:
        show(Text(f"There is no finished generation of {collection}."))
    for change in replaced if not json else ():
        note(f"replaced: generation {change.generation} serves now instead of {change.previous}", style="bold yellow")
    if not all(one.healthy for one in reports):
        raise typer.Exit(exit_codes.DAMAGED)


def repair(
    context: typer.Context,
    collection: CollectionName,
    generation: GenerationNumber = None,
    json: AsJson = False,
) -> None:
    """Build a generation's LanceDB index anew.

    From its documents, or the first one for a generation that has none. In a mode that uses LanceDB; searches go on meanwhile.

    Examples:
      outcrop repair papers --mode production
      outcrop repair papers --generation 2 --mode production
    """
    with invocation(context).opened(read_only=False) as db, screen(stderr=True).status("repairing"):
        report = db.collection(collection).repair(generation_of(generation))
    if json:
        write_json(report)
        return
    counts = f"{counted(report.chunks, 'chunk')} in {duration(report.seconds)}"
    show(Text(f"The LanceDB index of generation {report.generation} of {collection} was built anew: {counts}."))


def _removal_table(report: GcReport) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for name in ("", "what", "size", "why"):
        table.add_column(name, justify="right" if name == "size" else "left", no_wrap=name != "why", overflow="fold")
    gone = "would go" if report.dry_run else "removed"
    for one in (*report.removed, *report.kept):
        goes = one in report.removed
        what = Path(one.path).name if one.generation is None else f"{one.kind} {one.generation}"
        state = Text(gone, style="bold yellow") if goes else Text("stays")
        table.add_row(state, plain(what, one_line=True), size(one.size_bytes), plain(one.reason, one_line=True))
    return table

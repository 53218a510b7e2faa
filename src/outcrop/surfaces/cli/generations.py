"""`outcrop generations`, `promote` and `rollback`: which generation is live."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from outcrop import Collection, GenerationInfo
from outcrop.errors import Damaged
from outcrop.surfaces.cli.arguments import AsJson, CollectionName, generation_of
from outcrop.surfaces.cli.program import invocation
from outcrop.surfaces.cli.rendering import counted, generations_table, note, plain, screen, show, write_json


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
    for one in damaged:
        note(f"damaged: generation {one.name.number}: {plain(one.reason, one_line=True)}", style="bold red")


def promote(
    context: typer.Context,
    collection: CollectionName,
    generation: Annotated[str, typer.Argument(metavar="N", help="The generation's number, or its uuid.", show_default=False)],
) -> None:
    """Put a generation live, in one atomic step. Searches that have begun end on the one they began with.

    Example:
      outcrop promote papers 2
    """
    with invocation(context).opened(read_only=False) as db:
        opened = db.collection(collection)
        before = _active_if_readable(opened)
        after = opened.promote(generation_of(generation) or generation)
    if before is not None and before.uuid == after.uuid:
        show(Text(f"Generation {after.number} of {collection} was active already; nothing changed."))
        return
    _tell(collection, before, after)
    if before is not None:
        show(Text(f"To take it back: outcrop rollback {collection}", style="dim"))


def rollback(context: typer.Context, collection: CollectionName) -> None:
    """Undo a promotion: the generation before it is live again.

    A second rollback rolls forward again. Nothing is built, nothing is lost.

    Example:
      outcrop rollback papers
    """
    with invocation(context).opened(read_only=False) as db:
        opened = db.collection(collection)
        before = _active_if_readable(opened)
        after = opened.rollback()
    _tell(collection, before, after)


def _active_if_readable(collection: Collection) -> GenerationInfo | None:
    """The active generation, for the message only: to promote another one is how a damaged one is replaced."""
    try:
        return collection.active
    except Damaged:
        return None


def _tell(collection: str, before: GenerationInfo | None, after: GenerationInfo) -> None:
    instead = "" if before is None else f" instead of generation {before.number}"
    show(Text(f"Generation {after.number} of {collection} is active now{instead}: {counted(after.document_count, 'document')}."))

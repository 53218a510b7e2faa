"""`outcrop collections` and `drop`: which collections there are."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from outcrop import Database, OutcropError
from outcrop.errors import Damaged
from outcrop.surfaces.cli.arguments import AsJson, CollectionName
from outcrop.surfaces.cli.program import WrongUsage, invocation
from outcrop.surfaces.cli.rendering import note, plain, show, size, write_json


def list_collections(context: typer.Context, json: AsJson = False) -> None:
    """List the collections of the database.

    Example:
      outcrop collections --db kb
    """
    with invocation(context).opened(read_only=True) as db:
        found = [_facts(db, name) for name in db.collections()]
    if json:
        write_json(found)
        return
    if not found:
        show(Text("No collections yet. Make one: outcrop build NAME SOURCE --promote"))
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("collection", overflow="fold")
    for name in ("active", "documents", "size"):
        table.add_column(name, justify="right")
    for one in found:
        if "error" in one:
            table.add_row(one["name"], Text("damaged" if one["damaged"] else "not readable", style="bold red"), "", "")
            note(f"error: {plain(one['error'], one_line=True)}", style="bold red")
        else:
            active = "none" if one["active"] is None else str(one["active"])
            table.add_row(one["name"], active, f"{one['document_count']:,}", size(one["size_bytes"]))
    show(table)


def drop(
    context: typer.Context,
    collection: CollectionName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove a collection with all its generations. There is no way back.

    Example:
      outcrop drop papers --yes
    """
    call = invocation(context)
    with call.opened(read_only=True) as db:
        if collection not in db.collections():
            db.collection(collection)  # raises, with the nearest name; one that is there may be too damaged to open
    if not yes:
        question = f"Remove the collection {collection} in {call.db} with all its generations?"
        if not sys.stdin.isatty():
            raise WrongUsage("dropping cannot be undone; to do it without being asked, say --yes")
        typer.confirm(question, abort=True)
    with call.opened(read_only=False) as db:
        db.drop_collection(collection)
    show(Text(f"Removed {collection}."))


def _facts(db: Database, name: str) -> dict[str, Any]:
    try:
        stats = db.collection(name).stats()
    except OutcropError as error:  # one that is damaged, or may not be read, must not hide the others
        return {"name": name, "error": str(error), "damaged": isinstance(error, Damaged)}
    return {"name": name, "active": stats.active, "document_count": stats.document_count, "size_bytes": stats.size_bytes}

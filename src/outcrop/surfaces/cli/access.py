"""`outcrop keys`: who may ask the server what."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from outcrop.generations.layout import check_collection_name
from outcrop.surfaces.cli.arguments import AsJson
from outcrop.surfaces.cli.program import Command, Program, invocation
from outcrop.surfaces.cli.rendering import moment, note, plain, show, write_json
from outcrop.surfaces.keys import Key, Keys, Scope

app = typer.Typer(cls=Program, invoke_without_command=True, rich_markup_mode=None)


@app.callback()
def keys(context: typer.Context) -> None:
    """Make, list and revoke keys for the server.

    As soon as there is one, `outcrop serve` wants one. A running server knows of a change at once.

    Example:
      outcrop keys create website --scope read --collection papers
    """
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command("create", cls=Command)
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the key is for.", show_default=False)],
    scope: Annotated[Scope, typer.Option(help="write lets read too; admin makes, drops and promotes as well.")] = "read",
    collection: Annotated[
        list[str] | None, typer.Option(help="Only this collection; may be given more than once.", show_default=False)
    ] = None,
) -> None:
    """Make a key and print it. It is shown this once: the database keeps only its hash.

    Example:
      outcrop keys create importer --scope write
    """
    for one in collection or ():
        check_collection_name(one)
    print(Keys(invocation(context).db).create(name, scope, tuple(collection) if collection else None))


@app.command("list", cls=Command)
def list_keys(context: typer.Context, json: AsJson = False) -> None:
    """Show the keys' names, scopes and collections.

    Example:
      outcrop keys list
    """
    found = Keys(invocation(context).db).all()
    if json:
        write_json([{name: value for name, value in msgspec.structs.asdict(one).items() if name != "sha256"} for one in found])
        return
    if not found:
        show("No keys.")
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for title in ("id", "name", "scope", "collections", "created"):
        table.add_column(title, overflow="fold")
    for one in found:
        table.add_row(*map(Text, _row(one)))
    show(table)


@app.command("revoke", cls=Command)
def revoke(
    context: typer.Context, name: Annotated[str, typer.Argument(metavar="NAME", help="The key's name or id.", show_default=False)]
) -> None:
    """Take a key away, at once. To rotate one, create another, and revoke the first when nobody uses it any more.

    Example:
      outcrop keys revoke website
    """
    gone = Keys(invocation(context).db).revoke(name)
    note(f"revoked: {plain(gone.name, one_line=True)} ({gone.id})")


def _row(one: Key) -> tuple[str, str, str, str, str]:
    opens = "all" if one.collections is None else ", ".join(one.collections)
    return one.id, plain(one.name, one_line=True), one.scope, opens, moment(one.created_at)

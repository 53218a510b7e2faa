"""`outcrop config show` and `check`: what is configured, who said so, and what another file would change."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from outcrop.config import CODE, Setting, load
from outcrop.errors import InvalidConfig, NotFound
from outcrop.reloading import compared, merged
from outcrop.settings import RULES
from outcrop.surfaces.cli.arguments import AsJson
from outcrop.surfaces.cli.program import Command, Invocation, Program, invocation
from outcrop.surfaces.cli.rendering import note, plain, show, size, write_json

app = typer.Typer(cls=Program, invoke_without_command=True, rich_markup_mode=None)


@app.callback()
def config(context: typer.Context) -> None:
    """Show the configuration.

    Example:
      outcrop config show
    """
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command("show", cls=Command)
def config_show(context: typer.Context, json: AsJson = False) -> None:
    """Show every setting, and who set it.

    A value comes from the command line, else an OUTCROP_ variable, else outcrop.toml in the database's folder, else the preset of
    the mode. A process that is running takes a new value from the file, except where it says "needs a restart".

    Example:
      outcrop config show --mode production
    """
    settings = effective(invocation(context))
    if json:
        write_json(
            [
                {"key": one.key, "value": _value(one.value), "origin": one.origin, "needs_restart": RULES[one.key].restart}
                for one in settings
            ]
        )
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for name in ("setting", "value", "from", ""):
        table.add_column(name, overflow="fold")
    for one in settings:
        style = "dim" if one.origin == "preset default" else ""
        waits = "" if RULES[one.key].restart is None else "needs a restart"
        table.add_row(one.key, Text(_shown(one.key, one.value)), Text(plain(one.origin), style=style), Text(waits, style="dim"))
    show(table)


@app.command("check", cls=Command)
def config_check(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="What is to become outcrop.toml; else that itself.", show_default=False)
    ] = None,
    json: AsJson = False,
) -> None:
    """Say whether a file can be used, and what it would change.

    As it would be read in the database's folder, with the OUTCROP_ variables of here. What cannot be used ends with an error that
    names the line.

    Example:
      outcrop config check new.toml
    """
    call = invocation(context)
    if file is not None and not file.is_file():
        raise NotFound(f"there is no file {file}", path=file)
    given = load(call.db, call.config, os.environ, file=file)
    try:
        before = load(call.db, call.config, os.environ)
    except InvalidConfig as error:
        if not json:
            note(f"the file that is there cannot be used: {plain(str(error), one_line=True)}", style="yellow")
        before = load(call.db, call.config, os.environ, file=Path(os.devnull))
    found = compared(before, merged(before, given), given)
    if json:
        write_json(found)
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for name in ("setting", "now", "then", "from", "a running process"):
        table.add_column(name, overflow="fold")
    for one in found.changed:
        table.add_row(one.key, *(Text(_shown(one.key, value)) for value in (one.before, one.after)), plain(one.origin), "takes it")
    for two in found.needs_restart:
        values = (Text(_shown(two.key, value)) for value in (two.in_effect, two.given))
        table.add_row(two.key, *values, plain(two.origin), f"keeps the old one: {two.reason}")
    show(table if found.changed or found.needs_restart else Text("It can be used, and changes nothing."))


def effective(call: Invocation) -> list[Setting]:
    """Every setting, with the option's name where the command line gave it."""
    said = {"path": call.db_origin, "mode": "--mode"}
    found = load(call.db, call.config, os.environ).settings()
    return [Setting(one.key, one.value, said.get(one.key, one.origin) if one.origin == CODE else one.origin) for one in found]


def _value(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def _shown(key: str, value: object) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return str(value).lower()
    if key.endswith("_bytes_max") and isinstance(value, int):
        return f"{value} ({size(value)})"
    return plain(str(value), one_line=True)

"""`outcrop config show`: what is configured, and who said so."""

from __future__ import annotations

import os
from pathlib import Path

import typer
from rich.table import Table
from rich.text import Text

from outcrop.config import CODE, Setting, load
from outcrop.surfaces.cli.arguments import AsJson
from outcrop.surfaces.cli.program import Command, Invocation, Program, invocation
from outcrop.surfaces.cli.rendering import plain, show, size, write_json

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
    the mode.

    Example:
      outcrop config show --mode production
    """
    settings = effective(invocation(context))
    if json:
        write_json([{"key": one.key, "value": _value(one), "origin": one.origin} for one in settings])
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for name in ("setting", "value", "from"):
        table.add_column(name, overflow="fold")
    for one in settings:
        style = "dim" if one.origin == "preset default" else ""
        table.add_row(one.key, Text(_shown(one)), Text(plain(one.origin), style=style))
    show(table)


def effective(call: Invocation) -> list[Setting]:
    """Every setting, with the option's name where the command line gave it."""
    said = {"path": call.db_origin, "mode": "--mode"}
    found = load(call.db, call.config, os.environ).settings()
    return [Setting(one.key, one.value, said.get(one.key, one.origin) if one.origin == CODE else one.origin) for one in found]


def _value(one: Setting) -> object:
    return str(one.value) if isinstance(one.value, Path) else one.value


def _shown(one: Setting) -> str:
    if one.value is None:
        return "not set"
    if isinstance(one.value, bool):
        return str(one.value).lower()
    if one.key.endswith("_bytes_max") and isinstance(one.value, int):
        return f"{one.value} ({size(one.value)})"
    return plain(str(one.value), one_line=True)

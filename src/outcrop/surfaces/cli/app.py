"""The commands, in the order of the help, and the options of the whole program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import outcrop
from outcrop.surfaces.cli import (
    access,
    agents,
    building,
    comparing,
    configuring,
    evaluating,
    generations,
    insights,
    listing,
    maintaining,
    reading,
    searching,
    serving,
    upserting,
    writing,
)
from outcrop.surfaces.cli.arguments import Db, Debug, Mode
from outcrop.surfaces.cli.demo import demo
from outcrop.surfaces.cli.doctor import doctor
from outcrop.surfaces.cli.exit_codes import summary
from outcrop.surfaces.cli.program import Command, Invocation, Program, check_mode, said_here

_EXIT_CODES = "\b\nExit codes:\n" + summary()

app = typer.Typer(
    name="outcrop",
    cls=Program,
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(value: bool) -> None:
    if value:
        print(f"outcrop {outcrop.__version__}")
        raise typer.Exit


@app.callback(epilog=_EXIT_CODES)
def program(
    context: typer.Context,
    db: Db = Path("kb"),
    mode: Mode = None,
    debug: Debug = False,
    version: Annotated[bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)] = False,  # noqa: ARG001 - its callback acts
) -> None:
    """Search by words, by meaning, or both. An index is a generation: built beside the live one, promoted in one step, rolled back.

    Examples:
      outcrop demo                                     (see it at work)
      outcrop build papers corpus.jsonl --promote      (make a collection)
      outcrop search papers "vitamin D and asthma"     (and search it)

    Every command explains itself: outcrop build --help
    """
    check_mode(mode)
    origin = "--db" if said_here(context, "db") else _db_origin(context)
    context.obj = Invocation(db=db, db_origin=origin, mode=mode, debug=debug)
    if context.invoked_subcommand is None:
        print(context.get_help())


def _db_origin(context: typer.Context) -> str:
    source = context.get_parameter_source("db")
    return "OUTCROP_DB" if source is not None and source.name == "ENVIRONMENT" else "default"


_add = app.command
_add(cls=Command)(building.build)
_add(cls=Command)(searching.search)
_add(cls=Command)(upserting.upsert)
_add(cls=Command)(writing.delete)
_add("update-metadata", cls=Command)(writing.update_metadata)
_add("generations", cls=Command)(generations.list_generations)
_add(cls=Command)(generations.promote)
_add(cls=Command)(generations.rollback)
_add(cls=Command)(comparing.compare)
_add(cls=Command)(generations.history)
_add(cls=Command)(maintaining.optimize)
_add(cls=Command)(maintaining.gc)
_add(cls=Command)(maintaining.verify)
_add(cls=Command)(maintaining.repair)
_add(cls=Command)(reading.stats)
_add(cls=Command)(insights.insights)
_add(cls=Command)(reading.count)
_add(cls=Command)(reading.get)
_add("collections", cls=Command)(listing.list_collections)
_add(cls=Command)(listing.drop)
_add("eval", cls=Command)(evaluating.evaluate)
app.add_typer(configuring.app, name="config")
_add(cls=Command)(serving.serve)
app.add_typer(access.app, name="keys")
_add(cls=Command)(agents.mcp)
_add(cls=Command)(doctor)
_add(cls=Command)(demo)


def run() -> int:
    """Run the program on this process's arguments; the exit code."""
    try:
        app(prog_name="outcrop")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    return 0

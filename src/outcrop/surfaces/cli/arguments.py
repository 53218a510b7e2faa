"""The arguments and options that several commands share, each defined once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from outcrop import Gate, filters
from outcrop.errors import InvalidFilter
from outcrop.filters import Filter

CollectionName = Annotated[str, typer.Argument(metavar="COLLECTION", help="The collection's name.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON value on stdout, for programs.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress, and print the last sequence only.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        "-w",
        metavar="FILTER",
        help="Only documents whose metadata match: \"year >= 2015 AND lang = 'en'\", or the same as a JSON object. Given more"
        " than once, all must match.",
        show_default=False,
    ),
]
GenerationNumber = Annotated[
    str | None,
    typer.Option(
        "--generation", "-g", metavar="N", help="Use generation N (a number or a uuid) and not the active one.", show_default=False
    ),
]
GateFile = Annotated[
    Path | None,
    typer.Option(
        "--gate", metavar="FILE.toml", help="What the generation must show before it goes live (docs/gates.md).", show_default=False
    ),
]
Db = Annotated[
    Path,
    typer.Option("--db", envvar="OUTCROP_DB", metavar="PATH", help="The database's folder."),
]
Mode = Annotated[
    str | None,
    typer.Option(
        "--mode",
        metavar="NAME",
        help="The configuration: default, test, mvp_only, production or lancedb_test.",
        show_default=False,
    ),
]
Debug = Annotated[
    bool,
    typer.Option("--debug", envvar="OUTCROP_DEBUG", help="Show the traceback of an error."),
]


def generation_of(text: str | None) -> int | str | None:
    """A generation as `--generation` names it: a number if it is one, else a uuid."""
    return int(text) if text is not None and text.isascii() and text.isdigit() else text


def gate_of(file: Path | None) -> Gate | None:
    """The gate that `--gate` names, read and checked: to be asked for before any work begins."""
    return None if file is None else Gate.from_toml(file)


def filter_of(texts: list[str] | None) -> Filter | None:
    """The filter that every `--where` gives a part of, each as text, or as an object if it looks like one.

    Raises `InvalidFilter`.
    """
    parts = [filters.parse(_one_filter(text)) for text in texts or ()]
    given = [part for part in parts if part is not None]
    return filters.all_of(given) if given else None


def _one_filter(text: str) -> str | dict[str, Any]:
    if not text.lstrip().startswith("{"):
        return text
    try:
        return msgspec.json.decode(text.encode(errors="replace"), type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise InvalidFilter(
            f"the filter begins with '{{' but is no JSON object ({error}): {text!r:.80}", text=text, position=None
        ) from error

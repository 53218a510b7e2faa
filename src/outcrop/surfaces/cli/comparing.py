"""`outcrop compare`: what would change if one generation served instead of another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from outcrop.surfaces.cli.arguments import AsJson, CollectionName, generation_of
from outcrop.surfaces.cli.program import invocation
from outcrop.surfaces.cli.rendering import plain, screen, write_json


def compare(
    context: typer.Context,
    collection: CollectionName,
    a: Annotated[str, typer.Argument(metavar="A", help="A generation's number or uuid.", show_default=False)],
    b: Annotated[str, typer.Argument(metavar="B", help="The one that would serve instead.", show_default=False)],
    queries: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A golden.jsonl or a BEIR folder: compare the answers too.", show_default=False),
    ] = None,
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="How many of the best documents of a query to compare.")] = 10,
    json: AsJson = False,
) -> None:
    """Show what would change with another generation.

    If B served instead of A: which documents appeared, vanished and changed, what differs in how they were made, size; and with
    queries: which answers change and how much (overlap, rank-biased overlap, nDCG where judged), and latency.

    Example:
      outcrop compare papers 1 2 --queries golden.jsonl
    """
    with invocation(context).opened(read_only=True) as db, screen(stderr=True).status("comparing"):
        found = db.collection(collection).compare(generation_of(a) or a, generation_of(b) or b, queries, k=k)
    if json:
        write_json(found.to_dict())
    else:
        screen().print(Text(plain(str(found))), soft_wrap=True)

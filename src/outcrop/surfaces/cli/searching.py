"""`outcrop search`: hits for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from outcrop import Fusion, Hit, Hits
from outcrop.errors import MissingExtra
from outcrop.model import SearchMode
from outcrop.surfaces.cli.arguments import AsJson, CollectionName, GenerationNumber, Where, filter_of, generation_of
from outcrop.surfaces.cli.program import invocation
from outcrop.surfaces.cli.rendering import counted, marked, note, plain, show, write_json
from outcrop.surfaces.wire import search_answer

Query = Annotated[list[str], typer.Argument(metavar="QUERY", help="What to look for, in words.", show_default=False)]
SearchModeOption = Annotated[
    SearchMode | None,
    typer.Option(
        "--search-mode",
        "-m",
        help="By words, by meaning, or both; the best that the generation can do if not given.",
        show_default=False,
    ),
]


def search(
    context: typer.Context,
    collection: CollectionName,
    query: Query,
    k: Annotated[int, typer.Option("-k", "--k", help="How many hits.")] = 10,
    offset: Annotated[int, typer.Option(help="Leave out the first ones: page 2 of 10 is --offset 10.")] = 0,
    search_mode: SearchModeOption = None,
    where: Where = None,
    fusion: Annotated[Literal["weighted", "rrf"], typer.Option(help="How a hybrid search joins its two legs.")] = "weighted",
    vector_weight: Annotated[
        float | None, typer.Option(help="The vector leg's share, 0 to 1; the embedder's own if not given.", show_default=False)
    ] = None,
    candidates: Annotated[
        int | None,
        typer.Option(help="How deep each leg looks, at least k + offset; as configured if not given.", show_default=False),
    ] = None,
    per_document: Annotated[int, typer.Option(help="At most so many hits from one document.")] = 1,
    generation: GenerationNumber = None,
    explain: Annotated[bool, typer.Option("--explain", "-x", help="Show under each hit why it has its score.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Show the whole text of each hit and not a snippet.")] = False,
    json: AsJson = False,
) -> None:
    """Search the active generation of a collection.

    Examples:
      outcrop search papers "does vitamin D lower the risk of asthma?"
      outcrop search papers asthma --where "year >= 2015 AND lang = 'en'" --explain
      outcrop search papers asthma -k 3 --search-mode lexical --json
    """
    words = " ".join(query)
    with invocation(context).opened(read_only=True) as db:
        with _words_need_no_extra(search_mode):
            hits = db.collection(collection).search(
                words,
                k=k,
                offset=offset,
                mode=search_mode,
                where=filter_of(where),
                candidates=candidates,
                fusion=Fusion(method=fusion, vector_weight=vector_weight),
                per_document=per_document,
                explain=explain,
                generation=generation_of(generation),
            )
        if json:
            write_json(search_answer(words, hits))
        else:
            show_hits(hits, full=full)


@contextmanager
def _words_need_no_extra(search_mode: SearchMode | None) -> Iterator[None]:
    """Say of a search that only its vector leg cannot run that it can do without."""
    try:
        yield
    except MissingExtra as error:
        if search_mode == "vector":
            raise
        advice = "Or search by words alone, which needs no extra: --search-mode lexical"
        raise MissingExtra(f"{error}. {advice}", **error.values) from error


def show_hits(hits: Hits, *, full: bool = False) -> None:
    """Hits as a table, with a footer on how they came about; warnings on the standard error."""
    if hits:
        show(hits_table(hits, full=full))
    else:
        show("No hits.")
    show(Text(footer(hits), style="dim"))
    for warning in hits.warnings:
        note(f"warning: {plain(warning, one_line=True)}", style="bold yellow")
    if hits.degraded:
        note(f"warning: degraded: {plain(hits.degraded.reason, one_line=True)}", style="bold yellow")


def hits_table(hits: Hits, *, full: bool = False) -> Table:
    """A row per hit: rank, score, and in one column title, citation, passage and explanation."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("hit", ratio=1, overflow="fold")
    for hit in hits:
        table.add_row(str(hit.rank), f"{hit.score:.4f}", _shown(hit, full=full))
    return table


def footer(hits: Hits) -> str:
    """Who answered, and how long each step took."""
    took = hits.took_ms
    steps = [
        f"{name} {value:.1f}"
        for name in ("embed", "lexical", "vector", "fuse", "fetch")
        if (value := getattr(took, name)) is not None
    ]
    found = f"{len(hits)} of {hits.total_candidates} candidates"
    lag = f", {counted(hits.index_lag, 'chunk')} not in the index yet" if hits.index_lag else ""
    how = "from the cache" if hits.cached else ", ".join(steps)
    return f"generation {hits.generation}, engine {hits.engine}, {hits.mode}, {found}{lag}, {took.total:.1f} ms ({how})"


def _shown(hit: Hit, *, full: bool) -> RenderableType:
    title = hit.title if hit.title else hit.document_id
    lines: list[RenderableType] = [Text(plain(title, one_line=True), style="bold")]
    lines.append(Text(plain(_place(hit), one_line=True), style="cyan"))
    lines.append(Text(plain(hit.text)) if full else marked(hit.snippet))
    if hit.explanation is not None:
        lines.append(Text(plain(str(hit.explanation)), style="dim"))
    return Group(*lines, "")


def _place(hit: Hit) -> str:
    """The chunk's id, and its citation without the title that stands above it."""
    heading = None if hit.heading == hit.title else hit.heading
    citation = str(msgspec.structs.replace(hit.citation, title=None, heading=heading))
    return f"{hit.id}  {citation}" if citation else hit.id

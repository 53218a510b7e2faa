"""`outcrop demo`: what a generation is, shown on this project's own documentation."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from time import perf_counter
from typing import Annotated

import msgspec
import typer
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

import outcrop
from outcrop import Collection, GenerationInfo, Hit, Hits, embedding
from outcrop.model import SearchMode
from outcrop.surfaces.cli.demo_documents import documents
from outcrop.surfaces.cli.generations import history_table
from outcrop.surfaces.cli.program import Invocation, WrongUsage, invocation
from outcrop.surfaces.cli.rendering import facts, generations_table, plain, screen, show, size
from outcrop.surfaces.cli.searching import footer, hits_table

_NAME = "handbook"
_FIRST_CHUNKER = "tokens:320/48"
_SECOND_CHUNKER = "markdown:120/18"
_QUESTION = "what happens to running searches when another generation is promoted?"
_SEARCHES: tuple[tuple[SearchMode, str, str], ...] = (
    (
        "lexical",
        "rollback",
        "By words (BM25). Only passages with the word itself can be found; each term's share of the score is shown.",
    ),
    (
        "vector",
        "go back to what was live before",
        "By meaning. Query and passages are vectors, and the nearest are found, whatever words they use.",
    ),
    (
        "hybrid",
        _QUESTION,
        "Both at once. Each leg's scores are scaled to 0..1 and weighted; the two contributions add up to the score.",
    ),
)
_NOTE = {"id": "note-1", "text": "Reminder: the nightly rebuild begins at a quarter past two.", "kind": "note"}
_NOTE_QUESTION = "when does the nightly rebuild begin?"
_HITS_EXPLAINED = 2
_HITS_COMPARED = 5


def demo(
    context: typer.Context,
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Work in this new folder and leave everything in it.", show_default=False)
    ] = None,
) -> None:
    """Show at work what a generation is; takes a minute.

    It builds this project's documentation, searches it, builds it differently, compares, writes, promotes and rolls back.

    Example:
      outcrop demo --keep my-demo
    """
    if keep is not None and keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise WrongUsage(f"--keep: {keep} exists already and is not an empty folder")
    began = perf_counter()
    with nullcontext(str(keep)) if keep is not None else tempfile.TemporaryDirectory(prefix="outcrop-demo-") as folder:
        _run(invocation(context), Path(folder))
    show(Text(f"That was the demo: {perf_counter() - began:.0f} seconds."))
    if keep is None:
        show(Text("Its folder is gone again. To look around in it: outcrop demo --keep my-demo"))
    else:
        show(Text(f"Look around: outcrop --db {plain(str(keep / 'kb'))} generations {_NAME}"))


def _run(call: Invocation, folder: Path) -> None:
    corpus = folder / "documents.jsonl"
    embedder = _embedder()
    _write_documents(corpus)
    with outcrop.open(folder / "kb", config=call.config) as db:
        handbook, first = _first_generation(db, corpus, embedder)
        _search_three_ways(handbook)
        second = _second_generation(handbook, first)
        _compare(handbook, first, second)
        _write(handbook, folder)
        _promote(handbook, second)
        _roll_back(handbook, first)


def _embedder() -> str:
    """The default embedder, else another one that is here, else none."""
    wanted = embedding.default_spec()
    here = [facts.name for facts in embedding.available() if facts.available and facts.name in ("static", "minilm")]
    return wanted if wanted != "none" or not here else here[0]


def _write_documents(corpus: Path) -> None:
    _chapter("Documents")
    found = documents()
    corpus.parent.mkdir(parents=True, exist_ok=True)
    rows = ({"id": one.id, "title": one.title, "text": one.text, "source": one.source, **one.metadata} for one in found)
    corpus.write_bytes(b"\n".join(msgspec.json.encode(row) for row in rows) + b"\n")
    pages = sum(one.metadata["kind"] == "page" for one in found)
    _say(
        f"Outcrop searches its own documentation: {len(found)} documents ({pages} pages, and {len(found) - pages} classes and"
        f" functions of the reference; {size(corpus.stat().st_size)} of JSON lines)."
    )


def _first_generation(db: outcrop.Database, corpus: Path, embedder: str) -> tuple[Collection, GenerationInfo]:
    _chapter("A first generation")
    _say(
        "A generation is a complete index: documents cut into chunks, a text index, a vector index, made by one recipe that never"
        " changes. It is built beside whatever is live, checked, and only then put live, in one step."
    )
    if embedder == "none":
        _say("No embedder is installed here, so this demo searches by words only. For vectors too:")
        _calls("pip install 'outcrop[static]'")
    else:
        _say(f"The recipe: embedder {embedder}, and chunks of up to 320 tokens.")
    _calls(
        f"outcrop build {_NAME} documents.jsonl --embedder {embedder} --chunker {_FIRST_CHUNKER} --promote",
        f'{_NAME} = db.create_collection("{_NAME}", embedder="{embedder}", chunker="{_FIRST_CHUNKER}")',
        f'first = {_NAME}.build("documents.jsonl", promote=True)',
    )
    handbook = db.create_collection(_NAME, embedder=embedder, chunker=_FIRST_CHUNKER)
    first = handbook.build(corpus, promote=True)
    _expect(first.status == "active" and first.document_count > 0, "the first generation is not active")
    _tell(first)
    return handbook, first


def _search_three_ways(handbook: Collection) -> None:
    active = handbook.active
    can_embed = active is not None and active.recipe.embedder is not None
    for mode, query, meaning in _SEARCHES:
        if mode != "lexical" and not can_embed:
            continue
        _chapter(f"Search: {mode}")
        _say(meaning)
        _calls(
            f'outcrop search {_NAME} "{query}" --search-mode {mode} -k {_HITS_EXPLAINED} --explain',
            f'hits = {_NAME}.search("{query}", mode="{mode}", k={_HITS_EXPLAINED}, explain=True)',
        )
        _show(handbook.search(query, mode=mode, k=_HITS_EXPLAINED, explain=True))


def _second_generation(handbook: Collection, first: GenerationInfo) -> GenerationInfo:
    _chapter("A second generation, beside the first")
    _say(
        "Now another recipe: cut at headings, into smaller chunks. The documents come from the collection itself, and the embedder"
        " stays. Searches go on meanwhile and see nothing of it."
    )
    _calls(f"outcrop build {_NAME} --chunker {_SECOND_CHUNKER}", f'second = {_NAME}.build(chunker="{_SECOND_CHUNKER}")')
    second = handbook.build(chunker=_SECOND_CHUNKER)
    _expect(second.status == "ready" and second.document_count == first.document_count, "the second generation is not ready")
    _tell(second)
    answer = handbook.search(_QUESTION, k=1)
    _expect(answer.generation == first.number, "a search saw a generation that was not promoted")
    _say(f"A search just now was still answered by generation {answer.generation}.")
    return second


def _compare(handbook: Collection, first: GenerationInfo, second: GenerationInfo) -> None:
    _chapter("Side by side")
    _say("Any generation can be searched before it is promoted, so that you see what would change.")
    _calls(
        f'outcrop search {_NAME} "{_QUESTION}" --generation {second.number}',
        f'hits = {_NAME}.search("{_QUESTION}", generation=second)',
    )
    old, new = (handbook.search(_QUESTION, k=_HITS_COMPARED, generation=one) for one in (first, second))
    _expect(bool(old) and bool(new), "a generation found nothing")
    show(generations_table([first, second], width=screen().width), "")
    rank_before = {hit.document_id: hit.rank for hit in old}
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold", title=f"“{_QUESTION}”", title_justify="left")
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column(f"generation {first.number}: {first.recipe.chunker}", ratio=1, overflow="fold")
    table.add_column(f"generation {second.number}: {second.recipe.chunker}", ratio=1, overflow="fold")
    for rank in range(max(len(old), len(new))):
        left = _cited(old[rank]) if rank < len(old) else Text("")
        right = _cited(new[rank]) if rank < len(new) else Text("")
        if rank < len(new):
            before = rank_before.get(new[rank].document_id)
            right.append(" (new)" if before is None else f" (was {before})" if before != rank + 1 else "", style="yellow")
        table.add_row(str(rank + 1), left, right)
    show(table, "")
    _say("Chunks cut at headings can be cited by their heading.")


def _write(handbook: Collection, folder: Path) -> None:
    _chapter("A write, while both are there")
    _say("A live collection is written to. When the call returns, the document is durable, and every process finds it.")
    (folder / "note.jsonl").write_bytes(msgspec.json.encode(_NOTE) + b"\n")
    _calls(f"outcrop upsert {_NAME} note.jsonl", f'{_NAME}.upsert({{"id": "{_NOTE["id"]}", ...}})')
    result = handbook.upsert(_NOTE)
    _expect((result.upserted, result.replaced) == (1, 0), "the document was not put in")
    found = handbook.search(_NOTE_QUESTION, k=1)
    _expect(found[0].document_id == _NOTE["id"], "what was written is not found")
    _show(found)


def _promote(handbook: Collection, second: GenerationInfo) -> None:
    _chapter("Promote")
    _say("Promoting swaps one pointer: the next search sees the second generation, in this process and in every other.")
    _calls(f"outcrop promote {_NAME} {second.number}", f"{_NAME}.promote(second)")
    took = _timed(lambda: handbook.promote(second))
    promoted = handbook.search(_QUESTION, k=_HITS_EXPLAINED)
    _expect(promoted.generation == second.number, "the promoted generation does not answer")
    _show(promoted)
    _expect(bool(handbook.get(_NOTE["id"])), "the promotion lost a write")
    _say(f"The promotion took {took:.0f} ms. What was written after this generation was built is in it: {_NOTE['id']}.")
    gone = promoted[0].document_id
    _say("And a document is deleted, the best hit of this search:")
    _calls(f"outcrop delete {_NAME} {gone}", f'{_NAME}.delete("{gone}")')
    _expect(handbook.delete(gone).deleted == 1, "the document was not deleted")


def _roll_back(handbook: Collection, first: GenerationInfo) -> None:
    _chapter("Roll back")
    _say("Not what you wanted? The first generation is still there, whole. Nothing is built again, and no write is lost.")
    _calls(f"outcrop rollback {_NAME}", f"{_NAME}.rollback()")
    there = {one.id for one in handbook.scan()}
    took = _timed(handbook.rollback)
    after = handbook.search(_QUESTION, k=_HITS_EXPLAINED)
    _expect(after.generation == first.number, "after the rollback the first generation does not answer")
    _expect({one.id for one in handbook.scan()} == there, "the rollback lost a write")
    _show(after)
    _say(f"The rollback took {took:.0f} ms. {_NOTE['id']} is there, and what was deleted stays deleted.")
    _chapter("What there is now")
    _calls(f"outcrop generations {_NAME}", f"{_NAME}.generations()")
    show(generations_table(handbook.generations(), width=screen().width), "")
    _calls(f"outcrop history {_NAME}", f"{_NAME}.history()")
    show(history_table(handbook.history()), "")


def _chapter(title: str) -> None:
    show("", Rule(Text(title, style="bold"), align="left", style="dim"), "")


def _say(text: str) -> None:
    show(Text(text), "")


def _calls(command: str, *python: str) -> None:
    """The same call, in the shell and in Python."""
    lines = [Text(f"$ {command}", style="cyan"), *(Text(f">>> {line}", style="dim cyan") for line in python)]
    screen().print(*lines, "", sep="\n", soft_wrap=True)  # unbroken, so that they can be copied


def _tell(built: GenerationInfo) -> None:
    index = "no vectors" if built.vector_index is None else f"{built.vector_index} vector index"
    rows = [
        ("status", built.status),
        ("holds", f"{built.document_count:,} documents in {built.chunk_count:,} chunks, {index}"),
        ("took", f"{built.build_seconds:.1f} s, {size(built.size_bytes)} on disk"),
    ]
    show(Panel(facts(rows), title=Text(f"generation {built.number}"), title_align="left", expand=False), "")


def _show(hits: Hits) -> None:
    _expect(bool(hits), "a search found nothing")
    show(hits_table(hits), Text(footer(hits), style="dim"), "")


def _cited(hit: Hit) -> Text:
    return Text(plain(str(hit.citation), one_line=True))


def _timed(run: Callable[[], object]) -> float:
    """Milliseconds."""
    began = perf_counter()
    run()
    return (perf_counter() - began) * 1e3


def _expect(true: bool, otherwise: str) -> None:
    """The demo also is a test of the whole: it must not go on when something is off."""
    if not true:
        raise RuntimeError(f"the demo went wrong: {otherwise}")

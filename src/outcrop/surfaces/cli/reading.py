"""`outcrop stats`, `count` and `get`: what a collection holds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import msgspec
import typer
from rich.text import Text

from outcrop import CacheStats, Document, LiveRecall, ServingStats, Stats
from outcrop.surfaces.cli import exit_codes
from outcrop.surfaces.cli.arguments import AsJson, CollectionName, Where, filter_of
from outcrop.surfaces.cli.program import invocation
from outcrop.surfaces.cli.rendering import counted, facts, note, plain, recipe_rows, show, size, write_json
from outcrop.surfaces.wire import document_object

_FIELDS_SHOWN = 40
_NAMED = 20
_CHUNK = re.compile(r"#[0-9]+$")


def stats(context: typer.Context, collection: CollectionName, json: AsJson = False) -> None:
    """Show the state of a collection.

    What is active, what it holds and is made of, which fields a filter can use.

    Example:
      outcrop stats papers
    """
    with invocation(context).opened(read_only=True) as db:
        found = db.collection(collection).stats()
    if json:
        write_json(found)
        return
    active = next((one for one in found.generations if one.number == found.active), None)
    rows = [
        ("collection", found.collection),
        ("mode", found.mode),
        ("engine", plain(str(found.running))),
        ("generations", f"{len(found.generations)}"),
        ("on disk", f"{size(found.size_bytes)}, the journal {size(found.journal_bytes)} of it"),
        ("last write", f"sequence {found.sequence}" if found.sequence else "none"),
        ("active", "none: build one with --promote, or outcrop promote" if active is None else f"generation {active.number}"),
        *([] if active is None else recipe_rows(active)),
        ("index lag", _lag(found) if active is not None else None),
        ("filter on", _fields(found) if active is not None else None),
        ("LanceDB", None if found.serving is None else plain(_serving(found.serving), one_line=True)),
        ("answers", _answers(found) if found.answers else None),
        ("live recall", None if found.live_recall is None else _live_recall(found.live_recall)),
        ("query cache", _cache(found.query_cache)),
        ("embeddings", f"of queries: {_cache(found.query_embeddings)}"),
        ("memory", _memory(found.memory)),
    ]
    show(facts(rows))
    if found.degraded is not None:
        note(f"warning: degraded: {plain(found.degraded, one_line=True)}", style="bold red")


def count(context: typer.Context, collection: CollectionName, where: Where = None) -> None:
    """Count the documents, or those that a filter selects.

    Example:
      outcrop count papers --where "year >= 2015"
    """
    with invocation(context).opened(read_only=True) as db:
        print(db.collection(collection).count(filter_of(where)))


def get(
    context: typer.Context,
    collection: CollectionName,
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="Document ids, not chunk ids.", show_default=False)],
    json: AsJson = False,
) -> None:
    """Show documents by their ids. Exit code 4 if there is none of them.

    Example:
      outcrop get papers p-9 p-3
    """
    with invocation(context).opened(read_only=True) as db:
        documents = db.collection(collection).get(ids)
    if json:
        write_json([document_object(document) for document in documents])
    else:
        for document in documents:
            _show(document)
    found = {document.id for document in documents}
    say_missing(collection, [wanted for wanted in ids if wanted not in found], kind="warning" if found else "error")
    if not found:
        raise typer.Exit(exit_codes.NOT_FOUND)


def say_missing(collection: str, missing: Sequence[str], *, kind: Literal["warning", "error"] = "warning") -> None:
    """Name the first of the ids that no document has; nothing if there is none."""
    if not missing:
        return
    hint = "; a hit's id is its document's with # and a number: leave those out" if any(map(_CHUNK.search, missing)) else ""
    more = f" and {len(missing) - _NAMED:,} more" if len(missing) > _NAMED else ""
    named = ", ".join(plain(one, one_line=True) for one in missing[:_NAMED])
    note(f"{kind}: {collection} has no document {named}{more}{hint}", style="bold yellow" if kind == "warning" else "bold red")


def _lag(found: Stats) -> str:
    if not found.index_lag:
        return "none: every chunk is in the index"
    return f"{counted(found.index_lag, 'chunk')} written since, searched one by one (outcrop optimize {found.collection})"


def _serving(serving: ServingStats) -> str:
    parts = [f"circuit breaker {serving.state}", counted(serving.failures, "failure")]
    if serving.writes_behind is not None:
        parts.append(f"{counted(serving.writes_behind, 'write')} behind")
    return ", ".join(parts if serving.reason is None else [*parts, serving.reason])


def _answers(found: Stats) -> str:
    counts = ", ".join(f"{engine} {count:,}" for engine, count in sorted(found.answers.items()))
    if found.fallback_rate is None:
        return counts
    causes = ", ".join(f"LanceDB {cause} {count:,}" for cause, count in sorted(found.fallbacks.items()))
    return f"{counts} ({found.fallback_rate:.1%} by the fallback{f': {causes}' if causes else ''})"


def _live_recall(live: LiveRecall) -> str:
    if live.recall is None:
        return "nothing measured yet"
    return f"recall@{live.k} {live.recall:.3f} of {counted(live.searches, 'search', 'searches')}, lowest {live.lowest:.2f}"


def _cache(found: CacheStats | None) -> str:
    if found is None:
        return "off"
    if found.hit_rate is None:
        return f"nothing was asked yet, at most {size(found.size_bytes_max)}"
    held = f"{counted(found.entries, 'entry', 'entries')}, {size(found.size_bytes)} of {size(found.size_bytes_max)}"
    return f"{found.hits:,} of {found.hits + found.misses:,} found ({found.hit_rate:.1%}), {held}"


def _memory(by_owner: Mapping[str, int]) -> str | None:
    held = [f"{owner} {size(size_bytes)}" for owner, size_bytes in by_owner.items() if size_bytes]
    return ", ".join(held) if held else None


def _fields(found: Stats) -> str:
    names = [plain(name, one_line=True) for name in found.fields[:_FIELDS_SHOWN]]
    more = len(found.fields) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "") if names else "nothing: no document has metadata"


def _show(document: Document) -> None:
    metadata = msgspec.json.encode(document.metadata).decode() if document.metadata else None
    rows = [("id", document.id), ("title", document.title), ("source", document.source), ("metadata", metadata)]
    show(facts((name, None if value is None else Text(plain(value, one_line=True))) for name, value in rows))
    show(Text(plain(document.text)), "")

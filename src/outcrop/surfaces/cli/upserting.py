"""`outcrop upsert`: documents into a collection that is live, batch by batch."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer
from rich.text import Text

from outcrop import Collection, WrittenBatch
from outcrop.surfaces.cli.arguments import AsJson, CollectionName, Quiet
from outcrop.surfaces.cli.program import Invocation, invocation
from outcrop.surfaces.cli.progress import shown
from outcrop.surfaces.cli.rendering import counted, note, plain, ranges, show, write_json
from outcrop.surfaces.cli.standard_input import STDIN, standard_input


class Done(msgspec.Struct):
    """What is in. `documents` is how many of the source's were read for it, with those that were left out at its beginning."""

    documents: int
    sequences: list[int] = []
    upserted: int = 0
    replaced: int = 0
    chunks: int = 0
    superseded: int = 0


def upsert(
    context: typer.Context,
    collection: CollectionName,
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="Whatever `outcrop build` reads: a .jsonl, .csv, .parquet file, a folder of texts; or - for JSON lines on the"
            " standard input.",
            show_default=False,
        ),
    ],
    batch: Annotated[int, typer.Option(min=1, help="How many documents are one write at most, done whole or not at all.")] = 1000,
    skip: Annotated[int, typer.Option(min=0, help="Leave out the first ones: how to go on after a failure.")] = 0,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Put documents into a live collection.

    They take the place of those with the same ids. Each batch is durable when it is written, and searches see it. Later
    generations get it too, and a rollback keeps it. Of documents with the same id the last one counts.

    Examples:
      outcrop upsert papers changes.jsonl
      outcrop upsert papers - --batch 100 < changes.jsonl
    """
    call = invocation(context)
    done = Done(documents=skip)
    with call.opened(read_only=False, makes=True) as db:
        opened = db.collection(collection)
        was_empty = opened.active is None
        try:
            _write_all(opened, source, done, size=batch, quiet=quiet)
        except BaseException as error:
            if json:
                _write_json(collection, done, complete=False)
            else:
                _say_how_far(call, collection, source, done, skipped=skip)
            if isinstance(error, KeyboardInterrupt):
                note("note: the batch in work may be in as well; to write it again changes nothing")
            raise
        made = opened.active if was_empty else None
    if json:
        _write_json(collection, done, complete=True)
        return
    if made is not None and not quiet:
        note(f"made: generation {made.number} of {collection}, and it is active: the collection had none", style="bold green")
    _report(collection, source, done, quiet=quiet)


def _write_all(collection: Collection, source: str, done: Done, *, size: int, quiet: bool) -> None:
    def is_in(batch: WrittenBatch) -> None:
        done.documents += batch.documents
        done.superseded += batch.superseded
        done.upserted += batch.upserted
        done.replaced += batch.replaced
        done.chunks += batch.chunks
        if batch.sequence is not None:
            done.sequences.append(batch.sequence)

    with shown(quiet=quiet) as progress:
        read = standard_input() if source == STDIN else source
        collection.upsert_many(read, batch_documents=size, skip=done.documents, on_batch=is_in, progress=progress)


def _write_json(collection: str, done: Done, *, complete: bool) -> None:
    write_json({"collection": collection, "complete": complete, **msgspec.structs.asdict(done)})


def _say_how_far(call: Invocation, collection: str, source: str, done: Done, *, skipped: int) -> None:
    """What of a source is in, when the rest is not."""
    after = f" after the first {skipped:,}" if skipped else ""
    if not done.sequences:
        note(f"so far: nothing{after} was written", style="bold")
        return
    count = counted(done.documents - skipped, "document")
    note(
        f"so far: {count}{after} {'is' if count.startswith('1 ') else 'are'} in ({_in_words(done)}); the rest is not", style="bold"
    )
    if source == STDIN:
        note(f"go on: give what comes after the first {done.documents:,}, or all of it with --skip {done.documents}")
    else:
        note(f"go on: {call.command('upsert')} {collection} {plain(source)} --skip {done.documents}")


def _report(collection: str, source: str, done: Done, *, quiet: bool) -> None:
    if not done.sequences:
        note(f"nothing to do: {'stdin' if source == STDIN else plain(source)} holds no documents", style="bold yellow")
    elif quiet:
        print(done.sequences[-1])
    else:
        show(Text(f"{counted(done.upserted, 'document')} into {collection}: {_in_words(done)}."))
    if done.superseded and not quiet:
        note(f"note: {counted(done.superseded, 'document')} came again later in its batch; the last one counts")


def _in_words(done: Done) -> str:
    new = done.upserted - done.replaced
    many = "s" if len(done.sequences) > 1 else ""
    written = f"{counted(len(done.sequences), 'write')}, sequence{many} {ranges(done.sequences)}"
    return f"{new:,} new, {done.replaced:,} replaced, {counted(done.chunks, 'chunk')}; {written}"

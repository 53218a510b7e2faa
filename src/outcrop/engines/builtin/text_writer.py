"""Writes the text index of one generation: bulk adds of a build, then one commit for every write that is applied.

A commit makes a segment of six files, and Tantivy merges eight segments of about one size into one; all that have fewer than 10,000
chunks count as equal. Tantivy's Python package has no say in that, and whoever closes the writer waits for it. Measured (2 cores,
chunks of 100 words): a commit of one chunk takes 20 to 30 ms, nearly all of it Tantivy's own synced files; merges add 7 ms on
average, and over 2,000 such commits there are never more than 7 segments and 52 files. Larger merges take about 10 us a chunk: 0.8
s once in 80,000 chunks, 6 s once in 640,000. Searches wait for nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import tantivy

from outcrop import analysis, freed_memory
from outcrop.analysis import normalize
from outcrop.engines.builtin.text_filter import filter_values
from outcrop.engines.builtin.text_folder import MARKER, create_index, open_index, remove_strays, tantivy_errors
from outcrop.engines.protocol import IndexedChunk
from outcrop.errors import Closed, CollectionLocked, IllegalState
from outcrop.files import storage_errors, sync_folder

# One thread and one large buffer give one segment for about half a million short texts, and fewer segments are faster queries.
_BULK_HEAP_BYTES = 200_000_000
_HEAP_BYTES = 50_000_000
_HEAP_BYTES_MIN = 15_000_000  # Tantivy takes no less
_NO_SLOT = -1
_LOCK_WAITED_SECONDS = 1.0
_LOCK_POLLED_SECONDS = 0.005


class TextWriter:
    """Writes one text index; one at a time for a folder, used by one thread at a time. Get one by `create` or `open`.

    Nothing is visible or durable before `commit`. After a failed call everything since the last commit is forgotten: add it again.
    """

    def __init__(self, directory: Path, index: tantivy.Index, heap_bytes: int, *, fresh: bool) -> None:
        self._directory = directory
        self._index = index
        self._schema = index.schema
        self._heap_bytes = heap_bytes
        self._fresh = fresh  # a slot that cannot be there need not be deleted first
        self._writer: tantivy.IndexWriter | None = None
        self._closed = False
        self._live()

    @classmethod
    def create(cls, directory: Path, analyzer: str, *, buffer_bytes: int = _BULK_HEAP_BYTES) -> TextWriter:
        """Begin an empty index in `directory`, which is made if absent. Each slot may be added once.

        For a generation's build: memory is bounded by about `buffer_bytes`, of at least 15 MB, whatever is added. Raises
        `IllegalState` if there is an index already, `InvalidConfig` for an unknown analyzer, `StorageFailed`.
        """
        chosen = analysis.analyzer(analyzer)
        with storage_errors(directory):
            directory.mkdir(parents=True, exist_ok=True)
            if (directory / "meta.json").exists():
                raise IllegalState(f"{directory} holds a text index already; open it, or build in an empty folder", path=directory)
        heap_bytes = max(_HEAP_BYTES_MIN, min(buffer_bytes, _BULK_HEAP_BYTES))
        return cls(directory, create_index(directory, chosen), heap_bytes, fresh=True)

    @classmethod
    def open(cls, directory: Path, analyzer: str) -> TextWriter:
        """Go on writing an index that was committed before. A slot that is there already is replaced.

        Raises `Damaged`, `CollectionLocked` if there is another writer, `StorageFailed`.
        """
        return cls(directory, open_index(directory, analysis.analyzer(analyzer)), _HEAP_BYTES, fresh=False)

    def add(self, chunks: Sequence[IndexedChunk]) -> None:
        """Take chunks in. Idempotent in a writer from `open`; one from `create` takes each slot once."""
        writer = self._live()
        with self._failing_whole("add to"):
            for chunk in chunks:
                if not self._fresh:
                    writer.delete_documents_by_term("slot", chunk.slot)
                writer.add_document(self._document(chunk))

    def delete(self, slots: Sequence[int]) -> None:
        """Take slots out; unknown ones are ignored."""
        writer = self._live()
        with self._failing_whole("delete from"):
            for slot in slots:
                writer.delete_documents_by_term("slot", slot)

    def commit(self, sequence: int) -> None:
        """Make all adds and deletes, with `sequence`, visible and durable in one step. Raises `StorageFailed`; then none is."""
        writer = self._live()
        with self._failing_whole("commit to"):
            writer.delete_documents_by_term("marker", MARKER)
            marker = tantivy.Document()
            marker.add_integer("marker", MARKER)
            marker.add_integer("sequence", sequence)
            writer.add_document(marker)
            writer.commit()
        sync_folder(self._directory)  # Tantivy syncs its files, but not the folder after its last rename

    def close(self) -> None:
        """Wait for running merges, then let go of the folder. What was not committed is forgotten. Idempotent."""
        self._closed = True
        writer, self._writer = self._writer, None
        if writer is not None:
            # A writer that is dropped at once abandons its merges, and segments pile up.
            with tantivy_errors(self._directory, "merge"):
                writer.wait_merging_threads()
            sync_folder(self._directory)

    def _live(self) -> tantivy.IndexWriter:
        """The writer, opened again if the last one failed."""
        if self._closed:
            raise Closed(f"the text index in {self._directory} is closed for writing")
        if self._writer is None:
            self._writer = self._opened()
            with tantivy_errors(self._directory, "write"):
                # Files of a commit that was cut short would make a later one fail for ever: they have the names that it needs.
                self._writer.garbage_collect_files()
                # A writer's first operation gets the number of the last commit. A merge takes a segment that has deletes of that
                # number for done and skips the operation there: a delete would be lost. So the first one is of nothing.
                self._writer.delete_documents_by_term("slot", _NO_SLOT)
            remove_strays(self._directory)
        return self._writer

    def _opened(self) -> tantivy.IndexWriter:
        """One writer at a time is let in by locks of ours; a child that was forked just now may hold Tantivy's for a moment."""
        freed_memory.keep_little()
        deadline = time.monotonic() + _LOCK_WAITED_SECONDS
        while True:
            try:
                with tantivy_errors(self._directory, "write"):
                    return self._index.writer(self._heap_bytes, 1)
            except CollectionLocked:
                if time.monotonic() > deadline:
                    raise
            time.sleep(_LOCK_POLLED_SECONDS)

    @contextmanager
    def _failing_whole(self, action: str) -> Iterator[None]:
        """On any failure drop the writer: a Tantivy writer that has failed once never works again."""
        try:
            with tantivy_errors(self._directory, action):
                yield
        except BaseException:
            self._abandon()
            raise

    def _abandon(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            # Consuming it frees the lock now; the traceback would keep it alive. The failure that matters is already on its way.
            with suppress(Exception):
                writer.wait_merging_threads()

    def _document(self, chunk: IndexedChunk) -> tantivy.Document:
        title = normalize(chunk.title) if chunk.title is not None else ""
        text = normalize(chunk.text)
        fields: dict[str, Any] = filter_values(chunk.metadata)
        fields |= {"slot": chunk.slot, "text": f"{title}\n{text}" if title else text}
        if title:
            fields["title"] = title
        return tantivy.Document.from_dict(fields, self._schema)

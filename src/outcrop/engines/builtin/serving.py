"""An open index: makes the snapshot of the last write, from the one before it where it can."""

from __future__ import annotations

import os
from pathlib import Path
from time import monotonic
from typing import TypeAlias

import msgspec

from outcrop import files, forking
from outcrop.documents import Documents, PartRow, View
from outcrop.engines.builtin.parts import LivePart, Part
from outcrop.engines.builtin.snapshot import BuiltinSnapshot
from outcrop.engines.builtin.tail import Tail
from outcrop.engines.builtin.text import TextReader, TextSnapshot
from outcrop.engines.protocol import IndexStats
from outcrop.errors import Damaged, StorageFailed
from outcrop.model import Recipe

TEXT = Path("builtin") / "text"
_ATTEMPTS = 20
_LISTED_SECONDS = 0.05


class Serving:
    """The reading side of a generation: its rows, its text index and its open parts. Safe to use from many threads."""

    def __init__(self, directory: Path, recipe: Recipe) -> None:
        self.directory = directory
        self.recipe = recipe
        self.documents = Documents(directory)
        self._meta = directory / TEXT / "meta.json"
        self._meta_path = str(self._meta)
        self._text = TextReader.open(directory / TEXT, recipe.analyzer)
        self._refreshing = forking.lock()
        self._compared: tuple[object, float] = (None, 0.0)  # what was published here, and when
        self._held = self._refreshed(None)

    def snapshot(self) -> BuiltinSnapshot:
        """The index as of the last write that was complete when this was called, or a later one.

        A write is complete with a commit of the text index, so one look at its file tells whether there was any. Parts that another
        process has published hold nothing new: those are looked for some twenty times a second.
        """
        held = self._held
        published, compared_at = self._compared
        if published is _published.last and monotonic() - compared_at < _LISTED_SECONDS and held.signature == self._glimpse():
            return held.snapshot
        return self.newest()

    def newest(self) -> BuiltinSnapshot:
        """As `snapshot`, with the parts that are listed now."""
        comparing = _published.last, monotonic()
        signature = self._glimpse()
        position = self.documents.position()
        held = self._held
        if not self._shows(held, position):
            held = self._caught_up(position)
        elif signature is not None and held.signature != signature:
            self._sign(held, signature)
        self._compared = comparing
        return held.snapshot

    def published(self) -> None:
        """The list of parts was changed by this process: everyone who serves in it looks at once."""
        _published.last = object()

    def _caught_up(self, position: tuple[int, int]) -> _Held:
        with self._refreshing:
            # Whoever refreshed while this thread waited may have looked before the last write was complete.
            if not self._shows(self._held, position):
                self._held = self._refreshed(self._held)
            return self._held

    def stats(self) -> IndexStats:
        """What the index holds now."""
        snapshot = self.newest()
        facts = [live.part.facts for live in snapshot.parts if live.part.facts is not None]
        rows = sum(fact.row_count for fact in facts)
        largest = max(facts, key=lambda fact: fact.row_count, default=None)
        fields = {field for live in snapshot.parts for field in live.part.columns.fields}
        return IndexStats(
            chunk_count=snapshot.text.chunk_count,
            unindexed_count=snapshot.lag,
            size_bytes=files.size_bytes(self.directory),
            vector_index=" + ".join(sorted({_described(fact.kind, fact.parameters) for fact in facts})) if facts else None,
            recall=sum(fact.recall * fact.row_count for fact in facts) / rows if rows else None,
            fields=tuple(sorted(fields | set(self.documents.fields()))),
            choice=None if largest is None else largest.choice,
        )

    def close(self) -> None:
        """Release what the last snapshot holds; snapshots before it release theirs when they are let go."""
        self._text.close()
        for live in self._held.snapshot.parts:
            live.part.close()
        self.documents.close()

    def _shows(self, held: _Held, position: tuple[int, int]) -> bool:
        """Whether the held snapshot shows all that is complete. Rows ahead of the text index are a write that goes on, or was
        cut short; its commit changes the signature."""
        sequence, publications = position
        if held.publications < publications:
            return False
        return held.snapshot.sequence >= sequence or held.signature == self._signature()

    def _refreshed(self, held: _Held | None) -> _Held:
        for _ in range(_ATTEMPTS):
            signature = self._signature()
            text = self._text.newest() if held is None or held.signature != signature else held.snapshot.text
            made = self._made(held, text, signature)
            if made is not None:
                return made
        if (purged := self.documents.head().purged) > text.sequence:
            raise Damaged(
                f"the built-in index in {self.directory} holds the writes up to {text.sequence}, and what ended up to write"
                f" {purged} is forgotten: it cannot catch up any more. Roll back to another generation, or build a new one.",
                path=self.directory,
            )
        raise Damaged(
            f"the parts of the index in {self.directory} do not fit its text index; run verify, or roll back", path=self.directory
        )

    def _made(self, held: _Held | None, text: TextSnapshot, signature: _Signature) -> _Held | None:
        """The snapshot for a commit of the text index, or None if what goes with it has changed since the commit was read."""
        if held is not None:
            before = held.snapshot
            after = -1 if before.tail is None else before.tail.last_slot
            view = self.documents.view(at=text.sequence, since=before.sequence, tail_after=after)
            if view.publications == held.publications and view.purged <= before.sequence:
                return _Held(self._next(before, text, view), signature, view.publications)
        view = self.documents.view(at=text.sequence)
        parts = None if view.purged > text.sequence else self._parts(view, held, text.sequence)
        if parts is None:
            return None
        dimension = self.recipe.dimension
        tail = None if dimension is None else Tail.of(view.tail, dimension, self.recipe.metric)
        return _Held(BuiltinSnapshot(self.documents, text, parts, tail), signature, view.publications)

    def _next(self, before: BuiltinSnapshot, text: TextSnapshot, view: View) -> BuiltinSnapshot:
        """The snapshot that follows another with the same parts: only what was written between them is looked at."""
        parts = before.parts
        tail = before.tail
        if len(view.ended):
            parts = tuple(live.without(view.ended) for live in parts)
        if tail is not None:
            tail = tail.grown(view.tail).without(view.ended)
        return BuiltinSnapshot(self.documents, text, parts, tail)

    def _parts(self, view: View, held: _Held | None, at: int) -> tuple[LivePart, ...] | None:
        """The listed parts, those that are open already as they are. None if one is newer than the commit or not there any more."""
        known = {} if held is None else {live.part.row.uuid: live.part for live in held.snapshot.parts}
        parts = []
        for row in view.parts:
            part = known.get(row.uuid) if row.sequence <= at else None
            if part is None and row.sequence <= at:
                part = self._opened(row)
            if part is None:
                return None
            parts.append(LivePart(part).without(view.ended))
        return tuple(parts)

    def _opened(self, row: PartRow) -> Part | None:
        """The part, or None if it is not listed any more: then its files may be gone."""
        try:
            return Part(self.directory, row, self.recipe)
        except (Damaged, StorageFailed):
            if any(listed.uuid == row.uuid for listed in self.documents.parts()):
                raise
            return None

    def _sign(self, held: _Held, signature: _Signature) -> None:
        """Note that the held snapshot shows all that this signature stands for: segments were merged since it was made."""
        with self._refreshing:
            if self._held is held:
                self._held = _Held(held.snapshot, signature, held.publications)

    def _glimpse(self) -> _Signature | None:
        """The signature, or None where the file cannot be looked at: then the rows tell what was written."""
        self._text.check_open()
        try:
            return _signed(os.stat(self._meta_path))  # noqa: PTH116 - for every search: twice as fast
        except OSError:
            return None

    def _signature(self) -> _Signature:
        """What changes with every commit of the text index, in any process: its list of segments is replaced by a new file."""
        with files.storage_errors(self._meta):
            return _signed(self._meta.stat())


def _signed(found: os.stat_result) -> _Signature:
    return found.st_mtime_ns, found.st_ino, found.st_size


class _Published:
    """Another object whenever this process has changed the list of parts of any index."""

    last: object = None


_published = _Published()


_Signature: TypeAlias = tuple[int, int, int]


class _Held(msgspec.Struct, frozen=True, eq=False):
    """The last snapshot, the text index's signature before it was read, and which list of parts it has."""

    snapshot: BuiltinSnapshot
    signature: _Signature
    publications: int


def _described(kind: str, parameters: dict[str, int]) -> str:
    """For people: `hnsw (m 16, ef_search 96)`."""
    listed = ", ".join(f"{name} {value}" for name, value in parameters.items())
    return f"{kind} ({listed})" if listed else kind

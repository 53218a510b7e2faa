"""An open generation: its manifest, its index, its documents and its embedder, kept open as long as somebody searches it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from threading import get_ident

import msgspec
import numpy as np

from outcrop import forking
from outcrop.analysis import Analyzer, analyzer
from outcrop.documents import Documents, DocumentsWriter
from outcrop.embedding import Embedder, check_identity, check_probes, resolve
from outcrop.engines import registry
from outcrop.engines.protocol import GenerationIndex
from outcrop.errors import EmbedderMismatch
from outcrop.generations import leases, manifest
from outcrop.generations.layout import CollectionFolder, GenerationName
from outcrop.generations.manifest import Manifest
from outcrop.model import EmbedderIdentity
from outcrop.reloading import LiveConfig

_CUSTOM = "custom:"


class _Readings:
    """For each generation's folder the writes as of which its documents are being read in this process, by whatever handle."""

    def __init__(self) -> None:
        self._of: dict[Path, list[int]] = {}
        forking.in_child(self, _Readings.forget)

    def of(self, directory: Path) -> list[int]:
        return self._of.setdefault(directory.resolve(), [])

    def forget(self) -> None:
        """What the parent reads, a child does not."""
        for found in self._of.values():
            found.clear()


_readings = _Readings()


class OpenGeneration:
    """One generation, open for searching from many threads. Closed when it was retired and its last search has ended."""

    def __init__(
        self,
        folder: CollectionFolder,
        name: GenerationName,
        live: LiveConfig,
        given: Mapping[EmbedderIdentity, Embedder],
        *,
        read_only: bool = False,
    ) -> None:
        directory = folder.generation(name)
        self._lease = leases.take(directory)  # None if the folder is gone: then there is no manifest either
        try:
            self.manifest: Manifest = manifest.required(directory)
            self.documents = Documents(directory)
            config = live.current
            engine = registry.engine(self.manifest.recipe.engine, config, directory=directory, read_only=read_only, live=live)
            self.index: GenerationIndex = engine.open(self.manifest.recipe, directory)
        except BaseException:
            self._release()
            raise
        self.name = name
        self._live = live
        self._given = given  # the caller's own embedders
        self.is_warm = False  # whether its embedder was asked for
        self._embedder: Embedder | None = None
        self._base_url: str | None = None  # for which it was found
        self._unembedded: tuple[int, int] = (-1, 0)
        self._writer: DocumentsWriter | None = None
        self._lock = forking.lock()
        self._pins: list[int] = []  # the threads that search
        self._read_at = _readings.of(directory)
        self._retired = False
        forking.in_child(self, OpenGeneration._begin_child)

    def __repr__(self) -> str:
        return f"OpenGeneration({self.name}, {self.searches} searches{', retired' if self._retired else ''})"

    @property
    def embedder(self) -> Embedder | None:
        """The generation's own embedder, checked against the manifest once; None if vectors are given or there are none.

        Raises `EmbedderMismatch`, or `UnknownEmbedder` if it cannot be loaded here.
        """
        expected = self.manifest.recipe.embedder
        if expected is None:
            return None
        given = self._given_for(expected)
        base_url = self._live.current.openai_base_url
        if self._embedder is not None and given in (None, self._embedder) and self._base_url == base_url:
            return self._embedder
        return self._checked(expected, self._resolved(expected, base_url) if given is None else given, base_url)

    def warm(self) -> None:
        """Load the embedder and check it, as the first search would. One that asks a server is made, and not asked.

        Raises what `embedder` raises.
        """
        self.is_warm = True
        expected = self.manifest.recipe.embedder
        if expected is None or self._embedder is not None:
            return
        given = self._given_for(expected)
        base_url = self._live.current.openai_base_url
        found = self._resolved(expected, base_url) if given is None else given
        if not getattr(found, "is_remote", True):  # of an embedder that does not say it, it is not known
            self._checked(expected, found, base_url)

    @cached_property
    def embedding_key(self) -> bytes:
        """Tells what its embedder makes of a text from what any other does: the identity, the probe vectors, and the metric."""
        about = self.manifest.recipe.embedder, self.manifest.recipe.metric, self.manifest.probes
        return sha256(msgspec.msgpack.encode(about)).digest()

    @cached_property
    def analyzer(self) -> Analyzer:
        """The generation's analyzer, for snippets."""
        return analyzer(self.manifest.recipe.analyzer)

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The metadata fields that its documents have."""
        return self.index.stats().fields

    def unembedded_count(self, sequence: int) -> int:
        """How many chunks have no vector although the others have one. Counted anew after each write, which `sequence` tells."""
        if self.manifest.recipe.dimension is None:
            return 0
        if self._unembedded[0] != sequence:
            self._unembedded = sequence, self.documents.unembedded()
        return self._unembedded[1]

    def writer(self) -> DocumentsWriter:
        """Writes the generation's documents, for whoever holds its apply lock. Kept open until the generation is closed."""
        if self._writer is None:
            self._writer = DocumentsWriter.open(self.documents.path.parent)
        return self._writer

    def _given_for(self, expected: EmbedderIdentity) -> Embedder | None:
        """The caller's own embedder for it."""
        given = self._given
        return given.get(expected) or next((one for one in given.values() if one.identity.spec == expected.spec), None)

    def _resolved(self, expected: EmbedderIdentity, base_url: str | None) -> Embedder:
        """The embedder of that name, not checked."""
        if expected.spec.startswith(_CUSTOM):
            raise EmbedderMismatch(
                f"generation {self.name.number} was built with your own embedder {expected.spec!r}; pass it again:"
                f" db.collection(name, embedder=...)",
                expected=expected,
                found=None,
            )
        found = resolve(expected.spec, openai_base_url=base_url)
        if found is None:  # a spec that resolves to no embedder is never written into a recipe with one
            raise EmbedderMismatch(f"{expected.spec!r} is no embedder here", expected=expected, found=None)
        return found

    def _checked(self, expected: EmbedderIdentity, found: Embedder, base_url: str | None) -> Embedder:
        check_identity(expected, found.identity)
        check_probes(np.array([probe.vector for probe in self.manifest.probes], dtype=np.float32), found)
        self._embedder, self._base_url, self.is_warm = found, base_url, True
        return found

    @contextmanager
    def read_at(self, sequence: int) -> Iterator[None]:
        """What was alive after this write is not forgotten while the block runs, however long: by this process, at least."""
        self._read_at.append(sequence)
        try:
            yield
        finally:
            if sequence in self._read_at:  # not in a child that was forked meanwhile
                self._read_at.remove(sequence)

    @property
    def readings(self) -> tuple[int, ...]:
        """The writes as of which its documents are being read in this process."""
        return tuple(self._read_at)

    @property
    def searches(self) -> int:
        """How many searches run."""
        return len(self._pins)

    @property
    def retired(self) -> bool:
        """Whether no new searches are meant to begin."""
        return self._retired

    def pin(self) -> bool:
        """Begin a search. False if the generation was closed meanwhile: the caller looks for the active one again."""
        with self._lock:
            if self._retired and not self._pins:
                return False
            self._pins.append(get_ident())
            return True

    def unpin(self) -> None:
        """End a search."""
        me = get_ident()
        with self._lock:
            if not self._pins:  # in a forked child, a search that another thread of the parent began
                return
            self._pins.remove(me if me in self._pins else self._pins[-1])  # a generator may be ended by another thread
            last = self._retired and not self._pins
        if last:
            self._close()

    def retire(self) -> None:
        """No new searches are meant to begin; close when the running ones have ended."""
        with self._lock:
            if self._retired:
                return
            self._retired = True
            idle = not self._pins
        if idle:
            self._close()

    def _begin_child(self) -> None:
        """In a forked child only the searches of the thread that forked go on; the others would keep the generation for ever."""
        pinned = bool(self._pins)
        self._pins = [thread for thread in self._pins if thread == get_ident()]
        if pinned and self._retired and not self._pins:
            self._close()

    def _close(self) -> None:
        self.index.close()
        self.documents.close()
        if self._writer is not None:
            self._writer.close()
        self._release()

    def _release(self) -> None:
        if self._lease is not None:
            self._lease.release()


@contextmanager
def pinned(generation: OpenGeneration) -> Iterator[OpenGeneration]:
    """Unpin a pinned generation when the block ends."""
    try:
        yield generation
    finally:
        generation.unpin()

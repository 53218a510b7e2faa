"""An open generation: its manifest, its index, its documents and its embedder, kept open as long as somebody searches it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property

import numpy as np

from outcrop.analysis import Analyzer, analyzer
from outcrop.config import Config
from outcrop.documents import Documents
from outcrop.embedding import Embedder, check_identity, check_probes, resolve
from outcrop.engines import registry
from outcrop.engines.protocol import GenerationIndex
from outcrop.errors import EmbedderMismatch
from outcrop.generations import manifest
from outcrop.generations.layout import CollectionFolder, GenerationName
from outcrop.generations.manifest import Manifest
from outcrop.model import EmbedderIdentity

_CUSTOM = "custom:"


class OpenGeneration:
    """One generation, open for searching from many threads. Closed when it was retired and its last search has ended."""

    def __init__(
        self, folder: CollectionFolder, name: GenerationName, config: Config, given: Mapping[EmbedderIdentity, Embedder]
    ) -> None:
        directory = folder.generation(name)
        self.manifest: Manifest = manifest.required(directory)
        self.name = name
        self._config = config
        self._given = given  # the caller's own embedders
        self.documents = Documents(directory)
        self.sequence = self.documents.sequence()
        self.index: GenerationIndex = registry.engine(self.manifest.recipe.engine, config).open(self.manifest.recipe, directory)
        self._lock = threading.Lock()
        self._searches = 0
        self._retired = False

    def __repr__(self) -> str:
        return f"OpenGeneration({self.name}, {self._searches} searches{', retired' if self._retired else ''})"

    @cached_property
    def embedder(self) -> Embedder | None:
        """The generation's own embedder, checked against the manifest; None if vectors are given or there are none.

        Raises `EmbedderMismatch`, or `UnknownEmbedder` if it cannot be loaded here.
        """
        expected = self.manifest.recipe.embedder
        if expected is None:
            return None
        found = self._given.get(expected) or next((one for one in self._given.values() if one.identity.spec == expected.spec), None)
        if found is None and expected.spec.startswith(_CUSTOM):
            raise EmbedderMismatch(
                f"generation {self.name.number} was built with your own embedder {expected.spec!r}; pass it again:"
                f" db.collection(name, embedder=...)",
                expected=expected,
                found=None,
            )
        if found is None:
            found = resolve(expected.spec, openai_base_url=self._config.openai_base_url)
        if found is None:  # a spec that resolves to no embedder is never written into a recipe with one
            raise EmbedderMismatch(f"{expected.spec!r} is no embedder here", expected=expected, found=None)
        check_identity(expected, found.identity)
        check_probes(np.array([probe.vector for probe in self.manifest.probes], dtype=np.float32), found)
        return found

    @cached_property
    def analyzer(self) -> Analyzer:
        """The generation's analyzer, for snippets."""
        return analyzer(self.manifest.recipe.analyzer)

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The metadata fields that its documents have."""
        return self.index.stats().fields

    @property
    def retired(self) -> bool:
        """Whether no new searches are meant to begin."""
        return self._retired

    def pin(self) -> bool:
        """Begin a search. False if the generation was closed meanwhile: the caller looks for the active one again."""
        with self._lock:
            if self._retired and not self._searches:
                return False
            self._searches += 1
            return True

    def unpin(self) -> None:
        """End a search."""
        with self._lock:
            self._searches -= 1
            last = self._retired and not self._searches
        if last:
            self._close()

    def retire(self) -> None:
        """No new searches are meant to begin; close when the running ones have ended."""
        with self._lock:
            if self._retired:
                return
            self._retired = True
            idle = not self._searches
        if idle:
            self._close()

    def _close(self) -> None:
        self.index.close()
        self.documents.close()


@contextmanager
def pinned(generation: OpenGeneration) -> Iterator[OpenGeneration]:
    """Unpin a pinned generation when the block ends."""
    try:
        yield generation
    finally:
        generation.unpin()

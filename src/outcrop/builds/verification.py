"""Checks a sealed generation before it is made ready: what was written must be there and be found."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
from numpy.typing import NDArray

from outcrop.analysis import analyzer as named_analyzer
from outcrop.documents import Counts, Documents
from outcrop.engines.protocol import GenerationIndex, IndexSnapshot, answered
from outcrop.errors import BuildFailed
from outcrop.model import Chunk

_SAMPLE = 20
_WORDS_OF_A_TEXT = 20
_DEPTHS = (100, 2**31 - 1)  # many chunks may be equal


class Check(msgspec.Struct, frozen=True):
    """One check: its name, whether it passed, and what was found."""

    name: str
    passed: bool
    found: str


def verify(index: GenerationIndex, stored: Documents, written: Counts, *, analyzer: str) -> tuple[Check, ...]:
    """Raise `BuildFailed` with every check unless all of them pass."""
    known = _known_items(index.snapshot(), written, named_analyzer(analyzer).terms)
    checks = (_documents_check(stored, written), _index_check(index, written), known)
    if not all(check.passed for check in checks):
        failed = "; ".join(f"{check.name}: {check.found}" for check in checks if not check.passed)
        raise BuildFailed(f"the new generation failed its verification and was removed: {failed}", checks=checks)
    return checks


def verify_counts(index: GenerationIndex, stored: Documents) -> None:
    """Raise `BuildFailed` unless the index holds as many chunks as are stored: the cheap check after writes were carried over."""
    check = _index_check(index, stored.counts())
    if not check.passed:
        raise BuildFailed(f"the new generation did not catch up as it should and was removed: {check.found}", checks=(check,))


def _documents_check(stored: Documents, written: Counts) -> Check:
    found = stored.counts()
    return Check(name="documents", passed=found == written, found=f"{found} stored, {written} written")


def _index_check(index: GenerationIndex, written: Counts) -> Check:
    found = index.stats().chunk_count
    return Check(name="text index", passed=found == written.chunks, found=f"{found} chunks indexed, {written.chunks} written")


def _known_items(index: IndexSnapshot, written: Counts, terms_of: Callable[[str], list[str]]) -> Check:
    """Chunks spread over the generation must each score by their own words. How others score does not matter: they may be equal."""
    slots = np.unique(np.linspace(1, written.chunks, min(_SAMPLE, written.chunks)).astype(np.int64)).tolist()
    chunks = index.fetch(slots)
    missed = [chunk.id for chunk in chunks if not _found(index, chunk, terms_of)]
    found = f"{len(chunks)} of {len(slots)} fetched, {len(missed)} not found by their own words {missed[:3]}"
    return Check(name="known items", passed=len(chunks) == len(slots) and not missed, found=found)


def _found(index: IndexSnapshot, chunk: Chunk, terms_of: Callable[[str], list[str]]) -> bool:
    """Whether the chunk scores by its first words, or has none that can be searched (stop words, punctuation, no text at all)."""
    words = " ".join(f"{chunk.title or ''} {chunk.text}".split(maxsplit=_WORDS_OF_A_TEXT)[:_WORDS_OF_A_TEXT])
    if not terms_of(words) or index.explain(words, [chunk.slot])[0]:
        return True
    return any(chunk.slot in _found_to(depth, index, words) for depth in _DEPTHS)  # of engines that explain nothing


def _found_to(depth: int, index: IndexSnapshot, words: str) -> NDArray[np.int64]:
    return answered(index, lambda one: one.lexical(words, depth, None)).slots

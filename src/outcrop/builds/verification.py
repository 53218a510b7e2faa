"""Checks a sealed generation before it is made ready: what was written must be there and be found."""

from __future__ import annotations

import msgspec
import numpy as np

from outcrop.documents import Counts, Documents
from outcrop.engines.protocol import GenerationIndex
from outcrop.errors import BuildFailed
from outcrop.model import Chunk

_SAMPLE = 20
_DEPTH = 100
_TERMS_OF_A_TEXT = 24


class Check(msgspec.Struct, frozen=True):
    """One check: its name, whether it passed, and what was found."""

    name: str
    passed: bool
    found: str


def verify(index: GenerationIndex, stored: Documents, written: Counts) -> tuple[Check, ...]:
    """Raise `BuildFailed` with every check unless all of them pass."""
    checks = (_documents_check(stored, written), _index_check(index, written), _known_items(index, written))
    if not all(check.passed for check in checks):
        failed = "; ".join(f"{check.name}: {check.found}" for check in checks if not check.passed)
        raise BuildFailed(f"the new generation failed its verification and was removed: {failed}", checks=checks)
    return checks


def _documents_check(stored: Documents, written: Counts) -> Check:
    found = stored.counts()
    return Check(name="documents", passed=found == written, found=f"{found} stored, {written} written")


def _index_check(index: GenerationIndex, written: Counts) -> Check:
    found = index.stats().chunk_count
    return Check(name="text index", passed=found == written.chunks, found=f"{found} chunks indexed, {written.chunks} written")


def _known_items(index: GenerationIndex, written: Counts) -> Check:
    """Chunks spread over the generation must be found by their own words. A duplicate that scores as well is as good."""
    slots = np.unique(np.linspace(1, written.chunks, min(_SAMPLE, written.chunks)).astype(np.int64)).tolist()
    chunks = index.fetch(slots)
    missed = [chunk.id for chunk in chunks if not _found(index, chunk)]
    passed = len(chunks) == len(slots) and len(missed) * 2 <= len(slots)  # half: texts of stop words only cannot be found
    return Check(name="known items", passed=passed, found=f"{len(slots) - len(missed)} of {len(slots)} found, missed {missed[:3]}")


def _found(index: GenerationIndex, chunk: Chunk) -> bool:
    words = f"{chunk.title or ''} {chunk.text}".split()[:_TERMS_OF_A_TEXT]
    ranking = index.lexical(" ".join(words), _DEPTH, None)
    if chunk.slot in ranking.slots:
        return True
    return len(ranking) == _DEPTH and bool(ranking.scores[0] == ranking.scores[-1])

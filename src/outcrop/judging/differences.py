"""Which documents one generation has and the other has not, and which differ. Ids are merged in order, texts read in pages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice

from outcrop.documents import Documents
from outcrop.judging.comparison import DocumentChanges, IdSample
from outcrop.model import Document

_EXAMPLES = 20
_PAGE = 256
_PAGE_CHARACTERS = 4_000_000


def marked(ids: Iterable[str], others: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Each of `ids` and whether it is among `others`. Both ascend by code point; neither is held in memory.

    >>> list(marked(["a", "c"], ["b", "c", "d"]))
    [('a', False), ('c', True)]
    """
    rest = iter(others)
    other = next(rest, None)
    for one in ids:
        while other is not None and other < one:
            other = next(rest, None)
        yield one, one == other


def missing(of: Documents, among: Documents) -> Iterator[str]:
    """The ids of one that the other has not, in their order. Reads every id of both, and nothing else."""
    return (one for one, there in marked(of.ids(), among.ids()) if not there)


def vanished(active: Documents, candidate: Documents) -> IdSample:
    """The documents of the active generation that the candidate lacks, but for those that the candidate will be given yet.

    Writes go on while this is read, and the candidate is given them when it is promoted: they are no loss.
    """
    caught_up = candidate.sequence()
    lacking = list(missing(active, candidate))
    later = frozenset(chain(*active.written_since(caught_up))) if lacking else frozenset()
    return sampled(one for one in lacking if one not in later)


def sampled(ids: Iterable[str]) -> IdSample:
    """How many ids there are, and the first 20."""
    rest = iter(ids)
    examples = tuple(islice(rest, _EXAMPLES))
    return IdSample(count=len(examples) + sum(1 for _ in rest), examples=examples)


def document_changes(a: Documents, b: Documents) -> DocumentChanges:
    """What became of the documents from `a` to `b`. Reads every id of both, and the content of every document that both have."""
    texts, metadata = _Kept(), _Kept()
    for before, after in _both(a, b):
        if (before.title, before.text) != (after.title, after.text):
            texts.add(before.id)
        if (before.source, before.metadata) != (after.source, after.metadata):
            metadata.add(before.id)
    return DocumentChanges(
        appeared=sampled(missing(b, a)),
        vanished=sampled(missing(a, b)),
        text_changed=texts.sample(),
        metadata_changed=metadata.sample(),
    )


def _both(a: Documents, b: Documents) -> Iterator[tuple[Document, Document]]:
    """Every document that both have, as each has it. A page is as long as memory allows, whatever the documents' size."""
    common = (one for one, there in marked(a.ids(), b.ids()) if there)
    count = 1
    while page := list(islice(common, count)):
        others = {one.id: one for one in b.get(page)}
        found = a.get(page)
        yield from ((one, others[one.id]) for one in found if one.id in others)
        characters = sum(len(one.text) for one in found)
        count = max(1, min(_PAGE, 2 * count, _PAGE_CHARACTERS * len(page) // max(1, characters)))


class _Kept:
    """Counts ids and keeps the first few."""

    def __init__(self) -> None:
        self._count = 0
        self._examples: list[str] = []

    def add(self, document_id: str) -> None:
        """Count one more."""
        self._count += 1
        if len(self._examples) < _EXAMPLES:
            self._examples.append(document_id)

    def sample(self) -> IdSample:
        """What was counted."""
        return IdSample(count=self._count, examples=tuple(self._examples))

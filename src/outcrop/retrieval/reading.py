"""The documents of an open generation, as of its last write: some, how many, or all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from outcrop import filters
from outcrop.filters import Filter
from outcrop.model import Document
from outcrop.retrieval.generation import OpenGeneration


def get(opened: OpenGeneration, ids: Sequence[str]) -> list[Document]:
    """Documents by id, in the order asked; unknown ids are left out."""
    return opened.documents.get(ids, opened.index.snapshot().sequence)


def count(opened: OpenGeneration, condition: Filter | None) -> int:
    """How many documents there are, or how many a filter selects: that reads the metadata of all."""
    at = opened.index.snapshot().sequence
    if condition is None:
        return opened.documents.count(at)
    with opened.read_at(at):
        return sum(filters.matches(condition, metadata) for _, _, metadata in opened.documents.metadata(at))


def scan(opened: OpenGeneration, condition: Filter | None) -> Iterator[Document]:
    """Every document, or those that a filter selects, in the order of writing, as of the beginning. It may take any time."""
    at = opened.index.snapshot().sequence
    with opened.read_at(at):
        for document in opened.documents.scan(at):
            if condition is None or filters.matches(condition, document.metadata):
                yield document

"""What clients are told of generations: everything but where the server keeps its files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath

import msgspec

from outcrop import GenerationInfo, HistoryEntry, Stats

_FOLDERS = re.compile(r"(?:[A-Za-z]:)?[/\\](?:[^/\\\n]+[/\\])+")


def generation(found: GenerationInfo) -> GenerationInfo:
    """Its source and folder by their last names; of its table only one that lies elsewhere than in a file of the server's."""
    uri = found.table_uri
    is_elsewhere = uri is not None and "://" in uri and not uri.startswith("file:")
    return msgspec.structs.replace(
        found, source=_nameless(found.source), path=PurePath(found.path).name, table_uri=uri if is_elsewhere else None
    )


def generations(found: Sequence[GenerationInfo]) -> list[GenerationInfo]:
    """Each of them so."""
    return [generation(one) for one in found]


def history(found: Sequence[HistoryEntry]) -> list[HistoryEntry]:
    """The promotions, with the sources by their last names."""
    return [msgspec.structs.replace(one, source=_nameless(one.source)) for one in found]


def stats(found: Stats) -> Stats:
    """With its generations so."""
    return msgspec.structs.replace(found, generations=tuple(generations(found.generations)))


def _nameless(text: str) -> str:
    """A text without the folders of absolute paths.

    >>> _nameless("the JSONL file /srv/my corpora/papers.jsonl"), _nameless("the documents of generation 1")
    ('the JSONL file papers.jsonl', 'the documents of generation 1')
    """
    return _FOLDERS.sub("", text)

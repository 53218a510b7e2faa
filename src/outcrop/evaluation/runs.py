"""A run: what a search returned for each query, in memory and as a TREC run file."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote, unquote

import msgspec
import numpy as np

from outcrop.errors import InvalidInput, InvalidSource, StorageFailed

_ESCAPED = re.compile(r"\s|%(?=[0-9A-Fa-f]{2})")
_FIELD_COUNT = 6


class RankedDocument(msgspec.Struct, frozen=True):
    """One document of a ranking with its score; higher is better. Its rank is its place in the ranking."""

    document_id: str
    score: float


class Run(msgspec.Struct, frozen=True):
    """For each query id the documents that were returned, best first. A query that returned nothing has an empty ranking."""

    name: str
    rankings: dict[str, tuple[RankedDocument, ...]]


def write_trec(run: Run, path: str | Path) -> None:
    """Write a run as a TREC run file: `query-id Q0 document-id rank score tag`, one line per document.

    Fields of that format are separated by spaces, so white space inside an id is written percent-encoded (`a b` as `a%20b`), and so
    is a `%` that would read as such a code; other ids are written as they are, and `read_trec` turns them back. TREC tools sort by
    score in single precision and break ties by document id: scores that would tie are lowered by the smallest step, so that the
    file gives the same measures everywhere as `Run` does here. Queries without documents have no line.

    Raises `StorageFailed` when the file cannot be written.
    """
    lines = (line for query_id, ranking in run.rankings.items() for line in _trec_lines(run.name, query_id, ranking))
    try:
        with Path(path).open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(lines)
    except OSError as error:
        raise StorageFailed(f"{path}: the run file cannot be written ({error.strerror})", path=str(path)) from error


def read_trec(path: str | Path, *, escaped: bool = True) -> Run:
    """Read a TREC run file. Documents are ordered by score, equal scores by the rank written; the run's name is the last tag.

    `escaped=False` leaves percent codes in ids alone: for files of other tools whose ids are percent-encoded URLs.

    Raises `InvalidSource` with the file and the line of a row that has not six fields, of a rank or score that is not a finite
    number, and of a document that appears twice for one query.
    """
    path = Path(path)
    decode = unquote if escaped else str
    found: dict[str, dict[str, tuple[float, int]]] = {}
    name = path.stem
    for line, fields in _rows(path):
        query_id, document_id, name = decode(fields[0]), decode(fields[2]), decode(fields[5])
        documents = found.setdefault(query_id, {})
        if document_id in documents:
            raise _invalid(path, line, f"document {document_id!r} appears twice for query {query_id!r}")
        documents[document_id] = _score_and_rank(path, line, fields)
    return Run(name=name, rankings={query_id: _ordered(documents) for query_id, documents in found.items()})


def strictly_descending(scores: Iterable[float]) -> list[float]:
    """The same scores in single precision, each at least one step below the one before it.

    >>> strictly_descending([2.0, 1.0, 1.0])
    [2.0, 1.0, 0.9999999403953552]
    """
    lowered: list[float] = []
    ceiling = np.float32(np.inf)
    for score in scores:
        step_below = np.nextafter(ceiling, np.float32(-np.inf))
        ceiling = min(np.float32(score), step_below)
        lowered.append(float(ceiling))
    return lowered


def _trec_lines(name: str, query_id: str, ranking: tuple[RankedDocument, ...]) -> Iterable[str]:
    scores = strictly_descending(document.score for document in ranking)
    query_field, tag = _escape(query_id), _escape(name or "run")
    for rank, (document, score) in enumerate(zip(ranking, scores, strict=True), start=1):
        # nine significant digits name every single-precision number exactly
        yield f"{query_field} Q0 {_escape(document.document_id)} {rank} {score:.9g} {tag}\n"


def _escape(identifier: str) -> str:
    if not identifier:
        raise InvalidInput("a TREC run file cannot hold an empty id; give the query and the document an id")
    return _ESCAPED.sub(lambda match: quote(match.group(), safe=""), identifier)


def _rows(path: Path) -> Iterable[tuple[int, list[str]]]:
    try:
        with path.open(encoding="utf-8") as file:
            for line, text in enumerate(file, start=1):
                fields = text.split()
                if not fields:
                    continue
                if len(fields) != _FIELD_COUNT:
                    raise _invalid(
                        path, line, f"expected 6 fields (qid Q0 docid rank score tag), found {len(fields)}: {text!r:.80}"
                    )
                yield line, fields
    except OSError as error:
        raise InvalidSource(f"{path}: the run file cannot be read ({error.strerror})", path=str(path)) from error
    except UnicodeDecodeError as error:
        raise InvalidSource(f"{path}: the run file is not UTF-8 ({error.reason})", path=str(path)) from error


def _score_and_rank(path: Path, line: int, fields: list[str]) -> tuple[float, int]:
    try:
        score, rank = float(fields[4]), int(fields[3])
    except ValueError:
        raise _invalid(path, line, f"rank and score must be numbers, found {fields[3]!r:.40} and {fields[4]!r:.40}") from None
    if not math.isfinite(score):
        raise _invalid(path, line, f"the score must be finite, found {fields[4]!r}")
    return score, rank


def _ordered(documents: dict[str, tuple[float, int]]) -> tuple[RankedDocument, ...]:
    best_first = sorted(documents.items(), key=lambda item: (-item[1][0], item[1][1]))
    return tuple(RankedDocument(document_id=document_id, score=score) for document_id, (score, _) in best_first)


def _invalid(path: Path, line: int, problem: str) -> InvalidSource:
    return InvalidSource(f"{path}, line {line}: {problem}", path=str(path), line=line)

"""What is kept of a search, and what is not: never a vector, a hit's text or id, a filter's value, or who asked."""

from __future__ import annotations

from hashlib import blake2b
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from outcrop.filters import And, Compare, Exists, Filter, In, Not, kind
from outcrop.model import Degraded, SearchMode
from outcrop.retrieval.hits import FoundBy, Hits, TookMs
from outcrop.retrieval.request import Request

QUERY_CHARACTERS_MAX = 500
_SHAPE_CHARACTERS_MAX = 300
_FIELDS_MAX, _FIELD_CHARACTERS_MAX = 20, 100
_HASH_BYTES = 12
_DIGITS = 3
_ALL = 1.0


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One search in the log; docs/format.md says what each field means. What has its default is not written."""

    at: Annotated[float, Meta(ge=0, le=1e11)]
    mode: SearchMode
    total_ms: float
    hits: int
    generation: int
    sequence: int
    engine: str
    query: str | None = None
    characters: int | None = None
    vector: bool = False
    k: int = 10
    offset: int = 0
    candidates: int = 100
    where: str | None = None
    fields: tuple[str, ...] = ()
    negated: bool = False
    embed_ms: float | None = None
    lexical_ms: float | None = None
    vector_ms: float | None = None
    fuse_ms: float | None = None
    fetch_ms: float | None = None
    lexical_candidates: int | None = None
    vector_candidates: int | None = None
    lexical_hits: int = 0
    vector_hits: int = 0
    both_hits: int = 0
    score: float | None = None
    no_term: bool = False
    no_vector: bool = False
    cached: bool = False
    batch: bool = False
    degraded: str | None = None
    share: Annotated[float, Meta(gt=0, le=1)] = _ALL


class Noted(NamedTuple):
    """What a search leaves for the thread that writes. Nothing in it holds a text of a hit, or a vector."""

    at: float
    query: str
    characters: int
    vector: bool
    mode: SearchMode
    k: int
    offset: int
    candidates: int
    where: Filter | None
    generation: int
    sequence: int
    engine: str
    degraded: Degraded | None
    took: TookMs
    found_by: FoundBy
    hits: int
    score: float | None
    cached: bool
    batch: bool
    share: float


def noted(at: float, request: Request, hits: Hits, *, batch: bool, share: float) -> Noted:
    """What the line will be made of. Called by searches, so nothing is worked out here."""
    query, found = request.query, hits.hits
    characters = len(query)
    return Noted(
        at,
        query if characters <= QUERY_CHARACTERS_MAX else query[:QUERY_CHARACTERS_MAX],
        characters,
        request.vector is not None,
        request.mode,
        request.k,
        request.offset,
        request.candidates,
        request.where,
        hits.generation,
        hits.sequence,
        hits.engine,
        hits.degraded,
        hits.took_ms,
        hits.found_by,
        len(found),
        found[0].score if found else None,
        hits.cached,
        batch,
        share,
    )


def line_of(one: Noted, key: bytes | None) -> Line:
    """The line of a search; with a `key` the query in it is a hash by that key."""
    took, by = one.took, one.found_by
    filtered = _NO_FILTER if one.where is None else shape(one.where)
    return Line(
        at=round(one.at, _DIGITS),
        mode=one.mode,
        total_ms=round(took.total, _DIGITS),
        hits=one.hits,
        generation=one.generation,
        sequence=one.sequence,
        engine=one.engine,
        query=_query(one.query, key),
        characters=one.characters if one.characters > QUERY_CHARACTERS_MAX else None,
        vector=one.vector,
        k=one.k,
        offset=one.offset,
        candidates=one.candidates,
        where=None if one.where is None else filtered.text,
        fields=filtered.fields,
        negated=filtered.negated,
        embed_ms=_rounded(took.embed),
        lexical_ms=_rounded(took.lexical),
        vector_ms=_rounded(took.vector),
        fuse_ms=_rounded(took.fuse),
        fetch_ms=_rounded(took.fetch),
        lexical_candidates=by.lexical_candidates,
        vector_candidates=by.vector_candidates,
        lexical_hits=by.lexical,
        vector_hits=by.vector,
        both_hits=by.both,
        score=None if one.score is None else round(one.score, 4),
        no_term=by.no_term,
        no_vector=by.no_vector,
        cached=one.cached,
        batch=one.batch,
        degraded=None if one.degraded is None else one.degraded.cause,
        share=min(_ALL, one.share),  # its default is left out, and what only equals it would not be
    )


class Shape(msgspec.Struct):
    """A filter without its values: what is told of it, the fields that it names, and whether it says somewhere what must not be."""

    text: str = ""
    fields: tuple[str, ...] = ()
    negated: bool = False


def shape(where: Filter) -> Shape:
    """Of each value only the type is told; alike parts are told once, in the order of their names.

    >>> from outcrop.filters import parse
    >>> shape(parse("year >= 2015 AND lang IN ('en', 'de') AND NOT draft"))
    Shape(text='NOT draft = boolean AND lang IN (text) AND year >= number', fields=('draft', 'lang', 'year'), negated=True)
    """
    found: set[str] = set()
    about = Shape()
    text = _shape(where, about, found, inside=False)
    about.text = text if len(text) <= _SHAPE_CHARACTERS_MAX else f"{text[:_SHAPE_CHARACTERS_MAX]}…"
    about.fields = tuple(sorted(field for field in found if len(field) <= _FIELD_CHARACTERS_MAX)[:_FIELDS_MAX])
    return about


def _shape(where: Filter, about: Shape, found: set[str], *, inside: bool) -> str:
    if isinstance(where, Compare):
        found.add(where.field)
        about.negated = about.negated or where.op == "!="
        return f"{where.field} {where.op} {kind(where.value)}"
    if isinstance(where, In):
        found.add(where.field)
        return f"{where.field} IN ({', '.join(sorted({kind(value) for value in where.values}))})"
    if isinstance(where, Exists):
        found.add(where.field)
        return f"{where.field} IS NOT NULL"
    if isinstance(where, Not):
        about.negated = True
        return f"NOT {_shape(where.part, about, found, inside=True)}"
    shapes = sorted({_shape(part, about, found, inside=True) for part in where.parts})
    joined = (" AND " if isinstance(where, And) else " OR ").join(shapes)
    return f"({joined})" if inside and len(shapes) > 1 else joined


_NO_FILTER = Shape()


def _query(text: str, key: bytes | None) -> str | None:
    if not text:
        return None
    if key is not None:
        return "#" + blake2b(text.encode(), key=key, digest_size=_HASH_BYTES).hexdigest()
    return text


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, _DIGITS)

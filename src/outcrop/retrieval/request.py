"""A search as it will be run: everything checked and resolved, before any work begins."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypedDict, get_args

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from outcrop import filters
from outcrop.errors import InvalidQuery
from outcrop.filters import Filter
from outcrop.model import Recipe, SearchMode
from outcrop.retrieval.fusion import Fusion

_QUERY_CHARACTERS_MAX = 100_000
_UNIT_TOLERANCE = 1e-6
_MODES = get_args(SearchMode)
_FUSION = Fusion()


class Request(msgspec.Struct, frozen=True, eq=False):
    """One search. `query` has no white space around it. `vector` is float32 of shape (dimension,), of length 1 for cosine; None if
    the query is to be embedded."""

    query: str
    vector: NDArray[np.float32] | None
    mode: SearchMode
    k: int
    offset: int
    candidates: int
    per_document: int
    where: Filter | None
    fusion: Fusion
    explain: bool
    warnings: tuple[str, ...]


class SearchOptions(TypedDict, total=False):
    """The options of `Collection.search` as keywords, for whoever passes them on."""

    k: int
    offset: int
    mode: str | None
    where: str | Mapping[str, Any] | Filter | None
    candidates: int | None
    fusion: str | Fusion | None
    per_document: int
    explain: bool


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller may ask for, as given."""

    k: int = 10
    offset: int = 0
    mode: str | None = None
    where: str | Mapping[str, Any] | Filter | None = None
    candidates: int = 100
    fusion: str | Fusion | None = None
    per_document: int = 1
    explain: bool = False


def prepare(query: str | None, vector: ArrayLike | None, options: Options, recipe: Recipe) -> Request:
    """Check and resolve a search for a generation made by `recipe`. Raises `InvalidQuery` or `InvalidFilter`."""
    text = _checked_query(query)
    given = None if vector is None else _checked_vector(vector, recipe)
    mode, warnings = _mode(options.mode, text, recipe, vector_given=given is not None)
    _check_numbers(options)
    return Request(
        query=text,
        vector=None if mode == "lexical" else given,
        mode=mode,
        k=options.k,
        offset=options.offset,
        candidates=options.candidates,
        per_document=options.per_document,
        where=filters.parse(options.where),
        fusion=_fusion(options.fusion),
        explain=options.explain,
        warnings=warnings,
    )


def _checked_query(query: str | None) -> str:
    if query is None:
        return ""
    if not isinstance(query, str):
        raise InvalidQuery(f"the query must be text, found {type(query).__name__}", parameter="query")
    if len(query) > _QUERY_CHARACTERS_MAX:
        raise InvalidQuery(
            f"the query has {len(query)} characters; the limit is {_QUERY_CHARACTERS_MAX}. Search with a passage of it.",
            parameter="query",
        )
    text = query.strip()  # for every leg, so that the same answer is kept for both
    return text if text.isascii() else text.encode(errors="replace").decode()


def _checked_vector(vector: ArrayLike, recipe: Recipe) -> NDArray[np.float32]:
    if recipe.dimension is None:
        raise InvalidQuery("this generation has no vectors: search it with a text query (mode 'lexical')", parameter="vector")
    array = _as_float32(vector)
    if array.shape != (recipe.dimension,):
        raise InvalidQuery(
            f"the vector has shape {array.shape}; this generation's vectors have shape ({recipe.dimension},)", parameter="vector"
        )
    exact = array.astype(np.float64)  # squares of float32 may overflow or vanish
    length = math.sqrt(np.dot(exact, exact))
    if not math.isfinite(length):
        raise InvalidQuery("the vector holds NaN, infinity or numbers too large", parameter="vector")
    if recipe.metric == "cosine":
        if length == 0.0:
            raise InvalidQuery("the vector is all zeros, which has no direction to compare by cosine", parameter="vector")
        if abs(length - 1.0) > _UNIT_TOLERANCE:
            array = (array / length).astype(np.float32)
    return array


def _as_float32(vector: ArrayLike) -> NDArray[np.float32]:
    if isinstance(vector, np.ndarray) and vector.dtype == np.float32:
        return np.ascontiguousarray(vector)
    try:
        with np.errstate(over="ignore"):  # said later, as infinity
            return np.ascontiguousarray(vector, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidQuery(f"the vector is not a sequence of numbers: {error}", parameter="vector") from None


def _mode(asked: str | None, text: str, recipe: Recipe, *, vector_given: bool) -> tuple[SearchMode, tuple[str, ...]]:
    if asked is not None and asked not in _MODES:
        raise InvalidQuery(f"mode {asked!r} is unknown; use 'lexical', 'vector' or 'hybrid'", parameter="mode")
    has_text = bool(text)
    can_embed = recipe.embedder is not None and has_text
    if not has_text and not vector_given:
        raise InvalidQuery("the query is empty: give a query, a vector or both", parameter="query")
    if asked in ("lexical", "hybrid") and not has_text:
        raise InvalidQuery(f"mode {asked!r} needs a text query; with a vector alone use mode 'vector'", parameter="query")
    if asked in ("vector", "hybrid") and not (vector_given or can_embed):
        raise InvalidQuery(_no_vector(asked, recipe), parameter="vector")
    if asked is not None:
        return asked, ()  # type: ignore[return-value]  # one of SearchMode, checked above
    if vector_given or can_embed:
        return ("hybrid" if has_text else "vector"), ()
    if recipe.dimension is not None:
        return "lexical", ("no vector was given and this generation has no embedder: only the lexical leg was searched",)
    return "lexical", ()


def _no_vector(mode: str, recipe: Recipe) -> str:
    if recipe.dimension is None:
        return f"mode {mode!r} needs vectors and this generation has none: it was built with embedder 'none'. Use mode 'lexical'."
    return f"mode {mode!r} needs a query vector: this generation's vectors came with its documents, so give one with the query too"


def _check_numbers(options: Options) -> None:
    for name, least in (("k", 1), ("offset", 0), ("candidates", 1), ("per_document", 1)):
        value = getattr(options, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InvalidQuery(f"{name} is {value!r}; it must be a whole number of at least {least}", parameter=name)
    if options.k + options.offset > options.candidates:
        raise InvalidQuery(
            f"k + offset is {options.k + options.offset}, more than candidates={options.candidates}: each leg looks only that deep."
            f" Ask for candidates={options.k + options.offset} or more (this changes scores and order).",
            parameter="candidates",
        )


def _fusion(asked: str | Fusion | None) -> Fusion:
    if asked is None:
        return _FUSION
    return asked if isinstance(asked, Fusion) else Fusion(method=asked)  # type: ignore[arg-type]  # Fusion checks it

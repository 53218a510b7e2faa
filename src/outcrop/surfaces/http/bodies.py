"""What clients send, and how it is read: every field named and bounded, unknown ones refused."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator, Callable
from time import monotonic
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from litestar import Request

from outcrop import Fusion, Gate
from outcrop.config import ServerLimits
from outcrop.errors import InvalidSource, MissingExtra
from outcrop.index_values import IndexKind, OptimizeFor
from outcrop.judging.gate import VANISHED_SHARE_MAX
from outcrop.model import SearchMode
from outcrop.surfaces.http.border import header, held
from outcrop.surfaces.http.problems import BadRequest, DeadlinePassed, TooLarge, Unsupported
from outcrop.surfaces.http.served import served

# What a body may say at all; a server may allow less (`ServerLimits`).
_K_MAX = 10_000
_QUERIES_MAX = 100_000
_IDS_MAX = 100_000
_COMPARED_MAX = 100
_TOO_LARGE = "the body is larger than {} bytes; send documents as application/x-ndjson, which may be of any length"
_JSON = "application/json"
_AT = re.compile(r" - at `\$\.(?:gate\.)?(\w+)[^`]*`$")
_DIGITS_MAX = 18  # of a length; Python converts no number of thousands of digits
_Body = TypeVar("_Body")


def _longest(queries: list[Any]) -> int:
    return max((len(one) for one in queries if isinstance(one, str)), default=0)


#: Field of a body, the limit that it has, how it is measured, and in what.
_MEASURES: tuple[tuple[str, str, Callable[[Any], int], str], ...] = (
    ("k", "k_max", int, ""),
    ("per_document", "k_max", int, ""),
    ("query", "query_characters_max", len, " characters long"),
    ("queries", "queries_max", len, " queries"),
    ("queries", "query_characters_max", _longest, " characters long in one of its queries"),
    ("vectors", "queries_max", len, " vectors"),
    ("documents", "documents_max", len, " documents"),
    ("ids", "documents_max", len, " ids"),
    ("required_ids", "documents_max", len, " ids"),
)

Number = Annotated[int, msgspec.Meta(ge=1, le=_K_MAX)]


class FusionBody(msgspec.Struct, forbid_unknown_fields=True):
    """How a hybrid search joins its legs; see `outcrop.Fusion`."""

    method: Literal["weighted", "rrf"] = "weighted"
    vector_weight: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None


class Asked(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The options that all queries of a request share; see `Collection.search`.

    `where` is a filter, as text or as an object. With `log` false the query log has nothing of the search, whatever else it has.
    """

    k: Number = 10
    offset: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    mode: SearchMode | None = None
    where: str | dict[str, Any] | None = None
    candidates: Annotated[int, msgspec.Meta(ge=10, le=10_000)] | None = None
    fusion: FusionBody | None = None
    per_document: Number = 1
    explain: bool = False
    log: bool = True

    def options(self) -> dict[str, Any]:
        """As `Collection.search` takes them."""
        fusion = None if self.fusion is None else Fusion(method=self.fusion.method, vector_weight=self.fusion.vector_weight)
        names = ("k", "offset", "mode", "where", "candidates", "per_document", "explain", "log")
        return {**{name: getattr(self, name) for name in names}, "fusion": fusion}


class SearchBody(Asked, forbid_unknown_fields=True, kw_only=True):
    """One search: a query in words, a vector, or both."""

    query: str | None = None
    vector: list[float] | None = None
    generation: int | None = None
    cache: bool = True


class BatchBody(Asked, forbid_unknown_fields=True, kw_only=True):
    """Many searches with the same options, answered in order from one generation."""

    queries: Annotated[list[str | None], msgspec.Meta(max_length=_QUERIES_MAX)] | None = None
    vectors: Annotated[list[list[float] | None], msgspec.Meta(max_length=_QUERIES_MAX)] | None = None
    generation: int | None = None


class CollectionBody(msgspec.Struct, forbid_unknown_fields=True):
    """A collection to make; see `Database.create_collection`."""

    name: Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9_-]{0,63}$")]
    embedder: str | None = None
    metric: Literal["cosine", "dot", "l2"] = "cosine"
    chunker: str | None = None
    analyzer: str = "english"


class DocumentBody(msgspec.Struct, forbid_unknown_fields=True):
    """A document; see `outcrop.Document`."""

    id: str
    text: str
    title: str | None = None
    source: str | None = None
    metadata: dict[str, Any] = {}
    vector: list[float] | None = None


class UpsertBody(msgspec.Struct, forbid_unknown_fields=True):
    """Documents of one write: all of them or none."""

    documents: Annotated[list[DocumentBody], msgspec.Meta(min_length=1, max_length=_IDS_MAX)]


class IdsBody(msgspec.Struct, forbid_unknown_fields=True):
    """Which documents to give."""

    ids: Annotated[list[str], msgspec.Meta(max_length=_IDS_MAX)]


class DeleteBody(msgspec.Struct, forbid_unknown_fields=True):
    """What to take out: documents by their ids, or by a filter."""

    ids: Annotated[list[str], msgspec.Meta(max_length=_IDS_MAX)] | None = None
    where: str | dict[str, Any] | None = None


class QueryBody(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A query to judge by: a line of a `golden.jsonl`. Without `relevant` (document ids with their grades) it is unjudged."""

    query: str
    relevant: dict[str, int] | None = None
    id: str | None = None


Queries = Annotated[list[str | QueryBody], msgspec.Meta(min_length=1, max_length=_QUERIES_MAX)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class GateBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What a generation must show before it goes live; see `outcrop.Gate`. What is not given is not asked."""

    documents_min: Count | None = None
    chunks_min: Count | None = None
    required_ids: Annotated[list[str], msgspec.Meta(max_length=_IDS_MAX)] = []
    vanished_share_max: Share = VANISHED_SHARE_MAX
    queries: Queries | None = None
    ndcg_drop: Share | None = None
    overlap_min: Share | None = None
    recall_min: Share | None = None
    latency_p95_ratio_max: Annotated[float, msgspec.Meta(gt=0)] | None = None

    def gate(self) -> Gate:
        """The gate. Raises what `Gate` raises, with the field as `key`."""
        given: dict[str, Any] = msgspec.to_builtins(self)
        try:
            return Gate(**given)
        except (InvalidSource, MissingExtra) as error:
            error.values.setdefault("key", "queries" if isinstance(error, InvalidSource) else "ndcg_drop")
            raise


class PromoteBody(msgspec.Struct, forbid_unknown_fields=True):
    """A promotion, if the gate lets it. `force` puts the generation live whatever the gate says, and the history shows that."""

    force: bool = False
    gate: GateBody | None = None


class CompareBody(msgspec.Struct, forbid_unknown_fields=True):
    """Two generations to compare, with `queries` also by the best `k` documents of their answers."""

    a: int
    b: int
    queries: Queries | None = None
    k: Annotated[int, msgspec.Meta(ge=1, le=_COMPARED_MAX)] = 10

    def asked(self) -> list[str | dict[str, Any]] | None:
        """The queries, as `Collection.compare` takes them."""
        found: list[str | dict[str, Any]] | None = msgspec.to_builtins(self.queries)
        return found


class BuildBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A build; see `Collection.build`. What is not given stays as the active generation has it.

    `source` is a path in the folders that the server may read; without one it is the active generation's own documents, or what is
    sent. `resume` goes on from what interrupted builds prepared. `promote` puts it live when it is ready, if the `gate` lets it.
    """

    source: str | None = None
    embedder: str | None = None
    chunker: str | None = None
    analyzer: str | None = None
    index: IndexKind | None = None
    target_recall: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    optimize_for: OptimizeFor | None = None
    engine: str | None = None
    keep_writes: bool = False
    on_error: Literal["stop", "skip"] = "stop"
    resume: bool = True
    promote: bool = False
    gate: GateBody | None = None

    def options(self) -> dict[str, Any]:
        """As `Collection.build` takes them, but for the source and the promotion."""
        values = {name: getattr(self, name) for name in self.__struct_fields__ if name not in ("source", "promote", "gate")}
        return {name: value for name, value in values.items() if value is not None}


class PlaceBody(msgspec.Struct, forbid_unknown_fields=True):
    """A query to place on a map: in words, or as a vector. `points_max` and `generation` are the map's."""

    query: str | None = None
    vector: list[float] | None = None
    k: Number = 10
    points_max: int = 50_000
    generation: int | None = None


class RollbackBody(msgspec.Struct, forbid_unknown_fields=True):
    """A way back. Without `to` it is the generation that was active before; `dry_run` tells what would happen."""

    to: int | None = None
    dry_run: bool = False


async def read(request: Request[Any, Any, Any], kind: type[_Body], *, empty: _Body | None = None) -> _Body:
    """The request's JSON body. Raises `BadRequest`, `Unsupported`, `TooLarge`."""
    content = await raw(request)
    given = kind_of(request)
    if not content and not given and empty is not None:
        return empty
    if given != _JSON:  # browsers ask first before they send this to another site; other kinds, and none, they just send
        raise Unsupported(f"the body is {given!r:.60}; send {_JSON}" if given else f"say what the body is: content-type: {_JSON}")
    if not content and empty is not None:
        return empty
    try:
        return within(served(request).limits, msgspec.json.decode(content, type=kind))
    except msgspec.ValidationError as error:
        raise BadRequest(f"the body does not fit: {error}", key=_field_of(error)) from error
    except RecursionError as error:
        raise BadRequest("the body is nested too deep") from error
    except (msgspec.DecodeError, UnicodeError) as error:
        raise BadRequest(f"the body is not JSON: {error}") from error


def in_query(request: Request[Any, Any, Any], kind: type[_Body]) -> _Body:
    """The options that stand in the address, because the body is something else; `gate` as JSON. Raises `BadRequest`."""
    values: dict[str, Any] = dict(request.query_params.multi_items())
    try:
        if "gate" in values:
            values["gate"] = msgspec.json.decode(values["gate"])
        return msgspec.convert(values, kind, strict=False)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadRequest(f"the options in the address do not fit: {error}", key=_field_of(error)) from error


def _field_of(error: Exception) -> str | None:
    """The field of the body, or of the gate in it, that a fault is in. msgspec says: "... - at `$.gate.queries[0].query`"."""
    found = _AT.search(str(error))
    return None if found is None else found[1]


def kind_of(request: Request[Any, Any, Any]) -> str:
    """The kind of the request's body, "" if it is not said. Raises `Unsupported` for a body that is compressed."""
    coding = header(request.scope, b"content-encoding").strip().lower()
    if coding not in ("", "identity"):
        raise Unsupported(f"the body is encoded with {coding!r:.60}; send it as it is")
    return header(request.scope, b"content-type").partition(";")[0].strip().lower()


def within(limits: ServerLimits, body: _Body) -> _Body:
    """The body, and the gate in it, if the server allows as much as they ask for. Raises `BadRequest`."""
    for field, limit, measure, what in _MEASURES:
        value = getattr(body, field, None)
        most = getattr(limits, limit)
        if value is not None and (found := measure(value)) > most:
            raise BadRequest(f"{field} is {found}{what}; this server takes at most {most} (server.{limit})", key=field)
    gate = getattr(body, "gate", None)
    if isinstance(gate, GateBody):
        within(limits, gate)
    return body


async def raw(request: Request[Any, Any, Any]) -> bytes:
    """The request's body, counted until the request is done with.

    Raises `TooLarge`, `Busy`, `BadRequest`, and `DeadlinePassed` if it does not come in time.
    """
    door = served(request)
    limits = door.limits
    limit, seconds = limits.body_bytes_max, limits.seconds_max
    told = header(request.scope, b"content-length")
    if told.isdecimal() and (len(told) > _DIGITS_MAX or int(told) > limit):
        raise TooLarge(_TOO_LARGE.format(limit))
    pieces, size = [], 0
    async for piece in pieces_of(request, seconds_max=seconds):
        door.bodies.take(len(piece))
        held(request.scope, len(piece))
        size += len(piece)
        pieces.append(piece)
        if size > limit:
            raise TooLarge(_TOO_LARGE.format(limit))
    return b"".join(pieces)


async def pieces_of(request: Request[Any, Any, Any], *, seconds_max: float = math.inf) -> AsyncIterator[bytes]:
    """The body as it comes.

    Raises `BadRequest` if it ends before it is whole, `DeadlinePassed` if nothing comes for long or not all in `seconds_max`.
    """
    seconds, began, more = served(request).limits.idle_seconds_max, monotonic(), True
    while more:
        left = seconds_max - (monotonic() - began)
        try:
            async with asyncio.timeout(min(seconds, left)):
                message = await request.receive()
        except TimeoutError as error:
            if left <= seconds:
                raise DeadlinePassed(f"the body did not come within {seconds_max:g} seconds", cause="sender") from error
            raise DeadlinePassed(f"nothing of the body came for {seconds:g} seconds", cause="sender") from error
        if message["type"] != "http.request":
            raise BadRequest("the body ended before it was whole: the client has gone")
        more = message.get("more_body", False)
        if piece := message.get("body", b""):
            yield piece

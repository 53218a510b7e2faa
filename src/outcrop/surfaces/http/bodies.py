"""What clients send, and how it is read: every field named and bounded, unknown ones refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from litestar import Request
from litestar.exceptions import InternalServerException

from outcrop import Fusion
from outcrop.model import SearchMode
from outcrop.surfaces.http.border import held
from outcrop.surfaces.http.problems import BadRequest, DeadlinePassed, TooLarge, Unsupported
from outcrop.surfaces.http.served import served

_K_MAX = 1000
_QUERIES_MAX = 1000
_IDS_MAX = 10_000
_TOO_LARGE = "the body is larger than {} bytes; send documents as application/x-ndjson, which may be of any length"
_JSON = "application/json"
_DIGITS_MAX = 18  # of a length; Python converts no number of thousands of digits
_Body = TypeVar("_Body")

Number = Annotated[int, msgspec.Meta(ge=1, le=_K_MAX)]


class FusionBody(msgspec.Struct, forbid_unknown_fields=True):
    """How a hybrid search joins its legs; see `outcrop.Fusion`."""

    method: Literal["weighted", "rrf"] = "weighted"
    vector_weight: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None


class Asked(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The options that all queries of a request share; see `Collection.search`. `where` is a filter, as text or as an object."""

    k: Number = 10
    offset: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    mode: SearchMode | None = None
    where: str | dict[str, Any] | None = None
    candidates: Annotated[int, msgspec.Meta(ge=10, le=10_000)] | None = None
    fusion: FusionBody | None = None
    per_document: Number = 1
    explain: bool = False

    def options(self) -> dict[str, Any]:
        """As `Collection.search` takes them."""
        fusion = None if self.fusion is None else Fusion(method=self.fusion.method, vector_weight=self.fusion.vector_weight)
        names = ("k", "offset", "mode", "where", "candidates", "per_document", "explain")
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


class PromoteBody(msgspec.Struct, forbid_unknown_fields=True):
    """A promotion. `force` puts a generation live that a gate or a state would refuse."""

    force: bool = False


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
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError as error:
        raise BadRequest(f"the body does not fit: {error}") from error
    except RecursionError as error:
        raise BadRequest("the body is nested too deep") from error
    except (msgspec.DecodeError, UnicodeError) as error:
        raise BadRequest(f"the body is not JSON: {error}") from error


def kind_of(request: Request[Any, Any, Any]) -> str:
    """The kind of the request's body, "" if it is not said. Raises `Unsupported` for a body that is compressed."""
    coding = request.headers.get("content-encoding", "").strip().lower()
    if coding not in ("", "identity"):
        raise Unsupported(f"the body is encoded with {coding!r:.60}; send it as it is")
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def raw(request: Request[Any, Any, Any]) -> bytes:
    """The request's body, counted until the request is done with.

    Raises `TooLarge`, `Busy`, `BadRequest`, and `DeadlinePassed` if it does not come in time.
    """
    door = served(request)
    limit, seconds = door.limits.body_bytes_max, door.limits.seconds_max
    told = request.headers.get("content-length", "")
    if told.isdecimal() and (len(told) > _DIGITS_MAX or int(told) > limit):
        raise TooLarge(_TOO_LARGE.format(limit))
    pieces, size = [], 0
    try:
        async with asyncio.timeout(seconds):
            async for piece in pieces_of(request):
                door.bodies.take(len(piece))
                held(request.scope, len(piece))
                size += len(piece)
                pieces.append(piece)
                if size > limit:
                    raise TooLarge(_TOO_LARGE.format(limit))
    except TimeoutError as error:
        raise DeadlinePassed(f"the body did not come within {seconds:g} seconds") from error
    return b"".join(pieces)


async def pieces_of(request: Request[Any, Any, Any]) -> AsyncIterator[bytes]:
    """The body as it comes. Raises `BadRequest` if it ends before it is whole, `DeadlinePassed` if nothing comes for long."""
    seconds, coming = served(request).limits.idle_seconds_max, aiter(request.stream())
    try:
        while True:
            async with asyncio.timeout(seconds):
                piece = await anext(coming)
            yield piece
    except StopAsyncIteration:
        return
    except TimeoutError as error:
        raise DeadlinePassed(f"nothing of the body came for {seconds:g} seconds") from error
    except InternalServerException as error:  # what the framework makes of a client that has gone
        raise BadRequest("the body ended before it was whole: the client has gone") from error

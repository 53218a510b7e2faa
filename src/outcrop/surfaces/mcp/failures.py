"""What went wrong, in words that a model can act on, and which errors are the fault of what was asked."""

from __future__ import annotations

import logging

from mcp import MCPError, types

from outcrop import OutcropError
from outcrop.errors import (
    EmbedderGone,
    EmbedderMismatch,
    EmbeddingFailed,
    InvalidInput,
    MissingExtra,
    NotFound,
    UnknownCollection,
)
from outcrop.surfaces.mcp.reach import Reach

_log = logging.getLogger("outcrop")
_WORDS_MAX = 2_000
_NAMES_MAX = 50
_NO_EMBEDDER = (MissingExtra, EmbeddingFailed, EmbedderMismatch, EmbedderGone)
_OF_THE_ASKER = (NotFound, InvalidInput)


def failed(words: str) -> types.CallToolResult:
    """The result of a call that failed."""
    return types.CallToolResult(content=[types.TextContent(type="text", text=_sayable(words))], is_error=True)


def in_words(error: Exception, db: Reach, *, asked: str) -> str:
    """What to tell a model about an error in what it `asked`. What nobody expected goes to the log, and only its kind is told."""
    if isinstance(error, UnknownCollection):
        return _no_collection(error, db)
    if isinstance(error, _NO_EMBEDDER) and asked == "search":
        return f"{error}. Searching by words needs no embedder: search with mode 'lexical'."
    if isinstance(error, OutcropError):
        return str(error)
    _log.error("%s failed in a way that nobody expected", asked, exc_info=error)
    return f"{asked} failed in a way that nobody expected ({type(error).__name__}); the server's log says more."


def as_protocol_error(error: Exception, db: Reach, *, uri: str) -> MCPError:
    """The same for a resource, whose failures are errors of the protocol."""
    code = types.INVALID_PARAMS if isinstance(error, _OF_THE_ASKER) else types.INTERNAL_ERROR
    return MCPError(code=code, message=_sayable(in_words(error, db, asked=f"reading {uri!r:.600}")), data={"uri": _sayable(uri)})


def _no_collection(error: UnknownCollection, db: Reach) -> str:
    there = db.collections()
    nearest = f" Did you mean {error.nearest!r}?" if error.nearest else ""
    more = f" and {len(there) - _NAMES_MAX} more" if len(there) > _NAMES_MAX else ""
    listed = f"The collections are: {', '.join(there[:_NAMES_MAX])}{more}." if there else "There is no collection yet."
    return f"There is no collection {error.name!r}.{nearest} {listed}"


def _sayable(words: str) -> str:
    """Text that can be sent, and is not too long to be read."""
    text = words.encode(errors="replace").decode()
    return text if len(text) <= _WORDS_MAX else text[:_WORDS_MAX] + "…"

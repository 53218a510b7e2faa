"""What an error is over HTTP: the one table of status codes, and the body of RFC 9457 (application/problem+json).

A body has `type` (a path, where the table is served), `title`, `status`, `detail` (what happened, on what, and what to do),
`instance` (the request's id) and what a program can use of the error's own attributes.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec

from outcrop import errors

MEDIA_TYPE = "application/problem+json"
_TYPES = "/v1/problems"


class _Loaded(Exception):
    def __init__(self, message: str, *, cause: str) -> None:
        super().__init__(message)
        self.cause = cause


class Busy(_Loaded):
    """More requests are waiting than are let in; `cause` says which limit it was, as docs/guides/observing.md lists them."""


class DeadlinePassed(_Loaded):
    """A request took longer than it may. What it began goes on. `cause` is "deadline", or "sender" if its body did not come."""


class TooLarge(Exception):
    """A request's body is larger than it may be."""


class AnswerTooLarge(Exception):
    """What is asked for is more than is sent in one answer."""


class BadRequest(Exception):
    """A request cannot be understood. `key` is the field of the body, or the parameter, that it is about, where it is about one."""

    def __init__(self, message: str, *, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


class Unauthenticated(Exception):
    """A request has no key, or one that is not known."""


class Forbidden(Exception):
    """A request's key does not go so far."""


class Unsupported(Exception):
    """A request's body is of a kind that is not taken here."""


class BuildRunning(Exception):
    """A collection is being built, and one build at a time is. `build` is the id of that one, if this server began it."""

    def __init__(self, message: str, *, build: str | None = None) -> None:
        super().__init__(message)
        self.build = build


class Interrupted(Exception):
    """A build was cut short: its process was killed, or its server ended."""


class Problem(NamedTuple):
    """A row of the table: a name, a status, and the errors that it stands for. A subclass in another row goes by its own row.

    Of an error that is not `told` only the title is: its message may name files of the server. `retry_seconds` says when to try
    again.
    """

    name: str
    status: int
    title: str
    kinds: tuple[type[BaseException], ...] = ()
    told: bool = True
    retry_seconds: int | None = None


PROBLEMS: tuple[Problem, ...] = (
    Problem("bad-request", 400, "The request cannot be understood", (BadRequest,)),
    Problem("answer-too-large", 400, "The answer would be larger than the server sends", (AnswerTooLarge,)),
    Problem("invalid-input", 400, "What was given cannot be used; nothing was changed", (errors.InvalidInput,)),
    Problem("invalid-document", 400, "A document breaks a rule; nothing was written", (errors.InvalidDocument,)),
    Problem("invalid-query", 400, "The search cannot be run as asked", (errors.InvalidQuery,)),
    Problem("invalid-filter", 400, "The filter cannot be parsed", (errors.InvalidFilter,)),
    Problem("unauthenticated", 401, "The server wants a key", (Unauthenticated,)),
    Problem("forbidden", 403, "The key does not go so far", (Forbidden,)),
    Problem("read-only", 403, "The server was started to read only", (errors.ReadOnly,)),
    Problem("not-found", 404, "What was named does not exist", (errors.NotFound,)),
    Problem("unknown-collection", 404, "There is no collection of this name", (errors.UnknownCollection,)),
    Problem("unknown-generation", 404, "The collection has no such generation", (errors.UnknownGeneration,)),
    Problem("method-not-allowed", 405, "The path does not take this method"),
    Problem("collection-exists", 409, "There is a collection of this name", (errors.CollectionExists,)),
    Problem("illegal-state", 409, "Not possible in the state in which the collection is", (errors.IllegalState,)),
    Problem("no-active-generation", 409, "The collection has no active generation", (errors.NoActiveGeneration,)),
    Problem("gate-failed", 409, "A gate refused the promotion; searches are as they were", (errors.GateFailed,)),
    Problem("build-running", 409, "The collection is being built; one build at a time is", (BuildRunning,)),
    Problem("embedder-mismatch", 409, "The embedder is not the one that the generation was built with", (errors.EmbedderMismatch,)),
    Problem("too-large", 413, "The body is larger than the server takes", (TooLarge,)),
    Problem("address-too-long", 414, "The address is longer than the server takes"),
    Problem("unsupported-media-type", 415, "The body is of a kind that is not taken here", (Unsupported,)),
    Problem("busy", 429, "Too many requests are waiting", (Busy,), retry_seconds=1),
    Problem("headers-too-large", 431, "The headers are larger than the server takes"),
    Problem("unexpected", 500, "An error that Outcrop did not expect", (Exception,), told=False),
    Problem("damaged", 500, "Files of the index are damaged", (errors.Damaged,), told=False),
    Problem("missing-extra", 501, "An optional part is not installed on the server", (errors.MissingExtra,)),
    Problem("locked", 503, "Another process is writing", (errors.CollectionLocked,), told=False, retry_seconds=1),
    Problem("catch-up-failed", 503, "Writes come faster than the generation catches up", (errors.CatchUpFailed,), retry_seconds=10),
    Problem("engine-unavailable", 503, "The engine does not work now", (errors.EngineUnavailable,), retry_seconds=10),
    Problem("embedding-failed", 503, "The embedder failed", (errors.EmbeddingFailed, errors.EmbedderGone), retry_seconds=10),
    Problem("build-interrupted", 503, "The build was cut short; begun again, it goes on", (Interrupted,), retry_seconds=1),
    Problem("closing", 503, "The server is shutting down", (errors.Closed,), retry_seconds=1),
    Problem("deadline-passed", 504, "The request took longer than it may; what it began goes on", (DeadlinePassed,)),
    Problem("storage-failed", 507, "The server cannot read or write its disk", (errors.StorageFailed,), told=False),
    Problem("not-yet-visible", 202, "The write is in, but cannot be seen yet: do not repeat it", (errors.NotYetVisible,)),
)

_BY_KIND = {kind: row for row in PROBLEMS for kind in row.kinds}
_BY_STATUS = {row.status: row for row in reversed(PROBLEMS)}
_TOLD = (
    "name",
    "nearest",
    "generation",
    "available",
    "parameter",
    "position",
    "document_id",
    "origin",
    "key",
    "sequence",
    "remedy",
)


def problem_of(error: BaseException) -> Problem:
    """The row of an error: that of the nearest of its classes in the table.

    >>> problem_of(errors.UnknownCollection("no such collection")).status, problem_of(ZeroDivisionError()).name
    (404, 'unexpected')
    """
    return next(_BY_KIND[kind] for kind in (*type(error).__mro__, Exception) if kind in _BY_KIND)


def problem_of_status(status: int) -> Problem:
    """The row for a status that the web framework has chosen."""
    found = _BY_STATUS.get(status)
    return (
        Problem(re.sub(r"\W+", "-", HTTPStatus(status).phrase.lower()), status, HTTPStatus(status).phrase)
        if found is None
        else found
    )


def body(row: Problem, detail: str | None, request_id: str, values: dict[str, Any] | None = None) -> bytes:
    """The body of a problem; `detail` is told as it is."""
    about = {"type": f"{_TYPES}#{row.name}", "title": row.title, "status": row.status}
    told = {} if detail is None else {"detail": detail}
    return msgspec.json.encode({**about, **told, "instance": f"urn:request:{request_id}", **(values or {})})


def body_of(error: BaseException, request_id: str, *, folder: str) -> bytes:
    """The body of an error. Where the server keeps the database, `folder`, is nobody's business."""
    row = problem_of(error)
    if not row.told:
        return body(row, f"{row.title}. The server's log tells more, under this request's id.", request_id)
    values = error.values if isinstance(error, errors.OutcropError) else {}
    told = {name: _without(values[name], folder) for name in _TOLD if isinstance(values.get(name), str | int | tuple | list)}
    if isinstance(error, BadRequest) and error.key is not None:
        told["key"] = error.key
    if isinstance(error, BuildRunning):
        told["build"] = error.build
    if isinstance(error, errors.GateFailed):
        told["report"] = msgspec.to_builtins(values.get("report"), enc_hook=str)
    return body(row, _without(str(error), folder), request_id, told)


def told(error: BaseException, *, folder: str) -> str:
    """An error in words for clients: its message where that may be told, without the database's `folder`."""
    row = problem_of(error)
    return str(_without(str(error), folder)) if row.told else row.title


def _without(value: Any, folder: str) -> Any:
    return value.replace(folder, "the database") if isinstance(value, str) else value


def table() -> list[dict[str, Any]]:
    """The table, for who follows a problem's type."""
    return [{"name": row.name, "status": row.status, "title": row.title} for row in PROBLEMS]

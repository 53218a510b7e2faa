"""Every exception that Outcrop raises, in one tree under `OutcropError`.

One class per thing that a caller may do differently. Each class also derives from the builtin that it resembles, so that
`except KeyError` or `except ValueError` work as a Python programmer expects. A message says what failed, on what, what was
found and what to do next; the values are attributes too.
"""

from __future__ import annotations

from typing import Any


class OutcropError(Exception):
    """The root of every error that Outcrop raises on purpose.

    Keyword arguments become attributes, so that a program need not read the message:

    >>> error = OutcropError("kb/papers is locked", path="kb/papers")
    >>> str(error), error.path
    ('kb/papers is locked', 'kb/papers')
    """

    def __init__(self, message: str, **values: Any) -> None:
        super().__init__(message)
        self.message = message
        self.values = values

    def __getattr__(self, name: str) -> Any:
        values: dict[str, Any] = self.__dict__.get("values", {})
        if name in values:
            return values[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.message, self.values)

    def __str__(self) -> str:  # KeyError would show the repr of its message
        return self.message


def _restore(kind: type[OutcropError], message: str, values: dict[str, Any]) -> OutcropError:
    return kind(message, **values)


class InvalidInput(OutcropError, ValueError):
    """What the caller gave cannot be used; nothing was changed."""


class InvalidConfig(InvalidInput):
    """A configuration key, value or file cannot be used. Attributes where known: `key`, `origin`."""


class InvalidName(InvalidInput):
    """A collection name is not of the form `[a-z0-9][a-z0-9_-]{0,63}`. Attribute: `name`."""


class InvalidDocument(InvalidInput):
    """A document breaks a rule (id, text, metadata or vector). Attributes where known: `document_id`, `origin`."""


class DuplicateDocument(InvalidDocument):
    """Two documents of one source have the same id. Attributes: `document_id`, `origin`."""


class InvalidSource(InvalidInput):
    """A source of documents cannot be read. Attributes where known: `path`, `line`."""


class InvalidQuery(InvalidInput):
    """A search cannot be run as asked. Attributes where known: `parameter`."""


class InvalidFilter(InvalidQuery):
    """A filter cannot be parsed. Attributes: `text`, `position` (0-based offset in the text, or None)."""


class NotFound(OutcropError, KeyError):
    """Something that was named does not exist."""


class UnknownCollection(NotFound):
    """No collection has this name. Attributes: `name`, `nearest` (or None)."""


class UnknownGeneration(NotFound):
    """The collection has no such generation. Attributes: `generation`, `available`."""


class UnknownEmbedder(NotFound):
    """No embedder has this name, or it needs an extra that is not installed. Attributes: `name`, `remedy`."""


class CollectionExists(OutcropError, FileExistsError):
    """A collection with this name exists already. Attribute: `name`."""


class IllegalState(OutcropError, RuntimeError):
    """The collection is not in a state in which the operation makes sense."""


class NothingToBuild(IllegalState):
    """`build()` got no source and the collection has no active generation to take the documents from."""


class NothingToRollBack(IllegalState):
    """The active generation was not promoted from an earlier one that still exists."""


class NoActiveGeneration(IllegalState):
    """The collection has no active generation to search. Attribute: `collection`."""


class Closed(IllegalState):
    """The database or the collection has been closed."""


class ReadOnly(IllegalState):
    """The database was opened with `read_only=True` and the operation writes."""


class BuildFailed(IllegalState):
    """A build's own verification found a fault; the generation was not made ready. Attribute: `checks`."""


class CatchUpFailed(IllegalState):
    """Writers write faster than a generation catches up, so it cannot be promoted now. Attributes: `generation`, `entries`,
    `written_per_second`, `applied_per_second`."""


class EmbedderGone(IllegalState):
    """Writes cannot be embedded as a generation wants it. Attributes: `generation`, `documents`."""


class WritesMissing(IllegalState):
    """A generation lacks writes that the journal does not have any more, so it cannot be brought up to date. Attributes:
    `sequence` (what it holds), `trimmed` (what the journal begins after)."""


class SnapshotExpired(IllegalState):
    """A reading lasted so long beside writes that what it reads is not remembered any more: begin again. Attributes: `sequence`
    (as of which it read), `purged` (what ended up to there is forgotten)."""


class NotYetVisible(OutcropError, RuntimeError):
    """A write is accepted and durable, but could not be made visible. It must not be repeated. Attribute: `sequence`."""


class GateFailed(IllegalState):
    """A gate refused a promotion: searches are as they were. Attributes: `report` (a `GateReport`), `collection`, `generation`."""


class BuildCancelled(IllegalState):
    """A build was cancelled. Attributes: `generation`, and `resumable`: whether the same build, begun again, goes on from there."""


class EmbedderMismatch(OutcropError, ValueError):
    """An embedder is not the one that a generation was built with. Attributes: `expected`, `found`."""


class EmbeddingFailed(OutcropError, RuntimeError):
    """An embedder (a model or a remote endpoint) failed after its retries. Attributes: `embedder`, `status`."""


class MissingExtra(OutcropError, ImportError):
    """An optional dependency is needed. Attributes: `extra`, `remedy`."""


class EngineUnavailable(OutcropError, RuntimeError):
    """The engine that was asked for does not work here. Attributes: `engine`, `reason`, `remedy`."""


class CollectionLocked(OutcropError, TimeoutError):
    """Another process or thread holds the lock. Attributes: `path`, `owner` (pid, host and time where known)."""


class Damaged(OutcropError, OSError):
    """A file on disk is not what was written: a checksum, a count or a format does not agree. Attributes: `path`; `fault`: what
    of the message is no advice, where something else may stand in."""


class Repairable(Damaged):
    """Damage in an index that another one stands in for, and that `repair` builds anew from the documents. Attributes: `path`."""


class UnsupportedFormat(Damaged):
    """The files were written by a newer Outcrop. Attributes: `path`, `found`, `supported`."""


class StorageFailed(OutcropError, OSError):
    """The operating system refused to read or write (disk full, no permission). Attributes: `path`, `errno_name`."""

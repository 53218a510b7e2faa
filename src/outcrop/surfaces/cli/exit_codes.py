"""Exit codes: the one table that says which kind of error ends the program with which number."""

from __future__ import annotations

from typing import NamedTuple

from outcrop import errors

OK = 0
UNEXPECTED = 1
USAGE = 2
NOT_FOUND = 4
UNAVAILABLE = 7
DAMAGED = 8
INTERRUPTED = 130
OUTPUT_CLOSED = 141


class ExitCode(NamedTuple):
    """A number, what it means, and the errors that end with it. A subclass that stands in another row goes by its own row."""

    number: int
    meaning: str
    kinds: tuple[type[BaseException], ...] = ()


#: 130 and 141 are what a shell reports of a program that SIGINT or SIGPIPE ended.
EXIT_CODES: tuple[ExitCode, ...] = (
    ExitCode(OK, "done"),
    ExitCode(UNEXPECTED, "an error that Outcrop did not expect: please report it"),
    ExitCode(USAGE, "the command line is wrong"),
    ExitCode(3, "bad input: a document, a source, a query, a filter, a setting", (errors.InvalidInput,)),
    ExitCode(NOT_FOUND, "what was named does not exist", (errors.NotFound,)),
    ExitCode(5, "not possible in this state, such as nothing to roll back", (errors.IllegalState, errors.CollectionExists)),
    ExitCode(
        6,
        "busy: locked by another process, or written too fast to catch up: wait and try again",
        (errors.CollectionLocked, errors.CatchUpFailed),
    ),
    ExitCode(
        UNAVAILABLE,
        "an engine, an embedder or an extra does not work here",
        (errors.EngineUnavailable, errors.EmbeddingFailed, errors.EmbedderMismatch, errors.EmbedderGone, errors.MissingExtra),
    ),
    ExitCode(DAMAGED, "files are damaged, or a build failed its own checks", (errors.Damaged, errors.BuildFailed)),
    ExitCode(9, "the disk is full, or reading or writing was refused", (errors.StorageFailed, OSError)),
    ExitCode(10, "a gate refused the promotion", (errors.GateFailed,)),
    ExitCode(11, "a write is in, but not visible yet: do not repeat it", (errors.NotYetVisible,)),
    ExitCode(INTERRUPTED, "interrupted (Ctrl-C)", (KeyboardInterrupt, errors.BuildCancelled)),
    ExitCode(OUTPUT_CLOSED, "the reader of the output went away", (BrokenPipeError,)),
)

_NUMBERS = {kind: row.number for row in EXIT_CODES for kind in row.kinds}


def exit_code(error: BaseException) -> int:
    """The number for an error: that of the nearest of its classes that the table names.

    >>> exit_code(errors.UnknownCollection("no such collection")), exit_code(ZeroDivisionError())
    (4, 1)
    """
    return next((_NUMBERS[kind] for kind in type(error).__mro__ if kind in _NUMBERS), UNEXPECTED)


def summary() -> str:
    """The table as lines of text, for the help."""
    return "\n".join(f"{row.number:>3}  {row.meaning}" for row in EXIT_CODES)

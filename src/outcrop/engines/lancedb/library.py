"""The one door to LanceDB: imports it when it is needed, keeps forks away from it, and says what its errors mean.

LanceDB runs on threads of its own, which a forked child does not have. It starts most of them anew there, and warns that it might
hang if something was under way when the process forked. So nothing is: every call goes through `calling`, which a fork waits for.
If it waits in vain, because a call hangs, only LanceDB is refused in the child. The threads that build indexes it does not start
anew (found by trying): a forked child has that done in a process of its own.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import importlib
import os
import sys
import threading
import warnings
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

from outcrop import files, forking
from outcrop.errors import Damaged, EngineUnavailable, OutcropError, StorageFailed

INSTALL = "pip install 'outcrop[lancedb]'"
READ_SECONDS_MAX = 30.0
"""A search that takes longer hangs, and fails."""

_Result = TypeVar("_Result")
_LOG_VARIABLE = "LANCEDB_LOG"
_INDEX_CACHE_BYTES = 512 << 20
_METADATA_CACHE_BYTES = 64 << 20
_REFUSALS = {
    "No space left on device": errno.ENOSPC,
    "Disk quota exceeded": errno.EDQUOT,
    "Permission denied": errno.EACCES,
    "Read-only file system": errno.EROFS,
    "Too many open files": errno.EMFILE,
}
_GONE = ("not found", "no longer exists", "no such file")


def lancedb() -> Any:
    """The library, which logs its errors only, unless `LANCEDB_LOG` says otherwise. Raises `EngineUnavailable`."""
    try:
        if "lancedb" not in sys.modules:
            with _logging_errors_only(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the packages that it imports
                importlib.import_module("lancedb")
        import lancedb as library
        import pyarrow  # noqa: F401 - what it gives and takes
    except ImportError as error:
        raise EngineUnavailable(
            f"the engine 'lancedb' cannot be used: {error}. Remedy: {INSTALL}.",
            engine="lancedb",
            reason=str(error),
            remedy=INSTALL,
        ) from error
    if not _first_used_in:
        _first_used_in.append(os.getpid())
    return library


def is_forked() -> bool:
    """Whether this process was forked after LanceDB was used in it.

    It can search and write then, but not index: the threads for that are its parent's, and it would wait for them for ever. And if
    LanceDB was not at rest, although no call was under way, it corrupts the child's memory now and then (seen with 0.40 beside a
    busy writer). Whoever can do without it should.
    """
    return bool(_first_used_in) and _first_used_in[0] != os.getpid()


def connect(folder: Path) -> Any:
    """A connection to the tables in a folder. All of a process share one cache of bounded size."""
    return lancedb().connect(str(folder), session=_session(os.getpid()))


async def connect_for_reading(folder: Path) -> Any:
    """As `connect`, for the asynchronous interface: it waits for other threads less often, and a search takes half the time."""
    return await lancedb().connect_async(str(folder), session=_session(os.getpid()))


def run(coroutine: Coroutine[Any, Any, _Result], *, seconds_max: float | None = READ_SECONDS_MAX) -> _Result:
    """What a coroutine of LanceDB's gives. It runs on a thread that is there for all of them. Raises `TimeoutError`."""
    waiting = asyncio.run_coroutine_threadsafe(coroutine, _loop.running())
    try:
        return waiting.result(seconds_max)
    except TimeoutError:
        waiting.cancel()
        raise TimeoutError(errno.ETIMEDOUT, f"LanceDB did not answer within {seconds_max:g} s") from None
    except BaseException:
        waiting.cancel()
        raise


def arrow() -> Any:
    """PyArrow, which comes with LanceDB."""
    import pyarrow

    return pyarrow


def is_gone(error: BaseException) -> bool:
    """Whether a foreign error says that a file or a version is not there any more."""
    return any(sign in str(error).lower() for sign in _GONE)


@contextmanager
def calling(folder: Path, doing: Literal["read", "written"]) -> Iterator[None]:
    """Call LanceDB about the table in `folder`. Its errors come out as `Damaged` or `StorageFailed`.

    What cannot be read is damaged; what cannot be written is the storage's refusal.
    """
    with _undisturbed:
        try:
            yield
        except OutcropError:
            raise
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                raise _damaged(folder, error) from error
            raise files.storage_failed(folder, error) from error
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise _meaning(folder, error, doing) from error
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # what a panic in the library becomes; it is no Exception
                raise
            raise _meaning(folder, error, doing) from error


def _meaning(folder: Path, error: BaseException, doing: str) -> OutcropError:
    text = str(error)
    for sign, code in _REFUSALS.items():
        if sign in text:
            return files.storage_failed(folder, OSError(code, os.strerror(code)))
    if doing == "read":
        return _damaged(folder, error)
    return StorageFailed(f"{folder}: LanceDB could not write: {_first_line(error)}", path=folder, errno_name=None)


def _damaged(folder: Path, error: BaseException) -> Damaged:
    return Damaged(
        f"the table in {folder} cannot be read: {_first_line(error)}. Roll back to another generation, or build a new one.",
        path=folder,
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0][:300] if lines else type(error).__name__


@contextmanager
def _logging_errors_only() -> Iterator[None]:
    """LanceDB reads how much to log when it is imported; its own default prints advice about indexes on stderr."""
    chosen = _LOG_VARIABLE in os.environ
    if not chosen:
        os.environ[_LOG_VARIABLE] = "error"
    try:
        yield
    finally:
        if not chosen:
            del os.environ[_LOG_VARIABLE]


_first_used_in: list[int] = []  # the process


@functools.cache
def _session(_process: int) -> Any:
    return lancedb().Session(index_cache_size_bytes=_INDEX_CACHE_BYTES, metadata_cache_size_bytes=_METADATA_CACHE_BYTES)


class _Loop:
    """An event loop on a thread of its own, begun at its first use, and again in a forked child."""

    def __init__(self) -> None:
        self._beginning = forking.lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        forking.in_child(self, _Loop._forget)

    def running(self) -> asyncio.AbstractEventLoop:
        """The loop."""
        if self._loop is None:
            with self._beginning:
                if self._loop is None:
                    loop = asyncio.new_event_loop()
                    threading.Thread(target=loop.run_forever, name="outcrop-lancedb", daemon=True).start()
                    self._loop = loop
        return self._loop

    def _forget(self) -> None:
        forking.abandon(self._loop)
        self._loop = None


class _ForkWarning:
    """Keeps LanceDB's warning out of a forked child: what it warns of is seen to here."""

    def silence(self) -> None:
        warnings.filterwarnings("ignore", message="lancedb fork support is experimental", category=RuntimeWarning)


_undisturbed = forking.gate("LanceDB")
_loop = _Loop()
_fork_warning = _ForkWarning()
forking.in_child(_fork_warning, _ForkWarning.silence)

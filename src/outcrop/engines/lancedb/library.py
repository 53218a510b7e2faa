"""The one door to LanceDB: imports it when it is needed, keeps forks away from it, and says what its errors mean.

LanceDB runs on threads of its own, which a forked child does not have. It starts most of them anew there, but not all, and if one
was not at rest at the fork, it corrupts the child's memory now and then (seen with 0.40, also when no call was under way). So in a
process that was forked after LanceDB was used in it every call is refused. A fork waits for the calls that are under way.
"""

from __future__ import annotations

import errno
import functools
import importlib
import os
import re
import sys
import threading
import warnings
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from outcrop import files, forking
from outcrop.engines.lancedb.location import Place
from outcrop.errors import Damaged, EngineUnavailable, OutcropError, StorageFailed

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future

INSTALL = "pip install 'outcrop[lancedb]'"
READ_SECONDS_MAX = 30.0
"""A search that takes longer hangs, and fails; so does opening a table."""
NO_LIMIT = threading.TIMEOUT_MAX
FORKED = "this process was forked from one that had used LanceDB"
FORKED_REMEDY = "open the database after forking, or start processes by 'spawn' or 'forkserver'"

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
#: What the client of an object store says of its own failures, as LanceDB 0.40 passes it on; not of what it has read.
_UNREACHED = (
    *("RetryError", "Error performing", "error sending request", "credentials", "privileges", "authentication"),
    *("Generic S3 error", "Generic GCS error", "Generic MicrosoftAzure error", "no Azure account name"),
)
_CAUSE = re.compile(
    r'message: "([^"]{1,100})"|<Code>(\w{1,60})</Code>|(Failed to get \w+ credentials)|(error sending request)|(BadScheme)'
    r"|(Failed to resolve region)|(TimedOut|timed out)|(dns error)|(TokenRequest)|(status: \d{3})|(no Azure account name)"
)
_HANGS = ("TimedOut", "timed out")
_GONE = ("not found", "no longer exists", "no such file")


def lancedb() -> Any:
    """The library, which logs its errors only, unless `LANCEDB_LOG` says otherwise. Raises `EngineUnavailable`."""
    _refuse_in_forked()
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
    """Whether this process was forked after LanceDB was used in it, and must not use it."""
    return bool(_first_used_in) and _first_used_in[0] != os.getpid()


def connect(place: Place) -> Any:
    """A connection to the tables in a place. All of a process share one cache of bounded size."""
    return lancedb().connect(place.uri, session=_session(), storage_options=place.client_options())


async def connect_for_reading(place: Place) -> Any:
    """As `connect`, for the asynchronous interface: it waits for other threads less often, and a search takes half the time."""
    return await lancedb().connect_async(place.uri, session=_session(), storage_options=place.client_options())


def run(coroutine: Coroutine[Any, Any, _Result], *, seconds_max: float | None = None) -> _Result:
    """What a coroutine of LanceDB's gives, within `READ_SECONDS_MAX` or that. It runs on a thread that is there for all of them.

    Raises `TimeoutError`.
    """
    import asyncio

    waiting = asyncio.run_coroutine_threadsafe(coroutine, _running_loop())
    try:
        return _in_time(waiting, READ_SECONDS_MAX if seconds_max is None else seconds_max)
    except BaseException:
        waiting.cancel()
        raise


def run_beside(place: Place, call: Callable[[], _Result]) -> _Result:
    """What a call gives that asks for little: an object store that hangs is given up after `READ_SECONDS_MAX`.

    The thread that made the call goes on until the store's client gives up too, or it answers. Raises `TimeoutError`.
    """
    if place.local is not None:
        return call()
    from concurrent.futures import Future

    answer: Future[_Result] = Future()

    def answered() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            answer.set_exception(error)

    threading.Thread(target=answered, name="outcrop-lancedb-call", daemon=True).start()
    return _in_time(answer, READ_SECONDS_MAX)


def timed_out(seconds: float) -> TimeoutError:
    """The error of who waited so long for LanceDB."""
    return TimeoutError(errno.ETIMEDOUT, f"LanceDB did not answer within {seconds:g} s")


def arrow() -> Any:
    """PyArrow, which comes with LanceDB."""
    import pyarrow

    return pyarrow


def is_gone(error: BaseException) -> bool:
    """Whether a foreign error says that a file or a version is not there any more."""
    return any(sign in str(error).lower() for sign in _GONE)


@contextmanager
def calling(place: Place, doing: Literal["read", "written"]) -> Iterator[None]:
    """Call LanceDB about the table in `place`. Its errors come out as `Damaged` or `StorageFailed`.

    What cannot be read is damaged, unless an object store was not reached; what cannot be written is the storage's refusal. Raises
    `EngineUnavailable` in a forked child.
    """
    _refuse_in_forked()
    with _undisturbed:
        try:
            yield
        except OutcropError:
            raise
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                raise _damaged(place, error) from error
            if place.local is None and isinstance(error, TimeoutError):
                raise _unreached(place, str(error.strerror), hangs=True) from error
            raise files.storage_failed(place.path, error) from error
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise _meaning(place, error, doing) from error
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # what a panic in the library becomes; it is no Exception
                raise
            raise _meaning(place, error, doing) from error


def _meaning(place: Place, error: BaseException, doing: str) -> OutcropError:
    text = str(error)
    if place.local is None and any(sign in text for sign in _UNREACHED):
        causes = dict.fromkeys(cause for found in _CAUSE.findall(text) for cause in found if cause)
        return _unreached(place, ", ".join(causes) or "no answer", hangs=any(sign in causes for sign in _HANGS))
    for sign, code in _REFUSALS.items():
        if sign in text:
            return files.storage_failed(place.path, OSError(code, os.strerror(code)))
    if doing == "read":
        return _damaged(place, error)
    return StorageFailed(f"{place}: LanceDB could not write: {_first_line(error)}", path=place.path, errno_name=None)


def _unreached(place: Place, causes: str, *, hangs: bool) -> StorageFailed:
    """What an object store's client says is long, and may name what is secret: only the causes are taken from it."""
    return StorageFailed(
        f"{place}: the object store was not reached or refused: {causes[:300]}. See that it can be reached, and that the"
        f" environment of this process says where and with whose rights: {place.rights()}.",
        path=place.path,
        errno_name="ETIMEDOUT" if hangs else None,
    )


def _damaged(place: Place, error: BaseException) -> Damaged:
    fault = f"the table in {place} cannot be read: {_first_line(error)}"
    return Damaged(f"{fault}. Roll back to another generation, or build a new one.", path=place.path, fault=fault)


def _in_time(answer: Future[_Result], seconds_max: float) -> _Result:
    try:
        return answer.result(seconds_max)
    except TimeoutError:
        if answer.done():  # it is what was answered
            raise
        raise timed_out(seconds_max) from None


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


def _refuse_in_forked() -> None:
    if is_forked():
        raise EngineUnavailable(
            f"the engine 'lancedb' cannot be used: {FORKED}. Remedy: {FORKED_REMEDY}.",
            engine="lancedb",
            reason=FORKED,
            remedy=FORKED_REMEDY,
        )


@functools.cache
def _session() -> Any:
    return lancedb().Session(index_cache_size_bytes=_INDEX_CACHE_BYTES, metadata_cache_size_bytes=_METADATA_CACHE_BYTES)


def _running_loop() -> asyncio.AbstractEventLoop:
    """An event loop on a thread of its own, begun at its first use."""
    with _beginning:
        return _begun_loop()


@functools.cache
def _begun_loop() -> asyncio.AbstractEventLoop:
    import asyncio

    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="outcrop-lancedb", daemon=True).start()
    return loop


class _ForkWarning:
    """Keeps LanceDB's warning out of a forked child, where it is not used."""

    def silence(self) -> None:
        warnings.filterwarnings("ignore", message="lancedb fork support is experimental", category=RuntimeWarning)


_undisturbed = forking.gate("LanceDB")
_beginning = forking.lock()
_fork_warning = _ForkWarning()
forking.in_child(_fork_warning, _ForkWarning.silence)

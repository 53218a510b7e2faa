"""Starts the processes of builds, waits for them, and ends them with the server.

Between the server and a build's process is a pipe: when the server ends, however it ends, the process reads its end, stops at its
next step and keeps what it has prepared. `running.lock` is held for a build from the moment it is accepted; its process inherits
it, so that it is held for as long as either of the two lives.
"""

from __future__ import annotations

import asyncio
import io
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from outcrop import Database, file_locks, files
from outcrop.errors import BuildCancelled, Closed, IllegalState, OutcropError, ReadOnly
from outcrop.generations.layout import CollectionFolder
from outcrop.surfaces.http.builds import states
from outcrop.surfaces.http.builds.orders import Order
from outcrop.surfaces.http.builds.states import Build, BuildsFolder
from outcrop.surfaces.http.problems import BuildRunning

_log = logging.getLogger("outcrop.http")
_CHILD = "outcrop.surfaces.http.builds.child"
_WAIT_SECONDS = 1.0  # for a lock that somebody only looks at, or that a build which has just ended gives up
_POLLED_SECONDS = 0.02
_END_SECONDS = 30.0
_THREADS = 4


class Begun(msgspec.Struct, frozen=True, eq=False):
    """A build that was accepted; `lock` is held until it ends. `resumes` is the id of an interrupted one that it goes on with."""

    folder: BuildsFolder
    build: Build
    lock: io.FileIO
    resumes: str | None = None


class Builds:
    """The builds that this process began, and the folders that they may read. Safe to use from many threads."""

    def __init__(self, source_folders: Sequence[str] = ()) -> None:
        self.source_folders = tuple(Path(folder) for folder in source_folders)
        self.threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="outcrop-builds")
        self._changing = threading.Lock()
        self._running: dict[str, tuple[subprocess.Popen[bytes], threading.Thread]] = {}
        self._stopping = False
        self.followers = 0
        self.accepting: set[asyncio.Future[Build]] = set()

    @property
    def stopping(self) -> bool:
        """Whether the server ends."""
        return self._stopping

    @contextmanager
    def followed(self) -> Iterator[None]:
        """In the block, one client more follows a build; `followers` has their number. Used by one event loop."""
        self.followers += 1
        try:
            yield
        finally:
            self.followers -= 1

    def check(self, db: Database, name: str) -> None:
        """Whether builds are begun and cancelled here at all. Raises `ReadOnly` and `Closed`."""
        if db.read_only:
            raise ReadOnly(f"collection {name!r} is not built by a server that was started to read only", collection=name)
        self._check_going_on()

    def begin(self, db: Database, name: str, build: Build, *, resumes: str | None = None) -> Begun:
        """Accept a build, so that no other one of the collection is. `start` or `give_up` must follow.

        Raises `BuildRunning`, `ReadOnly`, `UnknownCollection`, `Closed`, `StorageFailed`; `IllegalState` if that which it `resumes`
        cannot be.
        """
        self.check(db, name)
        folder = BuildsFolder.of(db, name)
        with files.storage_errors(folder.path):
            folder.path.mkdir(exist_ok=True)
            lock = _locked(folder, CollectionFolder(db.path / name))
            try:
                states.tidy(folder)
                if resumes is not None:
                    check_resumable(folder, resumes)
                    states.hand_over(folder, resumes, build.id)
                states.write(folder, build)
            except BaseException:
                _release(lock)
                raise
        return Begun(folder, build, lock, resumes)

    def give_up(self, begun: Begun, error: BaseException) -> None:
        """A build does not come about. Nothing is left of it, unless it was cancelled, which is remembered."""
        with suppress(OSError):
            if begun.resumes is not None:
                states.hand_over(begun.folder, begun.build.id, begun.resumes)
        states.forget(begun.folder, begun.build.id)
        with suppress(OutcropError):
            if isinstance(error, BuildCancelled):
                states.end(begun.folder, states.ended(begun.build, "cancelled"))
        _release(begun.lock)

    def start(self, begun: Begun, order: Order) -> Build:
        """Start the process of a build. Raises `Closed` and `StorageFailed`; `give_up` must follow then."""
        inherited = () if sys.platform == "win32" else (begun.lock.fileno(),)
        line = msgspec.json.encode(msgspec.structs.replace(order, lock=inherited[0] if inherited else None)) + b"\n"
        states.write(begun.folder, order.build)
        with self._changing, files.storage_errors(begun.folder.path):
            self._check_going_on()
            process = subprocess.Popen(  # noqa: S603 - our own program; what clients say comes on its standard input
                [sys.executable, "-m", _CHILD], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=inherited
            )
            waiting = threading.Thread(target=self._waited, args=(begun, process), daemon=True)
            self._running[begun.build.id] = process, waiting
            waiting.start()
            assert process.stdin is not None
            with suppress(OSError):  # it has ended already, and whoever waits for it says so
                process.stdin.write(line)
                process.stdin.flush()
        return order.build

    def cancel(self, db: Database, name: str, build_id: str) -> Build:
        """Ask a build of any process to end. Raises `NotFound`, `IllegalState` if it has ended, `ReadOnly`."""
        self.check(db, name)
        folder = BuildsFolder.of(db, name)
        found = states.find(folder, build_id)
        if found.state not in states.UNDER_WAY:
            raise IllegalState(f"build {build_id} has ended already: {found.state}")
        with files.storage_errors(folder.path):
            folder.cancel(build_id).touch()
        return states.find(folder, build_id)

    def check_goes_on(self, begun: Begun) -> None:
        """To be asked now and then before a build is started. Raises `BuildCancelled` and `Closed`."""
        self._check_going_on()
        if begun.folder.cancel(begun.build.id).exists():
            raise BuildCancelled(f"build {begun.build.id} was cancelled while its documents were sent")

    def stop(self) -> None:
        """Ask every build to end at its next step, and begin no other one. Returns at once."""
        with self._changing:
            self._stopping = True
            for process, _ in self._running.values():
                with suppress(OSError):
                    if process.stdin is not None:
                        process.stdin.close()

    def finish(self) -> None:
        """As `stop`, and wait until they have ended. What takes too long is killed: it is kept to be resumed all the same."""
        self.stop()
        with self._changing:
            running = list(self._running.values())
        deadline = time.monotonic() + _END_SECONDS
        for process, waiting in running:
            waiting.join(max(0.0, deadline - time.monotonic()))
            if waiting.is_alive():
                process.kill()
                waiting.join()
        self.threads.shutdown()

    @contextmanager
    def stopping_on_signals(self) -> Iterator[None]:
        """In the block, what ends the server asks the builds to end, before the requests under way are waited for.

        Else a client that follows a build to its end would keep the server, and with it the build, from ending. In the main thread
        only, where signals are handled; whoever handled them does it still.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def asked(number: int, frame: Any) -> None:
            threading.Thread(target=self.stop).start()  # the thread that was interrupted may be changing what `stop` changes
            handler = before[signal.Signals(number)]
            if callable(handler):
                handler(number, frame)

        for number in before:
            signal.signal(number, asked)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _check_going_on(self) -> None:
        if self._stopping:
            raise Closed("the server is shutting down and begins no build")

    def _waited(self, begun: Begun, process: subprocess.Popen[bytes]) -> None:
        code = process.wait()
        try:
            with suppress(OutcropError):  # the collection was dropped, or the disk is full
                self._settle(begun, code)
        finally:
            with self._changing:
                del self._running[begun.build.id]
                if process.stdin is not None:
                    with suppress(OSError):
                        process.stdin.close()
            _release(begun.lock)

    def _settle(self, begun: Begun, code: int) -> None:
        """Say how a build ended whose process did not say so itself."""
        last = states.find(begun.folder, begun.build.id)
        if last.state in states.UNDER_WAY:
            why = f"its process was ended by signal {-code}" if code < 0 else f"its process ended with status {code}"
            _log.error("build %s: %s", last.id, why)
            states.end(begun.folder, states.interrupted(msgspec.structs.replace(last, state="running"), why))
            begun.folder.cancel(last.id).unlink(missing_ok=True)


def _locked(folder: BuildsFolder, collection: CollectionFolder) -> io.FileIO:
    """The lock of the collection's builds over HTTP, held. Raises `BuildRunning`, also if somebody else builds."""
    file = file_locks.opened(folder.lock, writable=True)
    deadline = time.monotonic() + _WAIT_SECONDS
    try:
        while True:
            mine = file_locks.lock(file)
            if mine and not file_locks.is_locked(collection.build_lock):
                return file
            if mine:
                file_locks.unlock(file)
            if time.monotonic() > deadline:
                raise _running(folder, collection.path.name)
            time.sleep(_POLLED_SECONDS)
    except BaseException:
        file.close()
        raise


def check_resumable(folder: BuildsFolder, build_id: str) -> None:
    """Whether a build was interrupted and can go on as it was asked for. Raises `NotFound`, `IllegalState`."""
    found = states.find(folder, build_id)
    if not states.can_be_resumed(folder, build_id):
        told = f"build {build_id} ({found.state}) cannot be resumed"
        if found.state == "interrupted":
            told += ": its generation is ready, or what was sent for it did not arrive whole, or another build has ended since"
        raise IllegalState(f"{told}; begin another one")


def _running(folder: BuildsFolder, name: str) -> BuildRunning:
    found = next((one for one in states.all_of(folder) if one.state in states.UNDER_WAY), None)
    if found is None:
        return BuildRunning(
            f"collection {name!r} is being built by a process that is none of this server; try again when it has ended"
        )
    return BuildRunning(f"collection {name!r} is being built: {found.id}; wait for it, or cancel it", build=found.id)


def _release(lock: io.FileIO) -> None:
    with suppress(OSError, ValueError):
        file_locks.unlock(lock)
    lock.close()

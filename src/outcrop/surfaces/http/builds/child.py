"""The process of a build: `python -m outcrop.surfaces.http.builds.child`, with its order on the standard input.

It has no lock of the interpreter in common with the server, and a lower priority, so that searches keep their latency. It ends in
order, keeping what it has prepared, when it is asked to: by the file that cancels it, by a signal, or by the end of the standard
input, which comes when the server ends, however it ends.
"""

from __future__ import annotations

import io
import logging
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

import outcrop
from outcrop import BadRecord, Collection, Gate, GenerationInfo, Progress, file_locks, spans
from outcrop.errors import BuildCancelled, GateFailed, OutcropError
from outcrop.surfaces import logs, tracing
from outcrop.surfaces.http import problems
from outcrop.surfaces.http.builds import states
from outcrop.surfaces.http.builds.orders import Order
from outcrop.surfaces.http.builds.states import Build, BuildsFolder, State

_log = logging.getLogger("outcrop.http")
_NICENESS = 10
_WRITTEN_SECONDS = 0.25
_LOOKED_SECONDS = 0.2
_MESSAGE_CHARACTERS_MAX = 300
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")


class Recorder:
    """Keeps a build's state, and writes it when it has changed: at once for a new stage, else four times a second at most."""

    def __init__(self, folder: BuildsFolder, build: Build) -> None:
        self.build = build
        self._folder = folder
        self._written = 0.0

    def stage(self, name: str) -> None:
        """Another stage began."""
        self._changed(at_once=True, stage=name, slowest=None, done=None, total=None, unit=None, remaining_seconds=None)

    def progress(self, found: Progress, total_bytes: int | None) -> None:
        """As far as the build says. `total_bytes` is the source's size where the source does not know it."""
        if not found.stages:  # indexing, verifying, catching up: what was counted before stays
            if found.phase != self.build.stage:
                self.stage(found.phase)
            return
        size_bytes = found.size_bytes if found.size_bytes is not None else total_bytes
        values: dict[str, Any] = {"done": None, "total": None, "unit": None}
        if found.document_count:
            values = {"done": found.documents + found.skipped, "total": found.document_count, "unit": "documents"}
        elif size_bytes and found.position_bytes is not None:
            values = {"done": found.position_bytes, "total": size_bytes, "unit": "bytes"}
        share = min(values["done"] / values["total"], 1.0) if values["total"] else None
        self._changed(
            at_once=self.build.stage != "build",
            stage="build",
            slowest=None if found.slowest is None else found.slowest.name,
            documents=found.documents,
            chunks=found.chunks,
            rate_per_second=round(found.rate, 1),
            remaining_seconds=round(found.seconds * (1 - share) / share, 1) if share else None,
            reused=found.reused,
            skipped=max(found.skipped, self.build.skipped),
            **values,
        )

    def skipped(self, bad: BadRecord) -> None:
        """A bad record was left out."""
        told = self.build.skipped_examples
        if len(told) < states.SKIPPED_TOLD_MAX:
            told = (*told, _cut(str(bad.error)))
        self._changed(skipped=self.build.skipped + 1, skipped_examples=told)

    def built(self, made: GenerationInfo) -> None:
        """The generation is ready."""
        self._changed(generation=made.number, documents=made.document_count, chunks=made.chunk_count, skipped=made.skipped)

    def promoted(self, gate: dict[str, Any] | None) -> None:
        """It is active."""
        self._changed(promoted=True, gate=gate)

    def _changed(self, *, at_once: bool = False, **values: Any) -> None:
        changed = msgspec.structs.replace(self.build, **values)
        now = time.monotonic()
        if changed != self.build and (at_once or now - self._written >= _WRITTEN_SECONDS):
            with suppress(OutcropError):  # a full disk ends the build by itself, where that matters
                states.write(self._folder, changed)
            self._written = now
        self.build = changed


class Stopping:
    """Whether the build is to end, and who wants that."""

    def __init__(self, cancel: Path) -> None:
        self.event = threading.Event()
        self._cancel = cancel
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self.event.set())
        for watch in (self._until_the_server_ends, self._until_cancelled):
            threading.Thread(target=watch, daemon=True).start()

    @property
    def cancelled(self) -> bool:
        """Whether a client wants it, and not only the end of the server."""
        return self._cancel.exists()

    def _until_the_server_ends(self) -> None:
        with suppress(OSError):
            while os.read(0, 1024):
                pass
        self.event.set()

    def _until_cancelled(self) -> None:
        while not self.event.wait(_LOOKED_SECONDS):
            if self.cancelled:
                self.event.set()


def run(order: Order, recorder: Recorder, stopping: Stopping) -> Build:
    """Run the build; how it ended."""
    try:
        with outcrop.open(order.database, config=order.opened_with()) as db:
            _build(db.collection(order.build.collection), order, recorder, stopping)
    except BuildCancelled as error:
        resumable = bool(error.values.get("resumable"))
        if stopping.cancelled:
            return states.ended(recorder.build, "cancelled", resumable=resumable)
        return states.interrupted(recorder.build, "it was told to end, as it is when its server ends", resumable=resumable)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is how the build ended
        return _failed(order, recorder.build, error)
    return states.ended(recorder.build, "done")


def traced_run(order: Order, recorder: Recorder, stopping: Stopping) -> Build:
    """As `run`; where somebody traces, as a span.

    It is linked with the request that ordered it, and no child of it: the request ends at once, its trace is complete then, and
    OpenTelemetry has links for work that outlives what asked for it. So a build is a trace of its own, and is sampled on its own.
    """
    if spans.tracer() is None:
        return run(order, recorder, stopping)
    build = order.build
    known: dict[str, spans.Value | None] = {
        "db.system.name": "outcrop",
        "db.namespace": Path(order.database).name,
        "db.collection.name": build.collection,
        "outcrop.build": build.id,
        "outcrop.request_id": order.request_id,
    }
    name = f"ordered build {build.collection}"
    with spans.operation("ordered build", name, known, kind="CONSUMER", follows=order.follows) as opened:
        ended = run(order, recorder, stopping)
        opened.tell({"outcrop.build_state": ended.state, "outcrop.generation": ended.generation})
        if ended.problem is not None:
            opened.fail(ended.problem["type"].rpartition("#")[2])
        return ended


def _build(collection: Collection, order: Order, recorder: Recorder, stopping: Stopping) -> None:
    source, total_bytes = _source(order)
    try:
        made = collection.build(
            source,
            progress=lambda found: recorder.progress(found, total_bytes),
            on_skip=recorder.skipped,
            cancel=stopping.event,
            **order.options,
        )
    finally:
        if isinstance(source, io.FileIO):
            source.close()
    recorder.built(made)
    if not order.promote:
        return
    if stopping.event.is_set():
        raise BuildCancelled(f"generation {made.number} is ready, and was not promoted", generation=made.number, resumable=False)
    recorder.stage("promote")
    collection.promote(made.number, gate=None if order.gate is None else Gate(**order.gate))
    last = [one for one in collection.history() if one.generation == made.number][-1:]
    recorder.promoted(last[0].gate if last else None)


def _source(order: Order) -> tuple[Any, int | None]:
    """What is built, and its size where it cannot tell."""
    if order.path is None or not order.is_upload:
        return order.path, None
    file = io.FileIO(order.path)
    size_bytes = os.fstat(file.fileno()).st_size
    is_compressed = file.read(8).startswith(_COMPRESSED)
    file.seek(0)
    file.name = "upload"  # which is what the generation says that it was built from
    return file, None if is_compressed else size_bytes


def _failed(order: Order, build: Build, error: Exception) -> Build:
    row = problems.problem_of(error)
    if not row.told:
        known = {"event": "build_request_failed", "build": build.id, "collection": build.collection, "problem": row.name}
        known["request_id"] = order.request_id
        _log.error("build %s failed: %s", build.id, error, exc_info=None if isinstance(error, OutcropError) else error, extra=known)
    problem = msgspec.json.decode(problems.body_of(error, order.request_id, folder=order.database))
    if order.path is not None and "detail" in problem:  # where the server keeps the source is nobody's business
        problem["detail"] = problem["detail"].replace(order.path, build.source)
    state: State = "failed"
    report = problem.get("report") if isinstance(error, GateFailed) else None
    resumable = build.generation is None and row.retry_seconds is not None
    return states.ended(build, state, problem=problem, gate=report, resumable=resumable)


def _cut(text: str) -> str:
    return text if len(text) <= _MESSAGE_CHARACTERS_MAX else f"{text[: _MESSAGE_CHARACTERS_MAX - 1]}…"


def _order() -> Order:
    """The first line of the standard input, read without a buffer: a lock of one would be fatal when the process ends."""
    read = b""
    while not read.endswith(b"\n"):
        piece = os.read(0, 65_536)
        if not piece:
            raise SystemExit(1)  # the server is gone already
        read += piece
    return msgspec.json.decode(read, type=Order)


def main() -> None:
    """Run the build that the standard input orders."""
    order = _order()
    folder = BuildsFolder(Path(order.database) / order.build.collection / "builds")
    stopping = Stopping(folder.cancel(order.build.id))
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    logs.begin_as(os.environ)
    stop_tracing = tracing.begin(os.environ)
    ended = traced_run(order, Recorder(folder, order.build), stopping)
    states.end(folder, ended)
    states.settle(folder, ended)
    if order.lock is not None:  # the next build need not wait until this process is gone
        with io.FileIO(order.lock, "r+") as file:
            file_locks.unlock(file)
    stop_tracing()  # which may wait for whoever collects traces; nobody waits for that


if __name__ == "__main__":
    main()

"""One crash point: a workload that is cut short somewhere, and the check of what it left. Every process is forked from this one,
which has everything imported, so that a point costs a fraction of a second.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import importlib
import json
import os
import random
import select
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from outcrop.errors import OutcropError
from tests.crash import calls, checks, disk
from tests.crash.calls import Call, Fault, Kind, Mode
from tests.crash.disk import Disk, Loss
from tests.crash.model import Model
from tests.crash.workload import NAME, Driver, Setting, tell, work

SECONDS_MAX = 60.0
_KILLED = f"died of signal {signal.SIGKILL}"


class Point(msgspec.Struct, frozen=True):
    """Everything that is needed to do it again: a setting, and either a fault in the process or a power cut after a call. With
    `again` the process that opens the collection after a kill is killed too, at that call of its own."""

    setting: Setting
    fault: Fault | None = None
    again: int | None = None
    cut: int | None = None
    loss: Loss = Loss.ALL

    @property
    def mode(self) -> str:
        if self.fault is None:
            return f"power cut, {self.loss} lost"
        if self.fault.mode == Mode.COUNT:
            return "undisturbed"
        if self.again is not None:
            return "killed twice"
        return self.fault.errno_name if self.fault.mode == Mode.FAIL else self.fault.mode.name.lower()

    def __str__(self) -> str:
        if self.fault is None:
            return f"{self.setting}: power cut after call {self.cut}, {self.loss} unsynced lost"
        return f"{self.setting}: {self.fault}" + (f", then at {self.again}" if self.again is not None else "")


_NEVER_FORKED = ("lancedb", "lance", "pyarrow")  # they have threads of their own: each child imports them itself


def warm(library: ctypes.CDLL, setting: Setting, folder: Path) -> None:
    """Import here what a workload imports late, so that no child has to. A workload that fails is told of later."""
    before = set(sys.modules)
    names = folder / "names"

    def whole() -> None:
        try:
            _workload(library, setting, Fault(), folder)
        finally:
            names.write_text("\n".join(sorted(set(sys.modules) - before)))

    _forked(whole, folder)
    for name in names.read_text().split():
        if name.partition(".")[0] in _NEVER_FORKED:
            continue
        with contextlib.suppress(ImportError):  # parts of packages that are made when something else is imported
            importlib.import_module(name)


def recording(
    library: ctypes.CDLL,
    setting: Setting,
    folder: Path,
    before: Callable[[], None] = lambda: None,
    after: Callable[[], None] = lambda: None,
) -> tuple[str, list[Call]]:
    """What a workload does from beginning to end, and what went wrong ("" for nothing). `before` and `after` are called in its
    process."""

    def whole() -> None:
        before()
        _workload(library, setting, Fault(), folder, record=True)
        after()

    failed = _forked(whole, folder)
    return failed, list(calls.read(folder / "log")) if (folder / "log").exists() else []


def fault_point(library: ctypes.CDLL, point: Point, folder: Path) -> str:
    """Run the workload with a fault, then check what it left. What went wrong, "" for nothing."""
    assert point.fault is not None
    fault = point.fault
    failed = _forked(lambda: _workload(library, point.setting, fault, folder), folder)
    if failed and not (failed == _KILLED and fault.mode in (Mode.KILL, Mode.TEAR)):
        return f"in the workload: {failed}"
    if point.again is not None:
        failed = _forked(lambda: _check_under_fault(library, point, folder), folder)
        if failed not in ("", _KILLED):
            return f"in the recovery: {failed}"
    failed = _forked(lambda: _check(point, folder / "root", _notes(folder / "log")), folder)
    return f"afterwards: {failed}" if failed else ""


def power_points(
    setting: Setting, recorded: list[Call], cuts: set[int], folder: Path, losses: Sequence[Loss] = tuple(Loss), *, only: str = ""
) -> Iterator[tuple[Point, str]]:
    """Cut the power after some of the recorded calls, and check what is left; each with what went wrong. The same state is checked
    only once."""
    shown = Disk(folder / "root")
    notes: list[bytes] = []
    before: tuple[int, disk.Tree] | None = None
    for index, call in enumerate(recorded):
        shown.apply(call)
        if call.kind == Kind.NOTE:
            notes.append(call.data)
        if index not in cuts:
            continue
        for loss in losses:
            point = Point(setting, cut=index, loss=loss)
            if only not in str(point):
                continue
            tree = shown.after_cut(loss, random.Random(str(point)))
            if loss == Loss.ALL:
                if (len(notes), tree) == before:
                    continue
                before = len(notes), tree
            yield point, _power_point(point, tree, list(notes), folder / "cut")


def _power_point(point: Point, tree: disk.Tree, notes: list[bytes], folder: Path) -> str:
    shutil.rmtree(folder, ignore_errors=True)
    disk.write(tree, folder / "root")
    return _forked(lambda: _check(point, folder / "root", notes), folder)


def _workload(library: ctypes.CDLL, setting: Setting, fault: Fault, folder: Path, *, record: bool = False) -> None:
    root = folder / "root"
    root.mkdir()
    calls.arm(library, root, folder / "log", fault, record=record)
    driver = Driver(setting, root / "kb", Model(), _noting(library))
    work(
        driver,
        _GoingOn(driver, fault, library)
        if fault.mode == Mode.FAIL
        else _Succeeding(driver, checking=fault.mode == Mode.COUNT and not record),
    )


class _Succeeding:
    """After every operation of a workload that nothing disturbs: it must have succeeded."""

    def __init__(self, driver: Driver, *, checking: bool) -> None:
        self._driver = driver
        self._checking = checking

    def __call__(self, operation: dict[str, object], done: bool) -> None:
        if not done:
            raise AssertionError(f"{operation['op']} failed: {self._driver.error!r}") from self._driver.error
        if self._checking:
            checks.check(self._driver)


class _GoingOn:
    """After every operation of a process whose disk fails for a while: no wrong answer, and work when the disk is well again."""

    def __init__(self, driver: Driver, fault: Fault, library: ctypes.CDLL) -> None:
        self._driver = driver
        self._last = fault.at + fault.times - 1
        self._library = library
        self._well = 0  # operations begun since the disk is well

    def __call__(self, operation: dict[str, object], done: bool) -> None:
        done = done or (self._driver.refused and len(self._driver.model.worlds) > 1)  # chosen for a world that is not the real one
        if not done and self._well > 1:
            raise AssertionError(
                f"the disk is well again, the collection was opened anew, and {operation['op']} fails: {self._driver.error!r}"
            ) from self._driver.error
        try:
            checks.check(self._driver)
        except OutcropError:
            if self._well > 1:
                raise
            done = False
        if not done and self._well:
            self._driver.close()
        self._well = self._well + 1 if self._library.faults_counted() >= self._last else 0


def _check(point: Point, root: Path, notes: list[bytes], note: Callable[[bytes], None] = lambda _: None) -> None:
    model = Model()
    for one in notes:
        tell(model, json.loads(one))
    model.crash()
    driver = Driver(point.setting, root / "kb", model, note, label=f"after {len(notes)} notes, ")
    if model.created:
        assert (root / "kb" / NAME / "collection.json").exists(), "the collection was made and is gone"
    checks.check_and_go_on(driver, str(point))


def _check_under_fault(library: ctypes.CDLL, point: Point, folder: Path) -> None:
    notes = _notes(folder / "log")
    calls.arm(library, folder / "root", folder / "log", Fault(mode=Mode.KILL, at=point.again or 0))
    note = _noting(library)
    note(b'{"crash": true}')
    _check(point, folder / "root", notes, note)


def _notes(log: Path) -> list[bytes]:
    return [call.data for call in calls.read(log) if call.kind == Kind.NOTE]


def _noting(library: ctypes.CDLL) -> Callable[[bytes], None]:
    return lambda text: library.faults_note(text, len(text))


def _forked(work: Callable[[], None], folder: Path) -> str:
    """Do something in a process of its own; "" if it ends well, otherwise how it ended and what it said."""
    said = folder / "said"
    folder.mkdir(parents=True, exist_ok=True)
    child = os.fork()
    if not child:
        _in_child(work, said)
    ended = os.pidfd_open(child)
    hung = not select.select([ended], [], [], SECONDS_MAX + 5)[0]
    os.close(ended)
    if hung:
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == 0:
        return ""
    text = said.read_text(errors="replace").strip()
    if code == -signal.SIGKILL and not hung and not text:
        return _KILLED
    return f"{'hung' if hung else f'died of signal {-code}' if code < 0 else 'failed'}\n{text}"


def _in_child(work: Callable[[], None], said: Path) -> None:
    code = 1
    try:
        with said.open("w") as file:
            os.dup2(file.fileno(), 2)
        faulthandler.dump_traceback_later(SECONDS_MAX, file=2, exit=True)  # type: ignore[arg-type]
        faulthandler.enable(file=2)  # type: ignore[arg-type]
        work()
        code = 0
    except BaseException:  # noqa: BLE001 - whatever it is, it must be told
        traceback.print_exc(file=sys.stderr)
        sys.stderr.flush()
    finally:
        os._exit(code)

"""What a process that forks leaves to its child: locks that nobody holds, and nothing that was half done.

Only the thread that forks lives on in the child. A lock that another thread held at that moment would be held there for ever, be it
ours or one inside SQLite or Tantivy; a database or a lock file that was open belongs to the parent. So locks of ours are made here;
whoever calls such a library does it `undisturbed`, which a fork waits for; and whoever keeps something open says here what to do
with it before a fork and in the child.

A fork waits a few seconds at most. If a thread was still at work then, the child is refused: it finds out at its next use.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, TypeVar

from outcrop.errors import IllegalState

_WAITED_SECONDS_MAX = 10.0
_POLLED_SECONDS = 0.0005
_T = TypeVar("_T")
_Actions = weakref.WeakKeyDictionary[Any, Callable[[Any], object]]


def lock() -> threading.Lock:
    """A lock that nobody holds at the start of a forked child, whoever held it in the parent.

    What it guards may be half done there, by a thread that the child does not have: guard single steps with it, and never call
    code of others, which might fork, while holding it.
    """
    made = threading.Lock()
    _locks.add(made)
    return made


def undisturbed() -> AbstractContextManager[None]:
    """While this is held, no other thread forks the process. May be nested; costs less than a microsecond.

    For a search, a transaction, a commit: it must end soon, wait for nothing that takes long and never yield to a caller. Raises
    `IllegalState` in a child that was forked while a thread could not be waited for.
    """
    return _gate


def gate(of: str) -> AbstractContextManager[None]:
    """As `undisturbed`, for a library that a process can do without: if a thread could not be waited for, only what is behind this
    gate is refused in the child. `of` names it. Not to be entered where `undisturbed` is held, nor the other way round.
    """
    made = _Gate(
        f"this process was forked while a thread was at work in {of}, which cannot be used here. Start processes by 'spawn' or"
        " 'forkserver'"
    )
    _gates.append(made)
    return made


def before(owner: _T, action: Callable[[_T], object]) -> None:
    """Call `action(owner)` before each fork, in the parent, when nothing is done `undisturbed`, for as long as `owner` lives.

    It must neither raise nor take long.
    """
    _before[owner] = action


def in_child(owner: _T, action: Callable[[_T], object]) -> None:
    """Call `action(owner)` at the start of each forked child, when its locks are new, for as long as `owner` lives. As `before`."""
    _in_child[owner] = action


def abandon(thing: object) -> None:
    """In a child: never end a thing that was inherited. That would wait for its threads, and those are the parent's."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


class _Gate(AbstractContextManager[None]):
    """Lets threads in and out without a lock, as long as nobody forks: each has an entry of its own in a dict."""

    def __init__(self, refusal: str) -> None:
        self._refusal = refusal
        self._refused = False
        self._begin()

    def _begin(self) -> None:
        self._inside: dict[int, int] = {}  # thread -> how often it entered
        self._forking: int | None = None  # the thread
        self._forks = threading.RLock()
        self._reopened = threading.Event()
        self._prepared = False

    def __enter__(self) -> None:
        me = threading.get_ident()
        depth = self._inside.get(me)
        if depth is not None:
            self._inside[me] = depth + 1
            return
        self._inside[me] = 1  # first be seen, then look: whoever forks does it the other way round
        while self._forking is not None and self._forking != me:
            del self._inside[me]
            self._reopened.wait()
            self._inside[me] = 1
        if self._refused:
            del self._inside[me]
            raise IllegalState(self._refusal)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        me = threading.get_ident()
        depth = self._inside.pop(me, 0)  # none in a child that was forked inside
        if depth > 1:
            self._inside[me] = depth - 1

    def close(self) -> None:
        """Let no other thread in any more, and wait until all are out."""
        self._forks.acquire()
        me = threading.get_ident()
        self._reopened.clear()
        self._forking = me
        deadline = time.monotonic() + _WAITED_SECONDS_MAX
        while set(self._inside) - {me} and time.monotonic() < deadline:
            time.sleep(_POLLED_SECONDS)

    def prepared(self) -> None:
        """What is open was closed: if nobody is inside, a child has nothing to fear."""
        self._prepared = not self._inside

    def reopen(self) -> None:
        """After the fork, in the parent."""
        self._forking = None
        self._prepared = False
        self._reopened.set()
        self._forks.release()

    def begin_child(self) -> None:
        """After the fork, in the child: what was held here belonged to threads that are not here."""
        self._refused = self._refused or not self._prepared
        self._begin()


_gate = _Gate(
    "this process was forked while a thread was at work in Outcrop, and what that left behind cannot be used here."
    " Fork when nothing is searched or written, or start processes by 'spawn' or 'forkserver'."
)
_gates = [_gate]
_locks: weakref.WeakSet[threading.Lock] = weakref.WeakSet()
_before: _Actions = weakref.WeakKeyDictionary()
_in_child: _Actions = weakref.WeakKeyDictionary()


def _call(actions: _Actions) -> None:
    for owner, action in list(actions.items()):
        action(owner)


def _before_fork() -> None:
    for one in _gates:
        one.close()
    _call(_before)
    for one in _gates:
        one.prepared()


def _after_in_parent() -> None:
    for one in reversed(_gates):
        one.reopen()


def _after_in_child() -> None:
    for one in _locks:
        one._at_fork_reinit()  # type: ignore[attr-defined]  # noqa: SLF001 - as logging and concurrent.futures do
    for one_gate in _gates:
        one_gate.begin_child()
    _call(_in_child)


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)

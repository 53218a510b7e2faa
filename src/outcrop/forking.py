"""What a process that forked leaves to its child: locks that no other thread holds, and things that know that they were inherited.

Only the thread that forks lives on in the child. A lock that another thread held at that moment would be held there for ever, and a
connection or a lock file that the child inherits is still the parent's. So locks of ours are made here, and whatever else must
be done at the start of a child is said here, once, by whoever owns it.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable

_locks: weakref.WeakSet[threading.Lock] = weakref.WeakSet()
_actions: set[weakref.WeakMethod[Callable[[], object]]] = set()


def lock() -> threading.Lock:
    """A lock that nobody holds at the start of a forked child, whoever held it in the parent.

    What it guards may be half done there, by a thread that the child does not have: guard single steps with it, and never call
    code of others, which might fork, while holding it.
    """
    made = threading.Lock()
    _locks.add(made)
    return made


def in_child(action: Callable[[], object]) -> None:
    """Call a bound method of a living object at the start of each forked child, after the locks are renewed.

    It must neither raise nor wait. The object is not kept alive by it.
    """
    _actions.add(weakref.WeakMethod(action, _actions.discard))


def _begin_child() -> None:
    for one in _locks:
        one._at_fork_reinit()  # type: ignore[attr-defined]  # noqa: SLF001 - as logging and concurrent.futures do
    for known in _actions.copy():
        action = known()
        if action is not None:
            action()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_begin_child)

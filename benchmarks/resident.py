"""How much memory a process holds: its own (anonymous and dirty pages), and pages of files, which the system can drop. On Linux."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

_EVERY_SECONDS = 0.25


class Resident(NamedTuple):
    """Bytes of a process's own, and of files that it has mapped and not changed."""

    own: int
    files: int


def resident(pid: int) -> Resident:
    """What a process holds now; zeros where the system does not tell, or when the process is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return Resident(0, 0)
    sizes = {name: 1024 * int(size) for name, size in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}
    if not sizes:
        return Resident(0, 0)
    own = max(sizes["Anonymous"], sizes["Shared_Dirty"] + sizes["Private_Dirty"])
    return Resident(own, max(0, sizes["Rss"] - own))


class Peak:
    """The most that a process holds at once while this is entered, read four times a second from outside."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.own_bytes = self.files_bytes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._done.wait(_EVERY_SECONDS):
            self._look()

    def _look(self) -> None:
        found = resident(self._pid)
        self.own_bytes, self.files_bytes = max(self.own_bytes, found.own), max(self.files_bytes, found.files)

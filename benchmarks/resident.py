"""How much memory a process holds: its own (anonymous and dirty pages), and pages of files, which the system can drop. On Linux."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

_EVERY_SECONDS = 0.25
_MAPPING = re.compile(r"[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+ *(.*)")
_SIZE = re.compile(r"(\w+):\s+(\d+) kB")
_LAST_SIZE = "Locked"  # of those of a mapping


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


class Held(NamedTuple):
    """Bytes of a process's own, its share of the files of a folder, and its share of other files, which are libraries."""

    own: int
    folder: int
    others: int


def held(pid: int, folder: Path) -> Held:
    """What a process holds now. A page that n processes have counts 1/n in each. Raises `OSError`, also if it has ended."""
    text = Path(f"/proc/{pid}/smaps").read_text(errors="replace")
    if not text:
        raise ProcessLookupError(f"process {pid} has ended")
    own = of_folder = others = 0
    path = ""
    sizes: dict[str, int] = {}
    for line in text.splitlines():
        if mapping := _MAPPING.match(line):
            path, sizes = mapping[1], {}
        elif size := _SIZE.match(line):
            sizes[size[1]] = 1024 * int(size[2])
            if size[1] != _LAST_SIZE:
                continue
            dirty = max(sizes["Anonymous"], sizes["Shared_Dirty"] + sizes["Private_Dirty"])
            own += dirty
            share = max(0, sizes["Pss"] - dirty)
            if path.startswith(f"{folder}/"):
                of_folder += share
            else:
                others += share
    return Held(own, of_folder, others)


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

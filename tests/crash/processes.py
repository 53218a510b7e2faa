"""Work handed to a few forked processes: each takes the next item when it is done with one."""

from __future__ import annotations

import os
import select
import struct
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

Item = TypeVar("Item")
Value = TypeVar("Value")
_NUMBER = struct.Struct("<I")


def each(
    items: Sequence[Item],
    work: Callable[[Item, Path], Iterable[Value]],
    kind: type[Value],
    folder: Path,
    processes: int,
) -> Iterator[Value]:
    """What `work(item, folder)` yields for every item, as it comes. Each process has a folder of its own."""
    taken, waiting = os.pipe()  # the numbers of the items that nobody has taken
    os.write(waiting, b"".join(_NUMBER.pack(number) for number in range(len(items))))
    os.close(waiting)
    children, unread = [], {}
    for number in range(min(processes, len(items))):
        results, results_in = os.pipe()
        child = os.fork()
        if not child:
            _take(items, work, folder / str(number), taken, results_in)
        os.close(results_in)
        children.append(child)
        unread[results] = b""
    while unread:
        for results in select.select(list(unread), [], [])[0]:
            received = os.read(results, 1 << 16)
            *lines, unread[results] = (unread[results] + received).split(b"\n")
            yield from (msgspec.json.decode(line, type=kind) for line in lines)
            if not received:
                del unread[results]
                os.close(results)
    os.close(taken)
    failed = [child for child in children if os.waitpid(child, 0)[1]]
    if failed:
        raise RuntimeError("a process of the sweep itself failed, see above")


def _take(items: Sequence[Item], work: Callable[[Item, Path], Iterable[Value]], folder: Path, taken: int, results: int) -> None:
    code = 1
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while number := os.read(taken, _NUMBER.size):
            for value in work(items[_NUMBER.unpack(number)[0]], folder / "work"):
                line = msgspec.json.encode(value) + b"\n"
                while line:
                    line = line[os.write(results, line) :]
        code = 0
    except BaseException:  # noqa: BLE001 - the other processes go on, and the first one tells
        traceback.print_exc(file=sys.stderr)
    finally:
        os._exit(code)

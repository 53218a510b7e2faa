"""What a power cut leaves of a folder: the recorded calls are carried out on a model of a disk that forgets what was not synced.

A file holds what it held when it was last synced, a folder the names it had when it was last synced, whatever else was done since:
syncing a file does not sync its name. That is the least that POSIX promises. `Loss` says how much of the rest is lost; losing all
of it is not the worst case, so some of it may have reached the disk, chosen by a seed.

Two things are promised beyond POSIX, because every journalling file system does. A rename between two folders happens whole, and
with all that was done before to the names in both. And in Tantivy's folders names become durable in the order in which they were
changed: it removes what it has merged before it syncs the folder. Ours need no order.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from tests.crash.calls import Call, Kind

SECTOR_BYTES = 512
ORDERED = "/builtin/text"


class Loss(StrEnum):
    """How much of what was not synced a power cut takes."""

    ALL = "all"
    """Everything."""
    LATER = "later"
    """Changed names from some moment on; of the content any part. Like a file system that journals its metadata in order."""
    ANY = "any"
    """Any part of the names (but of Tantivy's, those from some moment on) and of the content. More than any common file system
    loses."""


@dataclass(eq=False)
class File:
    synced: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)  # (offset, data), or (size, None) for a truncation

    def content(self, pending: Iterable[tuple[int, bytes | None]]) -> bytes:
        content = bytearray(self.synced)
        for offset, data in pending:
            if data is None:
                del content[offset:]
                content.extend(bytes(offset - len(content)))
            else:
                content.extend(bytes(max(0, offset - len(content))))
                content[offset : offset + len(data)] = data
        return bytes(content)


@dataclass(eq=False)
class Link:
    target: str


@dataclass(eq=False)
class Folder:
    names: dict[str, Node] = field(default_factory=dict)
    synced: dict[str, Node] = field(default_factory=dict)
    ordered: bool = False


Node: TypeAlias = File | Link | Folder
Change: TypeAlias = tuple[tuple[Folder, str, Node | None], ...]
"""One step on names, whole or not at all: in this folder this name now means this node, or nothing."""
Tree: TypeAlias = dict[str, bytes | str | None]
"""Relative path -> a file's content, where a link points, or None for a folder."""


class Disk:
    """The folder as it is, and as it would be after a power cut now. It begins empty."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.changes = 0  # how often anything became durable or pending; unchanged means that no cut would show a difference
        self._top = Folder()
        self._pending: list[Change] = []
        self._nodes: dict[int, Node] = {}

    def apply(self, call: Call) -> None:
        """Carry out one recorded call."""
        if call.kind == Kind.NOTE:
            return
        self.changes += 1
        if call.kind in (Kind.WRITE, Kind.TRUNCATE):
            file = self._nodes[call.inode]
            assert isinstance(file, File), call.name
            file.pending.append((call.offset, call.data if call.kind == Kind.WRITE else None))
        elif call.kind == Kind.SYNC:
            self._sync(self._top if call.name == str(self.root) else self._nodes[call.inode])
        else:
            self._rename(self._change(call))

    def now(self) -> Tree:
        """The folder as a process sees it."""
        return dict(_walk(self._top, lambda folder: folder.names, lambda file: file.content(file.pending)))

    def after_cut(self, loss: Loss = Loss.ALL, rng: random.Random | None = None) -> Tree:
        """The folder as a power cut now would leave it."""
        if loss == Loss.ALL or rng is None:
            return dict(_walk(self._top, lambda folder: folder.synced, lambda file: file.synced))
        names: dict[int, dict[str, Node]] = {}
        for change in _kept_changes(self._pending, loss, rng):
            for folder, name, node in change:
                _set(names.setdefault(id(folder), dict(folder.synced)), name, node)
        return dict(
            _walk(
                self._top, lambda folder: names.get(id(folder), folder.synced), lambda file: file.content(_kept_writes(file, rng))
            )
        )

    def _place(self, name: str) -> tuple[Folder, str]:
        path = PurePosixPath(name).relative_to(self.root)
        folder = self._top
        for part in path.parent.parts:
            below = folder.names[part]
            assert isinstance(below, Folder), name
            folder = below
        return folder, path.name

    def _change(self, call: Call) -> Change:
        folder, name = self._place(call.name)
        match call.kind:
            case Kind.CREATE | Kind.MKDIR:  # an inode's number may be that of a file removed before
                node: Node = File() if call.kind == Kind.CREATE else Folder(ordered=call.name.endswith(ORDERED))
                self._nodes[call.inode] = node
                return ((folder, name, node),)
            case Kind.SYMLINK:
                return ((folder, name, Link(call.other)),)
            case Kind.UNLINK | Kind.RMDIR:
                return ((folder, name, None),)
            case Kind.RENAME:
                return ((folder, name, None), (*self._place(call.other), folder.names[name]))
            case Kind.LINK:
                return ((*self._place(call.other), folder.names[name]),)
        raise ValueError(f"a power cut after this call cannot be shown: {call.kind.name} {call.name}")

    def _rename(self, change: Change) -> None:
        for folder, name, node in change:
            _set(folder.names, name, node)
        self._pending.append(change)

    def _sync(self, node: Node) -> None:
        if isinstance(node, File):
            node.synced, node.pending = node.content(node.pending), []
        elif isinstance(node, Folder):
            done = self._touching(node)
            for change in done:
                for folder, name, target in change:
                    _set(folder.synced, name, target)
            kept = {id(change) for change in done}
            self._pending = [change for change in self._pending if id(change) not in kept]

    def _touching(self, folder: Folder) -> list[Change]:
        """The pending changes that syncing a folder makes durable: its own, and what a rename from or to it draws in."""
        last: dict[int, int] = {id(folder): len(self._pending)}  # folder -> changes before this index are meant
        while True:
            chosen = [
                (index, change)
                for index, change in enumerate(self._pending)
                if any(index < last.get(id(one), 0) for one, _, _ in change)
            ]
            grown = dict(last)
            for index, change in chosen:
                for one, _, _ in change:
                    grown[id(one)] = max(grown.get(id(one), 0), index + 1)
            if grown == last:
                return [change for _, change in chosen]
            last = grown


def write(tree: Tree, folder: Path) -> None:
    """Make the folder, which must not exist, hold a tree."""
    folder.mkdir(parents=True)
    for name, content in sorted(tree.items()):  # a folder comes before what is in it
        path = folder / name
        if content is None:
            path.mkdir()
        elif isinstance(content, str):
            path.symlink_to(content)
        else:
            path.write_bytes(content)


def read(folder: Path) -> Tree:
    """What a folder holds."""
    return {
        path.relative_to(folder).as_posix(): str(path.readlink())
        if path.is_symlink()
        else None
        if path.is_dir()
        else path.read_bytes()
        for path in folder.rglob("*")
    }


def _set(names: dict[str, Node], name: str, node: Node | None) -> None:
    if node is None:
        names.pop(name, None)
    else:
        names[name] = node


def _kept_changes(pending: list[Change], loss: Loss, rng: random.Random) -> list[Change]:
    if loss == Loss.LATER:
        return pending[: rng.randint(0, len(pending))]
    share = rng.choice((0.2, 0.5, 0.8, 1.0))
    kept, cut_short = [], set[int]()  # ordered folders of which a change was lost
    for change in pending:
        ordered = {id(folder) for folder, _, _ in change if folder.ordered}
        if rng.random() < (share**0.25 if ordered else share) and not ordered & cut_short:
            kept.append(change)
        else:
            cut_short |= ordered
    return kept


def _kept_writes(file: File, rng: random.Random) -> list[tuple[int, bytes | None]]:
    """Some of the writes, in order, and of some of those only some sectors."""
    share = rng.choice((0.0, 0.5, 0.9, 1.0)) if file.pending else 0.0
    kept: list[tuple[int, bytes | None]] = []
    for offset, data in file.pending:
        if rng.random() >= share:
            continue
        if data is None or rng.random() < 0.8:
            kept.append((offset, data))
        else:
            kept += [(offset + start, data[start:end]) for start, end in _sectors(offset, len(data)) if rng.random() < 0.5]
    return kept


def _sectors(offset: int, size: int) -> Iterator[tuple[int, int]]:
    start = 0
    while start < size:
        end = min(size, start + SECTOR_BYTES - (offset + start) % SECTOR_BYTES)
        yield start, end
        start = end


def _walk(
    top: Folder, names: Callable[[Folder], dict[str, Node]], content: Callable[[File], bytes], prefix: str = ""
) -> Iterator[tuple[str, bytes | str | None]]:
    for name, node in names(top).items():
        path = f"{prefix}{name}"
        if isinstance(node, Folder):
            yield path, None
            yield from _walk(node, names, content, f"{path}/")
        else:
            yield path, node.target if isinstance(node, Link) else content(node)

"""Takes one sync or rename of Outcrop's away, to see whether the sweep notices.

Where they are is found by running a workload: a *site* is the line of Outcrop's that asks the system, with the lines that led to
it as far as they lie in the modules that everyone uses for it. SQLite is told by Outcrop to sync, so its `PRAGMA synchronous` is a
site too.
"""

from __future__ import annotations

import ast
import functools
import os
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import outcrop

_SOURCE = Path(outcrop.__file__).resolve().parent
_SHARED = ("files.py", "sqlite_files.py")
_PRAGMA = re.compile(r"\s*PRAGMA\s+(synchronous\s*=|wal_checkpoint)", re.IGNORECASE)
_CALLS = {"fsync", "sync_descriptor", "sync_file", "sync_folder", "replace", "rename"}


class Step(NamedTuple):
    """One line on the way."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.function}"


class Site(NamedTuple):
    """What is asked, and the lines that lead there, innermost first."""

    what: str
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return f"{self.what} in {' from '.join(map(str, self.steps))}"


Watch = Callable[[Site], bool]
"""Is told of a site about to be passed; whether the call is to be left out."""


def watch(told: Watch) -> None:
    """From now on, in this process, ask before every sync and rename of Outcrop's. For a process made for it."""
    for name in ("fsync", "replace", "rename"):
        setattr(os, name, _asking(name, getattr(os, name), told))
    real = sqlite3.connect

    class Connection(sqlite3.Connection):
        def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
            found = _PRAGMA.match(statement)
            if found and (site := _site(statement.strip())) is not None and told(site):
                statement = "SELECT 0" if "checkpoint" in found[1] else "PRAGMA synchronous = OFF"
            return super().execute(statement, *values)

    sqlite3.connect = functools.partial(real, factory=Connection)  # type: ignore[assignment]


def without_lines(site: str) -> str:
    """A site's description as it is after changes elsewhere in its files."""
    return re.sub(r":\d+ ", " ", site)


def without(removed: Site) -> None:
    """From now on, in this process, leave one site out."""
    watch(lambda site: site == removed)


def listed(seen: set[Site]) -> None:
    """From now on, in this process, collect the sites that are passed."""

    def told(site: Site) -> bool:
        seen.add(site)
        return False

    watch(told)


def written_down() -> Iterator[Step]:
    """Every line of Outcrop's that syncs or renames, by its looks."""
    for path in sorted(_SOURCE.rglob("*.py")):
        name = path.relative_to(_SOURCE).as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef):
                yield from (Step(name, line, function.name) for line in sorted(_lines(function)))


def _lines(function: ast.FunctionDef) -> Iterator[int]:
    for node in ast.walk(function):
        if isinstance(node, ast.Call):
            called = node.func
            named = called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""
            texts = [one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
            renames = named not in ("replace", "rename") or not texts  # a text's `replace` has texts
            by_struct = isinstance(called, ast.Attribute) and ast.unparse(called.value) in ("msgspec.structs", "dataclasses")
            if (named in _CALLS and renames and not by_struct) or (named == "execute" and any(map(_PRAGMA.match, texts))):
                yield node.lineno


def _asking(name: str, real: Callable[..., Any], told: Watch) -> Callable[..., Any]:
    def asked(*arguments: Any, **named: Any) -> Any:
        site = _site(name)
        return None if site is not None and told(site) else real(*arguments, **named)

    return asked


def _site(what: str) -> Site | None:
    steps = []
    frame = sys._getframe(2)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(_SOURCE):
            name = path.relative_to(_SOURCE).as_posix()
            steps.append(Step(name, frame.f_lineno, frame.f_code.co_name))
            if name not in _SHARED:
                break
        frame = frame.f_back  # type: ignore[assignment]
    return Site(what, tuple(steps)) if steps else None

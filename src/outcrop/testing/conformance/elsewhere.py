"""Other processes: one that reads while this one writes, and those that die at a bad moment."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from outcrop.engines.protocol import Engine
from outcrop.model import Recipe
from outcrop.testing.conformance.generation import Generation, Item, seen

_DIED = 17
_CHILD = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer);"
    " run, arguments = pickle.load(sys.stdin.buffer); run(*arguments)"
)


class Reader:
    """A process that has a generation open."""

    def __init__(self, generation: Generation) -> None:
        self._process = _started(_report, generation.engine, generation.recipe, generation.directory)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"open\n", "another process cannot open the generation"

    def seen(self) -> tuple[int, list[int], list[int]]:
        """The sequence of a new snapshot there, and the slots that its legs find, in ascending order."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"now\n")
        self._process.stdin.flush()
        sequence, lexical, nearest = json.loads(self._process.stdout.readline())
        return sequence, lexical, nearest

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def write_and_die(generation: Generation, put: Sequence[Item]) -> None:
    """Let another process write, and die the moment that its write has returned."""
    assert _ended(_write, generation.engine, generation.recipe, generation.directory, list(put)) == _DIED


def absorb_and_die(generation: Generation, entered: int) -> bool:
    """Let another process absorb, and die when it enters `publishing` for the `entered`th time. False if it ends before that."""
    return _ended(_absorb, generation.engine, generation.recipe, generation.directory, entered) == _DIED


def _report(engine: Engine, recipe: Recipe, directory: Path) -> None:
    generation = Generation(engine, recipe, directory)
    _say("open")
    for _ in sys.stdin.buffer:
        snapshot = generation.index.snapshot()
        found = seen(snapshot, recipe.dimension)
        _say(json.dumps([snapshot.sequence, sorted(found.lexical), sorted(found.nearest)]))
    generation.close()


def _write(engine: Engine, recipe: Recipe, directory: Path, put: Sequence[Item]) -> None:
    Generation(engine, recipe, directory).write(put)
    os._exit(_DIED)


def _absorb(engine: Engine, recipe: Recipe, directory: Path, entered: int) -> None:
    count = 0

    @contextmanager
    def publishing() -> Iterator[None]:
        nonlocal count
        count += 1
        if count == entered:
            os._exit(_DIED)
        yield

    Generation(engine, recipe, directory).index.absorb(publishing, keep_seconds=-1.0)
    os._exit(0)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _started(run: Callable[..., None], *arguments: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", _CHILD]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 - our own program
    assert process.stdin is not None
    process.stdin.write(pickle.dumps(sys.path) + pickle.dumps((run, arguments)))
    process.stdin.flush()
    return process


def _ended(run: Callable[..., None], *arguments: Any) -> int:
    process = _started(run, *arguments)
    process.communicate()
    return process.returncode

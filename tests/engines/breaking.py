"""Makes engines that break one promise each, and a suite for each of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from outcrop.engines.builtin import BuiltinEngine
from outcrop.engines.protocol import Ranking
from outcrop.model import Recipe
from outcrop.testing.conformance import EngineSuite


class Snapshot:
    """A snapshot of the built-in engine; faults derive from it."""

    def __init__(self, inner: Any, index: Index) -> None:
        self.inner, self.index = inner, index

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Index:
    """An index of the built-in engine; faults derive from it."""

    snapshots: type[Snapshot] | None = None

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def snapshot(self) -> Any:
        made = self.inner.snapshot()
        return made if self.snapshots is None else self.snapshots(made, self)


class Engine(BuiltinEngine):
    """The built-in engine; faults derive from it, or from its index or snapshot."""

    indexes: type[Index] | None = None

    def create(self, recipe: Recipe, directory: Path) -> Any:
        return self._wrapped(super().create(recipe, directory))

    def open(self, recipe: Recipe, directory: Path) -> Any:
        return self._wrapped(super().open(recipe, directory))

    def _wrapped(self, index: Any) -> Any:
        return index if self.indexes is None else self.indexes(index)


def fails(*tests: str, needs: tuple[str, ...] = ()) -> Callable[[type], type]:
    """Make a suite for an engine with this fault, in which these tests must fail."""

    def made(fault: type) -> type:
        module = sys.modules[fault.__module__]  # where other processes find the classes by their names
        engine = fault
        if issubclass(fault, Snapshot):
            index = type(f"{fault.__name__}Index", (Index,), {"snapshots": fault, "__module__": module.__name__})
            engine = type(f"{fault.__name__}Engine", (Engine,), {"indexes": index, "__module__": module.__name__})
        elif issubclass(fault, Index):
            engine = type(f"{fault.__name__}Engine", (Engine,), {"indexes": fault, "__module__": module.__name__})
        setattr(module, engine.__name__, engine)
        name = f"Test{fault.__name__}"
        facts = {"engine": engine(), "needs": needs, "must_fail": tests, "__module__": module.__name__}
        setattr(module, name, type(name, (EngineSuite,), facts))
        return fault

    return made


def kept(ranking: Ranking, chosen: Any) -> Ranking:
    return Ranking(slots=ranking.slots[chosen], scores=ranking.scores[chosen])

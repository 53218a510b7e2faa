"""What a gate found: its checks, the report of all of them, and what a check of one's own is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from outcrop.errors import GateFailed
from outcrop.evaluation import JudgedQueries
from outcrop.judging.sides import Search
from outcrop.judging.tables import aligned
from outcrop.model import Document, GenerationInfo


class GateCheck(msgspec.Struct, frozen=True):
    """One check: its name, whether it passed, what was found and what the limit was, in words; and the same as JSON values."""

    name: str
    passed: bool
    found: str = ""
    limit: str = ""
    values: dict[str, Any] = {}


class GateReport(msgspec.Struct, frozen=True):
    """What a gate found about a generation, held against the active one (None if there was none).

    `passed` if every check did. `str()` is a table, `to_dict()` JSON values, from which `msgspec.convert` makes the report again.
    """

    generation: int
    active: int | None
    passed: bool
    checks: tuple[GateCheck, ...]

    @property
    def failed(self) -> tuple[GateCheck, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks if not check.passed)

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return values

    def __str__(self) -> str:
        against = "" if self.active is None else f" against generation {self.active}"
        result = "passed" if self.passed else f"{len(self.failed)} of {len(self.checks)} checks failed"
        rows = [["passed" if check.passed else "FAILED", check.name, check.limit, check.found] for check in self.checks]
        title = f"gate of generation {self.generation}{against}: {result}"
        return f"{title}\n{aligned([['', 'check', 'limit', 'found'], *rows])}" if rows else title


class GateContext(msgspec.Struct, frozen=True, eq=False):
    """What a check of one's own is given.

    `candidate` is the generation that is to be promoted, `active` the one that serves now, or None. `search` searches the
    candidate and `search_active` the active one, with `query`, `vector`, `k`, `mode`, `where` and `candidates` as
    `Collection.search` takes them. `get` gives the candidate's documents by id, unknown ones left out. `queries` are the gate's.
    """

    candidate: GenerationInfo
    active: GenerationInfo | None
    search: Search
    search_active: Search | None
    get: Callable[[Sequence[str]], list[Document]]
    queries: JudgedQueries | None


def refusal(report: GateReport, collection: str) -> GateFailed:
    """The error of a promotion that a gate refused."""
    failed = "; ".join(f"{check.name}: {check.found}{f' (limit: {check.limit})' if check.limit else ''}" for check in report.failed)
    return GateFailed(
        f"generation {report.generation} of collection {collection!r} was not promoted, and searches are as they were:"
        f" {len(report.failed)} of {len(report.checks)} checks failed: {failed}."
        " Build it anew, widen the gate, or promote it with force=True.",
        report=report,
        collection=collection,
        generation=report.generation,
    )

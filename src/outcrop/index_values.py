"""Values about the vector index: which one is wanted, what it shall reach, how it was chosen and what it was found to miss."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Literal, get_args

import msgspec

from outcrop.errors import InvalidConfig

IndexKind = Literal["auto", "flat", "hnsw", "ivf_flat", "ivf_sq", "ivf_pq", "ivf_rq"]


class IndexSpec(msgspec.Struct, frozen=True):
    """Which vector index to build. `auto` chooses by size; a parameter that is None is chosen from the data.

    Not every engine has every kind: the built-in one lacks `ivf_sq` and `ivf_rq`, and a build that asks it for one is refused.

    Raises `InvalidConfig` for an unknown kind, or a parameter that is no whole number of at least 1.

    `m`, `ef_construction`, `ef_search` are HNSW's; `nlist`, `nprobe` are IVF's; `pq_bytes` is the code size of `ivf_pq` in bytes,
    `refine` how many of the rows that its codes propose are scored by their vectors (the built-in engine's).
    """

    kind: IndexKind = "auto"
    m: int | None = None
    ef_construction: int | None = None
    ef_search: int | None = None
    nlist: int | None = None
    nprobe: int | None = None
    pq_bytes: int | None = None
    refine: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(IndexKind):
            near = get_close_matches(str(self.kind), get_args(IndexKind), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise InvalidConfig(
                f"index {self.kind!r} is unknown{hint if hint else '.'} There are: {', '.join(get_args(IndexKind))}", key="index"
            )
        for name in ("m", "ef_construction", "ef_search", "nlist", "nprobe", "pq_bytes", "refine"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**31):
                raise InvalidConfig(f"index parameter {name} is {value!r}; it must be a whole number from 1 to 2^31 - 1", key=name)


OptimizeFor = Literal["latency", "memory", "build"]
TARGET_RECALL = 0.97


class RecallGoal(msgspec.Struct, frozen=True):
    """The recall@10 that a vector index shall reach, and what is to be least among those that reach it.

    Raises `InvalidConfig` for a recall that is not above 0 and at most 1, and for another word than the three.
    """

    target_recall: float = TARGET_RECALL
    optimize_for: OptimizeFor = "latency"

    def __post_init__(self) -> None:
        recall = self.target_recall
        if isinstance(recall, bool) or not isinstance(recall, int | float) or not 0 < recall <= 1:
            raise InvalidConfig(
                f"target_recall is {recall!r}; give a number above 0 and up to 1, such as 0.97", key="target_recall"
            )
        if self.optimize_for not in get_args(OptimizeFor):
            raise InvalidConfig(
                f"optimize_for is {self.optimize_for!r}; use {', '.join(map(repr, get_args(OptimizeFor)))}", key="optimize_for"
            )


class RecallPoint(msgspec.Struct, frozen=True):
    """A point of the curve: so searched, an index has this recall@10, and a search takes so long (median, one thread)."""

    kind: str
    parameters: dict[str, int]
    recall: float
    microseconds: float


class IndexChoice(msgspec.Struct, frozen=True):
    """How a vector index was chosen when it was sealed.

    `recall` is recall@10 against exact search on queries that took no part in the choice, and `met` whether it reaches
    `target_recall`; `queries` says what they were. `curve` holds what was tried, on the queries that chose; empty for exact search.
    """

    target_recall: float
    optimize_for: OptimizeFor
    recall: float
    met: bool
    reason: str
    queries: str
    curve: tuple[RecallPoint, ...]


class LiveRecall(msgspec.Struct, frozen=True):
    """The recall@`k` of real searches by vector, of which a `share` is run again exactly, in this process.

    `recall` is the mean over `searches` of them, and `lowest` that of the worst (None before the first); `dropped` were not run,
    because too many waited or their index was closed. `since` is when the first one was taken (UTC, ISO 8601).
    """

    k: int
    share: float
    since: str
    searches: int
    dropped: int
    recall: float | None
    lowest: float | None

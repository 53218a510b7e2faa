"""What is known of a part's vector index, and what a search of it costs."""

from __future__ import annotations

from math import ceil
from typing import Any

import msgspec

from outcrop.index_values import IndexChoice

# What a search costs, in rows scored one by one where they lie: an HNSW walk about 12 per unit of ef; a row that is read in
# sequence a quarter. Fast-scan has its tables to make, and then codes of a quarter of a byte a number cost little: half of 100,000
# x 256 takes 0.37 ms where all of them take 0.54, and where a walk with ef 400 takes 1.2.
_ROWS_PER_EF = 12
_ROWS_PER_SCANNED = 0.25
_ROWS_OF_TABLES = 600
_ROWS_PER_CODE = 0.012
_DEFAULT_CODE_SHARE = 4
_ONE_QUERY_AT_A_TIME = 10  # a tenth quicker than what FAISS takes by itself, which is made for batches


class VectorFacts(msgspec.Struct, frozen=True):
    """What was really built, which may be less than what was asked for: a part of few rows is always `flat`.

    `kind` is flat, hnsw, ivf_flat or ivf_pq. `parameters` are those of the kind, as in `IndexSpec`. `recall` is recall@10
    against exact search, measured on queries that took no part in choosing the parameters (1.0 for `flat`).
    `index_size_bytes` is the size of index.faiss, 0 for `flat`. `choice` says why it is this one (absent in older parts).
    An `ivf_pq` without `refine` among its parameters was written by an older version: codes of 8 bits, no fast-scan.
    """

    kind: str
    row_count: int
    dimension: int
    parameters: dict[str, int]
    recall: float
    index_size_bytes: int = 0
    choice: IndexChoice | None = None

    @property
    def is_fast_scan(self) -> bool:
        """Whether its codes have 4 bits and are compared many at a time."""
        return self.kind == "ivf_pq" and "refine" in self.parameters


def set_effort(index: Any, facts: VectorFacts) -> None:
    """Make the index search as hard as the facts say, whatever its file says."""
    if facts.kind == "hnsw":
        index.hnsw.efSearch = facts.parameters["ef_search"]
    else:
        index.nprobe = facts.parameters["nprobe"]
    if facts.is_fast_scan:
        index.implem = _ONE_QUERY_AT_A_TIME


def work(facts: VectorFacts, k: int, *, widened: float = 1.0) -> float:
    """What a search for `k` rows costs, in rows scored one by one; `widened` times as hard, to make up for a filter."""
    fetched = fetched_count(facts, k)
    if facts.kind == "flat":
        return facts.row_count * _ROWS_PER_SCANNED
    if facts.kind == "hnsw":
        return float(_ROWS_PER_EF * max(facts.parameters["ef_search"] * widened, fetched))
    nlist = facts.parameters["nlist"]
    scanned = facts.row_count * min(1.0, facts.parameters["nprobe"] * widened / nlist)
    coarse = _ROWS_PER_SCANNED * nlist
    if not facts.is_fast_scan:
        return coarse + _ROWS_PER_SCANNED * scanned + fetched
    share = facts.parameters["pq_bytes"] * _DEFAULT_CODE_SHARE / facts.dimension
    return coarse + share * (_ROWS_OF_TABLES + _ROWS_PER_CODE * scanned) + fetched


def fetched_count(facts: VectorFacts, k: int) -> int:
    """How many rows to take from the index, so that the k best by their true score are among them."""
    if facts.kind in ("flat", "ivf_flat"):
        return k
    if facts.is_fast_scan:
        return min(max(facts.parameters["refine"], ceil(1.5 * k)), facts.row_count)
    spare = 4 * k + 64 if facts.kind == "ivf_pq" else k // 8 + 16
    return min(k + spare, facts.row_count)

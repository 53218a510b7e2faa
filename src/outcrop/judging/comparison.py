"""What a comparison of two generations says, as values and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from outcrop.evaluation import Verdict
from outcrop.judging.latency import Latency
from outcrop.judging.tables import aligned, clipped, named_ids

_SHOWN = 10


class GenerationFigures(msgspec.Struct, frozen=True):
    """One of the two generations in figures. Documents and chunks are those alive now; the size is that of its folder, in bytes.

    `ndcg_at_10` is the mean over the judged queries, None if there are none; `latency` is None without queries.
    """

    number: int
    uuid: str
    document_count: int
    chunk_count: int
    size_bytes: int
    ndcg_at_10: float | None
    latency: Latency | None


class IdSample(msgspec.Struct, frozen=True):
    """How many documents, and the ids of at most 20 of them, in their order."""

    count: int
    examples: tuple[str, ...]


class DocumentChanges(msgspec.Struct, frozen=True):
    """What became of the documents on the way from `a` to `b`.

    `appeared` are in `b` only, `vanished` in `a` only. Of those in both, `text_changed` have another text or title, and
    `metadata_changed` another source or other metadata.
    """

    appeared: IdSample
    vanished: IdSample
    text_changed: IdSample
    metadata_changed: IdSample


class QueryComparison(msgspec.Struct, frozen=True):
    """One query's answers, cut at the best `k` documents.

    `overlap` is the share of documents that both have, `rbo` the rank-biased overlap. `unchanged`: the same documents in the same
    order. `moved_in` are the documents that only `b` found, `moved_out` those that only `a` found, best first. The two nDCG@10 are
    None for a query that is not judged.
    """

    query_id: str
    query: str
    overlap: float
    rbo: float
    unchanged: bool
    moved_in: tuple[str, ...]
    moved_out: tuple[str, ...]
    ndcg_at_10_a: float | None
    ndcg_at_10_b: float | None


class QueryChanges(msgspec.Struct, frozen=True):
    """What became of the answers: means over all queries, and each query, the most changed (lowest `rbo`) first.

    `verdict` compares the nDCG@10 of `b` with that of `a` over the judged queries; None if there are none.
    """

    name: str
    k: int
    overlap: float
    rbo: float
    unchanged_share: float
    verdict: Verdict | None
    per_query: tuple[QueryComparison, ...]


class Comparison(msgspec.Struct, frozen=True):
    """What would change if `b` served instead of `a`. `str()` is a table, `to_dict()` JSON values.

    `recipe` says in words what differs in how they are made. `queries` is None if none were given. `notes` are sentences on what
    the figures do not show.
    """

    a: GenerationFigures
    b: GenerationFigures
    recipe: tuple[str, ...]
    documents: DocumentChanges
    queries: QueryChanges | None
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return values

    def __str__(self) -> str:
        parts = [_figures(self), "\n".join(_changes(self))]
        if self.queries is not None:
            parts.append(_most_changed(self.queries))
        return "\n\n".join(part for part in parts if part)


def _figures(found: Comparison) -> str:
    sides = (found.a, found.b)
    rows = [
        ["generation", *(str(side.number) for side in sides)],
        ["documents", *(f"{side.document_count:,}" for side in sides)],
        ["chunks", *(f"{side.chunk_count:,}" for side in sides)],
        ["size", *(f"{side.size_bytes / 1e6:,.1f} MB" for side in sides)],
        ["nDCG@10", *("" if side.ndcg_at_10 is None else f"{side.ndcg_at_10:.3f}" for side in sides)],
        ["p50 latency", *("" if side.latency is None else f"{side.latency.p50_ms:.2f} ms" for side in sides)],
        ["p95 latency", *("" if side.latency is None else f"{side.latency.p95_ms:.2f} ms" for side in sides)],
    ]
    return aligned([row for row in rows if any(row[1:])], right=(1, 2))


def _changes(found: Comparison) -> list[str]:
    lines = [f"recipe     {change}" for change in found.recipe or ("the same",)]
    lines += [f"documents  {change}" for change in _document_lines(found.documents) or ("the same",)]
    queries = found.queries
    if queries is not None:
        lines.append(
            f"queries    {len(queries.per_query):,}, the best {queries.k}: mean overlap {queries.overlap:.3f},"
            f" mean rank-biased overlap {queries.rbo:.3f}, {queries.unchanged_share:.1%} unchanged"
        )
        lines += [] if queries.verdict is None else [f"judged     {queries.verdict}"]
    return lines + [f"note       {note}" for note in found.notes]


def _document_lines(documents: DocumentChanges) -> list[str]:
    kinds = (
        ("appeared", documents.appeared),
        ("vanished", documents.vanished),
        ("with another text or title", documents.text_changed),
        ("with another source or other metadata", documents.metadata_changed),
    )
    return [f"{sample.count:,} {what}{named_ids(sample.examples, sample.count)}" for what, sample in kinds if sample.count]


def _most_changed(queries: QueryChanges) -> str:
    changed = [one for one in queries.per_query if not one.unchanged]
    if not changed:
        return ""
    rows = [["rbo", "overlap", "nDCG@10", "query", "moved in", "moved out"]]
    rows += [
        [
            f"{one.rbo:.2f}",
            f"{one.overlap:.2f}",
            "" if one.ndcg_at_10_a is None else f"{one.ndcg_at_10_a:.2f} -> {one.ndcg_at_10_b:.2f}",
            clipped(one.query, 32),
            _few(one.moved_in),
            _few(one.moved_out),
        ]
        for one in changed[:_SHOWN]
    ]
    more = f"\n{len(changed) - _SHOWN:,} more queries changed" if len(changed) > _SHOWN else ""
    return f"{aligned(rows, right=(0, 1))}{more}"


def _few(ids: Sequence[str]) -> str:
    return clipped(", ".join(ids), 17) if ids else "-"

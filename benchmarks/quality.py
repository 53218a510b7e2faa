"""How good are the answers, per leg and for the hybrid, with each embedder?

Measured: nDCG@10, recall@100 and MRR@10 through the public API with default settings, on judged collections; the hybrid with the
default fusion (weighted) and with reciprocal rank fusion; and the 95 % interval of the hybrid's difference to its better leg.
Corpus: ../shared/data/scifact, cranfield, cisi (BEIR layout). Nothing is random but the bootstrap (seed 17).
Run: python -m benchmarks.quality [--minilm]     With `--minilm` the transformer too: about 9 minutes on 2 cores, the first time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import outcrop
from benchmarks.common import CACHE, DATA, markdown_table, settings
from outcrop import Collection, evaluation

SETS = ("scifact", "cranfield", "cisi")
_COLUMNS = ("set", "embedder", "search", "nDCG@10", "recall@100", "MRR@10", "ms a query", "hybrid - better leg", "95 % interval")


def rows(folder: Path, embedder: str, cache: Path) -> list[tuple[Any, ...]]:
    """The rows of one judged set with one embedder."""
    judged = evaluation.load(folder)
    with outcrop.open(cache / "quality") as db:
        name = f"{folder.name}-{embedder}"
        collection = db.collection(name) if name in db.collections() else _built(db, name, folder, embedder)
        weighted = evaluation.evaluate(collection, judged)
        rrf = evaluation.evaluate(collection, judged, fusion="rrf")
    found = [_row(folder.name, embedder, one.mode, one, verdict=None) for one in weighted.modes if one.mode != "hybrid"]
    for fusion, result in (("weighted", weighted), ("rrf", rrf)):
        found.append(_row(folder.name, embedder, f"hybrid, {fusion}", result.mode("hybrid"), verdict=result.verdict))
    return found


def main() -> None:
    """Measure and print a Markdown table."""
    chosen, parsed = settings(
        __doc__, minilm={"action": "store_true", "help": "embed with all-MiniLM-L6-v2 too (slow the first time)"}
    )
    data = chosen.data or DATA
    present = [data / name for name in SETS if (data / name / "qrels").is_dir()]
    if not present:
        raise SystemExit(f"there is no judged collection in {data}: give its folder with --data")
    embedders = ["static", "minilm"] if parsed.minilm else ["static"]
    table = [row for folder in present for embedder in embedders for row in rows(folder, embedder, chosen.cache or CACHE)]
    print(markdown_table(_COLUMNS, table))


def _built(db: outcrop.Database, name: str, folder: Path, embedder: str) -> Collection:
    collection = db.create_collection(name, embedder=embedder)
    collection.build(folder, promote=True)
    return collection


def _row(
    name: str, embedder: str, search: str, found: evaluation.ModeEvaluation, *, verdict: evaluation.Verdict | None
) -> tuple[Any, ...]:
    query_ms = 1000 * found.took_seconds / found.query_count
    difference = ("", "") if verdict is None else (f"{verdict.difference:+.3f}", f"{verdict.low:+.3f} to {verdict.high:+.3f}")
    return (name, embedder, search, found.ndcg_at_10, found.recall_at_100, found.mrr_at_10, query_ms, *difference)


if __name__ == "__main__":
    main()

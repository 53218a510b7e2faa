"""How long until a fresh process has its first answer?

Measured: importing Outcrop; then opening a database of 100,000 chunks and its collection, and answering one lexical query, or one
hybrid query whose text is embedded (so that the embedder is loaded); then a second query. Each in processes of their own that
take turns; the files are in the operating system's cache after the first round, which is not counted.
Corpus: the first 100,000 of ../shared/data/text (generated ones where it is absent), embedder `static`, default recipe. Seed 20260.
Run: python -m benchmarks.opening
"""

from __future__ import annotations

import numpy as np

from benchmarks.common import COLLECTION, Result, Settings, Target, open_cached, run_child, settings

CHUNK_COUNT = 100_000
TARGET_MS = 100
_ROUNDS = 7
_MODES = ("lexical", "hybrid")


def measure(chosen: Settings) -> Result:
    """The result, from fresh processes."""
    db, collection = open_cached(chosen, min(CHUNK_COUNT, chosen.limit))
    path, chunk_count = str(db.path), collection.stats().chunk_count
    db.close()
    found: dict[str, list[dict[str, float]]] = {mode: [] for mode in _MODES}
    for _ in range(_ROUNDS + 1):
        for mode in _MODES:
            found[mode].append(run_child("benchmarks.first_answer", path, COLLECTION, mode))
    rows = tuple((mode, *_summary(found[mode][1:])) for mode in _MODES)
    lexical_ms = _summary(found["lexical"][1:])[4]
    return Result(
        question="How long until a fresh process has its first answer?",
        corpus=f"{chunk_count:,} chunks; the median of {_ROUNDS} processes for each row",
        columns=(
            "query",
            "import ms",
            "open ms",
            "first query ms",
            "second query ms",
            "open + first ms",
            "slowest open + first ms",
        ),
        rows=rows,
        targets=(
            Target(name="open and first lexical query, ms", found=lexical_ms, wanted=f"< {TARGET_MS}", met=lexical_ms < TARGET_MS),
        ),
    )


def _summary(samples: list[dict[str, float]]) -> tuple[float, ...]:
    medians = [float(np.median([sample[step] for sample in samples])) for step in ("import", "open", "first", "second")]
    totals = [sample["open"] + sample["first"] for sample in samples]
    return (*medians, float(np.median(totals)), max(totals))


if __name__ == "__main__":
    print(measure(settings(__doc__)[0]).markdown())

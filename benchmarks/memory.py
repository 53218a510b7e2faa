"""Where does the memory of a process go that searches, and how much more does LanceDB with the built-in fallback take?

Measured: the resident memory of a process of its own for each mode after each step: importing Outcrop, importing the engine's
libraries (of mode production: LanceDB and PyArrow too), opening a database, one hybrid query, 400 of them one after the other. It
is divided into the process's own (the heap and the like) and pages of mapped files (indexes and libraries,
which the system takes back when it needs them). Both modes open the same generation, built in mode production. Linux only.
Corpus: the first 100,000 of ../shared/data/text (generated ones where it is absent), embedder `static`, chunker `none`. Seed 20260.
Run: python -m benchmarks.memory
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from pathlib import Path
from typing import Any

from benchmarks.common import COLLECTION, Result, Settings, Target, documents, queries, run_child, settings

COUNT_MAX = 100_000
QUERY_COUNT = 400
RATIO_TARGET = 1.5
MODES = ("mvp_only", "production")
_ROLLUP = Path("/proc/self/smaps_rollup")
_MEGABYTE = 1_000_000


def measure(chosen: Settings) -> Result:
    """The result: a row for each step."""
    count = min(COUNT_MAX, chosen.limit)
    columns = ("after", *(f"{mode}, {part} MB" for mode in MODES for part in ("own", "files")), "own, ratio", "all, ratio")
    question = "Where does the memory of a process go that searches?"
    corpus = f"{count:,} of {chosen.corpus}; {QUERY_COUNT} hybrid queries"
    if importlib.util.find_spec("lancedb") is None or not _ROLLUP.exists():
        return Result(question=question, corpus=corpus, columns=columns, rows=(), targets=(), notes=("needs LanceDB and Linux",))
    folder = chosen.cache / "memory"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        _child(chosen, "production", folder, build=True)
        found = {mode: _child(chosen, mode, folder)["steps"] for mode in MODES}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    rows = tuple(_row(step, *(found[mode][step] for mode in MODES)) for step in found[MODES[0]])
    ratio = rows[-1][-1]
    return Result(
        question=question,
        corpus=corpus,
        columns=columns,
        rows=rows,
        targets=(
            Target(name="memory of production over mvp_only", found=ratio, wanted=f"<= {RATIO_TARGET}", met=ratio <= RATIO_TARGET),
        ),
        notes=(),
    )


def _row(step: str, one: list[float], other: list[float]) -> tuple[Any, ...]:
    return (step, *(size / _MEGABYTE for size in (*one, *other)), other[0] / one[0], sum(other) / sum(one))


def _child(chosen: Settings, mode: str, folder: Path, *, build: bool = False) -> dict[str, Any]:
    data = ("--data", str(chosen.data)) if chosen.data else ("--data", "none")
    more = ("--limit", str(chosen.limit), "--seed", str(chosen.seed))
    return run_child(
        "benchmarks.memory", "--child", mode, "--doing", "build" if build else "search", "--folder", str(folder), *data, *more
    )


def _resident() -> tuple[float, float]:
    """Bytes of the process's own, and of mapped files."""
    sizes = {name: 1024 * int(size) for name, size in re.findall(r"^(\w+):\s+(\d+) kB$", _ROLLUP.read_text(), re.MULTILINE)}
    return sizes["Anonymous"], sizes["Rss"] - sizes["Anonymous"]


def _searched(chosen: Settings, mode: str, folder: Path, steps: dict[str, tuple[float, float]]) -> None:
    import outcrop

    steps["importing NumPy and Outcrop"] = _resident()
    if mode == "production":
        from outcrop.engines.lancedb import library

        library.lancedb()
    steps["importing LanceDB and PyArrow"] = _resident()
    texts = queries(chosen, QUERY_COUNT)
    config = getattr(outcrop.Config, mode)(background=False)
    with outcrop.open(folder / "kb", config=config) as db:
        collection = db.collection(COLLECTION)
        collection.search(texts[0], mode="lexical", cache=False)
        steps["opening, one query by words"] = _resident()
        collection.search(texts[0], cache=False)
        steps["one hybrid query"] = _resident()
        for text in texts:
            hits = collection.search(text, cache=False)
            if (hits.engine == "lancedb") != (mode == "production"):
                raise SystemExit(f"{hits.engine} answers in mode {mode}: {hits.degraded}")
        steps[f"{QUERY_COUNT} hybrid queries"] = _resident()


def _built(chosen: Settings, folder: Path) -> None:
    import outcrop

    with outcrop.open(folder / "kb", config=outcrop.Config.production(background=False)) as db:
        collection = db.create_collection(COLLECTION, embedder="static", chunker="none")
        collection.build(documents(chosen, min(COUNT_MAX, chosen.limit)), promote=True)


def main() -> None:
    """Measure and print; or, as a child, build or search and print JSON."""
    chosen, parsed = settings(__doc__, child={}, doing={}, folder={"type": Path})
    if parsed.child is None:
        print(measure(chosen).markdown())
        return
    steps: dict[str, tuple[float, float]] = {}
    if parsed.doing == "build":
        _built(chosen, parsed.folder)
    else:
        _searched(chosen, parsed.child, parsed.folder, steps)
    print(json.dumps({"steps": steps}))


if __name__ == "__main__":
    main()

"""Which releases of LanceDB work, with which of PyArrow: `make compat` finds out, and writes docs/compatibility.md.

Needs a package index, some minutes a pair, and about 1 GB a pair in build/compat, where the environments stay.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from outcrop.engines.lancedb import probing
from tests.compat.releases import OLDER_COUNT, Pair, is_pre_release, listed, pairs
from tests.compat.trial import ROOT, Trial, tried

PAGE = ROOT / "docs" / "compatibility.md"
FOLDER = ROOT / "build" / "compat"
_HEAD = """# Which LanceDB works

Written by `make compat`: an environment for each row, `outcrop doctor` in it, and the conformance suite for the LanceDB engine.
The doctor refuses what is older than Outcrop's lower bounds; the suite runs in spite of that, to see whether they are right.
"""
_TAIL = """
*Declared* tests are those that the engine says it cannot pass, with the reason: see
[writing an engine](engines/writing-an-engine.md). A declared test that passes counts as failed, so that the declaration goes.

## What to do

- `pip install 'outcrop[lancedb]'` takes a LanceDB that works: its bounds are those of `pyproject.toml`, and they follow this table.
- `outcrop doctor` says whether the LanceDB that is installed works here, why not, and which command helps. It tries LanceDB out in
  a process of its own, so one that crashes is reported too.
- Without a LanceDB that works, the modes `default` and `production` run on the built-in engine and say so; `lancedb_test` refuses
  to open: see [configuration](configuration.md).
- A new release of LanceDB is tried every week, and the upper bound moves once it passes here. A release may change what its tables
  hold: before you go back to an older one, build a new generation.
"""


def page(trials: Sequence[Trial], notes: Sequence[str] = ()) -> str:
    """The page. What changes with every run stands in the line that begins with *Measured*."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    machine = f"{platform.system()} on {platform.machine()}, {cores} cores, Python {platform.python_version()}"
    lines = ["| LanceDB | PyArrow | Python | the doctor | conformance |", "|---|---|---|---|---|", *map(_row, trials)]
    failing = [f"- {one.pair}: {', '.join(one.counts.first_failed)}" for one in trials if one.counts and one.counts.first_failed]
    more = ["", "The first tests that failed:", "", *failing] if failing else []
    more += ["", *notes] if notes else []
    measured = f"Measured on {time.strftime('%Y-%m-%d', time.gmtime())}: {machine}."
    return "\n".join([_HEAD, measured, "", *lines, *more, _TAIL])


def _row(one: Trial) -> str:
    verdict = one.verdict
    said = one.fault if verdict is None else f"{verdict.word}: {verdict.reason}" if verdict.reason else verdict.word
    arrow = f"{one.pair.pyarrow} (not allowed)" if one.pair.refused else one.pair.pyarrow
    return f"| {one.pair.lancedb} | {arrow} | {one.python} | {said} | {one.counts or 'not run'} |"


def main() -> None:
    """Try all pairs and write the page; exit with 1 if the doctor and the suite disagree about one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--older", type=int, default=OLDER_COUNT, help=f"how many older minor releases (default: {OLDER_COUNT})")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write (default: docs/compatibility.md)")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the environments are made (default: build/compat)")
    parser.add_argument("--together", type=int, default=2, help="how many pairs are tried at once (default: 2)")
    chosen = parser.parse_args()
    lancedb = listed("lancedb")
    folder = chosen.folder.resolve()

    def attempt(pair: Pair) -> Trial:
        found = tried(pair, folder / f"lancedb-{pair.lancedb}-pyarrow-{pair.pyarrow}")
        print(f"{_row(found)}  (set up in {found.set_up_seconds:.0f} s)", flush=True)
        return found

    with ThreadPoolExecutor(chosen.together) as trying:
        trials = list(trying.map(attempt, pairs(lancedb, listed("pyarrow"), probing.PYARROW_MIN[0], chosen.older)))
    none_newer = "The package index lists no pre-release of LanceDB that is newer than its newest release."
    is_ahead = is_pre_release(lancedb[0])
    chosen.page.write_text(page(trials, () if is_ahead else (none_newer,)), "utf-8")
    wrong = [one for one in trials if one.verdict and one.verdict.word == "works" and one.counts and one.counts.failed]
    if wrong:
        raise SystemExit(
            f"the doctor says that it works, the suite says that it does not: {', '.join(str(one.pair) for one in wrong)}"
        )


if __name__ == "__main__":
    main()

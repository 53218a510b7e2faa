"""Has Outcrop become slower? Its ratios to the raw libraries, against a committed baseline.

Measured: p50 of hybrid, vector and lexical search and the seconds of a build over those of raw Tantivy and FAISS, and recall@10, by
`benchmarks.peers` between these two alone. A ratio is lost when even the low end of its spread (a tenth to nine tenths of its ten
blocks) is more than 15 % above the high end of the baseline's. Three rounds are made at most, and only a loss in each fails, so
that a busy moment does not. Ratios differ between kinds of processor, so the baseline has what each made on which it was measured
(--write adds this machine's, or makes it anew); on another one a loss is what is beyond all of them.
Corpus: generated texts, the same everywhere: 100,000, with --quick 20,000. Seed 20260.
Run: python -m benchmarks.check [--quick] [--write]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from benchmarks.common import ROOT, Settings, environment, markdown_table, settings, write_json
from benchmarks.peers.__main__ import FULL, measure
from benchmarks.peers.measuring import Size
from benchmarks.peers.registry import HYBRID, LEXICAL, LIMIT, OUTCROP, VECTOR, entry

BASELINE = ROOT / "benchmarks" / "baseline.json"
LOSS_MAX = 1.15
RECALL_LOSS_MAX = 0.01
ROUNDS = 3
_QUICK_COUNT, _FULL_COUNT = 20_000, 100_000
_QUICK = Size(tuning=50, measured=200, filtered=0, opens=0, rate_seconds=0, rate_rounds=0, upserts=0)
_FULL = FULL._replace(filtered=0, opens=0, rate_rounds=0, upserts=0)


class Ratio(msgspec.Struct, frozen=True):
    """Outcrop over the raw libraries: the median, and the spread."""

    median: float
    low: float
    high: float


def ratios(chosen: Settings) -> dict[str, Ratio]:
    """One round: each ratio, and the recall as a ratio to itself."""
    found = measure(chosen, [entry(OUTCROP), entry(LIMIT)], _QUICK if chosen.quick else _FULL)["peers"]
    for one in (OUTCROP, LIMIT):
        if "failed" in found[one]:
            raise SystemExit(found[one]["failed"])
    ours, raw = found[OUTCROP], found[LIMIT]
    made = {f"{mode} p50": _ratio(ours[mode]["blocks_ms"], raw[mode]["blocks_ms"]) for mode in (HYBRID, VECTOR, LEXICAL)}
    build = ours["build"]["seconds"] / raw["build"]["seconds"]
    recall = ours[VECTOR]["recall"]
    return made | {"build": Ratio(build, build, build), "recall@10": Ratio(recall, recall, recall)}


def lost(name: str, found: Ratio, before: Ratio) -> bool:
    """Whether a ratio has become worse by more than both spreads and the margin."""
    if name == "recall@10":
        return found.median < before.median - RECALL_LOSS_MAX
    return found.low > LOSS_MAX * before.high


def baseline(stored: Sequence[Any], processor: str | None) -> dict[str, Ratio]:
    """What this kind of processor made; of one that is not known, the median of all, and the widest spread."""
    known = [one for one in stored if one["environment"]["processor"] == processor]
    made = [msgspec.convert(one["ratios"], dict[str, Ratio]) for one in known or stored]
    return {name: _widest([one[name] for one in made]) for name in made[0]}


def _widest(found: Sequence[Ratio]) -> Ratio:
    return Ratio(float(np.median([one.median for one in found])), min(one.low for one in found), max(one.high for one in found))


def _ratio(ours: list[float], raw: list[float]) -> Ratio:
    low, median, high = np.percentile(np.array(ours) / np.array(raw), [10, 50, 90]).tolist()
    return Ratio(median, low, high)


def _compared(chosen: Settings, before: dict[str, Ratio]) -> dict[str, list[Ratio]]:
    """The rounds until every ratio was once within its margin."""
    rounds: dict[str, list[Ratio]] = {name: [] for name in before}
    for _ in range(ROUNDS):
        for name, ratio in ratios(chosen).items():
            rounds[name].append(ratio)
        if not _losses(rounds, before):
            break
    return rounds


def _losses(rounds: dict[str, list[Ratio]], before: dict[str, Ratio]) -> list[str]:
    return [name for name, found in rounds.items() if all(lost(name, one, before[name]) for one in found)]


def _written(kind: str, chosen: Settings) -> None:
    """The median of three rounds, with the widest spread among them, beside those of other kinds and of other processors."""
    rounds = [ratios(chosen) for _ in range(ROUNDS)]
    made = {"environment": environment(), "ratios": {name: _widest([one[name] for one in rounds]) for name in rounds[0]}}
    before: dict[str, Any] = msgspec.json.decode(BASELINE.read_bytes()) if BASELINE.exists() else {}
    others = [one for one in before.get(kind, []) if one["environment"]["processor"] != made["environment"]["processor"]]
    write_json(BASELINE, before | {kind: [*others, made]})


def main() -> None:
    """Compare and fail on a loss; or, with --write, make the baseline."""
    write = {"action": "store_true", "help": "make this machine's ratios part of the baseline"}
    asked, parsed = settings(__doc__, write=write)
    count = parsed.limit if parsed.limit is not None else _QUICK_COUNT if asked.quick else _FULL_COUNT
    chosen = msgspec.structs.replace(asked, data=None, limit=count)
    kind = "quick" if asked.quick else "full"
    if parsed.write:
        _written(kind, chosen)
        return
    stored = msgspec.json.decode(BASELINE.read_bytes()) if BASELINE.exists() else {}
    if not stored.get(kind):
        raise SystemExit(f"{BASELINE} has no {kind} baseline: run python -m benchmarks.check --write{' --quick' * asked.quick}")
    before = baseline(stored[kind], environment()["processor"])
    rounds = _compared(chosen, before)
    losses = _losses(rounds, before)
    rows = [(name, before[name].median, before[name].high, found[-1].median, found[-1].low) for name, found in rounds.items()]
    print(markdown_table(("Outcrop over raw", "baseline", "its high end", "now", "its low end"), rows))
    if losses:
        print(f"worse by more than 15 % beyond the spread in {ROUNDS} rounds: {', '.join(losses)}", file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    main()

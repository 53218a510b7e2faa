"""How does Outcrop compare with its peers, and with what the raw libraries allow?

Measured, of each peer in a process of its own with its own clock, ten hits with their texts, vectors given, nothing cached:
hybrid (the 100 best of each leg fused, and the 10 best), vector and lexical: p50, p95, p99, queries a second from 1, 2 and 8
threads; recall@10 of the vector search against exact search; search with filters that select 0.1, 1, 10 and 50 % of the rows, with
its recall; seconds from given vectors to a searchable index; opening and first answer of a fresh process without imports; rows
upserted a second; disk; the most memory of the build and of searching, the process's own and pages of files apart.
Of each peer the least effort (ef or the like) is chosen that has a recall@10 of 0.97 on queries that are not timed; Outcrop keeps
its default. The peers' queries are interleaved by turns of ten; "raw" fuses ranks and reads no text.
Corpus: the first 100,000 of ../shared/data/text (generated ones where it is absent), `static` vectors of 256 numbers. Queries:
titles and first words sampled from the corpus, a third claims of SciFact. Seed 20260.
Run: python -m benchmarks.peers [--quick] [--only "Outcrop,zvec"] [--keep]; then python -m benchmarks.render build/bench/peers.json
"""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from benchmarks.common import Settings, environment, settings, write_json
from benchmarks.peers import measuring
from benchmarks.peers.measuring import WORKLOADS, Size, Workload, effort_of
from benchmarks.peers.preparing import SELECTIVITIES, prepared
from benchmarks.peers.process import PeerFailed, PeerProcess
from benchmarks.peers.registry import ENTRIES, HYBRID, MODES, VECTOR, Entry, entry
from benchmarks.resident import Peak

COUNT_MAX = 100_000
FULL = Size(tuning=60, measured=200, filtered=40, opens=3, rate_seconds=0.7, rate_rounds=2, upserts=3)
QUICK = Size(tuning=50, measured=100, filtered=40, opens=3, rate_seconds=0.5, rate_rounds=2, upserts=3)
TINY = Size(tuning=10, measured=20, filtered=10, opens=1, rate_seconds=0.05, rate_rounds=1, upserts=1)
Found = dict[str, dict[str, Any]]
_SPARE = 20  # queries of which no word is known are left out


def measure(chosen: Settings, entries: list[Entry], size: Size, *, keep: bool = False) -> dict[str, Any]:
    """All figures: {peer: {"build": ..., "open": ..., "hybrid": ..., ...}}. With `keep`, indexes of an earlier run are used."""
    count = min(COUNT_MAX, chosen.limit)
    corpus = prepared(chosen, count, size.tuning + size.measured + _SPARE)
    folder = corpus.with_name(corpus.name.replace("corpus", "indexes"))
    found: Found = {one.name: {"settings": one.settings} for one in entries}
    entries = _built(entries, corpus, folder, found, keep=keep)
    if size.opens:
        _say("opening")
        _record(found, "open", measuring.opened(entries, corpus, folder, size.opens))
    with _processes(entries, corpus, folder) as processes:
        _searched(_Run(processes, entries, size, found, random.Random(chosen.seed)))
    return {"rows": count, "queries": size.measured, "peers": found}


def _built(entries: list[Entry], corpus: Path, folder: Path, found: Found, *, keep: bool) -> list[Entry]:
    """Build every index; a peer that cannot is left out and says why."""
    kept = []
    for one in entries:
        figures = folder / f"{one.module}.json"
        if not (keep and figures.exists()):
            figures.unlink(missing_ok=True)
            _say(f"building {one.name}")
            try:
                write_json(figures, measuring.built(one, corpus, folder / one.module))
            except PeerFailed as error:
                found[one.name]["failed"] = str(error)
                _say(str(error))
                continue
        found[one.name]["build"] = msgspec.json.decode(figures.read_bytes())
        kept.append(one)
    return kept


class _Run(NamedTuple):
    """The open peers, how much is asked of them, and where the figures go."""

    processes: dict[str, PeerProcess]
    entries: list[Entry]
    size: Size
    found: Found
    rng: random.Random

    def record(self, what: str, measured: Callable[[list[Entry]], Found]) -> None:
        """What is found of the peers; if the process of one ends meanwhile, without that one from then on."""
        while True:
            try:
                values = measured(self.entries)
            except PeerFailed as error:
                self.found[error.name]["failed"] = str(error)
                self.entries.remove(entry(error.name))
                _say(str(error))
            else:
                return _record(self.found, what, values)


def _searched(run: _Run) -> None:
    processes, entries, size, found, _ = run
    with contextlib.ExitStack() as watched:
        peaks = {name: watched.enter_context(Peak(process.pid)) for name, process in processes.items()}
        for one in list(entries):
            _say(f"tuning {one.name}")
            run.record("effort", partial(_tuned, run, one))
        for name, workload in WORKLOADS.items():
            _say(name)
            run.record(name, partial(_timed, run, workload, size.measured))
        if size.filtered:
            _filtered(run)
        for mode in MODES if size.rate_rounds else ():
            _say(f"queries a second, {mode}")
            run.record(f"{mode} rate", partial(_rated, run, mode))
    for name, peak in peaks.items():
        found[name]["searching"] = {"own_bytes": peak.own_bytes, "files_bytes": peak.files_bytes}
    if size.upserts:
        _say("upserts")
        run.record("upsert", lambda able: measuring.upserted(processes, [one.name for one in able if one.upserts], size.upserts))


def _filtered(run: _Run) -> None:
    for share, below in SELECTIVITIES.items():
        _say(f"filters, {share}")
        for mode in (HYBRID, VECTOR):
            workload = Workload(mode, WORKLOADS[mode].depth, below)
            run.record(f"{mode}, {share}", partial(_timed, run, workload, run.size.filtered))


def _tuned(run: _Run, one: Entry, entries: list[Entry]) -> Found:
    return {one.name: measuring.tuned(run.processes[one.name], one, run.size.tuning)} if one in entries else {}


def _rated(run: _Run, mode: str, entries: list[Entry]) -> Found:
    return measuring.rates(run.processes, _asked(entries, WORKLOADS[mode], run.found), run.size, run.rng)


def _timed(run: _Run, workload: Workload, count: int, entries: list[Entry]) -> Found:
    """The first queries chose the efforts, so the ones after them are timed."""
    able = entries if workload.below is None else [one for one in entries if one.filters]
    asked = _asked(able, workload, run.found)
    first = run.size.tuning
    return measuring.timed(run.processes, asked, range(first, first + count), run.rng) if asked else {}


def _asked(entries: list[Entry], workload: Workload, found: Found) -> dict[str, dict[str, Any]]:
    """What each peer that can do this is asked for, with its own effort."""
    able = [one for one in entries if workload.mode in one.modes]
    return {one.name: workload.request(effort_of(found[one.name]["effort"], workload.depth)) for one in able}


def _record(found: Found, what: str, values: Found) -> None:
    for name, value in values.items():
        found[name][what] = value


@contextlib.contextmanager
def _processes(entries: list[Entry], corpus: Path, folder: Path) -> Iterator[dict[str, PeerProcess]]:
    with contextlib.ExitStack() as held:
        processes = {}
        for one in entries:
            processes[one.name] = process = PeerProcess(one.name, corpus, folder / one.module)
            held.callback(process.close)
            process.ask("open", mode=one.modes[-1], depth=10, effort=128)
        yield processes


def _say(what: str) -> None:
    print(f"  {what} ...", file=sys.stderr, flush=True)


def main() -> None:
    """Measure and write build/bench/peers.json."""
    tiny = {"action": "store_true", "help": "a few queries, to see that it runs"}
    keep = {"action": "store_true", "help": "use the indexes of an earlier run"}
    only = {"help": "some of the peers", "default": ",".join(one.name for one in ENTRIES)}
    chosen, parsed = settings(__doc__, only=only, keep=keep, tiny=tiny)
    wanted = [entry(name.strip()) for name in parsed.only.split(",")]
    for one in wanted:
        if not one.installed:
            _say(f"{one.name} is not installed here and is left out (make bench installs it)")
    size = TINY if parsed.tiny else QUICK if chosen.quick else FULL
    machine = environment(tuple(sorted({package for one in wanted for package in one.packages})))
    result = measure(chosen, [one for one in wanted if one.installed], size, keep=parsed.keep)
    write_json(chosen.cache / "peers.json", {"environment": machine, "seed": chosen.seed, "corpus": chosen.corpus, **result})


if __name__ == "__main__":
    main()

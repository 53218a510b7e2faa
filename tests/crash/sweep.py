"""The crash proof: `python -m tests.crash.sweep`. Thousands of crash points over seeded random workloads, and then the proof that
the sweep would notice: each sync and rename of ours is left out in turn.

Faults happen below the libraries, at the system call: the process is killed, a call fails (ENOSPC, EIO), a write is cut short, or
the power goes and takes what was not synced. After each the collection is opened by a fresh process and compared with a model.
"""

# ruff: noqa: T201 - a program that prints what it finds

from __future__ import annotations

import argparse
import collections
import ctypes
import functools
import os
import random
import shutil
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # a process that has threads must not be forked
    os.environ[threads] = "1"

import msgspec  # noqa: E402

from tests.crash import calls, points, proof, workload  # noqa: E402
from tests.crash.calls import ALL, SPACE, WRITES, Call, Fault, Kind, Mode  # noqa: E402
from tests.crash.points import Point  # noqa: E402
from tests.crash.processes import each  # noqa: E402
from tests.crash.workload import Setting  # noqa: E402

_SHARED_MEMORY = Path("/dev/shm")  # a crash point writes hundreds of small files
_FAULTS = (
    (Mode.KILL, ALL, "ENOSPC"),
    (Mode.TEAR, WRITES, "ENOSPC"),
    (Mode.FAIL, SPACE, "ENOSPC"),
    (Mode.FAIL, ALL, "EIO"),
    (Mode.KILL, ALL, "ENOSPC"),
    (Mode.SHORTEN, WRITES, "ENOSPC"),
)


class Result(msgspec.Struct, frozen=True):
    """What came of one point; `failed` is empty if all was well."""

    mode: str
    point: str
    failed: str


def main() -> int:
    options = _options()
    reason = calls.unavailable()
    if reason:
        print(f"skipped: {reason}")
        return 0
    for name in workload.missing():
        print(f"left out of the workloads: Collection.{name} does not exist")
    with tempfile.TemporaryDirectory(dir=_SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else None) as made:
        library = calls.load(calls.build(Path(made)))
        points.warm(library, _settings(options)[0], Path(made) / "warm")
        failures = _sweep(options, library, Path(made)) if options.points else 0
        failures += _prove(options, library, Path(made)) if options.proof_points else 0
    return 1 if failures else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=2400, help="how many crash points, about; 0 for none")
    parser.add_argument("--seeds", type=int, default=8, help="over how many workloads, each with symbolic links and without")
    parser.add_argument("--first-seed", type=int, default=0, help="the first workload's seed")
    parser.add_argument("--symlinks", choices=("auto", "never"), help="only with this setting")
    parser.add_argument(
        "--mode", choices=("test", "production"), default="test", help="production: LanceDB is written too; no power is cut"
    )
    parser.add_argument("--length", type=int, default=18, help="operations of a workload")
    parser.add_argument("--without", default="", help="operations to leave out, with commas between")
    parser.add_argument("--only", default="", help="only points whose description contains this text")
    parser.add_argument(
        "--proof-points", type=int, default=240, help="how many points may go by until a removal is noticed; 0: no proof"
    )
    parser.add_argument("--proof-only", default="", help="only sites whose description contains this text")
    parser.add_argument("--processes", type=int, default=2, help="how many at a time")
    parser.add_argument("--keep", type=Path, help="keep the folders of failed points below this one")
    return parser.parse_args()


def _settings(options: argparse.Namespace) -> list[Setting]:
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    kinds = (options.symlinks,) if options.symlinks else ("auto", "never")
    without = tuple(options.without.split(","))
    common = {"length": options.length, "without": without, "mode": options.mode}
    return [Setting(seed=seed, symlinks=links, **common) for seed in seeds for links in kinds]


# ---- the points ----


def _sweep(options: argparse.Namespace, library: ctypes.CDLL, folder: Path) -> int:
    began = time.monotonic()
    settings = _settings(options)
    count = options.points // len(settings)
    run = functools.partial(_points, options, library, count)
    results: list[Result] = []
    for result in each(settings, run, Result, folder / "points", options.processes):
        results.append(result)
        if result.failed:
            print(f"FAILED {result.point}\n{result.failed}\n", flush=True)
    failures = [result for result in results if result.failed]
    counted = collections.Counter(result.mode for result in results)
    bad = collections.Counter(result.mode for result in failures)
    print(f"{'mode':<24}{'points':>8}{'failed':>8}")
    for mode in sorted(counted):
        print(f"{mode:<24}{counted[mode]:>8}{bad[mode]:>8}")
    print(f"{'in all':<24}{len(results):>8}{len(failures):>8}   {time.monotonic() - began:.0f} s", flush=True)
    if failures:
        print("To do one again: --proof-points 0 --first-seed SEED --seeds 1 --symlinks WHICH --only 'the rest of its line'")
    return len(failures)


def _points(options: argparse.Namespace, library: ctypes.CDLL, count: int, setting: Setting, folder: Path) -> Iterator[Result]:
    """The points of one workload, each done."""
    shutil.rmtree(folder, ignore_errors=True)
    failed, recorded = points.recording(library, setting, folder)
    if failed:
        yield Result("undisturbed", f"{setting}", failed)
        return
    rng = random.Random(f"{setting}")
    chosen = [Point(setting, fault=Fault()), *_faults(setting, recorded, rng, count // 2)]
    for point in chosen:
        if options.only in str(point):
            shutil.rmtree(folder)
            failed = points.fault_point(library, point, folder)
            _keep(options, point, failed, folder)
            yield Result(point.mode, str(point), failed)
    # LanceDB's own threads write in no order that could be recorded and shown again.
    cuts = _cuts(recorded, rng, count - count // 2) if setting.mode == "test" else set[int]()
    for point, failed in points.power_points(setting, recorded, cuts, folder, only=options.only):
        _keep(options, point, failed, folder / "cut")
        yield Result(point.mode, str(point), failed)


def _faults(setting: Setting, recorded: list[Call], rng: random.Random, count: int) -> Iterator[Point]:
    """Faults of all modes in turn, each at some call that it can hit; about every other kill kills the recovery too."""
    made = collections.Counter(call.kind for call in recorded)
    for number in range(count):
        mode, kinds, error = _FAULTS[number % len(_FAULTS)]
        last = sum(number for kind, number in made.items() if kinds >> kind & 1)
        times = rng.choice((1, 1, 3, 20, 100)) if mode == Mode.FAIL else 1
        again = rng.randint(1, 80) if mode == Mode.KILL and rng.random() < 0.5 else None
        fault = Fault(mode=mode, kinds=kinds, at=rng.randint(1, last), times=times, errno_name=error)
        yield Point(setting, fault=fault, again=again)


def _cuts(recorded: list[Call], rng: random.Random, count: int) -> set[int]:
    """Calls after which the power goes. Each gives up to three points; those right after a note, a sync or a rename tell most."""
    telling = {index for index, call in enumerate(recorded) if call.kind in (Kind.NOTE, Kind.SYNC, Kind.RENAME)}
    others = set(range(len(recorded))) - telling
    wanted = count // 3 + 1
    return {
        *rng.sample(sorted(telling), min(len(telling), wanted * 2 // 3)),
        *rng.sample(sorted(others), min(len(others), wanted // 3 + 1)),
    }


def _keep(options: argparse.Namespace, point: Point, failed: str, folder: Path) -> None:
    if failed and options.keep is not None:
        target = options.keep / f"{zlib.crc32(str(point).encode()):08x}"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(folder, target, symlinks=True)
        (target / "failed").write_text(f"{point}\n{failed}\n")


# ---- the proof ----


def _prove(options: argparse.Namespace, library: ctypes.CDLL, folder: Path) -> int:
    began = time.monotonic()
    sites = proof.sites(library, _settings(options)[: 2 * len(workload.EMBEDDERS)], folder / "sites")
    chosen = [one for one in sites if options.proof_only in str(one)]
    run = functools.partial(proof.tried, library, options.proof_points)
    verdicts = list(each(chosen, run, proof.Verdict, folder / "proof", options.processes))
    failures = 0
    print(f"{'left out':<130} noticed")
    for verdict in sorted(verdicts, key=lambda one: one.site):
        reason = proof.needless(verdict.site)
        failures += not verdict.noticed and reason is None
        answer = f"after {verdict.tried} points" if verdict.noticed else "NOT NOTICED" if reason is None else f"no: {reason}"
        print(f"{verdict.site:<130} {answer}")
        if verdict.noticed and reason is not None:
            print("   although it is said to be needless")
    for step in proof.unreached(sites):
        print(f"no workload comes by {step}")
    print(f"{len(verdicts)} removals, {failures} not noticed   {time.monotonic() - began:.0f} s")
    return failures


if __name__ == "__main__":
    sys.exit(main())

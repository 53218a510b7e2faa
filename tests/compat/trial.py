"""One pair of releases in an environment of its own: what the doctor says of it, and how the conformance suite goes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path
from xml.etree import ElementTree

import msgspec

from tests.compat.releases import Pair

ROOT = Path(__file__).resolve().parents[2]
SUITE = "tests/engines/test_lancedb_conformance.py"
SUITE_SECONDS_MAX = 1200
_TRIED = ("lancedb", "pyarrow", "pylance", "lance-namespace", "lance-namespace-urllib3-client")
_FAILED_NAMED_MAX = 3


class Verdict(msgspec.Struct, frozen=True):
    """What the doctor says of LanceDB in mode lancedb_test: a word, and why."""

    word: str
    reason: str


class Counts(msgspec.Struct, frozen=True):
    """How the tests of the suite ended. `declared` failed as the engine's declarations say that they do."""

    passed: int = 0
    failed: int = 0
    declared: int = 0
    skipped: int = 0
    first_failed: tuple[str, ...] = ()

    def __str__(self) -> str:
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} passed, {self.failed} failed, {self.declared} declared{skipped}"


class Trial(msgspec.Struct, frozen=True):
    """What was found with a pair. `fault` says why there is nothing to report where there is not."""

    pair: Pair
    python: str
    verdict: Verdict | None = None
    counts: Counts | None = None
    fault: str | None = None
    set_up_seconds: float = 0.0


def tried(pair: Pair, folder: Path) -> Trial:
    """Make the environment in `folder`, ask the doctor, run the suite."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    began = time.monotonic()
    fault = _set_up(pair, folder)
    took = time.monotonic() - began
    if fault is not None:
        return Trial(pair, python, fault=fault, set_up_seconds=took)
    return Trial(pair, python, verdict=_verdict(folder), counts=_counts(folder), set_up_seconds=took)


def _set_up(pair: Pair, folder: Path) -> str | None:
    """An environment with the pair, and all else as `constraints.txt` pins it; what went wrong, or None."""
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True, symlinks=os.name != "nt")
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pinned = folder / "constraints.txt"
    pinned.write_text("\n".join(line for line in lines if line.partition("==")[0] not in _TRIED), "utf-8")
    arrow = [] if pair.refused else [f"pyarrow=={pair.pyarrow}"]
    fault = _install(folder, "--constraint", str(pinned), "--editable", str(ROOT), "pytest", f"lancedb=={pair.lancedb}", *arrow)
    if fault is None and pair.refused:
        fault = _install(folder, "--no-deps", f"pyarrow=={pair.pyarrow}")
    return fault


def _install(folder: Path, *arguments: str) -> str | None:
    command = [_python(folder), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    return None if done.returncode == 0 else f"cannot be installed: {said[0] if said else done.stderr[-300:]}"


def _verdict(folder: Path) -> Verdict:
    command = [_python(folder), "-m", "outcrop", "--mode", "lancedb_test", "doctor", "--json"]
    done = subprocess.run(command, cwd=folder, env=_environment(folder), capture_output=True, text=True, check=False)
    try:
        checks = json.loads(done.stdout)["checks"]
    except ValueError:
        return Verdict(
            "no answer", done.stderr.strip().splitlines()[-1][:200] if done.stderr.strip() else f"exit {done.returncode}"
        )
    found = next(one for one in checks if (one["area"], one["name"]) == ("engine", "lancedb"))
    return Verdict("works", "") if found["state"] == "ok" else Verdict("refuses", found["found"].partition(" (found ")[0])


def _counts(folder: Path) -> Counts:
    report = folder / "suite.xml"
    options = ["-q", "-p", "tests.compat.any_release", "-p", "no:cacheprovider", f"--junit-xml={report}", "-W", "default"]
    options += ["--override-ini", "addopts=--import-mode=importlib", "--basetemp", str(folder / "made")]
    try:
        subprocess.run(
            [_python(folder), "-m", "pytest", *options, SUITE],
            cwd=ROOT,
            env=_environment(folder),
            capture_output=True,
            check=False,
            timeout=SUITE_SECONDS_MAX,
        )
    except subprocess.TimeoutExpired:
        return Counts(failed=1, first_failed=(f"the suite did not end within {SUITE_SECONDS_MAX} s",))
    if not report.exists():
        return Counts(failed=1, first_failed=("the suite ended without a report: the process crashed",))
    return counted(report.read_text("utf-8"))


def counted(report: str) -> Counts:
    """What a report in JUnit's form says."""
    failed, declared, skipped, passed = [], 0, 0, 0
    for case in ElementTree.fromstring(report).iter("testcase"):
        skip = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(case.get("name", "?"))
        elif skip is not None:
            declared, skipped = (declared + 1, skipped) if skip.get("type") == "pytest.xfail" else (declared, skipped + 1)
        else:
            passed += 1
    return Counts(passed, len(failed), declared, skipped, tuple(failed[:_FAILED_NAMED_MAX]))


def _environment(folder: Path) -> dict[str, str]:
    """Ours without Outcrop's settings, and with a cache that knows nothing yet."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OUTCROP_")}
    return kept | {"XDG_CACHE_HOME": str(folder / "cache"), "PYTHONPATH": str(ROOT)}


def _python(folder: Path) -> str:
    return str(folder / ("Scripts" if os.name == "nt" else "bin") / "python")

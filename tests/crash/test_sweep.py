"""A sample of the crash proof, for every run of the tests; `make crash` is the whole."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.crash import calls
from tests.crash.calls import Kind
from tests.crash.conftest import ROOT, Recorded
from tests.crash.disk import Disk, read

WORKLOAD = """
import outcrop
from pathlib import Path
from tests.crash.model import Model
from tests.crash.workload import Driver, Setting, work
driver = Driver(Setting(seed={seed}, symlinks="auto", length=9), Path.cwd() / "kb", Model())
def succeeded(operation, done):
    assert done, driver.error
work(driver, succeeded)
"""


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_record_of_a_workload_shows_every_byte_that_it_left(folder: Path, recorded: Recorded, seed: int) -> None:
    shown = Disk(folder)
    for call in recorded(f"import sys; sys.path.insert(0, {str(ROOT)!r})\n" + WORKLOAD.format(seed=seed)):
        assert call.kind != Kind.STRANGE, call.name
        shown.apply(call)
    there = {name: content for name, content in read(folder).items() if not name.endswith("-shm")}
    assert len(there) > 30
    assert {name: content for name, content in shown.now().items() if not name.endswith("-shm")} == there


def sweep(*arguments: str) -> subprocess.CompletedProcess[str]:
    reason = calls.unavailable()
    if reason:
        pytest.skip(reason)
    command = [sys.executable, "-m", "tests.crash.sweep", "--processes", "1", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "symlinks"), [("0", "auto"), ("2", "never")])
def test_after_a_crash_anywhere_a_collection_opens_and_has_lost_nothing(seed: str, symlinks: str) -> None:
    chosen = ("--points", "30", "--seeds", "1", "--first-seed", seed, "--symlinks", symlinks, "--length", "9")
    done = sweep(*chosen, "--proof-points", "0")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.skipif(find_spec("lancedb") is None, reason="LanceDB is not installed here")
def test_nothing_is_lost_either_where_lancedb_is_written_too() -> None:
    chosen = ("--points", "16", "--seeds", "1", "--symlinks", "auto", "--length", "6", "--mode", "production")
    done = sweep(*chosen, "--proof-points", "0")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_sweep_notices_when_a_sync_or_the_rename_of_the_manifest_is_left_out() -> None:
    chosen = ("--points", "0", "--seeds", "1", "--symlinks", "auto", "--length", "8", "--proof-points", "40")
    done = sweep(*chosen, "--proof-only", "manifest.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" after ") == 3, done.stdout  # the sync of the file, the rename and the sync of the folder

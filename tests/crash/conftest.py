"""The fault library, compiled once for all tests here, and programs run under it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # `python -m pytest` puts it there, `pytest` alone does not
    sys.path.insert(0, str(ROOT))

from tests.crash import calls  # noqa: E402
from tests.crash.calls import Call  # noqa: E402

Recorded = Callable[[str], list[Call]]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    reason = calls.unavailable()
    if reason:
        pytest.skip(reason)
    return calls.build(tmp_path_factory.mktemp("faults"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder in which calls are recorded."""
    made = (tmp_path / "root").resolve()
    made.mkdir()
    return made


@pytest.fixture
def recorded(library: Path, folder: Path, tmp_path: Path) -> Recorded:
    """Runs a Python program in `folder` and returns what it did there; `note(text)` in it leaves a note."""

    def run(program: str, *, expected: int = 0, **environment: str) -> list[Call]:
        log = tmp_path / "log"
        log.unlink(missing_ok=True)
        preface = (
            "import ctypes\n"
            f"_library = ctypes.CDLL({str(library)!r})\n"
            "note = lambda text: _library.faults_note(text.encode(), len(text.encode()))\n"
        )
        faults = {"LD_PRELOAD": str(library), "FAULTS_ROOT": str(folder), "FAULTS_LOG": str(log)}
        done = subprocess.run(
            [sys.executable, "-c", preface + program],
            cwd=folder,
            env={**os.environ, **faults, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode == 99:
            pytest.skip("the kernel refuses filters of system calls here")
        assert done.returncode == expected, done.stderr
        return list(calls.read(log))

    return run

"""Processes on one folder map the same files, and so have one copy of them in memory."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import outcrop
from outcrop import Config, Document

SMAPS = Path("/proc/self/smaps")
_SHARED = ("Shared_Clean:", "Shared_Dirty:")  # dirty are files of a file system that lies in memory
PROGRAM = """
import sys, outcrop
from tests.test_sharing import searched
with outcrop.open(sys.argv[1], config=outcrop.Config.test()) as db:
    searched(db)
    print("ready", flush=True)
    sys.stdin.read()
"""


def searched(db: outcrop.Database) -> None:
    hits = db.collection("rocks").search("granite", vector=np.ones(64, np.float32), k=5, where="n >= 1000")
    assert len(hits) == 5


def shared_bytes(folder: Path) -> dict[str, int]:
    """For each file of the folder that this process has mapped, how much of it another process has too."""
    shared: dict[str, int] = {}
    name = None
    for line in SMAPS.read_text(errors="replace").splitlines():
        if mapping := re.match(r"[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+ *(.*)", line):
            name = mapping[1]
        elif name is not None and name.startswith(str(folder)) and line.startswith(_SHARED):
            shared[Path(name).name] = shared.get(Path(name).name, 0) + 1024 * int(line.split()[1])
    return shared


@pytest.mark.skipif(not SMAPS.exists(), reason="needs Linux's /proc")
def test_vectors_codes_columns_and_terms_are_in_memory_once(tmp_path: Path) -> None:
    vectors = np.random.default_rng(3).standard_normal((4_000, 64), dtype=np.float32)
    documents = (Document(f"d{n}", f"granite {n % 50}", metadata={"n": n}, vector=vector) for n, vector in enumerate(vectors))
    with outcrop.open(tmp_path, config=Config.test()) as db:
        db.create_collection("rocks", embedder="none", index="ivf_pq").build(documents, promote=True)
    root = Path(__file__).resolve().parents[1]
    with outcrop.open(tmp_path, config=Config.test()) as db:
        searched(db)
        command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "ready\n"
            shared = shared_bytes(tmp_path)
            other.communicate("")
    assert other.returncode == 0
    assert {"vectors.f32", "index.faiss", "data.bin"} <= {name for name, size_bytes in shared.items() if size_bytes}
    assert any(name.endswith(".idx") and size_bytes for name, size_bytes in shared.items())

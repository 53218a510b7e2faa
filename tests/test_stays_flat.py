"""Mixed work goes on and on, and the process stays as large as it was when it had warmed up: a process of its own does the work."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import outcrop
from outcrop import Collection, Config, Document

SMAPS = Path("/proc/self/smaps_rollup")
ROUNDS, WARM_UP = 200, 120
PROMOTED_EVERY = 40
DOCUMENTS = 20
#: What the rounds after the warm-up may leave: a few percent of what the process has, less than a leak of 100 kB a round would.
GROWN_BYTES_MAX = 8_000_000
#: One heap for all threads, given back when it is free: what the allocator keeps would hide a leak, or look like one.
ALLOCATOR = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "131072", "MALLOC_MMAP_THRESHOLD_": "131072"}


@pytest.mark.skipif(not SMAPS.exists(), reason="needs Linux's /proc")
def test_memory_threads_and_files_stay_flat_after_warm_up(tmp_path: Path) -> None:
    command = [sys.executable, __file__, str(tmp_path / "kb")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=os.environ | ALLOCATOR)
    assert done.returncode == 0, done.stderr
    warm, last = json.loads(done.stdout)
    assert last["bytes"] - warm["bytes"] <= GROWN_BYTES_MAX
    assert last["threads"] <= warm["threads"]
    assert last["files"] <= warm["files"]


def one_round(collection: Collection, number: int) -> None:
    """One write, of each kind in turn, and every kind of search; now and then a build, a promotion and a rollback."""
    documents = [Document(f"d{n}", f"granite number{n} in round {number}", metadata={"n": n}) for n in range(DOCUMENTS)]
    match number % 4:
        case 0:
            collection.upsert(documents)
        case 1:
            collection.delete([f"d{n}" for n in range(0, DOCUMENTS, 7)])
        case 2:
            collection.upsert_many(iter(documents))
        case 3:
            collection.update_metadata(["d1", "d2"], {"round": number})
    for mode in ("lexical", "vector", "hybrid"):
        hits = collection.search(f"granite number{number % DOCUMENTS}", mode=mode, where="n >= 1")
        assert [hit.snippet for hit in hits]
    if number % PROMOTED_EVERY == 0:
        collection.build(documents, promote=True)
        if number:
            collection.rollback()
        collection.gc()


def held() -> dict[str, int]:
    """What this process holds now."""
    found = re.search(r"^Anonymous:\s+(\d+) kB$", SMAPS.read_text("ascii"), re.MULTILINE)
    assert found is not None
    return {"bytes": 1024 * int(found[1]), "threads": threading.active_count(), "files": len(os.listdir("/proc/self/fd"))}


def main(folder: str) -> None:
    """Work, and print what was held after the warm-up and at the end."""
    with outcrop.open(folder, config=Config.test(kept_generations=0, kept_days=0, tail_chunks_max=100)) as db:
        collection = db.create_collection("rocks", embedder="hashing:64")
        for number in range(WARM_UP):
            one_round(collection, number)
        warm = held()
        for number in range(WARM_UP, ROUNDS):
            one_round(collection, number)
        sys.stdout.write(json.dumps([warm, held()]))


if __name__ == "__main__":
    main(sys.argv[1])

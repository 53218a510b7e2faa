"""A process that is killed in the middle of building, promoting or rolling back leaves a collection that opens by itself."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import outcrop
from outcrop import Config, Document

WORK = """
import sys
import outcrop
from outcrop import Config, Document
db = outcrop.open(sys.argv[1], config=Config.test())
rocks = db.collection("rocks")
number = max(info.number for info in rocks.generations())
print("ready", flush=True)
while True:
    info = rocks.build([Document(f"d{i}", f"granite of build {number}", metadata={"stamp": number}) for i in range(100)])
    rocks.promote(info)
    rocks.rollback()
    rocks.promote(info)
    number += 1
    print(number, flush=True)
"""


@pytest.mark.parametrize("seed", range(3))
def test_after_a_kill_one_whole_generation_answers_and_work_goes_on(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    kb = tmp_path / "kb"
    with outcrop.open(kb, config=Config.test()) as db:
        rocks = db.create_collection("rocks", embedder="hashing:16")
        rocks.build([Document(f"d{i}", "granite of build 0", metadata={"stamp": 0}) for i in range(100)], promote=True)
    for _ in range(4):
        worker = subprocess.Popen([sys.executable, "-c", WORK, str(kb)], stdout=subprocess.PIPE, text=True)
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        killer = threading.Timer(rng.uniform(0.0, 0.6), worker.kill)
        killer.start()
        worker.stdout.read()
        worker.wait(30)
        worker.stdout.close()
        assert worker.returncode != 0

        with outcrop.open(kb, config=Config.test()) as db:
            rocks = db.collection("rocks")
            hits = rocks.search("granite", k=50)
            assert len(hits) == 50
            assert len({hit.metadata["stamp"] for hit in hits}) == 1
            assert [info.status for info in rocks.generations()].count("active") == 1
            assert rocks.damaged() == []

    with outcrop.open(kb, config=Config.test()) as db:
        rocks = db.collection("rocks")
        info = rocks.promote(rocks.build([Document("last", "granite")]), force=True)
        folders = list((kb / "rocks" / "generations").iterdir())
        assert len(folders) == len(rocks.generations()), "what the kills left is gone"
        assert rocks.search("granite").generation == info.number

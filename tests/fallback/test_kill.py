"""Processes that are killed while they write both indexes: what was acknowledged is there, in either engine."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from outcrop import Collection, Config
from tests.fallback.drilling import config, generation, opened, recovers

pytest.importorskip("lancedb")
WRITER = """
import sys
from pathlib import Path
from tests.fallback.drilling import *
begin = int(sys.argv[2])
with opened(Path(sys.argv[1]), config(tail_chunks_max=8)) as collection:
    print("ready", flush=True)
    for turn in range(begin, begin + 1000):
        collection.upsert(rocks(2, "basalt", begin=10_000 + 2 * turn))
        if turn % 3 == 0:
            collection.delete([f"d{10_000 + 2 * turn}"])
        print(turn, flush=True)
"""
KILLS = 6


def test_a_process_killed_during_a_dual_write_loses_nothing(tmp_path: Path) -> None:
    kb, dice, acknowledged, begin = tmp_path / "kb", random.Random(3), set[int](), 0
    with opened(kb):
        pass
    for _ in range(KILLS):
        acknowledged |= killed(kb, begin, dice)
        begin = max(acknowledged, default=0) + 3
        for chosen in (config(), Config.mvp_only(background=False)):
            with opened(kb, chosen) as collection:
                if chosen.mode == "production":
                    recovers(collection)
                assert not missing(found_basalt(collection), acknowledged)
                assert all(one.healthy for one in collection.verify())
    assert len(acknowledged) > KILLS
    assert (generation(kb) / "lancedb" / "identity").is_file()


def killed(kb: Path, begin: int, dice: random.Random) -> set[int]:
    """What a writer had acknowledged when it was killed, at some moment of one of its first writes."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(kb), str(begin)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(dice.randrange(2, 6))]
    time.sleep(dice.uniform(0.0, 0.25))
    process.send_signal(signal.SIGKILL)
    lines += process.stdout.readlines()
    process.wait()
    process.stdout.close()
    assert lines[0] == "ready\n"
    return {int(line) for line in lines[1:]}


def found_basalt(collection: Collection) -> set[str]:
    """What a search finds, which is all that there is."""
    hits = collection.search("basalt", mode="lexical", k=5000, candidates=5000, where="n >= 10000")
    found = {hit.document_id for hit in hits}
    assert found == {one.id for one in collection.scan("n >= 10000")}
    return found


def missing(ids: set[str], acknowledged: set[int]) -> set[str]:
    expected = set()
    for turn in acknowledged:
        expected |= {f"d{10_001 + 2 * turn}"} | (set() if turn % 3 == 0 else {f"d{10_000 + 2 * turn}"})
    gone = {f"d{10_000 + 2 * turn}" for turn in acknowledged if turn % 3 == 0}
    return (expected - ids) | (gone & ids)

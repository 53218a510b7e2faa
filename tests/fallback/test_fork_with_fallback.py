"""A process that forks while a call of LanceDB hangs: neither side waits for it for long, and the child has the other engine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("lancedb")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
BEGINNING = """
import faulthandler, os, signal, sys, threading, time, warnings
from pathlib import Path
from tests.fallback.drilling import *
warnings.simplefilter("ignore")
faulthandler.register(signal.SIGALRM, chain=True)
signal.alarm(150)

def forked(work):
    child = os.fork()
    if child:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code == 0, f"the child ended with {code}"
        return
    signal.alarm(60)
    try:
        work()
    except BaseException:
        import traceback
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
"""
HUNG = """
from outcrop.engines.lancedb import library
from outcrop.engines.lancedb.table import Tables
go_on = threading.Event()
def hanging(self, *_):
    with library.calling(self.place, "written"):
        go_on.wait(120)
with opened(Path(sys.argv[1]), config(lancedb_apply_seconds=0.3)) as collection:
    assert answered_by(collection) == "lancedb"
    change, Tables.change = Tables.change, hanging
    collection.upsert(rocks(1, "basalt", begin=100))
    def in_child():
        assert found(collection, "basalt", mode="lexical") == {"d100"}
        assert answered_by(collection) == "builtin"
        collection.upsert(rocks(1, "basalt", begin=101))
        assert found(collection, "basalt", mode="lexical") == {"d100", "d101"}
    began = time.monotonic()
    forked(in_child)
    assert time.monotonic() - began < 40
    assert found(collection, "basalt", mode="lexical") == {"d100", "d101"}
    Tables.change = change
    go_on.set()
    recovers(collection)
    assert found(collection, "basalt", mode="lexical") == {"d100", "d101"}
"""
BUSY = """
with opened(Path(sys.argv[1])) as collection:
    done, wrong = threading.Event(), []
    def write():
        number = 1000
        while not done.is_set():
            collection.upsert(rocks(1, "basalt", begin=number))
            number += 1
    writer = threading.Thread(target=write)
    writer.start()
    forks = 6
    for round in range(forks):
        def in_child():
            assert len(found(collection, "granite", mode="lexical")) == 30
            collection.upsert(rocks(1, f"gneiss{round}", begin=5000 + round))
            hits = collection.search(f"gneiss{round}")
            assert hits.engine == "builtin" and "was forked from one that had used LanceDB" in hits.degraded.reason
            assert found(collection, f"gneiss{round}", mode="lexical") == {f"d{5000 + round}"}
        forked(in_child)
    done.set()
    writer.join()
    for round in range(6):
        assert found(collection, f"gneiss{round}", mode="lexical") == {f"d{5000 + round}"}
    recovers(collection)
    assert all(one.healthy for one in collection.verify())
"""
UNTOLD = """
from outcrop.engines.lancedb import library
from outcrop.errors import EngineUnavailable
def refused(do):
    try:
        do()
    except EngineUnavailable as error:
        return "was forked from one that had used LanceDB" in str(error) and "spawn" in error.remedy
    return False
kb = Path(sys.argv[1])
with opened(kb):
    pass
with outcrop.open(kb, config=config()) as db:
    collection = db.collection("rocks")
    recovers(collection)
    def in_child():
        assert str(db.running) == f"built-in (fell back: LanceDB: {library.FORKED})", db.running
        assert collection.stats().answers == {}
        assert answered_by(collection) == "builtin"
        assert collection.stats().answers == {"builtin": 1}
        assert refused(collection.repair)
        assert refused(lambda: outcrop.open(kb, config=Config.lancedb_test()))
        with outcrop.open(kb, config=config()) as again:
            assert str(again.running) == str(db.running)
    forked(in_child)
    assert str(db.running) == "LanceDB with built-in fallback"
    assert answered_by(collection) == "lancedb"
    assert all(one.healthy for one in collection.verify())
"""


@pytest.mark.parametrize(
    "program", [HUNG, BUSY, UNTOLD], ids=["while a call hangs", "beside a busy writer", "and says that LanceDB is not for it"]
)
def test_a_forked_child_goes_on(tmp_path: Path, program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BEGINNING + program, str(tmp_path / "kb")], capture_output=True, text=True, timeout=170, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr

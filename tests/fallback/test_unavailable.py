"""LanceDB is not installed, cannot be imported, or has the wrong Arrow: each in a process of its own, with a stand-in before it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fallback.drilling import answered_by, found, opened, recovers, rocks

pytest.importorskip("lancedb")
PROGRAM = """
import sys
from outcrop import Config
from outcrop.errors import EngineUnavailable
from tests.fallback.drilling import *
from pathlib import Path
kb = Path(sys.argv[1])
with outcrop.open(kb, config=config()) as db:
    assert str(db.running).startswith("built-in (fell back: LanceDB: "), db.running
    assert sys.argv[2] in str(db.running), db.running
    rocks_ = db.collection("rocks")
    for turn in range(5):
        assert answered_by(rocks_) == "builtin"
    assert sys.argv[2] in rocks_.stats().degraded
    rocks_.upsert(rocks(4, "basalt", begin=100)); rocks_.delete(["d100", "d0"])
    assert found(rocks_, "basalt", mode="lexical") == {"d101", "d102", "d103"}
    assert rocks_.stats().fallback_rate == 1.0
    assert all(one.healthy for one in rocks_.verify())
    built = rocks_.build(rocks(7, "marble"), promote=True, gate=Gate(vanished_share_max=1.0))
    assert built.recipe.engine == "lancedb+builtin"
    assert answered_by(rocks_, "marble") == "builtin"
try:
    outcrop.open(kb, config=Config.lancedb_test())
except EngineUnavailable as error:
    assert sys.argv[2] in str(error) and error.remedy
else:
    raise AssertionError("it opens")
"""
NOT_INSTALLED = """
import sys, importlib.util, importlib.abc
class Hide(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "lancedb":
            raise ModuleNotFoundError("No module named 'lancedb'", name="lancedb")
sys.meta_path.insert(0, Hide())
_find = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "lancedb" else _find(name, package)
"""


@pytest.mark.parametrize(
    ("module", "source", "said"),
    [
        ("sitecustomize", NOT_INSTALLED, "not installed"),
        ("lancedb", "raise ImportError('undefined symbol: lance_v2')", "undefined symbol: lance_v2"),
        ("pyarrow", "raise ImportError('pyarrow was built for another numpy')", "pyarrow was built for another numpy"),
        ("lancedb", "def connect(folder): raise RuntimeError('wrong Arrow: ABI 14')", "wrong Arrow: ABI 14"),
        ("lancedb", "import os; os.abort()", "crashed (signal 6)"),
    ],
)
def test_without_a_working_lancedb_the_built_in_engine_serves_and_takes_writes_until_it_returns(
    tmp_path: Path, module: str, source: str, said: str
) -> None:
    kb, shims = tmp_path / "kb", tmp_path / "shims"
    with opened(kb) as collection:
        collection.upsert(rocks(2, "slate", begin=50))
    shims.mkdir()
    (shims / f"{module}.py").write_text(source)
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": f"{shims}{os.pathsep}{Path.cwd()}"}
    program = PROGRAM.replace("import sys\n", "import sys, outcrop\nfrom outcrop import Gate\n", 1)
    done = subprocess.run(
        [sys.executable, "-c", program, str(kb), said], env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    with opened(kb) as collection:
        recovers(collection)
        assert found(collection, "marble", mode="lexical") == {f"d{n}" for n in range(7)}
        collection.rollback()
        recovers(collection)
        assert found(collection, "basalt", mode="lexical") == {"d101", "d102", "d103"}
        assert found(collection, "slate", mode="lexical") == {"d50", "d51"}
        assert "d0" not in found(collection, "granite", mode="lexical")
        assert answered_by(collection, "basalt") == "lancedb"

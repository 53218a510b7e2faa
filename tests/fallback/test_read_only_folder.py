"""The folder of LanceDB's table becomes read-only while it serves."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from outcrop.errors import StorageFailed
from tests.fallback.drilling import answered_by, generation, opened, recovers

pytest.importorskip("lancedb")
PROGRAM = """
import os, sys
from pathlib import Path
from tests.fallback.drilling import *
kb = Path(sys.argv[1])
with opened(kb) as collection:
    assert answered_by(collection) == "lancedb"
    folders = [Path(at) for at, _, _ in os.walk(generation(kb) / "lancedb")]
    for folder in folders:
        folder.chmod(0o555)
    assert answered_by(collection) == "lancedb"  # it can still be read
    for turn in range(3):
        collection.upsert(rocks(1, "basalt", begin=100 + turn))
        hits = collection.search("basalt", mode="lexical", k=50)
        assert_honest(hits)
        assert (hits.engine, len(hits)) == ("builtin", turn + 1)
    for folder in folders:
        folder.chmod(0o755)
    recovers(collection)
    assert len(found(collection, "basalt", mode="lexical")) == 3
"""
AS_ANYBODY = """
import os, tempfile
from pathlib import Path
from tests.fallback.drilling import *
with tempfile.TemporaryDirectory() as folder, opened(Path(folder)) as collection:  # imports what is imported late
    collection.upsert(rocks(1, "basalt", begin=100))
    recovers(collection)
    collection.optimize()
if os.getuid() == 0:  # root may write anywhere
    os.setgid(65534)
    os.setuid(65534)
"""


def test_a_table_that_became_read_only_is_left_behind_until_it_can_be_written() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)  # where root runs the tests, another user does this one
        done = subprocess.run(
            [sys.executable, "-c", AS_ANYBODY + PROGRAM, f"{folder}/kb"], capture_output=True, text=True, timeout=170, check=False
        )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_reader_searches_nothing_that_a_power_cut_may_have_torn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise StorageFailed("the file system is read-only", path=tmp_path, errno_name="EROFS")

    with opened(tmp_path / "kb"):
        table = generation(tmp_path / "kb") / "lancedb"
    torn = table / "chunks.lance" / "data" / "torn.lance"
    torn.touch()
    (table / "boot").write_text("another")
    with monkeypatch.context() as mounted:
        mounted.setattr(Path, "unlink", refused)
        with opened(tmp_path / "kb", read_only=True) as reader:
            assert answered_by(reader) == "builtin"
            assert "the file system is read-only" in str(reader.search("granite").degraded)
    with opened(tmp_path / "kb", read_only=True) as reader:
        recovers(reader)
    assert not torn.exists()

"""What a running build reads stays as it was, whatever is promoted meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import outcrop
from outcrop import Collection, Config, Document, Gate
from outcrop.documents import Documents
from outcrop.engines import purging
from outcrop.errors import SnapshotExpired
from outcrop.generations.journal import Journal

ANYTHING = Gate(vanished_share_max=1.0)


@pytest.fixture
def rocks(tmp_path: Path) -> Iterator[Collection]:
    with outcrop.open(tmp_path / "kb", config=Config.test(tail_chunks_max=1)) as db:
        collection = db.create_collection("rocks", embedder="hashing:8")
        collection.build([Document(f"d{n}", f"granite number{n}") for n in range(4)], promote=True)
        collection.build(analyzer="simple")
        yield collection


def promoted_to_and_fro(rocks: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promote 2, write, and roll back to 1, which absorbs what was written; again when everything that ended is old."""
    later = 0.0
    monkeypatch.setattr(purging.time, "time", lambda real=time.time: real() + later)
    for _ in range(3):
        rocks.promote(2, gate=ANYTHING)
        rocks.upsert([Document(f"tail{n}", "schist") for n in range(3)])
        assert rocks.rollback().number == 1
        later += 1000.0


@pytest.mark.parametrize("held", [True, False])
def test_a_promotion_forgets_nothing_that_a_running_build_may_read(
    rocks: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: bool
) -> None:
    begun = rocks.stats().sequence
    if held:
        Journal(tmp_path / "kb" / "rocks" / "journal.sqlite").hold(begun, 99)
    rocks.update_metadata("d3", {"patched": True})
    promoted_to_and_fro(rocks, monkeypatch)
    with closing(Documents(Path(rocks.generations()[0].path))) as stored:
        if held:
            assert [document.text for document in stored.scan(begun)][3] == "granite number3"
        else:
            with pytest.raises(SnapshotExpired):
                list(stored.scan(begun))
    assert rocks.get("d3") == [Document("d3", "granite number3", metadata={"patched": True})]

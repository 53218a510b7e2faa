"""The journal does not grow without bound: what lags is caught up or given up, and what was set aside holds nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

import outcrop
from outcrop import Collection, Config, Database, Document, Gate
from outcrop.builds import maintenance
from outcrop.embedding import HashingEmbedder
from outcrop.errors import WritesMissing

ANYTHING = Gate(vanished_share_max=1.0)
LIMIT = 200_000


class Breakable(HashingEmbedder):
    broken = False

    def embed_documents(self, texts: Sequence[str]) -> np.ndarray:
        if self.broken:
            raise RuntimeError("the accelerator is gone")
        return super().embed_documents(texts)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with outcrop.open(tmp_path / "kb", config=Config.test(journal_bytes_max=LIMIT)) as opened:
        yield opened


def written(db: Database, embedder: HashingEmbedder) -> Collection:
    """Generation 1 is archived and open here, 2 has the same documents and what makes the journal too large; its lag is 20."""
    rocks = db.create_collection("rocks", embedder=embedder)
    rocks.build([Document("a", "granite")], promote=True)
    rocks.promote(rocks.build(embedder="hashing:8"))
    for number in range(20):
        rocks.upsert(Document(f"d{number}", "basalt " * 4000))
    assert rocks._open.stage.journal.size_bytes() > LIMIT
    return rocks


def later(rocks: Collection) -> None:
    """Once more, when what failed has rested."""
    rocks._open.stage.resting.update(dict.fromkeys(rocks._open.stage.resting, 0.0))
    maintenance.keep_up(rocks._open.stage, rocks._open.upkeep)


def test_a_generation_that_lags_is_caught_up(db: Database) -> None:
    rocks = written(db, HashingEmbedder(16))
    maintenance.keep_up(rocks._open.stage, rocks._open.upkeep)
    assert rocks._open.stage.journal.size_bytes() <= LIMIT
    assert [info.sequence for info in rocks.generations()] == [20, 20]
    assert rocks.rollback().document_count == 21


def test_one_that_cannot_be_caught_up_is_given_up_although_it_is_open_here(db: Database, caplog: pytest.LogCaptureFixture) -> None:
    embedder = Breakable(16)
    rocks = written(db, embedder)
    embedder.broken = True
    maintenance.keep_up(rocks._open.stage, rocks._open.upkeep)
    assert [info.number for info in rocks.generations()] == [1, 2]  # an endpoint may be back after a while
    with caplog.at_level(logging.WARNING, "outcrop"):
        later(rocks)
    assert [info.number for info in rocks.generations()] == [2]
    assert rocks._open.stage.journal.size_bytes() <= LIMIT
    assert "the accelerator is gone" in caplog.text
    assert "it is given up" in caplog.text


def test_one_that_another_process_has_open_is_not_removed(db: Database, caplog: pytest.LogCaptureFixture) -> None:
    embedder = Breakable(16)
    rocks = written(db, embedder)
    with outcrop.open(db.path, config=Config.test()) as other:
        other.collection("rocks").search("granite", mode="lexical", generation=1)
        embedder.broken = True
        maintenance.keep_up(rocks._open.stage, rocks._open.upkeep)
        with caplog.at_level(logging.WARNING, "outcrop"):
            later(rocks)
        assert [info.number for info in rocks.generations()] == [1, 2]
        assert "open in a process" in caplog.text


def test_one_that_was_set_aside_holds_nothing_and_is_kept_for_the_operator(db: Database) -> None:
    rocks = written(db, HashingEmbedder(16))
    (first, _) = rocks.generations()
    (Path(first.path) / "quarantined").write_text("{}")
    maintenance.keep_up(rocks._open.stage, rocks._open.upkeep)
    assert [(info.number, info.status) for info in rocks.generations()] == [(1, "damaged"), (2, "active")]
    assert rocks._open.stage.journal.size_bytes() <= LIMIT
    with pytest.raises(WritesMissing):
        rocks.promote(1, gate=ANYTHING)

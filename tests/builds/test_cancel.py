"""Builds that are cancelled: they end soon, say whether they can be resumed, and the next one goes on."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from outcrop import Document
from outcrop.builds.cancelling import CancellableEmbedder, Cancelling
from outcrop.errors import BuildCancelled
from outcrop.generations.journal import Journal
from tests.builds.interrupted import BATCH, IN_FLIGHT_MAX, Telling, close_all, collection, documents


@pytest.fixture
def kb(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "kb"
    close_all()


def folders(kb: Path) -> list[Path]:
    return list((kb / "rocks" / "generations").iterdir())


def test_a_build_that_is_cancelled_before_it_begins_changes_nothing(kb: Path) -> None:
    cancel = threading.Event()
    cancel.set()
    rocks = collection(kb, Telling())
    with pytest.raises(BuildCancelled, match="nothing was changed") as caught:
        rocks.build(documents(), cancel=cancel)
    assert caught.value.resumable is False
    assert folders(kb) == []
    assert Journal(kb / "rocks" / "journal.sqlite").holds() == []


def test_a_cancelled_build_is_resumed_by_the_same_call(kb: Path) -> None:
    cancel = threading.Event()

    def enough(texts: Sequence[str]) -> None:
        if any("number 77" in text for text in texts):
            cancel.set()

    embedder = Telling(enough)
    rocks = collection(kb, embedder)
    with pytest.raises(BuildCancelled, match="generation 1 of 'rocks' was cancelled; what it has prepared is kept") as caught:
        rocks.build(documents(), cancel=cancel)
    assert (caught.value.resumable, caught.value.generation) == (True, 1)
    assert 80 <= len(embedder.texts) <= 80 + BATCH
    assert rocks.generations() == []
    cancel.clear()
    assert rocks.build(documents(), cancel=cancel).document_count == 200
    assert len(embedder.texts) == 200, "what was embedded when the cancel came was written"


@pytest.mark.parametrize("phase", ["index", "verify", "catch up"])
def test_a_build_can_be_cancelled_between_its_phases(kb: Path, phase: str) -> None:
    cancel = threading.Event()
    embedder = Telling()
    rocks = collection(kb, embedder)
    rocks.build([Document("a", "granite number 0")], promote=True)
    embedder.texts.clear()
    with pytest.raises(BuildCancelled) as caught:
        rocks.build(documents(), cancel=cancel, progress=lambda progress: cancel.set() if progress.phase == phase else None)
    assert caught.value.resumable
    assert [info.number for info in rocks.generations()] == [1]
    rocks.delete("d5")
    assert rocks.build(documents()).document_count == 200
    assert len(embedder.texts) == 200
    assert len(folders(kb)) == 2


def test_an_endless_source_ends_when_the_build_is_cancelled(kb: Path) -> None:
    cancel, read = threading.Event(), threading.Event()

    def endless() -> Iterator[Document]:
        for number in itertools.count():
            if number == 100:
                read.set()
            yield Document(f"d{number}", f"granite number {number}")

    caught: list[BuildCancelled] = []
    rocks = collection(kb, Telling())

    def build() -> None:
        with pytest.raises(BuildCancelled) as error:
            rocks.build(endless(), embedder="none", cancel=cancel)
        caught.append(error.value)

    building = threading.Thread(target=build)
    building.start()
    assert read.wait(30)
    cancel.set()
    building.join(30)
    assert not building.is_alive()
    assert caught[0].resumable
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith(("outcrop-read", "outcrop-stage"))] == []


def test_a_build_goes_on_as_ever_if_nobody_cancels(kb: Path) -> None:
    assert collection(kb, Telling()).build(documents(), cancel=threading.Event()).document_count == 200


def test_ctrl_c_loses_only_what_was_under_way(kb: Path) -> None:
    def interrupted(progress: object) -> None:
        if getattr(progress, "documents", 0) >= 100:
            raise KeyboardInterrupt

    embedder = Telling()
    rocks = collection(kb, embedder)
    with pytest.raises(KeyboardInterrupt):
        rocks.build(documents(), progress=interrupted)
    rocks.build(documents())
    assert len(embedder.texts) <= 200 + IN_FLIGHT_MAX


def test_between_the_groups_of_a_slow_embedder_it_is_asked_whether_to_go_on() -> None:
    cancel = threading.Event()
    groups: list[int] = []

    def told(texts: Sequence[str]) -> None:
        groups.append(len(texts))
        cancel.set()

    embedder = CancellableEmbedder(Telling(told), Cancelling(cancel))
    with pytest.raises(BuildCancelled):
        embedder.embed_documents([f"granite {number}" for number in range(5000)])
    assert groups == [256]


def test_an_embedder_that_can_be_cancelled_embeds_the_same() -> None:
    texts = [f"granite {number}" for number in range(3000)]
    embedder = CancellableEmbedder(Telling(), Cancelling(None))
    assert (embedder.embed_documents(texts) == Telling().embed_documents(texts)).all()
    assert (embedder.identity, embedder.vector_weight) == (Telling.identity, Telling.vector_weight)
    assert (embedder.embed_query("granite") == Telling().embed_query("granite")).all()

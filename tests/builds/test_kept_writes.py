"""What is written directly outlives the builds from a source that does not have it, for as long as they are told to keep it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from outcrop import Collection, Database, Document, Gate

ANYTHING = Gate(vanished_share_max=1.0)
SOURCE = [Document(f"d{n}", f"granite {n}") for n in range(5)]


@pytest.fixture
def rocks(db: Database) -> Collection:
    """Built from the source; then one document came, one changed and one went."""
    collection = db.create_collection("rocks", embedder="hashing:8")
    collection.build(SOURCE, promote=True)
    collection.upsert([Document("extra", "gabbro"), Document("d1", "changed")])
    collection.delete("d2")
    return collection


def held(collection: Collection) -> dict[str, str]:
    return {one.id: one.text for one in collection.scan()}


KEPT = {"d0": "granite 0", "d1": "changed", "d3": "granite 3", "d4": "granite 4", "extra": "gabbro"}


def test_they_are_kept_night_after_night(rocks: Collection) -> None:
    for _ in range(3):
        rocks.promote(rocks.build(SOURCE, keep_writes=True), gate=ANYTHING)
        assert held(rocks) == KEPT


def test_a_build_of_the_own_documents_between_does_not_make_them_the_sources(rocks: Collection) -> None:
    rocks.promote(rocks.build(embedder="hashing:16"), gate=ANYTHING)
    assert held(rocks) == KEPT
    rocks.promote(rocks.build(SOURCE, keep_writes=True), gate=ANYTHING)
    assert held(rocks) == KEPT


def test_what_is_written_later_counts_over_what_was_kept(rocks: Collection) -> None:
    rocks.promote(rocks.build(SOURCE, keep_writes=True), gate=ANYTHING)
    rocks.upsert(Document("d2", "back again"))
    rocks.delete("extra")
    for _ in range(2):
        rocks.promote(rocks.build(SOURCE, keep_writes=True), gate=ANYTHING)
        assert held(rocks) == {**{one: KEPT[one] for one in KEPT if one != "extra"}, "d2": "back again"}


def test_a_build_that_does_not_keep_them_is_the_source_and_nothing_else(rocks: Collection) -> None:
    rocks.promote(rocks.build(SOURCE, keep_writes=True), gate=ANYTHING)
    for keep in (False, True):
        rocks.promote(rocks.build(SOURCE, keep_writes=keep), gate=ANYTHING)
        assert held(rocks) == {one.id: one.text for one in SOURCE}


def test_what_is_written_while_such_a_build_runs_is_in_it_and_kept_too(rocks: Collection) -> None:
    def source() -> Iterator[Document]:
        yield from SOURCE[:2]
        rocks.upsert(Document("during", "schist"))
        rocks.delete("d4")
        yield from SOURCE[2:]

    wanted = {**{one: KEPT[one] for one in KEPT if one != "d4"}, "during": "schist"}
    rocks.promote(rocks.build(source(), keep_writes=True), gate=ANYTHING)
    assert held(rocks) == wanted
    rocks.promote(rocks.build(SOURCE, keep_writes=True), gate=ANYTHING)
    assert held(rocks) == wanted


def test_documents_without_the_vector_that_the_others_have_are_built_anew_as_they_are(db: Database) -> None:
    """They are there after a rollback from a generation in which no document needs one."""
    given = db.create_collection("given", embedder="none")
    vector = np.ones(4, np.float32)
    given.build([Document("a", "granite", vector=vector)], promote=True)
    given.promote(given.build([Document("a", "granite")], embedder="hashing:8"), gate=ANYTHING)
    given.upsert(Document("bare", "basalt"))
    assert given.rollback(allow_lexical=True).unembedded == 1
    built = given.build()
    assert (built.document_count, built.unembedded, built.recipe.dimension) == (2, 1, 4)
    given.promote(built)
    assert [hit.document_id for hit in given.search("basalt", mode="lexical")] == ["bare"]
    hits = given.search("basalt", vector=vector)
    assert "no vector" in hits.warnings[-1]
    given.upsert(Document("bare", "basalt", vector=vector))
    assert given.active is not None
    assert given.active.unembedded == 0

"""Every operation in any order, against a model of a few dictionaries: nothing is lost, nothing comes back."""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import outcrop
from outcrop import Config, Document, Gate
from outcrop.errors import NothingToRollBack

IDS = [f"d{number}" for number in range(12)]
ids = st.sampled_from(IDS)
colours = st.sampled_from(["red", "green", "blue"])
words = st.lists(st.sampled_from(["basalt", "granite", "schist", "chalk", "shale"]), min_size=1, max_size=4)
documents = st.builds(
    lambda document_id, text, colour: Document(document_id, " ".join([f"word{document_id}", *text]), metadata={"colour": colour}),
    ids,
    words,
    colours,
)
batches = st.lists(documents, min_size=1, max_size=5, unique_by=lambda one: one.id)
ANYTHING = Gate(vanished_share_max=1.0)
Contents = dict[str, Document]


class Collections(RuleBasedStateMachine):
    """What each generation holds is a dictionary; a write goes into all of them."""

    symlinks = "auto"

    @initialize(begun_with=st.one_of(st.none(), batches))
    def begin(self, begun_with: list[Document] | None) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.generations: dict[int, Contents] = {}
        self.active: int | None = None
        self.came_from: dict[int, int | None] = {}
        self.open()
        self.collection = self.db.create_collection("rocks", embedder="hashing:16", chunker="none")
        self.other = self.second.collection("rocks")
        if begun_with is not None:
            self.build(begun_with, promote=True)

    def open(self) -> None:
        self.db = outcrop.open(self.folder, config=Config.test(symlinks=self.symlinks, tail_chunks_max=4))
        self.second = outcrop.open(self.folder, config=Config.test(symlinks=self.symlinks))

    @rule(batch=batches)
    def upsert(self, batch: list[Document]) -> None:
        first = self.active is None
        result = self.collection.upsert(batch)
        if first:
            made = self.collection.active
            assert made is not None
            self.generations[made.number], self.came_from[made.number] = {}, None
            self.active = made.number
        assert result.upserted == len(batch)
        assert result.replaced == sum(one.id in self.contents for one in batch)
        for held in self.generations.values():
            held.update({one.id: one for one in batch})

    @rule(gone=st.lists(ids, min_size=1, max_size=4, unique=True))
    def delete(self, gone: list[str]) -> None:
        result = self.collection.delete(gone)
        assert result.deleted == sum(one in self.contents for one in gone)
        self._remove(gone)

    @rule(colour=colours)
    def delete_where(self, colour: str) -> None:
        gone = [one.id for one in self.contents.values() if one.metadata["colour"] == colour]
        assert self.collection.delete(where={"colour": colour}).deleted == len(gone)
        self._remove(gone)

    @rule(changed=st.lists(ids, min_size=1, max_size=4, unique=True), colour=colours)
    def update_metadata(self, changed: list[str], colour: str) -> None:
        known = [one for one in changed if one in self.contents]
        assert self.collection.update_metadata(changed, {"colour": colour}).updated == len(known)
        for held in self.generations.values():
            for one in known:
                if one in held:
                    held[one] = msgspec.structs.replace(held[one], metadata={**held[one].metadata, "colour": colour})

    @rule(batch=batches, promote=st.booleans())
    def build(self, batch: list[Document], promote: bool) -> None:
        self._built(self.collection.build(batch), {one.id: one for one in batch}, promote=promote)

    @precondition(lambda self: self.active is not None and self.contents)
    @rule(promote=st.booleans(), analyzer=st.sampled_from(["english", "simple"]), dimension=st.sampled_from([8, 16]))
    def build_own_documents(self, promote: bool, analyzer: str, dimension: int) -> None:
        info = self.collection.build(analyzer=analyzer, embedder=f"hashing:{dimension}")
        self._built(info, dict(self.contents), promote=promote)

    @precondition(lambda self: self.generations)
    @rule(data=st.data())
    def promote(self, data: st.DataObject) -> None:
        self._promote(data.draw(st.sampled_from(sorted(self.generations))))

    @precondition(lambda self: self.active is not None)
    @rule()
    def roll_back(self) -> None:
        back = self.came_from[self.active]  # type: ignore[index]
        if back not in self.generations:
            try:
                self.collection.rollback()
            except (NothingToRollBack, KeyError):
                return
            raise AssertionError("there was nothing to roll back to")
        self.collection.rollback()
        self.came_from[back], self.active = self.active, back  # type: ignore[index]

    @rule()
    def optimize(self) -> None:
        self.collection.optimize()

    @rule()
    def collect_garbage(self) -> None:
        self.collection.gc()
        self._forget_removed()

    @rule()
    def reopen(self) -> None:
        self.db.close()
        self.second.close()
        self.open()
        self.collection, self.other = self.db.collection("rocks"), self.second.collection("rocks")

    @invariant()
    def agrees_with_the_model(self) -> None:
        if self.active is None:
            assert self.collection.active is None
            return
        for seen in (self.collection, self.other):
            assert {one.id: one for one in seen.scan()} == self.contents
            assert seen.count() == len(self.contents)
            for document_id in IDS:
                self._check_search(seen, document_id)

    def teardown(self) -> None:
        if hasattr(self, "db"):
            self.db.close()
            self.second.close()
            shutil.rmtree(self.folder)

    @property
    def contents(self) -> Contents:
        return {} if self.active is None else self.generations[self.active]

    def _check_search(self, seen: Any, document_id: str) -> None:
        lexical = seen.search(f"word{document_id}", mode="lexical")
        assert lexical.generation == self.active
        assert [hit.document_id for hit in lexical] == ([document_id] if document_id in self.contents else [])
        colour = random.Random(document_id).choice(["red", "green", "blue"])
        nearest = seen.search(f"word{document_id}", mode="vector", k=20, where={"colour": colour})
        wanted = {one.id for one in self.contents.values() if one.metadata["colour"] == colour}
        assert {hit.document_id for hit in nearest} == wanted
        assert all(hit.metadata == self.contents[hit.document_id].metadata for hit in nearest)

    def _built(self, info: outcrop.GenerationInfo, held: Contents, *, promote: bool) -> None:
        self._forget_removed()
        self.generations[info.number] = held
        self.came_from[info.number] = None
        if promote:
            self._promote(info.number)

    def _promote(self, number: int) -> None:
        self.collection.promote(number, gate=ANYTHING)
        if number != self.active:
            self.came_from[number], self.active = self.active, number

    def _remove(self, gone: list[str]) -> None:
        for held in self.generations.values():
            for one in gone:
                held.pop(one, None)

    def _forget_removed(self) -> None:
        left = {one.number for one in self.collection.generations()}
        assert self.active is None or self.active in left
        self.generations = {number: held for number, held in self.generations.items() if number in left}


class CollectionsWithoutLinks(Collections):
    """The same with the pointer file."""

    symlinks = "never"


# Shrinking takes minutes here, and the steps of a failure are few enough to be read.
_settings = settings(max_examples=12, stateful_step_count=25, deadline=None, phases=[Phase.explicit, Phase.generate])
TestCollections = Collections.TestCase
TestCollections.settings = _settings
TestCollectionsWithoutLinks = CollectionsWithoutLinks.TestCase
TestCollectionsWithoutLinks.settings = _settings

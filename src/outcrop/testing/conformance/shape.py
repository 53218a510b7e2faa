"""What an engine looks like from outside, and whether it works here."""

from __future__ import annotations

import pickle
import sys

import pytest

from outcrop.documents import DocumentsWriter
from outcrop.engines.protocol import Engine, GenerationIndex, IndexSnapshot
from outcrop.errors import EngineUnavailable
from outcrop.model import Capabilities
from outcrop.testing.conformance.generation import Generation, Generations, items
from outcrop.testing.conformance.signatures import differences
from outcrop.testing.conformance.suite import Suite


class Shape(Suite):
    """Names, signatures, capabilities and availability."""

    def test_its_methods_have_the_parameters_of_the_protocol(self) -> None:
        """One kind of backend."""
        assert differences(self.engine, Engine) == []

    def test_the_methods_of_its_index_have_the_parameters_of_the_protocol(self, generations: Generations) -> None:
        """One generation's index in one engine: first building, then, once sealed, open."""
        assert differences(generations.built().index, GenerationIndex) == []

    def test_the_methods_of_its_snapshot_have_the_parameters_of_the_protocol(self, generations: Generations) -> None:
        """One generation's index as of one write."""
        snapshot = generations.built().index.snapshot()
        assert differences(snapshot, IndexSnapshot) == []
        assert (type(snapshot.sequence), type(snapshot.lag)) == (int, int)

    def test_it_says_what_it_is_called_and_what_it_can_do(self) -> None:
        """What an engine can do."""
        assert isinstance(self.engine.name, str)
        assert self.engine.name.isidentifier()
        assert isinstance(self.engine.capabilities, Capabilities)
        assert self.engine.capabilities.filters
        assert self.engine.capabilities.metrics

    def test_where_it_does_not_work_it_says_why_and_what_to_do(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whether an engine works here; if not, why and what to do about it."""
        found = self.engine.availability()
        if found.available:
            assert (found.reason, found.remedy) == (None, None)
        else:
            assert found.reason
            assert found.remedy
        assert self.needs or found.available, "it needs nothing, and is not available"
        for needed in self.needs:
            with monkeypatch.context() as hidden:
                hidden.setitem(sys.modules, needed, None)
                without = self.engine.availability()
            assert not without.available, f"available without {needed}"
            assert without.reason, f"no reason without {needed}"
            assert without.remedy, f"no remedy without {needed}"

    def test_where_it_does_not_work_it_makes_and_opens_nothing(
        self, generations: Generations, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whether this engine works here. Where it does not, `create` and `open` raise `EngineUnavailable`."""
        generation = generations.built(items(range(3)))
        empty = generations.folder / "empty"
        empty.mkdir()
        DocumentsWriter.create(empty).close()
        for needed in self.needs:
            with monkeypatch.context() as hidden:
                hidden.setitem(sys.modules, needed, None)
                with pytest.raises(EngineUnavailable):
                    self.engine.open(generation.recipe, generation.directory)
                with pytest.raises(EngineUnavailable):
                    self.engine.create(generation.recipe, empty)
        assert self.engine.availability().available

    def test_a_copy_of_the_engine_opens_what_it_made(self, generations: Generations) -> None:
        """Engines hold no state of their own: everything lives in the generation's folder."""
        generation = generations.built(items(range(3)))
        generation.write(items(range(3, 5)))
        copy: Engine = pickle.loads(pickle.dumps(self.engine))  # noqa: S301 - made here
        generation.close()
        moved = generation.directory.rename(generation.directory.with_name("moved"))
        found = Generation(copy, generation.recipe, moved, generation)
        try:
            assert found.seen() == generation.expected()
            assert len(generation.living) == 5
        finally:
            found.close()

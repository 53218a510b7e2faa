"""The LanceDB engine against the suite for engines: with its table in the generation's folder, in another one, and in a store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest

from outcrop.engines.lancedb import LanceEngine
from outcrop.engines.protocol import Engine
from outcrop.testing.conformance import EngineSuite, Keeping, Writing, not_possible_upstream
from tests.engines import stores

_CANNOT = (
    not_possible_upstream(
        "LanceDB does not say what a term contributes to a score",
        "test_what_the_terms_contribute_adds_up_to_the_score",
        "test_an_unknown_slot_has_no_explanation",
    ),
)


class TestLanceDB(EngineSuite):
    engine = LanceEngine()
    needs = ("lancedb", "pyarrow")
    cannot = _CANNOT


class TestLanceDBInAnotherFolder(EngineSuite):
    engine: ClassVar[Engine] = LanceEngine()
    needs = ("lancedb", "pyarrow")
    cannot = _CANNOT

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _place(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        cls.engine = LanceEngine(tmp_path_factory.mktemp("tables").as_uri())


class TestLanceDBInAStore(Writing, Keeping):
    """The parts that are about what is kept where; what is found does not depend on that, and the rest takes minutes."""

    engine: ClassVar[Engine] = LanceEngine()
    needs = ("lancedb", "pyarrow")

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _store(cls) -> Iterator[None]:
        with stores.running_store() as store:
            cls.engine = LanceEngine(store.uri)
            yield

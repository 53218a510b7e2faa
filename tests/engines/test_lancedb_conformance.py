"""The LanceDB engine against the suite for engines: with its table in the generation's folder, in another one, and in a store.

Where it lies elsewhere, the parts are run that are about what is kept where; what is found does not depend on that. `make
conformance` runs all of them everywhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import ClassVar

import pytest

from outcrop.engines.lancedb import LanceEngine
from outcrop.engines.protocol import Engine
from outcrop.testing.conformance import Absorbing, EngineSuite, Keeping, Shape, Snapshots, Writing, not_possible_upstream
from tests.engines import stores

_CANNOT = (
    not_possible_upstream(
        "LanceDB does not say what a term contributes to a score",
        "test_what_the_terms_contribute_adds_up_to_the_score",
        "test_an_unknown_slot_has_no_explanation",
    ),
)
_WHOLE = "WHOLE_SUITES" in os.environ
_CANNOT_ELSEWHERE = _CANNOT if _WHOLE else ()
_IN_A_FOLDER = (EngineSuite,) if _WHOLE else (Shape, Writing, Snapshots, Absorbing, Keeping)
_IN_A_STORE = (EngineSuite,) if _WHOLE else (Writing, Keeping)  # each of its tests takes seconds


class TestLanceDB(EngineSuite):
    engine = LanceEngine()
    needs = ("lancedb", "pyarrow")
    cannot = _CANNOT


class TestLanceDBInAnotherFolder(*_IN_A_FOLDER):
    engine: ClassVar[Engine] = LanceEngine()
    needs = ("lancedb", "pyarrow")
    cannot = _CANNOT_ELSEWHERE

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _place(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        cls.engine = LanceEngine(tmp_path_factory.mktemp("tables").as_uri())


class TestLanceDBInAStore(*_IN_A_STORE):
    engine: ClassVar[Engine] = LanceEngine()
    needs = ("lancedb", "pyarrow")
    cannot = _CANNOT_ELSEWHERE

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _store(cls) -> Iterator[None]:
        with stores.running_store() as store:
            cls.engine = LanceEngine(store.uri)
            yield

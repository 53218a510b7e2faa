"""The LanceDB engine against the suite for engines."""

from __future__ import annotations

from outcrop.engines.lancedb import LanceEngine
from outcrop.testing.conformance import EngineSuite, not_possible_upstream


class TestLanceDB(EngineSuite):
    engine = LanceEngine()
    needs = ("lancedb", "pyarrow")
    cannot = (
        not_possible_upstream(
            "LanceDB does not say what a term contributes to a score",
            "test_what_the_terms_contribute_adds_up_to_the_score",
            "test_an_unknown_slot_has_no_explanation",
        ),
    )

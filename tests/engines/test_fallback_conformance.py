"""LanceDB with the built-in fallback, as one engine, against the suite for engines."""

from __future__ import annotations

from functools import partial

import pytest

from outcrop.engines.builtin import BuiltinEngine
from outcrop.engines.fallback import FallbackEngine, Policy
from outcrop.engines.lancedb import LanceEngine
from outcrop.testing.conformance import EngineSuite, not_possible_upstream

pytest.importorskip("lancedb")


class TestFallback(EngineSuite):
    engine = FallbackEngine(
        "lancedb_with_fallback",
        LanceEngine,
        BuiltinEngine(),
        partial(Policy, failures_max=5, open_seconds=30.0, apply_seconds=20.0),
    )
    cannot = (
        not_possible_upstream(
            "LanceDB does not say what a term contributes to a score",
            "test_what_the_terms_contribute_adds_up_to_the_score",
            "test_an_unknown_slot_has_no_explanation",
        ),
    )

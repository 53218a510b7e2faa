"""Suites of engines that declare something, or do not work here. Not collected by itself: `test_conformance` runs it."""

from __future__ import annotations

from outcrop.engines.builtin import BuiltinEngine
from outcrop.engines.protocol import Availability
from outcrop.testing.conformance import EngineSuite, never
from tests.engines.broken_searching import ExplainsNothingEngine


class TestDeclares(EngineSuite):
    """What it cannot do is declared, and expected."""

    engine = ExplainsNothingEngine()
    cannot = (never("its library keeps no term statistics", "test_what_the_terms_contribute_adds_up_to_the_score"),)


class TestDeclaresTooMuch(EngineSuite):
    """It can what it says that it cannot."""

    engine = BuiltinEngine()
    cannot = (never("it is said to be slow", "test_a_new_index_is_empty", "test_the_nearest_are_those_of_the_oracle[l2]"),)


class NotHere(BuiltinEngine):
    def availability(self) -> Availability:
        return Availability(available=False, reason="it is not installed", remedy="install it")


class TestUnavailable(EngineSuite):
    """What does not work here is skipped, in the engine's words."""

    engine = NotHere()
    needs = ("outcrop_needs_this",)

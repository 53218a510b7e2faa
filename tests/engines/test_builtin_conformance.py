"""The built-in engine passes the whole suite, and declares nothing."""

from __future__ import annotations

from outcrop.engines.builtin import BuiltinEngine
from outcrop.testing.conformance import EngineSuite


class TestBuiltin(EngineSuite):
    engine = BuiltinEngine()

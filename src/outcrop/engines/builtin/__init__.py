"""The built-in engine."""

from outcrop.engines.builtin.index import BuiltinEngine, BuiltinIndex

__all__ = ["BuiltinEngine", "BuiltinIndex"]

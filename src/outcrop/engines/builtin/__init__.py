"""The built-in engine."""

from outcrop.engines.builtin.index import BuiltinEngine, BuiltinIndex
from outcrop.engines.builtin.snapshot import BuiltinSnapshot

__all__ = ["BuiltinEngine", "BuiltinIndex", "BuiltinSnapshot"]

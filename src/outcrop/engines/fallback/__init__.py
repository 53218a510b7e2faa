"""Two engines for one generation: both are written, the first is read, and the second answers when the first cannot."""

from outcrop.engines.fallback.breaker import Breaker
from outcrop.engines.fallback.engine import FallbackEngine, Policy
from outcrop.engines.fallback.index import FallbackIndex
from outcrop.engines.fallback.leading import NoIndex

__all__ = ["Breaker", "FallbackEngine", "FallbackIndex", "NoIndex", "Policy"]

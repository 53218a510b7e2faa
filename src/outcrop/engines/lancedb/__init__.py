"""The LanceDB engine: one table per generation, in the generation's own folder or at a URI. Needs the extra `lancedb`."""

from outcrop.engines.lancedb.engine import LanceEngine

__all__ = ["LanceEngine"]

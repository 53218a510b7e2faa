"""For tests of users and of engines: a brute-force oracle, and an embedder that needs no model."""

from outcrop.embedding import HashingEmbedder
from outcrop.testing.oracle import nearest, select

__all__ = ["HashingEmbedder", "nearest", "select"]

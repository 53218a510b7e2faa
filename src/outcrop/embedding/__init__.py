"""Embedders: what turns text into vectors. No model and no optional library is loaded before it is used."""

from outcrop.embedding.cache import EmbeddingCache
from outcrop.embedding.cached import CacheCounts, CachedEmbedder
from outcrop.embedding.fingerprint import check_identity, check_probes, probe_texts, probe_vectors
from outcrop.embedding.hashing import HashingEmbedder
from outcrop.embedding.protocol import Embedder
from outcrop.embedding.registry import EmbedderFacts, available, default_spec, resolve

__all__ = [
    "CacheCounts",
    "CachedEmbedder",
    "Embedder",
    "EmbedderFacts",
    "EmbeddingCache",
    "HashingEmbedder",
    "available",
    "check_identity",
    "check_probes",
    "default_spec",
    "probe_texts",
    "probe_vectors",
    "resolve",
]

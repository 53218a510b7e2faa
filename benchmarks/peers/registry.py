"""Which peers there are, what they can do, and how each is set up: by its own documentation, for the least latency at a recall."""

from __future__ import annotations

import importlib
import importlib.util

import msgspec

from benchmarks.peers.protocol import Peer

OUTCROP, LIMIT = "Outcrop", "raw Tantivy + FAISS"
LEXICAL, VECTOR, HYBRID = "lexical", "vector", "hybrid"
MODES = (LEXICAL, VECTOR, HYBRID)
_EFFORTS = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768)


class Entry(msgspec.Struct, frozen=True):
    """A peer. `efforts` are the search efforts to choose from, rising; where there are none, nothing is chosen."""

    name: str
    module: str
    imports: tuple[str, ...]
    packages: tuple[str, ...]
    settings: str
    modes: tuple[str, ...] = MODES
    efforts: tuple[int, ...] = _EFFORTS
    filters: bool = True
    upserts: bool = True
    kind: str | None = None  # what the module is told, where it makes several

    @property
    def installed(self) -> bool:
        """Whether everything that it needs can be imported."""
        return all(importlib.util.find_spec(name) is not None for name in self.imports)

    def make(self) -> Peer:
        """The peer itself, not open yet. Imports its libraries, so that their import is in no measured time."""
        for name in self.imports:
            importlib.import_module(name)
        side = importlib.import_module(f"benchmarks.peers.{self.module}").Side
        made: Peer = side() if self.kind is None else side(self.kind)
        return made


ENTRIES = (
    Entry(
        name=OUTCROP,
        module="built_in",
        imports=("outcrop",),
        packages=("outcrop",),
        efforts=(),
        settings="defaults: built-in engine, vector index and effort chosen when the generation was sealed",
    ),
    Entry(
        name=LIMIT,
        module="raw_legs",
        imports=("tantivy", "faiss"),
        packages=("tantivy", "faiss-cpu"),
        filters=False,
        upserts=False,
        settings="HNSW32 on 8-bit codes, its best scored again by the vectors, both legs at once, ranks fused; no text read",
    ),
    Entry(
        name="LanceDB",
        module="lance",
        imports=("lancedb", "pyarrow"),
        packages=("lancedb", "pyarrow"),
        settings="IVF_HNSW_SQ in one partition, refine_factor 2 for ten, FTS with stemming, prewarmed, asynchronous interface, RRF",
    ),
    Entry(
        name="zvec",
        module="zvec_collection",
        imports=("zvec",),
        packages=("zvec",),
        settings="HNSW m 16, INT8, contiguous memory, refiner; FTS with stemmer, RRF",
    ),
    Entry(
        name="Qdrant Edge",
        module="qdrant_shard",
        imports=("qdrant_edge",),
        packages=("qdrant-edge-py",),
        settings="HNSW m 16, INT8 in memory, rescored from twice as many; BM25 as sparse vectors, RRF in the shard",
    ),
    Entry(
        name="Chroma",
        module="chroma",
        imports=("chromadb",),
        packages=("chromadb",),
        modes=(VECTOR,),
        settings="persistent client, HNSW with 16 neighbours",
    ),
    Entry(
        name="Milvus Lite",
        module="milvus",
        imports=("pymilvus", "milvus_lite"),
        packages=("milvus-lite", "pymilvus"),
        settings="HNSW M 16, BM25 function with the standard analyzer (it has no stemmer), RRFRanker",
    ),
    Entry(
        name="bm25s",
        module="sparse_bm25",
        imports=("bm25s", "Stemmer", "numba"),
        packages=("bm25s", "pystemmer", "numba"),
        modes=(LEXICAL,),
        efforts=(),
        filters=False,
        upserts=False,
        settings="Lucene's BM25, numba backend, Snowball stemmer",
    ),
    Entry(
        name="SQLite FTS5",
        module="fts5",
        imports=("sqlite3",),
        packages=(),
        modes=(LEXICAL,),
        efforts=(),
        settings="porter unicode61, terms joined by OR, optimized; WAL, synchronous=FULL",
    ),
    Entry(
        name="hnswlib",
        module="hnsw_graph",
        imports=("hnswlib",),
        packages=("hnswlib",),
        modes=(VECTOR,),
        settings="M 16, ef_construction 200, float32 in memory; filter by a callback",
    ),
)


HNSW, HNSW_8_BIT, IVF, IVF_PQ = FAISS_KINDS = ("hnsw", "hnsw 8 bit", "ivf", "ivf-pq fast-scan")
_IN_CURVES = ("hnswlib", "zvec", "LanceDB")
_PROBES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def curve_entries() -> list[Entry]:
    """The indexes whose recall is drawn over their latency: kinds of FAISS and of Outcrop, and peers with a graph."""
    vector = {"modes": (VECTOR,), "filters": False, "upserts": False}
    raw = [
        Entry(
            name=f"FAISS {kind}",
            module="faiss_kinds",
            imports=("faiss",),
            packages=("faiss-cpu",),
            settings="called directly",
            efforts=_PROBES if kind.startswith("ivf") else _EFFORTS,
            kind=kind,
            **vector,
        )
        for kind in FAISS_KINDS
    ]
    ours = [
        msgspec.structs.replace(
            entry(OUTCROP), name=f"{OUTCROP} {kind}, {candidates} candidates", kind=f"{kind} {candidates}", **vector
        )
        for kind in ("hnsw", "ivf_flat", "ivf_pq")
        for candidates in (10, 100)
    ]
    peers = [msgspec.structs.replace(entry(name), **vector) for name in _IN_CURVES]
    return [one for one in (*ours, *raw, *peers) if one.installed]


def entry(name: str) -> Entry:
    """The entry of that name, also of one that is in the curves only."""
    found = next((one for one in ENTRIES if one.name == name), None)
    if found is None:
        found = next((one for one in curve_entries() if one.name == name), None)
    if found is None:
        raise SystemExit(f"there is no peer {name!r}; there are {', '.join(one.name for one in ENTRIES)}")
    return found

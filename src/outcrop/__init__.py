"""Outcrop: hybrid search in which an index is a generation, built beside the live one, promoted in one step, rolled back.

>>> import outcrop, tempfile
>>> db = outcrop.open(tempfile.mkdtemp())
>>> rocks = db.create_collection("rocks", embedder="none")
>>> first = rocks.build([outcrop.Document(id="slate", text="Slate splits into thin layers.")], promote=True)
>>> [hit.document_id for hit in rocks.search("a rock that splits")]
['slate']
>>> db.close()
"""

from outcrop import errors
from outcrop.collection import Collection
from outcrop.config import Config
from outcrop.database import Database, open  # noqa: A004 - outcrop.open reads best
from outcrop.embedding.protocol import Embedder
from outcrop.engines.protocol import Availability
from outcrop.errors import OutcropError
from outcrop.filters import Filter
from outcrop.ingest import BadRecord, Chunker, Piece, Progress, ProgressSink
from outcrop.judging import Comparison, Gate, GateCheck, GateContext, GateReport
from outcrop.model import (
    Capabilities,
    Chunk,
    Citation,
    Document,
    EmbedderIdentity,
    Explanation,
    GenerationInfo,
    IndexSpec,
    LegExplanation,
    Recipe,
    Running,
    SearchMode,
    Stats,
    TermScore,
)
from outcrop.retrieval.fusion import Fusion
from outcrop.retrieval.hits import Degraded, Hit, Hits, TookMs

__version__ = "0.1.0"

__all__ = [
    "Availability",
    "BadRecord",
    "Capabilities",
    "Chunk",
    "Chunker",
    "Citation",
    "Collection",
    "Comparison",
    "Config",
    "Database",
    "Degraded",
    "Document",
    "Embedder",
    "EmbedderIdentity",
    "Explanation",
    "Filter",
    "Fusion",
    "Gate",
    "GateCheck",
    "GateContext",
    "GateReport",
    "GenerationInfo",
    "Hit",
    "Hits",
    "IndexSpec",
    "LegExplanation",
    "OutcropError",
    "Piece",
    "Progress",
    "ProgressSink",
    "Recipe",
    "Running",
    "SearchMode",
    "Stats",
    "TermScore",
    "TookMs",
    "errors",
    "open",
]

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
from outcrop.builds.maintenance import OptimizeReport, RepairReport, VerifyReport
from outcrop.collection import Collection
from outcrop.config import Config
from outcrop.database import Database, open  # noqa: A004 - outcrop.open reads best
from outcrop.embedding.protocol import Embedder
from outcrop.engines.protocol import Availability
from outcrop.errors import OutcropError
from outcrop.filters import Filter
from outcrop.generations.collecting import GcReport
from outcrop.index_values import IndexChoice, IndexSpec, LiveRecall, RecallGoal, RecallPoint
from outcrop.ingest import BadRecord, Chunker, Piece, Progress, ProgressSink
from outcrop.insights import Advice, Insights
from outcrop.judging import Comparison, Gate, GateCheck, GateContext, GateReport
from outcrop.log_values import QueryLogStats
from outcrop.memory import CacheStats
from outcrop.model import (
    Capabilities,
    Chunk,
    Citation,
    Degraded,
    Document,
    EmbedderIdentity,
    Explanation,
    GenerationInfo,
    HistoryEntry,
    LegExplanation,
    Recipe,
    RollbackPlan,
    Running,
    SearchMode,
    ServingStats,
    Stats,
    TermScore,
    WriteResult,
)
from outcrop.reloading import ChangedSetting, Reloaded, WaitingSetting
from outcrop.retrieval.fusion import Fusion
from outcrop.retrieval.hits import FoundBy, Hit, Hits, TookMs
from outcrop.writes.streaming import BulkResult, WrittenBatch

__version__ = "0.1.0"

__all__ = [
    "Advice",
    "Availability",
    "BadRecord",
    "BulkResult",
    "CacheStats",
    "Capabilities",
    "ChangedSetting",
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
    "FoundBy",
    "Fusion",
    "Gate",
    "GateCheck",
    "GateContext",
    "GateReport",
    "GcReport",
    "GenerationInfo",
    "HistoryEntry",
    "Hit",
    "Hits",
    "IndexChoice",
    "IndexSpec",
    "Insights",
    "LegExplanation",
    "LiveRecall",
    "OptimizeReport",
    "OutcropError",
    "Piece",
    "Progress",
    "ProgressSink",
    "QueryLogStats",
    "RecallGoal",
    "RecallPoint",
    "Recipe",
    "Reloaded",
    "RepairReport",
    "RollbackPlan",
    "Running",
    "SearchMode",
    "ServingStats",
    "Stats",
    "TermScore",
    "TookMs",
    "VerifyReport",
    "WaitingSetting",
    "WriteResult",
    "WrittenBatch",
    "errors",
    "open",
]

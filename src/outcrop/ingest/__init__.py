"""Documents in: sources that stream them, chunkers that cut them, a bounded pipeline and its progress."""

from outcrop.ingest.chunking import Chunker, Piece, resolve_chunker
from outcrop.ingest.fingerprint import fingerprint
from outcrop.ingest.jsonl import lines_of
from outcrop.ingest.pipeline import staged
from outcrop.ingest.progress import Meter, Progress, ProgressSink, StageShare
from outcrop.ingest.records import RECORD_BYTES_MAX, BadRecord, OnError, Record, Source, check_on_error
from outcrop.ingest.sources import SourceLike, open_source
from outcrop.ingest.stage_clock import StageClock
from outcrop.ingest.weighing import Bound

__all__ = [
    "RECORD_BYTES_MAX",
    "BadRecord",
    "Bound",
    "Chunker",
    "Meter",
    "OnError",
    "Piece",
    "Progress",
    "ProgressSink",
    "Record",
    "Source",
    "SourceLike",
    "StageClock",
    "StageShare",
    "check_on_error",
    "fingerprint",
    "lines_of",
    "open_source",
    "resolve_chunker",
    "staged",
]

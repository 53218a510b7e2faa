from __future__ import annotations

from outcrop import Progress
from outcrop.ingest import StageShare
from outcrop.surfaces.cli.progress import told


def progress(**values: object) -> Progress:
    known = {"phase": "read, embed", "documents": 500, "chunks": 500, "seconds": 2.0, "rate": 250.0}
    rest = {"position_bytes": None, "size_bytes": None, "skipped": 0, "remaining_seconds": None}
    return Progress(**{**known, **rest, **values})  # type: ignore[arg-type]


def test_the_slowest_stage_is_told_with_how_busy_it_is() -> None:
    stages = (StageShare("read", 0.25), StageShare("embed", 0.97), StageShare("write", 0.5))
    assert told(progress(stages=stages)) == "500 documents, 250/s, embed sets the pace (97% busy)"
    assert told(progress(stages=stages, seconds=0.5)) == "500 documents, 250/s", "too early to tell"


def test_what_is_under_way_is_told_in_bytes_and_what_was_read_where_there_is_no_total() -> None:
    assert (
        told(progress(held_bytes=31_000_000, held_bytes_max=100_000_000)) == "500 documents, 250/s, 31.0 MB of 100.0 MB under way"
    )
    assert told(progress(position_bytes=1_500_000)) == "1.5 MB read, 500 documents, 250/s"
    assert told(progress(position_bytes=1_500_000, size_bytes=3_000_000)) == "50%, 500 documents, 250/s"


def test_what_an_interrupted_build_had_prepared_is_told() -> None:
    assert told(progress(reused=400)) == "500 documents, 250/s, 400 from the interrupted build"

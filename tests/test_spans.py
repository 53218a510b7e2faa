"""What an application that traces is told, and that nothing is told to others."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import outcrop
from outcrop import Collection, Config, spans
from outcrop.errors import GateFailed, InvalidQuery

pytest.importorskip("opentelemetry.sdk", reason="the extra 'otel' is not installed")

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

ROCKS = [{"id": f"r-{number}", "text": f"rock number {number} is hard"} for number in range(12)]


@pytest.fixture
def rocks(tmp_path: Path) -> Iterator[Collection]:
    with outcrop.open(tmp_path / "kb", config=Config.mvp_only(background=False)) as db:
        made = db.create_collection("rocks", embedder="hashing:32")
        made.upsert(ROCKS)
        yield made


def taken(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    """The spans so far, by name, the last of each; and they are let go."""
    found = {one.name: one for one in exporter.get_finished_spans()}
    exporter.clear()
    return found


def children(found: dict[str, ReadableSpan], name: str) -> set[str]:
    parent = found[name].context
    return {one.name for one in found.values() if one.parent is not None and one.parent.span_id == parent.span_id}


def test_a_search_is_told_by_the_conventions_with_its_steps(rocks: Collection, exported: InMemorySpanExporter) -> None:
    hits = rocks.search("hard rock", k=3)

    found = taken(exported)
    whole = found["search rocks"]
    assert children(found, "search rocks") == {"embed", "lexical", "vector", "fuse", "fetch"}
    assert whole.kind is SpanKind.INTERNAL
    assert dict(whole.attributes or {}) == {
        "db.system.name": "outcrop",
        "db.namespace": "kb",
        "db.collection.name": "rocks",
        "db.operation.name": "search",
        "db.response.returned_rows": 3,
        "outcrop.search_mode": "hybrid",
        "outcrop.generation": 1,
        "outcrop.sequence": 1,
        "outcrop.engine": "builtin",
        "outcrop.cached": False,
        "outcrop.candidates": hits.total_candidates,
    }


def test_the_steps_lie_where_they_were(rocks: Collection, exported: InMemorySpanExporter) -> None:
    took = rocks.search("hard rock").took_ms

    found = taken(exported)
    whole = found.pop("search rocks")
    for name, one in found.items():
        assert whole.start_time <= one.start_time <= one.end_time <= whole.end_time, name
        if name != "embed":
            assert (one.end_time - one.start_time) / 1e6 == pytest.approx(getattr(took, name), abs=0.01), name
    assert found["embed"].end_time <= min(found["lexical"].start_time, found["vector"].start_time)
    assert max(found["lexical"].end_time, found["vector"].end_time) <= found["fuse"].start_time <= found["fetch"].start_time


def test_what_did_not_happen_is_not_told(rocks: Collection, exported: InMemorySpanExporter) -> None:
    rocks.search("hard", mode="lexical")
    assert set(taken(exported)) == {"search rocks", "lexical", "fuse", "fetch"}
    rocks.search("hard", mode="lexical")

    found = taken(exported)
    assert set(found) == {"search rocks"}
    assert found["search rocks"].attributes["outcrop.cached"] is True


def test_the_query_is_told_only_when_asked_for(rocks: Collection, exported: InMemorySpanExporter) -> None:
    rocks.search("a private matter")
    with pytest.raises(InvalidQuery):
        rocks.search("a private matter", k=-1)
    assert "private" not in str([one.to_json() for one in exported.get_finished_spans()])
    spans._Chosen.tells_queries = True
    taken(exported)
    rocks.search("a public matter")

    assert taken(exported)["search rocks"].attributes["db.query.text"] == "a public matter"


def test_an_error_is_told_by_its_kind(rocks: Collection, exported: InMemorySpanExporter) -> None:
    with pytest.raises(InvalidQuery):
        rocks.search("rock", k=0)

    failed = taken(exported)["search rocks"]
    assert failed.status.status_code is StatusCode.ERROR
    assert failed.attributes["error.type"] == "InvalidQuery"
    assert not failed.events


def test_a_batch_is_one_span(rocks: Collection, exported: InMemorySpanExporter) -> None:
    rocks.search_many([f"rock {number}" for number in range(7)], k=2)

    found = taken(exported)
    assert set(found) <= {"BATCH search rocks", "embed"}
    batch = found["BATCH search rocks"].attributes
    assert (batch["db.operation.batch.size"], batch["db.response.returned_rows"]) == (7, 14)
    rocks.search_many(["rock"])
    assert "db.operation.batch.size" not in taken(exported)["BATCH search rocks"].attributes


def test_a_write_is_told_with_its_steps(rocks: Collection, exported: InMemorySpanExporter) -> None:
    rocks.upsert(ROCKS[:2])

    found = taken(exported)
    assert children(found, "upsert rocks") == {"cut", "embed", "journal", "apply"}
    told = found["upsert rocks"].attributes
    assert (told["outcrop.sequence"], told["outcrop.upserted"], told["outcrop.replaced"]) == (2, 2, 2)


def test_builds_and_promotions_are_told_with_their_phases(rocks: Collection, exported: InMemorySpanExporter) -> None:
    rocks.build(promote=True)

    found = taken(exported)
    assert children(found, "build rocks") >= {"read, chunk, embed, write", "index", "verify", "promote rocks"}
    assert {"check", "judge", "cut over"} <= children(found, "promote rocks")
    assert found["build rocks"].attributes["outcrop.generation"] == 2
    with pytest.raises(GateFailed):
        rocks.build(ROCKS[:1], promote=True)
    refused = taken(exported)["promote rocks"]
    assert refused.attributes["error.type"] == "GateFailed"
    rocks.rollback()
    assert taken(exported)["rollback rocks"].attributes["outcrop.generation"] == 1


def test_what_is_not_sampled_costs_no_steps(rocks: Collection) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    spans.use(provider)
    try:
        rocks.search("hard rock")
        assert spans.current() is None
    finally:
        spans.use(None)
    assert exporter.get_finished_spans() == ()


def test_who_does_not_trace_has_nothing_of_it(tmp_path: Path) -> None:
    run(tmp_path, "import sys; search(); assert not [name for name in sys.modules if name.startswith('opentelemetry')]")


def test_the_provider_of_the_application_is_found_whenever_it_is_set(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
search()
from opentelemetry import trace
search()
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
with trace.get_tracer("app").start_as_current_span("answer"):
    search()
found = {one.name: one for one in exporter.get_finished_spans()}
assert found["search rocks"].parent.span_id == found["answer"].context.span_id
assert found["lexical"].parent.span_id == found["search rocks"].context.span_id
assert found["lexical"].instrumentation_scope.name == "outcrop"
""",
    )


def run(folder: Path, program: str) -> None:
    """Run a program in a process of its own, with `search` in it."""
    before = f"""
import outcrop
db = outcrop.open({str(folder / "kb")!r}, config=outcrop.Config.mvp_only(background=False, query_cache_seconds=0))
rocks = db.create_collection("rocks", embedder="none")
rocks.upsert({ROCKS!r})
search = lambda: rocks.search("hard", mode="lexical")
"""
    done: Any = subprocess.run([sys.executable, "-c", before + program], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_who_searches_while_the_api_is_being_imported_is_not_disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    spans.use(None)
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", ModuleType("opentelemetry.trace"))  # as another thread has it by then
    assert spans.tracer() is None

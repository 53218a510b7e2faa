"""What Prometheus reads."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

import outcrop
from outcrop import Collection, Config
from outcrop.index_values import LiveRecall
from outcrop.model import ServingStats
from outcrop.surfaces.http.builds import states
from outcrop.surfaces.http.builds.states import BuildsFolder
from tests.http.conftest import Client

OPERATIONS = ("upsert", "stream", "delete")
RESIDENT = "outcrop_process_resident_memory_bytes"


def _samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _value(text: str, name: str, **labels: str) -> float:
    return _samples(text)[name, frozenset(labels.items())]


def test_searches_are_counted_by_collection_mode_and_engine(client: Client) -> None:
    for _ in range(2):
        client.post("/v1/collections/rocks/search", json={"query": "slate"})
    client.post("/v1/collections/rocks/search/batch", json={"queries": ["slate", "granite"]})
    client.post("/v1/collections/gone/search", json={"query": "slate"})

    text = client.get("/metrics").text
    count = "outcrop_search_duration_seconds_count"
    assert _value(text, count, collection="rocks", mode="lexical", engine="builtin") == 4
    assert _value(text, "outcrop_searches_cached_total", collection="rocks") == 1
    assert _value(text, "outcrop_http_requests_total", method="POST", route="/v1/collections/{name}/search", status="404") == 1
    assert "gone" not in text


def test_collections_are_told_as_they_are(client: Client) -> None:
    client.post("/v1/collections/rocks/search", json={"query": "slate"})
    text = client.get("/metrics").text

    assert _value(text, "outcrop_documents", collection="rocks") == 3
    assert _value(text, "outcrop_sequence", collection="rocks") == 1
    assert _value(text, "outcrop_degraded", collection="rocks") == 0
    assert 'generation="1"' in text


def test_the_processes_of_a_server_add_up(server: Callable[..., httpx.Client]) -> None:
    address = str(server("--readers", "1").base_url)
    for _ in range(20):
        httpx.post(f"{address}/v1/collections/rocks/search", json={"query": "slate", "cache": False})

    text = httpx.get(f"{address}/metrics").text
    count = "outcrop_search_duration_seconds_count"
    assert _value(text, count, collection="rocks", mode="lexical", engine="builtin") == 20


def test_requests_are_told_by_their_routes_and_errors_by_their_kinds(client: Client) -> None:
    client.get("/v1/collections/rocks/documents/slate")
    client.get("/v1/collections/rocks/documents/granite")
    client.get("/v1/collections/rocks/documents/none")
    client.get("/no/such/path")
    client.request("BREW", "/livez")

    text = client.get("/metrics").text
    route = "/v1/collections/{name}/documents/{document_id}"
    assert _value(text, "outcrop_http_requests_total", method="GET", route=route, status="200") == 2
    assert _value(text, "outcrop_http_request_duration_seconds_count", method="GET", route=route) == 3
    assert _value(text, "outcrop_http_requests_total", method="GET", route="none", status="404") == 1
    assert _value(text, "outcrop_http_problems_total", problem="not-found") == 2
    assert 'method="other"' in text
    assert "BREW" not in text


def test_writes_are_counted_by_what_they_did(client: Client) -> None:
    documents = "/v1/collections/rocks/documents"
    client.post(documents, json={"documents": [{"id": "n-1", "text": "new"}, {"id": "n-2", "text": "new"}]})
    client.post(documents, content=b'{"id": "n-3", "text": "new"}\n', headers={"content-type": "application/x-ndjson"})
    client.delete(f"{documents}/n-1")

    text = client.get("/metrics").text
    written = {one: _value(text, "outcrop_written_documents_total", collection="rocks", operation=one) for one in OPERATIONS}
    assert written == {"upsert": 2, "stream": 1, "delete": 1}
    assert _value(text, "outcrop_write_duration_seconds_count", collection="rocks", operation="upsert") == 1


def test_caches_memory_and_the_process_are_told(client: Client) -> None:
    for _ in range(3):
        client.post("/v1/collections/rocks/search", json={"query": "slate"})

    text = client.get("/metrics").text
    assert _value(text, "outcrop_cache_hits_total", cache="answers") == 2
    assert _value(text, "outcrop_cache_misses_total", cache="answers") == 1
    assert _value(text, "outcrop_cache_size_bytes", cache="answers") > 0
    assert _value(text, "outcrop_memory_bytes", owner="query cache") > 0
    assert _value(text, "outcrop_http_requests_under_way") == 1  # this one
    assert _value(text, "outcrop_http_requests_waiting", queue="requests") == 0
    assert _value(text, "outcrop_disk_free_bytes") > 0


def test_a_promotion_is_counted_whoever_made_it(client: Client, folder: Path) -> None:
    assert _value(client.get("/metrics").text, "outcrop_promotions_total", collection="rocks", kind="promote") == 1
    with outcrop.open(folder, config=Config.mvp_only(background=False)) as db:
        db.collection("rocks").build(promote=True)
        db.collection("rocks").rollback()
    client.app.state.served.metrics._kept = None  # not the answer of a second ago

    text = client.get("/metrics").text
    assert _value(text, "outcrop_promotions_total", collection="rocks", kind="promote") == 2
    assert _value(text, "outcrop_promotions_total", collection="rocks", kind="rollback") == 1
    assert _value(text, "outcrop_generations", collection="rocks") == 2


def test_a_collection_that_was_dropped_is_not_told_any_more(client: Client) -> None:
    client.post("/v1/collections", json={"name": "fossils", "embedder": "none"})
    client.post("/v1/collections/fossils/documents", json={"documents": [{"id": "f", "text": "ammonite"}]})
    assert _value(client.get("/metrics").text, "outcrop_degraded", collection="fossils") == 0
    client.delete("/v1/collections/fossils")
    client.app.state.served.metrics._kept = None

    text = client.get("/metrics").text
    assert [name for name, labels in _samples(text) if ("collection", "fossils") in labels and "degraded" in name] == []
    assert 'outcrop_documents{collection="fossils"}' not in text


def test_a_scrape_needs_none_of_the_searches_threads(client: Client) -> None:
    door = client.app.state.served
    door.work._under_way.update(object() for _ in range(door.work._under_way_max))
    try:
        assert client.post("/v1/collections/rocks/search", json={"query": "slate"}).status_code == 429
        text = client.get("/metrics").text
    finally:
        door.work._under_way.clear()
    assert _value(text, "outcrop_http_refused_total", cause="requests") == 1
    assert _value(text, "outcrop_http_requests_waiting", queue="requests") == door.limits.waiting_max


@pytest.mark.skipif(sys.platform != "linux", reason="finds the server's children in /proc")
def test_what_a_process_said_of_itself_ends_with_it_and_what_it_counted_does_not(server: Callable[..., httpx.Client]) -> None:
    client = server("--readers", "1")
    address, parent = str(client.base_url), client.process.pid  # type: ignore[attr-defined]
    for _ in range(10):
        httpx.post(f"{address}/v1/collections/rocks/search", json={"query": "slate", "cache": False})
    before = {labels for name, labels in _samples(httpx.get(f"{address}/metrics").text) if name == RESIDENT}
    for labels in before:
        os.kill(int(dict(labels)["pid"]), signal.SIGKILL)
        break
    while True:
        try:
            found = _samples(httpx.get(f"{address}/metrics").text)
        except httpx.TransportError:  # it was asked just then
            continue
        alive = {labels for name, labels in found if name == RESIDENT}
        if len(alive) == 2 and alive != before:
            break
        time.sleep(0.1)
    assert all(found[RESIDENT, labels] > 0 for labels in alive)
    count = "outcrop_search_duration_seconds_count"
    assert found[count, frozenset({"collection": "rocks", "mode": "lexical", "engine": "builtin"}.items())] == 10
    assert parent not in {int(dict(labels)["pid"]) for labels in alive}


def test_builds_are_told_as_they_ended(client: Client) -> None:
    builds = BuildsFolder.of(client.app.state.served.db, "rocks")
    builds.path.mkdir(exist_ok=True)
    for state in ("done", "failed", "failed"):
        states.end(builds, states.ended(states.new("rocks", "upload", "start"), state))  # type: ignore[arg-type]

    text = client.get("/metrics").text
    ended = {one: _value(text, "outcrop_builds_total", collection="rocks", state=one) for one in ("done", "failed", "cancelled")}
    assert ended == {"done": 1, "failed": 2, "cancelled": 0}
    assert _value(text, "outcrop_build_running", collection="rocks") == 0


def test_the_kind_of_the_answer_can_be_parsed(client: Client) -> None:
    assert client.get("/metrics").headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_an_engine_that_fails_and_what_stands_in_for_it_are_told(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Collection.stats
    serving = ServingStats(engine="lancedb", state="open", failures=3, reason="it is down", writes_behind=7)
    recall = LiveRecall(k=10, share=0.1, since="2026-11-28T00:00:00Z", searches=40, dropped=0, recall=0.8, lowest=0.5)
    changed = {"degraded": "it is down", "serving": serving, "live_recall": recall}
    monkeypatch.setattr(Collection, "stats", lambda self: msgspec.structs.replace(before(self), **changed))
    client.post("/v1/collections/rocks/search", json={"query": "slate"})
    client.get("/metrics")
    client.app.state.served.metrics._kept = None

    text = client.get("/metrics").text
    assert _value(text, "outcrop_degraded", collection="rocks") == 1
    assert _value(text, "outcrop_degraded_seconds", collection="rocks") > 0
    assert _value(text, "outcrop_breaker_open", collection="rocks") == 1
    assert _value(text, "outcrop_engine_failures_total", collection="rocks") == 3  # told twice, and counted once
    assert _value(text, "outcrop_engine_behind_writes", collection="rocks") == 7
    assert _value(text, "outcrop_live_recall", collection="rocks") == 0.8
    assert _value(text, "outcrop_live_recall_searches_total", collection="rocks") == 40


def test_a_collection_that_cannot_be_looked_at_hides_no_other(client: Client, folder: Path) -> None:
    client.post("/v1/collections", json={"name": "fossils", "embedder": "none"})
    (folder / "fossils" / "journal.sqlite").write_bytes(b"not a database" * 100)
    client.app.state.served.metrics._kept = None

    text = client.get("/metrics").text
    assert _value(text, "outcrop_collection_failing", collection="fossils") == 1
    assert _value(text, "outcrop_collection_failing", collection="rocks") == 0
    assert _value(text, "outcrop_documents", collection="rocks") == 3

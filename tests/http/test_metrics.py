"""What Prometheus reads."""

from __future__ import annotations

from collections.abc import Callable

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.http.conftest import Client


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
    assert _value(text, "outcrop_http_requests_total", method="POST", status="404") == 1
    assert "gone" not in text


def test_collections_are_told_as_they_are(client: Client) -> None:
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

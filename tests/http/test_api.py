"""The API, route by route."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient

import outcrop
from outcrop import Config
from outcrop.surfaces.http.app import application
from tests.http.conftest import ROCKS, Client, until_ready


def _search(client: Client, **body: Any) -> Any:
    return client.post("/v1/collections/rocks/search", json=body)


def test_a_search_gives_hits_and_says_who_answered(client: Client) -> None:
    found = _search(client, query="a rock that splits", k=1)

    assert found.status_code == 200
    assert [hit["document_id"] for hit in found.json()["hits"]] == ["slate"]
    assert found.json()["hits"][0]["snippet"].startswith("Slate <mark>splits</mark>")
    assert found.headers["outcrop-generation"] == "1"
    assert found.headers["outcrop-sequence"] == "1"
    assert "lexical;dur=" in found.headers["server-timing"]


def test_the_simple_form_is_answered_alike(client: Client) -> None:
    simple = client.get("/v1/collections/rocks/search", params={"q": "hard", "where": "hardness > 5"})

    assert [hit["document_id"] for hit in simple.json()["hits"]] == ["granite"]


def test_an_answer_that_has_not_changed_is_not_sent_again(client: Client) -> None:
    address = "/v1/collections/rocks/search?q=slate"
    tag = client.get(address).headers["etag"]

    assert client.get(address, headers={"if-none-match": tag}).status_code == 304
    client.post("/v1/collections/rocks/documents", json={"documents": [{"id": "new", "text": "new slate"}]})
    assert client.get(address, headers={"if-none-match": tag}).status_code == 200


def test_a_batch_is_answered_in_order_from_one_generation(client: Client) -> None:
    found = client.post("/v1/collections/rocks/search/batch", json={"queries": ["granite", "slate"], "k": 1}).json()["answers"]

    assert [one["query"] for one in found] == ["granite", "slate"]
    assert [one["hits"][0]["document_id"] for one in found] == ["granite", "slate"]


def test_a_write_is_searchable_when_it_returns(client: Client) -> None:
    written = client.post("/v1/collections/rocks/documents", json={"documents": [{"id": "basalt", "text": "Basalt is dark."}]})

    assert written.json()["upserted"] == 1
    assert _search(client, query="dark").json()["hits"][0]["document_id"] == "basalt"


def test_lines_of_json_are_written_as_they_come(client: Client) -> None:
    lines = b"".join(b'{"id": "d-%d", "text": "pebble number %d"}\n' % (number, number) for number in range(2500))
    headers = {"content-type": "application/x-ndjson"}

    written = client.post("/v1/collections/rocks/documents", content=lines, headers=headers)

    assert written.json()["upserted"] == 2500
    assert written.json()["write_count"] == 3
    assert client.get("/v1/collections/rocks").json()["document_count"] == 2503


def test_a_bad_line_is_named_and_stops_the_stream(client: Client) -> None:
    lines = b'{"id": "one", "text": "first"}\n\nnonsense\n'
    refused = client.post("/v1/collections/rocks/documents", content=lines, headers={"content-type": "application/x-ndjson"})

    assert refused.status_code == 400
    assert "line 3" in refused.json()["detail"]


@pytest.mark.parametrize("document_id", ["slate", "a/b c"])
def test_a_document_is_read_and_taken_out_by_its_id(client: Client, document_id: str) -> None:
    address = f"/v1/collections/rocks/documents/{document_id.replace(' ', '%20')}"

    assert client.get(address).json()["id"] == document_id
    assert client.delete(address).json()["deleted"] == 1
    assert client.get(address).status_code == 404


def test_documents_are_taken_out_by_a_filter(client: Client) -> None:
    assert client.post("/v1/collections/rocks/documents/delete", json={"where": "hardness = 3"}).json()["deleted"] == 2
    kept = client.post("/v1/collections/rocks/documents/get", json={"ids": ["slate", "granite"]}).json()["documents"]
    assert [one["id"] for one in kept] == ["granite"]


def test_collections_are_made_listed_and_dropped(client: Client) -> None:
    made = client.post("/v1/collections", json={"name": "ores", "embedder": "none"})

    assert (made.status_code, made.headers["location"]) == (201, "/v1/collections/ores")
    assert client.get("/v1/collections").json() == {"collections": ["ores", "rocks"]}
    assert client.delete("/v1/collections/ores").status_code == 204
    assert client.get("/v1/collections").json() == {"collections": ["rocks"]}


def test_a_generation_goes_live_and_back(client: Client) -> None:
    with client.app.state.served.db.collection("rocks") as rocks:
        rocks.build()
    address = "/v1/collections/rocks"

    assert client.post(f"{address}/generations/2/promote").json()["status"] == "active"
    assert _search(client, query="slate").headers["outcrop-generation"] == "2"
    assert client.post(f"{address}/rollback", json={"dry_run": True}).json()["generation"] == 1
    assert client.post(f"{address}/rollback").json()["number"] == 1
    assert client.get(f"{address}/history").json()["history"][-1]["kind"] == "rollback"
    assert [one["number"] for one in client.get(f"{address}/generations").json()["generations"]] == [1, 2]


def test_health_tells_of_every_collection(client: Client) -> None:
    assert client.get("/livez").status_code == 200
    until_ready(client)
    assert client.get("/readyz").json() == {"ready": True}
    assert client.get("/health").json()["collections"]["rocks"]["degraded"] is None


def test_the_api_describes_itself(client: Client) -> None:
    described = client.get("/v1/openapi.json").json()

    assert "/v1/collections/{name}/search" in described["paths"]


def test_a_request_keeps_the_id_it_came_with(client: Client) -> None:
    assert client.get("/livez", headers={"x-request-id": "mine-7"}).headers["x-request-id"] == "mine-7"
    assert client.get("/livez", headers={"x-request-id": "not plain\t"}).headers["x-request-id"] != "not plain"


def test_where_the_files_of_the_server_are_is_not_told(folder: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "secret place" / "rocks.jsonl"
    corpus.parent.mkdir()
    corpus.write_text("\n".join(json.dumps(rock) for rock in ROCKS))
    with outcrop.open(folder, config=Config.mvp_only(background=False)) as db:
        db.collection("rocks").build(corpus, promote=True)
    with TestClient(application(lambda: outcrop.open(folder, config=Config.mvp_only(background=False)))) as client:
        addresses = ("", "/generations", "/history")
        told = [client.get(f"/v1/collections/rocks{address}").text for address in addresses]
        told.append(client.post("/v1/collections/rocks/rollback", json={}).text)

    assert all("rocks.jsonl" in text or address == "" for address, text in zip((*addresses, ""), told, strict=True))
    assert [text for text in told if str(tmp_path) in text or "secret place" in text] == []

"""The map over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar.testing import TestClient

import outcrop
from outcrop import Config
from outcrop.surfaces.http.app import application
from tests.http.conftest import ROCKS, Client

_MAP = "/v1/collections/rocks/map"


@pytest.fixture
def mapped(tmp_path: Path) -> Iterator[Client]:
    with outcrop.open(tmp_path / "kb", config=Config.mvp_only(background=False)) as db:
        db.create_collection("rocks", embedder="hashing:16").upsert(ROCKS)
    with TestClient(application(lambda: outcrop.open(tmp_path / "kb", config=Config.mvp_only()))) as client:
        yield client


def test_a_map_is_arrays_with_an_entry_for_each_point(mapped: Client) -> None:
    found = mapped.get(_MAP, params={"color": "hardness"}).json()

    assert found["point_count"] == len(found["x"]) == len(found["y"]) == len(found["ids"]) == len(found["texts"]) == 3
    assert found["ids"] == ["slate#0", "granite#0", "a/b c#0"]
    assert found["titles"] == [None, None, "Marble"]
    assert found["colours"] == {"field": "hardness", "kind": "categories", "names": ["3", "6"], "codes": [0, 1, 0]}


def test_a_map_that_has_not_changed_is_not_sent_again(mapped: Client) -> None:
    tag = mapped.get(_MAP).headers["etag"]

    assert mapped.get(_MAP, headers={"if-none-match": tag}).status_code == 304
    mapped.post("/v1/collections/rocks/documents", json={"documents": [{"id": "new", "text": "new slate"}]})
    assert mapped.get(_MAP, headers={"if-none-match": tag}).status_code == 200


def test_a_query_is_placed_on_it(mapped: Client) -> None:
    placed = mapped.post(f"{_MAP}/place", json={"query": "granite", "k": 1}).json()

    assert [hit["id"] for hit in placed["hits"]] == ["granite#0"]
    assert {"x", "y"} <= placed.keys()


def test_what_has_no_map_is_refused(client: Client) -> None:
    assert client.get(_MAP).json()["detail"].startswith("generation 1 has no vectors")
    assert client.get(_MAP, params={"points_max": 0}).status_code == 400

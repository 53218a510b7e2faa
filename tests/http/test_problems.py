"""What goes wrong over HTTP: one shape, one table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient

import outcrop
from outcrop import Config, errors
from outcrop.retrieval import openings
from outcrop.surfaces.http import problems
from outcrop.surfaces.http.app import application
from tests.http.conftest import Client

_SEARCH = "/v1/collections/rocks/search"
_JSON = {"content-type": "application/json"}


def _of(response: Any) -> tuple[int, str]:
    assert response.headers["content-type"] == "application/problem+json"
    found = response.json()
    assert found["status"] == response.status_code
    assert found["instance"] == f"urn:request:{response.headers['x-request-id']}"
    return response.status_code, found["type"].rpartition("#")[2]


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ({"query": "x", "where": "year >"}, (400, "invalid-filter")),
        ({"query": ""}, (400, "invalid-query")),
        ({"query": "x", "vector": [1.0]}, (400, "invalid-query")),
        ({"query": "x", "k": 0}, (400, "bad-request")),
        ({"query": "x", "k": 10**30}, (400, "bad-request")),
        ({"query": 5}, (400, "bad-request")),
        ({"query": "x", "limit": 5}, (400, "bad-request")),
        ([], (400, "bad-request")),
        ({"query": "x", "generation": 9}, (404, "unknown-generation")),
    ],
)
def test_a_search_that_cannot_be_run_says_why(client: Client, body: Any, wanted: tuple[int, str]) -> None:
    assert _of(client.post(_SEARCH, json=body)) == wanted


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"query": "\xed\xa0\x80"}', b"nul"])
def test_what_is_no_json_is_refused(client: Client, content: bytes) -> None:
    assert _of(client.post(_SEARCH, content=content, headers=_JSON)) == (400, "bad-request")
    assert client.post(_SEARCH, json={"query": "slate"}).status_code == 200


def test_a_body_of_another_kind_is_refused(client: Client) -> None:
    """Browsers send forms to anybody without asking first."""
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert _of(client.post(_SEARCH, content=b'{"query": "slate"}', headers=form)) == (415, "unsupported-media-type")


def test_an_unknown_collection_names_the_nearest(client: Client) -> None:
    refused = client.post("/v1/collections/rock/search", json={"query": "slate"})

    assert _of(refused) == (404, "unknown-collection")
    assert refused.json()["nearest"] == "rocks"


@pytest.mark.parametrize("name", ["..", "%2e%2e", "rocks%2f..", "rocks%00", "ROCKS", "a" * 300])
def test_a_name_leads_nowhere_else(client: Client, name: str) -> None:
    assert client.get(f"/v1/collections/{name}/search?q=x").status_code in (400, 404)


def test_no_route_and_no_method_are_problems_too(client: Client) -> None:
    assert _of(client.get("/v1/nothing")) == (404, "not-found")
    assert _of(client.put("/v1/collections")) == (405, "method-not-allowed")


@pytest.mark.parametrize(
    ("options", "key"),
    [("?q=x&k=many", "k"), ("?q=x&k=0", "k"), ("?q=x&offset=-1", "offset"), ("?q=x&log=perhaps", "log"), ("?q=x&limit=5", "limit")],
)
def test_an_address_that_does_not_fit_says_where(client: Client, options: str, key: str) -> None:
    refused = client.get(_SEARCH + options)

    assert _of(refused) == (400, "bad-request")
    assert refused.json()["key"] == key, refused.text


def test_an_address_without_a_query_is_refused(client: Client) -> None:
    refused = client.get(_SEARCH)

    assert _of(refused) == (400, "bad-request")
    assert "'q'" in refused.json()["detail"]


def test_what_is_there_already_is_not_made_again(client: Client) -> None:
    refused = client.post("/v1/collections", json={"name": "rocks", "embedder": "none"})

    assert _of(refused) == (409, "collection-exists")


def test_where_the_server_keeps_the_database_is_not_told(client: Client, folder: Path) -> None:
    for refused in (
        client.post("/v1/collections", json={"name": "rocks", "embedder": "none"}),
        client.post("/v1/collections/rock/search", json={"query": "slate"}),
        client.post("/v1/collections/rocks/generations/7/promote"),
    ):
        assert str(folder) not in refused.text


def test_a_body_that_is_too_large_is_refused_before_it_is_read(folder: Path) -> None:
    config = Config.mvp_only(background=False, server={"body_bytes_max": 1000})
    with TestClient(application(lambda: outcrop.open(folder, config=config))) as client:
        assert _of(client.post(_SEARCH, content=b" " * 1001, headers=_JSON)) == (413, "too-large")
        pieces = (b" " * 400 for _ in range(3))
        assert _of(client.post(_SEARCH, content=pieces, headers=_JSON)) == (413, "too-large")
        assert client.post(_SEARCH, json={"query": "slate"}).status_code == 200


def test_a_server_that_only_reads_refuses_writes(folder: Path) -> None:
    opening = lambda: outcrop.open(folder, config=Config.mvp_only(background=False), read_only=True)  # noqa: E731
    with TestClient(application(opening)) as client:
        refused = client.post("/v1/collections/rocks/documents", json={"documents": [{"id": "x", "text": "x"}]})
        assert _of(refused) == (403, "read-only")
        assert client.post(_SEARCH, json={"query": "slate"}).status_code == 200


def test_an_error_that_nobody_expected_tells_nothing(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(outcrop.Collection, "search", broken)
    refused = client.post(_SEARCH, json={"query": "slate"})

    assert _of(refused) == (500, "unexpected")
    assert "secret" not in refused.text


def test_a_collection_that_is_dropped_under_a_search_is_not_there(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def dropped(*_: object, **__: object) -> None:
        client.app.state.served.db.drop_collection("rocks")
        client.app.state.served.db.create_collection("rocks", embedder="none")
        raise errors.Damaged("documents.sqlite is missing", path=folder)

    folder = client.app.state.served.db.path
    monkeypatch.setattr(outcrop.Collection, "search", dropped)
    assert _of(client.post(_SEARCH, json={"query": "slate"})) == (404, "unknown-collection")


def test_who_watches_a_collection_outlives_its_folder(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that goes between two calls of the system is what `Path.glob` fails at."""

    def gone(path: Path, _pattern: str) -> None:
        raise FileNotFoundError(path)

    watched = client.app.state.served.db.collection("rocks")._open.openings
    monkeypatch.setattr(Path, "glob", gone)
    assert openings._state(watched)


def test_every_error_of_the_library_has_a_status() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.OutcropError)]
    unexpected = [kind for kind in kinds if problems.problem_of(kind("x")).name == "unexpected"]

    assert unexpected == [errors.OutcropError]


def test_the_table_is_served_where_a_type_points(client: Client) -> None:
    names = [one["name"] for one in client.get("/v1/problems").json()["problems"]]

    assert len(names) == len(set(names))
    assert "unknown-collection" in names

"""Which key opens which route, for every route that there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar.handlers import BaseRouteHandler
from litestar.testing import TestClient

import outcrop
from outcrop.surfaces.http.app import application
from outcrop.surfaces.keys import SCOPES, Keys
from tests.http.conftest import Client

# Who may use a route: a new one is decided here, and says the same in its `opt`. "anywhere": keys of some collections may too.
DECIDED = {
    "GET /": "open",
    "GET /assets/{name}": "open",
    "GET /livez": "open",
    "GET /readyz": "open",
    "GET /health": "read",
    "GET /metrics": "read",
    "GET /v1/access": "read anywhere",
    "GET /v1/problems": "open",
    "GET /v1/openapi.json": "open",
    "GET /v1/reference": "open",
    "POST /mcp": "read anywhere",  # its tools are checked by test_agents.py
    "GET /v1/collections": "read anywhere",
    "POST /v1/collections": "admin",
    "GET /v1/collections/{name}": "read",
    "DELETE /v1/collections/{name}": "admin",
    "GET /v1/collections/{name}/generations": "read",
    "GET /v1/collections/{name}/history": "read",
    "POST /v1/collections/{name}/generations/{generation}/promote": "admin",
    "POST /v1/collections/{name}/rollback": "admin",
    "GET /v1/collections/{name}/search": "read",
    "POST /v1/collections/{name}/search": "read",
    "POST /v1/collections/{name}/search/batch": "read",
    "GET /v1/collections/{name}/documents/{document_id}": "read",
    "DELETE /v1/collections/{name}/documents/{document_id}": "write",
    "POST /v1/collections/{name}/documents": "write",
    "POST /v1/collections/{name}/documents/get": "read",
    "POST /v1/collections/{name}/documents/delete": "write",
    "GET /v1/collections/{name}/builds": "read",
    "POST /v1/collections/{name}/builds": "admin",
    "GET /v1/collections/{name}/build-choices": "admin",
    "GET /v1/collections/{name}/builds/{build}": "read",
    "DELETE /v1/collections/{name}/builds/{build}": "admin",
    "GET /v1/collections/{name}/builds/{build}/events": "read",
    "POST /v1/collections/{name}/builds/{build}/resume": "admin",
    "POST /v1/collections/{name}/compare": "admin",
    "GET /v1/collections/{name}/map": "read",
    "POST /v1/collections/{name}/map/place": "read",
    "GET /v1/collections/{name}/insights": "admin",
    "DELETE /v1/collections/{name}/insights": "admin",
}


def _routes() -> Iterator[tuple[str, BaseRouteHandler]]:
    app = application(lambda: outcrop.open("unused"))
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            for method in sorted(handler.http_methods - {"OPTIONS"}):
                yield f"{method} {route.path_format}", handler
        if hasattr(route, "route_handler"):
            yield f"POST {route.path_format}", route.route_handler


ROUTES = dict(_routes())


def _asked(client: Client, route: str, key: str | None) -> int:
    method, _, path = route.partition(" ")
    address = re.sub(r"{(\w+)}", lambda found: {"name": "rocks", "generation": "99"}.get(found[1], "none"), path)
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return client.request(method, address, headers=headers).status_code


def test_every_route_is_decided() -> None:
    assert sorted(ROUTES) == sorted(DECIDED)


def test_a_route_is_opened_by_the_keys_that_may_open_it(client: Client, folder: Path) -> None:
    keys = Keys(folder)
    whole = {one: keys.create(f"all {one}", one) for one in SCOPES}
    own = {one: keys.create(f"rocks {one}", one, ("rocks",)) for one in SCOPES}
    elsewhere = {one: keys.create(f"ores {one}", one, ("ores",)) for one in SCOPES}

    for route in sorted(ROUTES, key=lambda one: (one == "DELETE /v1/collections/{name}", one)):
        scope, _, anywhere = DECIDED[route].partition(" ")
        if scope == "open":
            assert _asked(client, route, None) == _asked(client, route, "oc_0_no") in (200, 404), route
            continue
        assert _asked(client, route, None) == _asked(client, route, "oc_0_no") == 401, route
        for one in SCOPES:
            goes_so_far = SCOPES.index(one) >= SCOPES.index(scope)  # type: ignore[arg-type]
            assert (_asked(client, route, elsewhere[one]) == 403) is not (bool(anywhere) and goes_so_far), (route, one)
            in_rocks = "{name}" in route or bool(anywhere)
            assert (_asked(client, route, own[one]) == 403) is not (in_rocks and goes_so_far), (route, one)
            assert (_asked(client, route, whole[one]) == 403) is not goes_so_far, (route, one)


@pytest.mark.parametrize("name", ["Authorization", "AUTHORIZATION", "authorization"])
@pytest.mark.parametrize("kind", ["Bearer", "BEARER", "bearer"])
def test_a_key_is_known_in_any_spelling_of_its_header(client: Client, folder: Path, name: str, kind: str) -> None:
    key = Keys(folder).create("website", "read")

    assert client.get("/v1/collections", headers={name: f"{kind} {key}"}).status_code == 200
    assert client.get("/v1/collections", headers={name: f"{kind} {key.upper()}"}).status_code == 401


def test_a_key_of_some_collections_learns_no_other_names(client: Client, folder: Path) -> None:
    key = Keys(folder).create("rock", "read", ("rock",))
    refused = client.get("/v1/collections/rock", headers={"authorization": f"Bearer {key}"})

    assert refused.status_code == 404
    assert "rocks" not in refused.text


@pytest.mark.parametrize("content", ["[{", "null", "{}", "[1]", "[" * 100_000, "\udcff", '[{"id": "1"}]'])
def test_a_file_of_keys_that_cannot_be_used_opens_nothing(client: Client, folder: Path, content: str) -> None:
    (folder / "keys.json").write_bytes(content.encode(errors="surrogateescape"))

    assert client.get("/v1/collections").status_code == 401
    assert client.get("/v1/collections", headers={"authorization": "Bearer oc_1_x"}).status_code == 500


def test_a_folder_in_the_place_of_the_keys_opens_nothing(client: Client, folder: Path) -> None:
    (folder / "keys.json").mkdir()

    assert client.get("/v1/collections").status_code == 401
    assert client.get("/v1/collections", headers={"authorization": "Bearer oc_1_x"}).status_code == 507


def test_a_server_that_needs_keys_lets_in_nobody_when_their_file_goes(folder: Path) -> None:
    key = Keys(folder).create("website", "read")
    with TestClient(application(lambda: outcrop.open(folder), needs_keys=True)) as client:
        headers = {"authorization": f"Bearer {key}"}
        assert client.get("/v1/collections", headers=headers).status_code == 200
        (folder / "keys.json").unlink()
        assert client.get("/v1/collections").status_code == client.get("/v1/collections", headers=headers).status_code == 401
        assert client.get("/livez").status_code == 200

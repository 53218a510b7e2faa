"""A search past the framework is the search that the framework would have had answered. A slash at the end is the framework's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar.testing import TestClient

import outcrop
from outcrop import Config
from outcrop.surfaces.http.app import application
from outcrop.surfaces.http.shortcut import Shortcut
from outcrop.surfaces.keys import Keys
from tests.http.conftest import Client, made

_SEARCH = "/v1/collections/rocks/search"
_CHANGING = ("took_ms", "instance", "cached")
Asked = Callable[[Client, str], httpx.Response]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = made(tmp_path_factory.mktemp("shortcut") / "kb")
    with TestClient(application(lambda: outcrop.open(folder, config=Config.mvp_only(background=False)))) as opened:
        yield opened


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths for which the framework is asked."""
    found: list[str] = []
    passed = Shortcut.__call__

    async def noted(self: Shortcut, scope: Any, receive: Any, send: Any) -> None:
        framework = self._handler

        async def handler(scope: Any, receive: Any, send: Any) -> None:
            found.append(scope["path"])
            await framework(scope, receive, send)

        await passed(Shortcut(handler, self._failed), scope, receive, send)

    monkeypatch.setattr(Shortcut, "__call__", noted)
    return found


def _posted(**options: Any) -> Asked:
    return lambda client, path: client.post(path, **options)


@pytest.mark.parametrize(
    "asked",
    [
        _posted(json={"query": "slate"}),
        _posted(json={"query": "slate", "k": 2, "explain": True, "mode": "lexical", "where": "hardness >= 3"}),
        _posted(json={"query": "slate"}, headers={"x-request-id": "mine-1", "accept-encoding": "gzip"}),
        _posted(json={"query": "nothing that is there"}),
        _posted(json={"query": "slate", "generation": 99}),
        _posted(json={"query": "slate", "k": 0}),
        _posted(json={"query": "slate", "where": "hardness >"}),
        _posted(json={"query": "slate", "unknown": 1}),
        _posted(json={"query": 7}),
        _posted(json={}),
        _posted(content=b"{", headers={"content-type": "application/json"}),
        _posted(content=b"[" * 5000, headers={"content-type": "application/json"}),
        _posted(content=b'{"query": "\xff"}', headers={"content-type": "application/json"}),
        _posted(content=b'{"query": "slate"}'),
        _posted(content=b'{"query": "slate"}', headers={"content-type": "text/plain"}),
        _posted(content=b"x", headers={"content-type": "application/json", "content-encoding": "gzip"}),
        _posted(json={"query": "x" * 2_000_000}),
        _posted(json={"query": "slate"}, headers={"origin": "https://evil.example"}),
    ],
)
def test_what_is_answered_is_what_the_framework_answers(client: Client, taken: list[str], asked: Asked) -> None:
    direct, framework = asked(client, _SEARCH), asked(client, f"{_SEARCH}/")
    assert taken == [f"{_SEARCH}/"]
    assert direct.status_code == framework.status_code
    assert _steady(direct.json()) == _steady(framework.json())
    assert {*direct.headers} == {*framework.headers}
    ours = {"content-type", "etag", "outcrop-generation", "outcrop-sequence", "cache-control", "x-content-type-options", "vary"}
    assert {name: direct.headers.get(name) for name in ours} == {name: framework.headers.get(name) for name in ours}


def _steady(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name not in _CHANGING}


@pytest.mark.parametrize("name", ["absent", "Rocks", "%2e%2e", "rocks%20", "x" * 65])
def test_a_collection_that_is_not_there_is_the_same_problem(client: Client, name: str) -> None:
    direct, framework = (client.post(f"/v1/collections/{name}/search{end}", json={"query": "slate"}) for end in ("", "/"))
    assert direct.status_code == framework.status_code in (400, 404)
    assert _steady(direct.json()) == _steady(framework.json())


def test_what_has_another_form_takes_the_frameworks_way(client: Client, taken: list[str]) -> None:
    client.get(_SEARCH, params={"q": "slate"})
    client.options(_SEARCH)
    client.post(f"{_SEARCH}/batch", json={"queries": ["slate"]})
    assert taken == [_SEARCH, _SEARCH, f"{_SEARCH}/batch"]


def test_both_ways_are_counted_under_one_route(client: Client) -> None:
    def counted() -> float:
        line = 'outcrop_http_requests_total{method="POST",route="/v1/collections/{name}/search",status="200"} '
        text = client.get("/metrics").text
        return next((float(one.removeprefix(line)) for one in text.splitlines() if one.startswith(line)), 0.0)

    before = counted()
    for path in (_SEARCH, f"{_SEARCH}/"):
        assert client.post(path, json={"query": "slate"}).status_code == 200
    client.app.state.served.metrics._kept = None  # it is kept for up to a second
    assert counted() == before + 2


def test_the_keys_are_those_of_the_framework(tmp_path: Path) -> None:
    folder = made(tmp_path / "kb")
    keys = Keys(folder)
    reader, other = keys.create("reader", "read"), keys.create("other", "read", ("minerals",))
    with TestClient(application(lambda: outcrop.open(folder, config=Config.mvp_only(background=False)))) as client:
        for given, status in ((None, 401), ("oc_0_0", 401), (other, 403), (reader, 200)):
            headers = {} if given is None else {"authorization": f"Bearer {given}"}
            direct, framework = (client.post(f"{_SEARCH}{end}", json={"query": "slate"}, headers=headers) for end in ("", "/"))
            assert direct.status_code == framework.status_code == status
            assert _steady(direct.json()) == _steady(framework.json())
            assert direct.headers.get("www-authenticate") == framework.headers.get("www-authenticate")

"""The MCP server that `serve` has at `/mcp`, asked by the SDK's own client."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest

import outcrop
from outcrop import Config
from outcrop.surfaces.http import agents
from outcrop.surfaces.http.app import application
from outcrop.surfaces.keys import Keys
from tests.http.conftest import Client

pytest.importorskip("mcp", reason="the extra 'mcp' is not installed")

import mcp
from mcp.client.streamable_http import streamable_http_client

_LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
_ACCEPTED = {"accept": "application/json, text/event-stream", "host": "localhost"}
_READING = ["search", "get_document", "list_collections", "collection_stats"]
_SAND = {"collection": "rocks", "documents": [{"id": "sand", "text": "Sand."}]}


def _asked(server: httpx.Client, use: Callable[[mcp.Client], Any], key: str | None = None, mode: str = "auto") -> Any:
    """What a client with this key gets."""

    async def main() -> Any:
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
            transport = streamable_http_client(f"{str(server.base_url).rstrip('/')}/mcp", http_client=http)
            async with mcp.Client(transport, mode=mode) as client:  # type: ignore[arg-type]
                return await use(client)

    return asyncio.run(main())


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_an_agent_searches_over_http(server: Callable[..., httpx.Client], mode: str) -> None:
    client = server()

    async def use(agent: mcp.Client) -> None:
        assert [tool.name for tool in (await agent.list_tools()).tools] == _READING
        found = await agent.call_tool("search", {"collection": "rocks", "query": "slate"})
        assert [hit["document_id"] for hit in found.structured_content["hits"]] == ["slate"]
        refused = await agent.call_tool("search", {"collection": "rock", "query": "slate"})
        assert refused.is_error
        assert "Did you mean 'rocks'?" in refused.content[0].text
        read = await agent.read_resource("outcrop://rocks/a%2Fb%20c")
        assert "Marble is changed limestone." in read.contents[0].text

    _asked(client, use, mode=mode)
    counted = client.get("/metrics").text
    assert 'outcrop_search_duration_seconds_count{collection="rocks",engine="builtin",mode="lexical"} 1.0' in counted


def test_processes_share_the_agents(server: Callable[..., httpx.Client]) -> None:
    client = server("--readers", "1")

    async def use(agent: mcp.Client) -> None:
        for _ in range(20):
            assert not (await agent.call_tool("list_collections", {})).is_error

    _asked(client, use)


def test_a_key_of_a_collection_shows_an_agent_nothing_else(server: Callable[..., httpx.Client], folder: Path) -> None:
    client = server()
    admin = Keys(folder).create("all", "admin")
    assert client.post("/v1/collections", json={"name": "ores"}, headers={"authorization": f"Bearer {admin}"}).status_code == 201
    key = Keys(folder).create("ores", "read", ("ores",))

    async def use(agent: mcp.Client) -> None:
        listed = (await agent.call_tool("list_collections", {})).structured_content
        assert [one["name"] for one in listed["collections"]] == ["ores"]
        assert [one.name for one in (await agent.list_resources()).resources] == ["ores"]
        refused = await agent.call_tool("search", {"collection": "rocks", "query": "slate"})
        assert refused.content[0].text == "There is no collection 'rocks'. The collections are: ores."
        with pytest.raises(mcp.MCPError, match="no collection 'rocks'"):
            await agent.read_resource("outcrop://rocks/slate")

    _asked(client, use, key)


def test_an_agent_writes_only_where_the_server_and_its_key_let_it(server: Callable[..., httpx.Client], folder: Path) -> None:
    client = server("--mcp-allow-write")
    reader, writer = (Keys(folder).create(scope, scope) for scope in ("read", "write"))  # type: ignore[arg-type]

    async def reads(agent: mcp.Client) -> None:
        assert [tool.name for tool in (await agent.list_tools()).tools] == _READING
        with pytest.raises(mcp.MCPError, match="may only read"):
            await agent.call_tool("upsert", _SAND)

    async def writes(agent: mcp.Client) -> None:
        assert [tool.name for tool in (await agent.list_tools()).tools] == [*_READING, "upsert", "delete"]
        assert (await agent.call_tool("upsert", _SAND)).structured_content["upserted"] == 1

    _asked(client, reads, reader)
    _asked(client, writes, writer)
    found = client.get("/v1/collections/rocks/documents/sand", headers={"authorization": f"Bearer {reader}"})
    assert found.json()["text"] == "Sand."


def test_without_a_key_an_agent_is_refused_as_everybody_is(client: Client, folder: Path) -> None:
    assert client.post("/mcp", json=_LIST, headers=_ACCEPTED).status_code == 200
    Keys(folder).create("website", "read")

    refused = client.post("/mcp", json=_LIST, headers=_ACCEPTED)

    assert refused.status_code == 401
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.headers["www-authenticate"] == "Bearer"


class Loading:
    """Stands in for the loading of the library: it waits for `go_on`, and counts how often it was wanted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.go_on, self.times = threading.Event(), threading.Event(), 0
        self._library = agents._library
        monkeypatch.setattr(agents, "_library", self._load)

    def _load(self) -> Any:
        self.times += 1
        self.begun.set()
        assert self.go_on.wait(60)
        return self._library()


def _with_client(folder: Path, use: Callable[[httpx.AsyncClient, Callable[[], Any]], Any]) -> Any:
    """What `use` gives, with a client of the application, and with what makes the application begin to end."""
    app = application(lambda: outcrop.open(folder, config=Config.mvp_only(background=False)))
    told = asyncio.Event()

    async def end() -> None:
        told.set()
        await app.state.agents._ended.wait()

    async def main() -> Any:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost", headers=_ACCEPTED) as client:
            async with app.lifespan():
                using, ending = asyncio.create_task(use(client, end)), asyncio.create_task(told.wait())
                await asyncio.wait([using, ending], return_when=asyncio.FIRST_COMPLETED)
                ending.cancel()
            return await using

    return asyncio.run(main())


def test_the_library_is_loaded_once_by_the_first_agents_while_others_are_answered(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading = Loading(monkeypatch)

    async def use(client: httpx.AsyncClient, _end: Callable[[], Any]) -> None:
        assert (await client.get("/livez")).status_code == 200
        assert loading.times == 0
        asked = [asyncio.create_task(client.post("/mcp", json=_LIST)) for _ in range(8)]
        await asyncio.to_thread(loading.begun.wait)
        gone = asked.pop()
        gone.cancel()
        assert (await client.get("/livez")).status_code == 200
        assert not any(one.done() for one in asked)
        loading.go_on.set()
        answers = [one.json()["result"]["tools"] for one in await asyncio.gather(*asked)]
        assert [[tool["name"] for tool in tools] for tools in answers] == [_READING] * 7

    _with_client(folder, use)
    assert loading.times == 1


def test_a_server_that_ends_while_the_library_is_loaded_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loading = Loading(monkeypatch)

    async def use(client: httpx.AsyncClient, end: Callable[[], Any]) -> httpx.Response:
        asked = asyncio.create_task(client.post("/mcp", json=_LIST))
        await asyncio.to_thread(loading.begun.wait)
        await end()
        loading.go_on.set()
        return await asked

    answer = _with_client(folder, use)
    assert (answer.status_code, answer.json()["type"]) == (503, "/v1/problems#closing")


def test_a_library_that_does_not_fit_is_a_problem_of_agents_alone(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp.server.streamable_http_manager", None)

    for _ in range(2):
        refused = client.post("/mcp", json=_LIST, headers=_ACCEPTED)
        assert (refused.status_code, refused.json()["type"]) == (501, "/v1/problems#missing-extra")
        assert refused.json()["remedy"] == "pip install 'outcrop[mcp]'"
    assert client.get("/v1/collections/rocks/search?q=slate", headers={"host": "localhost"}).status_code == 200


def test_what_fails_while_the_library_is_loaded_is_tried_again_for_who_asks_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads, faults = agents._library, [OSError("too many open files")]
    monkeypatch.setattr(agents, "_library", lambda: _raise(faults.pop()) if faults else loads())

    assert client.post("/mcp", json=_LIST, headers=_ACCEPTED).status_code == 500
    assert client.post("/mcp", json=_LIST, headers=_ACCEPTED).json()["result"]["tools"]


def _raise(error: Exception) -> Any:
    raise error


def test_a_server_that_no_agent_asks_does_not_load_the_library(folder: Path) -> None:
    program = f"""
import sys, outcrop
from litestar.testing import TestClient
from outcrop.surfaces.http.app import application
with TestClient(application(lambda: outcrop.open({str(folder)!r})), base_url="http://localhost.local") as client:
    assert client.get("/health").status_code == 200
    assert not {{"mcp", "pydantic", "uvicorn"}} & set(sys.modules)
    answer = client.post("/mcp", json={_LIST!r}, headers={_ACCEPTED!r})
    assert answer.json()["result"]["tools"], answer.text
    assert "mcp" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)

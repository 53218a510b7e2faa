"""The MCP server that `serve` has at `/mcp`, asked by the SDK's own client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest

from outcrop.surfaces.keys import Keys
from tests.http.conftest import Client

pytest.importorskip("mcp", reason="the extra 'mcp' is not installed")

import mcp
from mcp.client.streamable_http import streamable_http_client

_READING = ["search", "get_document", "list_collections", "collection_stats"]
_SAND = {"collection": "rocks", "documents": [{"id": "sand", "text": "Sand."}]}


def _asked(server: httpx.Client, use: Callable[[mcp.Client], Any], key: str | None = None, mode: str = "auto") -> Any:
    """What a client with this key gets."""

    async def main() -> Any:
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        async with httpx2.AsyncClient(headers=headers) as http:
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
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    accepted = {"accept": "application/json, text/event-stream"}
    assert client.post("/mcp", json=message, headers={**accepted, "host": "localhost"}).status_code == 200
    Keys(folder).create("website", "read")

    refused = client.post("/mcp", json=message, headers=accepted)

    assert refused.status_code == 401
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.headers["www-authenticate"] == "Bearer"

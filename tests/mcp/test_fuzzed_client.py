"""A client that sends whatever comes to its mind: every call is answered, and a good one is answered well afterwards."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("mcp", reason="the extra 'mcp' is not installed")
from mcp import Client, MCPError

import outcrop
from outcrop import Config
from outcrop.surfaces.mcp.server import mcp_server

Call = Callable[[str, dict[str, Any]], Any]
TOOLS = ("search", "get_document", "list_collections", "collection_stats", "upsert", "delete")
NAMES = (
    "collection",
    "query",
    "k",
    "offset",
    "mode",
    "where",
    "passages",
    "document_id",
    "characters",
    "documents",
    "document_ids",
)
GOOD: dict[str, dict[str, Any]] = {
    "search": {"collection": "rocks", "query": "layers", "k": 3, "where": {"year": {"$gte": 2000}}, "passages": True},
    "get_document": {"collection": "rocks", "document_id": "granite", "offset": 10, "characters": 100},
    "list_collections": {},
    "collection_stats": {"collection": "rocks"},
    "upsert": {"collection": "rocks", "documents": [{"id": "new", "text": "Gneiss.", "metadata": {"year": 1}}]},
    "delete": {"collection": "rocks", "document_ids": ["new"]},
}

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats()
    | st.text(max_size=40)
    | st.sampled_from(["rocks", "river", "new", "\ud800", "a\x00b", "../..", "year = 1", "lexical", "q" * 5_000]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def spoiled(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A good call of which some arguments are something else."""
    tool = draw(st.sampled_from(TOOLS))
    changed = draw(st.dictionaries(st.sampled_from(NAMES), anything, max_size=2))
    return tool, {**GOOD[tool], **changed}


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"$and": [value]}
    return value


@pytest.fixture(scope="module", params=["auto", "legacy"])
def call(request: pytest.FixtureRequest, built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Call]:
    """Calls a tool of a server that may write; an error of the protocol is an answer too. The client is the same for all calls."""
    folder = shutil.copytree(built, tmp_path_factory.mktemp("fuzzed") / "kb", symlinks=True)
    with outcrop.open(folder, config=Config.test()) as db, start_blocking_portal() as portal:
        client = Client(mcp_server(db, allow_write=True), mode=request.param)

        async def one(tool: str, arguments: dict[str, Any]) -> Any:
            try:
                return await client.call_tool(tool, arguments)
            except MCPError as error:
                return error

        with portal.wrap_async_context_manager(client):
            yield lambda tool, arguments: portal.call(one, tool, arguments)


fuzzed = settings(
    max_examples=int(os.environ.get("FUZZED_CALLS", "150")),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def check_answer(call: Call, tool: str, arguments: dict[str, Any]) -> Any:
    """The answer to a call; it is well formed, and the next call is answered well."""
    result = call(tool, arguments)
    if not isinstance(result, MCPError) and result.is_error:
        (content,) = result.content
        assert content.text
        assert "Traceback" not in content.text
        assert "nobody expected" not in content.text
    after = call("get_document", {"collection": "rocks", "document_id": "granite"})
    assert after.structured_content["title"] == "Granite"
    return result


@fuzzed
@given(spoiled())
def test_every_call_is_answered_and_the_next_one_too(call: Call, asked: tuple[str, dict[str, Any]]) -> None:
    check_answer(call, *asked)


@pytest.mark.parametrize(
    ("tool", "changed"),
    [
        ("search", {"where": deep(60)}),
        ("search", {"where": "NOT " * 999 + "a = 1"}),
        ("search", {"where": "(" * 4_000}),
        ("search", {"k": 10**400}),
        ("search", {"k": math.inf}),
        ("search", {"collection": "\ud800"}),
        ("get_document", {"document_id": "\udfff"}),
        ("get_document", {"document_id": "é" * 500}),
        ("get_document", {"offset": -1}),
        ("upsert", {"documents": [{"id": "new", "text": "x", "metadata": {"deep": deep(50)}}]}),
        ("upsert", {"documents": [{"id": "new", "text": "x", "metadata": {"n": 2**64}}]}),
        ("upsert", {"documents": [{"id": "new", "text": "\ud800"}]}),
        ("upsert", {"documents": [{"id": str(number), "text": "x"} for number in range(51)]}),
        ("delete", {"document_ids": ["\ud800"]}),
        ("delete", {"document_ids": []}),
        ("drop_collection", {}),
    ],
)
def test_what_is_out_of_bounds_is_refused(call: Call, tool: str, changed: dict[str, Any]) -> None:
    result = check_answer(call, tool, {**GOOD.get(tool, {}), **changed})
    assert isinstance(result, MCPError) or result.is_error


def test_a_query_that_is_no_valid_text_is_searched_as_what_is_left_of_it(call: Call) -> None:
    assert check_answer(call, "search", {**GOOD["search"], "query": "layers \ud800"}).structured_content["query"] == "layers ?"

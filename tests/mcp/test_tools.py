"""What the tools are and do, seen by the library's own client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

pytest.importorskip("mcp", reason="the extra 'mcp' is not installed")
from mcp import MCPError
from mcp.types import CallToolResult, Tool

import outcrop
from outcrop import Collection, Config, Degraded, Document, Hits
from outcrop.errors import MissingExtra
from outcrop.surfaces.mcp.arguments import PART_CHARACTERS_MAX

Ask = Callable[..., Any]
READING = ["search", "get_document", "list_collections", "collection_stats"]
WRITING = ["upsert", "delete"]


def called(ask: Ask, tool: str, **arguments: Any) -> CallToolResult:
    async def use(client: Any) -> Any:
        return await client.call_tool(tool, arguments)

    return ask(use)


def answered(ask: Ask, tool: str, **arguments: Any) -> dict[str, Any]:
    """What the tool gives; the client has checked it against the output schema."""
    result = called(ask, tool, **arguments)
    assert not result.is_error, result.content
    assert json.loads(said(result)) == result.structured_content
    return result.structured_content


def refused(ask: Ask, tool: str, **arguments: Any) -> str:
    result = called(ask, tool, **arguments)
    assert result.is_error
    assert result.structured_content is None
    return said(result)


def said(result: CallToolResult) -> str:
    (content,) = result.content
    return content.text


def listed(ask: Ask, mode: str = "auto") -> dict[str, Tool]:
    return {tool.name: tool for tool in ask(lambda client: client.list_tools(), mode).tools}


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_server_that_only_reads_lists_no_tool_that_writes(ask: Ask, mode: str) -> None:
    assert list(listed(ask, mode)) == READING


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_server_that_may_write_lists_the_tools_that_write_too(ask_writer: Ask, mode: str) -> None:
    assert list(listed(ask_writer, mode)) == [*READING, *WRITING]


def test_every_tool_has_a_title_a_description_and_all_four_annotations(ask_writer: Ask) -> None:
    for name, tool in listed(ask_writer).items():
        hints = tool.annotations
        assert tool.title
        assert tool.description
        assert hints.title == tool.title
        assert hints.read_only_hint is (name in READING)
        assert hints.destructive_hint is (name in WRITING)
        assert hints.idempotent_hint is True
        assert hints.open_world_hint is False


def test_every_argument_is_described_and_bounded(ask_writer: Ask) -> None:
    for tool in listed(ask_writer).values():
        assert tool.input_schema["type"] == "object"
        assert tool.input_schema["additionalProperties"] is False
        for name, schema in tool.input_schema["properties"].items():
            assert schema["description"], name
        for schema in parts(tool.input_schema):
            bounds = {"string": {"maxLength"}, "array": {"maxItems"}, "integer": {"minimum", "maximum"}}
            assert bounds.get(schema.get("type"), set()) <= set(schema), schema


def test_schemas_are_in_one_piece_and_valid(ask_writer: Ask) -> None:
    from jsonschema import Draft202012Validator

    for tool in listed(ask_writer).values():
        for schema in (tool.input_schema, tool.output_schema):
            Draft202012Validator.check_schema(schema)
            assert schema["type"] == "object"
            assert "$ref" not in json.dumps(schema)


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from parts(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from parts(value)


def test_a_search_answers_with_what_a_reader_needs_to_cite(ask: Ask) -> None:
    answer = answered(ask, "search", collection="rocks", query="thin layers")
    assert (answer["generation"], answer["engine"], answer["mode"]) == (1, "builtin", "hybrid")
    assert (answer["degraded"], answer["warnings"]) == (None, [])
    best = answer["hits"][0]
    assert best["snippet"] == "Slate splits into <mark>thin</mark> <mark>layers</mark>."
    assert best["citation"] == {
        "title": "Slate",
        "source": "docs/slate.md",
        "heading": None,
        "page": None,
        "start": 0,
        "end": 30,
    }
    assert (best["document_id"], best["uri"], best["rank"]) == ("docs/slate.md", "outcrop://rocks/docs%2Fslate.md", 1)
    assert best["score"] > answer["hits"][1]["score"]
    assert best["metadata"] == {"year": 2020}
    assert "text" not in best


def test_passages_come_on_request_and_are_cut_where_they_are_long(ask: Ask) -> None:
    answer = answered(ask, "search", collection="rocks", query="granite", mode="lexical", passages=True)
    (hit,) = answer["hits"]
    assert hit["text"].startswith("Granite is hard.")
    assert len(hit["text"]) == 2_000
    assert hit["text_cut"]
    assert "get_document" in answer["note"]
    whole = answered(ask, "search", collection="rocks", query="slate", mode="lexical", passages=True)
    assert whole["hits"][0]["text"] == "Slate splits into thin layers."
    assert "note" not in whole


def test_many_passages_share_the_room_of_one_answer(ask_writer: Ask) -> None:
    documents = [{"id": f"d{number}", "text": f"basalt {'column ' * 600}"} for number in range(50)]
    answered(ask_writer, "upsert", collection="rocks", documents=documents)
    answer = answered(ask_writer, "search", collection="rocks", query="basalt", k=50, passages=True)
    assert len(answer["hits"]) == 50
    assert sum(len(hit.get("text", "")) for hit in answer["hits"]) <= 30_000


def test_long_metadata_are_left_out_of_hits_and_said_to_be(ask: Ask) -> None:
    (hit,) = answered(ask, "search", collection="rocks", query="granite", mode="lexical")["hits"]
    assert hit["metadata_left_out"]
    assert "metadata" not in hit
    assert answered(ask, "get_document", collection="rocks", document_id="granite")["metadata"]["year"] == 2024


@pytest.mark.parametrize("where", ["year >= 2024", {"year": {"$gte": 2024}}])
def test_a_filter_is_text_or_an_object(ask: Ask, where: Any) -> None:
    answer = answered(ask, "search", collection="rocks", query="layers", where=where)
    assert {hit["document_id"] for hit in answer["hits"]} == {"sand", "granite"}


def test_the_second_page_goes_on_where_the_first_ended(ask: Ask) -> None:
    whole = answered(ask, "search", collection="rocks", query="layers", k=3)["hits"]
    second = answered(ask, "search", collection="rocks", query="layers", k=2, offset=1)["hits"]
    assert [hit["id"] for hit in second] == [hit["id"] for hit in whole[1:3]]
    assert answered(ask, "search", collection="rocks", query="layers", k=50, offset=200)["hits"] == []


def test_a_search_that_finds_nothing_says_what_to_try(ask: Ask) -> None:
    assert "wider filter" in answered(ask, "search", collection="rocks", query="layers", where="year > 3000")["note"]


def test_a_degraded_answer_says_so(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    search = Collection.search

    def degraded(*args: Any, **options: Any) -> Hits:
        hits = search(*args, **options)
        reason = Degraded("LanceDB does not answer", "2026-01-01T00:00:00Z")
        return msgspec.structs.replace(hits, degraded=reason, warnings=("words only",))

    monkeypatch.setattr(Collection, "search", degraded)
    answer = answered(ask, "search", collection="rocks", query="layers")
    assert answer["degraded"]["reason"] == "LanceDB does not answer"
    assert answer["warnings"] == ["words only"]


def test_a_document_comes_in_parts_that_make_the_whole(ask: Ask, reader: outcrop.Database) -> None:
    (document,) = reader.collection("rocks").get(["granite"])
    text, offset = "", 0
    while offset is not None:
        part = answered(ask, "get_document", collection="rocks", document_id="granite", offset=offset, characters=5_000)
        assert ("note" in part) == (part["next_offset"] is not None)
        text, offset = text + part["text"], part["next_offset"]
    assert text == document.text
    assert part["total_characters"] == len(text)
    assert part["title"] == "Granite"


def test_reading_beyond_the_end_of_a_document_says_where_it_ends(ask: Ask) -> None:
    part = answered(ask, "get_document", collection="rocks", document_id="sand", offset=10**9, characters=PART_CHARACTERS_MAX)
    assert (part["text"], part["next_offset"]) == ("", None)
    assert "47 characters" in part["note"]


def test_collections_are_listed_with_how_they_can_be_searched(ask: Ask) -> None:
    river, rocks = answered(ask, "list_collections")["collections"]
    assert river == {"name": "river", "uri": "outcrop://river"}
    assert (rocks["documents"], rocks["generation"]) == (3, 1)
    assert rocks["search_modes"] == ["lexical", "vector", "hybrid"]


def test_a_damaged_collection_does_not_hide_the_others(ask_kb: Ask, kb: Path) -> None:
    (kb / "river" / "collection.json").write_text("{", encoding="utf-8")
    river, rocks = answered(ask_kb, "list_collections")["collections"]
    assert "river" in river["error"]
    assert rocks["documents"] == 3


def test_a_collections_description_names_the_fields_for_filters(ask: Ask) -> None:
    answer = answered(ask, "collection_stats", collection="rocks")
    assert answer["fields"] == ["remark", "year"]
    assert (answer["documents"], answer["generation"], answer["degraded"]) == (3, 1, None)
    assert answer["embedder"] == "hashing:64"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"collection": "rocks", "query": "x", "k": 51}, "`int` <= 50 - at `$.k`"),
        ({"collection": "rocks", "query": "x", "k": "ten"}, "`$.k`"),
        ({"collection": "rocks", "query": "x", "limit": 3}, "unknown field `limit`"),
        ({"collection": "rocks", "query": "q" * 4_001}, "`$.query`"),
        ({"collection": "rocks"}, "missing required field `query`"),
        ({"collection": "rocks", "query": "x", "where": "year >="}, "year >="),
        ({"collection": "rocks", "query": " "}, "query is empty"),
        ({"collection": "../rocks", "query": "x"}, "../rocks"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_by_name(ask: Ask, arguments: dict[str, Any], named: str) -> None:
    assert named in refused(ask, "search", **arguments)


def test_an_unknown_collection_is_answered_with_the_nearest_and_the_list(ask: Ask) -> None:
    words = refused(ask, "search", collection="rock", query="x")
    assert words == "There is no collection 'rock'. Did you mean 'rocks'? The collections are: river, rocks."


def test_a_collection_with_nothing_active_says_what_to_do(ask: Ask) -> None:
    assert "promote generation 1" in refused(ask, "search", collection="river", query="sand")


def test_an_unknown_document_is_an_error_that_says_what_ids_are(ask: Ask) -> None:
    assert "no document 'sand#0'; the id of a passage" in refused(ask, "get_document", collection="rocks", document_id="sand#0")
    assert "no document 'gneiss'. search gives" in refused(ask, "get_document", collection="rocks", document_id="gneiss")


def test_where_no_query_can_be_embedded_the_advice_is_to_search_by_words(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_args: Any, **_options: Any) -> Hits:
        raise MissingExtra("the embedder 'static' needs the package 'wordllama'", extra="static", remedy="pip install")

    monkeypatch.setattr(Collection, "search", missing)
    assert "mode 'lexical'" in refused(ask, "search", collection="rocks", query="x")


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_an_error_that_nobody_expected_is_logged_and_not_shown(
    ask: Ask, mode: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_args: Any, **_options: Any) -> Hits:
        raise ZeroDivisionError("at /srv/secret")

    monkeypatch.setattr(Collection, "search", broken)
    words = refused(lambda use: ask(use, mode), "search", collection="rocks", query="x")
    assert "ZeroDivisionError" in words
    assert "secret" not in words
    assert "Traceback" not in words
    assert "/srv/secret" in caplog.text


@pytest.mark.parametrize("tool", WRITING)
def test_writing_without_permission_is_refused_and_says_how_it_is_given(ask: Ask, tool: str) -> None:
    with pytest.raises(MCPError, match="--allow-write"):
        called(ask, tool, collection="rocks", document_ids=["sand"])


def test_an_unknown_tool_is_answered_with_the_tools_there_are(ask: Ask) -> None:
    with pytest.raises(MCPError, match="'find'; the tools are: search, get_document"):
        called(ask, "find")


def test_what_is_written_is_found_by_the_next_search(ask_writer: Ask) -> None:
    new = {"id": "marble", "text": "Marble was limestone once.", "title": "Marble", "metadata": {"year": 2026}}
    replaced = {"id": "sand", "text": "Sand is small."}
    answer = answered(ask_writer, "upsert", collection="rocks", documents=[new, replaced])
    assert (answer["upserted"], answer["replaced"]) == (2, 1)
    found = answered(ask_writer, "search", collection="rocks", query="limestone", where="year = 2026")
    assert [hit["title"] for hit in found["hits"]] == ["Marble"]


def test_a_write_is_all_or_nothing(ask_writer: Ask) -> None:
    documents = [{"id": "marble", "text": "Marble."}, {"id": "marble", "text": "Again."}]
    assert "marble" in refused(ask_writer, "upsert", collection="rocks", documents=documents)
    assert "no document" in refused(ask_writer, "get_document", collection="rocks", document_id="marble")


def test_what_is_deleted_is_gone_and_what_was_not_there_is_told(ask_writer: Ask) -> None:
    answer = answered(ask_writer, "delete", collection="rocks", document_ids=["sand", "gneiss", "sand"])
    assert answer["deleted"] == 1
    assert answer["note"] == "1 of the 2 ids were not there."
    assert "no document" in refused(ask_writer, "get_document", collection="rocks", document_id="sand")
    assert answered(ask_writer, "get_document", collection="rocks", document_id="granite")["id"] == "granite"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_calls_at_once_are_each_answered(ask: Ask, mode: str) -> None:
    async def use(client: Any) -> list[str]:
        asked = [{"collection": "rocks", "document_id": one} for one in ("sand", "granite", "docs/slate.md") * 10]
        answers = await asyncio.gather(*(client.call_tool("get_document", one) for one in asked))
        return [one.structured_content["id"] for one in answers]

    assert ask(use, mode) == ["sand", "granite", "docs/slate.md"] * 10


def test_a_promotion_elsewhere_is_seen_by_the_next_call(ask_kb: Ask, kb: Path) -> None:
    async def use(client: Any) -> tuple[int, int, list[str]]:
        asked = {"collection": "rocks", "query": "basalt columns"}
        before = (await client.call_tool("search", asked)).structured_content
        with outcrop.open(kb, config=Config.test()) as elsewhere:
            rocks = elsewhere.collection("rocks")
            rocks.promote(rocks.build([Document("basalt", "Basalt stands in columns.")]), force=True)
        after = (await client.call_tool("search", asked)).structured_content
        return before["generation"], after["generation"], [hit["document_id"] for hit in after["hits"]]

    assert ask_kb(use) == (1, 2, ["basalt"])

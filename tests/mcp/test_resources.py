"""Collections and documents as resources."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("mcp", reason="the extra 'mcp' is not installed")
from mcp import MCPError
from mcp.types import INTERNAL_ERROR, INVALID_PARAMS

from outcrop import Collection, Database
from outcrop.surfaces.mcp import resources
from outcrop.surfaces.mcp.reading import uri_of

Ask = Callable[..., Any]


def read(ask: Ask, uri: str) -> dict[str, Any]:
    (contents,) = ask(lambda client: client.read_resource(uri)).contents
    assert (contents.uri, contents.mime_type) == (uri, "application/json")
    whole: dict[str, Any] = json.loads(contents.text)
    return whole


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_collections_are_listed_and_documents_have_a_template(ask: Ask, mode: str) -> None:
    listed = ask(lambda client: client.list_resources(), mode).resources
    assert [(one.uri, one.description) for one in listed] == [
        ("outcrop://river", "A collection of 0 documents."),
        ("outcrop://rocks", "A collection of 3 documents."),
    ]
    (template,) = ask(lambda client: client.list_resource_templates(), mode).resource_templates
    assert template.uri_template == "outcrop://{collection}/{document_id}"


def test_a_long_list_comes_in_pages(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "_PAGE", 1)
    first = ask(lambda client: client.list_resources())
    second = ask(lambda client: client.list_resources(cursor=first.next_cursor))
    assert [one.name for one in (*first.resources, *second.resources)] == ["river", "rocks"]
    assert second.next_cursor is None


def test_a_document_is_read_by_its_encoded_id(ask: Ask) -> None:
    document = read(ask, "outcrop://rocks/docs%2Fslate.md")
    assert (document["id"], document["text"]) == ("docs/slate.md", "Slate splits into thin layers.")


def test_a_collection_is_read_as_its_description(ask: Ask) -> None:
    assert read(ask, "outcrop://rocks")["fields"] == ["remark", "year"]


@pytest.mark.parametrize(
    ("uri", "named"),
    [
        ("outcrop://rocks/gneiss", "no document 'gneiss'"),
        ("outcrop://rock/slate", "Did you mean 'rocks'"),
        ("outcrop://..%2Frocks/slate", "%2Frocks"),
        ("file:///etc/passwd", "there is no resource"),
        ("outcrop:///slate", "there is no resource"),
    ],
)
def test_what_does_not_exist_is_an_error_of_the_parameters(ask: Ask, uri: str, named: str) -> None:
    with pytest.raises(MCPError, match=named) as caught:
        read(ask, uri)
    assert caught.value.error.code == INVALID_PARAMS
    assert caught.value.error.data == {"uri": uri}


def test_an_error_that_nobody_expected_is_not_shown(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: Any) -> None:
        raise ZeroDivisionError("at /srv/secret")

    monkeypatch.setattr(Collection, "get", broken)
    with pytest.raises(MCPError) as caught:
        read(ask, "outcrop://rocks/sand")
    assert caught.value.error.code == INTERNAL_ERROR
    assert "secret" not in caught.value.error.message


@settings(max_examples=50)
@given(st.text(min_size=1, max_size=60))
def test_every_id_has_a_uri_that_leads_back_to_it(document_id: str) -> None:
    try:
        uri = uri_of("rocks", document_id)
    except UnicodeEncodeError:  # no document has such an id
        return
    asked: list[str] = []

    class Asked:
        def get(self, ids: list[str]) -> list[Any]:
            asked.extend(ids)
            return []

        def collection(self, _name: str) -> Asked:
            return self

    with pytest.raises(KeyError):
        resources.read(Asked(), uri)  # type: ignore[arg-type]
    assert asked == [document_id]


def test_a_resource_is_found_through_a_hit(ask: Ask, reader: Database) -> None:
    async def use(client: Any) -> Any:
        found = await client.call_tool("search", {"collection": "rocks", "query": "thin layers"})
        return await client.read_resource(found.structured_content["hits"][0]["uri"])

    document = json.loads(ask(use).contents[0].text)
    assert document["text"] == reader.collection("rocks").get([document["id"]])[0].text

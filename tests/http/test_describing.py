"""The OpenAPI document says what is really read and written."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from outcrop.surfaces.wire import DocumentObject, SearchAnswer
from tests.http.conftest import Client


def _operations(described: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"{method.upper()} {path}": one for path, of in described["paths"].items() for method, one in of.items()}


def test_every_route_tells_its_answer_and_its_problems(client: Client) -> None:
    operations = _operations(client.get("/v1/openapi.json").json())

    assert len(operations) == 34
    for name, one in operations.items():
        status = next(iter(one["responses"]))
        assert status == "204" or next(iter(one["responses"][status]["content"].values()))["schema"], name
        assert "application/problem+json" in one["responses"]["400"]["content"], name
        assert one["summary"], name
    assert len({one["operationId"] for one in operations.values()}) == len(operations)


def test_every_body_is_told_with_its_bounds(client: Client) -> None:
    described = client.get("/v1/openapi.json").json()
    posts = {name: one for name, one in _operations(described).items() if name.startswith("POST")}

    without = ["POST /v1/collections/{name}/builds/{build}/resume"]  # it has its options already
    assert [name for name, one in posts.items() if "requestBody" not in one] == without
    assert described["components"]["schemas"]["SearchBody"]["properties"]["k"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 10000,
        "default": 10,
    }


def test_the_options_of_a_build_that_is_sent_are_told(client: Client) -> None:
    described = client.get("/v1/openapi.json").json()
    parameters = described["paths"]["/v1/collections/{name}/builds"]["post"]["parameters"]

    options = {one["name"]: one for one in parameters if one["in"] == "query"}
    assert options.keys() == described["components"]["schemas"]["BuildBody"]["properties"].keys() - {"source"}
    assert options["promote"]["schema"] == {"type": "boolean", "default": False}
    assert options["gate"]["schema"]["contentMediaType"] == "application/json"


def test_every_reference_leads_somewhere(client: Client) -> None:
    text = client.get("/v1/openapi.json").text
    schemas = client.get("/v1/openapi.json").json()["components"]["schemas"]

    wanted = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert wanted <= set(schemas)


def test_examples_are_taken(client: Client) -> None:
    for name, one in _operations(client.get("/v1/openapi.json").json()).items():
        body = one.get("requestBody", {}).get("content", {}).get("application/json", {})
        if "example" in body and "{name}" in name:
            method, _, path = name.partition(" ")
            address = path.replace("{name}", "rocks").replace("{generation}", "1")
            found = client.request(method, address, json=body["example"])
            assert found.is_success, (name, found.text)


def test_answers_have_the_shape_that_is_told(client: Client) -> None:
    body = {"query": "slate", "explain": True}
    msgspec.convert(client.post("/v1/collections/rocks/search", json=body).json(), SearchAnswer)
    msgspec.convert(client.get("/v1/collections/rocks/documents/slate").json(), DocumentObject)


def test_the_page_for_people_has_every_route_and_every_schema_and_asks_nobody_else(client: Client) -> None:
    described = client.get("/v1/openapi.json").json()
    answer = client.get("/v1/reference")

    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    targets = set(re.findall(r'id="([^"]+)"', answer.text))
    assert {one["operationId"] for one in _operations(described).values()} <= targets
    assert {f"schema-{name}" for name in described["components"]["schemas"]} <= targets
    assert set(re.findall(r'href="#([^"]+)"', answer.text)) <= targets
    assert re.findall(r'(?:src|href)="(?!#)([^"]+)"', answer.text) == ["openapi.json", "problems"]

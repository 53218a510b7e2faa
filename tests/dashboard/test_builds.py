"""Builds and comparisons in the dashboard."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install 'outcrop[dev]'")

from playwright.sync_api import Page, expect

from outcrop.surfaces.keys import Keys
from tests.dashboard.conftest import Server, logged

Serve = Callable[..., Server]
_EVENTS = """async (pieces) => {
  const { events } = await import("/assets/scripts/builds/following.js");
  const encoder = new TextEncoder();
  const body = new ReadableStream({ start: (to) => { for (const one of pieces) to.enqueue(encoder.encode(one)); to.close(); } });
  const found = [];
  for await (const one of events(body)) found.push([one.event, one.data]);
  return found;
}"""


def test_events_are_read_however_they_are_cut(page: Page, stones: Server) -> None:
    page.goto(stones.address)

    pieces = [
        ": beat\n\n",
        "event: prog",
        'ress\ndata: {"a"',
        ": 1}\n",
        "\nevent: end\r\ndata: x\r\ndata:y\r\n\r\n",
        "data: cut off",
    ]
    assert page.evaluate(_EVENTS, pieces) == [["progress", '{"a": 1}'], ["end", "x\ny"]]


def test_a_build_of_the_documents_there_are_is_followed_until_it_is_live(page: Page, serve: Serve) -> None:
    page.goto(f"{serve().address}/#/stones/builds")
    expect(page.get_by_text("No build was begun here")).to_be_visible()
    page.get_by_label("Chunker").fill("tokens:32/4")
    page.get_by_label("Put it live when it is ready").check()
    page.get_by_role("button", name="Begin the build").click()

    build = page.locator(".build").first
    expect(build).to_contain_text(re.compile("running|done"))
    expect(page.locator("#standing")).to_contain_text("generation 3", timeout=60_000)
    expect(build).to_have_attribute("data-state", "done")
    expect(build).to_contain_text("Generation 3")
    expect(build).to_contain_text("promoted")
    expect(build).to_contain_text("11 documents")


def test_a_file_of_documents_is_built(page: Page, serve: Serve, tmp_path: Path) -> None:
    lines = "".join(json.dumps({"id": f"pebble-{number}", "text": f"pebble {number}"}) + "\n" for number in range(30))
    (tmp_path / "pebbles.jsonl").write_text(lines, encoding="utf-8")
    page.goto(f"{serve().address}/#/stones/builds")
    page.get_by_label("Or a file of documents").set_input_files(tmp_path / "pebbles.jsonl")
    page.get_by_role("button", name="Begin the build").click()

    build = page.locator(".build").first
    expect(build).to_have_attribute("data-state", "done", timeout=60_000)
    expect(build).to_contain_text("30 documents")
    expect(page.locator("#standing")).to_contain_text("generation 1")


def test_what_cannot_be_built_is_told_at_the_form(page: Page, stones: Server) -> None:
    page.goto(f"{stones.address}/#/stones/builds")
    page.get_by_label("Embedder").fill("minlim")
    page.get_by_role("button", name="Begin the build").click()

    expect(page.locator("form").get_by_role("alert")).to_contain_text("minlim")


def test_who_may_not_build_sees_why(page: Page, serve: Serve) -> None:
    server = serve()
    key = Keys(server.folder).create("reader", "read")
    page.add_init_script(f"sessionStorage.setItem('outcrop.key', {json.dumps(key)})")
    page.goto(f"{server.address}/#/stones/builds")

    expect(page.get_by_text("this needs one of scope admin")).to_be_visible()
    expect(page.get_by_role("button", name="Begin the build")).to_have_count(0)


def test_a_server_that_does_not_build_says_so(page: Page, stones: Server) -> None:
    page.route(
        "**/builds", lambda route: route.fulfill(status=404, content_type="application/problem+json", body='{"title": "Not found"}')
    )
    page.goto(f"{stones.address}/#/stones/builds")

    expect(page.get_by_text("This server does not build")).to_be_visible()


def test_two_generations_are_compared_query_by_query(page: Page, stones: Server) -> None:
    before = logged(stones)
    page.goto(f"{stones.address}/#/stones/compare")
    golden = json.dumps({"query": "thin layers", "relevant": {"shale": 1}})
    page.get_by_label(re.compile("^Queries")).fill(f"volcanic glass\n{golden}\n")
    page.get_by_role("button", name="Compare").click()

    expect(page.get_by_role("heading", name="From generation 1 to 2")).to_be_visible(timeout=60_000)
    expect(page.get_by_text("The same documents, with the same texts and metadata.")).to_be_visible()
    expect(page.locator(".query")).to_have_count(2)
    query = page.locator(".query", has_text="thin layers")
    expect(query).to_contain_text("nDCG 1.00 → 1.00")
    query.locator("summary").click()
    expect(query.locator(".two .near")).to_have_count(2)
    expect(query.locator(".two .near").first).to_contain_text("Slate")
    assert logged(stones) == before


def test_a_query_that_is_none_is_told_before_anything_is_asked(page: Page, stones: Server) -> None:
    page.goto(f"{stones.address}/#/stones/compare")
    page.get_by_label(re.compile("^Queries")).fill("{not json")
    page.get_by_role("button", name="Compare").click()

    expect(page.get_by_role("alert")).to_contain_text("A line is no query")

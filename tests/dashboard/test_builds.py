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


_LISTED = """async (files) => {
  const { asLines, listed } = await import("/assets/scripts/queries.js");
  try {
    return listed(asLines(files));
  } catch (error) {
    return { fault: error.message };
  }
}"""


_SENT = """async ([address, lines, stops]) => {
  const { sent } = await import("/assets/scripts/sending.js");
  const body = new Blob([lines]);
  const given = new AbortController();
  const steps = [];
  const progress = (count) => {
    steps.push(count);
    if (stops) given.abort();
  };
  const options = { method: "POST", headers: { "content-type": "application/x-ndjson" }, body, signal: given.signal };
  try {
    const response = await sent(new URL(address, document.baseURI), options, progress);
    const told = [response.status, response.headers.get("content-type"), response.status === 204 ? null : await response.json()];
    return { size: body.size, steps, told };
  } catch (error) {
    return { size: body.size, steps, told: error.name };
  }
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


def test_queries_are_read_in_the_forms_of_the_command_line(page: Page, stones: Server) -> None:
    page.goto(stones.address)
    golden = '\ufeffplain words\n{"query": "a", "relevant": {"x": 2}, "id": "q"}\n\n'
    beir = [
        {"name": "queries.jsonl", "text": '{"_id": "1", "text": "flint"}\n{"_id": "2", "text": "unjudged"}\n'},
        {"name": "test.tsv", "text": "query-id\tcorpus-id\tscore\r\n1\tx\t1\r\n1\ty\t0\r\n"},
    ]

    assert page.evaluate(_LISTED, [{"name": "golden.jsonl", "text": golden}]) == {
        "queries": ["plain words", {"query": "a", "relevant": {"x": 2}, "id": "q"}],
        "fault": None,
    }
    judged = {"query": "flint", "relevant": {"x": 1, "y": 0}, "id": "1"}
    assert page.evaluate(_LISTED, beir) == {"queries": [judged], "fault": None}
    for files, fault in (
        ([{"name": "a.jsonl", "text": 'x\n{"q": 1}\n'}], 'Line 2 is no query: it has no text as "query"'),
        ([{**beir[1], "text": "3\tx\t1\n"}, beir[0]], "test.tsv, line 1: the query 3 is judged, and no text for it"),
        ([{**beir[1], "text": "h\th\th\n1 x 1\n"}, beir[0]], "test.tsv, line 2: a row is"),
    ):
        assert page.evaluate(_LISTED, files)["fault"].startswith(fault)


def test_a_build_of_the_documents_there_are_is_followed_until_it_is_live(page: Page, serve: Serve) -> None:
    page.goto(f"{serve().address}/#/stones/builds")
    expect(page.get_by_text("No build was begun here")).to_be_visible()
    page.get_by_label("Chunker", exact=True).select_option("with sizes …")
    expect(page.get_by_label("Chunker, with its size")).to_be_focused()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("tokens:32/4")
    page.get_by_label("Analyzer").select_option("simple")
    page.get_by_label("Put it live when it is ready").check()
    page.get_by_label("A gate of its own").check()
    page.get_by_label("Documents, at least").fill("11")
    page.get_by_role("button", name="Begin the build").click()

    build = page.locator(".build").first
    expect(build).to_contain_text(re.compile("running|done"))
    expect(page.locator("#standing")).to_contain_text("generation 3", timeout=60_000)
    expect(build).to_have_attribute("data-state", "done")
    for told in ("Generation 3", "promoted", "11 documents"):
        expect(build).to_contain_text(told)
    build.get_by_text("Its gate passed").click()
    expect(build.locator(".report")).to_contain_text("at least 11")
    expect(page.get_by_role("option", name="as it is: tokens:32/4")).to_have_count(1)


def test_sources_are_offered_files_are_sent_and_a_gate_may_refuse(page: Page, serve: Serve, tmp_path: Path) -> None:
    lines = "".join(json.dumps({"id": f"pebble-{number}", "text": f"pebble {number}"}) + "\n" for number in range(30))
    (tmp_path / "data").mkdir()
    for file in ("pebbles.jsonl", "data/more.jsonl"):
        (tmp_path / file).write_text(lines, encoding="utf-8")
    page.goto(f"{serve('--source-folder', str(tmp_path / 'data')).address}/#/stones/builds")
    page.get_by_label("A source on the server").check()
    page.get_by_label("File or folder").select_option("more.jsonl")
    page.get_by_label("Embedder", exact=True).select_option("none")
    page.get_by_role("button", name="Begin the build").click()
    build = page.locator(".build").first
    expect(build).to_have_attribute("data-state", "done", timeout=60_000)
    expect(build).to_contain_text("from more.jsonl")

    page.get_by_label("A file from here").check()
    page.get_by_role("button", name="Begin the build").click()
    expect(page.locator("[data-field=file]").get_by_role("alert")).to_have_text("Choose a file.")
    page.get_by_label("File of documents").set_input_files(tmp_path / "pebbles.jsonl")
    page.get_by_label("Put it live when it is ready").check()
    page.get_by_role("button", name="Begin the build").click()
    expect(page.locator(".build")).to_have_count(2)
    expect(build).to_have_attribute("data-state", "failed", timeout=60_000)
    expect(build).to_contain_text("30 documents")
    expect(build.locator(".report tr.failed")).to_contain_text("vanished ids")
    expect(page.locator("#standing")).to_contain_text("generation 1")


def test_how_much_of_a_file_has_been_sent_is_told(page: Page, serve: Serve) -> None:
    page.goto(serve().address)
    lines = "".join(json.dumps({"id": f"pebble-{number}", "text": f"pebble {number} " * 10_000}) + "\n" for number in range(20))
    address = "/v1/collections/stones/documents"

    found = page.evaluate(_SENT, [address, lines, False])
    assert found["steps"] == sorted(found["steps"])
    assert found["steps"][-1] == found["size"] == len(lines)
    assert found["told"][:2] == [200, "application/json"]
    assert found["told"][2]["documents"] == 20
    refused = page.evaluate(_SENT, ["/v1/collections/pebbles/documents", '{"id": "a", "text": "b"}', False])
    assert refused["told"][:2] == [404, "application/problem+json"]
    assert page.evaluate(_SENT, [address, lines, True])["told"] == "AbortError"


def test_what_is_wrong_is_told_at_the_field_that_it_is_about(page: Page, stones: Server) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{stones.address}/#/stones/builds")
    begin = page.get_by_role("button", name="Begin the build")
    at = lambda field: page.locator(f"[data-field={field}]").get_by_role("alert")  # noqa: E731

    page.get_by_label("Embedder", exact=True).select_option("hashing")
    page.get_by_label("Embedder, with its model").fill("hashing:many")
    begin.click()
    expect(at("embedder")).to_contain_text("wants a positive whole number of dimensions")
    expect(page.get_by_label("Embedder, with its model")).to_be_focused()
    page.get_by_label("Embedder, with its model").fill("hashing:32")
    expect(at("embedder")).to_have_count(0)

    page.get_by_text("More", exact=True).click()
    page.get_by_label("Wanted recall").fill("3")
    page.get_by_text("More", exact=True).click()
    page.get_by_label("Put it live when it is ready").check()
    page.get_by_label("A gate of its own").check()
    page.get_by_label("Overlap, at least").fill("0.5")
    begin.click()
    expect(at("target_recall")).to_have_text("Value must be less than or equal to 1.")
    expect(page.get_by_label("Wanted recall")).to_be_focused()
    page.get_by_label("Wanted recall").fill("")
    begin.click()
    expect(at("overlap_min")).to_contain_text("needs queries")
    page.get_by_label("Queries", exact=True).fill("slate\n{not json")
    begin.click()
    expect(at("queries")).to_contain_text("Line 2 is no query")

    expect(page.get_by_role("option", name="ivf_sq")).to_be_disabled()
    expect(page.get_by_role("option", name="lancedb: mode mvp_only never loads LanceDB")).to_be_disabled()
    expect(page.get_by_label("A source on the server")).to_be_disabled()
    expect(page.locator(".build")).to_have_count(0)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_gate_that_is_too_long_to_go_with_a_file_is_told_before_anything_is_sent(
    page: Page, stones: Server, tmp_path: Path
) -> None:
    (tmp_path / "pebble.jsonl").write_text('{"id": "a", "text": "b"}', encoding="utf-8")
    page.goto(f"{stones.address}/#/stones/builds")
    page.get_by_label("A file from here").check()
    page.get_by_label("File of documents").set_input_files(tmp_path / "pebble.jsonl")
    page.get_by_label("Put it live when it is ready").check()
    page.get_by_label("A gate of its own").check()
    page.get_by_label("Overlap, at least").fill("0.5")
    page.get_by_label("Queries", exact=True).fill("a long query\n" * 900)
    page.get_by_role("button", name="Begin the build").click()

    expect(page.locator("[data-field=queries]").get_by_role("alert")).to_contain_text("too long for one")
    expect(page.locator(".build")).to_have_count(0)


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

    expect(page.locator("[data-field=queries]").get_by_role("alert")).to_contain_text("Line 1 is no query")

"""The search playground."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install 'outcrop[dev]'")

from playwright.sync_api import Page, expect

from tests.dashboard.conftest import Server, Watched, logged


def _search(page: Page, server: Server, query: str, **values: str) -> None:
    page.goto(f"{server.address}/")
    page.get_by_role("searchbox", name="Query").fill(query)
    for label, value in values.items():
        page.get_by_label(label, exact=True).fill(value)
    page.keyboard.press("Enter")


def _titles(page: Page, column: str) -> list[str]:
    return page.get_by_role("region", name=column).locator(".hit h3").all_text_contents()


def test_one_query_is_asked_in_three_ways_side_by_side(page: Page, stones: Server) -> None:
    before = logged(stones)
    _search(page, stones, "thin layers")

    for column in ("Words", "Meaning", "Hybrid"):
        expect(page.get_by_role("region", name=column).locator(".hit").first).to_be_visible()
    assert set(_titles(page, "Words")) == {"Slate", "Shale"}
    first = page.get_by_role("region", name="Hybrid").locator(".hit").first
    expect(first.locator(".snippet mark")).to_have_text(["thin", "layers"])
    expect(first.locator(".bar.lexical .bar-fill")).to_be_visible()
    expect(first.locator(".bar.vector .bar-fill")).to_be_visible()
    expect(page.locator(".column.hybrid .timing-steps")).to_contain_text("lexical")
    assert logged(stones) == before  # a trial is not what people search for


def test_a_hit_tells_where_the_other_columns_have_it(page: Page, stones: Server) -> None:
    _search(page, stones, "thin layers")

    words = page.get_by_role("region", name="Words").locator(".hit").first
    title = words.locator("h3").text_content()
    hybrid = page.get_by_role("region", name="Hybrid").locator(".hit", has_text=title)
    rank = hybrid.locator(".rank").text_content()
    expect(words.locator(".place.hybrid")).to_contain_text(f"hybrid {rank}")
    words.hover()
    expect(hybrid).to_have_class(re.compile("lit"))


def test_enter_on_a_hit_shows_why_it_ranks_there(page: Page, stones: Server) -> None:
    _search(page, stones, "thin layers")

    hit = page.get_by_role("region", name="Hybrid").locator(".hit").first
    hit.press("Enter")
    expect(hit.get_by_role("table").first).to_contain_text("lexical")
    expect(hit.get_by_role("table").nth(1)).to_contain_text("layer")
    expect(hit.get_by_text("stones.md")).to_be_visible()


def test_a_filter_narrows_and_its_error_is_shown_at_its_place(page: Page, stones: Server) -> None:
    _search(page, stones, "layers", Filter="hardness > 2")
    expect(page.locator(".column.lexical .hit")).to_have_count(1)
    assert _titles(page, "Words") == ["Slate"]

    page.get_by_label("Filter", exact=True).fill("hardness >> 2")
    page.keyboard.press("Enter")
    alert = page.locator(".field-error")
    expect(alert).to_contain_text("the filter cannot be read at position")
    expect(page.get_by_label("Filter", exact=True)).to_have_attribute("aria-invalid", "true")
    expect(page.locator(".hit")).to_have_count(0)

    page.get_by_label("Filter", exact=True).fill("hardness = 2")
    page.keyboard.press("Enter")
    expect(page.locator(".column.lexical .hit")).to_have_count(1)
    expect(alert).to_be_hidden()
    assert _titles(page, "Words") == ["Shale"]


def test_what_a_document_holds_is_shown_and_never_run(page: Page, stones: Server) -> None:
    _search(page, stones, "malachite")

    hit = page.get_by_role("region", name="Words").locator(".hit").first
    expect(hit.locator("h3")).to_contain_text("<script>window.hacked = true</script>")
    expect(hit.locator(".snippet")).to_contain_text("<img src=x")
    hit.press("Enter")
    expect(hit.locator(".why-details")).to_contain_text("<script>")
    assert page.evaluate("window.hacked") is None
    assert page.locator("main script, main img").count() == 0


def test_the_page_cannot_make_markup_of_a_text_even_if_it_wanted(page: Page, stones: Server, watched: Watched) -> None:
    page.goto(stones.address)

    refused = page.evaluate(
        "() => { try { document.body.innerHTML = '<b>x</b>'; return null } catch (error) { return error.name } }"
    )
    assert refused == "TypeError"
    assert watched.complaints.pop().startswith("This document requires 'TrustedHTML'")


def test_the_weight_of_the_vectors_moves_the_hybrid_ranking(page: Page, stones: Server) -> None:
    _search(page, stones, "volcano glass")
    expect(page.locator(".column.hybrid .hit").first).to_be_visible()

    page.get_by_label("Vector weight").fill("1")
    expect(page).to_have_url(re.compile(r"weight=1"))
    expect(page.locator(".column.hybrid .hit").first.locator(".bar.lexical .bar-value")).to_have_text(re.compile(r"^0 ·"))
    page.get_by_role("button", name="Back to the default weight").click()
    expect(page).not_to_have_url(re.compile(r"weight="))


def test_the_address_holds_it_all_and_back_works(page: Page, stones: Server) -> None:
    _search(page, stones, "glass", Filter="hardness > 2")
    expect(page).to_have_url(re.compile(r"#/stones/search\?q=glass&where=hardness\+%3E\+2$"))
    page.get_by_role("searchbox", name="Query").fill("sand")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("q=sand"))
    expect(page.locator(".column.lexical .hit h3").first).to_have_text("Sandstone")

    page.go_back()
    expect(page.get_by_role("searchbox", name="Query")).to_have_value("glass")
    expect(page.locator(".column.lexical .hit h3")).to_have_text(["Obsidian"])
    page.reload()
    expect(page.get_by_label("Filter", exact=True)).to_have_value("hardness > 2")
    expect(page.locator(".column.lexical .hit h3")).to_have_text(["Obsidian"])


def test_another_generation_can_be_asked(page: Page, stones: Server) -> None:
    _search(page, stones, "glass")
    page.get_by_label("Generation").select_option("2")

    expect(page.locator(".column.lexical .origin")).to_contain_text("generation 2")


def _code(page: Page, language: str) -> str:
    page.get_by_role("button", name="Hybrid: as code").click()
    page.get_by_role("tab", name=language).click()
    return page.locator("dialog pre code").text_content() or ""


@pytest.mark.parametrize("language", ["curl", "Python over HTTP", "Python, in process"])
def test_what_is_copied_runs_and_gives_the_same_hits(page: Page, stones: Server, language: str, tmp_path: Path) -> None:
    _search(page, stones, "it's the \"thin\" layers' $HOME", Filter="kind != 'igneous'")
    page.get_by_label("Vector weight").fill("0.5")
    expect(page).to_have_url(re.compile("weight=0.5"))
    expect(page.locator(".column.hybrid[aria-busy]")).to_have_count(0)
    shown = [one.get_attribute("data-id") for one in page.locator(".column.hybrid .hit").all()]
    code = _code(page, language)
    environment = os.environ | {"OUTCROP_MODE": "mvp_only"}
    if language == "curl":
        done = subprocess.run(["bash", "-c", code], check=True, capture_output=True, text=True)
        found = [hit["document_id"] for hit in json.loads(done.stdout)["hits"]]
    else:
        (tmp_path / "kb").symlink_to(stones.folder)
        run = [sys.executable, "-c", code]
        done = subprocess.run(run, check=True, capture_output=True, text=True, cwd=tmp_path, env=environment)
        found = [line.split()[2] for line in done.stdout.splitlines()]

    assert shown
    assert found == [str(one).partition("#")[0] for one in shown]


def test_a_server_that_has_gone_is_told_with_a_way_to_try_again(page: Page, stones: Server) -> None:
    _search(page, stones, "glass")
    expect(page.locator(".column.lexical .hit")).to_have_count(2)
    page.route("**/search", lambda route: route.abort())
    page.get_by_role("searchbox", name="Query").fill("sand")
    page.keyboard.press("Enter")

    expect(page.locator(".column.lexical")).to_contain_text("The server cannot be reached")
    page.unroute("**/search")
    page.locator(".column.lexical").get_by_role("button", name="Try again").click()
    expect(page.locator(".column.lexical .hit h3").first).to_have_text("Sandstone")


def test_an_error_of_the_server_is_shown_with_the_request_s_id(page: Page, stones: Server) -> None:
    page.goto(f"{stones.address}/#/stones/search?q=glass&k=200")

    failure = page.locator(".column.lexical .failure")
    expect(failure).to_contain_text("The search cannot be run as asked")
    expect(failure).to_contain_text("more than candidates=100")
    expect(failure.locator("code")).to_have_text(re.compile("[0-9a-f]{32}"))

"""What stands around every view: keys, themes, the keyboard, narrow screens, and databases with nothing in them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install 'outcrop[dev]'")

from playwright.sync_api import Page, expect

import outcrop
from outcrop.surfaces.keys import Keys
from tests.dashboard.conftest import Server, filled

Serve = Callable[..., Server]


def _empty(folder: Path) -> None:
    outcrop.open(folder).close()


def _with_nothing_active(folder: Path) -> None:
    with outcrop.open(folder) as db:
        db.create_collection("stones", embedder="none")


def test_a_database_without_collections_says_how_to_make_one(page: Page, serve: Serve) -> None:
    page.goto(serve(fill=_empty).address)

    expect(page.get_by_text("No collection yet")).to_be_visible()
    expect(page.locator(".command").first).to_have_text("outcrop build papers corpus.jsonl --promote")


def test_a_collection_without_generations_says_how_to_fill_it(page: Page, serve: Serve) -> None:
    page.goto(serve(fill=_with_nothing_active).address)

    expect(page.get_by_text("The collection holds nothing yet")).to_be_visible()


def test_a_key_is_asked_for_and_sent_and_kept_in_the_tab_alone(page: Page, serve: Serve) -> None:
    server = serve()
    key = Keys(server.folder).create("reader", "read")
    page.goto(server.address)

    dialog = page.get_by_role("dialog", name="This server wants a key")
    dialog.get_by_label("Key", exact=True).fill("oc_wrong")
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text("the key is not known here")
    dialog.get_by_label("Key", exact=True).fill(key)
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Key: reader")).to_be_visible()
    page.get_by_role("searchbox", name="Query").fill("glass")
    page.keyboard.press("Enter")
    expect(page.locator(".column.lexical .hit")).to_have_count(2)

    assert page.evaluate("JSON.stringify(localStorage)") == "{}"
    page.reload()
    expect(page.locator(".column.lexical .hit")).to_have_count(2)
    page.get_by_role("button", name="Code").or_(page.get_by_role("button", name="Words: as code")).first.click()
    expect(page.locator("dialog pre code")).to_contain_text("Bearer $OUTCROP_KEY")
    assert key not in page.content()


def test_turning_away_from_the_key_says_what_is_missing(page: Page, serve: Serve) -> None:
    server = serve()
    Keys(server.folder).create("reader", "read")
    page.goto(server.address)

    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("alert")).to_contain_text("The server wants a key")


def test_the_page_is_for_this_machine_s_names_only_where_no_key_is_wanted(serve: Serve) -> None:
    server = serve()

    assert httpx.get(server.address).status_code == 200
    elsewhere = {"host": "rebound.example.org"}
    assert httpx.get(server.address, headers=elsewhere).status_code == 403
    assert httpx.get(f"{server.address}/assets/scripts/main.js", headers=elsewhere).status_code == 403
    Keys(server.folder).create("reader", "read")
    assert httpx.get(server.address, headers=elsewhere).status_code == 200
    assert httpx.get(f"{server.address}/v1/access", headers=elsewhere).status_code == 401


def test_the_keyboard_is_enough(page: Page, stones: Server) -> None:
    page.goto(stones.address)
    expect(page.get_by_role("searchbox", name="Query")).to_be_visible()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox", name="Query")).to_be_focused()
    page.keyboard.type("thin layers")
    page.keyboard.press("Enter")
    expect(page.locator(".column.hybrid .hit").first).to_be_visible()
    expect(page.locator("#announcer")).to_contain_text("Words: 2 hits")

    page.keyboard.press("ArrowDown")
    expect(page.locator(".column.lexical .hit").first).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".column.vector .hit").first).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.locator(".column.vector .hit").nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".column.vector .hit").nth(1).locator(".why-details")).to_be_visible()

    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("tab", name="Search").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Generations")).to_be_focused()
    expect(page.get_by_role("tab", name="Generations")).to_have_attribute("aria-selected", "true")


def test_light_and_dark_follow_the_system_until_one_is_chosen(page: Page, stones: Server) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    page.emulate_media(color_scheme="light")
    page.goto(stones.address)
    light = page.evaluate(ground)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(ground)
    assert light != dark

    button = page.get_by_role("button", name=re.compile("^Colours"))
    button.click()
    assert page.evaluate(ground) == light
    page.reload()
    assert page.evaluate(ground) == light
    button.click()
    button.click()
    assert page.evaluate(ground) == dark


@pytest.mark.parametrize("view", ["search?q=thin+layers", "generations", "builds", "compare", "map?color=kind", "operations"])
def test_a_phone_needs_no_scrolling_sideways(page: Page, stones: Server, view: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{stones.address}/#/stones/{view}")
    expect(page.locator("main > *").first).to_be_visible()
    expect(page.locator("main .loading")).to_have_count(0)

    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_on_a_phone_the_columns_are_tabs(page: Page, stones: Server) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{stones.address}/#/stones/search?q=thin+layers")

    expect(page.locator(".column.hybrid .hit").first).to_be_visible()
    expect(page.locator(".column.lexical")).to_be_hidden()
    page.get_by_role("tab", name="Words").click()
    expect(page.locator(".column.lexical .hit").first).to_be_visible()
    expect(page.locator(".column.hybrid")).to_be_hidden()
    expect(page).to_have_url(re.compile("column=lexical"))


def test_a_server_that_only_reads_says_so(page: Page, serve: Serve) -> None:
    page.goto(f"{serve('--read-only', fill=filled).address}/#/stones/generations")

    expect(page.locator("#standing")).to_contain_text("read only")
    expect(page.get_by_role("button", name="Promote")).to_have_attribute("aria-disabled", "true")
    expect(page.get_by_role("button", name="Promote")).to_have_attribute("title", "The server was started to read only.")

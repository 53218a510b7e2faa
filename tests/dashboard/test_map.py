"""The map of the vectors."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install 'outcrop[dev]'")

from playwright.sync_api import Page, expect

import outcrop
from outcrop import Config
from tests.dashboard.conftest import SCRIPT, Server

Serve = Callable[..., Server]
_PAINTED = """() => {
  const canvas = document.querySelector(".map-canvas");
  if (!canvas?.width) return 0;
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
  let painted = 0;
  for (let at = 3; at < data.length; at += 4) painted += data[at] > 0;
  return painted;
}"""

# Places with something painted, in pixels of the page: one of each square of eight by eight.
_PLACES = """() => {
  const canvas = document.querySelector(".map-canvas");
  const scale = canvas.width / canvas.clientWidth;
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
  const found = new Map();
  for (let at = 0; at < data.length / 4; at += 1) {
    if (data[at * 4 + 3] === 0) continue;
    const [x, y] = [(at % canvas.width) / scale, Math.floor(at / canvas.width) / scale];
    found.set(`${Math.floor(x / 8)} ${Math.floor(y / 8)}`, [x, y]);
  }
  return [...found.values()];
}"""


def _until(page: Page, is_so: Callable[[int], bool]) -> None:
    """Wait until so many pixels are painted. The page's policy forbids what the driver does to wait by itself."""
    for _ in range(300):
        if is_so(page.evaluate(_PAINTED)):
            return
        page.wait_for_timeout(50)
    pytest.fail("the map is not painted as it should be")


def _sweep(page: Page, wanted: str) -> None:
    """Point at whatever is painted until the tooltip says this."""
    box, places = page.locator(".map-canvas").bounding_box(), page.evaluate(_PLACES)
    assert box is not None
    for x, y in places:
        page.mouse.move(box["x"] + x, box["y"] + y)
        if wanted in (page.locator(".map-tooltip").text_content() or "") and page.locator(".map-tooltip").is_visible():
            return
    pytest.fail(f"no point of {len(places)} places says {wanted!r}")


def test_every_chunk_is_a_dot_that_says_what_it_is(page: Page, stones: Server) -> None:
    page.goto(f"{stones.address}/#/stones/map?color=kind")
    expect(page.get_by_role("application", name="11 points of generation 1")).to_be_visible()
    expect(page.locator(".map-legend")).to_contain_text("igneous")
    _until(page, lambda painted: painted > 50)

    _sweep(page, "Basalt is dark")
    expect(page.locator(".map-tooltip")).to_contain_text("kind igneous")
    page.mouse.down()
    page.mouse.up()
    expect(page.locator(".map-side")).to_contain_text("often in columns")
    expect(page.locator(".map-side dl")).to_contain_text("hardness")


def test_what_is_pointed_at_is_text_whatever_it_looks_like(page: Page, stones: Server) -> None:
    page.goto(f"{stones.address}/#/stones/map")
    _until(page, lambda painted: painted > 50)

    _sweep(page, "Malachite")
    expect(page.locator(".map-tooltip")).to_contain_text(SCRIPT)
    assert page.evaluate("window.hacked") is None


def test_a_query_is_placed_with_what_is_nearest_to_it(page: Page, stones: Server) -> None:
    page.goto(f"{stones.address}/#/stones/map")
    page.get_by_role("searchbox", name="Query to place on the map").fill("volcanic glass")
    page.keyboard.press("Enter")

    expect(page.locator(".map-side li").first).to_contain_text("Obsidian")
    expect(page.locator(".map-side li")).to_have_count(10)
    expect(page).to_have_url(re.compile(r"map\?q=volcanic\+glass"))


def test_it_moves_and_comes_nearer_by_hand_and_by_key(page: Page, stones: Server) -> None:
    page.goto(f"{stones.address}/#/stones/map")
    _until(page, lambda painted: painted > 50)
    before = page.evaluate(_PAINTED)

    canvas = page.locator(".map-canvas")
    canvas.focus()
    for _ in range(6):
        page.keyboard.press("+")
    _until(page, lambda painted: painted != before)
    page.keyboard.press("0")
    _until(page, lambda painted: painted == before)
    for _ in range(30):
        page.keyboard.press("ArrowRight")
    _until(page, lambda painted: painted < before)
    page.get_by_role("button", name="All of it").click()
    _until(page, lambda painted: painted == before)


def test_a_kind_can_be_left_out(page: Page, stones: Server) -> None:
    page.goto(f"{stones.address}/#/stones/map?color=kind")
    _until(page, lambda painted: painted > 50)
    before = page.evaluate(_PAINTED)

    page.get_by_role("button", name="igneous").click()
    expect(page.get_by_role("button", name="igneous")).to_have_attribute("aria-pressed", "false")
    _until(page, lambda painted: painted < before)


def _without_vectors(folder: Path) -> None:
    with outcrop.open(folder, config=Config.mvp_only(background=False)) as db:
        db.create_collection("stones", embedder="none").upsert({"id": "a", "text": "slate"})


def test_where_there_are_no_vectors_it_says_how_to_get_them(page: Page, serve: Serve) -> None:
    page.goto(f"{serve(fill=_without_vectors).address}/#/stones/map")

    expect(page.get_by_text("No vectors, so no map")).to_be_visible()

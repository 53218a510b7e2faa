"""Generations in the dashboard: what is shown of them, and putting one live or going back."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install 'outcrop[dev]'")

from playwright.sync_api import Locator, Page, expect

import outcrop
from outcrop import Config
from outcrop.surfaces.keys import Keys
from tests.dashboard.conftest import Server, filled

Serve = Callable[..., Server]


def _generation(page: Page, number: int) -> Locator:
    return page.get_by_role("listitem", name=f"Generation {number}")


def _with_a_smaller_one(folder: Path) -> None:
    filled(folder)
    with outcrop.open(folder, config=Config.mvp_only(background=False)) as db:
        db.collection("stones").build([{"id": "slate", "text": "Slate alone."}])


def test_generations_stand_on_a_time_line_with_recipe_size_and_recall(page: Page, stones: Server) -> None:
    page.goto(f"{stones.address}/#/stones/generations")

    expect(page.get_by_role("img", name=re.compile("Time line: built 1 .*promote 1 .*built 2"))).to_be_visible()
    second = _generation(page, 2)
    expect(second).to_contain_text("tokens:64/8")
    expect(second).to_contain_text("hashing:64, 64 dimensions, cosine")
    expect(second.locator(".figure", has_text="documents")).to_contain_text("11")
    expect(second.locator(".figure", has_text="recall@10")).to_contain_text("1.00")
    expect(_generation(page, 1).get_by_text("active", exact=True)).to_be_visible()
    _generation(page, 1).get_by_text("Gate: passed").click()
    expect(_generation(page, 1).locator(".report")).to_be_visible()


def test_promoting_asks_first_and_rolling_back_tells_the_plan(page: Page, serve: Serve) -> None:
    server = serve()
    page.goto(f"{server.address}/#/stones/generations")

    _generation(page, 2).get_by_role("button", name="Promote").click()
    dialog = page.get_by_role("dialog", name="Put generation 2 live?")
    expect(dialog.locator("tr.differs")).to_contain_text(["chunker"])
    dialog.get_by_role("button", name="Cancel").click()
    expect(page.locator("#standing")).to_contain_text("generation 1")

    _generation(page, 2).get_by_role("button", name="Promote").click()
    page.get_by_label("A gate of its own").check()
    page.get_by_label("Queries", exact=True).fill("volcanic glass")
    page.get_by_label("Overlap, at least").fill("0.5")
    page.get_by_label("Overlap, at least").press("Enter")
    expect(page.locator("#standing")).to_contain_text("generation 2")
    expect(page.locator("#announcer")).to_contain_text("Generation 2 is active")
    expect(page.locator(".log li").first).to_contain_text("Generation 2 promoted, before it 1")
    page.locator(".log li").first.get_by_text("its gate passed").click()
    expect(page.locator(".log li").first.locator(".report")).to_contain_text("overlap@10")

    page.get_by_role("button", name="Roll back to 1").click()
    plan = page.get_by_role("dialog", name="Roll back to generation 1?")
    expect(plan).to_contain_text("Writes to apply")
    plan.get_by_role("button", name="Roll back").click()
    expect(page.locator("#standing")).to_contain_text("generation 1")
    with outcrop.open(server.folder, read_only=True) as db:
        assert [one.kind for one in db.collection("stones").history()] == ["promote", "promote", "rollback"]


def test_what_a_gate_refuses_is_shown_with_its_report_and_can_be_forced(page: Page, serve: Serve, tmp_path: Path) -> None:
    golden = tmp_path / "golden.jsonl"
    golden.write_text('{"query": "thin layers", "relevant": {"shale": 1}}\n{"query": "volcanic glass"}\n', encoding="utf-8")
    page.goto(f"{serve(fill=_with_a_smaller_one).address}/#/stones/generations")
    _generation(page, 3).get_by_role("button", name="Promote").click()
    dialog = page.get_by_role("dialog")
    promote = dialog.get_by_role("button", name="Promote", exact=True)

    promote.click()  # the usual check
    expect(dialog.locator(".report tr.failed")).to_contain_text(["vanished ids"])
    dialog.get_by_label("A gate of its own").check()
    dialog.get_by_label("nDCG@10 may drop by").fill("0.01")
    promote.click()
    expect(dialog.locator("[data-field=ndcg_drop]").get_by_role("alert")).to_contain_text("ndcg_drop needs queries")
    dialog.get_by_label("or files").set_input_files(golden)
    expect(dialog.get_by_text("2 queries, 1 judged")).to_be_visible()
    dialog.get_by_label("Vanished documents, at most").fill("1")
    dialog.get_by_label("Documents that must be in it").fill("slate\ngranite\n")
    dialog.get_by_text("The same as a gate.toml").click()
    expect(dialog.locator(".command")).to_contain_text('required_ids = ["slate","granite"]')
    promote.click()
    expect(dialog.locator(".report tr.failed")).to_contain_text(["required ids", "nDCG@10"])
    expect(dialog.get_by_role("alert")).to_contain_text("A gate refused the promotion")
    expect(page.locator("#standing")).to_contain_text("generation 1")

    force = dialog.get_by_role("button", name="Promote all the same")
    dialog.get_by_label("type the collection's name").fill("stone")
    expect(force).to_be_disabled()
    dialog.get_by_label("type the collection's name").fill("stones")
    page.keyboard.press("Enter")
    expect(page.locator("#standing")).to_contain_text("generation 3")
    expect(page.locator(".log li").first).to_contain_text("forced")
    page.locator(".log li").first.get_by_text("its gate failed").click()
    expect(page.locator(".log li").first.locator(".report")).to_contain_text("nDCG@10")


def test_a_key_that_may_not_promote_says_so_at_the_button(page: Page, serve: Serve) -> None:
    server = serve()
    key = Keys(server.folder).create("reader", "read")
    page.add_init_script(f"sessionStorage.setItem('outcrop.key', {json.dumps(key)})")
    page.goto(f"{server.address}/#/stones/generations")

    button = _generation(page, 2).get_by_role("button", name="Promote")
    expect(button).to_have_attribute("aria-disabled", "true")
    expect(button).to_have_attribute("title", "The key “reader” may read; this needs one of scope admin.")
    button.click(force=True)
    expect(page.get_by_role("dialog")).to_have_count(0)

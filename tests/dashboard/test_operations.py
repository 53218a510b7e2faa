"""The operations view: what it reads, and what it works out of that."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import httpx
import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install 'outcrop[dev]'")

from playwright.sync_api import Page, expect

from outcrop.surfaces.keys import Keys
from tests.dashboard.conftest import Server

Serve = Callable[..., Server]
_BEFORE = """# HELP seconds How long.
seconds_bucket{collection="a",le="0.1"} 0
seconds_bucket{collection="a",le="1.0"} 0
seconds_bucket{collection="a",le="+Inf"} 0
asked_total{status="200"} 90
"""
_AFTER = """seconds_bucket{collection="a",le="0.1"} 50
seconds_bucket{collection="a",le="1.0"} 90
seconds_bucket{collection="a",le="+Inf"} 100
asked_total{status="200"} 10
odd{name="a \\\\ \\"b\\"\\nc",other="x"} 1.5e3
"""
_WORKED_OUT = """async ([before, after]) => {
  const { parse, sum, growth, buckets, quantile } = await import("/assets/scripts/operations/prometheus.js");
  const [a, b] = [parse(before), parse(after)];
  const found = buckets(a, b, "seconds", { collection: "a" });
  return {
    quantiles: [0.25, 0.5, 0.7, 0.99].map((share) => quantile(found, share)),
    nothing: quantile(buckets(b, b, "seconds"), 0.5),
    begunAnew: growth(a, b, "asked_total"),
    odd: b.get("odd")[0],
    absent: sum(b, "absent"),
  };
}"""


def test_percentiles_and_rates_are_worked_out_as_prometheus_does(page: Page, stones: Server) -> None:
    page.goto(stones.address)

    found = page.evaluate(_WORKED_OUT, [_BEFORE, _AFTER])
    assert found["quantiles"] == pytest.approx([0.05, 0.1, 0.1 + 0.9 * 20 / 40, 1.0])
    assert found["nothing"] is None
    assert found["begunAnew"] == 10
    assert found["odd"] == {"labels": {"name": 'a \\ "b"\nc', "other": "x"}, "value": 1500}
    assert found["absent"] is None


def test_what_is_searched_shows_within_seconds(page: Page, stones: Server) -> None:
    page.clock.install()
    page.goto(f"{stones.address}/#/stones/operations")
    expect(page.get_by_role("row", name=re.compile("^stones"))).to_contain_text("11")
    for number in range(20):
        httpx.get(f"{stones.address}/v1/collections/stones/search", params={"q": f"glass {number}"})

    page.clock.run_for(5_000)
    searches = page.get_by_label("The last thirty seconds").locator(".figure", has_text="searches")
    expect(searches.locator(".figure-value")).to_have_text(re.compile(r"^[1-9]\.\d+/s$"))
    expect(page.locator(".figures .figure", has_text="median").locator(".figure-value")).to_have_text(re.compile(r"\d ms$"))
    expect(page.get_by_role("img", name=re.compile(r"Latency of searches: .*p50 \d"))).to_be_visible()
    expect(page.locator("figure", has_text="Where the time goes")).to_contain_text("lexical")


def test_it_can_be_paused(page: Page, stones: Server) -> None:
    page.clock.install()
    page.goto(f"{stones.address}/#/stones/operations")
    expect(page.get_by_role("row", name=re.compile("^stones"))).to_be_visible()
    page.get_by_role("button", name="Live").click()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    page.clock.run_for(20_000)
    assert not asked
    page.get_by_role("button", name="Paused").click()
    expect(page.get_by_role("button", name="Live")).to_be_visible()


def test_a_key_of_one_collection_sees_what_that_collection_tells(page: Page, serve: Serve) -> None:
    server = serve()
    key = Keys(server.folder).create("stones alone", "read", ("stones",))
    page.add_init_script(f"sessionStorage.setItem('outcrop.key', {json.dumps(key)})")
    page.goto(f"{server.address}/#/stones/operations")

    expect(page.get_by_text("Metrics are of the whole server")).to_be_visible()
    expect(page.get_by_text(re.compile("11 documents"))).to_be_visible()


def test_it_tells_what_is_searched_for_and_what_to_change(page: Page, serve: Serve) -> None:
    server = serve()
    address = f"{server.address}/v1/collections/stones/search"
    httpx.get(address, params={"q": "<b>glass</b>"})
    for _ in range(12):
        httpx.get(address, params={"q": "slate", "where": "hard = 3"})

    page.goto(f"{server.address}/#/stones/operations")
    told = page.get_by_role("region", name="Insights")
    expect(told).to_contain_text("13 searches logged")
    expect(told.locator("[data-rule=unknown-field]")).to_contain_text(
        "12 searches filtered by 'hard', a field that no document has."
    )
    told.get_by_text("Found nothing", exact=True).click()
    expect(told.get_by_role("row", name="slate hard = number 12 12")).to_be_visible()
    told.get_by_text("Slowest", exact=True).click()
    expect(told.get_by_role("rowheader", name="<b>glass</b>")).to_be_visible()
    told.get_by_label("Of the last").select_option("1 day")
    expect(told).to_contain_text("13 searches logged")


def test_what_is_searched_for_is_an_admins_matter(page: Page, serve: Serve) -> None:
    server = serve()
    key = Keys(server.folder).create("reader", "read")
    page.add_init_script(f"sessionStorage.setItem('outcrop.key', {json.dumps(key)})")
    page.goto(f"{server.address}/#/stones/operations")

    expect(page.get_by_text("What is searched for is shown to keys of scope admin.")).to_be_visible()

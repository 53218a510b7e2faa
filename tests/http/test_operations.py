"""The rules, the dashboard and the runbook in docs/operations name what there is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.http.conftest import Client

OPERATIONS = Path(__file__).resolve().parents[2] / "docs" / "operations"
PROMTOOL = shutil.which("promtool")
with_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: the package prometheus)")


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((OPERATIONS / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((OPERATIONS / "dashboard.json").read_text())["panels"]
    return found


def expressions() -> list[str]:
    board = json.loads((OPERATIONS / "dashboard.json").read_text())
    notes = [one["expr"] for one in board["annotations"]["list"]]
    return [target["expr"] for panel in panels() for target in panel.get("targets", ())] + notes


def sections() -> dict[str, str]:
    _, *found = re.split(r"^## ", (OPERATIONS / "runbook.md").read_text(), flags=re.MULTILINE)
    return {one.splitlines()[0].strip(): one for one in found}


def exported(client: Client) -> set[str]:
    """The names of everything that the server tells, as they are asked for."""
    client.post("/v1/collections/rocks/search", json={"query": "slate"})
    names = set()
    for family in text_string_to_metric_families(client.get("/metrics").text):
        endings = {"histogram": ("", "_bucket", "_sum", "_count"), "counter": ("_total",), "info": ("_info",)}.get(
            family.type, ("",)
        )
        names |= {family.name + ending for ending in endings}
    return names


def named(text: str) -> set[str]:
    return set(re.findall(r"\boutcrop_[a-z_]+[a-z]", text))


def test_every_alert_has_a_section_and_every_section_an_alert() -> None:
    alerts = [rule["alert"] for rule in rules()]
    found = sections()

    assert sorted(alerts) == sorted(found)
    assert len(set(alerts)) == len(alerts) > 10
    for alert, text in found.items():
        assert all(f"**{part}**" in text for part in ("Means", "Look", "Do")), alert
    for rule in rules():
        assert rule["annotations"]["runbook"] == f"docs/operations/runbook.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in ("critical", "warning")


def test_all_that_is_asked_for_is_told(client: Client) -> None:
    told = exported(client)
    asked = {
        "alerts.yml": named(" ".join(rule["expr"] for rule in rules())),
        "dashboard.json": named(" ".join(expressions())),
        "runbook.md": named((OPERATIONS / "runbook.md").read_text()),
    }

    assert {where: sorted(names - told) for where, names in asked.items()} == {where: [] for where in asked}
    assert len(asked["dashboard.json"]) > 30


def test_the_dashboard_shows_all_that_is_told_but_for_what_is_named_here(client: Client) -> None:
    left_out = {
        "outcrop_info",
        "outcrop_sequence",
        "outcrop_generations",
        "outcrop_collection_failing",
        "outcrop_collection_cold",
        "outcrop_live_recall_searches_total",
        "outcrop_unembedded_chunks",
        "outcrop_cache_entries",
    }
    told = {name for name in exported(client) if not name.endswith(("_seconds", "_sum", "_count", "_created"))}
    assert told - named(" ".join(expressions())) - left_out == set()


def test_the_dashboard_can_be_read_by_grafana() -> None:
    board = json.loads((OPERATIONS / "dashboard.json").read_text())
    numbers = [one["id"] for one in panels()]

    assert board["schemaVersion"] >= 36
    assert {one["name"] for one in board["templating"]["list"]} == {"datasource", "job", "collection"}
    assert len(set(numbers)) == len(numbers)
    assert {one["type"] for one in panels()} == {"row", "timeseries", "stat", "table"}
    for one in panels():
        place = one["gridPos"]
        assert place["x"] + place["w"] <= 24, one["title"]
        assert one["type"] == "row" or one["datasource"]["uid"] == "${datasource}", one["title"]
        letters = [target["refId"] for target in one.get("targets", ())]
        assert len(set(letters)) == len(letters), one["title"]
    assert not list(overlapping())


def overlapping() -> Iterator[tuple[str, str]]:
    """Panels that lie on each other."""
    taken: dict[tuple[int, int], str] = {}
    for one in panels():
        place = one["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                if (x, y) in taken:
                    yield one["title"], taken[x, y]
                taken[x, y] = one["title"]


@with_promtool
def test_promtool_finds_the_rules_good_and_their_tests_pass() -> None:
    promtool("check", "rules", str(OPERATIONS / "alerts.yml"))
    promtool("test", "rules", str(OPERATIONS / "alerts_test.yml"))


@with_promtool
def test_promtool_finds_the_metrics_good(client: Client) -> None:
    client.post("/v1/collections/rocks/search", json={"query": "slate"})
    assert promtool("check", "metrics", given=client.get("/metrics").text) == ""


@with_promtool
def test_promtool_understands_what_the_dashboard_asks(tmp_path: Path) -> None:
    asked = [re.sub(r"\$__(rate_)?interval", "5m", one).replace("$job", ".*").replace("$collection", ".*") for one in expressions()]
    asked_rules = [{"record": f"asked_{number}", "expr": one} for number, one in enumerate(asked)]
    file = tmp_path / "asked.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": asked_rules}]}))
    promtool("check", "rules", str(file))


def promtool(*arguments: str, given: str | None = None) -> str:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *arguments], check=False, capture_output=True, text=True, input=given)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr

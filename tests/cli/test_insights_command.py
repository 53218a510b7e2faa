"""`outcrop insights`."""

from __future__ import annotations

import json
from pathlib import Path

import outcrop
from outcrop import Config
from outcrop.generations.layout import CollectionFolder
from tests.cli.conftest import Cli


def _searched(folder: Path) -> None:
    with outcrop.open(folder, config=Config.test(query_log_share=1.0)) as db:
        rocks = db.collection("rocks")
        for _ in range(12):
            rocks.search("layers of slate")
        for _ in range(30):
            rocks.search("basalt", mode="lexical", where="langue = 'de'")
        rocks.search("\x1b[31mred")


def test_insights_are_shown_in_words(cli: Cli, rocks: Path) -> None:
    _searched(rocks)

    done = cli("insights", "rocks", "--days", "1")
    assert done.exit_code == 0
    for part in (
        "layers of slate",
        "found nothing  30 of 43",
        "Name 'lang' in the filter",
        "langue = text",
        "no document has",
        "p95",
    ):
        assert part in done.stdout
    assert "\x1b" not in done.stdout


def test_insights_are_one_json_value_for_programs(cli: Cli, rocks: Path) -> None:
    _searched(rocks)

    found = json.loads(cli("insights", "rocks", "--json").stdout)
    assert found["searches"] == 43
    assert found["advice"][0]["rule"] == "unknown-field"
    assert found["frequent"][1]["query"] == "layers of slate"


def test_without_a_log_it_says_how_to_get_one(cli: Cli, rocks: Path) -> None:
    done = cli("insights", "rocks")

    assert done.exit_code == 0
    assert "No search of the last 7 days is in the log of rocks." in done.stdout
    assert "query_log_share" in done.stderr
    assert not CollectionFolder(rocks / "rocks").queries.exists()


def test_a_log_is_forgotten_on_request(cli: Cli, rocks: Path) -> None:
    _searched(rocks)

    refused = cli("insights", "rocks", "--forget")
    assert refused.exit_code == 2
    assert "--yes" in refused.stderr
    assert CollectionFolder(rocks / "rocks").queries.exists()
    done = cli("insights", "rocks", "--forget", "--yes")
    assert done.stdout.startswith("Removed the query log of rocks (")
    assert not CollectionFolder(rocks / "rocks").queries.exists()
    assert json.loads(cli("insights", "rocks", "--forget", "--yes", "--json").stdout)["removed_bytes"] == 0


def test_days_that_are_none_are_refused(cli: Cli, rocks: Path) -> None:
    assert rocks.exists()
    done = cli("insights", "rocks", "--days", "0")

    assert done.exit_code == 3
    assert "days" in done.stderr

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

Cli = Callable[..., Result]


def manifest_of(folder: Path, number: int) -> Path:
    (found,) = folder.glob(f"rocks/generations/{number:06d}-*/manifest.json")
    return found


@pytest.mark.usefixtures("rocks")
def test_generations_are_listed_with_what_they_are_made_of(cli: Cli) -> None:
    shown = cli("generations", "rocks").stdout
    for said in ("active", "ready", "hashing:64", "none", "flat"):
        assert said in shown
    listed = json.loads(cli("generations", "rocks", "--json").stdout)
    assert [(one["number"], one["status"]) for one in listed["generations"]] == [(1, "active"), (2, "ready")]
    assert listed["damaged"] == []


def test_a_damaged_generation_is_listed_with_the_reason(cli: Cli, rocks: Path) -> None:
    manifest_of(rocks, 2).write_text("{", encoding="utf-8")
    done = cli("generations", "rocks")
    assert "damaged: generation 2: " in done.stderr
    assert "manifest.json" in done.stderr
    listed = json.loads(cli("generations", "rocks", "--json").stdout)
    assert [one["number"] for one in listed["generations"]] == [1]
    assert [one["number"] for one in listed["damaged"]] == [2]


@pytest.mark.usefixtures("rocks")
def test_promote_and_roll_back_say_what_is_live_now(cli: Cli) -> None:
    done = cli("promote", "rocks", "2")
    assert "Generation 2 of rocks is active now instead of generation 1: 2 documents." in done.stdout
    assert cli("count", "rocks").stdout == "2\n"
    assert "nothing changed" in cli("promote", "rocks", "2").stdout
    assert "Generation 1 of rocks is active now" in cli("rollback", "rocks").stdout
    assert cli("count", "rocks").stdout == "3\n"


@pytest.mark.usefixtures("rocks")
def test_a_generation_can_be_named_by_its_uuid(cli: Cli) -> None:
    second = json.loads(cli("generations", "rocks", "--json").stdout)["generations"][1]
    assert cli("promote", "rocks", second["uuid"]).exit_code == 0
    assert json.loads(cli("stats", "rocks", "--json").stdout)["active"] == 2


@pytest.mark.usefixtures("rocks")
def test_stats_say_what_is_active_and_what_to_filter_on(cli: Cli) -> None:
    shown = cli("stats", "rocks").stdout
    for said in ("generation 1", "built-in", "lang, year", "hashing:64"):
        assert said in shown
    found = json.loads(cli("stats", "rocks", "--json").stdout)
    assert (found["active"], found["document_count"], found["fields"]) == (1, 3, ["lang", "year"])


@pytest.mark.usefixtures("rocks")
def test_count_takes_a_filter(cli: Cli) -> None:
    assert cli("count", "rocks", "--where", "lang = 'de'").stdout == "1\n"
    assert cli("count", "rocks", "--where", "lang = 'fr'").stdout == "0\n"


@pytest.mark.usefixtures("rocks")
def test_get_shows_what_there_is_and_names_what_there_is_not(cli: Cli) -> None:
    some = cli("get", "rocks", "slate", "granite")
    assert "Slate splits into thin layers." in some.stdout
    assert (some.exit_code, some.stderr) == (0, "warning: rocks has no document granite\n")
    none = cli("get", "rocks", "granite")
    assert (none.exit_code, none.stdout, none.stderr) == (4, "", "error: rocks has no document granite\n")
    assert "leave those out" in cli("get", "rocks", "slate#0").stderr
    (one,) = json.loads(cli("get", "rocks", "dune", "--json").stdout)
    assert one == {
        "id": "dune",
        "text": "Wind shapes the dunes.",
        "title": None,
        "source": "dunes.md",
        "metadata": {"year": 2024, "lang": "de"},
    }


@pytest.mark.usefixtures("rocks")
def test_collections_are_listed_and_one_that_is_damaged_hides_none(cli: Cli, corpus: Path, rocks: Path) -> None:
    cli("build", "more", corpus, "--embedder", "none")
    listed = json.loads(cli("collections", "--json").stdout)
    assert [(one["name"], one["active"]) for one in listed] == [("more", None), ("rocks", 1)]
    (rocks / "more" / "collection.json").write_text("{", encoding="utf-8")
    done = cli("collections")
    assert done.exit_code == 0
    assert "damaged" in done.stdout
    assert "rocks" in done.stdout
    assert "collection.json" in done.stderr


def test_drop_needs_a_yes(cli: Cli, rocks: Path) -> None:
    refused = cli("drop", "rocks")
    assert refused.exit_code == 2
    assert (rocks / "rocks").is_dir()
    assert cli("drop", "rocks", "--yes").exit_code == 0
    assert not (rocks / "rocks").exists()

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from outcrop import Collection
from outcrop.errors import EmbedderGone, StorageFailed
from outcrop.model import RollbackPlan
from outcrop.surfaces.cli.generations import show_plan

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
    done = cli("promote", "rocks", "2", "--force")
    assert "Generation 2 of rocks is active now instead of generation 1: 2 documents." in done.stdout
    assert cli("count", "rocks").stdout == "2\n"
    assert "nothing changed" in cli("promote", "rocks", "2").stdout
    assert "Generation 1 of rocks is active now" in cli("rollback", "rocks").stdout
    assert cli("count", "rocks").stdout == "3\n"


@pytest.mark.usefixtures("rocks")
def test_a_refused_promotion_shows_the_report_and_can_be_forced(cli: Cli) -> None:
    refused = cli("promote", "rocks", "2")
    assert (refused.exit_code, refused.stdout) == (10, "")
    assert "FAILED  vanished ids" in refused.stderr
    assert refused.stderr.splitlines()[-1].endswith("all the same: outcrop promote rocks 2 --force")
    assert json.loads(cli("stats", "rocks", "--json").stdout)["active"] == 1
    forced = cli("promote", "rocks", "2", "--force")
    assert "FAILED  vanished ids" in forced.stderr
    assert "warning: promoted by force" in forced.stderr
    assert "Generation 2 of rocks is active now" in forced.stdout


@pytest.mark.usefixtures("rocks")
def test_a_gate_from_a_file_is_asked_and_its_report_kept(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "gate.toml").write_text("vanished_share_max = 0.5\ndocuments_min = 2\n", encoding="utf-8")
    done = cli("promote", "rocks", "2", "--gate", "gate.toml", "--json")
    found = json.loads(done.stdout)
    assert (found["previous"], found["active"]["number"], found["gate"]["passed"]) == (1, 2, True)
    assert len(found["gate"]["checks"]) == 2
    assert "passed (2 checks)" in cli("history", "rocks").stdout


@pytest.mark.usefixtures("rocks")
def test_a_rollback_keeps_what_was_written_since(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTCROP_BACKGROUND", "false")  # or the earlier generation may be caught up before it is asked about
    cli("promote", "rocks", "2", "--force")
    (tmp_path / "more.jsonl").write_text('{"id": "granite", "text": "Granite is hard."}', encoding="utf-8")
    cli("upsert", "rocks", "more.jsonl")
    cli("delete", "rocks", "slate")
    planned = cli("rollback", "rocks", "--dry-run")
    for said in ("generation 1 instead of generation 2", "2 journal entries", "To do it: outcrop rollback rocks\n"):
        assert said in planned.stdout
    assert json.loads(cli("rollback", "rocks", "--dry-run", "--json").stdout)["entries"] == 2
    assert json.loads(cli("stats", "rocks", "--json").stdout)["active"] == 2
    assert "Generation 1 of rocks is active now instead of generation 2: 3 documents." in cli("rollback", "rocks").stdout
    assert cli("get", "rocks", "granite").exit_code == 0
    assert cli("get", "rocks", "slate").exit_code == 4


@pytest.mark.usefixtures("rocks")
def test_a_rollback_can_name_its_generation(cli: Cli) -> None:
    assert "To do it: outcrop rollback rocks --to 2" in cli("rollback", "rocks", "--to", "2", "--dry-run").stdout
    found = json.loads(cli("rollback", "rocks", "--to", "2", "--json").stdout)
    assert (found["previous"], found["active"]["number"]) == (1, 2)
    assert "nothing changed" in cli("rollback", "rocks", "--to", "2").stdout
    assert cli("rollback", "rocks", "--to", "9").exit_code == 4


@pytest.mark.usefixtures("rocks")
def test_an_embedder_that_is_gone_is_told_with_the_option_that_helps(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> None:
        raise EmbedderGone("generation 1 cannot embed 2 documents: gone. With allow_lexical=True they are found by words.")

    monkeypatch.setattr(Collection, "rollback", gone)
    done = cli("rollback", "rocks")
    assert (done.exit_code, done.stdout) == (7, "")
    assert "With --allow-lexical they" in done.stderr


def test_what_cannot_be_embedded_is_in_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    plan = RollbackPlan(
        generation=1, kind="rollback", entries=9, embedded_documents=2, lexical_documents=3, reason="no key", seconds=75.0
    )
    show_plan(None, plan)
    shown = capsys.readouterr().out
    for said in ("3 documents", "no key", "1 min 15 s", "that needs --allow-lexical"):
        assert said in shown


@pytest.mark.usefixtures("rocks")
def test_the_history_tells_every_change_of_the_active_generation(cli: Cli) -> None:
    cli("promote", "rocks", "2", "--force")
    cli("rollback", "rocks")
    shown = cli("history", "rocks").stdout
    for said in ("promote, forced", "1 -> 2", "rollback", "2 -> 1", "refused:", "not asked"):
        assert said in shown
    kinds = [(one["kind"], one["generation"], one["forced"]) for one in json.loads(cli("history", "rocks", "--json").stdout)]
    assert kinds == [("promote", 1, False), ("promote", 2, True), ("rollback", 1, False)]


@pytest.mark.usefixtures("rocks")
def test_the_history_of_a_new_collection_is_empty(cli: Cli, corpus: Path) -> None:
    cli("build", "fresh", corpus, "--embedder", "none")
    assert cli("history", "fresh").stdout == "No generation of fresh was promoted yet.\n"
    assert cli("history", "fresh", "--json").stdout == "[]\n"


@pytest.mark.usefixtures("rocks")
def test_a_generation_can_be_named_by_its_uuid(cli: Cli) -> None:
    second = json.loads(cli("generations", "rocks", "--json").stdout)["generations"][1]
    assert cli("promote", "rocks", second["uuid"], "--force").exit_code == 0
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


def damage_active(folder: Path, how: str) -> None:
    if how == "manifest":
        manifest_of(folder, 1).write_text("{", encoding="utf-8")
    elif how == "pointer":
        (folder / "rocks" / "active").unlink()
        (folder / "rocks" / "active").write_text("nowhere\n", encoding="utf-8")
    else:
        shutil.rmtree(manifest_of(folder, 1).parent)


@pytest.mark.parametrize("how", ["manifest", "pointer", "folder"])
def test_another_generation_can_be_promoted_when_the_active_one_is_damaged(cli: Cli, rocks: Path, how: str) -> None:
    damage_active(rocks, how)
    done = cli("promote", "rocks", "2")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "Generation 2 of rocks is active now: 2 documents." in done.stdout
    assert cli("count", "rocks").stdout == "2\n"


def test_a_damaged_active_generation_can_be_rolled_back(cli: Cli, rocks: Path) -> None:
    cli("promote", "rocks", "2", "--force")
    manifest_of(rocks, 2).write_text("{", encoding="utf-8")
    done = cli("rollback", "rocks")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "Generation 1 of rocks is active now: 3 documents." in done.stdout


@pytest.mark.parametrize("how", ["manifest", "pointer", "folder"])
def test_stats_and_collections_say_that_the_active_generation_is_damaged(cli: Cli, rocks: Path, how: str) -> None:
    damage_active(rocks, how)
    done = cli("stats", "rocks")
    assert (done.exit_code, done.stdout) == (8, "")
    assert done.stderr.startswith("error: ")
    listed = cli("collections")
    assert (listed.exit_code, "damaged" in listed.stdout) == (0, True)
    assert listed.stderr == done.stderr
    (one,) = json.loads(cli("collections", "--json").stdout)
    assert (one["name"], one["damaged"]) == ("rocks", True)


@pytest.mark.usefixtures("rocks")
def test_a_collection_that_may_not_be_read_is_not_called_damaged(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: Collection) -> None:
        raise StorageFailed("kb/rocks: Permission denied", path="kb/rocks", errno_name="EACCES")

    monkeypatch.setattr(Collection, "stats", refused)
    done = cli("collections")
    assert "not readable" in done.stdout
    assert "damaged" not in done.stdout
    assert "kb/rocks: Permission denied" in done.stderr
    (one,) = json.loads(cli("collections", "--json").stdout)
    assert (one["damaged"], one["error"]) == (False, "kb/rocks: Permission denied")


@pytest.mark.parametrize("file", ["collection.json", "journal.sqlite", "active"])
def test_a_damaged_collection_can_be_dropped(cli: Cli, rocks: Path, file: str) -> None:
    damaged = rocks / "rocks" / file
    damaged.unlink(missing_ok=True)
    damaged.write_text("{", encoding="utf-8")
    done = cli("drop", "rocks", "--yes")
    assert (done.exit_code, done.stderr) == (0, "")
    assert not (rocks / "rocks").exists()


def test_drop_needs_a_yes(cli: Cli, rocks: Path) -> None:
    refused = cli("drop", "rocks")
    assert refused.exit_code == 2
    assert (rocks / "rocks").is_dir()
    assert cli("drop", "rocks", "--yes").exit_code == 0
    assert not (rocks / "rocks").exists()

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

Cli = Callable[..., Result]


def documents(cli: Cli) -> list[str]:
    found = [one for one in ("slate", "sand", "dune") if cli("get", "rocks", one).exit_code == 0]
    assert cli("count", "rocks").stdout == f"{len(found)}\n"
    return found


@pytest.mark.usefixtures("rocks")
def test_documents_are_deleted_by_their_ids(cli: Cli) -> None:
    done = cli("delete", "rocks", "slate", "dune", "slate")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "Deleted 2 documents of rocks: sequence 1.\n", "")
    assert documents(cli) == ["sand"]


@pytest.mark.usefixtures("rocks")
def test_an_id_that_is_not_there_is_named(cli: Cli) -> None:
    done = cli("delete", "rocks", "granite", "slate#0", "dune")
    assert (done.exit_code, done.stdout) == (0, "Deleted 1 document of rocks: sequence 1.\n")
    assert done.stderr.startswith("warning: rocks has no document granite, slate#0; ")
    assert "leave those out" in done.stderr
    assert cli("delete", "rocks", "dune").exit_code == 0


@pytest.mark.usefixtures("rocks")
def test_ids_come_from_a_file_or_the_standard_input(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "gone.txt").write_bytes(b"\xef\xbb\xbfslate\r\n\r\ngranite\n")
    found = json.loads(cli("delete", "rocks", "--ids-from", "gone.txt", "--json").stdout)
    assert (found["deleted"], found["missing"]) == (1, ["granite"])
    assert cli("delete", "rocks", "--ids-from", "-", input="sand\n", catch_exceptions=False).exit_code == 0
    assert documents(cli) == ["dune"]


@pytest.mark.usefixtures("rocks")
def test_an_empty_list_of_ids_deletes_nothing(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "gone.txt").touch()
    assert cli("delete", "rocks", "--ids-from", "gone.txt").stdout == "Deleted 0 documents of rocks: sequence 0.\n"


@pytest.mark.usefixtures("rocks")
def test_a_list_of_ids_that_cannot_be_read_is_refused(cli: Cli, tmp_path: Path) -> None:
    assert "gone.txt" in cli("delete", "rocks", "--ids-from", "gone.txt").stderr
    (tmp_path / "gone.txt").write_bytes(b"slate\n\xff\n")
    done = cli("delete", "rocks", "--ids-from", "gone.txt")
    assert (done.exit_code, "gone.txt:2: not valid UTF-8" in done.stderr) == (3, True)
    assert len(documents(cli)) == 3


@pytest.mark.usefixtures("rocks")
def test_a_filter_that_selects_much_needs_a_yes(cli: Cli) -> None:
    refused = cli("delete", "rocks", "--where", "lang = 'en'")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "selects 2 of the 3 documents of rocks, more than a tenth" in refused.stderr
    assert len(documents(cli)) == 3
    assert cli("delete", "rocks", "--where", "lang = 'en'", "--yes").stdout == "Deleted 2 documents of rocks: sequence 1.\n"
    assert documents(cli) == ["dune"]


@pytest.mark.usefixtures("rocks")
def test_a_filter_that_selects_little_is_not_asked_about(cli: Cli, tmp_path: Path) -> None:
    rows = [{"id": f"pebble-{number}", "text": "A pebble.", "number": number} for number in range(17)]
    (tmp_path / "pebbles.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    cli("upsert", "rocks", "pebbles.jsonl")
    assert cli("delete", "rocks", "--where", "number < 3").exit_code == 2
    assert cli("delete", "rocks", "--where", "number < 2").stdout == "Deleted 2 documents of rocks: sequence 2.\n"
    assert cli("delete", "rocks", "--where", "number < 0").stdout == "Deleted 0 documents of rocks: sequence 2.\n"


@pytest.mark.usefixtures("rocks")
def test_a_dry_run_says_what_would_go_and_changes_nothing(cli: Cli) -> None:
    would = cli("delete", "rocks", "--where", "lang = 'en'", "--dry-run")
    assert (would.exit_code, would.stdout) == (0, "2 of the 3 documents of rocks would go. Nothing was changed.\n")
    named = json.loads(cli("delete", "rocks", "dune", "granite", "--dry-run", "--json").stdout)
    assert named == {"collection": "rocks", "documents": 3, "would_delete": 1, "missing": ["granite"]}
    assert len(documents(cli)) == 3


@pytest.mark.usefixtures("rocks")
@pytest.mark.parametrize("arguments", [[], ["dune", "--where", "year > 1"], ["dune", "--ids-from", "x"]], ids=" ".join)
def test_documents_are_named_in_one_way(cli: Cli, arguments: list[str]) -> None:
    done = cli("delete", "rocks", *arguments)
    assert (done.exit_code, "one of these" in done.stderr) == (2, True)


@pytest.mark.usefixtures("rocks")
def test_metadata_are_set_as_json_or_else_as_text(cli: Cli) -> None:
    sets = ("year=1999", "note=see: p=12", "tags=[1]", "zip=01234", 'code="7"', "lang=null")
    done = cli("update-metadata", "rocks", "dune", "granite", *(part for one in sets for part in ("--set", one)))
    assert (done.exit_code, done.stdout) == (0, "Updated 1 document of rocks: sequence 1.\n")
    assert done.stderr == "warning: rocks has no document granite\n"
    (one,) = json.loads(cli("get", "rocks", "dune", "--json").stdout)
    assert one["metadata"] == {"year": 1999, "note": "see: p=12", "tags": [1], "zip": "01234", "code": "7", "lang": None}


@pytest.mark.usefixtures("rocks")
def test_several_values_are_set_as_an_object_and_single_ones_go_before(cli: Cli) -> None:
    cli("update-metadata", "rocks", "dune", "--metadata", '{"year": 1, "kind": "sand"}', "--set", "year=2")
    assert cli("count", "rocks", "--where", "year = 2 AND kind = 'sand' AND lang = 'de'").stdout == "1\n"


@pytest.mark.usefixtures("rocks")
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "nothing to set"),
        (["--set", "year"], 2, "KEY=VALUE, found 'year'"),
        (["--set", "=3"], 2, "KEY=VALUE"),
        (["--metadata", "[1]"], 2, "JSON object"),
        (["--metadata", "{year"], 2, "JSON object"),
        (["--set", "big=99999999999999999999"], 3, "64 bits"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_metadata_that_cannot_be_are_refused(cli: Cli, arguments: list[str], code: int, said: str) -> None:
    done = cli("update-metadata", "rocks", "dune", *arguments)
    assert (done.exit_code, done.stdout, said in done.stderr) == (code, "", True)

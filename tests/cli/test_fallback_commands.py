"""`outcrop repair`, and what the other commands say about LanceDB and its fallback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

pytest.importorskip("lancedb")
Cli = Callable[..., Result]
PRODUCTION = ("--mode", "production")


@pytest.mark.usefixtures("rocks")
def test_the_commands_say_where_a_table_lies_that_is_not_in_its_generation(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTCROP_LANCEDB_URI", str(tmp_path / "shared"))
    assert cli("repair", "rocks", "--generation", "2", *PRODUCTION).exit_code == 0
    (table,) = (tmp_path / "shared" / "rocks").iterdir()
    said = "".join(cli("generations", "rocks").stdout.split())
    assert f"generation2:itsLanceDBtableis{table}" in said
    assert "generation1:its" not in said
    listed = json.loads(cli("generations", "rocks", "--json").stdout)["generations"]
    assert [one["table_uri"] for one in listed] == [None, str(table)]
    shown = json.loads(cli("stats", "rocks", *PRODUCTION, "--json").stdout)
    assert [one["table_uri"] for one in shown["generations"]] == [None, str(table)]
    assert cli("promote", "rocks", "2", "--force").exit_code == 0
    assert f"LanceDBtable{table}" in "".join(cli("stats", "rocks").stdout.split())
    checks = json.loads(cli("doctor", *PRODUCTION, "--json").stdout)["checks"]
    assert f"new ones go below {tmp_path / 'shared'}" in [one["found"] for one in checks if one["name"] == "LanceDB tables"]


@pytest.mark.usefixtures("rocks")
def test_repair_adds_a_lancedb_index_to_a_generation_without_one(cli: Cli) -> None:
    searched = cli("search", "rocks", "layers", *PRODUCTION)
    assert searched.exit_code == 0
    said, _, advised = searched.stderr.partition("; outcrop ")
    assert said.endswith("degraded: LanceDB: generation 1 has no LanceDB index")
    said = cli("stats", "rocks", *PRODUCTION).stdout
    assert "built-in (fell back: LanceDB: generation 1 has no" in " ".join(said.split())
    done = cli(*advised.partition(" builds it")[0].split())
    assert done.exit_code == 0
    assert done.stdout.startswith("The LanceDB index of generation 1 of rocks was built anew: ")
    searched = cli("search", "rocks", "layers", *PRODUCTION)
    assert (searched.exit_code, searched.stderr) == (0, "")
    said = cli("stats", "rocks", *PRODUCTION).stdout
    assert "LanceDB with built-in fallback" in said
    assert "circuit breaker closed, 0 failures, 0 writes behind" in " ".join(said.split())
    shown = json.loads(cli("stats", "rocks", *PRODUCTION, "--json").stdout)
    assert shown["serving"]["state"] == "closed"
    assert (shown["answers"], shown["fallback_rate"]) == ({}, None)
    report = json.loads(cli("repair", "rocks", "--generation", "2", *PRODUCTION, "--json").stdout)
    assert (report["generation"], report["chunks"]) == (2, 2)


@pytest.mark.usefixtures("rocks")
def test_repair_where_lancedb_is_not_used_says_in_which_mode(cli: Cli) -> None:
    done = cli("repair", "rocks")
    assert done.exit_code == 5
    assert "repair in mode production" in done.stderr


def test_verify_names_the_command_that_mends_a_lancedb_index(cli: Cli, corpus: Path) -> None:
    assert cli("build", "stones", corpus, "--embedder", "none", "--promote", *PRODUCTION).exit_code == 0
    generation = next((Path("kb") / "stones" / "generations").iterdir())
    shutil.rmtree(generation / "lancedb" / "chunks.lance" / "data")
    looked = cli("verify", "stones", "--look-only", *PRODUCTION)
    assert looked.exit_code == 8
    assert "outcrop repair" in looked.stderr
    assert cli("search", "stones", "layers", *PRODUCTION).exit_code == 0
    assert cli("repair", "stones", *PRODUCTION).exit_code == 0
    assert cli("verify", "stones", *PRODUCTION).exit_code == 0


def test_a_build_may_name_its_engine(cli: Cli, corpus: Path) -> None:
    done = cli("build", "stones", corpus, "--embedder", "none", "--engine", "lancedb", *PRODUCTION, "--json")
    assert json.loads(done.stdout)["recipe"]["engine"] == "lancedb"
    refused = cli("build", "stones", corpus, "--engine", "solr")
    assert refused.exit_code == 3
    assert "use one of: builtin, lancedb, lancedb+builtin" in refused.stderr

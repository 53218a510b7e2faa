from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from outcrop import Collection, Stats
from tests.damage import overwrite

Cli = Callable[..., Result]


@pytest.fixture
def written(cli: Cli, rocks: Path, tmp_path: Path) -> Path:
    """`rocks` with two documents more, which no index part holds yet."""
    rows = [{"id": one, "text": f"{one} is a rock."} for one in ("granite", "basalt")]
    (tmp_path / "more.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    cli("upsert", "rocks", "more.jsonl")
    return rocks


def damage_a_part(folder: Path, number: int) -> Path:
    """Change a byte that only a full check looks at."""
    (file,) = folder.glob(f"rocks/generations/{number:06d}-*/parts/*/slots.npy")
    content = file.read_bytes()
    overwrite(file, content[:-1] + bytes([content[-1] ^ 0xFF]))
    return file


@pytest.mark.usefixtures("written")
def test_what_was_written_is_put_into_the_index(cli: Cli) -> None:
    assert "2 chunks written since, searched one by one (outcrop optimize rocks)" in cli("stats", "rocks").stdout
    assert "2 chunks not in the index yet" in " ".join(cli("search", "rocks", "granite").stdout.split())
    assert cli("optimize", "rocks").stdout.startswith("2 chunks put into the index of rocks in ")
    assert "none: every chunk is in the index" in cli("stats", "rocks").stdout
    assert json.loads(cli("optimize", "rocks", "--json").stdout)["absorbed"] == 0


@pytest.mark.usefixtures("written")
def test_stats_tell_the_last_write_and_the_journal(cli: Cli) -> None:
    assert "last write   sequence 1" in cli("stats", "rocks").stdout
    found = json.loads(cli("stats", "rocks", "--json").stdout)
    assert (found["sequence"], found["index_lag"], found["degraded"]) == (1, 2, None)
    assert found["journal_bytes"] > 0


@pytest.mark.usefixtures("rocks")
def test_stats_tell_how_the_caches_do_and_who_holds_memory(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    stats = Collection.stats

    def searched(collection: Collection) -> Stats:
        for _ in range(4):
            collection.search("granite", mode="lexical")
        return stats(collection)

    assert "query cache  nothing was asked yet, at most 200.0 MB" in cli("stats", "rocks").stdout
    assert "query cache  off" in cli("stats", "rocks", env={"OUTCROP_QUERY_CACHE_SECONDS": "0"}).stdout
    monkeypatch.setattr(Collection, "stats", searched)
    shown = cli("stats", "rocks").stdout
    assert "query cache  3 of 4 found (75.0%), 1 entry, " in shown
    assert "embeddings   of queries: nothing was asked yet" in shown
    assert "memory       query cache " in shown
    found = json.loads(cli("stats", "rocks", "--json").stdout)
    assert found["query_cache"]["hit_rate"] == 0.75
    assert found["memory"]["query cache"] == found["query_cache"]["size_bytes"] > 0


@pytest.mark.usefixtures("rocks")
def test_the_collector_says_what_would_go_and_why_the_rest_stays(cli: Cli) -> None:
    keep = {"OUTCROP_KEPT_GENERATIONS": "0", "OUTCROP_KEPT_DAYS": "0"}
    cli("promote", "rocks", "2", "--force")
    would = cli("gc", "rocks", "--dry-run", env=keep)
    assert "would go  generation 1" in would.stdout
    assert "stays     generation 2" in would.stdout
    assert "Would free " in would.stdout
    assert len(json.loads(cli("generations", "rocks", "--json").stdout)["generations"]) == 2
    found = json.loads(cli("gc", "rocks", "--json", env=keep).stdout)
    assert [one["generation"] for one in found["removed"]] == [1]
    assert [one["generation"] for one in found["kept"]] == [2]
    assert len(json.loads(cli("generations", "rocks", "--json").stdout)["generations"]) == 1
    assert cli("gc", "rocks", env=keep).stdout.splitlines()[-1].startswith("Freed 0 B and 0 entries of the journal; ")


@pytest.mark.usefixtures("rocks")
def test_generations_that_are_sound_are_called_so(cli: Cli) -> None:
    done = cli("verify", "rocks")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == "Generation 1: as it was written.\nGeneration 2: as it was written.\nJournal: as it was written.\n"
    assert cli("verify", "rocks", "2").stdout == "Generation 2: as it was written.\n"
    assert cli("verify", "rocks", "9").exit_code == 4


def test_a_damaged_generation_is_named_and_the_active_one_replaced(cli: Cli, written: Path) -> None:
    file = damage_a_part(written, 1)
    looked = cli("verify", "rocks", "--look-only")
    assert (looked.exit_code, looked.stdout) == (8, "Generation 2: as it was written.\nJournal: as it was written.\n")
    assert looked.stderr.startswith("damaged: generation 1: ")
    assert file.name in looked.stderr
    assert json.loads(cli("stats", "rocks", "--json").stdout)["active"] == 1

    done = cli("verify", "rocks")
    assert done.exit_code == 8
    assert "replaced: generation 2 serves now instead of 1" in done.stderr
    listed = json.loads(cli("generations", "rocks", "--json").stdout)["generations"]
    assert [(one["number"], one["status"]) for one in listed] == [(1, "damaged"), (2, "active")]
    assert cli("get", "rocks", "granite").exit_code == 0
    assert "warning: degraded: generation 1 is damaged" in cli("stats", "rocks").stderr
    assert "quarantine" in cli("history", "rocks").stdout
    found = cli("verify", "rocks", "--json")
    assert found.exit_code == 8
    assert [one["healthy"] for one in json.loads(found.stdout)["generations"]] == [False, True]

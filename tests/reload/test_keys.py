"""A configuration that changes while the database is open: what takes effect, what waits, and what is refused."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

import outcrop
from outcrop import Config, Database
from outcrop.config import load, value_of
from outcrop.errors import Closed, InvalidConfig
from outcrop.reloading import compared, merged
from outcrop.settings import DEFAULTS, PRESETS, RULES
from tests.reload.conftest import write

#: A value for each live key that is not its default.
OTHER: dict[str, object] = {
    "embedder": "hashing:8",
    "candidates": 77,
    "fusion": "rrf",
    "vector_weight": 0.25,
    "lock_timeout_seconds": 0.5,
    "embedding_cache_bytes_max": 1_000_000,
    "query_cache_seconds": 7.0,
    "memory_budget": 32_000_000,
    "part_bytes_max": 1_000_000,
    "batch_documents": 3,
    "symlinks": "never",
    "openai_base_url": "http://localhost:1234/v1",
    "kept_generations": 5,
    "kept_days": 1.5,
    "warm_generations": 3,
    "abandoned_build_days": 2.0,
    "journal_bytes_max": 5_000_000,
    "tail_chunks_max": 17,
    "background": True,
    "breaker_failures_max": 2,
    "breaker_open_seconds": 3.0,
    "lancedb_apply_seconds": 1.0,
    "live_recall_share": 0.5,
    "query_log_share": 0.75,
    "query_log_bytes_max": 20_000_000,
    "query_log_days": 3.0,
    "query_log_text": "hashed",
    "log_level": "debug",
    "server.threads": 3,
    "server.writing_threads": 2,
    "server.waiting_max": 5,
    "server.seconds_max": 2.5,
    "server.uploads_max": 2,
    "server.judging_max": 3,
    "server.upload_bytes_max": 1_000_000,
    "server.streams_max": 3,
    "server.idle_seconds_max": 3.5,
    "server.body_bytes_max": 1000,
    "server.bodies_bytes_max": 20_000_000,
    "server.line_bytes_max": 2000,
    "server.k_max": 20,
    "server.queries_max": 4,
    "server.batch_hits_max": 30,
    "server.query_characters_max": 50,
    "server.documents_max": 6,
    "server.warm_collections_max": 7,
    "server.warm_seconds_max": 4.5,
}
WAITING: dict[str, str] = {
    "mode": '"default"',
    "use_lancedb": "true",
    "fallback_to_mvp": "false",
    "lancedb_uri": '"s3://bucket/tables"',
}


def toml(values: dict[str, object]) -> str:
    """Some keys as a file has them: those of tables below the others."""
    lines = {key: msgspec.json.encode(value).decode() for key, value in values.items()}
    plain = [f"{key} = {text}" for key, text in lines.items() if "." not in key]
    in_table = [f"{key.partition('.')[2]} = {text}" for key, text in lines.items() if "." in key]
    return "\n".join([*plain, *(["[server]", *in_table] if in_table else [])]) + "\n"


def test_every_key_is_live_or_says_why_not_and_has_a_default() -> None:
    assert set(OTHER) == {key for key, rule in RULES.items() if rule.restart is None}
    assert {*WAITING, "path"} == {key for key, rule in RULES.items() if rule.restart is not None}
    assert all(rule.restart is None or len(rule.restart) > 20 for rule in RULES.values())
    for mode in PRESETS:
        assert (DEFAULTS | PRESETS[mode]).keys() | {"mode"} == RULES.keys()


@pytest.mark.parametrize("key", OTHER)
def test_a_live_key_takes_effect_and_goes_back_with_its_line(db: Database, key: str) -> None:
    usual, hash_before = value_of(db.config, key), db.config.hash
    write(db, 'mode = "test"\n' + toml({key: OTHER[key]}))

    done = db.reload()

    assert value_of(db.config, key) == OTHER[key] != usual
    assert [(one.key, one.before, one.after) for one in done.changed] == [(key, usual, OTHER[key])]
    assert done.changed[0].origin == f"{db.path / 'outcrop.toml'}:{3 if '.' in key else 2}"
    assert (done.hash, done.needs_restart) == (db.config.hash, ())
    write(db, 'mode = "test"\n')
    assert (db.reload().hash, value_of(db.config, key)) == (hash_before, usual)


def test_all_of_them_at_once(db: Database) -> None:
    write(db, 'mode = "test"\n' + toml(OTHER))

    assert {one.key for one in db.reload().changed} == set(OTHER)
    assert {key: value_of(db.config, key) for key in OTHER} == OTHER


@pytest.mark.parametrize("key", WAITING)
def test_a_key_that_needs_a_restart_stays_and_says_so(db: Database, key: str) -> None:
    usual = value_of(db.config, key)
    first = "" if key == "mode" else "mode = 'default'"
    write(db, f"{first}\n{key} = {WAITING[key]}\ncandidates = 50\n")

    done = db.reload()

    waiting = {one.key: one for one in done.needs_restart}
    assert waiting[key].in_effect == usual == value_of(db.config, key)
    assert waiting[key].given != usual
    assert waiting[key].origin.endswith("outcrop.toml:2")
    assert waiting[key].reason == RULES[key].restart
    assert db.config.candidates == 50
    write(db, 'mode = "test"\n')
    assert db.reload().needs_restart == ()


def test_another_mode_waits_and_so_do_its_defaults(db: Database) -> None:
    write(db, 'mode = "production"\ncandidates = 50\n')

    done = db.reload()

    assert [one.key for one in done.needs_restart] == ["mode", "use_lancedb"]
    assert [one.key for one in done.changed] == ["candidates"]
    assert db.config.query_cache_seconds == Config.test().query_cache_seconds != Config.production().query_cache_seconds


@pytest.mark.parametrize("before", PRESETS)
@pytest.mark.parametrize("after", PRESETS)
def test_whatever_mode_is_given_what_is_in_effect_has_no_contradiction(tmp_path: Path, before: str, after: str) -> None:
    def given(mode: str) -> Config:
        (tmp_path / "outcrop.toml").write_text(f'mode = "{mode}"\ncandidates = 33\n')
        return load(tmp_path, None, {})

    running, wanted = given(before), given(after)
    effective = merged(running, wanted)

    assert effective.mode == before
    assert merged(effective, wanted) == effective
    assert bool(compared(running, effective, wanted).needs_restart) == (before != after)


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("candidates = 5\n", r"outcrop\.toml:1: candidates must be a whole number from 10 to 10000; found 5"),
        ("candidates = 50\n\nfusion = 'mean'\n", r"outcrop\.toml:3: fusion must be .*found 'mean'"),
        ("candidates = 50\n[server\n", r"outcrop\.toml:2: not valid TOML"),
        (
            "candidates = 50\n[server]\nwaiting = 3\n",
            r"outcrop\.toml:3: 'server.waiting' is not a setting; did you mean 'server.wait",
        ),
        ("candidates = 50\n[server]\nthreads = 3\nk_max = 1\n", r"outcrop\.toml:4: server\.k_max must be a whole number from 10"),
        ("candidates = 50\nserver = 3\n", r"outcrop\.toml:2: server is a table: \[server\] and a line for each"),
        ("[server]\nthreads = 3\ncandidates = 50\n", r"outcrop\.toml:3: .*'candidates' does not belong to the table \[server\]"),
        ("candidates = 50\nmode = 'mvp_only'\nuse_lancedb = true\n", r"contradicts mode 'mvp_only'"),
        ("server.body_bytes_max = '1GB'\n", r"outcrop\.toml:1: server\.body_bytes_max = 1000000000 is more than server\.bodies"),
    ],
)
def test_a_bad_file_changes_nothing(db: Database, text: str, about: str) -> None:
    before = db.config
    write(db, text)

    with pytest.raises(InvalidConfig, match=about):
        db.reload()
    assert db.config is before


def test_what_was_given_in_code_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with outcrop.open(tmp_path / "kb", config=Config.test(candidates=40, server={"threads": 2})) as db:
        write(db, "candidates = 50\nkept_generations = 9\n[server]\nthreads = 5\nwaiting_max = 6\n")
        monkeypatch.setenv("OUTCROP_SERVER_WAITING_MAX", "7")
        db.reload()

        assert (db.config.candidates, db.config.kept_generations) == (40, 9)
        assert (db.config.server.threads, db.config.server.waiting_max) == (2, 7)


def test_a_file_that_is_removed_leaves_the_defaults(db: Database) -> None:
    write(db, 'mode = "test"\ncandidates = 50\n')
    db.reload()
    (db.path / "outcrop.toml").unlink()

    done = db.reload()

    assert db.config.candidates == 100
    assert [one.key for one in done.needs_restart] == ["mode"]


def test_a_closed_database_is_not_reloaded(db: Database) -> None:
    db.close()
    with pytest.raises(Closed):
        db.reload()

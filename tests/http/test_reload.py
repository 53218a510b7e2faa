"""A running server whose configuration is edited."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

import outcrop
from outcrop import Config
from outcrop.surfaces.http.configuring import Configuration
from outcrop.surfaces.keys import Keys
from tests.http.conftest import Client
from tests.http.test_metrics import _samples

_SUCCESSFUL: tuple[str, frozenset[tuple[str, str]]] = ("outcrop_config_last_reload_successful", frozenset())
_SEARCH = "/v1/collections/rocks/search"


def _until(found: Callable[[], Any], wanted: Callable[[Any], bool]) -> Any:
    """What is found as soon as it is as wanted."""
    for _ in range(600):
        value = found()
        if wanted(value):
            return value
        time.sleep(0.05)
    pytest.fail(f"it never came; found at last: {value}")


def _configuration(client: httpx.Client) -> dict[str, Any]:
    """As a process tells it that answers a connection of its own."""
    found: dict[str, Any] = httpx.get(f"{client.base_url}/health", headers=client.headers).json()["configuration"]
    return found


def _edit(folder: Path, text: str) -> None:
    """As editors do: another file takes the place of the old one."""
    other = folder / "outcrop.toml.new"
    other.write_text(text, encoding="utf-8")
    os.replace(other, folder / "outcrop.toml")


def test_an_edited_file_takes_effect_and_a_bad_one_is_refused_and_told(server: Callable[..., httpx.Client], folder: Path) -> None:
    client = server()
    first = _configuration(client)
    assert (first["fault"], first["needs_restart"]) == (None, [])

    _edit(folder, "[server]\nk_max = 20\nquery_characters_max = 10\n")
    second = _until(lambda: _configuration(client), lambda now: now["hash"] != first["hash"])
    refused = client.post(_SEARCH, json={"query": "slate", "k": 21})
    assert (refused.status_code, refused.json()["detail"]) == (400, "k is 21; this server takes at most 20 (server.k_max)")
    assert client.get(_SEARCH, params={"q": "slate " * 3}).status_code == 400
    assert client.post(_SEARCH, json={"query": "slate", "k": 20}).status_code == 200

    _edit(folder, "candidates = 60\n[server]\nk_max = 5\n")
    bad = _until(lambda: _configuration(client), lambda now: now["fault"] is not None)
    assert bad["fault"] == "outcrop.toml:3: server.k_max must be a whole number from 10 to 10000; found 5"
    assert bad["hash"] == second["hash"]
    assert client.post(_SEARCH, json={"query": "slate", "k": 21}).status_code == 400
    metrics = _until(lambda: _samples(client.get("/metrics").text), lambda now: now[_SUCCESSFUL] == 0)
    assert metrics["outcrop_config_info", frozenset({("hash", second["hash"])})] == 1

    _edit(folder, 'mode = "production"\n')  # the command line has said another one, which stays
    good = _until(lambda: _configuration(client), lambda now: now["fault"] is None)
    assert (good["hash"], good["needs_restart"]) == (first["hash"], [])
    assert client.post(_SEARCH, json={"query": "slate", "k": 21}).status_code == 200
    metrics = _until(lambda: _samples(client.get("/metrics").text), lambda now: now[_SUCCESSFUL] == 1)
    assert [labels for name, labels in metrics if name == "outcrop_config_info"] == [frozenset({("hash", good["hash"])})]
    assert metrics["outcrop_config_last_reload_success_timestamp_seconds", frozenset()] > 1.7e9

    _edit(folder, 'lancedb_uri = "s3://bucket/tables"\n')
    assert _until(lambda: _configuration(client), lambda now: now["needs_restart"])["needs_restart"] == ["lancedb_uri"]


def test_every_process_takes_it_over(server: Callable[..., httpx.Client], folder: Path) -> None:
    client = server("--readers", "1")
    first = _configuration(client)["hash"]
    _edit(folder, "candidates = 60\n")

    def running() -> dict[str, float]:
        found = _samples(httpx.get(f"{client.base_url}/metrics").text)
        return {dict(labels)["hash"]: value for (name, labels), value in found.items() if name == "outcrop_config_info"}

    found = _until(running, lambda now: first not in now and sum(now.values()) == 2)
    assert len(found) == 1
    _edit(folder, "candidates = 6\n")
    _until(lambda: _samples(httpx.get(f"{client.base_url}/metrics").text)[_SUCCESSFUL], lambda value: value == 0)
    assert running() == found


def test_reloads_under_load_fail_no_request(server: Callable[..., httpx.Client], folder: Path) -> None:
    client, ended = server("--readers", "1"), threading.Event()
    answered: list[int] = []

    def search() -> None:
        with httpx.Client(base_url=client.base_url, timeout=30) as own:
            while not ended.is_set():
                answered.append(own.post(_SEARCH, json={"query": "slate granite", "cache": False}).status_code)

    searching = [threading.Thread(target=search) for _ in range(4)]
    for one in searching:
        one.start()
    seen = set()
    for threads in (2, 5, 3):
        _edit(folder, f'fusion = "{"rrf" if threads == 5 else "weighted"}"\n[server]\nthreads = {threads}\n')
        before = seen.copy()
        seen.add(_until(lambda: _configuration(client)["hash"], lambda now, before=before: now not in before))  # type: ignore[misc]
    ended.set()
    for one in searching:
        one.join()
    assert len(answered) > 10
    assert set(answered) == {200}


def test_a_hangup_has_the_file_checked_and_ends_nothing(
    server: Callable[..., httpx.Client], folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    client = server()
    process, said = client.process, []  # type: ignore[attr-defined]

    def children() -> set[str]:
        return set(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())

    def told() -> str:
        said.append(capfd.readouterr().err)
        return "".join(said)

    before = children()
    for text, wanted in (
        ("candidates = 60\n", "SIGHUP: the configuration can be used"),
        ("candidates = 6\n", "SIGHUP: the conf.* stays"),
    ):
        _edit(folder, text)
        for pid in (process.pid, *map(int, before)):
            os.kill(pid, signal.SIGHUP)
        _until(told, lambda text, wanted=wanted: re.search(wanted, text))  # type: ignore[misc]
    assert client.get(_SEARCH, params={"q": "slate"}).status_code == 200
    assert children() == before


def test_a_file_is_read_when_it_has_come_to_rest(folder: Path) -> None:
    with outcrop.open(folder, config=Config.mvp_only(background=False)) as db:
        configuration, file = Configuration(db), folder / "outcrop.toml"
        assert [configuration.look(), configuration.look(), configuration.look()] == [False, True, False]

        file.write_text("candidates = 5")  # of 50, say
        assert not configuration.look()
        file.write_text("candidates = 50\n")
        assert not configuration.look()
        assert configuration.look()
        assert (db.config.candidates, configuration.state.fault) == (50, None)

        file.unlink()  # for the moment that an editor takes
        assert not configuration.look()
        file.write_text("candidates = 51\n")
        assert not configuration.look()
        assert configuration.look()
        assert db.config.candidates == 51

        file.write_text("candidates = 5")
        assert [configuration.look(), configuration.look()] == [False, True]
        assert configuration.state.fault is not None
        assert db.config.candidates == 51
        file.write_text("candidates = 52")
        assert [configuration.look(), configuration.look()] == [False, True]
        assert (db.config.candidates, configuration.state.fault) == (52, None)

        file.unlink()
        assert [configuration.look(), configuration.look()] == [False, True]
        assert db.config.candidates == 100


def test_what_is_wrong_is_logged_once_and_what_has_changed_too(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with outcrop.open(folder, config=Config.mvp_only(background=False)) as db, caplog.at_level("INFO", "outcrop"):
        configuration, file = Configuration(db), folder / "outcrop.toml"

        def take(text: str) -> list[str]:
            caplog.clear()
            file.write_text(text)
            while not configuration.look():
                pass
            return [f"{record.levelname} {record.getMessage()}" for record in caplog.records]

        assert take("candidates = 5\n") == [
            f"ERROR the configuration stays as it was: {file}:1: candidates must be a whole number from 10 to 10000; found 5"
        ]
        assert take("candidates = 5\n\n") == []
        assert take("candidates = 50\n") == [
            "WARNING the configuration can be used again",
            f"INFO candidates was 100 and is 50 now ({file}:1)",
        ]
        waits = 'candidates = 50\nlancedb_uri = "s3://bucket/tables"\n'
        assert take(waits)[0].startswith(f"WARNING lancedb_uri = 's3://bucket/tables' ({file}:2) waits for a restart: indexes")
        assert take(waits + "\n") == []


def test_only_those_who_are_known_learn_what_the_file_says(folder: Path) -> None:
    with outcrop.open(folder, config=Config.mvp_only(background=False)) as db:
        configuration = Configuration(db)
        (folder / "outcrop.toml").write_text("candidates = 5\n")
        while not configuration.look():
            pass
        assert configuration.told(in_full=True)["fault"].startswith("outcrop.toml:1: candidates must be")
        assert configuration.told(in_full=False)["fault"] == "outcrop.toml cannot be used; the log says why"


def test_health_tells_of_the_configuration(client: Client, folder: Path) -> None:
    told = client.get("/health").json()["configuration"]
    assert told.keys() == {"hash", "loaded_at", "fault", "needs_restart"}
    Keys(folder).create("reader", "read")
    assert client.get("/health").status_code == 401

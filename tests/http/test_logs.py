"""What the server writes to its log."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import outcrop
from outcrop import Config
from outcrop.surfaces.keys import Keys
from outcrop.surfaces.logs import QueuedLines, as_json, as_text
from tests.http.conftest import Client, TestClient, application, until_ready


@contextmanager
def kept(name: str = "outcrop") -> Iterator[list[dict[str, Any]]]:
    """The records of a logger, as their lines of JSON are."""
    found: list[dict[str, Any]] = []
    handler = logging.Handler()
    handler.emit = lambda record: found.append(json.loads(as_json(record)))  # type: ignore[method-assign]
    logger = logging.getLogger(name)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield found
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


@pytest.fixture
def logging_client(folder: Path) -> Iterator[Client]:
    opening = lambda: outcrop.open(folder, config=Config.mvp_only(background=False))  # noqa: E731
    with TestClient(application(opening, logs_requests=True)) as client:
        until_ready(client)  # which is told too
        yield client


def test_every_request_is_a_line_without_what_was_asked(logging_client: Client, folder: Path) -> None:
    secret = Keys(folder).create("website", "read")
    headers = {"authorization": f"Bearer {secret}", "x-request-id": "mine-1"}
    with kept() as lines:
        logging_client.get("/v1/collections/rocks/search?q=hidden+treasure", headers=headers)
        logging_client.get("/v1/collections/rocks/documents/secret-id", headers=headers)
        logging_client.get("/v1/collections/Not%20A%20Name/search?q=x", headers=headers)

    assert [(one["method"], one["route"], one["status"]) for one in lines] == [
        ("GET", "/v1/collections/{name}/search", 200),
        ("GET", "/v1/collections/{name}/documents/{document_id}", 404),
        ("GET", "/v1/collections/{name}/search", 400),
    ]
    first = lines[0]
    assert (first["event"], first["request_id"], first["key"], first["collection"]) == ("request", "mine-1", "website", "rocks")
    assert first["duration_ms"] > 0
    assert "collection" not in lines[2]
    for unwanted in ("hidden", "treasure", "secret-id", "Not A Name", secret):
        assert unwanted not in json.dumps(lines)


def test_an_error_is_told_with_its_request(logging_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(outcrop.Collection, "search", fail)
    with kept() as lines:
        answer = logging_client.get("/v1/collections/rocks/search?q=x")

    failed = next(one for one in lines if one["event"] == "request_failed")
    assert answer.status_code == 500
    assert answer.json()["instance"] == f"urn:request:{failed['request_id']}"
    assert failed["problem"] == "unexpected"
    assert "on purpose" in failed["exception"]


def test_builds_promotions_and_rollbacks_are_told(folder: Path) -> None:
    with kept() as lines, outcrop.open(folder, config=Config.mvp_only(background=False)) as db:
        rocks = db.collection("rocks")
        rocks.build(promote=True)
        rocks.rollback()
        with pytest.raises(outcrop.errors.InvalidInput):
            rocks.build([{"id": "", "text": "no id"}])

    told = [(one["event"], one["collection"], one["generation"]) for one in lines]
    assert told[:4] == [
        ("build_began", "rocks", 2),
        ("build_ended", "rocks", 2),
        ("promoted", "rocks", 2),
        ("rolled_back", "rocks", 1),
    ]
    assert [event for event, _, _ in told[4:]] == ["build_began", "build_failed"]
    assert lines[-1]["error"] == "InvalidDocument"


def test_a_server_writes_json_from_its_beginning_to_its_end(server: Callable[..., httpx.Client], tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        client = server("--readers", "1", stderr=log)
        for _ in range(5):
            assert client.get("/v1/collections/rocks/search?q=slate").status_code == 200
        builds = "/v1/collections/rocks/builds"
        build = client.post(builds, json={"source": None, "promote": True}).json()["id"]
        while client.get(f"{builds}/{build}").json()["state"] == "running":
            time.sleep(0.05)
        client.process.send_signal(signal.SIGTERM)  # type: ignore[attr-defined]
        client.process.wait(timeout=60)  # type: ignore[attr-defined]

    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert (lines[0]["event"], lines[-1]["event"]) == ("started", "stopped")
    assert lines[0]["address"] == str(client.base_url)
    assert [one["status"] for one in lines if one.get("route") == "/v1/collections/{name}/search"] == [200] * 5
    told = [one["event"] for one in lines if one["logger"] == "outcrop"]  # by the process of the build
    assert told == ["build_began", "build_ended", "promoted"]


def test_a_server_need_not_tell_of_requests(server: Callable[..., httpx.Client], tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        client = server("--no-access-log", "--log-format", "text", stderr=log)
        client.get("/v1/collections/rocks/search?q=slate")
        client.process.send_signal(signal.SIGTERM)  # type: ignore[attr-defined]
        client.process.wait(timeout=60)  # type: ignore[attr-defined]

    first, *_, last = (tmp_path / "log").read_text().splitlines()
    assert f"at {client.base_url}, with a dashboard" in first
    assert "stopped" in last
    assert "/search" not in (tmp_path / "log").read_text()


def test_a_pipe_that_nobody_reads_holds_up_nobody_and_what_was_dropped_is_told() -> None:
    reading, writing = os.pipe()
    lines = QueuedLines(writing, as_json, queued_max=100)
    for number in range(5000):
        lines.emit(logging.makeLogRecord({"name": "full", "msg": f"{number} {'x' * 200}"}))

    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.extend(iter(lambda: os.read(reading, 65536), b"")))
    reader.start()
    lines.close()
    os.close(writing)
    reader.join()
    os.close(reading)
    told = [json.loads(line) for line in b"".join(read).splitlines()]
    dropped = sum(one.get("count", 0) for one in told)
    assert dropped > 4000
    assert sum("count" not in one for one in told) + dropped == 5000


def test_a_log_whose_reader_has_gone_fails_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    lines = QueuedLines(writing, as_text)
    lines.emit(logging.makeLogRecord({"msg": "nobody hears this"}))
    lines.close()
    os.close(writing)


def test_text_is_one_line_whatever_the_message_holds() -> None:
    record = logging.makeLogRecord({"msg": "two\nlines \x1b[31mred", "levelname": "INFO", "request_id": "r-1"})

    assert as_text(record).decode().split(maxsplit=1)[1] == "info    two\\x0alines \\x1b[31mred [r-1]\n"

"""The command `serve`, as a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

import outcrop
from tests.http.conftest import served


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the server and its children at once, as a power cut would."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for pid in (process.pid, *map(int, children)):
        os.kill(pid, signal.SIGKILL)


def test_the_server_answers_and_stops_when_told(server: Callable[..., httpx.Client]) -> None:
    client = server()

    found = client.get("/v1/collections/rocks/search", params={"q": "slate"})
    assert found.json()["hits"][0]["document_id"] == "slate"
    client.process.send_signal(signal.SIGTERM)  # type: ignore[attr-defined]
    assert client.process.wait(timeout=60) == 0  # type: ignore[attr-defined]


def test_a_port_that_somebody_has_is_not_shared(server: Callable[..., httpx.Client], folder: Path) -> None:
    client = server()
    command = [sys.executable, "-m", "outcrop", "serve", str(folder), "--port", str(client.base_url.port)]

    second = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    assert second.returncode != 0
    assert "nothing can listen at 127.0.0.1" in second.stderr
    assert client.get("/livez").status_code == 200


def test_a_name_that_somebody_else_lets_lead_here_is_refused(server: Callable[..., httpx.Client]) -> None:
    client, address = server(), "/v1/collections/rocks/search?q=slate"

    assert client.get(address, headers={"host": "evil.example:80"}).status_code == 403
    for name in ("localhost", "127.0.0.1:7700", "[::1]:7700"):
        assert client.get(address, headers={"host": name}).status_code == 200


def test_a_client_that_goes_away_in_the_middle_is_no_error_of_the_server(server: Callable[..., httpx.Client]) -> None:
    client = server()
    head = "POST /v1/collections/rocks/{} HTTP/1.1\r\nhost: x\r\ncontent-type: {}\r\ncontent-length: 1000\r\n\r\n"
    for path, kind in (("documents", "application/x-ndjson"), ("search", "application/json")):
        with socket.create_connection((client.base_url.host, client.base_url.port)) as gone:
            gone.sendall(head.format(path, kind).encode() + b'{"id": "half')
            gone.shutdown(socket.SHUT_WR)
            gone.recv(1000)  # it answers what nobody may read
    text = client.get("/metrics").text
    assert 'status="500"' not in text
    assert client.get("/v1/collections/rocks").json()["document_count"] == 3


def test_several_processes_answer_and_see_each_others_writes(server: Callable[..., httpx.Client]) -> None:
    client = server("--readers", "1")
    for number in range(8):
        fresh = httpx.post(
            f"{client.base_url}/v1/collections/rocks/documents", json={"documents": [{"id": f"n-{number}", "text": "new"}]}
        )
        assert fresh.status_code == 200
        seen = httpx.get(f"{client.base_url}/v1/collections/rocks/search", params={"q": "new", "k": 20}).json()["hits"]
        assert len(seen) == number + 1


@pytest.mark.skipif(sys.platform != "linux", reason="finds the server's children in /proc")
def test_no_write_that_was_acknowledged_is_lost_when_the_server_is_killed(
    server: Callable[..., httpx.Client], folder: Path
) -> None:
    client, acknowledged = server(), []

    def write() -> None:
        number = 0
        while True:
            document = {"id": f"k-{number}", "text": "kept"}
            try:
                client.post("/v1/collections/rocks/documents", json={"documents": [document]}).raise_for_status()
            except httpx.TransportError:
                return
            acknowledged.append(document["id"])
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    while len(acknowledged) < 5:
        writer.join(0.01)
    _kill(client.process)  # type: ignore[attr-defined]
    writer.join()
    with outcrop.open(folder) as db:
        kept = {one.id for one in db.collection("rocks").get(acknowledged)}
    assert kept == set(acknowledged)


def test_a_request_that_is_under_way_is_answered_before_the_server_ends(server: Callable[..., httpx.Client]) -> None:
    client, answered = server(), []
    lines = [b'{"id": "d-%d", "text": "pebble %d"}\n' % (number, number) for number in range(3000)]
    began, go_on = threading.Event(), threading.Event()

    def pieces() -> Iterator[bytes]:
        for number, line in enumerate(lines):
            if number == 1500:
                began.set()
                go_on.wait()
            yield line

    def send() -> None:
        headers = {"content-type": "application/x-ndjson"}
        answered.append(client.post("/v1/collections/rocks/documents", content=pieces(), headers=headers).json())

    sender = threading.Thread(target=send)
    sender.start()
    began.wait()
    client.process.send_signal(signal.SIGTERM)  # type: ignore[attr-defined]
    go_on.set()
    sender.join()
    assert answered[0]["upserted"] == 3000


def test_a_folder_without_a_collection_is_served_and_said_to_have_none(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log, served(tmp_path / "mistyped", "--log-format", "text", stderr=log) as client:
        assert client.get("/v1/collections").json() == {"collections": []}
    assert "no collection in it yet" in (tmp_path / "log").read_text()

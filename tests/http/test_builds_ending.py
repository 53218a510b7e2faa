"""Builds in processes of a real server: followed, cancelled, killed, and what the end of the server does to them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from litestar.testing import TestClient

import outcrop
from outcrop import Config
from outcrop.surfaces.http.app import application
from outcrop.surfaces.http.builds import events, running, states
from outcrop.surfaces.http.builds.running import Builds
from outcrop.surfaces.http.builds.states import Build, BuildsFolder
from tests.http.conftest import SlowEmbedder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="stops servers with signals")

_BUILDS = "/v1/collections/rocks/builds"
_NDJSON = {"content-type": "application/x-ndjson"}
_LINES = b"".join(b'{"id": "p-%d", "text": "pebble number %d"}\n' % (number, number) for number in range(60))
Start = Callable[..., httpx.Client]


class Following(threading.Thread):
    """Reads the events of a build on a connection of its own."""

    def __init__(self, client: httpx.Client, address: str) -> None:
        super().__init__()
        self.url = f"{client.base_url}{address}/events"
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.start()

    def run(self) -> None:
        kind = ""
        with httpx.stream("GET", self.url, timeout=60) as answered:
            for line in answered.iter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    self.events.append((kind, json.loads(value)))

    def until(self, wanted: Callable[[str, dict[str, Any]], bool]) -> dict[str, Any]:
        """The first event of this kind, waited for."""
        while True:
            found = next((build for kind, build in list(self.events) if wanted(kind, build)), None)
            if found is not None:
                return found
            assert self.is_alive(), self.events
            time.sleep(0.02)

    def last(self) -> dict[str, Any]:
        """The build with its end."""
        self.join(60)
        kind, build = self.events[-1]
        assert kind == "end"
        return build


def _begun(client: httpx.Client, slow: SlowEmbedder) -> str:
    """A build that waits for its embedder: its address."""
    options = {"embedder": slow.spec, "promote": "true", "gate": '{"vanished_share_max": 1}'}
    begun = client.post(_BUILDS, params=options, content=_LINES, headers=_NDJSON)
    assert begun.status_code == 202, begun.text
    assert slow.asked.wait(60)
    return begun.headers["location"]


def _again(client: httpx.Client, slow: SlowEmbedder) -> dict[str, Any]:
    """The same build, to its end."""
    return Following(client, _begun(client, slow)).last()


def _noted(folder: Path) -> tuple[Build, BuildsFolder]:
    with outcrop.open(folder, config=Config.mvp_only(background=False), read_only=True) as db:
        there = BuildsFolder.of(db, "rocks")
        return states.all_of(there)[0], there


def _children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _process_of_the_build(server: int) -> int:
    command = b"outcrop.surfaces.http.builds.child"
    waiting = _children(server)
    while waiting:
        pid = waiting.pop()
        if command in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
        for task in Path(f"/proc/{pid}/task").iterdir():
            waiting += [int(one) for one in (task / "children").read_text().split()]
    raise AssertionError("no build runs")


def test_every_process_of_the_server_tells_of_a_build_and_cancels_it(server: Start, slow: SlowEmbedder, folder: Path) -> None:
    client = server("--readers", "1")
    address = _begun(client, slow)
    following = [Following(client, address) for _ in range(6)]
    for one in following:
        assert one.until(lambda _, build: build["stage"] == "build")["state"] == "running"
    assert httpx.get(f"{client.base_url}/v1/collections/rocks/search?q=slate").status_code == 200  # meanwhile
    refused = httpx.post(f"{client.base_url}{_BUILDS}", json={})
    assert (refused.status_code, refused.json()["build"]) == (409, address.rpartition("/")[2])

    cancelled = httpx.delete(f"{client.base_url}{address}")
    assert (cancelled.status_code, cancelled.json()["state"]) == (202, "cancelling")
    assert httpx.delete(f"{client.base_url}{address}").status_code == 202
    for one in following:
        one.until(lambda kind, build: (kind, build["state"]) == ("progress", "cancelling"))
    slow.go_on.set()
    for one in following:
        ended = one.last()
        assert (ended["state"], ended["resumable"], ended["problem"], ended["promoted"]) == ("cancelled", True, None, False)
    again = _again(client, slow)
    assert (again["state"], again["documents"], again["generation"]) == ("done", 60, 3)
    assert {path.suffix for path in _noted(folder)[1].path.iterdir()} == {".json", ".lock"}


@pytest.mark.skipif(sys.platform != "linux", reason="finds the build's process in /proc")
def test_a_build_whose_process_is_killed_is_interrupted_and_goes_on_when_begun_again(server: Start, slow: SlowEmbedder) -> None:
    client = server()
    following = Following(client, _begun(client, slow))
    process = _process_of_the_build(client.process.pid)  # type: ignore[attr-defined]
    assert os.getpriority(os.PRIO_PROCESS, process) >= 10  # searches come first
    os.kill(process, signal.SIGKILL)

    ended = following.last()
    assert (ended["state"], ended["resumable"]) == ("interrupted", True)
    slow.go_on.set()
    assert "goes on" in ended["problem"]["detail"]
    again = _again(client, slow)
    assert (again["state"], again["generation"]) == ("done", 3)
    told = client.get(f"{_BUILDS}/{ended['id']}").json()
    assert "signal 9" in told["problem"]["detail"]  # who started it saw it end
    assert client.get("/v1/collections/rocks").json()["active"] == 3


def test_a_server_that_is_stopped_ends_its_builds_in_order_and_tells_who_follows(
    server: Start, slow: SlowEmbedder, folder: Path
) -> None:
    client = server("--readers", "1")
    following = Following(client, _begun(client, slow))
    following.until(lambda _, build: build["stage"] == "build")
    client.process.send_signal(signal.SIGTERM)  # type: ignore[attr-defined]
    slow.go_on.set()

    ended = following.last()
    assert (ended["state"], ended["resumable"]) == ("interrupted", True)
    assert client.process.wait(timeout=60) == 0  # type: ignore[attr-defined]
    found, there = _noted(folder)
    assert ended == msgspec.to_builtins(found, builtin_types=()) | {"skipped_examples": []}
    client = server()
    resumed = client.post(f"{_BUILDS}/{found.id}/resume")
    assert resumed.status_code == 202, resumed.text
    again = Following(client, resumed.headers["location"]).last()
    assert (again["state"], again["source"], again["documents"], again["promoted"]) == ("done", "upload", 60, True)
    assert client.post(f"{_BUILDS}/{found.id}/resume").status_code == 409
    assert {path.suffix for path in there.path.iterdir()} == {".json", ".lock"}


@pytest.mark.skipif(sys.platform != "linux", reason="finds the server's children in /proc")
def test_a_server_that_is_killed_takes_its_builds_along(server: Start, slow: SlowEmbedder, folder: Path) -> None:
    client = server()
    _begun(client, slow)
    process: Any = client.process  # type: ignore[attr-defined]
    build = _process_of_the_build(process.pid)
    for pid in (process.pid, *_children(process.pid)):
        os.kill(pid, signal.SIGKILL)
    process.wait()
    assert _noted(folder)[0].state == "running"  # its process has it in hand still
    slow.go_on.set()
    while Path(f"/proc/{build}").exists():
        time.sleep(0.02)

    found, there = _noted(folder)
    assert (found.state, found.resumable) == ("interrupted", True)
    assert _again(server(), slow)["state"] == "done"
    assert list(there.path.glob("*.upload")) == []


def test_a_build_that_does_not_come_to_its_next_step_is_killed_with_its_server(
    folder: Path, slow: SlowEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_END_SECONDS", 0.1)
    with TestClient(application(lambda: outcrop.open(folder, config=Config.mvp_only(background=False)))) as client:
        begun = client.post(_BUILDS, params={"embedder": slow.spec}, content=_LINES, headers=_NDJSON)
        assert begun.status_code == 202
        assert slow.asked.wait(60)

    found, there = _noted(folder)
    assert (found.id, found.state, found.resumable) == (begun.json()["id"], "interrupted", True)
    assert found.problem is not None
    assert "signal 9" in found.problem["detail"]
    assert there.upload(found.id).read_bytes() == _LINES  # to be resumed


def test_an_upload_whose_client_goes_away_leaves_nothing(server: Start, folder: Path) -> None:
    client = server()
    head = f"POST {_BUILDS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\ncontent-length: 1000\r\n\r\n"
    with socket.create_connection((client.base_url.host, client.base_url.port)) as gone:
        gone.sendall(head.encode() + b'{"id": "half')
        while not (found := client.get(_BUILDS).json()["builds"]):
            time.sleep(0.02)
        assert (found[0]["state"], found[0]["stage"]) == ("running", "upload")
    while client.get(_BUILDS).json()["builds"]:
        time.sleep(0.02)
    assert {path.suffix for path in (folder / "rocks" / "builds").iterdir()} == {".lock"}


def test_a_build_is_cancelled_while_its_documents_are_sent(server: Start) -> None:
    client = server()
    go_on = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield _LINES
        go_on.wait()
        while True:
            yield b" " * 1_000_000

    answered: list[httpx.Response] = []

    def send() -> None:
        answered.append(httpx.post(f"{client.base_url}{_BUILDS}", content=pieces(), headers=_NDJSON, timeout=60))

    sender = threading.Thread(target=send)
    sender.start()
    while not (found := client.get(_BUILDS).json()["builds"]):
        time.sleep(0.02)
    assert client.delete(f"{_BUILDS}/{found[0]['id']}").json()["state"] == "cancelling"
    go_on.set()
    sender.join()
    assert answered[0].status_code == 409
    assert client.get(f"{_BUILDS}/{found[0]['id']}").json()["state"] == "cancelled"


def test_a_stream_in_which_nothing_happens_says_that_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_QUIET_SECONDS_MAX", 0.0)
    builds, build = Builds(), states.new("rocks", "upload", "build")

    async def main() -> list[bytes]:
        async def look() -> Build:
            return build

        told = events.told(builds, look)
        return [await anext(told) for _ in range(4)]

    first = asyncio.run(main())
    builds.finish()
    assert [one.partition(b"\n")[0] for one in first] == [b"retry: 2000", b"event: progress", b": still there", b": still there"]

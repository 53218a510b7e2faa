"""Clients that send slowly, or never: they hold up nobody else."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from litestar.testing import TestClient

import outcrop
from outcrop import Config
from outcrop.surfaces.http.app import application
from outcrop.surfaces.http.problems import Busy
from outcrop.surfaces.http.served import Bodies

_NDJSON = {"content-type": "application/x-ndjson"}
_DOCUMENTS = "/v1/collections/rocks/documents"


def _scope(method: str, path: str, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": list(headers),
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "extensions": {},
    }


def _sent_in_part(folder: Path, limits: dict[str, object], path: str, kind: str) -> tuple[int, str]:
    """What a client is told that sends the first bytes of a body and then nothing: status and name of the problem."""
    app = application(lambda: outcrop.open(folder, config=Config.mvp_only(background=False, server=limits)))
    sent: list[Any] = []
    first = [{"type": "http.request", "body": b'{"id": "half', "more_body": True}]

    async def receive() -> Any:
        return first.pop() if first else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    async def main() -> None:
        async with app.lifespan():
            await app(_scope("POST", path, (b"content-type", kind.encode())), receive, send)  # type: ignore[arg-type]

    asyncio.run(main())
    body = msgspec.json.decode(b"".join(one.get("body", b"") for one in sent))
    return sent[0]["status"], body["type"].rpartition("#")[2]


def test_a_body_that_does_not_come_is_given_up(folder: Path) -> None:
    limits: dict[str, object] = {"seconds_max": 0.05}

    assert _sent_in_part(folder, limits, "/v1/collections/rocks/search", "application/json") == (504, "deadline-passed")


def test_a_stream_that_stands_still_is_given_up(folder: Path) -> None:
    limits: dict[str, object] = {"idle_seconds_max": 0.05}

    assert _sent_in_part(folder, limits, _DOCUMENTS, "application/x-ndjson") == (504, "deadline-passed")


def test_a_client_that_does_not_read_is_given_up(folder: Path) -> None:
    with outcrop.open(folder, config=Config.mvp_only(background=False)) as db:
        db.collection("rocks").upsert({"id": "long", "text": "slate " * 100_000})
    config = Config.mvp_only(background=False, server={"idle_seconds_max": 0.05})
    app = application(lambda: outcrop.open(folder, config=config))
    sizes: list[int] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            sizes.append(len(message["body"]))
            if len(sizes) > 3:
                await asyncio.Event().wait()

    async def main() -> None:
        async with app.lifespan():
            await app(_scope("GET", f"{_DOCUMENTS}/long"), asyncio.Event().wait, send)  # type: ignore[arg-type]

    asyncio.run(main())
    assert len(sizes) == 4
    assert max(sizes) < 100_000


def test_a_client_that_does_not_read_what_it_searched_for_is_given_up(folder: Path) -> None:
    with outcrop.open(folder, config=Config.mvp_only(background=False)) as db:
        db.collection("rocks").upsert([{"id": f"long {number}", "text": "slate " * 60} for number in range(100)])
    config = Config.mvp_only(background=False, server={"idle_seconds_max": 0.05})
    app = application(lambda: outcrop.open(folder, config=config))
    body, pieces = json.dumps({"query": "slate", "k": 100, "explain": True, "mode": "lexical"}).encode(), list[Any]()

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            pieces.append(message)
            await asyncio.Event().wait()

    async def main() -> None:
        async with app.lifespan():
            kind, host = (b"content-type", b"application/json"), (b"host", b"localhost")
            await app(_scope("POST", "/v1/collections/rocks/search", kind, host), receive, send)  # type: ignore[arg-type]
            assert app.state.served.bodies.size_bytes == 0

    asyncio.run(main())
    assert [(len(one["body"]), one["more_body"]) for one in pieces] == [(65_536, True)]


def test_a_body_is_counted_until_its_request_is_done_with(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    with TestClient(application(lambda: outcrop.open(folder, config=Config.mvp_only(background=False)))) as client:
        bodies = client.app.state.served.bodies
        search = outcrop.Collection.search
        monkeypatch.setattr(
            outcrop.Collection, "search", lambda *args, **more: seen.append(bodies.size_bytes) or search(*args, **more)
        )
        client.post("/v1/collections/rocks/search", json={"query": "slate"})
        client.post("/v1/collections/rocks/search", json={"query": ""})
        client.post("/v1/collections/rocks/search", content=b"{")
        assert min(seen) > 10
        assert bodies.size_bytes == 0


def test_bodies_hold_so_much_together() -> None:
    bodies = Bodies(100)
    bodies.take(60)
    with pytest.raises(Busy):
        bodies.take(41)
    bodies.give_back(60)
    bodies.take(100)


def test_uploads_that_wait_for_their_senders_take_no_thread_from_searches(server: Callable[..., httpx.Client]) -> None:
    address, go_on, begun = str(server().base_url), threading.Event(), [threading.Event() for _ in range(4)]
    answered: list[int] = []

    def upload(number: int) -> None:
        def lines() -> Iterator[bytes]:
            yield b'{"id": "u-%d", "text": "pebble"}\n' % number
            begun[number].set()
            go_on.wait()

        answered.append(httpx.post(f"{address}{_DOCUMENTS}", content=lines(), headers=_NDJSON, timeout=60).status_code)

    uploads = [threading.Thread(target=upload, args=(number,)) for number in range(4)]
    for one in uploads:
        one.start()
    for event in begun:
        event.wait()
    one_more = b'{"id": "more", "text": "pebble"}'
    while httpx.post(f"{address}{_DOCUMENTS}", content=one_more, headers=_NDJSON).status_code != 429:
        pass  # the last of the four has sent its line, which may not have been read yet
    assert httpx.get(f"{address}/v1/collections/rocks/search?q=slate").status_code == 200
    go_on.set()
    for one in uploads:
        one.join()
    assert answered == [200] * 4


@pytest.mark.skipif(sys.platform == "win32", reason="opens more connections than Windows lets a test")
def test_a_thousand_connections_that_send_nothing_keep_nobody_out(server: Callable[..., httpx.Client]) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(before[1], 4096), before[1]))
    client = server()
    place = (client.base_url.host, client.base_url.port or 80)
    with ExitStack() as idle:
        for _ in range(1100):
            idle.enter_context(socket.create_connection(place))
        assert httpx.get(f"{client.base_url}/v1/collections/rocks/search?q=slate").status_code == 200
    resource.setrlimit(resource.RLIMIT_NOFILE, before)

"""What searches and writes see while generations change, and while the server ends."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

import outcrop
from outcrop import Config

_SEARCH = "/v1/collections/rocks/search"
_DOCUMENTS = "/v1/collections/rocks/documents"
_PROMOTIONS = int(os.environ.get("PROMOTIONS_UNDER_LOAD", "20"))  # `make stress` asks for more


@contextmanager
def _load(base: httpx.URL, *, searchers: int, seen: Counter[str], written: list[str]) -> Iterator[None]:
    """Searches and writes without a pause meanwhile; what came of each is counted in `seen`."""
    ended = threading.Event()

    def search() -> None:
        with httpx.Client(base_url=base, timeout=60) as client:
            while not ended.is_set():
                seen[_outcome(lambda: client.post(_SEARCH, json={"query": "layers", "cache": False}))] += 1

    def write() -> None:
        with httpx.Client(base_url=base, timeout=60) as client:
            number = 0
            while not ended.is_set():
                document = {"id": f"w-{number}", "text": "written under load"}
                found = _outcome(lambda one=document: client.post(_DOCUMENTS, json={"documents": [one]}))
                seen[found] += 1
                if found == "200":
                    written.append(document["id"])
                number += 1

    threads = [threading.Thread(target=search) for _ in range(searchers)] + [threading.Thread(target=write)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _outcome(ask: Callable[[], httpx.Response]) -> str:
    try:
        answer = ask()
    except httpx.TransportError as error:
        return type(error).__name__
    return str(answer.status_code) if answer.headers["content-type"] != "application/problem+json" else answer.text


def test_promotions_under_load_give_no_error_and_lose_no_write(folder: Path, server: Callable[..., httpx.Client]) -> None:
    with outcrop.open(folder, config=Config.mvp_only(background=False)) as db:
        db.collection("rocks").build(chunker="tokens:64/8")
    client, seen, written = server("--readers", "1"), Counter[str](), list[str]()

    with _load(client.base_url, searchers=3, seen=seen, written=written):
        for number in range(_PROMOTIONS):
            promoted = client.post(f"/v1/collections/rocks/generations/{2 - number % 2}/promote")
            assert promoted.status_code == 200, promoted.text

    assert set(seen) == {"200"}, seen
    assert len(client.get("/v1/collections/rocks/history").json()["history"]) > _PROMOTIONS
    found = client.post(f"{_DOCUMENTS}/get", json={"ids": written}).json()["documents"]
    assert [one["id"] for one in found] == written
    assert len(written) >= _PROMOTIONS // 10


def test_a_server_that_ends_under_load_breaks_off_nothing_that_it_has_begun(
    server: Callable[..., httpx.Client], folder: Path
) -> None:
    client, seen, written = server(), Counter[str](), list[str]()

    with _load(client.base_url, searchers=4, seen=seen, written=written):
        while len(written) < 20:
            client.get("/livez")
        client.process.send_signal(signal.SIGTERM)  # type: ignore[attr-defined]
        assert client.process.wait(timeout=60) == 0  # type: ignore[attr-defined]

    assert set(seen) == {"200", "ConnectError"}, seen  # what it does not take is refused before it is sent
    with outcrop.open(folder) as db:
        assert len(db.collection("rocks").get(written)) == len(written)

"""What searches and writes see while generations change, and while the server ends."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import httpx

import outcrop
from outcrop import Config

_SEARCH = "/v1/collections/rocks/search"
_DOCUMENTS = "/v1/collections/rocks/documents"
_PROMOTIONS = int(os.environ.get("PROMOTIONS_UNDER_LOAD", "20"))  # `make stress` asks for more


@contextmanager
def _load(
    base: httpx.URL, *, searchers: int, seen: Counter[str], written: list[str], unanswered: list[str] | None = None
) -> Iterator[None]:
    """Searches and writes without a pause meanwhile; what came of each is counted in `seen`.

    `unanswered` gets the ids of requests that were sent and had no answer.
    """
    ended = threading.Event()

    def ask(client: httpx.Client, path: str, body: dict[str, object], request_id: str) -> str:
        found = _outcome(lambda: client.post(path, json=body, headers={"x-request-id": request_id}))
        seen[found] += 1
        if found == "RemoteProtocolError" and unanswered is not None:
            unanswered.append(request_id)
        return found

    def search(searcher: int) -> None:
        with httpx.Client(base_url=base, timeout=60) as client:
            for number in count():
                if ended.is_set():
                    return
                ask(client, _SEARCH, {"query": "layers", "cache": False}, f"s-{searcher}-{number}")

    def write() -> None:
        with httpx.Client(base_url=base, timeout=60) as client:
            for number in count():
                if ended.is_set():
                    return
                document = {"id": f"w-{number}", "text": "written under load"}
                if ask(client, _DOCUMENTS, {"documents": [document]}, document["id"]) == "200":
                    written.append(document["id"])

    threads = [threading.Thread(target=search, args=(number,)) for number in range(searchers)] + [threading.Thread(target=write)]
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
    server: Callable[..., httpx.Client], folder: Path, tmp_path: Path
) -> None:
    """What it does not take is refused before it is sent, or meets a kept connection that is being closed, and is not begun."""
    seen, written, unanswered = Counter[str](), list[str](), list[str]()
    with (tmp_path / "log").open("wb") as log:
        client = server("--log-format", "json", stderr=log)

        with _load(client.base_url, searchers=4, seen=seen, written=written, unanswered=unanswered):
            while len(written) < 20:
                client.get("/livez")
            client.process.send_signal(signal.SIGTERM)  # type: ignore[attr-defined]
            assert client.process.wait(timeout=60) == 0  # type: ignore[attr-defined]

    begun = {json.loads(line).get("request_id") for line in (tmp_path / "log").read_text().splitlines() if line.startswith("{")}
    assert begun >= {*written}
    assert begun.isdisjoint(unanswered)
    assert set(seen) - {"RemoteProtocolError"} == {"200", "ConnectError"}, seen
    with outcrop.open(folder) as db:
        collection = db.collection("rocks")
        assert len(collection.get(written)) == len(written)
        assert not collection.get([one for one in unanswered if one.startswith("w-")])

"""What a server opens before anybody searches it, and since when it says that it is ready."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar.testing import TestClient
from prometheus_client.parser import text_string_to_metric_families

import outcrop
from outcrop import Config
from outcrop.generations.layout import MANIFEST, CollectionFolder
from outcrop.retrieval import generation
from outcrop.surfaces.http import warming
from outcrop.surfaces.http.app import application
from outcrop.surfaces.http.warming import Together, Warming, Warmth
from tests.damage import overwrite
from tests.http.conftest import ROCKS, Client, served, until, until_ready

CONFIG = Config.mvp_only(background=False)
hangs = pytest.mark.skipif(sys.platform == "win32", reason="a file that hangs is a named pipe")


def made(folder: Path, *names: str) -> Path:
    """A database of such collections, whose embedder is a quick one."""
    with outcrop.open(folder, config=CONFIG) as db:
        for name in names:
            db.create_collection(name, embedder="hashing:16").build(ROCKS, promote=True)
    return folder


@pytest.fixture
def two(tmp_path: Path) -> Path:
    return made(tmp_path / "kb", "gems", "rocks")


@contextmanager
def called(folder: Path, **settings: Any) -> Iterator[Client]:
    """The application, in this process."""
    config = Config.mvp_only(background=False, server=settings)
    with TestClient(application(lambda: outcrop.open(folder, config=config))) as client:
        yield client


def warm_up(client: Client | httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/health").json()["warm_up"]
    return found


def samples(client: Client | httpx.Client, name: str) -> dict[str, float]:
    """What a metric tells of each collection, and of all."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {one.labels.get("collection", ""): one.value for family in families for one in family.samples if one.name == name}


class Hanging:
    """A collection whose manifest cannot be read to its end before `go_on` is called."""

    def __init__(self, folder: Path) -> None:
        collection = CollectionFolder(folder)
        self._manifest = collection.generation(collection.names()[0]) / MANIFEST
        self._content, self._pipe = self._manifest.read_bytes(), folder / "pipe"
        os.mkfifo(self._pipe)
        os.link(self._pipe, self._manifest.with_name("hanging"))
        os.replace(self._manifest.with_name("hanging"), self._manifest)

    def go_on(self) -> None:
        """Whoever reads it gets it, and the file is as it was."""
        if self._pipe.exists():
            overwrite(self._manifest, self._content)
            with self._pipe.open("wb") as pipe:
                pipe.write(self._content)
            self._pipe.unlink()


@pytest.fixture
def hanging(two: Path) -> Iterator[Hanging]:
    found = Hanging(two / "gems")
    yield found
    found.go_on()


@hangs
def test_a_server_is_alive_from_the_start_and_ready_when_its_collections_are_open(
    two: Path, hanging: Hanging, tmp_path: Path
) -> None:
    with (tmp_path / "log").open("wb") as log, served(two, stderr=log) as client:
        assert client.get("/livez").json() == {"live": True}
        until(lambda: client.get("/readyz").json().get("reason") == "1 of 2 collections are open")
        refused = client.get("/readyz")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json() == {"ready": False, "reason": "1 of 2 collections are open"}
        found = client.get("/v1/collections/rocks/search", params={"q": "slate"})  # the open one is searched meanwhile
        assert found.json()["hits"][0]["document_id"] == "slate"

        hanging.go_on()
        until_ready(client)
        assert client.get("/readyz").json() == {"ready": True}
        told = warm_up(client)
        assert (told["ready"], told["open"], told["collections"]) == (True, 2, 2)
        assert samples(client, "outcrop_warm_up_seconds")[""] == pytest.approx(told["seconds"], abs=0.001)
    events = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines() if line.startswith("{")]
    ready = [one for one in events if one.get("event") == "ready"]
    assert [(one["open"], one["collections"]) for one in ready] == [(2, 2)]


@hangs
def test_what_hangs_is_not_waited_for_for_ever(two: Path, hanging: Hanging, tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log, served(two, stderr=log, OUTCROP_SERVER_WARM_SECONDS_MAX="0.5") as client:
        until_ready(client)
        assert client.get("/v1/collections/rocks/search", params={"q": "slate"}).status_code == 200
        until(lambda: "collection 'gems' is still being opened" in (tmp_path / "log").read_text())
        hanging.go_on()
        until(lambda: warm_up(client)["open"] == 2)


def test_the_first_search_opens_and_loads_nothing(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []
    real = generation.resolve, generation.OpenGeneration.__init__

    def resolve(spec: str, **about: Any) -> object:
        found.append(spec)
        return real[0](spec, **about)

    def begin(self: generation.OpenGeneration, folder: CollectionFolder, *args: Any, **about: Any) -> None:
        found.append(folder.path.name)
        real[1](self, folder, *args, **about)

    monkeypatch.setattr(generation, "resolve", resolve)
    monkeypatch.setattr(generation.OpenGeneration, "__init__", begin)
    with called(two) as client:
        until_ready(client)
        assert sorted(found) == ["gems", "hashing:16", "hashing:16", "rocks"]
        found.clear()
        for name in ("gems", "rocks"):
            answer = client.post(f"/v1/collections/{name}/search", json={"query": "slate"}).json()
            assert (answer["mode"], answer["hits"][0]["document_id"]) == ("hybrid", "slate")
        assert found == []


def test_a_collection_that_cannot_be_opened_keeps_nobody_waiting_and_is_told(two: Path, tmp_path: Path) -> None:
    gems = CollectionFolder(two / "gems")
    overwrite(gems.generation(gems.names()[0]) / "documents.sqlite", b"no database")
    with (tmp_path / "log").open("wb") as log, served(two, stderr=log) as client:
        until_ready(client)
        health = client.get("/health").json()
        assert (health["warm_up"]["open"], health["warm_up"]["collections"]) == (1, 2)
        assert health["collections"]["gems"]["cold"] == "Files of the index are damaged"
        assert "cold" not in health["collections"]["rocks"]
        until(lambda: samples(client, "outcrop_collection_cold") == {"gems": 1.0})
        assert client.get("/v1/collections/rocks/search", params={"q": "slate"}).status_code == 200
    events = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines() if line.startswith("{")]
    cold = [one for one in events if one.get("event") == "collection_cold"]
    assert [(one["level"], one["collection"]) for one in cold] == [("warning", "gems")]
    assert "documents.sqlite" in cold[0]["message"]


def test_what_is_mended_is_opened_and_told_no_more(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warming, "_AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(warming, "_LOOK_SECONDS", 0.05)
    gems = CollectionFolder(two / "gems")
    manifest = gems.generation(gems.names()[0]) / MANIFEST
    whole = manifest.read_bytes()
    overwrite(manifest, b"{}")
    with called(two) as client:
        until_ready(client)
        assert samples(client, "outcrop_collection_cold") == {"gems": 1.0}
        overwrite(manifest, whole)
        until(lambda: samples(client, "outcrop_collection_cold") == {"gems": 0.0})
        assert "cold" not in client.get("/health").json()["collections"]["gems"]
        assert warm_up(client)["open"] == 2


def test_those_that_were_used_last_are_opened_and_no_more_than_may_be(two: Path) -> None:
    later = time.time() + 60
    os.utime(CollectionFolder(two / "rocks").journal, (later, later))
    with called(two, warm_collections_max=1) as client:
        until_ready(client)
        door = client.app.state.served
        assert (door.warming.warmth.open, door.warming.warmth.collections) == (1, 1)
        assert list(door.db._collections) == ["rocks"]
    with called(two, warm_collections_max=0) as client:
        until_ready(client)
        assert (client.app.state.served.warming.warmth.collections, client.app.state.served.db._collections) == (0, {})


def test_what_comes_later_is_opened_too_and_the_server_stays_ready(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warming, "_LOOK_SECONDS", 0.05)
    with called(two) as client, outcrop.open(two, config=CONFIG) as other:
        until_ready(client)
        made = other.create_collection("sands", embedder="hashing:16")
        until(lambda: client.app.state.served.warming.warmth.open == 3)
        assert client.get("/readyz").status_code == 200
        opened = client.app.state.served.db.collection("sands")._open.openings
        assert opened._current is None
        made.build(ROCKS, promote=True)
        until(lambda: opened._current is not None and opened._current[1].is_warm)
        other.drop_collection("sands")
        until(lambda: client.app.state.served.warming.warmth.open == 2)


def test_several_processes_are_ready_when_all_are(two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, another = Together(tmp_path, 2), Together(tmp_path, 2)
    one.tell()
    assert (one.warm(), another.warm()) == (1, 1)
    monkeypatch.setattr(os, "getpid", lambda: 1)
    another.tell()
    assert (one.warm(), another.warm()) == (2, 2)
    monkeypatch.undo()

    with served(two, "--readers", "1") as client:
        until_ready(client)
        for _ in range(10):  # each by a connection of its own, and so by either process
            found = httpx.get(f"{client.base_url}/health").json()["warm_up"]
            assert (found["ready"], found["open"]) == (True, 2)


@hangs
def test_an_end_while_collections_are_opened_is_no_complaint_about_them(two: Path, hanging: Hanging, tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log, served(two, stderr=log) as client:
        until(lambda: client.get("/readyz").json().get("reason") == "1 of 2 collections are open")
        threading.Timer(1, hanging.go_on).start()
    assert "gems" not in (tmp_path / "log").read_text()


class Told:
    """What the warming tells, when it is to."""

    def __init__(self) -> None:
        self.faults: list[Exception] = []
        self.found: list[Warmth] = []

    def __call__(self, warmth: Warmth) -> None:
        if self.faults:
            raise self.faults.pop()
        self.found.append(warmth)


@contextmanager
def warmed(folder: Path, told: Told, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Iterator[Warming]:
    monkeypatch.setattr(warming, "_LOOK_SECONDS", 0.05)
    with outcrop.open(folder, config=Config.mvp_only(background=False, server=settings)) as db:
        found = Warming(db, told, Together())
        found.begin()
        try:
            yield found
        finally:
            found.end()


def test_what_cannot_be_told_now_is_told_later(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()
    told.faults = [OSError("no space left on device")]
    with warmed(two, told, monkeypatch) as found:
        until(lambda: len(told.found) == 1)
        assert (found.waits_for(), told.found[0].open) == (None, 2)


@hangs
def test_what_comes_of_an_opening_that_was_waited_for_no_longer_is_told(
    two: Path, hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told()
    with warmed(two, told, monkeypatch, warm_seconds_max=0.2):
        until(lambda: [one.open for one in told.found] == [1])
        hanging.go_on()
        until(lambda: [one.open for one in told.found] == [1, 2])


def test_where_no_thread_is_to_be_had_one_opens_all(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = Warming._start

    def start(self: Warming, call: Any, name: str) -> threading.Thread:
        if name != "outcrop-warm":
            raise RuntimeError("can't start new thread")
        return starts(self, call, name)

    monkeypatch.setattr(Warming, "_start", start)
    with warmed(two, Told(), monkeypatch) as found:
        until(lambda: found.waits_for() is None)
        assert (found.warmth.open, dict(found.warmth.cold)) == (2, {})


def test_a_collection_that_is_dropped_while_it_is_opened_is_not_cold(
    two: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opens = outcrop.Collection.warm

    def dropped(self: outcrop.Collection) -> bool:
        if self.name == "gems":
            with outcrop.open(two, config=CONFIG) as other:
                other.drop_collection("gems")
        return opens(self)

    monkeypatch.setattr(outcrop.Collection, "warm", dropped)
    with warmed(two, Told(), monkeypatch) as found:
        until(lambda: found.waits_for() is None)
        assert (found.warmth.open, found.warmth.collections) == (1, 1)
    assert "gems" not in caplog.text

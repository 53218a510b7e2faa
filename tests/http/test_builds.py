"""Builds over HTTP: what is built, how far it is, how it ends."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient

import outcrop
from outcrop import Config
from outcrop.builds.stage import CollectionFolder
from outcrop.errors import IllegalState
from outcrop.generations import locks
from outcrop.surfaces.http.app import application
from outcrop.surfaces.http.builds import states, uploading
from outcrop.surfaces.http.builds.running import Builds
from outcrop.surfaces.http.builds.states import BuildsFolder
from outcrop.surfaces.keys import Keys
from tests.http.conftest import ROCKS, Client

_BUILDS = "/v1/collections/rocks/builds"
_NDJSON = {"content-type": "application/x-ndjson"}
_MORE = [{"id": f"p-{number}", "text": f"pebble number {number}"} for number in range(50)]


def _lines(documents: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in documents)


def _ended(client: Any, begun: Any) -> dict[str, Any]:
    """The build, when it has ended."""
    assert begun.status_code == 202, begun.text
    while (found := client.get(begun.headers["location"]).json())["state"] in states.UNDER_WAY:
        time.sleep(0.02)
    return found  # type: ignore[no-any-return]


def _files(folder: Path) -> set[str]:
    there = folder / "rocks" / "builds"
    return {path.suffix for path in there.iterdir()} if there.exists() else set()


def test_what_is_sent_is_built_and_put_live(client: Client, folder: Path) -> None:
    begun = client.post(f"{_BUILDS}?promote=true", content=_lines([*ROCKS, *_MORE]), headers=_NDJSON)
    assert begun.json()["state"] == "running"
    ended = _ended(client, begun)

    assert ended["problem"] is None
    wanted = {"state": "done", "collection": "rocks", "source": "upload", "stage": "promote", "generation": 2, "promoted": True}
    assert {name: ended[name] for name in wanted} == wanted
    assert (ended["documents"], ended["chunks"], ended["skipped"]) == (53, 53, 0)
    assert ended["gate"]["passed"]
    assert ended["ended_at"] > ended["started_at"]
    hits = client.get("/v1/collections/rocks/search?q=pebble").json()
    assert hits["generation"] == 2
    assert hits["hits"]
    assert client.get("/v1/collections/rocks/generations").json()["generations"][-1]["source"] == "JSON lines from upload"
    assert ".upload" not in _files(folder)


def test_a_compressed_upload_is_built_too(client: Client) -> None:
    begun = client.post(_BUILDS, content=gzip.compress(_lines(ROCKS)), headers=_NDJSON)

    assert _ended(client, begun)["documents"] == 3


def test_without_a_source_the_active_documents_are_built_anew(client: Client) -> None:
    ended = _ended(client, client.post(_BUILDS, json={"analyzer": "simple"}))

    assert (ended["state"], ended["source"], ended["promoted"]) == ("done", "documents of the active generation", False)
    made = client.get("/v1/collections/rocks/generations").json()["generations"][-1]
    assert (made["number"], made["recipe"]["analyzer"], made["status"]) == (2, "simple", "ready")


def test_a_gate_that_refuses_leaves_the_generation_ready_and_tells_why(client: Client) -> None:
    options = {"promote": "true", "gate": '{"documents_min": 3}'}
    ended = _ended(client, client.post(_BUILDS, params=options, content=_lines(ROCKS[:2]), headers=_NDJSON))

    assert (ended["state"], ended["stage"], ended["generation"], ended["promoted"]) == ("failed", "promote", 2, False)
    assert ended["problem"]["type"].endswith("#gate-failed")
    assert {check["name"] for check in ended["gate"]["checks"] if not check["passed"]} == {"documents", "vanished ids"}
    assert client.get("/v1/collections/rocks").json()["active"] == 1


def test_bad_records_stop_a_build_or_are_skipped_and_told(client: Client) -> None:
    content = b'{"id": "good", "text": "x"}\n{"id": "bad"}\n[]\n'
    stopped = _ended(client, client.post(_BUILDS, content=content, headers=_NDJSON))
    assert (stopped["state"], stopped["problem"]["status"], stopped["generation"]) == ("failed", 400, None)
    assert "upload:2" in stopped["problem"]["detail"]

    skipped = _ended(client, client.post(f"{_BUILDS}?on_error=skip", content=content, headers=_NDJSON))
    assert (skipped["state"], skipped["documents"], skipped["skipped"]) == ("done", 1, 2)
    assert [one.split(":")[1] for one in skipped["skipped_examples"]] == ["2", "3"]


@pytest.mark.parametrize(
    ("query", "body", "status", "told"),
    [
        ("", {"embeder": "none"}, 400, "embeder"),
        ("", {"target_recall": 2}, 400, "target_recall"),
        ("", {"embedder": "minilmm"}, 404, "minilm"),
        ("", {"chunker": "paragraphs"}, 400, "paragraphs"),
        ("", {"analyzer": "klingon"}, 400, "klingon"),
        ("", {"gate": {"documents_min": 3}}, 400, "promote"),
        ("", {"promote": True, "gate": {"overlap_min": 0.5}}, 400, "queries"),
        ("", {"source": "rocks.jsonl"}, 400, "--source-folder"),
        ("?promote=perhaps", None, 400, "promote"),
        ("?gate={", None, 400, "address"),
        ("?source=rocks.jsonl", None, 400, "not both"),
    ],
)
def test_what_cannot_be_built_is_refused_at_once(
    client: Client, query: str, body: dict[str, Any] | None, status: int, told: str
) -> None:
    sent: dict[str, Any] = {"content": _lines(ROCKS), "headers": _NDJSON} if body is None else {"json": body}
    refused = client.post(f"{_BUILDS}{query}", **sent)

    assert refused.status_code == status, refused.text
    assert told in refused.json()["detail"]
    assert client.get(_BUILDS).json() == {"builds": []}


def test_a_collection_without_documents_has_nothing_to_build(client: Client) -> None:
    client.post("/v1/collections", json={"name": "empty", "embedder": "none"})
    refused = client.post("/v1/collections/empty/builds")

    assert refused.status_code == 409
    assert _ended(client, client.post("/v1/collections/empty/builds", content=_lines(ROCKS), headers=_NDJSON))["state"] == "done"


def test_an_upload_that_is_too_large_leaves_nothing(folder: Path) -> None:
    config = Config.mvp_only(background=False, server={"upload_bytes_max": 1000})
    pieces: list[Any] = [b" " * 1001, iter([b" " * 400] * 3)]
    with TestClient(application(lambda: outcrop.open(folder, config=config))) as client:
        for content in pieces:
            refused = client.post(_BUILDS, content=content, headers=_NDJSON)
            assert (refused.status_code, refused.json()["type"].rpartition("#")[2]) == (413, "too-large")
        assert client.get(_BUILDS).json() == {"builds": []}
        assert _files(folder) == {".lock"}
        assert _ended(client, client.post(_BUILDS, content=_lines(ROCKS), headers=_NDJSON))["state"] == "done"


def test_an_upload_leaves_room_for_writes(client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploading, "_FREE_BYTES_MIN", 1 << 62)
    refused = client.post(_BUILDS, content=_lines(ROCKS), headers=_NDJSON)

    assert (refused.status_code, refused.json()["type"].rpartition("#")[2]) == (507, "storage-failed")
    assert _files(folder) == {".lock"}
    assert client.get(_BUILDS).json() == {"builds": []}


def test_one_build_at_a_time(client: Client, folder: Path) -> None:
    """Whoever has it in hand: this server, or a process of its own."""
    with outcrop.open(folder) as db:
        there = BuildsFolder.of(db, "rocks")
    lock = CollectionFolder(folder / "rocks").build_lock
    with locks.held(lock, timeout_seconds=0, action="being built"):
        refused = client.post(_BUILDS, json={})
        assert (refused.status_code, refused.json()["type"].rpartition("#")[2]) == (409, "build-running")
        assert refused.json()["build"] is None
    there.path.mkdir(exist_ok=True)
    with locks.held(there.lock, timeout_seconds=0, action="being built"):
        running = states.new("rocks", "upload", "build")
        states.write(there, running)
        assert client.post(_BUILDS, json={}).json()["build"] == running.id
        assert client.get(_BUILDS).json()["builds"][0]["state"] == "running"
    assert _ended(client, client.post(_BUILDS))["state"] == "done"


def test_a_server_that_only_reads_builds_nothing_and_tells_of_builds(client: Client, folder: Path) -> None:
    ended = _ended(client, client.post(_BUILDS))
    opening = lambda: outcrop.open(folder, config=Config.mvp_only(background=False), read_only=True)  # noqa: E731
    with TestClient(application(opening)) as reader:
        for refused in (reader.post(_BUILDS), reader.delete(f"{_BUILDS}/{ended['id']}")):
            assert (refused.status_code, refused.json()["type"].rpartition("#")[2]) == (403, "read-only")
        assert reader.get(_BUILDS).json()["builds"] == [ended]


def test_who_may_build_and_who_may_look(client: Client, folder: Path) -> None:
    keys = {scope: {"authorization": f"Bearer {Keys(folder).create(scope, scope)}"} for scope in ("read", "write", "admin")}  # type: ignore[arg-type]

    assert client.post(_BUILDS, headers=keys["write"]).status_code == 403
    begun = client.post(_BUILDS, headers=keys["admin"])
    assert begun.status_code == 202
    assert client.get(begun.headers["location"], headers=keys["read"]).status_code == 200
    assert client.delete(begun.headers["location"], headers=keys["write"]).status_code == 403
    assert client.get(begun.headers["location"]).status_code == 401


@pytest.mark.parametrize("build", ["nothing", "..%2f..%2fkeys", "%00", "20260101T000000000000-00000000", "totals"])
def test_a_build_that_there_is_not(client: Client, build: str) -> None:
    for refused in (client.get(f"{_BUILDS}/{build}"), client.delete(f"{_BUILDS}/{build}"), client.get(f"{_BUILDS}/{build}/events")):
        assert refused.status_code == 404
        assert refused.headers["content-type"] == "application/problem+json"


def test_what_has_ended_cannot_be_cancelled(client: Client) -> None:
    ended = _ended(client, client.post(_BUILDS))

    assert client.delete(f"{_BUILDS}/{ended['id']}").status_code == 409
    refused = client.post(f"{_BUILDS}/{ended['id']}/resume")
    assert (refused.status_code, "done" in refused.json()["detail"]) == (409, True)
    assert client.post(f"{_BUILDS}/nothing/resume").status_code == 404


def test_a_build_that_has_ended_is_one_event(client: Client) -> None:
    ended = _ended(client, client.post(_BUILDS))
    answered = client.get(f"{_BUILDS}/{ended['id']}/events", headers={"accept-encoding": "gzip"})

    assert answered.headers["content-type"].startswith("text/event-stream")
    assert "content-encoding" not in answered.headers
    kinds = [line for line in answered.text.splitlines() if line.startswith("event")]
    assert kinds == ["event: end"]
    assert json.loads(answered.text.rpartition("data: ")[2]) == ended


def test_neither_the_collector_nor_a_check_minds_what_is_noted_of_builds(client: Client, folder: Path) -> None:
    ended = _ended(client, client.post(_BUILDS))
    with outcrop.open(folder, config=Config.mvp_only(background=False)) as db:
        report = db.collection("rocks").gc()
        assert [item for item in report.kept if item.kind == "unknown"] == []
        assert [one.fault for one in db.collection("rocks").verify() if not one.healthy] == []
    assert client.get(f"{_BUILDS}/{ended['id']}").json() == ended
    assert client.delete("/v1/collections/rocks").status_code == 204
    assert not (folder / "rocks").exists()


def test_no_more_clients_follow_builds_than_may(folder: Path) -> None:
    config = Config.mvp_only(background=False, server={"streams_max": 0})
    with TestClient(application(lambda: outcrop.open(folder, config=config))) as client:
        ended = _ended(client, client.post(_BUILDS))
        assert client.get(f"{_BUILDS}/{ended['id']}/events").status_code == 429


def test_only_the_head_of_a_stream_may_be_asked_for(client: Client) -> None:
    ended = _ended(client, client.post(_BUILDS))
    answered = client.head(f"{_BUILDS}/{ended['id']}/events")

    assert (answered.status_code, answered.text) == (200, "")


def test_what_a_build_may_name_is_told(client: Client) -> None:
    found = client.get("/v1/collections/rocks/build-choices").json()

    assert {one["name"]: one["available"] for one in found["embedders"]}.items() >= {("none", True), ("hashing", True)}
    assert found["chunkers"] == ["auto", "tokens", "markdown", "none"]
    assert found["analyzers"][:2] == ["english", "simple"]
    engines = {one["name"]: one for one in found["engines"]}
    assert engines.keys() == {"builtin", "lancedb", "lancedb+builtin"}
    assert (engines["builtin"]["available"], engines["builtin"]["usual"]) == (True, True)
    assert "hnsw" in engines["builtin"]["index_kinds"]
    assert "ivf_sq" not in engines["builtin"]["index_kinds"]
    assert engines["lancedb"]["reason"] == "mode mvp_only never loads LanceDB"
    assert found["sources"] is None
    assert client.get("/v1/collections/none/build-choices").status_code == 404


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"embedder": "minlim"}, "embedder"),
        ({"embedder": "openai:x?dimensions=no"}, "embedder"),
        ({"chunker": "tokens:0"}, "chunker"),
        ({"analyzer": "klingon"}, "analyzer"),
        ({"index": "ivf_sq"}, "index"),
        ({"index": "tree"}, "index"),
        ({"engine": "lancedb"}, "engine"),
        ({"engine": "oracle"}, "engine"),
        ({"target_recall": 2}, "target_recall"),
        ({"source": "corpus.jsonl"}, "source"),
        ({"gate": {"documents_min": 3}}, "promote"),
        ({"promote": True, "gate": {"ndcg_drop": 3}}, "ndcg_drop"),
        ({"promote": True, "gate": {"overlap_min": 0.5}}, "overlap_min"),
        ({"promote": True, "gate": {"overlap_min": 0.5, "queries": ["", "slate"]}}, "queries"),
        ({"promote": True, "gate": {"overlap_min": 0.5, "queries": [{"query": "a", "relevant": {"x": "y"}}]}}, "queries"),
        ({"promote": True, "gate": {"overlap_min": 0.5, "queries": ["slate"] * 1001}}, "queries"),
    ],
)
def test_what_cannot_be_built_is_refused_with_the_field_it_is_about(client: Client, options: dict[str, Any], key: str) -> None:
    refused = client.post(_BUILDS, json=options)

    assert refused.status_code in (400, 404, 503)
    assert refused.json()["key"] == key, refused.text
    assert client.get(_BUILDS).json() == {"builds": []}


@pytest.fixture
def noted(folder: Path) -> Iterator[BuildsFolder]:
    """A folder of builds without any."""
    with outcrop.open(folder) as db:
        there = BuildsFolder.of(db, "rocks")
    there.path.mkdir()
    return there


def test_the_last_builds_are_remembered_and_all_are_counted(noted: BuildsFolder) -> None:
    for number in range(states.KEPT_MAX + 5):
        states.tidy(noted)
        states.end(noted, states.ended(states.new("rocks", str(number), "build"), "failed" if number % 5 else "done"))

    assert [one.source for one in states.all_of(noted)] == [str(number) for number in range(24, 4, -1)]
    assert states.totals(noted).ended == {"done": 5, "failed": 20}
    assert set(states.totals(noted).seconds) == {"done", "failed"}


def test_a_build_whose_process_is_gone_was_interrupted(noted: BuildsFolder) -> None:
    build = states.new("rocks", "upload", "build")
    states.write(noted, build)
    noted.upload(build.id).write_bytes(b"left behind")

    found = states.find(noted, build.id)
    assert (found.state, found.resumable) == ("interrupted", True)
    assert not states.interrupted(states.new("rocks", "upload", "upload"), "why").resumable
    assert found.problem is not None
    assert found.problem["type"].endswith("#build-interrupted")
    states.tidy(noted)  # as the next build does
    assert states.find(noted, build.id) == found
    assert states.totals(noted).ended == {"interrupted": 1}
    assert not noted.upload(build.id).exists()


def test_what_is_to_be_resumed_is_kept_until_it_is(noted: BuildsFolder, folder: Path) -> None:
    interrupted = states.interrupted(states.new("rocks", "upload", "build"), "why")
    states.end(noted, interrupted)
    noted.upload(interrupted.id).write_bytes(b"{}")
    noted.asked(interrupted.id).write_bytes(b"{}")
    running = Builds()
    with outcrop.open(folder, config=Config.mvp_only(background=False)) as db:
        resuming = running.begin(db, "rocks", states.new("rocks", "upload", "upload"), resumes=interrupted.id)
        assert noted.upload(resuming.build.id).exists()
        running.give_up(resuming, RuntimeError("it could not be started"))
        assert noted.upload(interrupted.id).exists()
        another = running.begin(db, "rocks", states.new("rocks", "upload", "upload"))
        assert noted.upload(interrupted.id).exists()
        states.end(noted, ended := states.ended(another.build, "done"))
        states.settle(noted, ended)
        running.give_up(another, RuntimeError("for the lock alone"))
        with pytest.raises(IllegalState, match="begin another one"):
            running.begin(db, "rocks", states.new("rocks", "upload", "upload"), resumes=interrupted.id)
    running.finish()

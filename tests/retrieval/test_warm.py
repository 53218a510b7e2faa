"""What a first search would pay for is paid before: by `warm`, and by the watching thread for what may soon be active."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import outcrop
from outcrop import Config, Document
from outcrop.errors import Closed, Damaged, UnknownEmbedder
from outcrop.generations import pointer
from outcrop.model import EmbedderIdentity
from outcrop.retrieval import generation, hits, openings

ROCKS = [Document("slate", "Slate splits into thin layers."), Document("granite", "Granite is hard and speckled.")]
CONFIG = Config.mvp_only(background=False)


class Own:
    """An embedder of the caller's, which counts how often it is asked."""

    vector_weight = 0.3
    identity = EmbedderIdentity(spec="custom:own", provider="me", model="own", revision="1", dimension=3, normalized=False)

    def __init__(self) -> None:
        self.asked = 0

    def embed_documents(self, texts: list[str]) -> NDArray[np.float32]:
        self.asked += 1
        return np.array([[len(text), text.count("a") + 1, 1] for text in texts], np.float32)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        return self.embed_documents([text])[0]


class HereAtHand(Own):
    is_remote = False


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The embedders that are looked for and checked, as they are."""
    found: list[str] = []
    real = generation.resolve, generation.check_probes

    def resolve(spec: str, *, openai_base_url: str | None) -> object:
        found.append(f"resolved {spec}")
        return real[0](spec, openai_base_url=openai_base_url)

    def check_probes(expected: NDArray[np.float32], embedder: Own) -> None:
        found.append(f"checked {embedder.identity.spec}")
        real[1](expected, embedder)

    monkeypatch.setattr(generation, "resolve", resolve)
    monkeypatch.setattr(generation, "check_probes", check_probes)
    return found


def made(folder: Path, embedder: str | Own = "hashing:16") -> Path:
    with outcrop.open(folder, config=CONFIG) as db:
        db.create_collection("rocks", embedder=embedder).build(ROCKS, promote=True)
    return folder


def test_after_it_a_search_loads_nothing_any_more(tmp_path: Path, loaded: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with outcrop.open(made(tmp_path / "kb"), config=CONFIG) as db:
        rocks = db.collection("rocks")
        loaded.clear()
        assert rocks.warm() is True
        assert loaded == ["resolved hashing:16", "checked hashing:16"]
        loaded.clear()
        monkeypatch.setattr(rocks._open.openings, "_open_generation", None)  # whoever opens one fails

        assert rocks.search("slate").mode == "hybrid"
        assert loaded == []


def test_where_nothing_was_built_there_is_nothing_to_warm(tmp_path: Path) -> None:
    with outcrop.open(tmp_path / "kb", config=CONFIG) as db:
        assert db.create_collection("rocks").warm() is False


def test_what_a_first_search_would_raise_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made(tmp_path / "kb")
    with outcrop.open(folder, config=CONFIG) as db:
        with monkeypatch.context() as without:
            without.setattr(generation, "resolve", _refuse)
            with pytest.raises(UnknownEmbedder):
                db.collection("rocks").warm()
        rocks = db.collection("rocks")
        rocks.close()
        with pytest.raises(Closed):
            rocks.warm()
        active = pointer.read(rocks._open.folder)
        assert active is not None
        (rocks._open.folder.generation(active) / "documents.sqlite").write_bytes(b"no database")
        with pytest.raises(Damaged):
            db.collection("rocks").warm()


def _refuse(spec: str, **_: object) -> None:
    raise UnknownEmbedder(f"there is no embedder {spec!r}", name=spec, remedy="none")


@pytest.mark.parametrize(("kind", "asked"), [(Own, 0), (HereAtHand, 1)])
def test_an_embedder_of_ones_own_is_asked_only_if_it_says_that_it_is_here(tmp_path: Path, kind: type[Own], asked: int) -> None:
    folder, mine = made(tmp_path / "kb", kind()), kind()
    with outcrop.open(folder, config=CONFIG) as db:
        rocks = db.collection("rocks", embedder=mine)
        rocks.warm()
        assert mine.asked == asked
        rocks.search("slate")
        assert mine.asked == 2


@contextmanager
def endpoint(asked: list[int]) -> Iterator[str]:
    """A server of embeddings, which notes how many texts come."""

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            texts = json.loads(self.rfile.read(int(self.headers["content-length"])))["input"]
            asked.append(len(texts))
            data = [{"index": place, "embedding": [1.0, len(text) % 7, 3.0, 1.0]} for place, text in enumerate(texts)]
            content = json.dumps({"data": data}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_server_of_embeddings_is_not_asked(tmp_path: Path) -> None:
    pytest.importorskip("httpx")
    asked: list[int] = []
    with endpoint(asked) as address:
        config = Config.mvp_only(background=False, openai_base_url=address)
        with outcrop.open(tmp_path / "kb", config=config) as db:
            db.create_collection("rocks", embedder="openai:small").build(ROCKS, promote=True)
        assert asked
        asked.clear()
        with outcrop.open(tmp_path / "kb", config=config) as db:
            assert db.collection("rocks").warm()
            assert asked == []
            assert db.collection("rocks").search("slate").mode == "hybrid"
            assert asked


def test_to_look_around_changes_nothing_that_is_looked_at(tmp_path: Path) -> None:
    with outcrop.open(made(tmp_path / "kb"), config=CONFIG) as db:
        rocks = db.collection("rocks")
        rocks.search("slate")
        watched = rocks._open.openings
        watched.watch()

        before = openings._state(watched)
        watched.watch()
        assert openings._state(watched) == before  # or the next look would find a change, and look around again, for ever


Readying = Callable[[outcrop.Collection], object]


@pytest.mark.parametrize(
    ("readied", "expected"),
    [(outcrop.Collection.warm, ["resolved hashing:32", "checked hashing:32"]), (lambda _: None, [])],
)
def test_what_may_soon_be_active_is_as_ready_as_the_active_one(
    tmp_path: Path, loaded: list[str], readied: Readying, expected: list[str]
) -> None:
    with outcrop.open(made(tmp_path / "kb"), config=CONFIG) as db, outcrop.open(tmp_path / "kb", config=CONFIG) as other:
        rocks = db.collection("rocks")
        rocks.search("slate", mode="lexical")
        readied(rocks)
        built = other.collection("rocks").build(embedder="hashing:32")
        loaded.clear()
        rocks._open.openings.watch()
        assert loaded == expected
        loaded.clear()
        rocks._open.openings.watch()
        assert loaded == []  # once, whatever came of it

        other.collection("rocks").promote(built)
        loaded.clear()
        assert rocks.search("slate", mode="hybrid").generation == built.number
        assert bool(loaded) is not bool(expected)


def test_whatever_an_embedder_raises_generations_are_watched_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looked, faults = threading.Event(), [RuntimeError("the model's library has a fault")]

    def watch(_: openings.Openings) -> None:
        if faults:
            raise faults.pop()
        looked.set()

    monkeypatch.setattr(openings.Openings, "watch", watch)
    monkeypatch.setattr(openings, "_LOOK_SECONDS", 0.0)
    with outcrop.open(made(tmp_path / "kb"), config=Config.mvp_only()) as db:
        db.collection("rocks").search("slate")
        assert looked.wait(60)
    assert "the model's library has a fault" in caplog.text


def test_no_long_query_is_kept_for_its_snippets() -> None:
    short, long = "slate granite", " ".join(["slate", *(f"word{number}" for number in range(1000))])
    hits._kept_terms.cache_clear()
    for query in (short, short, long, long):
        assert hits.Passage(query, "english")("Slate splits.") == "<mark>Slate</mark> splits."
    kept = hits._kept_terms.cache_info()
    assert (kept.hits, kept.currsize) == (1, 1)

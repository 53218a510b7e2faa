"""An application on a database of its own, without a network, and the server as a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO

import httpx
import pytest

import outcrop
from outcrop import Config

pytest.importorskip("litestar", reason="the extra 'server' is not installed")

from litestar import Litestar
from litestar.testing import TestClient

from outcrop.surfaces.http.app import application

ROCKS = [
    {"id": "slate", "text": "Slate splits into thin layers.", "metadata": {"hardness": 3}},
    {"id": "granite", "text": "Granite is hard and speckled.", "metadata": {"hardness": 6}},
    {"id": "a/b c", "text": "Marble is changed limestone.", "title": "Marble", "metadata": {"hardness": 3}},
]
Client = TestClient[Litestar]


def made(folder: Path) -> Path:
    """A database with one collection of three rocks."""
    with outcrop.open(folder, config=Config.mvp_only(background=False)) as db:
        db.create_collection("rocks", embedder="none").upsert(ROCKS)
    return folder


@pytest.fixture(scope="session")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("http") / "kb")


@pytest.fixture
def folder(_made: Path, tmp_path: Path) -> Path:
    """The folder of that database, of a test's own."""
    return shutil.copytree(_made, tmp_path / "kb", symlinks=True)


@pytest.fixture
def client(folder: Path) -> Iterator[Client]:
    """The application on that database, called without a network."""
    with TestClient(application(lambda: outcrop.open(folder, config=Config.mvp_only(background=False)))) as client:
        yield client


@contextmanager
def served(folder: Path, *options: str, stderr: IO[bytes] | None = None, **environment: str) -> Iterator[httpx.Client]:
    """A client of the command `serve` on a database, which is stopped at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "outcrop", "serve", str(folder), "--port", str(port), "--mode", "mvp_only", *options]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONWARNINGS": "default"} | environment, stderr=stderr)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            client.process = process  # type: ignore[attr-defined]
            while True:
                assert process.poll() is None, "the server has ended"
                try:
                    client.get("/livez")
                except httpx.TransportError:
                    time.sleep(0.05)
                else:
                    break
            yield client
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


@pytest.fixture
def server(folder: Path) -> Iterator[Callable[..., httpx.Client]]:
    """Starts the command `serve` on that database, and gives a client of it. All of them are stopped at the end."""
    with ExitStack() as closing:
        yield lambda *options, **more: closing.enter_context(served(folder, *options, **more))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of one server for all tests of a file; they leave the rocks as they are."""
    with served(made(tmp_path_factory.mktemp("running") / "kb")) as client:
        yield client


def until_ready(client: Client | httpx.Client) -> None:
    """Wait until the collections are open."""
    until(lambda: client.get("/readyz").status_code == 200)


def until(is_so: Callable[[], bool]) -> None:
    """Wait for something that comes by itself."""
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


class SlowEmbedder:
    """An embedding server of one's own: `asked` is set by the first real request, and none is answered before `go_on` is set."""

    spec = "openai:slow?dimensions=4"

    def __init__(self) -> None:
        self.asked, self.go_on = threading.Event(), threading.Event()
        outer = self

        class Answering(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                texts = json.loads(self.rfile.read(int(self.headers["content-length"])))["input"]
                if texts != ["outcrop"]:  # which is how the embedder finds out what the server takes
                    outer.asked.set()
                    outer.go_on.wait(60)
                vectors = [[1.0, len(text) % 7, len(text) % 5, len(text) % 3] for text in texts]
                found = [{"index": place, "embedding": vector} for place, vector in enumerate(vectors)]
                content = json.dumps({"data": found}).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.go_on.set()
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowEmbedder]:
    """An embedder that waits, for servers that are started after it. Batches are small, so that much of a build comes after."""
    with closing(SlowEmbedder()) as embedder:
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{embedder.http.server_address[1]}")
        monkeypatch.setenv("OUTCROP_BATCH_DOCUMENTS", "10")
        yield embedder

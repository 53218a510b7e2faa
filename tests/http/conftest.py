"""An application on a database of its own, without a network, and the server as a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

import outcrop
from outcrop import Config

pytest.importorskip("litestar", reason="the extra 'server' is not installed")

from litestar import Litestar
from litestar.testing import TestClient

from outcrop.surfaces.http.app import application
from outcrop.surfaces.http.served import Limits

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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made(tmp_path / "kb")


@pytest.fixture
def client(folder: Path) -> Iterator[Client]:
    """The application on that database, called without a network."""
    with TestClient(application(lambda: outcrop.open(folder, config=Config.mvp_only(background=False)), Limits())) as client:
        yield client


@contextmanager
def served(folder: Path, *options: str) -> Iterator[httpx.Client]:
    """A client of the command `serve` on a database, which is stopped at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "outcrop", "serve", str(folder), "--port", str(port), "--mode", "mvp_only", *options]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONWARNINGS": "default"})
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
        yield lambda *options: closing.enter_context(served(folder, *options))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of one server for all tests of a file; they leave the rocks as they are."""
    with served(made(tmp_path_factory.mktemp("running") / "kb")) as client:
        yield client

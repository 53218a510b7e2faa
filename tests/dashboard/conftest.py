"""The dashboard in a real browser, on a real server with real data. Without Chromium, or without its driver, these are skipped."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest

import outcrop
from outcrop import Config, Document

pytest.importorskip("litestar", reason="the extra 'server' is not installed")
pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install 'outcrop[dev]'")

from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

_PATIENCE_MS = 20_000  # of a machine that runs other tests as well
expect.set_options(timeout=_PATIENCE_MS)
_CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
STONES = {
    "slate": ("Slate splits into thin layers and covers the roofs of whole villages.", "metamorphic", 3),
    "granite": ("Granite is hard and speckled. It cools slowly, deep below the ground.", "igneous", 7),
    "basalt": ("Basalt is dark and cools fast at the surface, often in columns.", "igneous", 6),
    "marble": ("Marble is limestone that heat and pressure have changed; sculptors like it.", "metamorphic", 4),
    "shale": ("Shale is mud turned to stone, soft, in thin layers.", "sedimentary", 2),
    "sandstone": ("Sandstone is sand cemented together, and good to build with.", "sedimentary", 5),
    "limestone": ("Limestone is made of shells, and water hollows caves into it.", "sedimentary", 3),
    "pumice": ("Pumice is foam of glass from a volcano, and floats on water.", "igneous", 1),
    "obsidian": ("Obsidian is volcanic glass with edges sharper than steel.", "igneous", 6),
    "quartzite": ("Quartzite was sandstone before heat welded its grains.", "metamorphic", 8),
}
SCRIPT = "<script>window.hacked = true</script><img src=x onerror='window.hacked = true'>"


class Server(NamedTuple):
    """A server under way: its address, and the folder that it serves."""

    address: str
    folder: Path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, for the tests of a file: as long as it is driven its event loop runs, and no other test could run one."""
    if _CHROMIUM is None:
        pytest.skip("no Chromium is installed (apt-get install chromium)")
    with sync_playwright() as driver:
        yield _launched(driver)


def _launched(driver: Playwright) -> Browser:
    return driver.chromium.launch(executable_path=_CHROMIUM, args=_ARGUMENTS)


def filled(folder: Path) -> None:
    """A collection of stones in two generations, of which the first is active; and one document that tries to be markup."""
    documents = [
        Document(name, text, title=name.capitalize(), source="stones.md", metadata={"kind": kind, "hardness": hardness})
        for name, (text, kind, hardness) in STONES.items()
    ]
    hostile = Document("hostile", f"Malachite {SCRIPT} is green.", title=SCRIPT, metadata={"kind": SCRIPT, "hardness": 4})
    with outcrop.open(folder, config=Config.mvp_only(background=False)) as db:
        stones = db.create_collection("stones", embedder="hashing:64")
        stones.build([*documents, hostile], promote=True)
        stones.build(chunker="tokens:64/8")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts `outcrop serve` on a folder, filled or as `fill` fills it; all are stopped at the end."""
    begun: list[subprocess.Popen[bytes]] = []

    def start(*options: str, fill: Callable[[Path], None] = filled) -> Server:
        folder = tmp_path / f"kb{len(begun)}"
        fill(folder)
        return served(folder, begun, *options)

    yield start
    stop(begun)


@pytest.fixture(scope="module")
def stones(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server on the stones, for the tests that change nothing."""
    begun: list[subprocess.Popen[bytes]] = []
    folder = tmp_path_factory.mktemp("dashboard") / "kb"
    filled(folder)
    yield served(folder, begun)
    stop(begun)


def served(folder: Path, begun: list[subprocess.Popen[bytes]], *options: str) -> Server:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "outcrop", "serve", str(folder), "--port", str(port), "--mode", "mvp_only", *options]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONWARNINGS": "default"})
    begun.append(process)
    address = f"http://127.0.0.1:{port}"
    while True:
        assert process.poll() is None, "the server has ended"
        try:
            httpx.get(f"{address}/livez")
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return Server(address, folder)


def logged(server: Server, collection: str = "stones") -> int:
    """How many searches the server's query log has."""
    found: int = httpx.get(f"{server.address}/v1/collections/{collection}/insights").json()["searches"]
    return found


def stop(begun: list[subprocess.Popen[bytes]]) -> None:
    for process in begun:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    for process in begun:
        process.wait(timeout=60)


class Watched(NamedTuple):
    """What a page did besides showing: the hosts it asked, and what it complained of."""

    hosts: set[str]
    complaints: list[str]


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser with nothing in its memory, that runs in English."""
    with browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB") as made:
        made.set_default_timeout(_PATIENCE_MS)
        yield made


@pytest.fixture
def watched(context: BrowserContext) -> Iterator[Watched]:
    """Watches the pages of the browser. At the end none may have asked another host, failed, or been refused by its own policy.

    That a request was refused is in the browser's log whatever the page makes of it, and no complaint.
    """
    found = Watched(set(), [])
    context.on("request", lambda request: found.hosts.add(urlsplit(request.url).netloc))
    context.on("weberror", lambda error: found.complaints.append(str(error.error)))
    context.on(
        "console",
        lambda said: (
            found.complaints.append(said.text)
            if said.type in ("error", "warning") and "Failed to load resource" not in said.text
            else None
        ),
    )
    yield found
    assert len(found.hosts) == 1
    assert not found.complaints


@pytest.fixture
def page(context: BrowserContext, watched: Watched) -> Page:
    """A page that is watched."""
    assert watched is not None
    return context.new_page()

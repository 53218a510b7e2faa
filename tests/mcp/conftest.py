"""A server in this process with a client of the library's own, and a database to ask."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

import outcrop
from outcrop import Config, Database, Document

LONG = "Granite is hard. " + "It cools slowly, deep below. " * 400
ROCKS = [
    Document("docs/slate.md", "Slate splits into thin layers.", title="Slate", source="docs/slate.md", metadata={"year": 2020}),
    Document("sand", "Rivers carry sand and layers of mud to the sea.", metadata={"year": 2024}),
    Document("granite", LONG, title="Granite", metadata={"year": 2024, "remark": "r" * 2_000}),
]

Use = Callable[[Any], Coroutine[Any, Any, Any]]
Ask = Callable[..., Any]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that nobody changes, with the collections `rocks`, active, and `river`, which has nothing active."""
    folder = tmp_path_factory.mktemp("mcp") / "kb"
    with outcrop.open(folder, config=Config.test()) as db:
        db.create_collection("rocks", embedder="hashing:64", chunker="none").build(ROCKS, promote=True)
        db.create_collection("river", embedder="none").build(ROCKS[1:2])
    return folder


@pytest.fixture
def kb(built: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return shutil.copytree(built, tmp_path / "kb", symlinks=True)


@pytest.fixture(scope="session")
def reader(built: Path) -> Iterator[Database]:
    with outcrop.open(built, config=Config.test(), read_only=True) as db:
        yield db


@pytest.fixture
def ask(reader: Database) -> Ask:
    """Runs a coroutine function with a client of a server that only reads: `ask(lambda client: client.list_tools())`."""
    return lambda use, mode="auto": talk(reader, use, mode=mode)


@pytest.fixture
def ask_kb(kb: Path) -> Iterator[Ask]:
    """As `ask`, of `kb`."""
    with outcrop.open(kb, config=Config.test(), read_only=True) as db:
        yield lambda use, mode="auto": talk(db, use, mode=mode)


@pytest.fixture
def ask_writer(kb: Path) -> Iterator[Ask]:
    """As `ask`, of `kb`, by a server that may write."""
    with outcrop.open(kb, config=Config.test()) as db:
        yield lambda use, mode="auto": talk(db, use, mode=mode, allow_write=True)


def talk(db: Database, use: Use, *, mode: str = "auto", allow_write: bool = False) -> Any:
    """What the coroutine gives or raises: outside of the client's task group, which would wrap an error."""
    from mcp import Client

    from outcrop.surfaces.mcp.server import mcp_server

    async def main() -> Any:
        async with Client(mcp_server(db, allow_write=allow_write), mode=mode) as client:
            return (await asyncio.gather(use(client), return_exceptions=True))[0]

    outcome = asyncio.run(main())
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome

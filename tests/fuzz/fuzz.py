"""A server that is asked by clients of bad will: `make fuzz`.

Three parts, each bounded in count and time, all from fixed seeds:

- Schemathesis reads the server's OpenAPI document and asks what follows from it, with all of its checks: no error of the server,
  no answer that the document does not tell of.
- 100,000 malformed requests (wrong values, huge numbers, deep JSON, bad UTF-8, broken HTTP, slow senders, clients that leave) while
  a steady client goes on searching, which is answered rightly all the time.
- The client of the MCP server that sends anything at all (`tests/mcp/test_fuzzed_client.py`), with more examples.

It fails on a status of 500 or more but for 503 and 504, which say "later", on a search of the steady client that fails, and on a
server that ends.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np

import outcrop
from outcrop import Config, Document
from tests.fuzz.malformed import Sent, request

REQUESTS = 100_000
EXAMPLES = 50
CLIENTS = 16
STEADY_PAUSE_SECONDS = 0.02
BEFORE_SECONDS = 10.0
ANSWER_SECONDS_MAX = 60.0
SCHEMA_SECONDS_MAX = 900
MCP_EXAMPLES = 1000
LATER = (503, 504)
WORDS = "basalt granite schist chalk shale gneiss marble slate tuff flint".split()


class Steady(NamedTuple):
    """What the steady client saw: milliseconds of its searches, and what went wrong."""

    took_ms: tuple[float, ...]
    wrong: tuple[str, ...]


class Server(NamedTuple):
    """The command `serve`."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def memory_mb(self) -> float:
        """What its processes hold, in MB; pages of files are not counted."""
        pids = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return sum(map(_anonymous_kb, (self.process.pid, *map(int, pids)))) / 1000


def _anonymous_kb(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


def made(folder: Path) -> None:
    """A database with the collection that is abused and the one that the steady client asks."""
    rng = random.Random(1)
    with outcrop.open(folder, config=Config.mvp_only()) as db:
        for name, count in (("fuzzed", 200), ("steady", 2000)):
            documents = [Document(f"d-{one}", " ".join(rng.choices(WORDS, k=30)), metadata={"year": one}) for one in range(count)]
            db.create_collection(name, embedder="hashing:64").build(documents, promote=True)


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """The server, until the end of the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "outcrop", "serve", str(folder), "--port", str(port), "--mode", "mvp_only", "--no-access-log"]
    with (folder.parent / "server.log").open("wb") as log:
        server = Server(port, subprocess.Popen(command, stdout=log, stderr=log))
        try:
            while not _is_live(server):
                time.sleep(0.1)
            yield server
        finally:
            server.process.send_signal(signal.SIGTERM)
            server.process.wait(timeout=90)


def _is_live(server: Server) -> bool:
    if server.process.poll() is not None:
        raise SystemExit("the server has ended")
    try:
        return httpx.get(f"{server.address}/livez").status_code == 200
    except httpx.TransportError:
        return False


def schema(server: Server, program: str, examples: int, *, scratch: str) -> bool:
    """Whether Schemathesis finds nothing."""
    folder, phases = Path(__file__).parent, {"schemathesis.toml": "examples,coverage,fuzzing", "stateful.toml": "stateful"}
    found = []
    for file, chosen in phases.items():
        command = [
            str(Path(program).absolute()),
            "--config-file",
            str(folder / file),
            "run",
            f"{server.address}/v1/openapi.json",
            "--no-color",
        ]
        command += ["--phases", chosen, "--max-examples", str(examples), "--seed", "1", "--workers", "2"]
        where = os.environ | {"PYTHONPATH": str(folder)}  # of `lines`, which the files name
        found.append(subprocess.run(command, env=where, timeout=SCHEMA_SECONDS_MAX, cwd=scratch, check=False).returncode)
    return not any(found)


def steady(address: str, stop: Event, told: multiprocessing.SimpleQueue[Steady]) -> None:
    """Search every 20 ms, as long as nobody says stop."""
    took, wrong, rng = [], [], random.Random(2)
    with httpx.Client(base_url=address, timeout=ANSWER_SECONDS_MAX) as client:
        while not stop.is_set():
            began = time.perf_counter()
            try:
                found = client.post("/v1/collections/steady/search", json={"query": rng.choice(WORDS), "k": 5, "cache": False})
                if found.status_code != 200 or len(found.json()["hits"]) != 5:
                    wrong.append(f"{found.status_code} {found.text[:200]}")
            except httpx.TransportError as error:
                wrong.append(repr(error))
            took.append((time.perf_counter() - began) * 1e3)
            time.sleep(STEADY_PAUSE_SECONDS)
    told.put(Steady(tuple(took), tuple(wrong)))


@contextmanager
def watched(server: Server) -> Iterator[list[Steady]]:
    """The steady client beside the block; what it saw is in the list afterwards."""
    context, found = multiprocessing.get_context("spawn"), list[Steady]()
    stop, told = context.Event(), context.SimpleQueue()
    client = context.Process(target=steady, args=(server.address, stop, told))
    client.start()
    try:
        yield found
    finally:
        stop.set()
        found.append(told.get())
        client.join()


async def abused(server: Server, count: int) -> collections.Counter[tuple[str, str]]:
    """How the malformed requests were answered: how often by kind and status."""
    answered: collections.Counter[tuple[str, str]] = collections.Counter()
    dice, left = random.Random(3), iter(range(count))

    async def client() -> None:
        for _ in left:
            sent = request(dice)
            answered[sent.kind, await _asked(server.port, sent)] += 1

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return answered


async def _asked(port: int, sent: Sent) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
    try:
        for number, piece in enumerate(sent.pieces):
            await asyncio.sleep(sent.pause_seconds if number else 0)
            writer.write(piece)
            await writer.drain()
        if not sent.pieces[-1]:
            return "left"
        if sent.is_broken:
            writer.write_eof()  # or the server would wait for the rest of it
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            line = await reader.readline()
        return line.split(b" ")[1].decode("latin-1") if line.startswith(b"HTTP/1") else "hung up"
    except TimeoutError:
        return "no answer"
    except (OSError, ValueError):
        return "hung up"
    finally:
        writer.transport.abort()


def malformed(server: Server, count: int) -> bool:
    """Whether the server stood what it was sent."""
    with watched(server) as before:
        time.sleep(BEFORE_SECONDS)
    memory, began = server.memory_mb(), time.monotonic()
    with watched(server) as during:
        answered = asyncio.run(abused(server, count))
    seconds = time.monotonic() - began
    by_status: collections.Counter[str] = collections.Counter()
    for (_, status), times in answered.items():
        by_status[status] += times
    print(f"{count} malformed requests in {seconds:.0f} s: {dict(sorted(by_status.items()))}")
    for kind in sorted({kind for kind, _ in answered}):
        print(f"  {kind}: {dict(sorted((status, times) for (one, status), times in answered.items() if one == kind))}")
    for name, (seen,) in (("before", before), ("during", during)):
        middle, high = np.percentile(seen.took_ms, (50, 95))
        took = f"p50 {middle:.1f} ms, p95 {high:.1f} ms"
        print(f"the steady client {name}: {len(seen.took_ms)} searches, {took}, wrong {len(seen.wrong)}")
    print(f"the server's memory: {memory:.0f} MB before, {server.memory_mb():.0f} MB after")
    wrong = [
        status
        for status in by_status
        if status == "no answer" or (status.isdigit() and int(status) >= 500 and int(status) not in LATER)
    ]
    for one in (*before[0].wrong, *during[0].wrong)[:5]:
        print(f"wrong: {one}")
    return not wrong and not before[0].wrong and not during[0].wrong and _is_live(server)


def mcp() -> bool:
    """Whether the fuzzed client of the MCP server finds nothing."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/mcp/test_fuzzed_client.py"]
    return subprocess.run(command, env=os.environ | {"FUZZED_CALLS": str(MCP_EXAMPLES)}, check=False).returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Ask a server what no honest client would.")
    parser.add_argument("--schemathesis", default=".venv-fuzz/bin/schemathesis", help="its program")
    parser.add_argument("--requests", type=int, default=REQUESTS, help="how many malformed requests")
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="how many examples of each operation")
    parser.add_argument("--only", choices=("schema", "malformed", "mcp"), help="one of the parts")
    chosen = parser.parse_args()
    well = {}
    with tempfile.TemporaryDirectory(prefix="outcrop-fuzz-") as scratch:
        folder = Path(scratch) / "kb"
        made(folder)
        if chosen.only in (None, "malformed"):
            with serving(folder) as server:
                well["malformed"] = malformed(server, chosen.requests)
        if chosen.only in (None, "schema"):
            with serving(folder) as server:
                well["schema"] = schema(server, chosen.schemathesis, chosen.examples, scratch=scratch)
        log = Path(scratch) / "server.log"
        if log.exists() and not all(well.values()):
            print(log.read_text(errors="replace")[-5000:])
    if chosen.only in (None, "mcp"):
        well["mcp"] = mcp()
    print("; ".join(f"{name}: {'well' if is_well else 'NOT WELL'}" for name, is_well in well.items()))
    return 0 if all(well.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())

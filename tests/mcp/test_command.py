"""`outcrop mcp` as a program: the standard streams, HTTP on loopback, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

pytest.importorskip("mcp", reason="the extra 'mcp' is not installed")
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.types import INVALID_PARAMS, INVALID_REQUEST, PARSE_ERROR
from typer.testing import CliRunner, Result

import outcrop
from outcrop import Config
from outcrop.errors import InvalidInput
from outcrop.surfaces.cli.app import app
from outcrop.surfaces.mcp import loopback

PROGRAM = (sys.executable, "-m", "outcrop", "--mode", "test")
WAIT = 60


class Serving(NamedTuple):
    """The program, and what it said when it began to serve."""

    process: subprocess.Popen[str]
    said: str

    def answer(self, line: str) -> dict[str, Any]:
        """The next line that it writes, after this one."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def opened(self) -> dict[str, Any]:
        """The answer to the handshake."""
        about = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        return self.asked(1, "initialize", **about)

    def asked(self, number: int, method: str, **params: Any) -> dict[str, Any]:
        """The result of a request."""
        answer = self.answer(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}))
        assert answer["id"] == number
        result: dict[str, Any] = answer["result"]
        return result


@contextmanager
def serving(*arguments: object) -> Iterator[Serving]:
    command, pipe = [*PROGRAM, "mcp", *map(str, arguments)], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, encoding="utf-8") as process:
        watching = threading.Timer(WAIT, process.kill)  # an answer that does not come must not be waited for
        watching.start()
        try:
            assert process.stderr
            said = process.stderr.readline()
            assert said.startswith("outcrop mcp: "), said
            yield Serving(process, said)
        finally:
            watching.cancel()
            process.kill()


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_client_that_starts_the_program_gets_answers(built: Path, mode: str) -> None:
    environ = {name: value for name, value in os.environ.items() if name.startswith(("PYTHON", "COV"))}
    server = StdioServerParameters(command=PROGRAM[0], args=[*PROGRAM[1:], "--db", str(built), "mcp"], env=environ)

    async def main() -> list[Any]:
        async with Client(server, mode=mode) as client:
            tools = (await client.list_tools()).tools
            found = await client.call_tool("search", {"collection": "rocks", "query": "thin layers"})
            wrong = await client.call_tool("search", {"collection": "rock", "query": "x"})
            return [len(tools), found.structured_content["hits"][0]["document_id"], wrong.is_error]

    assert asyncio.run(main()) == [4, "docs/slate.md", True]


@pytest.fixture(scope="module")
def program(built: Path) -> Iterator[Serving]:
    """One for the tests that leave it serving."""
    with serving(built) as one:
        one.opened()
        yield one


@pytest.mark.parametrize(
    ("line", "number", "code"),
    [
        ("this is no JSON", None, PARSE_ERROR),
        ('{"id": ' + "[" * 100_000, None, INVALID_REQUEST),
        ("\n[]", None, INVALID_REQUEST),
        ('{"jsonrpc": "2.0", "id": [], "result": 1}', None, INVALID_REQUEST),
        ('{"jsonrpc": "2.0", "id": 7, "method": "tools/list", "params": [1]}', 7, INVALID_REQUEST),
        ('{"jsonrpc": "2.0", "id": "a", "method": 3}', "a", INVALID_REQUEST),
        ('{"jsonrpc": "2.0", "id": 8, "method": "tools/call", "params": {"name": "find"}}', 8, INVALID_PARAMS),
    ],
)
def test_what_is_no_request_is_answered_and_the_serving_goes_on(
    program: Serving, line: str, number: int | str | None, code: int
) -> None:
    answer = program.answer(line)
    assert (answer["id"], answer["error"]["code"]) == (number, code)
    assert program.asked(9, "ping") == {}


def test_noise_is_answered_line_by_line_and_the_serving_goes_on(program: Serving) -> None:
    chance = random.Random(7)
    call = {"name": "search", "arguments": {"collection": "rocks", "query": "layers"}}
    good = json.dumps({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": call}).encode()
    cut = [good[: chance.randrange(1, len(good))] for _ in range(100)]
    noise = [bytes(chance.choices(range(33, 256), k=chance.randrange(1, 80))) for _ in range(100)]
    assert program.process.stdin
    program.process.stdin.buffer.write(b"\n".join([*cut, *noise, b""]))
    wrong = [program.answer("") for _ in range(200)]
    assert {(one["id"], one["error"]["code"]) for one in wrong} <= {(None, PARSE_ERROR), (None, INVALID_REQUEST)}
    assert program.asked(3, "tools/call", **call)["structuredContent"]["generation"] == 1


def test_the_end_of_the_input_ends_it_and_nothing_but_the_protocol_was_written(built: Path) -> None:
    with serving(built) as one:
        assert one.opened()["serverInfo"]["name"] == "outcrop"
        output, errors = one.process.communicate(timeout=WAIT)
        assert (one.process.returncode, output, errors) == (0, "", "")


def test_a_client_that_reads_no_more_ends_it(built: Path) -> None:
    with serving(built) as one:
        assert one.process.stdin
        assert one.process.stdout
        assert one.process.stderr
        one.process.stdout.close()
        one.process.stdin.write('{"jsonrpc": "2.0", "id": 1, "method": "ping"}\n')
        one.process.stdin.flush()
        assert one.process.wait(WAIT) == 0
        assert one.process.stderr.read() == ""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_it_while_it_waits_for_a_line(built: Path, number: signal.Signals, code: int) -> None:
    with serving(built) as one:
        one.opened()
        one.process.send_signal(number)
        assert one.process.wait(WAIT) == code


def test_a_write_that_was_answered_is_there_after_the_end(kb: Path) -> None:
    with serving(kb, "--allow-write") as program:
        program.opened()
        asked = {"collection": "rocks", "document_ids": ["sand"]}
        done = program.asked(2, "tools/call", name="delete", arguments=asked)
        assert done["structuredContent"]["deleted"] == 1
    with outcrop.open(kb, config=Config.test(), read_only=True) as db:
        assert [one.id for one in db.collection("rocks").get(["sand", "granite"])] == ["granite"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to end it with")
def test_it_serves_over_http_on_this_machine_and_not_under_other_names(built: Path) -> None:
    with serving(built, "--http", "127.0.0.1:0") as program:
        url = program.said.split(" at ")[1].partition(",")[0]

        async def main() -> str:
            async with Client(url) as client:
                found = await client.call_tool("search", {"collection": "rocks", "query": "thin layers"})
                return str(found.structured_content["hits"][0]["document_id"])

        assert asyncio.run(main()) == "docs/slate.md"
        asked = b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}'
        kind = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
        for headers, status in (
            ({"host": "elsewhere.example"}, 421),
            ({"host": "localhost.elsewhere.example:80"}, 421),
            ({"origin": "https://elsewhere.example"}, 403),
            ({"origin": "null"}, 403),
            ({"origin": "http://localhost.elsewhere.example"}, 403),
            ({"content-type": "text/plain"}, 400),
            ({"content-length": str(2**40)}, 413),
        ):
            with pytest.raises(HTTPError) as refused:
                urlopen(Request(url, data=asked, headers=kind | headers))
            refused.value.close()
            assert refused.value.code == status, headers
        program.process.terminate()
        assert program.process.wait(WAIT) == 0


def test_a_port_that_is_taken_is_refused() -> None:
    with loopback.listening("127.0.0.1", 0) as place, pytest.raises(InvalidInput, match="Take another port"):
        loopback.listening("127.0.0.1", place.getsockname()[1])


@pytest.fixture
def cli(built: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("OUTCROP_DB", str(built))
    return lambda *arguments: CliRunner().invoke(app, ["mcp", *arguments], prog_name="outcrop")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--http", "0.0.0.0:8765"], 3, "asks for no key"),
        (["--http", "8765"], 2, "HOST:PORT"),
        (["--http", "127.0.0.1:70000"], 2, "HOST:PORT"),
        (["one", "--db", "two"], 2, "two folders"),
        (["nowhere"], 4, "no database at nowhere"),
        (["nowhere", "--allow-write"], 4, "no database at nowhere"),
    ],
)
def test_what_cannot_be_served_is_refused(cli: Callable[..., Result], arguments: list[str], code: int, said: str) -> None:
    done = cli(*arguments)
    assert done.exit_code == code
    assert said in done.stderr
    assert done.stdout == ""


def test_without_the_library_it_says_what_to_install(cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("outcrop.surfaces.mcp")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mcp", None)
    done = cli()
    assert done.exit_code == 7
    assert "pip install 'outcrop[mcp]'" in done.stderr

"""Requests that no honest client sends, made from a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import quote

_ROCK = "/v1/collections/fuzzed"
_JSON = "application/json"
_NDJSON = "application/x-ndjson"
# What is right, to be spoiled. Nothing here touches the collection that the steady client asks.
_BODIES: dict[str, dict[str, object]] = {
    f"{_ROCK}/search": {"query": "slate", "k": 3, "offset": 0, "where": "year > 3", "fusion": {"method": "rrf"}, "explain": True},
    f"{_ROCK}/search/batch": {"queries": ["slate", "granite"], "k": 2, "mode": "lexical"},
    f"{_ROCK}/documents": {"documents": [{"id": "x", "text": "a slate", "metadata": {"year": 5}, "vector": None}]},
    f"{_ROCK}/documents/get": {"ids": ["x", "y"]},
    f"{_ROCK}/documents/delete": {"ids": ["x"], "where": None},
    f"{_ROCK}/rollback": {"to": 1, "dry_run": True},
    f"{_ROCK}/generations/1/promote": {"force": False},
    "/v1/collections": {"name": "fuzzed-2", "embedder": "none"},
}
_PATHS = (
    *_BODIES,
    _ROCK,
    f"{_ROCK}/documents/x",
    f"{_ROCK}/generations",
    f"{_ROCK}/history",
    "/health",
    "/metrics",
    "/v1/problems",
)
_ODD: tuple[str, ...] = (
    "1e999",
    "-1e999",
    "1" * 400,
    "-" + "9" * 5000,
    "NaN",
    "Infinity",
    "0.1e-400",
    "1e308",
    "-0",
    "01",
    "18446744073709551616",
    '"\\ud800"',
    '"\\u0000"',
    '""',
    "null",
    "true",
    "[]",
    "{}",
    "[" * 500,
    "[[[[[[1]]]]]]",
    '{"a":' * 200 + "1" + "}" * 200,
    '"' + "q" * 200_000 + '"',
    '{"$and": [{"a": 1}]}',
    '{"a": {"$gt": "x"}}',
    '"NOT NOT NOT a = 1"',
    '"' + "(" * 3000 + '"',
    '"a IN (' + "1," * 2000 + '1)"',
    '"../.."',
    '"rocks\\u202e"',
    "[1e400]",
    '[null, 5, "x"]',
    '"lexical"',
    '"hybrid"',
    "0.5",
    "9223372036854775808",
    '{"a": 1, "a": 2}',
    "--1",
    "'x'",
)
_ODD_PATHS = (
    "/v1/collections/%2e%2e/search?q=x",
    "/v1/collections/fuzzed%00?q=x",
    "/v1/collections/" + "a" * 5000,
    "//",
    "/v1//collections///fuzzed/history",
    f"{_ROCK}/search?q=%ff%fe",
    f"{_ROCK}/search?q=x&k=1e9",
    f"{_ROCK}/search?q=x&k=" + "9" * 5000,
    f"{_ROCK}/search?q=%00",
    "/%",
    "/%zz",
    f"{_ROCK}/search?" + "&".join(f"a{number}=1" for number in range(2000)),
    f"{_ROCK}/documents/" + "%f0%9f%aa%a8" * 200,
    "/" + "x/" * 3000,
    f"{_ROCK}/generations/{'9' * 5000}/promote",
    f"{_ROCK}/generations/-1/promote",
    f"{_ROCK}/generations/1_0/promote",
    "/?" + "x" * 30_000,
    f"{_ROCK}/documents/%00",
    f"{_ROCK}/documents/../../x",
    f"{_ROCK}/search?q=x&where=" + quote("(" * 4000),
    f"{_ROCK}/search?q=x&mode=%ed%a0%80",
)
_BROKEN: tuple[bytes, ...] = (
    b"\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET / HTTP/1.1\r\nhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: localhost\r\nx y: 1\r\n\r\n",
    b"GET / HTTP/1.1\r\n : \r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 200,
    b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
    b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n\r\n",
    b"GET /\x00 HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\nx",
    b"GET / HTTP/1.1\r\nhost: " + b"\xff" * 50 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 200 + b"\r\n",
    b"GET / HTTP/1.1\r\nx: " + b"z" * 200_000 + b"\r\n\r\n",
    b"\x00" * 1000,
    b"GET  /  HTTP/1.1\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 200-ok\r\ncontent-length: 1\r\n\r\n",
    b"CONNECT evil.example:443 HTTP/1.1\r\nhost: localhost\r\n\r\n",
)


class Sent(NamedTuple):
    """What is sent: pieces, with a pause before each but the first. After an empty one the client leaves."""

    kind: str
    pieces: tuple[bytes, ...]
    pause_seconds: float = 0.0
    is_broken: bool = False


def request(dice: random.Random) -> Sent:
    """The next one."""
    make: Callable[[random.Random], Sent] = dice.choices(_KINDS, _WEIGHTS)[0]
    return make(dice)


def _head(method: str, path: str, *, kind: str = _JSON, length: int | None = None, more: str = "") -> bytes:
    told = "" if length is None else f"content-length: {length}\r\n"
    kind = f"content-type: {kind}\r\n" if kind else ""
    return f"{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{kind}{told}{more}\r\n".encode(errors="replace")


def _posted(name: str, path: str, content: bytes, *, kind: str = _JSON) -> Sent:
    return Sent(name, (_head("POST", path, kind=kind, length=len(content)) + content,))


def _wrong_values(dice: random.Random) -> Sent:
    """A good body in which a value, anywhere, is something else."""
    path = dice.choice(list(_BODIES))
    mark = "\x01"
    fields = dict(_BODIES[path])
    name = dice.choice([*fields, "unknown", "generation", "vector", "candidates", "per_document", "mode"])
    value = fields.get(name)
    if isinstance(value, list) and value and isinstance(value[0], dict) and dice.random() < 0.7:
        inner = dict(value[0])
        inner[dice.choice([*inner, "title", "source", "other"])] = mark
        fields[name] = [inner]
    else:
        fields[name] = [mark] if isinstance(value, list) and dice.random() < 0.5 else mark
    content = json.dumps(fields).replace(json.dumps(mark), dice.choice(_ODD))
    return _posted("wrong values", path, content.encode())


def _cut(dice: random.Random) -> Sent:
    """A body that ends too early, or has bytes changed."""
    path = dice.choice(list(_BODIES))
    content = bytearray(json.dumps(_BODIES[path]).encode())
    for _ in range(dice.randrange(1, 5)):
        content[dice.randrange(len(content))] = dice.randrange(256)
    return _posted("changed bytes", path, bytes(content[: dice.randrange(len(content) + 1)]))


def _deep(dice: random.Random) -> Sent:
    depth = dice.choice((50, 1000, 100_000))
    opening = dice.choice(('{"where":', "[", '{"a":[', '{"query": "x", "where": {"$and": ['))
    return _posted("deep", dice.choice(list(_BODIES)), (opening * depth).encode())


def _lines(dice: random.Random) -> Sent:
    """NDJSON with a line that cannot be used."""
    good = b'{"id": "l-%d", "text": "pebble"}'
    lines = [good % dice.randrange(1000) for _ in range(dice.randrange(4))]
    lines.insert(dice.randrange(len(lines) + 1), dice.choice(_ODD).encode()[:20_000] + dice.randbytes(dice.randrange(8)))
    return _posted("bad lines", f"{_ROCK}/documents", b"\n".join(lines), kind=_NDJSON)


def _odd_path(dice: random.Random) -> Sent:
    path = dice.choice((*_ODD_PATHS, "/" + quote(dice.randbytes(dice.randrange(1, 40)))))
    return Sent("odd addresses", (_head(dice.choice(("GET", "HEAD", "OPTIONS", "POST", "DELETE")), path, kind=""),))


def _odd_method(dice: random.Random) -> Sent:
    method = dice.choice(("PUT", "PATCH", "TRACE", "PURGE", "M" + str(dice.randrange(10**6)), "OPTIONS", "HEAD"))
    more = dice.choice(
        (
            "origin: null\r\n",
            "authorization: Bearer oc_x\r\n",
            "if-none-match: \xff\r\n",
            "x-request-id: \t!\r\n",
            "accept: */*;q=x\r\n",
        )
    )
    return Sent("odd methods and headers", (_head(method, dice.choice(_PATHS), more=more),))


def _other_kind(dice: random.Random) -> Sent:
    kind = dice.choice(
        ("text/plain", "", "application/x-www-form-urlencoded", "multipart/form-data", "application/\xff", ";;;", "a" * 2000)
    )
    return _posted("other kinds of body", dice.choice(list(_BODIES)), dice.randbytes(dice.randrange(200)), kind=kind)


def _broken(dice: random.Random) -> Sent:
    content = dice.choice(_BROKEN) if dice.random() < 0.7 else dice.randbytes(dice.randrange(1, 400))
    return Sent("broken HTTP", (content,), is_broken=True)


def _left(dice: random.Random) -> Sent:
    """A client that leaves before it has sent everything, or before it is answered."""
    path, content = dice.choice(list(_BODIES.items()))
    whole = _head("POST", path, length=len(json.dumps(content))) + json.dumps(content).encode()
    return Sent("left early", (whole[: dice.randrange(1, len(whole) + 1)], b""))


def _slow(dice: random.Random) -> Sent:
    path, kind = dice.choice(((f"{_ROCK}/search", _JSON), (f"{_ROCK}/documents", _NDJSON)))
    content = b'{"query": "slate"}' if kind == _JSON else b'{"id": "s", "text": "slow"}'
    return Sent(
        "slow bodies", (_head("POST", path, kind=kind, length=len(content)), content[:5], content[5:]), dice.uniform(0.1, 1.0)
    )


_KINDS = (_wrong_values, _cut, _deep, _lines, _odd_path, _odd_method, _other_kind, _broken, _left, _slow)
_WEIGHTS = (30, 12, 4, 8, 14, 8, 8, 8, 5, 0.4)

"""What is done around every request, tried with a real server and bytes of our own."""

from __future__ import annotations

import gzip
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from outcrop.surfaces.keys import Keys
from tests.http.conftest import made, served

_ROCK = "/v1/collections/rocks"
_SLATE = f"{_ROCK}/search?q=slate"


def raw(client: httpx.Client, *lines: str, body: bytes = b"") -> tuple[int, bytes]:
    """The status and everything that the server answers to these lines; 0 if it just hangs up."""
    with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=20) as line:
        line.sendall("\r\n".join((*lines, "connection: close", "", "")).encode("latin-1") + body)
        found = b"".join(iter(lambda: line.recv(65536), b""))
    return (int(found.split(b" ", 2)[1]) if found.startswith(b"HTTP/1") else 0), found


def test_head_is_get_without_the_body(running: httpx.Client) -> None:
    for path in ("/livez", _SLATE, f"{_ROCK}/documents/slate"):
        head, get = running.head(path), running.get(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"] == get.headers["content-type"]
    assert running.head("/nothing").status_code == 404
    assert running.head(f"{_ROCK}/rollback").status_code == 405


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/livez", "GET, HEAD, OPTIONS"),
        (_ROCK, "DELETE, GET, HEAD, OPTIONS"),
        ("/v1/collections", "GET, HEAD, OPTIONS, POST"),
        (f"{_ROCK}/search", "GET, HEAD, OPTIONS, POST"),
        (f"{_ROCK}/rollback", "OPTIONS, POST"),
        (f"{_ROCK}/documents/slate", "DELETE, GET, HEAD, OPTIONS"),
    ],
)
def test_options_and_405_name_every_method_of_a_path(running: httpx.Client, path: str, allowed: str) -> None:
    asked = running.options(path)
    assert (asked.status_code, asked.headers["allow"]) == (204, allowed)
    refused = running.patch(path)
    assert (refused.status_code, refused.headers["allow"]) == (405, allowed)


@pytest.mark.parametrize(
    "document_id",
    [
        "https://example.com/a//b?c=1#d",
        "get",
        "get/it",
        "delete",
        "delete/it",
        "a/",
        "/a",
        "a//b",
        "..",
        "../x",
        "%41",
        "ä b+c",
        "-",
    ],
)
def test_any_id_is_read_and_taken_out_by_its_address(running: httpx.Client, document_id: str) -> None:
    running.post(f"{_ROCK}/documents", json={"documents": [{"id": document_id, "text": "x"}]}).raise_for_status()
    escaped = "".join(f"%{byte:02x}" for byte in document_id.encode())
    address = httpx.URL(str(running.base_url)).copy_with(raw_path=f"{_ROCK}/documents/{escaped}".encode())

    assert running.get(address).json()["id"] == document_id
    assert running.delete(address).json()["deleted"] == 1
    assert running.get(address).status_code == 404


def test_an_id_may_be_written_as_it_is(running: httpx.Client) -> None:
    running.post(f"{_ROCK}/documents", json={"documents": [{"id": "http://x/y", "text": "x"}]}).raise_for_status()
    status, answer = raw(running, f"GET {_ROCK}/documents/http://x/y HTTP/1.1", "host: localhost")
    assert (status, b'"id":"http://x/y"' in answer) == (200, True)
    assert raw(running, f"DELETE {_ROCK}/documents/http://x/y HTTP/1.1", "host: localhost")[0] == 200
    assert raw(running, f"GET {_ROCK}/documents/%ff%fe HTTP/1.1", "host: localhost")[0] == 400


@pytest.mark.parametrize(
    ("coding", "is_compressed"),
    [("gzip", True), ("br, gzip;q=0.5", True), ("*", True), ("gzip;q=0", False), ("identity", False), ("", False)],
)
def test_long_answers_are_compressed_for_those_who_take_it(running: httpx.Client, coding: str, is_compressed: bool) -> None:
    found = running.get("/v1/openapi.json", headers={"accept-encoding": coding})

    assert ("content-encoding" in found.headers) is is_compressed
    assert "Accept-Encoding" in found.headers["vary"]
    assert found.json()["openapi"]
    assert "content-encoding" not in running.get("/livez", headers={"accept-encoding": coding}).headers


def test_compressed_or_not_an_answer_has_one_weak_tag(running: httpx.Client) -> None:
    tags = {running.get(_SLATE, headers={"accept-encoding": coding}).headers["etag"] for coding in ("gzip", "identity")}
    (tag,) = tags
    strong = tag.removeprefix("W/")

    assert tag.startswith('W/"')
    for known in (tag, strong, f'"other", {tag}', f"{strong},{strong}", "*"):
        again = running.get(_SLATE, headers={"if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    for other in ('"other"', strong[:-1], tag.replace(".", ""), ""):
        assert running.get(_SLATE, headers={"if-none-match": other}).status_code == 200


def test_caches_keep_nothing_but_simple_searches_and_ask_before_they_give_them(running: httpx.Client) -> None:
    assert running.get(_SLATE).headers["cache-control"] == "no-cache"
    assert running.get(_SLATE, headers={"authorization": "Bearer x"}).headers["cache-control"] == "private, no-cache"
    assert "Authorization" in running.get(_SLATE).headers["vary"]
    for path in ("/livez", "/health", "/metrics", f"{_ROCK}/documents/slate", f"{_ROCK}/documents/none", "/nothing"):
        found = running.get(path)
        assert (found.headers["cache-control"], found.headers["x-content-type-options"]) == ("no-store", "nosniff"), path


def test_addresses_and_headers_have_limits(running: httpx.Client) -> None:
    assert running.get(f"{_ROCK}/search", params={"q": "x " * 10_000}).status_code == 414
    assert running.get(f"{_ROCK}/search", params={"q": "x " * 5_000}).status_code == 200
    assert running.get(_SLATE, headers={"x-long": "x" * 70_000}).status_code == 431
    refused = running.get("/" + "x" * 20_000)
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["instance"] == f"urn:request:{refused.headers['x-request-id']}"


@pytest.mark.parametrize("method", ["PURGE", "X" * 100, "get", "TRACE"])
def test_a_method_that_somebody_has_invented_is_counted_with_the_others(running: httpx.Client, method: str) -> None:
    assert raw(running, f"{method} {_ROCK} HTTP/1.1", "host: localhost")[0] in (400, 405)
    assert f'method="{method}"' not in running.get("/metrics").text


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "", "http://localhost.evil.example:1", "http://127.0.0.1"])
def test_a_page_of_another_site_may_ask_nothing(running: httpx.Client, origin: str) -> None:
    """A browser sends it a POST without a kind of body at once, and with it the origin."""
    for method, path in (("GET", _SLATE), ("POST", f"{_ROCK}/rollback"), ("POST", f"{_ROCK}/documents/delete")):
        refused = running.request(
            method, path, content=b'{"ids": ["slate"]}' if path.endswith("delete") else b"", headers={"origin": origin}
        )
        assert refused.status_code == 403, path
    assert running.get(f"{_ROCK}/documents/slate").status_code == 200
    assert running.get(_SLATE, headers={"origin": str(running.base_url)}).status_code == 200


@pytest.mark.parametrize(
    ("host", "wanted"),
    [
        ("localhost", 200),
        ("LOCALHOST:7700", 200),
        ("127.0.0.1", 200),
        ("127.9.9.9:1", 200),
        ("[::1]", 200),
        ("[::1]:7700", 200),
        ("localhost.evil.example", 403),
        ("localhost:7700.evil.example", 403),
        ("evil.example[::1]", 403),
        ("[::1].evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("evil.example@localhost", 403),
        ("0.0.0.0", 403),
        ("2130706433", 403),
        ("[::ffff:8.8.8.8]", 403),
        ("[::1", 403),
        ("", 403),
    ],
)
def test_only_this_machines_names_lead_here(running: httpx.Client, host: str, wanted: int) -> None:
    status, answer = raw(running, f"GET {_SLATE} HTTP/1.1", f"host: {host}")
    assert status == wanted, answer


def test_requests_of_other_forms(running: httpx.Client) -> None:
    assert raw(running, f"GET {_SLATE} HTTP/1.1")[0] in (400, 403)
    assert raw(running, f"GET {_SLATE} HTTP/1.0")[0] == 403
    assert raw(running, f"GET {_SLATE} HTTP/1.0", "host: localhost")[0] == 200
    assert raw(running, f"GET http://evil.example{_SLATE} HTTP/1.1", "host: evil.example")[0] == 403
    assert raw(running, "OPTIONS * HTTP/1.1", "host: localhost")[0] in (204, 404)


@pytest.mark.parametrize(
    "length",
    [
        "-1",
        "x",
        "1, 2",
        "99999999999999999999999999",
        "1\r\ncontent-length: 2",
        "0x10",
        "+1",
        "",
    ],
)
def test_a_length_that_lies_is_refused(running: httpx.Client, length: str) -> None:
    status, answer = raw(
        running, f"POST {_ROCK}/search HTTP/1.1", "host: localhost", "content-type: application/json", f"content-length: {length}"
    )
    assert 400 <= status < 500, answer


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate, gzip", "zstd"])
def test_a_compressed_body_is_refused_in_words(running: httpx.Client, coding: str) -> None:
    content = gzip.compress(b'{"query": "slate"}')
    for path in (f"{_ROCK}/search", f"{_ROCK}/documents"):
        headers = {"content-encoding": coding, "content-type": "application/json"}
        refused = running.post(path, content=content, headers=headers)
        assert (refused.status_code, coding in refused.json()["detail"]) == (415, True)


def test_a_body_says_of_what_kind_it_is(running: httpx.Client) -> None:
    content = b'{"query": "slate"}'
    assert running.post(f"{_ROCK}/search", content=content).status_code == 415
    for kind in ("application/json", "Application/JSON; charset=utf-8"):
        assert running.post(f"{_ROCK}/search", content=content, headers={"content-type": kind}).status_code == 200
    for kind in ("text/plain", "application/jsonx", "text/plain; application/json", "multipart/form-data; boundary=x"):
        assert running.post(f"{_ROCK}/search", content=content, headers={"content-type": kind}).status_code == 415


def test_a_parameter_that_is_not_known_is_named(running: httpx.Client) -> None:
    refused = running.get(f"{_SLATE}&limit=5")
    assert (refused.status_code, "limit" in refused.json()["detail"]) == (400, True)
    assert running.get(f"{_SLATE}&q=granite").status_code == 400


def test_a_batch_has_a_limit_of_hits(running: httpx.Client) -> None:
    refused = running.post(f"{_ROCK}/search/batch", json={"queries": ["slate"] * 1000, "k": 1000})
    assert (refused.status_code, "20000" in refused.json()["detail"]) == (400, True)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, str]]:
    """A server that wants keys, and one that opens another collection than the rocks."""
    folder = made(tmp_path_factory.mktemp("guarded") / "kb")
    key = Keys(folder).create("ores", "admin", ("ores",))
    with served(folder) as client:
        yield client, key


@pytest.mark.parametrize(
    "path",
    [
        "/v1/collections/rocks/search?q=slate",
        "//v1//collections//rocks//search?q=slate",
        "/v1/collections/rocks/search/?q=slate",
        "/v1/collections/%72ocks/search?q=slate",
        "/v1/collections/rocks%2Fsearch?q=slate",
        "/v1%2Fcollections%2Frocks%2Fsearch?q=slate",
        "/v1/collections/ores/../rocks/search?q=slate",
        "/v1/collections/ores%2f..%2frocks/search?q=slate",
        "/v1/collections/ores/%2e%2e/rocks/search?q=slate",
        "/v1/collections/ores;/../rocks/search?q=slate",
        "/v1/collections/rocks%00/search?q=slate",
        "/v1/collections/ores/documents/../../rocks/documents/slate",
        "/v1/collections/ores%2Fdocuments/../rocks/documents/slate",
        "/v1/collections/rocks/documents/slate",
        "/v1/collections/rocks/documents//slate",
        "/livez/../v1/collections/rocks/documents/slate",
        "/livez%2f../v1/collections/rocks/documents/slate",
        "http://127.0.0.1/v1/collections/rocks/documents/slate",
    ],
)
def test_no_spelling_of_an_address_opens_another_collection(guarded: tuple[httpx.Client, str], path: str) -> None:
    client, key = guarded
    for more in ((), (f"authorization: Bearer {key}",)):
        status, answer = raw(client, f"GET {path} HTTP/1.1", "host: localhost", *more)
        assert status in (400, 401, 403, 404, 405)
        assert b"splits" not in answer


def test_a_key_that_is_revoked_ends_the_stream_that_it_began(server: Callable[..., httpx.Client], folder: Path) -> None:
    keys = Keys(folder)
    client, key = server(), keys.create("importer", "write")

    def lines() -> Iterator[bytes]:
        for number in range(100):
            if number == 50:
                keys.revoke("importer")
            yield b'{"id": "d-%d", "text": "pebble"}\n' % number

    headers = {"content-type": "application/x-ndjson", "authorization": f"Bearer {key}"}
    assert client.post(f"{_ROCK}/documents", content=lines(), headers=headers).status_code == 401

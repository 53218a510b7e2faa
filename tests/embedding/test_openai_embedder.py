from __future__ import annotations

import base64
import json
import logging
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

pytest.importorskip("httpx", reason="the extra `openai` is not installed")

from outcrop.embedding import HashingEmbedder, openai_http
from outcrop.embedding.openai import OpenAIEmbedder
from outcrop.embedding.openai_http import RetryPolicy
from outcrop.embedding.protocol import Embedder
from outcrop.errors import EmbeddingFailed

KEY = "sk-granite-0123456789"
QUICK = RetryPolicy(attempts_max=4, first_delay_seconds=0.001, total_seconds=5, timeout_seconds=5)

Answer = tuple[int, dict[str, str], bytes]


class Server:
    """A real HTTP server that embeds by hashing, 64 dimensions or those asked for; `answer` may be replaced."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.answer: Callable[[dict[str, Any]], Answer] = vectors
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.requests.append(request)
                server.headers.append(dict(self.headers))
                server.paths.append(self.path)
                status, headers, body = server.answer(request)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def embedder(self, **arguments: Any) -> OpenAIEmbedder:
        return OpenAIEmbedder("quartz", **{"base_url": self.url, "api_key": KEY, "retry": QUICK, **arguments})

    def stop(self) -> None:
        if not self._thread.is_alive():
            return
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def vectors(request: dict[str, Any]) -> Answer:
    """A good answer, in the encoding asked for, with the items in reverse order."""
    rows = 3 * HashingEmbedder(request.get("dimensions", 64)).embed_documents(request["input"])
    encoded = [
        base64.b64encode(row.astype("<f4").tobytes()).decode() if request["encoding_format"] == "base64" else row.tolist()
        for row in rows
    ]
    data = [{"object": "embedding", "index": index, "embedding": value} for index, value in enumerate(encoded)]
    return (
        200,
        {},
        json.dumps({"object": "list", "data": data[::-1], "model": request["model"], "usage": {"total_tokens": 1}}).encode(),
    )


def failure(status: int, message: str, headers: dict[str, str] | None = None) -> Answer:
    return status, headers or {}, json.dumps({"error": {"message": message, "type": "x", "code": None}}).encode()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    running = Server()
    yield running
    running.stop()


def test_vectors_come_in_the_order_of_the_texts_and_with_length_one(server: Server) -> None:
    texts = ["slate", "", "chalk", " \n", "red sandstone"]
    rows = server.embedder().embed_documents(texts)
    np.testing.assert_allclose(rows, HashingEmbedder(64).embed_documents(texts), atol=1e-6)
    assert rows.dtype == np.float32
    assert server.requests[-1]["input"] == ["slate", "chalk", "red sandstone"]
    assert server.requests[-1]["model"] == "quartz"
    assert server.paths[-1] == "/v1/embeddings"
    assert server.headers[-1]["Authorization"] == f"Bearer {KEY}"


def test_base64_is_asked_for_and_understood(server: Server) -> None:
    server.embedder().embed_query("slate")
    assert {request["encoding_format"] for request in server.requests} == {"base64"}


def test_a_server_that_ignores_base64_and_sends_floats_is_understood(server: Server) -> None:
    server.answer = lambda request: vectors({**request, "encoding_format": "float"})
    np.testing.assert_allclose(server.embedder().embed_query("slate"), HashingEmbedder(64).embed_query("slate"), atol=1e-6)


def test_a_server_that_refuses_base64_is_asked_for_floats_from_then_on(server: Server) -> None:
    server.answer = lambda request: failure(422, "unknown format") if request["encoding_format"] == "base64" else vectors(request)
    embedder = server.embedder()
    np.testing.assert_allclose(embedder.embed_query("slate"), HashingEmbedder(64).embed_query("slate"), atol=1e-6)
    embedder.embed_query("chalk")
    assert [request["encoding_format"] for request in server.requests] == ["base64", "float", "float", "float"]


def test_the_dimension_is_found_by_the_first_request(server: Server) -> None:
    embedder = server.embedder()
    assert server.requests == []
    assert embedder.identity.dimension == 64
    assert embedder.identity.spec == "openai:quartz"
    assert len(server.requests) == 1
    assert isinstance(embedder, Embedder)


def test_dimensions_are_asked_for_and_known_without_a_request(server: Server) -> None:
    embedder = server.embedder(dimensions=16)
    assert embedder.identity.dimension == 16
    assert embedder.identity.spec == "openai:quartz?dimensions=16"
    assert server.requests == []
    assert embedder.embed_query("slate").shape == (16,)
    assert server.requests[-1]["dimensions"] == 16


def _without_dimensions(request: dict[str, Any]) -> Answer:
    return failure(400, "this model does not support dimensions") if "dimensions" in request else vectors(request)


def test_a_server_that_refuses_dimensions_is_fine_when_they_are_its_own(server: Server) -> None:
    server.answer = _without_dimensions
    assert server.embedder(dimensions=64).embed_query("slate").shape == (64,)
    assert "dimensions" not in server.requests[-1]


def test_a_server_that_refuses_dimensions_is_an_error_when_its_own_are_others(server: Server) -> None:
    server.answer = _without_dimensions
    with pytest.raises(EmbeddingFailed, match=r"does not support dimensions.*the model has 64\. Use 'openai:quartz'") as caught:
        server.embedder(dimensions=16).embed_query("slate")
    assert caught.value.status == 400


def test_a_server_that_ignores_dimensions_is_an_error(server: Server) -> None:
    server.answer = lambda request: vectors({key: value for key, value in request.items() if key != "dimensions"})
    with pytest.raises(EmbeddingFailed, match=r"wants vectors of 16 dimensions, .* sent 64"):
        server.embedder(dimensions=16).embed_query("slate")


def test_a_server_that_changes_its_dimension_is_an_error(server: Server) -> None:
    embedder = server.embedder()
    embedder.embed_query("slate")
    server.answer = lambda request: vectors({**request, "dimensions": 32})
    with pytest.raises(EmbeddingFailed, match=r"wants vectors of 64 dimensions, .* sent 32"):
        embedder.embed_query("slate")


def test_many_texts_are_sent_in_batches_by_count_and_by_size(server: Server) -> None:
    embedder = server.embedder()
    texts = [f"grain {number}" for number in range(300)] + ["long " * 30_000, "longer " * 20_000, "short"]
    rows = embedder.embed_documents(texts)
    assert [len(request["input"]) for request in server.requests[1:]] == [128, 128, 45, 2]
    np.testing.assert_allclose(rows, HashingEmbedder(64).embed_documents(texts), atol=1e-5)


def test_many_queries_are_one_request_and_have_the_prefix_of_one(server: Server) -> None:
    embedder = server.embedder(query_prefix="query: ")
    alone = [embedder.embed_query(text) for text in ("schist", "gneiss")]
    before = len(server.requests)
    np.testing.assert_array_equal(embedder.embed_queries(["schist", "gneiss"]), alone)
    assert [request["input"] for request in server.requests[before:]] == [["query: schist", "query: gneiss"]]


def test_prefixes_are_put_before_documents_and_queries(server: Server) -> None:
    embedder = server.embedder(query_prefix="query: ", document_prefix="passage: ")
    embedder.embed_documents(["slate", ""])
    assert server.requests[-1]["input"] == ["passage: slate"]
    embedder.embed_query("chalk")
    assert server.requests[-1]["input"] == ["query: chalk"]
    assert (embedder.identity.query_prefix, embedder.identity.document_prefix) == ("query: ", "passage: ")


def _failing_first(server: Server, answers: list[Answer]) -> None:
    """After the first, good request these answers, then good ones."""
    left = list(answers)
    server.answer = lambda request: left.pop(0) if left and request["input"] != ["outcrop"] else vectors(request)


@pytest.mark.parametrize(
    "answer",
    [
        failure(429, "slow down", {"Retry-After": "0.002"}),
        failure(429, "slow down", {"retry-after-ms": "2"}),
        failure(503, "busy", {"Retry-After": "Thu, 01 Jan 2015 00:00:00 GMT"}),
        failure(429, "slow down", {"Retry-After": "soon"}),
        failure(500, "oops"),
        (502, {}, b"<html>bad gateway</html>"),
        failure(408, "timeout"),
    ],
)
def test_a_failure_that_passes_is_tried_again(server: Server, answer: Answer) -> None:
    embedder = server.embedder()
    _failing_first(server, [answer, answer])
    np.testing.assert_allclose(embedder.embed_query("slate"), HashingEmbedder(64).embed_query("slate"), atol=1e-6)
    assert len(server.requests) == 1 + 3


def test_a_failure_that_stays_ends_after_the_allowed_attempts(server: Server) -> None:
    embedder = server.embedder()
    _failing_first(server, [failure(500, "the furnace is cold")] * 100)
    with pytest.raises(EmbeddingFailed, match=r"in 4 attempts over .*HTTP 500: the furnace is cold") as caught:
        embedder.embed_query("slate")
    assert caught.value.status == 500
    assert caught.value.embedder == "openai:quartz"
    assert len(server.requests) == 1 + 4


@pytest.mark.parametrize(
    "header", [{"Retry-After": "0"}, {"retry-after-ms": "0"}, {"Retry-After": "Thu, 01 Jan 2015 00:00:00 GMT"}]
)
def test_a_server_that_asks_for_no_wait_at_all_is_given_a_little_time(
    server: Server, monkeypatch: pytest.MonkeyPatch, header: dict[str, str]
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(openai_http.time, "sleep", waited.append)
    embedder = server.embedder()
    _failing_first(server, [failure(429, "slow down", header)] * 2)
    embedder.embed_query("slate")
    assert len(waited) == 2
    assert 0 < QUICK.first_delay_seconds / 2 <= waited[0] <= QUICK.first_delay_seconds <= waited[1]


def test_a_wait_beyond_the_total_is_not_waited_for(server: Server) -> None:
    server.answer = lambda _: failure(429, "come back tomorrow", {"Retry-After": "86400"})
    with pytest.raises(EmbeddingFailed, match=r"in 1 attempts .*come back tomorrow") as caught:
        server.embedder().embed_query("slate")
    assert caught.value.status == 429


def test_an_account_without_money_is_not_tried_again(server: Server) -> None:
    server.answer = lambda _: (429, {}, b'{"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}')
    with pytest.raises(EmbeddingFailed, match="You exceeded your quota"):
        server.embedder().embed_query("slate")
    assert len(server.requests) == 1


def test_a_wrong_key_is_an_error_at_once_and_the_key_is_nowhere_shown(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    server.answer = lambda _: failure(401, f"Incorrect API key provided: {KEY}")
    embedder = server.embedder()
    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises(EmbeddingFailed, match=r"HTTP 401: Incorrect API key provided: \*\*\*") as caught,
    ):
        embedder.embed_query("slate")
    assert len(server.requests) == 1
    assert "Check OPENAI_API_KEY" in str(caught.value)
    shown = [
        str(caught.value),
        repr(caught.value),
        repr(caught.value.values),
        repr(embedder),
        repr(embedder.cache_scope),
        caplog.text,
    ]
    assert not any(KEY in text for text in shown)


def test_credentials_in_the_url_are_not_shown(server: Server) -> None:
    server.answer = lambda _: failure(404, "no such model")
    embedder = server.embedder(base_url=server.url.replace("http://", "http://miner:pickaxe@"), api_key="")
    with pytest.raises(EmbeddingFailed, match="HTTP 404: no such model") as caught:
        embedder.embed_query("slate")
    assert "pickaxe" not in str(caught.value) + repr(embedder) + embedder.cache_scope
    assert server.headers[-1]["Authorization"].startswith("Basic ")


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"half a json {", "is not what was asked for"),
        (b"\xff\xfe", "is not what was asked for"),
        (b'{"data": 4}', "is not what was asked for"),
        (b'{"data": [{"index": 0, "embedding": null}]}', "is not what was asked for"),
        (b'{"data": []}', "holds 0 vectors for 1 texts"),
        (b'{"data": [{"index": 1, "embedding": [1.0]}]}', "holds 1 vectors for 1 texts, or misnumbers them"),
        (b'{"data": [{"index": 0, "embedding": "not base64!"}]}', "holds a vector that cannot be read"),
        (b'{"data": [{"index": 0, "embedding": "AAAA"}]}', "holds a vector that cannot be read"),
        (b'{"data": [{"index": 0, "embedding": []}]}', r"holds vectors of \[0\] dimensions"),
        (b'{"data": [{"index": 0, "embedding": "AADAfw=="}]}', "not all numbers are finite"),
    ],
)
def test_an_answer_that_makes_no_sense_is_an_error_that_says_so(server: Server, body: bytes, complaint: str) -> None:
    server.answer = lambda _: (200, {}, body)
    with pytest.raises(EmbeddingFailed, match=complaint) as caught:
        server.embedder().embed_query("slate")
    assert caught.value.status == 200


def test_rows_of_different_lengths_are_an_error(server: Server) -> None:
    embedder = server.embedder()
    embedder.embed_query("slate")
    body = b'{"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}]}'
    server.answer = lambda _: (200, {}, body)
    with pytest.raises(EmbeddingFailed, match=r"vectors of \[1, 2\] dimensions"):
        embedder.embed_documents(["slate", "chalk"])


def test_a_text_that_the_server_refuses_is_reported_with_its_message(server: Server) -> None:
    embedder = server.embedder()
    _failing_first(server, [failure(400, "maximum context length is 8192 tokens")])
    with pytest.raises(EmbeddingFailed, match="HTTP 400: maximum context length is 8192 tokens"):
        embedder.embed_documents(["slate " * 10_000])
    assert len(server.requests) == 2


def test_a_server_that_is_not_there_is_an_error_that_names_it(server: Server) -> None:
    embedder = server.embedder()
    server.stop()
    with pytest.raises(EmbeddingFailed, match=rf"{server.url}/embeddings in 4 attempts .*ConnectError") as caught:
        embedder.embed_query("slate")
    assert caught.value.status is None


@pytest.mark.parametrize("url", ["127.0.0.1:80/v1", "ftp://127.0.0.1/v1", "http://127.0.0.1:port/v1"])
def test_a_url_that_is_none_is_an_error_that_names_the_variable(url: str) -> None:
    with pytest.raises(EmbeddingFailed, match="Check OPENAI_BASE_URL"):
        OpenAIEmbedder("quartz", base_url=url, api_key="", retry=QUICK).embed_query("slate")


def test_the_scope_of_the_cache_is_the_server(server: Server) -> None:
    assert server.embedder().cache_scope == server.url
    assert server.embedder(base_url=server.url + "/").cache_scope == server.url

"""Traces of requests, from the headers that they came with to the collector."""

from __future__ import annotations

import gzip
import signal
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

import outcrop
from outcrop import Config
from outcrop.errors import InvalidConfig
from outcrop.surfaces import tracing
from tests.http.conftest import Client
from tests.http.test_logs import kept

pytest.importorskip("opentelemetry.sdk", reason="the extra 'otel' is not installed")

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SENT = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


@pytest.fixture
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """A collector of traces, and what it was sent."""
    got: list[ExportTraceServiceRequest] = []

    class Receiving(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            got.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiving) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}", got
        listening.shutdown()
        thread.join()


def by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {one.name: one for one in exporter.get_finished_spans()}


def test_a_request_goes_on_with_the_trace_that_it_came_with(client: Client, exported: InMemorySpanExporter) -> None:
    answer = client.get("/v1/collections/rocks/search?q=hidden", headers=SENT)

    found = by_name(exported)
    request, search = found["GET /v1/collections/{name}/search"], found["search rocks"]
    assert request.kind is SpanKind.SERVER
    assert f"{request.context.trace_id:032x}" == TRACE
    assert f"{request.parent.span_id:016x}" == PARENT
    assert search.parent.span_id == request.context.span_id
    told = dict(request.attributes)
    assert told["http.route"] == "/v1/collections/{name}/search"
    assert (told["http.request.method"], told["http.response.status_code"]) == ("GET", 200)
    assert (told["url.path"], told["url.scheme"]) == ("/v1/collections/rocks/search", "http")
    assert told["outcrop.request_id"] == answer.headers["x-request-id"]
    assert "hidden" not in str([one.to_json() for one in exported.get_finished_spans()])


def test_errors_of_the_server_are_errors_of_the_span_and_those_of_clients_are_not(
    client: Client, exported: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    client.get("/v1/collections/gone")
    assert by_name(exported)["GET /v1/collections/{name}"].status.status_code is StatusCode.UNSET
    monkeypatch.setattr(outcrop.Collection, "stats", fail)
    client.get("/v1/collections/rocks")
    failed = by_name(exported)["GET /v1/collections/{name}"]
    assert failed.status.status_code is StatusCode.ERROR
    assert failed.attributes["error.type"] == "500"


def test_a_path_that_there_is_not_names_no_span(client: Client, exported: InMemorySpanExporter) -> None:
    client.get("/no/such/path")
    assert set(by_name(exported)) == {"GET"}


def test_the_log_leads_to_the_trace(folder: Path, exported: InMemorySpanExporter) -> None:
    from tests.http.conftest import TestClient, application

    opening = lambda: outcrop.open(folder, config=Config.mvp_only(background=False))  # noqa: E731
    with TestClient(application(opening, logs_requests=True)) as client, kept() as lines:
        client.get("/livez", headers=SENT)
    answered = next(
        line for line in lines if line.get("route") == "/livez"
    )  # a line before it may say that the collections are open
    assert answered["trace_id"] == TRACE
    assert exported.get_finished_spans()


def test_a_stream_of_documents_belongs_to_its_request(client: Client, exported: InMemorySpanExporter) -> None:
    content = b'{"id": "n", "text": "new"}\n'
    client.post("/v1/collections/rocks/documents", content=content, headers={"content-type": "application/x-ndjson"})

    found = by_name(exported)
    request = found["POST /v1/collections/{name}/documents"]
    assert found["upsert_many rocks"].parent.span_id == request.context.span_id


def test_a_server_sends_its_traces_to_a_collector(
    server: Callable[..., httpx.Client], collector: tuple[str, list[ExportTraceServiceRequest]]
) -> None:
    address, got = collector
    client = server(OTEL_EXPORTER_OTLP_ENDPOINT=address, OTEL_SERVICE_NAME="rocks-search")
    client.get("/v1/collections/rocks/search?q=slate", headers=SENT)
    client.process.send_signal(signal.SIGTERM)  # type: ignore[attr-defined]
    assert client.process.wait(timeout=60) == 0  # type: ignore[attr-defined]

    resources = [(one.resource, scope) for sent in got for one in sent.resource_spans for scope in one.scope_spans]
    about = {one.key: one.value.string_value for one in resources[0][0].attributes}
    assert (about["service.name"], about["service.version"]) == ("rocks-search", outcrop.__version__)
    sent = {one.name: one for _, scope in resources for one in scope.spans}
    assert {"search rocks", "lexical", "fuse", "fetch"} <= set(sent)
    assert sent["search rocks"].trace_id.hex() == TRACE


def test_a_build_is_a_trace_of_its_own_that_is_linked_with_the_request(
    server: Callable[..., httpx.Client], collector: tuple[str, list[ExportTraceServiceRequest]]
) -> None:
    address, got = collector
    client = server(OTEL_EXPORTER_OTLP_ENDPOINT=address)
    orders = {"done": {"analyzer": "simple", "promote": True}, "failed": {"promote": True, "gate": {"documents_min": 9}}}
    builds = {}
    for state, order in orders.items():
        begun = client.post("/v1/collections/rocks/builds", json=order, headers=SENT)
        assert begun.status_code == 202, begun.text
        builds[state] = begun.json()["id"], begun.headers["x-request-id"]
        assert "event: end" in client.get(f"{begun.headers['location']}/events").text
    client.process.send_signal(signal.SIGTERM)  # type: ignore[attr-defined]
    assert client.process.wait(timeout=60) == 0  # type: ignore[attr-defined]

    sent = [span for one in got for spans in one.resource_spans for scope in spans.scope_spans for span in scope.spans]
    for state, (build, about) in builds.items():
        told = [(span, {one.key: one.value.string_value for one in span.attributes}) for span in sent]
        request = next(span for span, has in told if has.get("outcrop.build") == build and span.kind == Span.SPAN_KIND_SERVER)
        ordered, has = next((span, has) for span, has in told if has.get("outcrop.build") == build and span is not request)
        assert (has["outcrop.build_state"], has["outcrop.request_id"]) == (state, about)
        assert (ordered.name, ordered.kind, ordered.parent_span_id) == ("ordered build rocks", Span.SPAN_KIND_CONSUMER, b"")
        assert [(one.trace_id.hex(), one.span_id) for one in ordered.links] == [(TRACE, request.span_id)]
        assert ordered.trace_id.hex() != TRACE
        inside = {span.name for span in sent if span.parent_span_id == ordered.span_id and span.trace_id == ordered.trace_id}
        assert inside == {"build rocks", "promote rocks"}
        assert has.get("error.type") == (None if state == "done" else "gate-failed")


def test_nothing_is_sent_unless_the_variables_say_so() -> None:
    assert tracing.wanted({}) == ()
    assert tracing.wanted({"OTEL_SERVICE_NAME": "x"}) == ()
    assert tracing.wanted({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_SDK_DISABLED": "true"}) == ()
    assert tracing.wanted({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_TRACES_EXPORTER": "none"}) == ()
    assert tracing.wanted({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}) == ("otlp",)
    assert tracing.wanted({"OTEL_TRACES_EXPORTER": "otlp,console"}) == ("otlp", "console")


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "use otlp, console or none"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "http/protobuf"),
    ],
)
def test_what_cannot_be_had_is_refused_at_the_beginning(variables: dict[str, str], told: str) -> None:
    with pytest.raises(InvalidConfig, match=told):
        tracing.wanted(variables)

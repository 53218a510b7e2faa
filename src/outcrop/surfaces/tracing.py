"""Traces of a server, switched on by OpenTelemetry's own variables and sent by its own library (the extra `otel`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

import outcrop
from outcrop import spans
from outcrop.errors import InvalidConfig, MissingExtra

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_EXPORTERS = ("otlp", "console")
_PROTOCOL = "http/protobuf"


def wanted(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Where the variables want traces sent: "otlp", "console", both or nowhere.

    An endpoint, or `OTEL_TRACES_EXPORTER`, switches them on. Raises `InvalidConfig` for what cannot be had, `MissingExtra`.

    >>> wanted({}), wanted({"OTEL_TRACES_EXPORTER": "none"})
    ((), ())
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return ()
    given = environ.get("OTEL_TRACES_EXPORTER", "").strip()
    named = given or ("otlp" if any(environ.get(name) for name in _ENDPOINTS) else "none")
    found = tuple(one.strip() for one in named.split(",") if one.strip() != "none")
    unknown = [one for one in found if one not in _EXPORTERS]
    if unknown:
        raise InvalidConfig(
            f"OTEL_TRACES_EXPORTER is {given!r}, and {unknown[0]!r} is not known here; use otlp, console or none",
            key="OTEL_TRACES_EXPORTER",
        )
    _check(environ, found)
    return found


def begin(environ: Mapping[str, str], *, query_text: bool = False) -> Callable[[], None]:
    """Have this process send traces, if the variables want that. What is given back sends what is left, and ends it."""
    exporters = wanted(environ)
    if not exporters:
        return lambda: None
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create(_about(environ)), shutdown_on_exit=False)
    for name in exporters:
        provider.add_span_processor(BatchSpanProcessor(_exporter(name)))
    spans.use(provider, query_text=query_text)

    def end() -> None:
        spans.use(None)
        provider.shutdown()

    return end


def _check(environ: Mapping[str, str], exporters: tuple[str, ...]) -> None:
    protocol = next((environ[name] for name in _PROTOCOLS if environ.get(name)), _PROTOCOL)
    if "otlp" in exporters and protocol != _PROTOCOL:
        raise InvalidConfig(
            f"traces cannot be sent by {protocol!r}: use OTEL_EXPORTER_OTLP_PROTOCOL={_PROTOCOL} (a collector's port 4318)",
            key="OTEL_EXPORTER_OTLP_PROTOCOL",
        )
    if exporters and (find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None):
        remedy = "pip install 'outcrop[otel]'"
        raise MissingExtra(f"traces need the extra 'otel': {remedy}", extra="otel", remedy=remedy)


def _about(environ: Mapping[str, str]) -> dict[str, str]:
    """What the variables do not say of this server themselves."""
    named = environ.get("OTEL_SERVICE_NAME") or "service.name=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return {"service.version": outcrop.__version__} | ({} if named else {"service.name": "outcrop"})


def _exporter(name: str) -> Any:
    if name == "console":
        import sys

        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter(out=sys.stderr)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()

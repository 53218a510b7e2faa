"""What took how long, as OpenTelemetry's spans, for applications that trace; nothing at all for those that do not.

Nothing here imports OpenTelemetry. An application that traces has imported it and has set a tracer provider, and that one is used
(or the one that `use` was given). Until then an operation costs a look into a dict. Which operations there are is `traced.py`'s
matter; where in one the time goes is noted where it goes: by `step`, by `phase`, or afterwards by `Operation.add`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar, copy_context
from importlib import import_module
from time import perf_counter_ns, time_ns
from typing import Any, Literal, TypeVar

_API = "opentelemetry.trace"
_W3C = "opentelemetry.trace.propagation.tracecontext"
_T = TypeVar("_T")
Value = str | bool | int | float
Kind = Literal["INTERNAL", "SERVER", "CONSUMER"]


class Operation:
    """A span that is open, and the time in it."""

    def __init__(self, name: str, span: Any, tracer: Any) -> None:
        self.name = name
        self.is_recorded: bool = span.is_recording()
        self._span = span
        self._tracer = tracer
        self._context = _api().set_span_in_context(span)
        self._zero_ns = time_ns() - perf_counter_ns()
        self._phase: Any = None

    @property
    def trace_id(self) -> str | None:
        """By which the trace is found, 32 hexadecimal digits."""
        found = self._span.get_span_context()
        return f"{found.trace_id:032x}" if found.is_valid else None

    def rename(self, name: str) -> None:
        """Call the span so, now that it is known."""
        self._span.update_name(name)

    def tell(self, values: Mapping[str, Value | None]) -> None:
        """Note what is known of it; None is not known."""
        self._span.set_attributes({name: value for name, value in values.items() if value is not None})

    def fail(self, kind: str) -> None:
        """Note that it failed, and with what kind of error. Not with what message: that may tell what was searched for."""
        self._span.set_attribute("error.type", kind)
        self._span.set_status(_api().StatusCode.ERROR)

    def add(self, name: str, began: float, ended: float) -> None:
        """A step that is over; the times are those of `time.perf_counter`."""
        span = self._tracer.start_span(name, context=self._context, start_time=self._zero_ns + int(began * 1e9))
        span.end(end_time=self._zero_ns + int(ended * 1e9))

    def begin(self, name: str | None) -> None:
        """The phase before is over, and the one of this name begins, if there is one."""
        if self._phase is not None:
            self._phase.end()
        self._phase = None if name is None else self._tracer.start_span(name, context=self._context)

    @contextmanager
    def within(self, name: str) -> Iterator[None]:
        """A step, in which other libraries' spans belong to it."""
        span = self._tracer.start_span(name, context=self._context)
        with _api().use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            yield


_current: ContextVar[Operation | None] = ContextVar("outcrop_operation", default=None)
#: The operation that this thread is in, if it is recorded. Every search asks: the variable's own method costs least.
current = _current.get
_NOTHING: AbstractContextManager[None] = nullcontext()


class _Chosen:
    """The tracer that is used, once it is known, and whether queries are told."""

    tracer: Any = None
    tells_queries = False


def use(provider: Any = None, *, query_text: bool = False) -> None:
    """Trace with a provider of OpenTelemetry; None: with the one that the application has set, when it has.

    With `query_text` the spans of searches have the queries as `db.query.text`. Whoever reads the traces can read these then.
    """
    _Chosen.tracer = None if provider is None else provider.get_tracer("outcrop", _version())
    _Chosen.tells_queries = query_text


def tells_queries() -> bool:
    """Whether spans have the text of queries."""
    return _Chosen.tells_queries


def tracer() -> Any:
    """What makes spans, or None if nobody traces."""
    if _Chosen.tracer is not None:
        return _Chosen.tracer
    provided = getattr(sys.modules.get(_API), "get_tracer_provider", None)
    if provided is None:  # not imported, or another thread is about to
        return None
    provider = provided()
    if type(provider).__name__ == "ProxyTracerProvider":  # what stands in until one is set
        return None
    _Chosen.tracer = provider.get_tracer("outcrop", _version())
    return _Chosen.tracer


@contextmanager
def operation(
    name: str,
    span_name: str,
    values: Mapping[str, Value | None],
    *,
    kind: Kind = "INTERNAL",
    parent: Any = None,
    follows: Mapping[str, str] | None = None,
) -> Iterator[Operation]:
    """A span for what is done in the block. Only where there is a `tracer`. What is raised is its error.

    `parent` is of `sent_with`. `follows` is what another process `handed_on`: the span is linked with that one.
    """
    api, made = _api(), tracer()
    known = {key: value for key, value in values.items() if value is not None}
    links = _links(follows) if follows else ()
    span = made.start_span(span_name, kind=getattr(api.SpanKind, kind), attributes=known, context=parent, links=links)
    opened = Operation(name, span, made)
    before = _current.set(opened if opened.is_recorded else None)
    try:
        with api.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            try:
                yield opened
            except BaseException as error:
                opened.fail(type(error).__qualname__)
                raise
            finally:
                opened.begin(None)
    finally:
        _current.reset(before)


def step(name: str) -> AbstractContextManager[None]:
    """A part of the operation that this thread is in; other libraries' spans in it belong to it."""
    opened = _current.get()
    return _NOTHING if opened is None else opened.within(name)


def phase(name: str | None) -> None:
    """The operation that this thread is in goes on to its next part, or, with None, has no more."""
    opened = _current.get()
    if opened is not None:
        opened.begin(name)


def carried(call: Callable[[], _T]) -> Callable[[], _T]:
    """The call, for another thread, where it belongs to what this thread is in."""
    if tracer() is None:
        return call
    context = copy_context()
    return lambda: context.run(call)


def sent_with(headers: Mapping[str, str]) -> Any:
    """Where a request's trace began, by its headers (W3C `traceparent`), as `operation` takes it. What is open here goes before."""
    if _api().get_current_span().get_span_context().is_valid:
        return None
    return import_module("opentelemetry.propagate").extract(headers)


def handed_on() -> dict[str, str]:
    """What span is open here, for a process that goes on when it has ended (W3C `traceparent`); empty if nobody traces."""
    found: dict[str, str] = {}
    if tracer() is not None:
        import_module(_W3C).TraceContextTextMapPropagator().inject(found)
    return found


def _links(followed: Mapping[str, str]) -> tuple[Any, ...]:
    """A link to the span that was `handed_on`, unless it is none."""
    context = import_module(_W3C).TraceContextTextMapPropagator().extract(followed)
    found = _api().get_current_span(context).get_span_context()
    return (_api().Link(found),) if found.is_valid else ()


def _api() -> Any:
    return sys.modules[_API]


def _version() -> str | None:
    return getattr(sys.modules.get("outcrop"), "__version__", None)

"""What Prometheus reads at `/metrics`: how requests, searches and writes went. How things stand now is `standing.py`'s matter.

Counted as it happens, over all processes of the server (`serve` gives them a folder for that). Only what there is makes a label:
collections that answered, routes, methods and problems that are known. So nobody fills the memory by asking for what is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import monotonic

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.values import close_all_multiprocess_files

from outcrop import Database, Hits
from outcrop.surfaces.http.standing import Standing
from outcrop.surfaces.http.warming import Warmth

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
MEDIA_TYPE = "text/plain; version=0.0.4"  # the framework adds the charset
NO_ROUTE = "none"
_SEARCH_SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_LEGS = ("embed", "lexical", "vector", "fuse", "fetch")
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_KEPT_SECONDS_MAX, _KEPT_TIMES = 1.0, 4


class Metrics:
    """The counters of one process. `shared`: those of all processes add up, in the folder that the environment names."""

    def __init__(self, *, shared: bool) -> None:
        self.shared = shared
        self._registry = registry = CollectorRegistry()
        self._standing = Standing(registry, shared=shared)
        self._kept: tuple[float, bytes] | None = None
        self._search(registry)
        self._write(registry)
        self._http(registry)

    def _search(self, registry: CollectorRegistry) -> None:
        self._searches = Histogram(
            "outcrop_search_duration_seconds",
            "Seconds of a search, without HTTP.",
            ("collection", "mode", "engine"),
            buckets=_SEARCH_SECONDS,
            registry=registry,
        )
        self._steps = Histogram(
            "outcrop_search_step_duration_seconds",
            "Seconds of a step of a search.",
            ("collection", "step"),
            buckets=_SEARCH_SECONDS,
            registry=registry,
        )
        self._cached = Counter("outcrop_searches_cached", "Searches answered from the cache.", ("collection",), registry=registry)
        self._empty = Counter("outcrop_searches_empty", "Searches that found nothing.", ("collection",), registry=registry)
        self._degraded = Counter(
            "outcrop_searches_degraded", "Searches answered by a stand-in.", ("collection", "cause"), registry=registry
        )

    def _write(self, registry: CollectorRegistry) -> None:
        self._writes = Histogram(
            "outcrop_write_duration_seconds",
            "Seconds of a request that writes documents, without HTTP; of a stream, all of it.",
            ("collection", "operation"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._written = Counter(
            "outcrop_written_documents", "Documents put in and taken out.", ("collection", "operation"), registry=registry
        )

    def _http(self, registry: CollectorRegistry) -> None:
        self._requests = Counter("outcrop_http_requests", "Requests answered.", ("method", "route", "status"), registry=registry)
        self._durations = Histogram(
            "outcrop_http_request_duration_seconds",
            "Seconds from a request's head to the end of its answer.",
            ("method", "route"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._problems = Counter("outcrop_http_problems", "Errors answered, by their type.", ("problem",), registry=registry)
        self._refused = Counter(
            "outcrop_http_refused", "Requests refused or given up because of the load.", ("cause",), registry=registry
        )
        self._under_way = Gauge(
            "outcrop_http_requests_under_way",
            "Requests that are worked on or wait.",
            registry=registry,
            multiprocess_mode="livesum",
        )

    def searched(self, collection: str, hits: Hits) -> None:
        """Count a search."""
        self._standing.use(collection)
        took = hits.took_ms
        self._searches.labels(collection, hits.mode, hits.engine).observe(took.total / 1e3)
        for step in _LEGS:
            value = getattr(took, step)
            if value is not None:
                self._steps.labels(collection, step).observe(value / 1e3)
        if hits.cached:
            self._cached.labels(collection).inc()
        if not hits:
            self._empty.labels(collection).inc()
        if hits.degraded is not None:
            self._degraded.labels(collection, hits.degraded.cause).inc()

    def wrote(self, collection: str, operation: str, documents: int, seconds: float) -> None:
        """Count a write: how many documents it put in or took out."""
        self._standing.use(collection)
        self._writes.labels(collection, operation).observe(seconds)
        self._written.labels(collection, operation).inc(documents)

    def began(self) -> None:
        """A request has come."""
        self._under_way.inc()

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """And has been answered. The method is one of `METHODS`, or "other"."""
        self._under_way.dec()
        self._requests.labels(method, route, status).inc()
        self._durations.labels(method, route).observe(seconds)

    def failed(self, problem: str, cause: str | None = None) -> None:
        """Count an error; `cause` says which limit it was that refused a request, if it was one."""
        self._problems.labels(problem).inc()
        if cause is not None:
            self._refused.labels(cause).inc()

    def configured(self, hash_: str, *, loaded_at: float, usable: bool) -> None:
        """Say with which configuration this process runs, since when, and whether what the file says now can be used."""
        self._standing.configured(hash_, loaded_at=loaded_at, usable=usable)

    def warmed(self, warmth: Warmth) -> None:
        """Say how far this process is with opening collections."""
        self._standing.warmed(warmth)

    def sample(self, db: Database, waiting: Callable[[], dict[str, int]]) -> None:
        """Say how this process stands, where another one of the server answers the next scrape."""
        self._standing.sample(db, waiting())

    def text(self, db: Database, waiting: Callable[[], dict[str, int]]) -> bytes:
        """Everything in Prometheus's text format. `waiting`: how many wait for what. Not for two threads.

        It is kept for a few times as long as it took, a second at most: who asks without a pause does not keep a core busy.
        """
        began = monotonic()
        if self._kept is None or began > self._kept[0]:
            found = generate_latest(_Everything(list(self._standing.collect(db, waiting()))))
            ended = monotonic()
            self._kept = ended + min(_KEPT_SECONDS_MAX, _KEPT_TIMES * (ended - began)), found
        return self._kept[1]

    def close(self) -> None:
        """Let go of the files by which the processes add up."""
        if self.shared:
            close_all_multiprocess_files()  # type: ignore[no-untyped-call]


class _Everything(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """All of it."""
        return self._families

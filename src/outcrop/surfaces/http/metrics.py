"""What Prometheus reads at `/metrics`: how searches went, and how the collections are.

Searches are counted as they are answered, over all processes of the server (`serve` gives them a folder for that); what a
collection holds is looked at when it is asked for. Only collections that there are make a label, so nobody fills the memory.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from outcrop import Database, Hits, Stats
from outcrop.errors import OutcropError

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LEGS = ("embed", "lexical", "vector", "fuse", "fetch")


class Metrics:
    """The counters of one process."""

    def __init__(self, *, shared: bool) -> None:
        self._shared = shared
        self._registry = registry = CollectorRegistry()
        self._searches = Histogram(
            "outcrop_search_duration_seconds",
            "Seconds of a search, without HTTP.",
            ("collection", "mode", "engine"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._steps = Histogram(
            "outcrop_search_step_duration_seconds",
            "Seconds of a step of a search.",
            ("collection", "step"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._cached = Counter("outcrop_searches_cached", "Searches answered from the cache.", ("collection",), registry=registry)
        self._degraded = Counter(
            "outcrop_searches_degraded", "Searches answered by a stand-in.", ("collection", "cause"), registry=registry
        )
        self._requests = Counter("outcrop_http_requests", "Requests answered.", ("method", "status"), registry=registry)
        self._under_way = Gauge(
            "outcrop_http_requests_under_way",
            "Requests that are worked on or wait.",
            registry=registry,
            multiprocess_mode="livesum",
        )

    def searched(self, collection: str, hits: Hits) -> None:
        """Count a search."""
        took = hits.took_ms
        self._searches.labels(collection, hits.mode, hits.engine).observe(took.total / 1e3)
        for step in _LEGS:
            value = getattr(took, step)
            if value is not None:
                self._steps.labels(collection, step).observe(value / 1e3)
        if hits.cached:
            self._cached.labels(collection).inc()
        if hits.degraded is not None:
            self._degraded.labels(collection, hits.degraded.cause).inc()

    def answered(self, method: str, status: int) -> None:
        """Count a request."""
        self._requests.labels(method, status).inc()

    def under_way(self, count: int) -> None:
        """Say how many requests are worked on or wait."""
        self._under_way.set(count)

    def text(self, db: Database) -> bytes:
        """Everything in Prometheus's text format."""
        registry = CollectorRegistry()
        if self._shared:
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        registry.register(_Collections(db))
        own = b"" if self._shared else generate_latest(self._registry)
        return own + generate_latest(registry)


class _Collections(Collector):
    """How the collections are now."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def collect(self) -> Iterable[Metric]:
        """One family after the other."""
        found = {name: stats for name in self._db.collections() if (stats := self._stats(name)) is not None}
        yield _generations(found)
        by_name = (
            ("outcrop_documents", "Documents that there are.", lambda one: one.document_count),
            ("outcrop_chunks", "Chunks that are searched.", lambda one: one.chunk_count),
            ("outcrop_index_lag_documents", "Chunks written and in no index part yet.", lambda one: one.index_lag),
            ("outcrop_size_bytes", "Bytes on disk.", lambda one: one.size_bytes),
            ("outcrop_journal_bytes", "Bytes of the journal.", lambda one: one.journal_bytes),
            ("outcrop_sequence", "The last write.", lambda one: one.sequence),
            ("outcrop_degraded", "Whether something stands in for the active generation or its engine.", _is_degraded),
            ("outcrop_breaker_open", "Whether the circuit breaker keeps the engine from being asked.", _is_open),
            ("outcrop_live_recall", "The share of the true ten nearest that real searches found.", _live_recall),
        )
        for name, about, value in by_name:
            family = GaugeMetricFamily(name, about, labels=["collection"])
            for collection, stats in found.items():
                number = value(stats)
                if number is not None:
                    family.add_metric([collection], float(number))
            yield family

    def _stats(self, name: str) -> Stats | None:
        try:
            return self._db.collection(name).stats()
        except OutcropError:  # `/health` tells of it
            return None


def _generations(found: dict[str, Stats]) -> Metric:
    family = InfoMetricFamily("outcrop_generation", "The active generation.", labels=["collection"])
    for collection, stats in found.items():
        active = next((one for one in stats.generations if one.number == stats.active), None)
        if active is not None:
            embedder = active.recipe.embedder
            family.add_metric(
                [collection],
                {
                    "generation": str(active.number),
                    "uuid": active.uuid,
                    "engine": active.recipe.engine,
                    "embedder": "none" if embedder is None else embedder.spec,
                    "vector_index": active.vector_index or "none",
                },
            )
    return family


def _is_degraded(one: Stats) -> bool:
    return one.degraded is not None


def _is_open(one: Stats) -> bool | None:
    return None if one.serving is None else one.serving.state != "closed"


def _live_recall(one: Stats) -> float | None:
    return None if one.live_recall is None else one.live_recall.recall

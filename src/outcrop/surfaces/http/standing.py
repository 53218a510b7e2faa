"""How the server and its collections stand, for Prometheus.

Two kinds of facts. What is on disk is the same for every process: it is looked at when it is asked for. What a process holds (its
caches, its circuit breakers, its memory) only that process knows: where there are several, each notes its own now and then, in the
files by which they add up, so that it does not matter which of them is asked.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter as Tally
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.process_collector import ProcessCollector

from outcrop import Database, Stats
from outcrop.errors import OutcropError
from outcrop.memory import CacheStats
from outcrop.surfaces.http import on_disk
from outcrop.surfaces.http.warming import Warmth

_OF_A_PROCESS = re.compile(r"gauge_live\w+_(\d+)\.db")
_CONFIG = "outcrop_config_info"
_FROM_THE_SYSTEM = {
    "outcrop_process_resident_memory_bytes": "resident",
    "outcrop_process_start_time_seconds": "started",
    "outcrop_process_open_fds": "files",
}


class Standing:
    """What this process knows of itself, and what it reads off the disk. `shared`: other processes of the server note theirs."""

    def __init__(self, registry: CollectorRegistry, *, shared: bool) -> None:
        self._registry = registry
        self._shared = shared
        self._used: set[str] = set()
        self._counted: Tally[tuple[str, ...]] = Tally()
        self._facts = on_disk.KnownFacts()
        self._cpu_counted = 0.0
        self._degraded_since: dict[str, float] = {}
        self._system = ProcessCollector(namespace="outcrop", registry=None)  # it is asked here alone
        self._of_processes(registry)
        self._of_collections(registry)
        self._of_the_configuration(registry)
        self._of_the_warm_up(registry)
        self._note_process()

    def _of_processes(self, registry: CollectorRegistry) -> None:
        gauge = _Gauges(registry)
        self._memory = gauge("outcrop_memory_bytes", "Bytes held of the memory budget.", "owner", mode="livesum")
        self._entries = gauge("outcrop_cache_entries", "Entries of a cache in memory.", "cache", mode="livesum")
        self._sizes = gauge("outcrop_cache_size_bytes", "Bytes that a cache in memory holds.", "cache", mode="livesum")
        self._waiting = gauge("outcrop_http_requests_waiting", "Requests that wait for a thread.", "queue", mode="livesum")
        self._resident = gauge("outcrop_process_resident_memory_bytes", "Memory of a process, with mapped files.", mode="liveall")
        self._started = gauge("outcrop_process_start_time_seconds", "When a process began, in Unix time.", mode="liveall")
        self._files = gauge("outcrop_process_open_fds", "Open files of a process.", mode="liveall")
        self._cpu = Counter("outcrop_process_cpu_seconds", "Processor time of all processes.", registry=registry)
        self._hits = Counter("outcrop_cache_hits", "What a cache in memory had.", ("cache",), registry=registry)
        self._misses = Counter("outcrop_cache_misses", "What a cache in memory had not.", ("cache",), registry=registry)

    def _of_collections(self, registry: CollectorRegistry) -> None:
        gauge = _Gauges(registry)
        self._lag = gauge("outcrop_index_lag_documents", "Chunks written and in no index part yet.", "collection", mode="livemax")
        self._is_degraded = gauge(
            "outcrop_degraded", "Whether something stands in for the active generation or its engine.", "collection", mode="livemax"
        )
        self._degraded_seconds = gauge(
            "outcrop_degraded_seconds", "For how long something has stood in; 0 if nothing does.", "collection", mode="livemax"
        )
        self._open = gauge(
            "outcrop_breaker_open", "Whether the circuit breaker keeps the engine from being asked.", "collection", mode="livemax"
        )
        self._behind = gauge(
            "outcrop_engine_behind_writes", "Writes that the engine lacks, where there is a fallback.", "collection", mode="livemax"
        )
        self._recall = gauge(
            "outcrop_live_recall", "The share of the true ten nearest that real searches found.", "collection", mode="livemin"
        )
        self._judged = Counter(
            "outcrop_live_recall_searches", "Searches that were run again exactly.", ("collection",), registry=registry
        )
        self._failures = Counter(
            "outcrop_engine_failures", "Failures of the engine that another one stands in for.", ("collection",), registry=registry
        )

        self._log_size = gauge("outcrop_query_log_size_bytes", "Bytes of the query log.", "collection", mode="livemax")
        self._log_lines = Counter(
            "outcrop_query_log_lines",
            "Searches that are in the query log, were dropped for the load, or lost to the disk.",
            ("collection", "outcome"),
            registry=registry,
        )

    def _of_the_configuration(self, registry: CollectorRegistry) -> None:
        """Of several processes the number that has a configuration; of the other two what the one says that is worst off."""
        gauge = _Gauges(registry)
        self._hash: str | None = None
        self._config = gauge(_CONFIG, "How many processes run with this configuration.", "hash", mode="livesum")
        self._config_loaded_at = gauge(
            "outcrop_config_last_reload_success_timestamp_seconds",
            "When the configuration was last read and could be used, in Unix time.",
            mode="livemin",
        )
        self._config_usable = gauge(
            "outcrop_config_last_reload_successful",
            "Whether the configuration could be used when it was last read.",
            mode="livemin",
        )

    def configured(self, hash_: str, *, loaded_at: float, usable: bool) -> None:
        """This process runs with that configuration, and whether the file of now can be used."""
        if self._hash not in (None, hash_):
            self._config.labels(self._hash).set(0)
        self._hash = hash_
        self._config.labels(hash_).set(1)
        self._config_loaded_at.set(loaded_at)
        self._config_usable.set(usable)

    def _of_the_warm_up(self, registry: CollectorRegistry) -> None:
        gauge = _Gauges(registry)
        self._was_cold: set[str] = set()
        self._cold = gauge("outcrop_collection_cold", "Whether a collection cannot be opened.", "collection", mode="livemax")
        self._warm_up_seconds = gauge(
            "outcrop_warm_up_seconds", "Seconds that opening the collections took at the start.", mode="livemax"
        )

    def warmed(self, warmth: Warmth) -> None:
        """This process has opened collections, or could not."""
        self._was_cold |= warmth.cold.keys()
        for name in self._was_cold:
            self._cold.labels(name).set(name in warmth.cold)
        if warmth.seconds is not None:
            self._warm_up_seconds.set(warmth.seconds)

    def use(self, collection: str) -> None:
        """This process has the collection open. Only of such is told what takes opening it."""
        self._used.add(collection)

    def sample(self, db: Database, waiting: dict[str, int]) -> None:
        """Note how this process stands."""
        self._note(waiting, {name: stats for name in sorted(self._used) if (stats := _stats(db, name)) is not None})

    def collect(self, db: Database, waiting: dict[str, int]) -> Iterator[Metric]:
        """Everything that there is to tell, of all processes."""
        self.sample(db, waiting)
        facts = self._facts.of(db)
        for family in self._noted():
            kept = [one for one in family.samples if "collection" not in one.labels or one.labels["collection"] in facts]
            if family.name == _CONFIG:  # those that no process has any more are no label for ever
                kept = [one for one in kept if one.value]
            if family.type != "gauge" or len(kept) == len(family.samples):
                yield family
            elif kept:  # of one that was dropped nobody can take back what was noted
                family.samples = kept
                yield family
        yield from on_disk.families(db, facts)

    def _noted(self) -> Iterable[Metric]:
        if not self._shared:
            return self._registry.collect()
        _forget_the_dead(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
        found: Iterable[Metric] = MultiProcessCollector(None).collect()  # type: ignore[no-untyped-call]
        return found

    def _note(self, waiting: dict[str, int], found: dict[str, Stats]) -> None:
        for queue, count in waiting.items():
            self._waiting.labels(queue).set(count)
        self._note_process()
        for name, stats in found.items():
            self._note_collection(name, stats)
        of_all = next(iter(found.values()), None)  # the caches and the budget are the database's
        if of_all is not None:
            self._note_memory(of_all)

    def _note_process(self) -> None:
        for family in self._system.collect():
            for sample in family.samples:
                if sample.name in _FROM_THE_SYSTEM:
                    getattr(self, f"_{_FROM_THE_SYSTEM[sample.name]}").set(sample.value)
                elif sample.name == "outcrop_process_cpu_seconds_total":
                    self._cpu.inc(max(0.0, sample.value - self._cpu_counted))
                    self._cpu_counted = max(sample.value, self._cpu_counted)

    def _note_memory(self, of_all: Stats) -> None:
        for owner, size_bytes in of_all.memory.items():
            self._memory.labels(owner).set(size_bytes)
        caches: dict[str, CacheStats | None] = {"answers": of_all.query_cache, "query embeddings": of_all.query_embeddings}
        for name, cache in caches.items():
            if cache is not None:
                self._entries.labels(name).set(cache.entries)
                self._sizes.labels(name).set(cache.size_bytes)
                self._add(self._hits, cache.hits, name)
                self._add(self._misses, cache.misses, name)

    def _note_collection(self, name: str, stats: Stats) -> None:
        since = self._degraded_since.setdefault(name, monotonic()) if stats.degraded is not None else None
        if since is None:
            self._degraded_since.pop(name, None)
        self._lag.labels(name).set(stats.index_lag)
        self._is_degraded.labels(name).set(since is not None)
        self._degraded_seconds.labels(name).set(0.0 if since is None else monotonic() - since)
        serving, recall = stats.serving, stats.live_recall
        if serving is not None:
            self._open.labels(name).set(serving.state != "closed")
            self._add(self._failures, serving.failures, name)
            if serving.writes_behind is not None:
                self._behind.labels(name).set(serving.writes_behind)
        if recall is not None and recall.recall is not None:
            self._recall.labels(name).set(recall.recall)
            self._add(self._judged, recall.searches, name)
        if stats.query_log is not None:
            self._log_size.labels(name).set(stats.query_log.size_bytes)
            for outcome in ("logged", "dropped", "lost"):
                self._add(self._log_lines, getattr(stats.query_log, outcome), name, outcome)

    def _add(self, counter: Counter, total: int, *labels: str) -> None:
        """Bring a counter to a total that somebody else counts, and begins anew now and then (with another generation)."""
        key = (counter._name, *labels)  # noqa: SLF001 - it has no other name
        before = self._counted[key]
        counter.labels(*labels).inc(total - before if total >= before else total)
        self._counted[key] = total


class _Gauges:
    """Makes gauges that processes share."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def __call__(self, name: str, about: str, *labels: str, mode: str) -> Gauge:
        """One of them; `mode` says what becomes of the processes' values."""
        return Gauge(name, about, labels, registry=self._registry, multiprocess_mode=mode)  # type: ignore[arg-type]


def _stats(db: Database, name: str) -> Stats | None:
    try:
        return db.collection(name).stats()
    except OutcropError:  # `outcrop_collection_failing` and `/health` tell of it; a dropped one is not there any more
        return None


def _forget_the_dead(folder: Path) -> None:
    """Remove what processes have noted of themselves that have ended, however they did. What they counted stays."""
    if sys.platform == "win32":  # there is one process
        return
    for number in {int(found[1]) for file in folder.iterdir() if (found := _OF_A_PROCESS.fullmatch(file.name))}:
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            with suppress(FileNotFoundError):  # another process has just done it
                mark_process_dead(number, str(folder))  # type: ignore[no-untyped-call]
        except PermissionError:  # it lives, as another user's
            continue

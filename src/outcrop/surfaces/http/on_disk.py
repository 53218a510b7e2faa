"""What the collections hold, read off the disk for Prometheus: the same, whichever process of the server is asked.

No generation is opened for it: a server of many collections, of which few are searched, would have all of them open. And a
collection is looked at again only when its journal or its folder has changed: to look takes 4 ms.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from time import monotonic

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

import outcrop
from outcrop import Database, GenerationInfo, HistoryEntry
from outcrop.errors import OutcropError
from outcrop.files import size_bytes
from outcrop.generations.journal import Journal
from outcrop.generations.layout import CollectionFolder
from outcrop.surfaces.http.builds import states
from outcrop.surfaces.http.builds.states import Build, BuildsFolder, State, Totals

_Seen = tuple[tuple[int, int], ...]
_KEPT_SECONDS_MAX = 60.0  # what is absorbed into the index changes sizes, and neither of them
_KINDS = ("promote", "rollback", "quarantine")
_ENDS: tuple[State, ...] = ("done", "failed", "cancelled", "interrupted")


class Facts(msgspec.Struct, frozen=True):
    """What is known of a collection without opening a generation."""

    generations: tuple[GenerationInfo, ...]
    history: tuple[HistoryEntry, ...]
    size_bytes: int
    journal_bytes: int
    sequence: int
    totals: Totals
    running: Build | None

    @property
    def active(self) -> GenerationInfo | None:
        """The generation that searches see."""
        return next((one for one in self.generations if one.status == "active"), None)


_GAUGES: tuple[tuple[str, str, Callable[[Facts], float | None]], ...] = (
    ("outcrop_documents", "Documents that there are.", lambda one: _of_active(one, "document_count", 0)),
    ("outcrop_chunks", "Chunks that are searched.", lambda one: _of_active(one, "chunk_count", 0)),
    ("outcrop_size_bytes", "Bytes on disk.", lambda one: one.size_bytes),
    ("outcrop_journal_bytes", "Bytes of the journal.", lambda one: one.journal_bytes),
    ("outcrop_sequence", "The last write.", lambda one: one.sequence),
    ("outcrop_generations", "Generations that are kept.", lambda one: len(one.generations)),
    ("outcrop_index_recall", "Recall of the active vector index when it was sealed.", lambda one: _of_active(one, "recall", None)),
    ("outcrop_unembedded_chunks", "Chunks that have no vector.", lambda one: _of_active(one, "unembedded", 0)),
)


class KnownFacts:
    """What was read, and how the files were then. For one thread."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[_Seen, float, Facts]] = {}

    def of(self, db: Database) -> dict[str, Facts | None]:
        """What is known of each collection, or None if it cannot be looked at."""
        names = db.collections()
        for gone in self._kept.keys() - set(names):
            del self._kept[gone]
        return {name: self._facts(db, name) for name in names}

    def _facts(self, db: Database, name: str) -> Facts | None:
        folder = CollectionFolder(db.path / name)
        seen, kept = _seen(folder), self._kept.get(name)
        if kept is not None and kept[0] == seen and monotonic() - kept[1] < _KEPT_SECONDS_MAX:
            return kept[2]
        found = _read(db, name, folder)
        if found is None:
            self._kept.pop(name, None)
        else:
            self._kept[name] = seen, monotonic(), found
        return found


def families(db: Database, found: Mapping[str, Facts | None]) -> Iterator[Metric]:
    """One family after the other."""
    yield InfoMetricFamily("outcrop", "What runs here.", value={"version": outcrop.__version__, "mode": db.mode})
    yield _labelled(
        GaugeMetricFamily("outcrop_collection_failing", "Whether a collection cannot be looked at.", labels=["collection"]),
        {name: float(facts is None) for name, facts in found.items()},
    )
    known = {name: facts for name, facts in found.items() if facts is not None}
    yield _generations(known)
    for name, about, value in _GAUGES:
        values = {collection: number for collection, facts in known.items() if (number := value(facts)) is not None}
        yield _labelled(GaugeMetricFamily(name, about, labels=["collection"]), values)
    yield from _promotions(known)
    yield from _builds(known)
    yield from _room(db)


def _seen(folder: CollectionFolder) -> _Seen:
    """How the files are that change with whatever changes: the journal, its log, the folders of generations and of builds."""
    found = []
    for path in (folder.journal, folder.journal.with_name(f"{folder.journal.name}-wal"), folder.generations, folder.builds):
        try:
            status = path.stat()
        except OSError:
            found.append((0, 0))
        else:
            found.append((status.st_mtime_ns, status.st_size))
    return tuple(found)


def _read(db: Database, name: str, folder: CollectionFolder) -> Facts | None:
    journal, builds = Journal(folder.journal), BuildsFolder(folder.builds)
    try:
        collection = db.collection(name)
        return Facts(
            generations=tuple(collection.generations()),
            history=collection.history(),
            size_bytes=size_bytes(folder.path),
            journal_bytes=journal.size_bytes(),
            sequence=journal.head(),
            totals=states.totals(builds),
            running=next((one for one in states.all_of(builds) if one.state in states.UNDER_WAY), None),
        )
    except OutcropError:  # `/health` tells more
        return None


def _labelled(family: GaugeMetricFamily, values: Mapping[str, float]) -> Metric:
    for label, value in values.items():
        family.add_metric([label], value)
    return family


def _of_active(one: Facts, name: str, absent: float | None) -> float | None:
    active = one.active
    found: float | None = absent if active is None else getattr(active, name)
    return found


def _generations(known: Mapping[str, Facts]) -> Metric:
    family = InfoMetricFamily("outcrop_generation", "The active generation.", labels=["collection"])
    for collection, facts in known.items():
        active = facts.active
        if active is not None:
            embedder = active.recipe.embedder
            about = {
                "generation": str(active.number),
                "uuid": active.uuid,
                "engine": active.recipe.engine,
                "embedder": "none" if embedder is None else embedder.spec,
                "vector_index": active.vector_index or "none",
            }
            family.add_metric([collection], about)
    return family


def _promotions(known: Mapping[str, Facts]) -> Iterator[Metric]:
    """How often another generation was put live, and when last: counted where it is written down, so by whomever it was done."""
    counted = CounterMetricFamily("outcrop_promotions", "Changes of the active generation.", labels=["collection", "kind"])
    last = GaugeMetricFamily(
        "outcrop_promoted_timestamp_seconds", "When the active generation was put live.", labels=["collection"]
    )
    for collection, facts in known.items():
        by_kind = Counter(one.kind for one in facts.history)
        for kind in _KINDS:
            counted.add_metric([collection, kind], by_kind[kind])
        if facts.history:
            last.add_metric([collection], datetime.fromisoformat(facts.history[-1].at).timestamp())
    yield counted
    yield last


def _builds(known: Mapping[str, Facts]) -> Iterator[Metric]:
    """The builds over HTTP: those that ended, and how far the one is that runs."""
    counted = CounterMetricFamily("outcrop_builds", "Builds over HTTP that ended.", labels=["collection", "state"])
    seconds = CounterMetricFamily("outcrop_build_seconds", "Seconds that such builds took.", labels=["collection", "state"])
    for name, facts in known.items():
        for state in _ENDS:
            counted.add_metric([name, state], facts.totals.ended.get(state, 0))
            seconds.add_metric([name, state], facts.totals.seconds.get(state, 0.0))
    yield counted
    yield seconds
    running = {name: one for name, facts in known.items() if (one := facts.running) is not None}
    yield _labelled(
        GaugeMetricFamily("outcrop_build_running", "Whether a build over HTTP runs.", labels=["collection"]),
        {name: float(name in running) for name in known},
    )
    yield _labelled(
        GaugeMetricFamily("outcrop_build_documents", "Documents that the build has done that runs.", labels=["collection"]),
        {name: one.documents for name, one in running.items()},
    )
    yield _labelled(
        GaugeMetricFamily("outcrop_build_done_ratio", "How much of its stage the build has done that runs.", labels=["collection"]),
        {name: one.done / one.total for name, one in running.items() if one.done is not None and one.total},
    )


def _room(db: Database) -> Iterator[Metric]:
    try:
        room = shutil.disk_usage(db.path)
    except OSError:
        return
    yield GaugeMetricFamily("outcrop_disk_free_bytes", "Bytes free where the database is.", value=room.free)
    yield GaugeMetricFamily("outcrop_disk_size_bytes", "Bytes of the file system where the database is.", value=room.total)

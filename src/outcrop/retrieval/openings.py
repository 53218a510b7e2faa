"""Which generations this process has open: the active one, those that may soon be active, and those that lately were.

A search must not pay for an opening. So a watching thread opens a generation when its manifest appears or when somebody intends to
promote it, loads its embedder if the active one's is loaded, and keeps the newest earlier ones open for a rollback. It also lets go
of those that are not needed any more: what a process has open, nobody deletes.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic

import msgspec

from outcrop import forking
from outcrop.errors import Closed, Damaged, OutcropError
from outcrop.generations import catalog, pointer
from outcrop.generations.journal import Promotion, has_entries, promotions_of
from outcrop.generations.layout import ACTIVE, CollectionFolder, GenerationName
from outcrop.model import Degraded
from outcrop.reloading import LiveConfig
from outcrop.retrieval.generation import OpenGeneration
from outcrop.sqlite_files import Connections

_log = logging.getLogger("outcrop")
_OTHERS_OPEN_MAX = 4
_WATCH_SECONDS, _WATCH_SECONDS_MAX = 0.1, 1.0
_WATCHED_AT_ONCE = 8  # of more, each is looked at less often
_LOOK_SECONDS = 5.0
_IDLE_SECONDS = 30.0
_RESCUES_MAX = 2
_FAILED_SECONDS = 3.0
_INTENT_SECONDS_MAX = 3600.0


class StandIn(msgspec.Struct, frozen=True):
    """A generation that serves although another one is active, and why."""

    name: GenerationName
    degraded: Degraded


class Openings:
    """The generations of one collection that are open here. Safe from many threads; a forked child goes on with what it inherits.

    `open_generation` opens one. `rescue` is called when the active one is damaged: it makes another one active, or names one that
    can stand in without that, or raises. `check_same` raises if the collection was dropped, or another one has its name now.
    """

    def __init__(
        self,
        folder: CollectionFolder,
        live: LiveConfig,
        open_generation: Callable[[GenerationName], OpenGeneration],
        *,
        rescue: Callable[[GenerationName, Damaged], StandIn | None],
        check_same: Callable[[], None],
    ) -> None:
        self.folder = folder
        self._live = live
        self._open_generation = open_generation
        self._rescue = rescue
        self._check_same = check_same
        self._active_path = os.path.join(folder.path, ACTIVE)
        self._lock = forking.lock()
        self._opening = forking.lock()
        self._rescuing = forking.lock()
        self._current: tuple[str | None, OpenGeneration] | None = None
        self._standing_in = False
        self._journal = Connections(folder.journal)
        self._rescue_failed: tuple[str | None, float, OutcropError] | None = None
        self._others: dict[GenerationName, OpenGeneration] = {}
        self._used_at: dict[GenerationName, float] = {}
        self._warmed: set[GenerationName] = set()
        self._watched_by: int | None = None
        self.closed = False
        self.degraded: Degraded | None = None

    def pin_active(self, *, rescue: bool = True) -> OpenGeneration | None:
        """The active generation, pinned: whoever asked unpins it. None if nothing was ever promoted.

        A damaged one is replaced if possible; without `rescue`, `Damaged` is raised at once.
        """
        while True:
            opened = self._active(rescues=0 if rescue else _RESCUES_MAX)
            if opened is None or opened.pin():
                return opened

    def pin(self, name: GenerationName) -> OpenGeneration:
        """A generation, pinned. Raises `Damaged`, `UnknownGeneration` if it was removed meanwhile."""
        while True:
            opened = self._other(name)
            if opened.pin():
                return opened

    def let_go(self, name: GenerationName) -> None:
        """Keep a generation open no longer than those need it who search it now. Not for the active one."""
        with self._lock:
            opened = self._others.pop(name, None)
        if opened is not None:
            opened.retire()

    def let_go_of_idle(self) -> None:
        """Keep no generation open but the active one and those that are being searched: what is worth it is opened again."""
        with self._lock:
            idle = [name for name, one in self._others.items() if not one.searches]
            retired = [self._others.pop(name) for name in idle]
        for one in retired:
            one.retire()

    def close(self) -> None:
        """Let go of all of them; searches that are running end first. Idempotent."""
        _watched.discard(self)
        with self._lock:
            self.closed = True
            opened = [*self._others.values(), *([self._current[1]] if self._current else [])]
            self._others, self._current = {}, None
        self._journal.close()
        for one in opened:
            one.retire()

    def reconfigured(self) -> None:
        """Begin to watch, if the configuration wants that now and something is open. It ends by itself where it is not wanted."""
        if self._current is not None and not self.closed:
            self._begin_watching()

    def watch(self) -> None:
        """One look around: open what may soon be active, let go of what is not needed."""
        active = catalog.active_or_none(self.folder)
        promotions = [] if active is None else promotions_of(self._journal)
        coming = self._coming(active, promotions)
        wanted = [*self._earlier(active, promotions), *coming]
        for name in wanted:
            if name != active:
                self._other(name)
        now = monotonic()
        with self._lock:
            for name in wanted:
                self._used_at[name] = now
            idle = [
                name
                for name, one in self._others.items()
                if not one.searches and now - self._used_at.get(name, now) > _IDLE_SECONDS
            ]
            retired = [self._others.pop(name) for name in idle]
        for one in retired:
            one.retire()
        if active is not None:
            self._active()  # a process that does not search must not keep an old one from being collected
        self._warm(coming)

    def keeps_watching(self) -> bool:
        """Whether the watching thread goes on: not when the collection is closed, nor when `background` was turned off."""
        if self.closed:
            return False
        with self._lock:
            if not self._live.current.background:
                self._watched_by = None
                _watched.discard(self)
            return self._watched_by is not None

    def earlier(self) -> list[GenerationName]:
        """The newest of the generations that were active before: those that are kept caught up and open."""
        active = catalog.active_or_none(self.folder)
        return [] if active is None else self._earlier(active, promotions_of(self._journal))

    def _earlier(self, active: GenerationName | None, promotions: list[Promotion]) -> list[GenerationName]:
        count = self._live.current.warm_generations
        if active is None or not count:
            return []
        done = catalog.done_of(promotions, active)
        earlier = [one.generation for one in reversed(done) if one.generation != active.number]
        numbers = list(dict.fromkeys(earlier))[:count]
        return [name for name in self.folder.names() if name.number in numbers and catalog.is_usable(self.folder, name)]

    def _coming(self, active: GenerationName | None, promotions: list[Promotion]) -> list[GenerationName]:
        """What may soon be active: a newer ready one, an intended one."""
        if active is None:
            return []
        promoted = {one.generation for one in promotions}
        intended = [promotions[-1].generation] if promotions and _is_fresh(promotions[-1]) else []
        newer = [name for name in self.folder.names() if name.number > active.number and name.number not in promoted][-1:]
        intended_ones = [name for name in self.folder.names() if name.number in intended]
        return [name for name in (*newer, *intended_ones) if catalog.is_usable(self.folder, name)]

    def _warm(self, coming: list[GenerationName]) -> None:
        """Make what may soon be active as ready as the active one is, or try to, once."""
        with self._lock:
            self._warmed.intersection_update(coming)
            current = self._current
            cold = [one for name, one in self._others.items() if name in coming and name not in self._warmed]
        for opened in cold if current is not None and current[1].is_warm else ():
            self._warmed.add(opened.name)
            if opened.pin():
                try:
                    opened.warm()
                finally:
                    opened.unpin()

    def _active(self, rescues: int = 0) -> OpenGeneration | None:
        """The active generation, opened anew if another one was promoted since, by whatever process."""
        target = pointer.read_raw(self._active_path)
        current = self._current
        if current is not None and current[0] == target and not (self._standing_in and self._lacks_writes(current[1])):
            return current[1]
        if self.closed:
            raise self._is_closed()
        self._check_same()
        name = self._named(target)
        if name is None:
            return None
        stand_in: StandIn | None = None
        try:
            if target is None:
                raise pointer.lost(self.folder, name)
            opened = self._other(name)
        except Damaged as error:
            if pointer.read_raw(self._active_path) != target:  # it was left, and collected
                return self._active(rescues)
            if rescues >= _RESCUES_MAX:
                raise
            stand_in = self._rescued(target, name, error)
            if stand_in is None:
                return self._active(rescues + 1)
            opened = self._other(stand_in.name)
        self._become_current(target, opened, None if stand_in is None else stand_in.degraded)
        self._standing_in = stand_in is not None
        return opened

    def _rescued(self, target: str | None, name: GenerationName, error: Damaged) -> StandIn | None:
        """Rescue, one at a time: the others find what it came to, also for some seconds that it came to nothing."""
        with self._rescuing:
            if pointer.read_raw(self._active_path) != target:
                return None
            failed = self._rescue_failed
            if failed is not None and failed[0] == target and monotonic() < failed[1] + _FAILED_SECONDS:
                raise failed[2]
            try:
                return self._rescue(name, error)
            except OutcropError as unrescued:
                self._rescue_failed = target, monotonic(), unrescued
                raise

    def _named(self, target: str | None) -> GenerationName | None:
        """The generation that is active, also where the pointer to it was lost; None if nothing was ever promoted."""
        return catalog.last_promoted(self.folder) if target is None else pointer.parse_target(self.folder, target)

    def _lacks_writes(self, opened: OpenGeneration) -> bool:
        """Whether a generation that stands in here is behind by now: it is not kept caught up."""
        return not self.folder.journal.exists() or has_entries(self._journal, opened.documents.sequence())

    def _become_current(self, target: str | None, opened: OpenGeneration, degraded: Degraded | None) -> None:
        degraded = self._replaced_a_damaged_one(opened.name) if degraded is None else degraded
        with self._lock:
            if self.closed:
                opened.retire()
                raise self._is_closed()
            if opened.retired:  # made room for another one meanwhile: the caller tries again
                return
            previous, self._current, self.degraded = self._current, (target, opened), degraded
            self._others.pop(opened.name, None)
            if previous is not None and previous[1] is not opened:
                self._keep(previous[1])
        self._begin_watching()

    def _replaced_a_damaged_one(self, name: GenerationName) -> Degraded | None:
        try:
            promotions = catalog.done_promotions(self.folder)
        except OutcropError as error:  # the journal: searching does not need it
            _log.warning("%s", error)
            return None
        if not promotions or promotions[-1].kind != "quarantine" or promotions[-1].generation != name.number:
            return None
        last = promotions[-1]
        reason = f"generation {last.previous} is damaged; generation {name.number} serves instead"
        return Degraded(reason=reason, since=last.intended_at)

    def _other(self, name: GenerationName) -> OpenGeneration:
        """A generation, opened at most once at a time."""
        with self._lock:
            found = self._found(name)
        if found is not None:
            return found
        with self._opening:
            with self._lock:
                found = self._found(name)
            if found is not None:
                return found
            if self.closed:
                raise self._is_closed()
            opened = self._open_generation(name)
            with self._lock:
                if self.closed:  # meanwhile, and so nobody else would let go of it
                    opened.retire()
                    raise self._is_closed()
                self._keep(opened)
            return opened

    def _is_closed(self) -> Closed:
        return Closed(f"collection {self.folder.path.name!r} is closed", collection=self.folder.path.name)

    def _found(self, name: GenerationName) -> OpenGeneration | None:
        self._used_at[name] = monotonic()
        if self._current is not None and self._current[1].name == name:
            return self._current[1]
        return self._others.get(name)

    def _keep(self, opened: OpenGeneration) -> None:
        """Keep one open besides the active one, in the place of the one used longest ago if there are many."""
        self._used_at[opened.name] = monotonic()
        self._others[opened.name] = opened
        while len(self._others) > _OTHERS_OPEN_MAX:
            oldest = min(self._others, key=lambda name: self._used_at.get(name, 0.0))
            self._others.pop(oldest).retire()

    def _begin_watching(self) -> None:
        with self._lock:
            if not self._live.current.background or self._watched_by == os.getpid():
                return
            self._watched_by = os.getpid()
            _watched.add(self)
        try:
            threading.Thread(target=_watch, args=(weakref.ref(self),), name="outcrop-watch", daemon=True).start()
        except RuntimeError as error:  # the system has no thread to give: searches see promotions without one, only less promptly
            self._watched_by = None
            _log.warning("collection %r is not watched: %s", self.folder.path.name, error)


_watched: weakref.WeakSet[Openings] = weakref.WeakSet()


def _watch(watched: weakref.ref[Openings]) -> None:
    """Look around until the collection is closed or forgotten."""
    pause = threading.Event()
    seen: tuple[object, ...] = ()
    looked_at = 0.0
    while not pause.wait(min(_WATCH_SECONDS_MAX, _WATCH_SECONDS * max(1.0, len(_watched) / _WATCHED_AT_ONCE))):
        openings = watched()
        if openings is None or not openings.keeps_watching():
            return
        now = _state(openings)
        if now == seen and monotonic() - looked_at < _LOOK_SECONDS:
            continue
        seen, looked_at = now, monotonic()
        try:
            openings.watch()
        except OutcropError as error:
            _log.debug("%s", error)
        except Exception as error:  # noqa: BLE001 - an embedder may raise anything: whatever it is, the next look may succeed
            _log.warning("collection %r is watched, but not well: %s", openings.folder.path.name, error, exc_info=error)
        del openings


def _is_fresh(promotion: Promotion) -> bool:
    """Whether a promotion is only intended, and not so long ago that its process must have died."""
    age = datetime.now(UTC) - datetime.fromisoformat(promotion.intended_at)
    return promotion.done_at is None and age.total_seconds() < _INTENT_SECONDS_MAX


def _state(openings: Openings) -> tuple[object, ...]:
    """What changes when somebody builds or intends to promote: cheap to ask."""
    folder = openings.folder
    log = folder.journal.with_name(f"{folder.journal.name}-wal")
    stamps = []
    try:
        generations = list(folder.generations.glob("*"))
    except OSError:  # the collection is being dropped
        generations = []
    for path in (folder.path, folder.generations, folder.journal, log, *generations):
        try:
            stamps.append(path.stat().st_mtime_ns)
        except OSError:
            stamps.append(0)
    return tuple(stamps)

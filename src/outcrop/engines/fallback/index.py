"""One generation's index in two engines.

The second engine is written under the generation's apply lock, like any. The first follows by itself, from the rows of the
generation and outside of every lock that a writer takes: how far it is, its own marker tells. An index that is behind does not
serve.

Whatever the first engine raises is taken here, foreign errors too: it is the one that need not work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import msgspec

from outcrop import file_locks, forking
from outcrop.documents import Documents
from outcrop.engines.absorb_lock import alone
from outcrop.engines.fallback.breaker import Breaker, Policy, now_utc, said_by
from outcrop.engines.fallback.follower import Follower
from outcrop.engines.fallback.leading import Leading, NoIndex
from outcrop.engines.fallback.snapshot import First, Second
from outcrop.engines.protocol import (
    KEEP_SECONDS,
    Engine,
    GenerationIndex,
    IndexedChunk,
    IndexSnapshot,
    IndexStats,
    Publishing,
    SampleQueries,
)
from outcrop.errors import Closed, CollectionLocked, Damaged, EngineUnavailable, StorageFailed
from outcrop.model import Degraded, Recipe, ServingStats

LOCK = "follow.lock"
_LAG_CHUNKS_MAX = 50_000
"""So many chunks that ended are remembered for a first engine that is behind; beyond that it is built anew."""
_OPENED_SECONDS = 10.0
"""So long an opening waits for the first engine: importing it takes a second or two."""
_CLOSED_SECONDS_MAX = 10.0
_STRICT_SECONDS = 600.0
_LOOKS_MAX = 3
_NOT_FOLLOWING = (
    "this database is open read-only and does not bring it up to date: a process that writes in mode production does, or outcrop"
    " optimize"
)


class FallbackIndex:
    """A `GenerationIndex`: `second` is open or being built, the first may be neither. `policy` is asked at each use."""

    def __init__(
        self,
        directory: Path,
        recipe: Recipe,
        second: GenerationIndex,
        *,
        first_engine: Callable[[], Engine],
        policy: Callable[[], Policy],
    ) -> None:
        self._directory = directory
        self._second = second
        self._policy_now = policy
        self._building = False
        self._closed = False
        self._marker: int | None = None  # the first one's, as last seen
        self._absorption_asked = False
        self._fails_to_follow = False
        self._breaker = Breaker("lancedb", policy)
        self._first = Leading(directory, recipe, first_engine, self._check_open)
        self._follower = Follower("outcrop-follow", self._work)
        forking.in_child(self, FallbackIndex._begin_child)

    def __repr__(self) -> str:
        return f"FallbackIndex({self._second!r}, first: {self._first.index!r})"

    @property
    def _policy(self) -> Policy:
        return self._policy_now()

    def begin_first(self) -> None:
        """Begin to build the first engine's index too."""
        self._building = True
        with self._noting():
            self._first.create()

    def open_first(self) -> None:
        """Open the first engine's index, and bring it up to date; wait for that a while, but not if it must be built anew."""
        self._follower.ask()
        self._first.looked_at.wait(_OPENED_SECONDS if self._policy.second_serves else _STRICT_SECONDS)

    def apply(self, upserts: Sequence[IndexedChunk], deletes: Sequence[int], sequence: int) -> None:
        """Write the second engine. The first one is written here only while both are built; later it follows."""
        self._second.apply(upserts, deletes, sequence)
        if self._building:
            self._to_first_being_built(lambda first: first.apply(upserts, deletes, sequence))

    def seal(self, queries: SampleQueries | None = None) -> IndexStats:
        """Seal both. If the first cannot be, the generation is ready all the same, and the first is built from its rows later."""
        self._second.seal(queries)
        self._to_first_being_built(lambda first: first.seal(queries))
        self._building = False
        return self.stats()

    def snapshot(self) -> IndexSnapshot:
        """The first engine's, if it works and holds every write; otherwise the second's, which says why."""
        found, reason = self._look()
        if isinstance(found, First):
            return found
        if self._policy.second_serves:
            return Second(found, self._degraded(reason))
        self._follower.ask().wait(_STRICT_SECONDS)
        found, reason = self._look()
        if isinstance(found, First):
            return found
        reason = self._degraded(reason).reason
        raise EngineUnavailable(
            f"{reason.rstrip('.')}. In this mode no other engine serves; mode production falls back to the built-in one.",
            engine="lancedb",
            reason=reason,
            remedy="open the database in mode production",
        )

    def follow(self, seconds_max: float) -> bool:
        """Bring the first engine up to date on a thread of its own, and wait for that at most so long."""
        policy = self._policy
        if not policy.follows or self._building:
            return True
        if not policy.second_serves:
            return self._follower.ask().wait(_STRICT_SECONDS)
        if self._breaker.state == "open":
            return False
        asked = self._follower.ask()
        patience = 0.0 if self._first.busy else min(seconds_max, policy.apply_seconds)
        done = asked.wait(patience)
        if not done and patience > 0 and not self._first.busy:
            self._fails_to_follow = True
            self._failed(f"it did not take a write within {patience:g} s")
        return done

    def rebuild(self, engine: Engine) -> int:
        """Build the first engine's index anew from the rows, now; how many chunks it has then. Raises what the engine raises."""
        with self._only_one(KEEP_SECONDS), closing(Documents(self._directory)) as documents:
            second = self._second.snapshot()
            self._first.rebuild(engine, documents, second)
            count = self._first.opened().stats().chunk_count
        self._recovered()
        self.follow(self._policy.apply_seconds)
        return count

    def absorb(
        self, publishing: Publishing, *, keep_seconds: float = KEEP_SECONDS, floor: int | None = None, timeout_seconds: float = 0.0
    ) -> int:
        """Absorb in the second engine, and then in the first, which writers do not wait for.

        What ended is remembered for the first engine until it holds that too, or lags too far.
        """
        needed = [one for one in (floor, self._held_for_first()) if one is not None]
        absorbed = self._second.absorb(
            publishing, keep_seconds=keep_seconds, floor=min(needed, default=None), timeout_seconds=timeout_seconds
        )
        if self._policy.follows and self._breaker.state != "open":
            self._absorption_asked = True
            self._follower.ask().wait(max(timeout_seconds, self._policy.apply_seconds))
        return absorbed

    def stats(self) -> IndexStats:
        """What both hold: the second one's counts, and of the first what concerns its vector index."""
        first = None
        if self._first.index is not None and self._breaker.state == "closed":
            with self._noting():
                first = self._first.opened().stats()
                self._marker = self._first.opened().snapshot().sequence
        second = msgspec.structs.replace(self._second.stats(), serving=self._serving())
        if first is None:
            return second
        return msgspec.structs.replace(
            second,
            unindexed_count=max(first.unindexed_count, second.unindexed_count),
            vector_index=f"{first.vector_index} (LanceDB), {second.vector_index} (built-in)" if second.vector_index else None,
            recall=first.recall,
            fields_without_column=first.fields_without_column,
        )

    def close(self) -> None:
        """Release both. A first engine that hangs is left to itself."""
        self._closed = True
        if self._follower.close(min(self._policy.apply_seconds, _CLOSED_SECONDS_MAX)):
            self._first.let_go()
        self._second.close()

    def _look(self) -> tuple[IndexSnapshot, str]:
        """The first engine's snapshot, or one of the second and why."""
        for _ in range(_LOOKS_MAX):
            second = self._second.snapshot()
            first, reason = self._first_at(second.sequence)
            if first is None:
                return second, reason
            if first.sequence == second.sequence:
                return First(first, second, self._told, second_serves=self._policy.second_serves), ""
        return second, "it was written while it was looked at"

    def _first_at(self, sequence: int) -> tuple[IndexSnapshot | None, str]:
        """The first engine's snapshot of this write or a later one, or None and why."""
        if self._policy.second_serves and not self._breaker.allows():
            return None, "it has failed and is left alone for a while"
        try:
            found = self._first.opened().snapshot()
        except Closed:
            self._follower.ask()
            return None, self._first.doing
        except Exception as error:  # noqa: BLE001 - see the module
            self._fails_to_follow = self._first.suspect = True
            self._failed(reason := said_by(error), at_once=_hangs(error))
            self._follower.ask()
            return None, reason
        self._marker = found.sequence
        if found.sequence >= sequence:
            return found, ""
        self._follower.ask()
        return None, self._behind(found.sequence, sequence)

    def _behind(self, held: int, sequence: int) -> str:
        """How far the first engine is, and if nobody brings it up to date here, who does."""
        reason = f"its index holds the writes up to {held} of {sequence}"
        return reason if self._policy.follows else f"{reason}; {_NOT_FOLLOWING}"

    def _told(self, error: Exception | None) -> Degraded | None:
        """What a search says of the first engine: it answered, or it raised this."""
        if error is None:
            self._breaker.succeeded()
            return None
        self._check_open()
        if not isinstance(error, Closed) and self._failed(said_by(error), at_once=_hangs(error)):  # else it is being opened anew
            self._first.suspect = True
            self._follower.ask()
        return self._degraded(said_by(error))

    def _failed(self, reason: str, *, at_once: bool = False) -> bool:
        return False if self._closed else self._breaker.failed(reason, at_once=at_once)

    def _degraded(self, reason: str) -> Degraded:
        failure = self._breaker.failure
        if failure is not None:
            return Degraded(reason=f"LanceDB: {failure.reason}", since=failure.since)
        return Degraded(reason=f"LanceDB: {reason}", since=now_utc(), cause="behind")

    def _work(self) -> None:
        """What the follower does: bring the first engine up to date, and absorb in it if that was asked."""
        absorbs, self._absorption_asked = self._absorption_asked, False
        try:
            if not self._closed and not self._building and self._may_be_tried():
                self._follow(absorbs=absorbs)
        except Exception as error:  # noqa: BLE001 - see the module
            self._fails_to_follow = True
            if isinstance(error, NoIndex):
                self._breaker.absent(error.message)
            else:
                self._failed(said_by(error), at_once=True)
            self._first.let_go()
        finally:
            self._first.looked_at.set()
            if self._closed:
                self._first.let_go()

    def _may_be_tried(self) -> bool:
        return not self._policy.second_serves or self._first.suspect or self._breaker.state != "open"

    def _follow(self, *, absorbs: bool) -> None:
        """Open the first engine if it is not open; then apply what it lacks, or build it anew where that cannot be; then absorb."""
        if not self._policy.follows:
            self._first.open_anew_if_suspect()
            return
        with alone(self._directory / LOCK, self._policy.apply_seconds) as only_one:
            if not only_one:  # another process is at it, or hangs in it
                with suppress(Damaged):  # it may be being built anew
                    self._first.open_anew_if_suspect()
                return
            with closing(Documents(self._directory)) as documents:
                was_built_anew = self._first.bring_up(documents, self._second.snapshot)
        self._marker = self._first.opened().snapshot().sequence
        if was_built_anew or self._fails_to_follow:
            self._recovered()
        if absorbs:
            with suppress(CollectionLocked):
                self._first.absorb(self._publishing_first)

    def _recovered(self) -> None:
        self._fails_to_follow = False
        self._breaker.succeeded()

    @contextmanager
    def _publishing_first(self) -> Iterator[None]:
        """The first engine is written by one at a time, as the second under the apply lock."""
        with self._only_one(self._policy.apply_seconds):
            yield

    @contextmanager
    def _only_one(self, timeout_seconds: float) -> Iterator[None]:
        with alone(self._directory / LOCK, timeout_seconds) as only_one:
            if not only_one:
                raise CollectionLocked(
                    f"the LanceDB index in {self._directory} is being brought up to date by another process or thread"
                    f" (waited {timeout_seconds:g} s); try again later",
                    path=self._directory,
                    owner=None,
                )
            yield

    def _held_for_first(self) -> int | None:
        """The write up to which what ended may be forgotten as far as the first engine goes."""
        if not self._first.is_there():
            return None
        with closing(Documents(self._directory)) as documents:
            if documents.ended_count() > _LAG_CHUNKS_MAX:
                return None
        # It may be being built anew, as of a write of some time ago; or it was never seen, as it does not work now.
        return 0 if self._marker is None or file_locks.is_locked(self._directory / LOCK) else self._marker

    def _to_first_being_built(self, do: Callable[[GenerationIndex], object]) -> None:
        if self._first.index is None:
            return
        with self._noting() as noted:
            do(self._first.opened())
        if noted:
            self._first.let_go()

    def _serving(self) -> ServingStats:
        """How the first engine does."""
        sequence = None if self._building else self._second.snapshot().sequence
        return ServingStats(
            engine=self._breaker.engine,
            state=self._breaker.state,
            failures=self._breaker.failure_count,
            reason=self._reason(sequence),
            writes_behind=None if self._marker is None or sequence is None else max(0, sequence - self._marker),
        )

    def _reason(self, sequence: int | None) -> str | None:
        """Why the first engine does not answer, or None if it does or soon will."""
        if (failure := self._breaker.failure) is not None:
            return failure.reason
        if self._first.index is None:
            return self._first.doing
        if not self._policy.follows and self._marker is not None and sequence is not None and self._marker < sequence:
            return self._behind(self._marker, sequence)
        return None

    def _begin_child(self) -> None:
        """In a forked child the first engine has to be asked anew whether it works there."""
        self._first.abandon()

    def _check_open(self) -> None:
        if self._closed:
            raise Closed(f"the index in {self._directory} is closed")

    @contextmanager
    def _noting(self) -> Iterator[list[str]]:
        """Take and note what the first engine raises; the list says what."""
        noted: list[str] = []
        try:
            yield noted
        except Exception as error:  # noqa: BLE001 - see the module
            noted.append(said_by(error))
            self._failed(noted[0])


def _hangs(error: Exception) -> bool:
    """Whether it took as long as is waited: no other search is to wait for that again."""
    return isinstance(error, StorageFailed) and error.errno_name == "ETIMEDOUT"

"""Engines that break a promise about what they are, what they take, or what they keep.

Not collected by itself: `test_conformance` runs it, and expects what `fails` says.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from outcrop.engines.protocol import Availability, IndexedChunk, IndexStats, Ranking, SampleQueries
from outcrop.errors import Closed, Damaged, IllegalState, InvalidInput
from outcrop.model import Chunk, Recipe
from tests.engines.breaking import Engine, Index, Snapshot, fails


@fails("test_its_methods_have_the_parameters_of_the_protocol")
class Drifting(Engine):
    def verify(self, recipe: Recipe, folder: Path) -> None: ...


@fails("test_the_methods_of_its_index_have_the_parameters_of_the_protocol")
class DriftingIndex(Index):
    def apply(self, upserts: object, deletes: object = (), sequence: int = 0) -> None: ...


@fails("test_the_methods_of_its_snapshot_have_the_parameters_of_the_protocol")
class DriftingSnapshot(Snapshot):
    def nearest(self, vector: object, k: int = 10, where: object = None) -> Ranking: ...


@fails("test_it_says_what_it_is_called_and_what_it_can_do")
class NamedInTwoWords(Engine):
    name = "two words"


@fails("test_where_it_does_not_work_it_says_why_and_what_to_do", needs=("outcrop_needs_this",))
class WithoutRemedy(Engine):
    def availability(self) -> Availability:
        try:
            import outcrop_needs_this  # noqa: F401
        except ModuleNotFoundError:
            return Availability(available=False, reason="it is not there")
        return Availability(available=True)


@fails(
    "test_where_it_does_not_work_it_makes_and_opens_nothing",
    "test_where_it_does_not_work_it_says_why_and_what_to_do",
    needs=("outcrop_needs_this",),
)
class AvailableAnyhow(Engine): ...


@fails("test_a_copy_of_the_engine_opens_what_it_made")
class HoldsState(Engine):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


@fails(
    "test_a_write_puts_replaces_and_deletes_at_once",
    "test_what_was_deleted_can_be_put_again",
    "test_many_writes_leave_what_a_dictionary_would_hold",
    "test_a_generation_without_vectors_is_built_and_written",
)
class DropsDeletes(Index):
    def apply(self, upserts: Sequence[IndexedChunk], deletes: Sequence[int], sequence: int) -> None:
        self.inner.apply(upserts, (), sequence)


@fails("test_whoever_has_written_has_what_lags_brought_up_to_date")
class FollowsNobody(Index):
    def follow(self, seconds_max: float) -> bool:
        return seconds_max < 0


@fails("test_a_document_of_several_chunks_goes_with_all_of_them")
class DeletesOneChunk(Index):
    def apply(self, upserts: Sequence[IndexedChunk], deletes: Sequence[int], sequence: int) -> None:
        self.inner.apply(upserts, deletes[:1], sequence)


@fails("test_slots_that_are_not_there_are_deleted_without_a_word")
class RefusesUnknownSlots(Index):
    def apply(self, upserts: Sequence[IndexedChunk], deletes: Sequence[int], sequence: int) -> None:
        if len(self.inner.snapshot().fetch(deletes)) != len(deletes):
            raise KeyError(deletes)
        self.inner.apply(upserts, deletes, sequence)


@fails("test_a_write_that_is_applied_again_changes_nothing")
class CountsAgain(Index):
    def apply(self, upserts: Sequence[IndexedChunk], deletes: Sequence[int], sequence: int) -> None:
        self.inner.apply(upserts, deletes, sequence)
        self.applied = vars(self).get("applied", 0) + 1

    def stats(self) -> IndexStats:
        stats = self.inner.stats()
        return msgspec.structs.replace(stats, chunk_count=stats.chunk_count + vars(self).get("applied", 0))


@fails(
    "test_what_was_built_is_there_with_its_sequence",
    "test_a_new_index_is_empty",
    "test_a_write_of_nothing_moves_the_sequence",
    "test_a_new_opening_shows_everything_and_goes_on_from_there",
)
class ForgetsTheSequence(Snapshot):
    sequence = 0


@fails("test_a_build_shows_nothing_and_deletes_nothing_and_is_sealed_once")
class SealsTwice(Index):
    def seal(self, queries: SampleQueries | None = None) -> IndexStats:
        try:
            return self.inner.seal(queries)
        except IllegalState:
            return self.inner.stats()


@fails(*(f"test_a_build_refuses_a_vector_that_cannot_be_one[{vector}]" for vector in ("too long", "too short", "nan", "infinite")))
class TakesAnyVector(Index):
    def apply(self, upserts: Sequence[IndexedChunk], deletes: Sequence[int], sequence: int) -> None:
        try:
            self.inner.apply(upserts, deletes, sequence)
        except InvalidInput:
            self.inner.apply([msgspec.structs.replace(one, vector=None) for one in upserts], deletes, sequence)


@fails("test_a_write_that_reached_the_rows_only_is_not_seen_until_it_is_recovered")
class ShowsRowsAtOnce(Snapshot):
    @property
    def sequence(self) -> int:
        return self._documents.sequence()


@fails(
    "test_another_opening_sees_a_write_at_its_next_snapshot",
    "test_another_process_sees_a_write_at_its_next_snapshot",
    "test_a_writer_that_dies_has_written",
)
class WritesLater(Index):
    def apply(self, upserts: Sequence[IndexedChunk], deletes: Sequence[int], sequence: int) -> None:
        self.later = upserts, deletes, sequence

    def snapshot(self) -> Any:
        if "later" in vars(self):
            self.inner.apply(*vars(self).pop("later"))
        return self.inner.snapshot()


@fails("test_chunks_come_in_the_order_asked_and_unknown_ones_are_left_out")
class SortsFetched(Snapshot):
    def fetch(self, slots: Sequence[int]) -> list[Chunk]:
        return self.inner.fetch(sorted(slots))


@fails("test_a_chunk_comes_back_as_it_was_put")
class LosesMetadata(Snapshot):
    def fetch(self, slots: Sequence[int]) -> list[Chunk]:
        return [
            msgspec.structs.replace(one, metadata={key: value for key, value in one.metadata.items() if value is not None})
            for one in self.inner.fetch(slots)
        ]


@fails(*(f"test_vectors_come_back_as_the_metric_keeps_them[{metric}]" for metric in ("cosine", "dot", "l2")))
class DoublesVectors(Snapshot):
    def vectors(self, slots: Sequence[int]) -> list[Any]:
        return [None if one is None else one * 2 for one in self.inner.vectors(slots)]


@fails("test_there_is_no_vector_for_a_chunk_without_one_and_for_an_unknown_slot")
class InventsVectors(Snapshot):
    def vectors(self, slots: Sequence[int]) -> list[Any]:
        return [np.zeros(8, np.float32) if one is None else one for one in self.inner.vectors(slots)]


@fails("test_statistics_say_what_is_there_now", "test_statistics_say_how_large_and_how_good_the_index_is")
class Miscounts(Index):
    def stats(self) -> IndexStats:
        stats = self.inner.stats()
        return msgspec.structs.replace(stats, chunk_count=stats.chunk_count + stats.unindexed_count, size_bytes=0)


@fails("test_what_is_no_sealed_index_is_not_opened")
class OpensAnything(Engine):
    def open(self, recipe: Recipe, directory: Path) -> Any:
        try:
            return super().open(recipe, directory)
        except Damaged:
            return None


@fails(
    *(f"test_a_closed_index_says_so[{method}]" for method in ("snapshot", "stats", "apply", "absorb")),
    *(f"test_a_snapshot_of_a_closed_index_says_so[{method}]" for method in ("lexical", "nearest", "fetch", "explain", "vectors")),
)
class StaysOpen(Index):
    def close(self) -> None: ...


@fails("test_closing_one_opening_leaves_the_others_open")
class ClosesAll(Index):
    opened: list[Any] = []  # noqa: RUF012 - shared by all on purpose

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.opened.append(inner)

    def close(self) -> None:
        while self.opened:
            self.opened.pop().close()


@fails("test_an_index_that_was_not_sealed_can_be_closed_twice")
class ClosesOnce(Index):
    def close(self) -> None:
        if vars(self).setdefault("closed", False):
            raise Closed("closed already")
        self.closed = True
        self.inner.close()


@fails("test_an_index_as_it_was_written_is_verified")
class FindsDamageAlways(Engine):
    def verify(self, recipe: Recipe, directory: Path) -> None:
        raise Damaged("something must be wrong", path=directory)


@fails("test_verify_finds_a_flipped_bit_in_every_immutable_file", "test_verify_finds_a_file_that_is_cut_off_or_missing")
class VerifiesNothing(Engine):
    def verify(self, recipe: Recipe, directory: Path) -> None: ...


@fails("test_what_was_dropped_is_gone_and_its_neighbour_is_not")
class DropsTheNeighbour(Engine):
    def drop(self, directory: Path) -> None:
        shutil.rmtree(directory.with_name("stays"), ignore_errors=True)

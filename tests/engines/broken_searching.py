"""Engines that break a promise about what they find, show or absorb.

Not collected by itself: `test_conformance` runs it, and expects what `fails` says.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from outcrop.engines.protocol import IndexedChunk, Ranking
from outcrop.model import Chunk, Recipe
from tests.engines.breaking import Engine, Index, Snapshot, fails, kept


@fails(
    "test_chunks_rank_by_bm25",
    "test_a_ranking_is_two_arrays_with_the_best_first",
    "test_a_term_that_a_chunk_repeats_counts_more",
    "test_a_ranking_of_vectors_is_two_arrays_with_the_best_first",
)
class WorstFirst(Snapshot):
    def lexical(self, query: str, k: int, where: Any) -> Ranking:
        return kept(self.inner.lexical(query, k, where), slice(None, None, -1))

    def nearest(self, vector: Any, k: int, where: Any) -> Ranking:
        return kept(self.inner.nearest(vector, k, where), slice(None, None, -1))


@fails("test_scores_are_those_of_bm25", "test_more_hits_are_the_same_hits_and_others_behind_them")
class ScoresDependOnK(Snapshot):
    def lexical(self, query: str, k: int, where: Any) -> Ranking:
        found = self.inner.lexical(query, k, where)
        return Ranking(slots=found.slots, scores=found.scores / np.float32(k + 1))


@fails("test_a_term_that_the_query_repeats_counts_so_often")
class CountsTermsOnce(Snapshot):
    def lexical(self, query: str, k: int, where: Any) -> Ranking:
        return self.inner.lexical(" ".join(dict.fromkeys(query.split())), k, where)


@fails("test_a_snapshot_names_the_engine_that_answers")
class AnswersInNobodysName(Snapshot):
    engine = ""


@fails("test_the_words_of_a_title_are_found")
class DropsTitles(Index):
    def apply(self, upserts: Sequence[IndexedChunk], deletes: Sequence[int], sequence: int) -> None:
        self.inner.apply([msgspec.structs.replace(one, title=None) for one in upserts], deletes, sequence)


@fails(*(f"test_a_query_without_an_indexed_term_finds_nothing[{query}]" for query in ("empty", "stop words", "unknown")))
class FindsSomethingAlways(Snapshot):
    def lexical(self, query: str, k: int, where: Any) -> Ranking:
        found = self.inner.lexical(query, k, where)
        return found if len(found) else self.inner.lexical("granite", k, where)


@fails("test_a_query_is_text_and_no_language", "test_a_long_query_is_answered")
class ParsesQueries(Snapshot):
    def lexical(self, query: str, k: int, where: Any) -> Ranking:
        if '"' in query or len(query) > 1000:
            raise SyntaxError(query)
        return self.inner.lexical(query, k, where)


@fails(*(f"test_the_recipes_analyzer_decides_which_words_meet[{analyzer}]" for analyzer in ("simple", "german", "turkish")))
class AlwaysEnglish(Engine):
    def create(self, recipe: Recipe, directory: Path) -> Any:
        return super().create(msgspec.structs.replace(recipe, analyzer="english"), directory)

    def open(self, recipe: Recipe, directory: Path) -> Any:
        return super().open(msgspec.structs.replace(recipe, analyzer="english"), directory)


@fails(
    "test_accents_meet_however_they_are_written",
    *(f"test_the_recipes_analyzer_decides_which_words_meet[{analyzer}]" for analyzer in ("french", "english")),
)
class AsciiOnly(Snapshot):
    def lexical(self, query: str, k: int, where: Any) -> Ranking:
        if query.isupper():
            return self.inner.lexical("nothing", k, where)
        return self.inner.lexical(query.encode("ascii", "replace").decode(), k, where)


@fails("test_a_filter_leaves_the_scores_as_they_are")
class FiltersScore(Snapshot):
    def lexical(self, query: str, k: int, where: Any) -> Ranking:
        found = self.inner.lexical(query, k, where)
        return Ranking(slots=found.slots, scores=found.scores + np.float32(where is not None))


@fails("test_what_the_terms_contribute_adds_up_to_the_score", "test_an_unknown_slot_has_no_explanation")
class ExplainsNothing(Snapshot):
    def explain(self, query: str, slots: Sequence[int]) -> list[Any]:
        return [() for _ in slots]


@fails("test_the_nearest_are_those_of_the_oracle[l2]")
class PositiveDistances(Snapshot):
    def nearest(self, vector: Any, k: int, where: Any) -> Ranking:
        found = self.inner.nearest(vector, k, where)
        return Ranking(slots=found.slots, scores=abs(found.scores))


@fails(
    *(f"test_the_nearest_are_those_of_the_oracle[{metric}]" for metric in ("cosine", "dot", "l2")),
    *(f"test_nine_of_ten_nearest_are_found_by_every_kind_of_index[{metric}]" for metric in ("cosine", "dot", "l2")),
    "test_a_filter_of_any_share_finds_the_nearest_of_it",
)
class HalfBlind(Snapshot):
    def nearest(self, vector: Any, k: int, where: Any) -> Ranking:
        found = self.inner.nearest(vector, 2 * k, where)
        return kept(found, np.flatnonzero(found.slots % 4 != 1)[:k])


@fails("test_exact_search_finds_what_an_index_may_miss")
class ExactlyAsBlind(Snapshot):
    def nearest_exact(self, vector: Any, k: int, where: Any) -> Ranking:
        return self.inner.nearest(vector, k, where) if where is None else self.inner.nearest_exact(vector, k, None)


@fails("test_the_length_of_a_query_does_not_matter_to_cosine", "test_a_vector_of_zeros_has_the_cosine_0")
class ForgetsToNormalise(Snapshot):
    def nearest(self, vector: Any, k: int, where: Any) -> Ranking:
        found = self.inner.nearest(vector, k, where)
        length = np.linalg.norm(vector)
        return Ranking(slots=found.slots, scores=found.scores * length if length else found.scores + np.float32("nan"))


@fails("test_chunks_without_a_vector_are_found_by_their_text_only")
class FindsBareChunks(Snapshot):
    def nearest(self, vector: Any, k: int, where: Any) -> Ranking:
        found, every = self.inner.nearest(vector, k, where), self.inner.lexical("granite", k, where)
        bare = np.setdiff1d(every.slots, found.slots)
        return Ranking(np.append(found.slots, bare), np.append(found.scores, np.full(len(bare), -9, np.float32)))


@fails("test_what_ended_does_not_take_the_place_of_what_lives")
class CutsBeforeItMasks(Snapshot):
    def nearest(self, vector: Any, k: int, where: Any) -> Ranking:
        first = vars(self.index).setdefault("first", self.inner)
        found = first.nearest(vector, k, where)
        return kept(found, np.isin(found.slots, self.inner.nearest(vector, 10**6, where).slots))


@fails(
    "test_random_filters_select_by_the_text_what_they_mean",
    "test_random_filters_select_by_the_vector_what_they_mean",
    "test_a_filter_follows_what_was_replaced_absorbed_and_deleted[lexical]",
    "test_a_filter_follows_what_was_replaced_absorbed_and_deleted[nearest]",
)
class IgnoresTheFilter(Snapshot):
    def lexical(self, query: str, k: int, where: Any) -> Ranking:
        return self.inner.lexical(query, k, None)

    def nearest(self, vector: Any, k: int, where: Any) -> Ranking:
        return self.inner.nearest(vector, k, None)


@fails("test_a_filter_of_any_share_selects_exactly_that_by_the_text", "test_a_filter_of_any_share_finds_the_nearest_of_it")
class FiltersAfterwards(Snapshot):
    def lexical(self, query: str, k: int, where: Any) -> Ranking:
        found = self.inner.lexical(query, k, None)
        return kept(found, np.isin(found.slots, self.inner.lexical(query, 10**6, where).slots))

    def nearest(self, vector: Any, k: int, where: Any) -> Ranking:
        found = self.inner.nearest(vector, k, None)
        return kept(found, np.isin(found.slots, self.inner.nearest(vector, 10**6, where).slots))


@fails("test_a_snapshot_never_changes", "test_snapshots_taken_before_stay_as_they_were")
class Follows(Snapshot):
    def __getattr__(self, name: str) -> Any:
        return getattr(self.index.inner.snapshot(), name)


@fails("test_every_snapshot_is_whole_while_another_thread_writes_and_absorbs")
class MixesLegs(Snapshot):
    def nearest(self, vector: Any, k: int, where: Any) -> Ranking:
        return self.index.inner.snapshot().nearest(vector, k, where)


@fails("test_a_snapshot_serves_many_threads_at_once")
class OneThreadOnly(Snapshot):
    def lexical(self, query: str, k: int, where: Any) -> Ranking:
        if vars(self).setdefault("thread", threading.get_ident()) != threading.get_ident():
            raise RuntimeError("made in another thread")
        return self.inner.lexical(query, k, where)


@fails("test_without_a_write_the_next_snapshot_shows_the_same", "test_lag_counts_what_no_vector_index_has")
class Restless(Snapshot):
    @property
    def lag(self) -> int:
        self.index.asked = vars(self.index).get("asked", 0) + 1
        return self.inner.lag + self.index.asked


@fails(
    "test_what_was_absorbed_is_found_as_before",
    "test_an_absorber_that_dies_loses_nothing",
    "test_an_absorption_that_fails_loses_nothing",
)
class NeverAbsorbs(Index):
    def absorb(self, publishing: Any, **_: Any) -> int:
        return 0


@fails("test_writes_go_on_between_the_moments_that_the_lock_is_held")
class LosesWritesMeanwhile(Index):
    def absorb(self, publishing: Any, **how: Any) -> int:
        sequence = self.inner.snapshot().sequence
        absorbed = self.inner.absorb(publishing, **how)
        self.inner.apply((), (), sequence)  # puts the marker back where it was
        return absorbed


@fails("test_chunks_that_ended_of_late_or_after_the_floor_can_still_be_fetched")
class ForgetsAtOnce(Index):
    def absorb(self, publishing: Any, **_: Any) -> int:
        self.inner.absorb(publishing, keep_seconds=-1.0)
        return self.inner.absorb(publishing, keep_seconds=-1.0)


@fails("test_what_was_forgotten_is_left_out_and_what_lives_stays")
class MissesWhatWasForgotten(Snapshot):
    def fetch(self, slots: Sequence[int]) -> list[Chunk]:
        found = self.inner.fetch(slots)
        if len(found) != len(slots):
            raise KeyError(slots)
        return found


@fails("test_one_absorbs_at_a_time_and_another_does_not_wait_or_waits_for_it")
class NeverWaits(Index):
    def absorb(self, publishing: Any, *, timeout_seconds: float = 0.0, **how: Any) -> int:
        return self.inner.absorb(publishing, **how)

"""The lexical leg: what is found, in which order, and for which reasons."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest

from outcrop import analysis
from outcrop.filters import parse
from outcrop.testing.conformance.generation import EVERYTHING, Generation, Generations, item, slots, types
from outcrop.testing.conformance.suite import Suite

_WORDS = "granite basalt slate marble lava schist gneiss chalk flint quartz".split()
_TOLERANCE = 0.05
"""What other chunks in N and in the average length (a marker, one that ended) may make of a score."""
_FORMS = {
    "english": ("layers of naïve rocks", "layer", "naive", "ROCK"),
    "simple": ("Layers of naïve rocks", "LAYERS", "naive", "of"),
    "german": ("Die Steine wurden geschliffen", "stein", "STEINEN"),
    "french": ("les roches métamorphiques", "roche", "me\u0301tamorphique"),
    "turkish": ("kitaplar ve taşlar", "kitap", "TAŞ"),
}
_OTHERS = {"english": "lay", "simple": "layer", "german": "die", "french": "les", "turkish": "granit"}

_NOTHING = {
    "empty": "",
    "stop words": "the of and",
    "space": " \n",
    "punctuation": "?!…",
    "a sign": "\N{MOUNTAIN}",
    "half a character": "\ud800",
    "unknown": "unknown",
}


class Lexical(Suite):
    """`lexical` and `explain`."""

    def test_chunks_rank_by_bm25(self, generations: Generations) -> None:
        """At most `k` chunks by BM25 among those that `where` selects."""
        generation, queries = _corpus(generations)
        for query in queries:
            found, expected = slots(generation.index.snapshot().lexical(query, EVERYTHING, None)), bm25(generation, query)
            assert set(found) == set(expected)
            lowest = math.inf
            for slot in found:  # nothing ranks below what is clearly worse
                assert expected[slot] <= lowest * (1 + _TOLERANCE), f"{query!r}: slot {slot} ranks too low"
                lowest = min(lowest, expected[slot])

    def test_scores_are_those_of_bm25(self, generations: Generations) -> None:
        """`scores` is float32 of shape (n,), higher is better: BM25 for the lexical leg; cosine similarity, dot product or the
        negative euclidean distance for the vector leg."""
        generation, queries = _corpus(generations)
        for query in queries:
            ranking = generation.index.snapshot().lexical(query, EVERYTHING, None)
            found = dict(zip(ranking.slots.tolist(), ranking.scores.tolist(), strict=True))
            assert found == pytest.approx(bm25(generation, query), rel=_TOLERANCE, abs=_TOLERANCE)

    def test_a_ranking_is_two_arrays_with_the_best_first(self, generations: Generations) -> None:
        """The answer of one leg: parallel arrays, best first. `slots` is int64 of shape (n,): the chunks' slots."""
        generation, queries = _corpus(generations)
        for query in [*queries, "unknown"]:
            ranking = generation.index.snapshot().lexical(query, EVERYTHING, None)
            assert types(ranking) == ("int64", "float32")
            assert ranking.slots.shape == ranking.scores.shape == (len(ranking),)
            assert (ranking.scores[1:] <= ranking.scores[:-1]).all()

    def test_more_hits_are_the_same_hits_and_others_behind_them(self, generations: Generations) -> None:
        """At most `k` chunks by BM25 among those that `where` selects."""
        generation, queries = _corpus(generations)
        for query in queries:
            every = generation.index.snapshot().lexical(query, EVERYTHING, None)
            for k in (0, 1, 7, 10**9):
                some = generation.index.snapshot().lexical(query, k, None)
                assert len(some) == min(k, len(every))
                np.testing.assert_array_equal(some.slots, every.slots[:k])
                np.testing.assert_array_equal(some.scores, every.scores[:k])

    def test_a_term_that_the_query_repeats_counts_so_often(self, generations: Generations) -> None:
        """At most `k` chunks by BM25 among those that `where` selects."""
        generation = generations.built([item("g", "granite lies here"), item("b", "basalt lies here"), item("c", "chalk")])
        snapshot = generation.index.snapshot()
        assert slots(snapshot.lexical("granite basalt basalt", 5, None)) == [2, 1]
        assert slots(snapshot.lexical("granite granite basalt", 5, None)) == [1, 2]

    def test_a_term_that_a_chunk_repeats_counts_more(self, generations: Generations) -> None:
        """At most `k` chunks by BM25 among those that `where` selects."""
        texts = ("granite basalt basalt", "granite granite basalt", "granite granite granite", "basalt basalt basalt")
        generation = generations.built([item(f"d{n}", text) for n, text in enumerate(texts)])
        assert slots(generation.index.snapshot().lexical("granite", 5, None)) == [3, 2, 1]

    def test_the_words_of_a_title_are_found(self, generations: Generations) -> None:
        """At most `k` chunks by BM25 among those that `where` selects."""
        generation = generations.built([item("d0", "lies here", title="Granite"), item("d1", "basalt", title="Slate")])
        generation.write([item("d2", "lies there", title="Granite"), item("d3", "lava")])
        assert sorted(slots(generation.index.snapshot().lexical("granite", 5, None))) == [1, 3]

    @pytest.mark.parametrize("query", [*_NOTHING])
    def test_a_query_without_an_indexed_term_finds_nothing(self, generations: Generations, query: str) -> None:
        """Empty when no term of the query is indexed."""
        generation = generations.built([item("d0", "the granite of and"), item("d1", "basalt")])
        ranking = generation.index.snapshot().lexical(_NOTHING[query], 5, None)
        assert (len(ranking), *types(ranking)) == (0, "int64", "float32")
        assert slots(generation.index.snapshot().lexical(f"{_NOTHING[query]} granite", 5, None)) == [1]

    def test_a_query_is_text_and_no_language(self, generations: Generations) -> None:
        """At most `k` chunks by BM25 among those that `where` selects."""
        generation = generations.built([item("d0", "granite", kind="rock"), item("d1", "slate title text")])
        snapshot = generation.index.snapshot()
        for query in (
            "granite AND",
            'x:"granite',
            "+granite -granite",
            "granite^9 ~ [ TO }",
            "(granite",
            "\\granite\\",
            "granite*",
        ):
            assert slots(snapshot.lexical(query, 5, None)) == [1], query
        assert slots(snapshot.lexical("title:chalk* text:/./", 5, None)) == [2]

    @pytest.mark.parametrize("analyzer", ["english", "simple", "german", "french", "turkish"])
    def test_the_recipes_analyzer_decides_which_words_meet(self, generations: Generations, analyzer: str) -> None:
        """At most `k` chunks by BM25 among those that `where` selects."""
        text, *queries = _FORMS[analyzer]
        generation = generations.built([item("d0", text), item("d1", "chalk")], analyzer=analyzer)
        generation.write([item("d2", text)])
        snapshot = generation.index.snapshot()
        for query in queries:
            assert sorted(slots(snapshot.lexical(query, 5, None))) == [1, 3], query
        assert slots(snapshot.lexical(_OTHERS[analyzer], 5, None)) == []

    def test_accents_meet_however_they_are_written(self, generations: Generations) -> None:
        """At most `k` chunks by BM25 among those that `where` selects."""
        generation = generations.built([item("d0", "cafe\u0301 rocks"), item("d1", "caf\u00e9 rocks"), item("d2", "tea")])
        for query in ("caf\u00e9", "cafe\u0301", "CAFE"):
            assert sorted(slots(generation.index.snapshot().lexical(query, 5, None))) == [1, 2], query

    def test_a_long_query_is_answered(self, generations: Generations) -> None:
        """At most `k` chunks by BM25 among those that `where` selects."""
        generation = generations.built([item("d0", "granite"), item("d1", "x" * 300)])
        query = " ".join(["granite", *(f"absent{n}" for n in range(5000)), "y" * 70_000])
        assert slots(generation.index.snapshot().lexical(query, 5, None)) == [1]

    def test_a_filter_leaves_the_scores_as_they_are(self, generations: Generations) -> None:
        """At most `k` chunks by BM25 among those that `where` selects."""
        generation, queries = _corpus(generations)
        for query in queries:
            every = generation.index.snapshot().lexical(query, EVERYTHING, None)
            some = generation.index.snapshot().lexical(query, 9, parse("odd = 1"))
            kept = every.slots % 2 == 1
            np.testing.assert_array_equal(np.sort(some.scores), np.sort(every.scores[kept][:9]))
            assert set(some.slots.tolist()) <= set(every.slots[kept].tolist())
            assert len(some)

    def test_what_the_terms_contribute_adds_up_to_the_score(self, generations: Generations) -> None:
        """For each slot, what each query term contributes to its BM25 score."""
        generation, queries = _corpus(generations)
        generation.write([item("titled", "granite lies here", title="Granite")])
        snapshot = generation.index.snapshot()
        for query in (*queries, "granite"):
            ranking = snapshot.lexical(query, EVERYTHING, None)
            explained = snapshot.explain(query, ranking.slots.tolist())
            assert [sum(term.score for term in terms) for terms in explained] == pytest.approx(ranking.scores.tolist(), rel=1e-3)
            asked = set(analysis.analyzer("english").terms(query))
            assert {term.term for terms in explained for term in terms} == asked

    def test_an_unknown_slot_has_no_explanation(self, generations: Generations) -> None:
        """Nothing for an unknown slot."""
        generation = generations.built([item("d0", "granite"), item("d1", "basalt")])
        granite, unknown, basalt = generation.index.snapshot().explain("granite", [1, 999_999, 2])
        assert (len(granite), unknown, basalt) == (1, (), ())
        assert generation.index.snapshot().explain("granite", []) == []


def bm25(generation: Generation, query: str) -> Mapping[int, float]:
    """The scores of the chunks that have a term of the query: k1 1.2, b 0.75 (Robertson and Zaragoza, 2009)."""
    analyzer = analysis.analyzer(generation.recipe.analyzer)
    held = {slot: Counter(analyzer.terms(chunk.text)) for slot, chunk in generation.living.items()}
    average = sum(terms.total() for terms in held.values()) / len(held)
    scores: Counter[int] = Counter()
    for term, count in Counter(analyzer.terms(query)).items():
        with_term = [slot for slot, terms in held.items() if term in terms]
        idf = math.log(1 + (len(held) - len(with_term) + 0.5) / (len(with_term) + 0.5))
        for slot in with_term:
            frequency, length = held[slot][term], held[slot].total()
            scores[slot] += count * idf * 2.2 * frequency / (frequency + 1.2 * (0.25 + 0.75 * length / average))  # type: ignore[assignment]
    return scores


def _corpus(generations: Generations) -> tuple[Generation, list[str]]:
    """300 chunks of rare and frequent words, half of them built and half written, and queries."""
    rng = random.Random(6)
    weights = [1 / (n + 1) for n in range(len(_WORDS))]
    put = [item(f"d{n}", " ".join(rng.choices(_WORDS, weights, k=rng.randint(2, 30))), odd=(n + 1) % 2) for n in range(300)]
    generation = generations.built(put[:150], dimension=None)
    generation.write(put[150:])
    return generation, [" ".join(rng.choices(_WORDS, k=count)) for count in (1, 1, 1, 2, 2, 3, 3, 5)]

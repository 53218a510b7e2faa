from __future__ import annotations

import threading
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcrop.analysis import ANALYZERS, analyzer, normalize
from outcrop.errors import InvalidConfig


def test_english_meets_the_forms_of_a_word_in_one_stem_and_drops_stop_words() -> None:
    english = analyzer("english")
    assert english.terms("The runners were RUNNING in layers") == ["runner", "were", "run", "layer"]
    assert english.terms("the of and to") == []


def test_simple_keeps_every_word_as_it_is_but_for_case_and_accents() -> None:
    assert analyzer("simple").terms("The Layers, naïvely: foo_bar-2") == ["the", "layers", "naively", "foo", "bar", "2"]


@pytest.mark.parametrize(
    ("name", "one", "other", "stop_word"),
    [
        ("german", "Häuser", "Haus", "und"),
        ("french", "continuation", "continuer", "les"),
        ("spanish", "canciones", "canción", "los"),
        ("russian", "книги", "книга", "и"),
        ("swedish", "böckerna", "böcker", "och"),
    ],
)
def test_a_language_has_its_own_stems_and_stop_words(name: str, one: str, other: str, stop_word: str) -> None:
    assert analyzer(name).terms(one) == analyzer(name).terms(other) != []
    assert analyzer("simple").terms(one) != analyzer("simple").terms(other)
    assert analyzer(name).terms(stop_word) == []


def test_a_tamil_word_is_not_cut_at_its_marks() -> None:
    assert len(analyzer("simple").terms("தமிழ்நாடு மொழி")) == 3
    assert len(analyzer("tamil").terms("தமிழ்நாடு மொழி")) == 2
    assert analyzer("tamil").terms("foo_bar") == ["foo", "bar"]


@pytest.mark.parametrize("name", ANALYZERS)
def test_every_named_analyzer_works(name: str) -> None:
    assert analyzer(name).name == name
    assert analyzer(name).terms("xylophone 42")[-1] == "42"
    assert analyzer(name) is analyzer(name)


def test_an_unknown_analyzer_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InvalidConfig, match="did you mean 'german'") as caught:
        analyzer("German ")
    assert caught.value.nearest == "german"
    with pytest.raises(InvalidConfig, match="Known are: english, simple") as caught:
        analyzer("klingon!")
    assert caught.value.nearest is None


@pytest.mark.parametrize("name", [3, None, ["english"]])
def test_what_is_no_name_of_an_analyzer_is_refused(name: object) -> None:
    with pytest.raises(InvalidConfig, match=rf"a name, found {type(name).__name__}: .*Known are: english, simple"):
        analyzer(name)  # type: ignore[arg-type]


def test_the_refusal_of_an_analyzer_without_a_near_name_is_made_of_sentences() -> None:
    with pytest.raises(InvalidConfig, match=r"named 'klingon'\. Known are: english"):
        analyzer("klingon")


def test_an_accent_of_its_own_means_the_same_as_a_composed_one() -> None:
    composed, apart = "café Å 한국 études", unicodedata.normalize("NFD", "café Å 한국 études")
    assert composed != apart
    for name in ("english", "french"):
        assert analyzer(name).terms(apart) == analyzer(name).terms(composed)
    assert analyzer("english").terms("cafe") == analyzer("english").terms("café")


def test_spans_name_the_place_of_each_term_also_when_accents_stand_apart() -> None:
    text = unicodedata.normalize("NFD", "Ein Café 😀 in 한국, très bon")
    found = {span.term: unicodedata.normalize("NFC", text[span.start : span.end]) for span in analyzer("simple").spans(text)}
    assert found == {"ein": "Ein", "cafe": "Café", "in": "in", "한국": "한국", "tres": "très", "bon": "bon"}


def test_spans_can_be_limited_to_some_terms() -> None:
    spans = analyzer("english").spans("Layers over rocks over layers", only=frozenset({"layer"}))
    assert [(span.start, span.end) for span in spans] == [(0, 6), (23, 29)]


def test_encoded_data_makes_no_terms_but_a_digest_does() -> None:
    assert analyzer("english").terms("x" * 300) == []
    assert analyzer("english").terms("0f" * 64) == ["0f" * 64]


def test_a_lone_surrogate_is_no_obstacle() -> None:
    assert analyzer("english").terms("rock \ud800 layer") == ["rock", "layer"]
    assert [span.start for span in analyzer("english").spans("rock \ud800 layer")] == [0, 7]


def test_many_threads_may_use_one_analyzer() -> None:
    english = analyzer("english")
    found: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: found.extend(english.terms(f"running foxes {n}") for n in range(200))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 1600
    assert all(terms[:2] == ["run", "fox"] for terms in found)


@given(st.text(), st.sampled_from(ANALYZERS))
def test_any_text_has_spans_in_order_that_agree_with_its_terms(text: str, name: str) -> None:
    spans = analyzer(name).spans(text)
    assert all(0 <= span.start < span.end <= len(text) for span in spans)
    assert all(left.end <= right.start for left, right in pairwise(spans))
    if unicodedata.is_normalized("NFC", text):
        assert [span.term for span in spans] == analyzer(name).terms(text)


@given(st.text())
def test_normalizing_twice_changes_nothing_more_and_the_result_can_be_encoded(text: str) -> None:
    once = normalize(text)
    assert normalize(once) == once
    once.encode()

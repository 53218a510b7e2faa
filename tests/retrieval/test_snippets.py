from __future__ import annotations

import html
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from outcrop.analysis import analyzer
from outcrop.retrieval.snippets import snippet

ENGLISH = analyzer("english")
FILLER = "Nothing of interest is said here at all. "


def show(text: str, query: str, **options: object) -> str:
    return snippet(text, frozenset(ENGLISH.terms(query)), ENGLISH, **options)  # type: ignore[arg-type]


def plain(shown: str) -> str:
    return shown.replace("<mark>", "").replace("</mark>", "").removeprefix("…").removesuffix("…")


def test_matching_words_are_marked_by_their_stems() -> None:
    assert show("The runner runs.", "running") == "The runner <mark>runs</mark>."
    assert show("A naïve guess", "naive") == "A <mark>naïve</mark> guess"


def test_a_short_text_is_shown_whole_without_ellipses() -> None:
    assert show("  Rocks lie\n\n in layers.  ", "layer") == "Rocks lie in <mark>layers</mark>."


def test_without_a_match_the_beginning_is_shown_and_cut_between_words() -> None:
    shown = show(FILLER * 20, "granite", width=50)
    assert shown == "Nothing of interest is said here at all. Nothing…"
    assert show(FILLER * 20, "the of", width=50) == shown


def test_the_window_with_the_most_distinct_terms_wins_over_the_first_and_over_repetition() -> None:
    text = f"Granite. {FILLER * 10} Granite granite granite. {FILLER * 10} Granite and basalt. {FILLER * 10}"
    shown = show(text, "granite basalt", width=60)
    assert "<mark>Granite</mark> and <mark>basalt</mark>." in shown
    assert shown.startswith("…")
    assert shown.endswith("…")


def test_among_equal_windows_the_first_wins() -> None:
    text = f"{FILLER * 10} First granite. {FILLER * 10} Second granite. {FILLER * 10}"
    assert "First <mark>granite</mark>" in show(text, "granite", width=60)


def test_the_window_begins_at_a_sentence_where_that_loses_no_match() -> None:
    shown = show(f"{FILLER * 10}The outcrop of granite is old. {FILLER * 10}", "granite", width=80)
    assert shown.startswith("…The outcrop of <mark>granite</mark> is old. Nothing")


def test_a_match_at_the_very_end_is_shown_with_what_stands_before_it() -> None:
    shown = show(f"{FILLER * 10}and then finally came the granite", "granite", width=80)
    assert shown.endswith("the <mark>granite</mark>")
    assert len(plain(shown)) > 40


def test_text_is_escaped_only_on_request_and_marks_never() -> None:
    text = "if a<b & granite > c"
    assert show(text, "granite") == "if a<b & <mark>granite</mark> > c"
    assert show(text, "granite", escape=html.escape) == "if a&lt;b &amp; <mark>granite</mark> &gt; c"
    assert show(text, "granite", mark=("*", "*")) == "if a<b & *granite* > c"


def test_a_text_without_spaces_is_cut_where_the_width_ends() -> None:
    assert show("漢字" * 500, "granite", width=20) == "漢字" * 10 + "…"
    chinese = "一二三。" * 100 + "花崗岩。" + "四五六。" * 100
    assert "<mark>花崗岩</mark>" in show(chinese, "花崗岩", width=40)


def test_a_cut_parts_no_letter_from_its_accents() -> None:
    text = unicodedata.normalize("NFD", "é" * 500)
    for width in (19, 20):
        shown = show(text, "granite", width=width).removesuffix("…")
        assert unicodedata.normalize("NFC", shown) == "é" * (width // 2)


def test_a_match_in_decomposed_text_is_marked_whole() -> None:
    text = unicodedata.normalize("NFD", "Un café noir")
    assert unicodedata.normalize("NFC", show(text, "cafe")) == "Un <mark>café</mark> noir"


def test_a_match_deep_in_a_long_text_is_found() -> None:
    text = FILLER * 1300 + "Here is the granite. " + FILLER * 1300
    assert "Here is the <mark>granite</mark>." in show(text, "granite")


def test_an_empty_text_gives_an_empty_snippet() -> None:
    assert show("", "granite") == ""
    assert show(" \n ", "granite") == ""


WORDS = st.lists(
    st.sampled_from(["granite", "Basalt.", "of", "naïve", "e\u0301tude", "漢字", "\n", "x" * 70, "👩\u200d🔬"]), max_size=60
)


@given(st.one_of(WORDS.map(" ".join), WORDS.map("".join), st.text()), st.integers(1, 120))
def test_any_snippet_is_a_piece_of_its_text_that_fits_the_width(text: str, width: int) -> None:
    shown = show(text, "granite basalt naive", width=width, mark=("", ""), escape=lambda piece: piece)
    body = shown.removeprefix("…").removesuffix("…") if not text.startswith("…") else shown
    assert len(body) <= width + 2
    assert body.strip("…") in " ".join(text.split()) + " " or body.strip(" …") in " ".join(text.split())


@given(WORDS.map(" ".join), st.integers(30, 120))
def test_a_text_with_a_match_that_fits_always_shows_one(text: str, width: int) -> None:
    assert ("<mark>" in show(text, "granite", width=width)) == ("granite" in text.split())

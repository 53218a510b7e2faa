from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from outcrop.errors import InvalidConfig
from outcrop.ingest import Chunker, Piece, Record, open_source, resolve_chunker
from outcrop.ingest.cutting import token_count
from outcrop.ingest.markdown import marks
from outcrop.model import Document

SPECS = ["none", "auto", "tokens", "markdown", "tokens:1", "tokens:5/2", "tokens:20", "markdown:1/0", "markdown:7/3", "auto:12/6"]
FRAGMENTS = [
    "Slate splits. ",
    "a ",
    "e.g. this, ",
    "\n\n",
    "\n",
    "# One\n",
    "\n## Two *x*\n",
    "#### Deep\n",
    "```\n# code\n",
    "~~~~\n",
    "Title\n===\n",
    "- item\n",
    "岩は層になる。",
    "🪨👩‍👩‍👧 ",
    "x" * 50,
    "\r\n",
    "é! ",
    "\u3000",
    "...?! ",
    "葛\U000e0100",
]
TEXTS = st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join) | st.text(max_size=80)


def document(text: str, **metadata: str) -> Document:
    return Document(id="x", text=text, metadata=metadata)


def pieces(spec: str, text: str, **metadata: str) -> list[Piece]:
    return resolve_chunker(spec).pieces(document(text, **metadata))


def unspaced(text: str) -> str:
    return "".join(text.split())


@settings(max_examples=300, deadline=None)
@given(text=TEXTS, spec=st.sampled_from(SPECS))
@example(text="", spec="markdown")
@example(text=" \n ", spec="tokens:1")
@example(text="# a\n# b\n", spec="markdown:1/0")
def test_pieces_are_slices_in_order_that_cover_the_text_within_the_size(text: str, spec: str) -> None:
    chunker = resolve_chunker(spec)
    found = chunker.pieces(document(text))
    assert found
    assert found == chunker.pieces(document(text)), "the same document always gives the same pieces"
    covered = 0
    for piece in found:
        assert piece.text == text[piece.start : piece.end]
        assert not text[covered : piece.start].strip(), "nothing but white space lies between pieces"
        assert piece.end > covered or len(found) == 1, "every piece adds something"
        covered = piece.end
    assert not text[covered:].strip()
    size = getattr(chunker, "size", None)
    if size is not None:
        assert all(token_count(piece.text, 10**6) <= size for piece in found)
        assert all(piece.text.strip() == piece.text for piece in found) or len(found) == 1


@settings(max_examples=100, deadline=None)
@given(words=st.lists(st.text("abc", min_size=1, max_size=6), min_size=1, max_size=200), size=st.integers(2, 30))
def test_pieces_repeat_at_most_the_overlap_and_are_full_when_there_are_no_sentences(words: list[str], size: int) -> None:
    overlap = size // 2
    found = pieces(f"tokens:{size}/{overlap}", " ".join(words))
    for before, after in pairwise(found):
        repeated = " ".join(words)[after.start : before.end]
        assert len(repeated.split()) <= overlap
        assert len(before.text.split()) > size // 2
    assert "".join(unspaced(piece.text) for piece in pieces(f"tokens:{size}/0", " ".join(words))) == "".join(words)


def test_pieces_end_with_sentences_and_repeat_whole_ones() -> None:
    text = "One two three. Four five six! Seven eight? Nine ten eleven twelve. Thirteen, e.g. this one."
    assert [piece.text for piece in pieces("tokens:8/3", text)] == [
        "One two three. Four five six! Seven eight?",
        "Seven eight? Nine ten eleven twelve.",
        "ten eleven twelve. Thirteen, e.g. this one.",
    ]


def test_an_overlap_smaller_than_the_last_sentence_repeats_its_last_words() -> None:
    text = "One two three four five six. Seven eight nine ten."
    assert [piece.text for piece in pieces("tokens:7/3", text)] == [
        "One two three four five six.",
        "four five six. Seven eight nine ten.",
    ]


def test_a_long_sentence_is_cut_between_words_and_a_long_word_is_kept_whole_if_it_fits() -> None:
    url = "https://example.org/" + "a" * 50
    text = f"one two three four five six {url} seven eight"
    found = pieces("tokens:8/0", text)
    assert [piece.text for piece in found] == ["one two three four five six", f"{url} seven eight"]


@pytest.mark.parametrize("character", ["a", "字", "!", "🪨", "é"])
def test_a_text_without_spaces_is_cut_by_length(character: str) -> None:
    text = character * 100_000
    found = pieces("tokens:100/0", text)
    assert "".join(piece.text for piece in found) == text
    assert len(found[0].text) == (100 if character == "字" else 2000)


def test_chinese_sentences_end_pieces() -> None:
    text = "板岩是岩石。它很薄。人们用它盖房子。"
    assert [piece.text for piece in pieces("tokens:12/0", text)] == ["板岩是岩石。它很薄。", "人们用它盖房子。"]


GUIDE = """Preface of a few words that belong to no heading, long enough to stand alone here.

# Guide

## Install
Install it with pip, which takes a minute or so, and then look at the version it prints.

### On **Linux**
Use the package. It is signed, and updates itself together with all of the system.

```bash
# not a heading. Really not. It has sentences. They must not be cut.
make install
```

### On macOS
Short.

### On Windows
Short too.

## Use
Search for something that you know is there, and look at the explanation of its score.
"""


def test_markdown_is_cut_at_headings_and_pieces_know_their_path() -> None:
    found = pieces("markdown:40/0", GUIDE)
    assert [(piece.heading, piece.text.splitlines()[0]) for piece in found] == [
        (None, "Preface of a few words that belong to no heading, long enough to stand alone here."),
        ("Guide > Install", "# Guide"),
        ("Guide > Install > On Linux", "### On **Linux**"),
        ("Guide > Install", "### On macOS"),
        ("Guide > Use", "## Use"),
    ]
    assert "### On Windows\nShort too." in found[3].text
    assert found[2].text.endswith("make install\n```")


def test_a_fenced_block_is_cut_only_when_it_is_longer_than_the_size_and_then_at_line_ends() -> None:
    code = "\n".join(f"run step {number}. Then wait." for number in range(6))
    text = f"# Run\nSome words come first. They are few.\n\n```\n{code}\n```\n\nSome words come last."
    whole = next(piece for piece in pieces("markdown:40/0", text) if "step 0" in piece.text)
    assert f"```\n{code}\n```" in whole.text
    parts = pieces("markdown:12/0", text)
    assert len([piece for piece in parts if "step" in piece.text]) > 2
    assert all(line in f"```\n{code}\n```".splitlines() for piece in parts for line in piece.text.splitlines() if "step" in line)


def test_auto_is_markdown_where_there_are_headings_or_the_format_says_so_and_tokens_elsewhere() -> None:
    assert [piece.heading for piece in pieces("auto:5/0", "## Rock\nSlate splits.")] == ["Rock"]
    setext = "Rock\n====\nSlate splits."
    assert [piece.heading for piece in pieces("auto:5/0", setext, format="markdown")] == ["Rock"]
    assert [piece.heading for piece in pieces("auto:5/0", setext)] == [None]
    assert [piece.heading for piece in pieces("auto:5/0", "Issue #7 is #1.")] == [None]


def test_a_short_text_stays_as_it_is_and_an_empty_one_gives_one_empty_piece() -> None:
    assert pieces("auto", " short\n") == [Piece(" short\n", 0, 7)]
    for spec in SPECS:
        assert pieces(spec, "") == [Piece("", 0, 0)]


@pytest.mark.parametrize(
    ("spec", "full"),
    [
        (None, "auto:320/48"),
        ("auto", "auto:320/48"),
        ("tokens", "tokens:320/48"),
        ("tokens:256", "tokens:256/38"),
        ("tokens:256/0", "tokens:256/0"),
        ("markdown:100/50", "markdown:100/50"),
        ("none", "none"),
    ],
)
def test_a_spec_says_everything_and_resolves_to_itself(spec: str | None, full: str) -> None:
    chunker = resolve_chunker(spec)
    assert isinstance(chunker, Chunker)
    assert chunker.spec == full
    assert resolve_chunker(full) == chunker
    assert resolve_chunker(chunker) is chunker


def test_a_chunker_of_ones_own_is_taken() -> None:
    class Lines:
        spec = "lines"

        def pieces(self, document: Document) -> list[Piece]:
            return [Piece(document.text, 0, len(document.text))]

    own = Lines()
    assert resolve_chunker(own) is own


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("token", "did you mean 'tokens'.; legal are 'auto'"),
        ("Markdwn:200", "did you mean 'markdown'"),
        ("sentences", "unknown chunker 'sentences'"),
        ("", "unknown chunker ''"),
        ("tokens:", "unknown chunker"),
        ("tokens:-5", "unknown chunker"),
        ("tokens:256/", "unknown chunker"),
        ("tokens:0", "the size is 0 tokens"),
        ("tokens:999999999", "legal are 1 to 100000"),
        ("tokens:100/51", "up to half the size, 50"),
        ("none:10", "'none' takes no size"),
        (7, "found int"),
        (Document, "found"),
    ],
)
def test_a_bad_spec_names_the_legal_forms(spec: object, message: str) -> None:
    with pytest.raises(InvalidConfig, match=message) as caught:
        resolve_chunker(spec)  # type: ignore[arg-type]
    assert caught.value.key == "chunker"


LINES = st.sampled_from(
    [
        "# One",
        "## Two ##",
        "###### six",
        "####### seven",
        "#no",
        " # in",
        "    # code",
        "text",
        "",
        "```",
        "````",
        "~~~",
        "```py",
        "``` a`b",
        "  ```",
        "#",
        "# *x*",
    ]
)


@settings(max_examples=300, deadline=None)
@given(found=st.lists(LINES, max_size=12))
@example(found=["```", "# One", "~~~", "```", "# One"])
def test_headings_and_fences_are_those_of_a_markdown_parser(found: list[str]) -> None:
    markdown_it = pytest.importorskip("markdown_it")
    text = "\n".join(found)
    expected = [
        (token.type, token.map[0], int(token.tag[1]) if token.type == "heading_open" else 0)
        for token in markdown_it.MarkdownIt("commonmark").parse(text)
        if token.type in ("heading_open", "fence")
    ]
    kinds = {"heading": "heading_open", "fence": "fence"}
    assert [(kinds[mark.kind], text.count("\n", 0, mark.start), mark.level) for mark in marks(text)] == expected


@pytest.mark.parametrize(
    ("text", "titles"),
    [
        ("Title\n=====\nx\n\nSub\n---\n", ["Title", "Sub"]),
        ("- item\n---\n", []),
        ("a | b\n--- | ---\n", []),
        ("two\nlines\n---\n", []),
        ("\n---\nx", []),
        ("# A\nB\n---\r\n", ["A", "B"]),
        ("## See [the `docs`](http://x.y/z) and *more*  ##\n", ["See the docs and more"]),
    ],
)
def test_one_line_over_an_underline_is_a_heading(text: str, titles: list[str]) -> None:
    assert [mark.title for mark in marks(text)] == titles


def test_most_abstracts_stay_whole_with_the_default(shared_data: Path) -> None:
    chunker = resolve_chunker()
    counts = [
        len(chunker.pieces(item.document)) for item in open_source(shared_data / "scifact").records() if isinstance(item, Record)
    ]
    assert len(counts) == 5183
    assert sum(count == 1 for count in counts) / len(counts) > 0.9
    assert max(counts) > 2

"""From text to terms: the named analyzers, for indexing, for queries and for marking what matched.

All of them split at everything that is neither a letter nor a digit and lower the case. `english` (the default) also folds
accents and drops stop words, `simple` only folds accents, and both forms of a word meet in its Snowball stem except in `simple`.
Languages written without spaces (Chinese, Japanese, Thai) are not segmented: a run of their characters is one term.

A generation stores the name of its analyzer only, so what a name means never changes; a better one gets a new name.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from functools import cache
from itertools import pairwise

import msgspec
import tantivy

from outcrop.errors import InvalidConfig

TERM_BYTES_MAX = 255
"""Longer terms (encoded data, not words) are neither indexed nor searched."""

_WITH_STOP_WORDS = (
    *("danish", "dutch", "english", "finnish", "french", "german", "hungarian"),
    *("italian", "norwegian", "portuguese", "russian", "spanish", "swedish"),
)
_WITHOUT_STOP_WORDS = ("arabic", "greek", "romanian", "tamil", "turkish")
# Its vowel signs and viramas are marks, at which the plain tokenizer would cut the word.
_WRITTEN_WITH_MARKS = ("tamil",)

ANALYZERS: tuple[str, ...] = ("english", "simple", *sorted({*_WITH_STOP_WORDS, *_WITHOUT_STOP_WORDS} - {"english"}))
"""Every name that `analyzer` knows, the default first."""

_SURROGATE = re.compile("[\ud800-\udfff]")


class Span(msgspec.Struct, frozen=True):
    """A term and where it came from: `text[start:end]`, in characters."""

    start: int
    end: int
    term: str


class Analyzer:
    """One named way to turn text into terms. Immutable and safe to use from many threads; made by `analyzer(name)`.

    `tantivy` is the pipeline as Tantivy takes it. It expects `normalize`d text, as the methods here do for themselves.
    """

    __slots__ = ("name", "tantivy")

    def __init__(self, name: str, pipeline: tantivy.TextAnalyzer) -> None:
        self.name = name
        self.tantivy = pipeline

    def __repr__(self) -> str:
        return f"analyzer({self.name!r})"

    def terms(self, text: str) -> list[str]:
        """The terms of a text in reading order, repeated ones repeated.

        >>> analyzer("english").terms("The layers of the naïve layer")
        ['layer', 'naiv', 'layer']
        """
        return self.tantivy.analyze(normalize(text))

    def spans(self, text: str, only: frozenset[str] | None = None) -> list[Span]:
        """The terms of a text with their places in it, in reading order; those among `only` if it is given.

        >>> analyzer("english").spans("Rocks lie.", only=frozenset({"rock"}))
        [Span(start=0, end=5, term='rock')]
        """
        offsets: list[int] | None = None
        if not (text.isascii() or unicodedata.is_normalized("NFC", text)):
            text, offsets = _composed(text)
        tokens = self.tantivy.pre_tokenize(_SURROGATE.sub("\ufffd", text)).tokens
        found = [(token, token.text) for token in tokens]
        if only is not None:  # the offsets are the dear part: each is a call into Rust
            found = [(token, term) for token, term in found if term in only]
        spans = [Span(token.char_offset_from, token.char_offset_to, term) for token, term in found]
        if offsets is None:
            return spans
        return [Span(offsets[span.start], offsets[span.end], span.term) for span in spans]


def analyzer(name: str) -> Analyzer:
    """The analyzer of this name, one of `ANALYZERS`. Raises `InvalidConfig` with the nearest name.

    >>> analyzer("simple").terms("The layers")
    ['the', 'layers']
    """
    known = ", ".join(ANALYZERS)
    if not isinstance(name, str):
        found = type(name).__name__
        raise InvalidConfig(
            f"an analyzer is a name, found {found}: {name!r:.60}. Known are: {known}.", key="analyzer", nearest=None
        )
    if name not in ANALYZERS:
        near = difflib.get_close_matches(name.lower(), ANALYZERS, n=1, cutoff=0.6)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise InvalidConfig(
            f"there is no analyzer named {name!r:.60}{hint} Known are: {known}.", key="analyzer", nearest=near[0] if near else None
        )
    return _made(name)


def normalize(text: str) -> str:
    """The text with composed characters (Unicode NFC), in which an accent is no longer a character of its own.

    Without it a text from a PDF or from macOS, where `é` often is two characters, would be cut at every accent. A lone surrogate,
    which no encoding can carry, becomes U+FFFD.
    """
    if text.isascii():
        return text
    return _SURROGATE.sub("\ufffd", unicodedata.normalize("NFC", text))


@cache
def _made(name: str) -> Analyzer:
    return Analyzer(name, _pipeline(name))


def _pipeline(name: str) -> tantivy.TextAnalyzer:
    marks = name in _WRITTEN_WITH_MARKS  # three times slower than the plain tokenizer, hence not for all
    tokenizer = tantivy.Tokenizer.regex(r"[\w&&[^_]]+") if marks else tantivy.Tokenizer.simple()
    builder = tantivy.TextAnalyzerBuilder(tokenizer)
    builder = builder.filter(tantivy.Filter.remove_long(TERM_BYTES_MAX + 1)).filter(tantivy.Filter.lowercase())
    if name in ("english", "simple"):  # the other stemmers know their accents
        builder = builder.filter(tantivy.Filter.ascii_fold())
    if name in _WITH_STOP_WORDS:
        builder = builder.filter(tantivy.Filter.stopword(name))
    if name != "simple":
        builder = builder.filter(tantivy.Filter.stemmer(name))
    return builder.build()


def _composed(text: str) -> tuple[str, list[int]]:
    """The NFC of a text and, for each of its characters and its end, the offset in the original."""
    starts = [index for index, character in enumerate(text) if not _joins(character)]
    if not starts or starts[0] != 0:
        starts.insert(0, 0)
    pieces: list[str] = []
    offsets: list[int] = []
    for start, end in pairwise([*starts, len(text)]):
        piece = unicodedata.normalize("NFC", text[start:end])
        pieces.append(piece)
        offsets += [start] * len(piece)
    return "".join(pieces), [*offsets, len(text)]


def _joins(character: str) -> bool:
    """Whether a character may compose with the one before it: a combining mark, or a Hangul vowel or final consonant."""
    return character > "\u02ff" and (unicodedata.combining(character) != 0 or "\u1160" <= character <= "\u11ff")

"""Cutting text into spans of a bounded number of tokens, at sentences where possible. Linear in the text, whatever it holds.

A *token* here is a run of at most 20 characters without white space, or one Chinese or Japanese character (they are written
without spaces). An English word with its punctuation is one token, and about 1.5 word pieces of a BERT vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

TOKEN_CHARACTERS_MAX = 20

_UNSPACED = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3040-\u30ff\u3105-\u312f\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_VARIANT_MARKS = "\ufe00-\ufe0f\u3099\u309a\U000e0100-\U000e01ef"
_ASCII_TOKEN = re.compile(r"\S{1,20}")
_TOKEN = re.compile(rf"[{_UNSPACED}][{_VARIANT_MARKS}]{{0,3}}|[^\s{_UNSPACED}]{{1,20}}")

_SENTENCE_END = re.compile(
    r"[.!?…][\"'”\u2019)\]]*\s+(?=[^\sa-z])"  # not before a lower-case letter: "e.g. this"
    r"|[。\uff01\uff1f｡\uff0e][\"'」』”\u2019\uff09)]*\s*"
    r"|\n[ \t\r]*\n\s*"  # a blank line
    r"|\n(?=[ \t]*(?:[-*+•|>]|\d{1,3}[.)])[ \t])"  # a list item, a table row, a quotation
)
_LINE_END = re.compile(r"\n")


class Span(NamedTuple):
    """A stretch `text[start:end]` of a text, with the number of its tokens."""

    start: int
    end: int
    tokens: int


def token_count(text: str, limit: int, start: int = 0, end: int | None = None) -> int:
    """The number of tokens of `text[start:end]`, or `limit + 1` when there are more than `limit`."""
    matches = _pattern(text).finditer(text, start, len(text) if end is None else end)
    return sum(1 for _ in islice(matches, limit + 1))


def fits(text: str, size: int) -> bool:
    """Whether the text has at most `size` tokens. Quick for short texts and for very long ones."""
    length = len(text)
    if length <= size:
        return True
    if length <= size * TOKEN_CHARACTERS_MAX and text.isascii() and len(text.split()) + length // TOKEN_CHARACTERS_MAX <= size:
        return True
    return token_count(text, size) <= size


def sentences(text: str, start: int, end: int, *, size: int, step: int) -> Iterator[Span]:
    """The sentences of `text[start:end]`; they tile it but for blank stretches. One of more than `size` tokens comes in runs of
    words of at most `step` tokens."""
    return _parts(text, _between(text, start, end, _SENTENCE_END), size, step)


def lines(text: str, start: int, end: int, *, size: int, step: int) -> Iterator[Span]:
    """Like `sentences`, by lines: for code."""
    return _parts(text, _between(text, start, end, _LINE_END), size, step)


def packed(text: str, spans: Iterable[Span], size: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Join spans, in order, into stretches of at most `size` tokens, each of which repeats up to `overlap` tokens of the one
    before.

    What is repeated is whole spans where they fit, otherwise the last words of the last span. White space at both ends is left out.
    """
    window: list[Span] = []
    total = 0
    for span in spans:
        if total + span.tokens > size:
            yield _trimmed(text, window)
            window = _repeated(text, window, min(overlap, size - span.tokens))
            total = sum(kept.tokens for kept in window)
        window.append(span)
        total += span.tokens
    if window:
        yield _trimmed(text, window)


def _pattern(text: str) -> re.Pattern[str]:
    return _ASCII_TOKEN if text.isascii() else _TOKEN


def _parts(text: str, parts: Iterable[tuple[int, int]], size: int, step: int) -> Iterator[Span]:
    tokens = _pattern(text)
    for start, end in parts:
        count = sum(1 for _ in islice(tokens.finditer(text, start, end), size + 1))
        if count > size:
            yield from _words(text, start, end, step)
        elif count:
            yield Span(start, end, count)


def _between(text: str, start: int, end: int, boundary: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    position = start
    for match in boundary.finditer(text, start, end):
        yield position, match.end()
        position = match.end()
    if position < end:
        yield position, end


def _words(text: str, start: int, end: int, step: int) -> Iterator[Span]:
    """Runs of at most `step` tokens."""
    starts: list[int] = []
    for match in _pattern(text).finditer(text, start, end):
        starts.append(match.start())
        if len(starts) > step:
            cut = _cut(text, starts)
            yield Span(starts[0], starts[cut], cut)
            del starts[:cut]
    yield Span(starts[0], end, len(starts))


def _cut(text: str, starts: list[int]) -> int:
    """The index of the token to cut before: the last one, or the beginning of its word unless that wastes half of the run."""
    last = len(starts) - 1
    for index in range(last, last // 2, -1):
        if not _continues(text, starts, index):
            return index
    return last


def _continues(text: str, starts: list[int], index: int) -> bool:
    """Whether a token goes on with the word of the one before: only words too long for one token are cut into several."""
    return starts[index] - starts[index - 1] == TOKEN_CHARACTERS_MAX and not text[starts[index] - 1].isspace()


def _repeated(text: str, window: list[Span], limit: int) -> list[Span]:
    if limit <= 0:
        return []
    kept: list[Span] = []
    for span in reversed(window):
        if span.tokens > limit:
            break
        kept.insert(0, span)
        limit -= span.tokens
    return kept or _last_words(text, window[-1], limit)


def _last_words(text: str, span: Span, limit: int) -> list[Span]:
    """The last `limit` tokens of a longer span, from the beginning of a word; none when they are all one word."""
    starts = [match.start() for match in _pattern(text).finditer(text, span.start, span.end)][-limit - 1 :]
    first = next((index for index in range(1, len(starts)) if not _continues(text, starts, index)), None)
    return [] if first is None else [Span(starts[first], span.end, len(starts) - first)]


def _trimmed(text: str, window: list[Span]) -> tuple[int, int]:
    start, end = window[0].start, window[-1].end
    covered = text[start:end]
    return start + len(covered) - len(covered.lstrip()), end - (len(covered) - len(covered.rstrip()))

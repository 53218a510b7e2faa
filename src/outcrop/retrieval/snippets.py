"""The piece of a text that shows why it matched, with the matching words marked."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection

from outcrop.analysis import Analyzer, Span

WIDTH = 240
MARK = ("<mark>", "</mark>")
ELLIPSIS = "…"

# How far a cut may move to fall between words; text without spaces (Chinese, encoded data) is cut where the width ends.
_WORD_REACH = 40
_SPACES = re.compile(r"\s+")
_OTHER_THAN_ONE_SPACE = re.compile(r"[^\S ]|  ")
_SENTENCE_START = re.compile(r"(?:[.!?]\s+|[\u3002\uff01\uff1f]\s*|\n\s*)(?=\S)")
_ZERO_WIDTH_JOINER = "\u200d"


def snippet(
    text: str,
    terms: Collection[str],
    analyzer: Analyzer,
    *,
    width: int = WIDTH,
    mark: tuple[str, str] = MARK,
    escape: Callable[[str], str] | None = None,
) -> str:
    """The window of at most `width` characters with the most distinct `terms`; among equal ones the most matches, then the first.

    `terms` are analyzed (`analyzer.terms(query)`), so `running` marks `runs`. The window begins at a sentence where that loses no
    match, is cut between words, says with `…` where text is left out, and has every run of white space made one space. Without a
    match it is the beginning of the text. Marks and ellipses do not count towards `width`.

    The text is **not** escaped, so for HTML pass `escape=html.escape`: it is applied to the text, not to the marks.

    >>> from outcrop.analysis import analyzer
    >>> snippet("Old rocks are hidden below. The outcrop is the layer that shows.", {"layer"}, analyzer("english"), width=40)
    '…The outcrop is the <mark>layer</mark> that shows.'
    """
    width = max(1, width)
    wanted = frozenset(terms)
    matches = analyzer.spans(text, only=wanted) if wanted else []
    start, end = len(text) - len(text.lstrip()), len(text.rstrip())
    if end - start > width:
        start, end = _cut(text, *_window(text, _densest(matches, width), width), reach=min(_WORD_REACH, width // 4))
    body = _marked(text, (start, end), matches, mark=mark, escape=escape)
    return f"{ELLIPSIS if text[:start].strip() else ''}{body}{ELLIPSIS if text[end:].strip() else ''}"


def _densest(matches: list[Span], width: int) -> list[Span]:
    """The matches that fit in `width` together and hold the most distinct terms, then the most matches, then come first."""
    if not matches or matches[-1].end - matches[0].start <= width:
        return matches
    best: tuple[int, int] = (0, 0)
    chosen = (0, 0)
    inside: Counter[str] = Counter()
    left = 0
    for right, span in enumerate(matches):
        inside[span.term] += 1
        while left < right and span.end - matches[left].start > width:
            inside[matches[left].term] -= 1
            if not inside[matches[left].term]:
                del inside[matches[left].term]
            left += 1
        if (len(inside), right - left) > best:
            best, chosen = (len(inside), right - left), (left, right + 1)
    return matches[slice(*chosen)]


def _window(text: str, chosen: list[Span], width: int) -> tuple[int, int]:
    """Where the snippet of a longer text begins and the latest that it may end, before it is fitted to words."""
    first = len(text) - len(text.lstrip())
    last = len(text.rstrip())
    if not chosen:
        return first, min(last, first + width)
    match_start, match_end = chosen[0].start, chosen[-1].end
    earliest = max(first, min(match_start, match_end - width))
    if earliest == first:
        return first, min(last, first + width)
    centred = match_start - (width - (match_end - match_start)) // 2
    # The nearest beginning of a sentence leaves the most room for what follows the match.
    start = max(_sentence_starts(text, earliest, match_start), default=max(earliest, centred))
    if start + width >= last:  # the room after the end of the text is better spent before the match
        start = max(earliest, min(start, last - width))
    return start, min(last, start + width, len(text))


def _sentence_starts(text: str, earliest: int, latest: int) -> list[int]:
    """Where sentences begin between the two offsets, both included."""
    found = (sentence.end() for sentence in _SENTENCE_START.finditer(text, max(0, earliest - 2), latest + 1))
    return [at for at in found if earliest <= at <= latest]


def _cut(text: str, start: int, end: int, *, reach: int) -> tuple[int, int]:
    """Move both cuts inwards to the nearest gap between words, or at least between characters that a reader sees as one."""
    if 0 < start < len(text) and not text[start - 1].isspace():
        gap = _SPACES.search(text, start, start + reach)
        start = gap.end() if gap else _whole_character(text, start, +1)
    if end < len(text) and not text[end].isspace():
        floor = max(start, end - reach)
        gaps = [gap.start() for gap in _SPACES.finditer(text, floor, end)]
        end = gaps[-1] if gaps and gaps[-1] > start else _whole_character(text, end, -1)
    return start, max(start, end)


def _whole_character(text: str, offset: int, step: int) -> int:
    """The next offset in the direction `step` that does not part a letter from its accents or an emoji from its modifiers."""
    while 0 < offset < len(text) and (_extends(text[offset]) or text[offset - 1] == _ZERO_WIDTH_JOINER):
        offset += step
    return offset


def _extends(character: str) -> bool:
    return (
        unicodedata.category(character) in ("Mn", "Mc", "Me", "Cf")
        or "\U0001f3fb" <= character <= "\U0001f3ff"  # skin tones
        or "\u1160" <= character <= "\u11ff"  # Hangul vowels and final consonants
    )


def _marked(
    text: str, window: tuple[int, int], matches: list[Span], *, mark: tuple[str, str], escape: Callable[[str], str] | None
) -> str:
    start, end = window
    pieces: list[str] = []

    uneven = _OTHER_THAN_ONE_SPACE.search(text, start, end) is not None

    def take(piece: str) -> str:
        flat = _SPACES.sub(" ", piece) if uneven else piece
        return flat if escape is None else escape(flat)

    at = start
    for span in matches[bisect_left(matches, start, key=lambda span: span.start) :]:
        if span.end > end:
            break
        pieces += [take(text[at : span.start]), mark[0], take(text[span.start : span.end]), mark[1]]
        at = span.end
    pieces.append(take(text[at:end]))
    return "".join(pieces)

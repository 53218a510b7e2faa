"""The structure of Markdown that searching needs: headings, fenced code, front matter.

This is not a Markdown parser. It finds ATX (`## Install`) and one-line setext headings, fences and front matter in one pass of a
regular expression, some twenty times as fast as markdown-it-py, with which the tests compare it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

import msgspec


class Mark(msgspec.Struct, frozen=True):
    """A heading or a fenced code block; `start` and `end` are character offsets of its lines, the last line end left out."""

    kind: Literal["heading", "fence"]
    start: int
    end: int
    level: int = 0
    title: str = ""


_CANDIDATE = re.compile(
    r"^ {0,3}(?:(?P<fence>`{3,}|~{3,})|(?P<atx>\#{1,6})(?=[ \t\r\n]|\Z)|(?P<underline>=+|-+)(?=[ \t\r]*$))", re.MULTILINE
)
_NOT_A_PARAGRAPH = re.compile(r"[ \t]*(?:[-*+>|]|\d{1,9}[.)][ \t]|$)| {4}|\t")
_LINK = re.compile(r"!?\[([^\[\]]{0,200})\]\([^()]{0,1000}\)")
_CLOSING_HASHES = re.compile(r"(?:^|[ \t])#+$")
_FRONT_MATTER = re.compile(r"\A(---|\+\+\+)[ \t]*\r?\n(?P<body>.*?)^\1[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
_FRONT_TITLE = re.compile(r"^title[ \t]*[:=][ \t]*(?P<title>\S[^\r\n]*)", re.MULTILINE)
_TITLE_CHARACTERS = 200


def marks(text: str) -> Iterator[Mark]:
    """The headings and fenced code blocks of a Markdown text, in order. A `#` inside a fence is no heading."""
    position = previous_end = 0
    while (match := _CANDIDATE.search(text, position)) is not None:
        line_end = _line_end(text, match.end())
        mark: Mark | None = None
        if match["fence"]:
            mark = _fence(text, match, line_end)
        elif match["atx"]:
            mark = Mark("heading", match.start(), line_end, len(match["atx"]), _title(text[match.end() : line_end]))
        else:
            mark = _setext(text, match, line_end, previous_end)
        position = line_end
        if mark is not None:
            position = previous_end = mark.end
            yield mark


def without_front_matter(text: str) -> tuple[str, str | None]:
    """The Markdown without YAML (`---`) or TOML (`+++`) front matter, and the title that the front matter gives."""
    match = _FRONT_MATTER.match(text)
    if match is None:
        return text, None
    found = _FRONT_TITLE.search(match["body"])
    title = found["title"].strip() if found else ""
    if len(title) > 1 and title[0] == title[-1] and title[0] in "\"'":
        title = title[1:-1]
    return text[match.end() :], title or None


def first_heading(text: str) -> str | None:
    """The first heading of level 1."""
    return next((mark.title for mark in marks(text) if mark.kind == "heading" and mark.level == 1 and mark.title), None)


def _line_end(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end


def _fence(text: str, opening: re.Match[str], line_end: int) -> Mark | None:
    """The block from an opening fence to its closing one, or to the end of the text (CommonMark 4.5)."""
    ticks = opening["fence"]
    if ticks[0] == "`" and "`" in text[opening.end() : line_end]:
        return None  # inline code
    closing = re.compile(rf"^ {{0,3}}{re.escape(ticks[0])}{{{len(ticks)},}}[ \t\r]*$", re.MULTILINE).search(text, line_end)
    return Mark("fence", opening.start(), len(text) if closing is None else closing.end())


def _setext(text: str, underline: re.Match[str], line_end: int, floor: int) -> Mark | None:
    """A heading of one line of text over a line of `=` or `-`, if the line above is a paragraph of its own."""
    above_end = underline.start() - 1
    if above_end < floor:
        return None
    above_start = max(text.rfind("\n", floor, above_end) + 1, floor)
    above = text[above_start:above_end]
    if _NOT_A_PARAGRAPH.match(above.rstrip()):
        return None
    before_start = max(text.rfind("\n", floor, max(above_start - 1, floor)) + 1, floor)
    if text[before_start:above_start].strip() and before_start != above_start:
        return None
    return Mark("heading", above_start, line_end, 1 if underline["underline"][0] == "=" else 2, _title(above))


def _title(raw: str) -> str:
    """A heading as people read it: without closing hashes, link targets, emphasis and code marks."""
    title = _CLOSING_HASHES.sub("", raw[:4000].strip())
    title = _LINK.sub(r"\1", title).replace("`", "").replace("*", "").strip()
    return title[:_TITLE_CHARACTERS]

"""Chunkers: how a document becomes searchable pieces.

The size is counted in tokens as `cutting` defines them. The default, 320 with an overlap of 48, keeps 93 of 100 SciFact abstracts
whole.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import msgspec

from outcrop.errors import InvalidConfig
from outcrop.ingest.cutting import Span, fits, lines, packed, sentences, token_count
from outcrop.ingest.markdown import Mark, marks
from outcrop.model import Document

SIZE_TOKENS = 320
OVERLAP_TOKENS = 48
SIZE_TOKENS_MAX = 100_000


class Piece(msgspec.Struct, frozen=True, gc=False):
    """A piece of a document: `text` is the document's `text[start:end]`, with offsets in characters.

    `heading` is the path of headings that it stands under, such as `Install > On Linux`; `page` is 1-based, where there are pages.
    """

    text: str
    start: int
    end: int
    heading: str | None = None
    page: int | None = None


@runtime_checkable
class Chunker(Protocol):
    """Cuts documents into pieces. Safe to call from many threads at once; the same document always gives the same pieces."""

    @property
    def spec(self) -> str:
        """The chunker as text, as a recipe stores it; for those built in, `resolve_chunker(spec)` gives it back."""
        ...

    def pieces(self, document: Document) -> list[Piece]:
        """At least one piece, in the order of the text. Together they hold every character that is not white space; they may
        overlap.

        An empty text gives one empty piece, so that the document can be found by its title.
        """
        ...


class WholeText(msgspec.Struct, frozen=True):
    """`none`: one piece, the whole text. For short documents; an embedder reads only the beginning of long ones."""

    spec: str = "none"

    def pieces(self, document: Document) -> list[Piece]:
        """One piece. See `Chunker.pieces`."""
        return _whole(document.text)


class ByTokens(msgspec.Struct, frozen=True):
    """`tokens:320/48`: pieces of at most `size` tokens that end with a sentence where possible and repeat up to `overlap` tokens.

    A sentence longer than the size is cut between words, a word longer than half the size anywhere.
    """

    size: int = SIZE_TOKENS
    overlap: int = OVERLAP_TOKENS

    @property
    def spec(self) -> str:
        """`tokens:SIZE/OVERLAP`."""
        return f"tokens:{self.size}/{self.overlap}"

    def pieces(self, document: Document) -> list[Piece]:
        """See `Chunker.pieces`."""
        text = document.text
        if fits(text, self.size):
            return _whole(text)
        spans = sentences(text, 0, len(text), size=self.size, step=self.size - self.overlap)
        return [Piece(text[start:end], start, end) for start, end in packed(text, spans, self.size, self.overlap)]


class ByHeadings(msgspec.Struct, frozen=True):
    """`markdown:320/48`: cut at Markdown headings, then by tokens inside a section. For documentation, also for HTML as it is
    read here.

    A section of less than a quarter of the size takes in the next ones until it has as much, but never one under a higher
    heading; its `heading` is then what their paths have in common. A fenced code block is cut, at line ends, only if it is longer
    than the size.
    """

    size: int = SIZE_TOKENS
    overlap: int = OVERLAP_TOKENS

    @property
    def spec(self) -> str:
        """`markdown:SIZE/OVERLAP`."""
        return f"markdown:{self.size}/{self.overlap}"

    def pieces(self, document: Document) -> list[Piece]:
        """See `Chunker.pieces`."""
        text = document.text
        if not _may_have_headings(text) and fits(text, self.size):
            return _whole(text)
        pieces: list[Piece] = []
        for group in _merged(_sections(text, self.size), self.size):
            heading = _common_heading(group)
            if group[-1].tokens <= self.size:  # only a section that stands alone can be longer
                spans: Iterator[Span] = (Span(part.start, part.end, part.tokens) for part in group if part.tokens)
            else:
                spans = _spans(text, group[0], self.size, self.size - self.overlap)
            pieces += [Piece(text[start:end], start, end, heading) for start, end in packed(text, spans, self.size, self.overlap)]
        return pieces or _whole(text)


class Automatic(msgspec.Struct, frozen=True):
    """`auto:320/48`, the default: as `markdown` for documents read from Markdown or HTML, and for any text with a line such as
    `## Install`; as `tokens` for all others."""

    size: int = SIZE_TOKENS
    overlap: int = OVERLAP_TOKENS

    @property
    def spec(self) -> str:
        """`auto:SIZE/OVERLAP`."""
        return f"auto:{self.size}/{self.overlap}"

    def pieces(self, document: Document) -> list[Piece]:
        """See `Chunker.pieces`."""
        text = document.text
        if document.metadata.get("format") in _STRUCTURED or ("#" in text and _ATX.search(text)):
            return ByHeadings(self.size, self.overlap).pieces(document)
        if len(text) <= self.size:
            return _whole(text)
        return ByTokens(self.size, self.overlap).pieces(document)


BUILT_IN = (WholeText, ByTokens, ByHeadings, Automatic)
"""Those that `resolve_chunker` knows by name. They cut in microseconds, which one of the caller's own need not."""


def resolve_chunker(spec: str | Chunker | None = None) -> Chunker:
    """The chunker that a spec names: `none`, `tokens`, `markdown` or `auto` (the default), the latter three also with a size and an
    overlap in tokens: `tokens:256` (an overlap of 15 %), `tokens:256/32`. A chunker is given back as it is.

    Raises `InvalidConfig`.

    >>> resolve_chunker("markdown:200").spec
    'markdown:200/30'
    """
    if spec is None:
        return Automatic()
    if not isinstance(spec, str):
        if isinstance(spec, Chunker) and isinstance(spec.spec, str) and callable(spec.pieces):
            return spec
        raise InvalidConfig(
            f"a chunker is a text ({_FORMS}) or has `spec` and `pieces`, found {type(spec).__name__}", key="chunker"
        )
    match = _SPEC.fullmatch(spec)
    if match is None or match["name"] not in _CHUNKERS:
        raise InvalidConfig(f"unknown chunker {spec!r}{_nearest(spec)}; legal are {_FORMS}", key="chunker")
    if match["name"] == "none":
        if match["size"] is not None:
            raise InvalidConfig(f"chunker {spec!r}: 'none' takes no size; legal are {_FORMS}", key="chunker")
        return WholeText()
    size = SIZE_TOKENS if match["size"] is None else int(match["size"])
    overlap = size * OVERLAP_TOKENS // SIZE_TOKENS if match["overlap"] is None else int(match["overlap"])
    if not 1 <= size <= SIZE_TOKENS_MAX:
        raise InvalidConfig(f"chunker {spec!r}: the size is {size} tokens; legal are 1 to {SIZE_TOKENS_MAX}", key="chunker")
    if overlap > size // 2:
        raise InvalidConfig(
            f"chunker {spec!r}: the overlap is {overlap} tokens; legal is up to half the size, {size // 2}", key="chunker"
        )
    return _CHUNKERS[match["name"]](size, overlap)


_CHUNKERS: dict[str, type[ByTokens | ByHeadings | Automatic]] = {
    "auto": Automatic,
    "tokens": ByTokens,
    "markdown": ByHeadings,
    "none": Automatic,
}
CHUNKERS: tuple[str, ...] = tuple(_CHUNKERS)
"""Every name that `resolve_chunker` knows, the default first."""
_SPEC = re.compile(r"(?P<name>[a-z]+)(?::(?P<size>[0-9]{1,9})(?:/(?P<overlap>[0-9]{1,9}))?)?")
_FORMS = "'auto', 'tokens', 'markdown', each also as 'tokens:256' or 'tokens:256/32' (size/overlap), and 'none'"
_STRUCTURED = ("markdown", "html")
_ATX = re.compile(r"^ {0,3}#{1,6}[ \t]+\S", re.MULTILINE)
_QUARTER = 4


class _Section(msgspec.Struct, frozen=True):
    """From one heading to the next. `tokens` stops counting above the size; `has_body` is False for a heading that stands alone."""

    start: int
    end: int
    level: int
    path: tuple[str, ...]
    tokens: int
    has_body: bool
    fences: tuple[Mark, ...]


def _nearest(spec: str) -> str:
    found = difflib.get_close_matches(spec.partition(":")[0].strip().lower(), _CHUNKERS, n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


def _whole(text: str) -> list[Piece]:
    return [Piece(text, 0, len(text))]


def _may_have_headings(text: str) -> bool:
    return "#" in text or "\n=" in text or "\n-" in text


def _sections(text: str, size: int) -> list[_Section]:
    sections: list[_Section] = []
    path: list[tuple[int, str]] = []
    opening = Mark("heading", 0, 0)
    fences: list[Mark] = []

    def close(end: int) -> None:
        tokens = token_count(text, size, opening.start, end)
        if tokens:
            has_body = bool(text[opening.end : end].strip())
            titles = tuple(title for _, title in path)
            sections.append(_Section(opening.start, end, opening.level, titles, tokens, has_body, tuple(fences)))

    for mark in marks(text):
        if mark.kind == "fence":
            fences.append(mark)
            continue
        close(mark.start)
        opening, fences = mark, []
        path = [(level, title) for level, title in path if level < mark.level]
        if mark.title:
            path.append((mark.level, mark.title))
    close(len(text))
    return sections


def _merged(sections: list[_Section], size: int) -> Iterator[list[_Section]]:
    """Neighbouring sections, grouped so that small ones do not stand alone."""
    group: list[_Section] = []
    total = 0
    for section in sections:
        joins = total < size // _QUARTER and total + section.tokens <= size and bool(group) and section.level >= group[0].level
        if group and not joins:
            yield group
            group, total = [], 0
        group.append(section)
        total += section.tokens
    if group:
        yield group


def _common_heading(group: list[_Section]) -> str | None:
    """What the paths have in common, those of bare headings left out; the first path where they have nothing in common."""
    paths = [section.path for section in group if section.has_body] or [section.path for section in group]
    common = 0
    while common < min(map(len, paths)) and len({path[common] for path in paths}) == 1:
        common += 1
    return " > ".join(paths[0][:common] or next((path for path in paths if path), ())) or None


def _spans(text: str, section: _Section, size: int, step: int) -> Iterator[Span]:
    """The sentences and the fenced blocks of a section."""
    position = section.start
    for fence in section.fences:
        yield from sentences(text, position, fence.start, size=size, step=step)
        tokens = token_count(text, size, fence.start, fence.end)
        if tokens <= size:
            yield Span(fence.start, fence.end, tokens)
        else:
            yield from lines(text, fence.start, fence.end, size=size, step=step)
        position = fence.end
    yield from sentences(text, position, section.end, size=size, step=step)

"""HTML to text with Markdown-style headings (extra `html`: selectolax).

selectolax wraps Lexbor, an HTML5 parser in C: one wheel of 8 MB without dependencies, kept up and 10 to 30 times as fast as
BeautifulSoup, whose fast mode needs lxml (12 MB) besides.
"""

from __future__ import annotations

import codecs
import re
from typing import Any

from outcrop.errors import MissingExtra

_LEFT_OUT = ["script", "style", "nav", "noscript", "template", "svg", "iframe", "object", "form", "dialog", "select"]
_HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}
_LINES = frozenset(("li", "tr", "dt", "dd", "br", "option", "figcaption", "caption"))
_CELLS = frozenset(("td", "th"))
_BLOCKS = frozenset(
    "address article aside blockquote body details div dl fieldset figure footer header hr html main ol p section summary table"
    " tbody tfoot thead ul".split()
)
_META_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([a-zA-Z0-9_:.-]{1,40})", re.IGNORECASE)
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


def require_html() -> Any:
    """The parser class. Raises `MissingExtra` when selectolax is not installed."""
    try:
        from selectolax.lexbor import LexborHTMLParser
    except ImportError as error:
        raise MissingExtra(
            "reading HTML needs the extra 'html': pip install 'outcrop[html]'", extra="html", remedy="pip install 'outcrop[html]'"
        ) from error
    return LexborHTMLParser


def html_to_text(content: bytes) -> tuple[str | None, str]:
    """The title of a page (None if it has none) and its text.

    Scripts, styles, navigation, forms and hidden elements are left out. A heading becomes a line `## Install`, a list item a line
    `- item`, a table row a line `cell | cell`, and preformatted text a fenced block; other blocks become paragraphs.
    """
    page = require_html()(decoded(content))
    found = page.css_first("title")
    title = " ".join(found.text().split()) if found is not None else ""
    page.strip_tags([*_LEFT_OUT, "title"])
    for hidden in page.css("[hidden]"):
        hidden.decompose()
    text = _Text()
    if page.body is not None:
        _walk(page.body, text)
    return title or None, text.finished()


def decoded(content: bytes) -> str:
    """HTML as text: by its byte order mark, else by its `<meta charset>`, else as UTF-8, else as Windows-1252.

    The order and the reading of Latin-1 as Windows-1252 are those of the WHATWG encoding standard. Bytes that do not fit become
    U+FFFD.
    """
    for mark, name in _BOMS:
        if content.startswith(mark):
            return content[len(mark) :].decode(name, errors="replace")
    declared = _META_CHARSET.search(content[:1024])
    label = declared[1].decode("ascii").lower() if declared else "utf-8"
    if label in ("iso-8859-1", "latin1", "us-ascii", "ascii"):
        label = "windows-1252"
    if label.startswith("utf-16"):  # it could not have been read as ASCII if it were true
        label = "utf-8"
    try:
        return content.decode(label)
    except (LookupError, UnicodeDecodeError):
        pass
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("windows-1252", errors="replace")


class _Text:
    """The text so far, by lines; inline text gathers until the line is ended."""

    def __init__(self) -> None:
        self._out: list[str] = []
        self._inline: list[str] = []
        self._prefix = ""

    def add(self, text: str) -> None:
        self._inline.append(text)

    def end(self, separator: str, prefix: str = "") -> None:
        """End the line, if there is any, with one line end or a blank line; `prefix` begins the next."""
        line = " ".join("".join(self._inline).split()).removesuffix(" |")
        self._inline.clear()
        if line:
            self._out.append(self._prefix + line)
            self._prefix = ""
        if self._out and (line or separator == "\n\n") and self._out[-1] != "\n\n":
            if self._out[-1] == "\n":
                self._out.pop()
            self._out.append(separator)
        if prefix or separator == "\n\n":
            self._prefix = prefix

    def verbatim(self, text: str) -> None:
        self.end("\n\n")
        longest = max((len(run) for run in re.findall("`+", text)), default=0)
        fence = "`" * max(3, longest + 1)
        self._out += [f"{fence}\n{text}\n{fence}", "\n\n"]

    def finished(self) -> str:
        self.end("\n\n")
        return "".join(self._out).strip("\n")


def _walk(body: Any, text: _Text) -> None:
    """Depth first with a stack of our own: pages may nest deeper than Python may recurse."""
    stack: list[tuple[Any, bool]] = [(body, False)]
    while stack:
        node, leaving = stack.pop()
        tag = node.tag
        if leaving:
            _leave(tag, text)
            continue
        if node.is_text_node:
            text.add(node.text_content or "")
            continue
        if not node.is_element_node:
            continue
        if tag == "pre":
            code = node.text().strip("\n")
            if code.strip():
                text.verbatim(code)
            continue
        _enter(tag, text)
        stack.append((node, True))
        children = []
        child = node.first_child
        while child is not None:
            children.append((child, False))
            child = child.next
        stack += reversed(children)


def _enter(tag: str, text: _Text) -> None:
    if tag in _HEADINGS:
        text.end("\n\n", _HEADINGS[tag])
    elif tag == "li":
        text.end("\n", "- ")
    elif tag in _LINES:
        text.end("\n")
    elif tag in _BLOCKS:
        text.end("\n\n")


def _leave(tag: str, text: _Text) -> None:
    if tag in _CELLS:
        text.add(" | ")
    elif tag in _LINES and tag != "br":
        text.end("\n")
    elif tag in _BLOCKS or tag in _HEADINGS:
        text.end("\n\n")

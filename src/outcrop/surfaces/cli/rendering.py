"""What people see: consoles, tables, and text from documents made safe for a terminal. What programs see: JSON."""

from __future__ import annotations

import json
import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NoReturn

import msgspec
import typer
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from outcrop.model import GenerationInfo
from outcrop.surfaces.cli import exit_codes

WIDTH_OF_A_FILE = 100
_WIDE = 130
_MARKED = re.compile(r"<mark>(.*?)</mark>", re.DOTALL)
_SPACES = re.compile(r"\s+")
# Characters that change the direction of what follows them can make a line read as what it is not.
_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """See `output_closed`."""
        output_closed()


def screen(*, stderr: bool = False) -> Console:
    """A console for the standard output or error of this moment. Colours, `NO_COLOR` and the width are rich's matter; what goes to
    a file or a pipe is 100 columns wide unless `COLUMNS` says otherwise."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else WIDTH_OF_A_FILE
    return _Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


def show(*items: RenderableType) -> None:
    """Print to the standard output."""
    screen().print(*items, sep="\n")


def note(line: str, *, style: str = "") -> None:
    """Print one line to the standard error, whatever its length; the style is for the word before the colon."""
    text = Text(line)
    text.stylize(style, 0, line.find(":") + 1 if ":" in line else len(line))
    screen(stderr=True).print(text, soft_wrap=True)


def write_json(value: object) -> None:
    """One JSON value on the standard output, a line of its own. In ASCII where the output is not UTF-8."""
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(msgspec.to_builtins(value), ensure_ascii=not utf8)
    try:
        print(text, flush=True)
    except BrokenPipeError:
        output_closed()


def output_closed() -> NoReturn:
    """End quietly: whoever read our output has enough."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    raise typer.Exit(exit_codes.OUTPUT_CLOSED)


def plain(text: str, *, one_line: bool = False) -> str:
    """Text that a terminal only shows: control characters, which could also move the cursor or set colours, become U+FFFD.

    >>> plain(f"a{chr(27)}[31mb  c", one_line=True) == f"a{chr(0xFFFD)}[31mb c"
    True
    """
    if one_line:
        text = _SPACES.sub(" ", text).strip()
    if text.isprintable():
        return text
    return "".join("\ufffd" if _acts(character) else character for character in text)


def marked(snippet: str) -> Text:
    """A snippet with its matches in bold instead of between marks.

    >>> marked("the <mark>layer</mark> that shows").plain
    'the layer that shows'
    """
    text = Text()
    for position, part in enumerate(_MARKED.split(snippet)):
        text.append(plain(part), style="bold yellow" if position % 2 else "")
    return text


def size(size_bytes: int) -> str:
    """Bytes for people, in powers of 1000.

    >>> size(999), size(12_345), size(3_200_000_000)
    ('999 B', '12.3 kB', '3.2 GB')
    """
    number = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} B" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def counted(number: int, one: str, more: str | None = None) -> str:
    """A number with its noun.

    >>> counted(1, "document"), counted(2_000, "query", "queries")
    ('1 document', '2,000 queries')
    """
    several = f"{one}s" if more is None else more
    return f"{number:,} {one if number == 1 else several}"


def ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers, those that follow each other as from-to.

    >>> ranges([7]), ranges([17, 18, 19, 22])
    ('7', '17-19, 22')
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ", ".join("-".join(map(str, run)) for run in runs)


def moment(iso: str | None) -> str:
    """A UTC time for people: to the second, without its zone; "-" if it has not come."""
    return "-" if iso is None else iso[:19].replace("T", " ")


def facts(rows: Iterable[tuple[str, RenderableType | None]]) -> Table:
    """Names and values in two columns; rows whose value is None are left out."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        if value is not None:
            table.add_row(name, value)
    return table


def generations_table(generations: Sequence[GenerationInfo], *, width: int) -> Table:
    """A row per generation. In a narrow terminal what it is made of is one column of several lines."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for name in ("#", "status", "documents", "chunks", "sequence", "size"):
        table.add_column(name, justify="left" if name == "status" else "right", no_wrap=True)
    wide = width >= _WIDE
    names = ("embedder", "chunker", "index", "recall", "created (UTC)", "promoted (UTC)")
    for name in names if wide else ("made of",):
        table.add_column(name, overflow="fold")
    for one in generations:
        made = _made_of(one)
        recall = "" if one.recall is None else f", recall {made[3]}"
        promoted = "not promoted yet" if one.promoted_at is None else f"promoted {made[5]}"
        folded = f"{made[0]}, {made[1]}, {made[2]}{recall}\ncreated {made[4]}, {promoted}"
        style = {"active": "bold green", "damaged": "bold red"}.get(one.status, "")
        numbers = (f"{one.document_count:,}", f"{one.chunk_count:,}", str(one.sequence), size(one.size_bytes))
        table.add_row(str(one.number), Text(one.status, style=style), *numbers, *(made if wide else (folded,)))
    return table


def recipe_rows(one: GenerationInfo) -> list[tuple[str, RenderableType | None]]:
    """What a generation holds and what it is made of, for `facts`."""
    embedder, chunker, index, recall, created, promoted = _made_of(one)
    return [
        ("documents", f"{one.document_count:,}"),
        ("chunks", f"{one.chunk_count:,}"),
        ("skipped", f"{one.skipped:,}" if one.skipped else None),
        ("vanished", f"{one.vanished:,} of the active generation's documents are not in it" if one.vanished else None),
        ("revived", f"{one.revived:,} that were deleted are in it again" if one.revived else None),
        ("not embedded", Text(f"{one.unembedded:,}: found by words only", style="bold yellow") if one.unembedded else None),
        ("embedder", embedder),
        ("chunker", chunker),
        ("analyzer", one.recipe.analyzer),
        ("index", index if one.vector_index is None else f"{index}, recall@10 {recall}"),
        ("LanceDB table", None if one.table_uri is None else Text(plain(one.table_uri, one_line=True))),
        ("recall", _below_target(one)),
        ("size", size(one.size_bytes)),
        ("created", f"{created} UTC"),
        ("promoted", None if one.promoted_at is None else f"{promoted} UTC"),
    ]


def _made_of(one: GenerationInfo) -> tuple[str, str, str, str, str, str]:
    given = "given vectors" if one.recipe.dimension is not None else "none"
    embedder = given if one.recipe.embedder is None else one.recipe.embedder.spec
    if one.unembedded:
        embedder += f" ({one.unembedded:,} not embedded)"
    index = "no vectors" if one.vector_index is None else one.vector_index
    recall = "-" if one.recall is None else f"{one.recall:.3f}"
    return plain(embedder), plain(one.recipe.chunker), index, recall, moment(one.created_at), moment(one.promoted_at)


def _below_target(one: GenerationInfo) -> Text | None:
    choice = one.index_choice
    if choice is None or choice.met:
        return None
    return Text(f"{choice.recall:.3f} is below the target of {choice.target_recall:g}: {choice.reason}", style="bold yellow")


def _acts(character: str) -> bool:
    return character in _DIRECTIONS or (unicodedata.category(character) == "Cc" and character not in "\n\t")

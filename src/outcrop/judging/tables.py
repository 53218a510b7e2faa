"""Plain text in columns."""

from __future__ import annotations

from collections.abc import Collection, Sequence

_NAMED = 5


def aligned(rows: Sequence[Sequence[str]], *, right: Collection[int] = ()) -> str:
    """Rows of cells as lines, each column as wide as its widest cell; those in `right` (0-based) end in line.

    >>> print(aligned([["slate", "7"], ["mud", "12"]], right=(1,)))
    slate   7
    mud    12
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def clipped(text: str, most: int) -> str:
    """The text on one line of at most `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


def named_ids(ids: Sequence[str], count: int) -> str:
    """The first few ids in brackets, with a space before; nothing if there are none.

    >>> named_ids(["a", "b"], 2), named_ids([], 0)
    (' (a, b)', '')
    """
    if not count:
        return ""
    shown = [clipped(one, 40) for one in ids[:_NAMED]]
    return f" ({', '.join([*shown, *(['...'] if count > len(shown) else [])])})"

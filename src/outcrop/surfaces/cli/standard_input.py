"""`-` in the place of a file: the standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from outcrop.errors import InvalidSource
from outcrop.ingest.streams import ByteFile

STDIN = "-"


def standard_input() -> Any:
    """The standard input as bytes, each line as soon as it is there."""
    stream = sys.stdin.buffer
    return getattr(stream, "raw", stream)  # a buffer's lock, held by a thread that reads, would be fatal when the program ends


def lines(file: str) -> Iterator[str]:
    """The lines of a text file or of `-`, without their ends and without empty ones. Raises `InvalidSource`."""
    name = "stdin" if file == STDIN else file
    with ByteFile(Path(name), standard_input() if file == STDIN else None) as opened:
        for number, line in opened.lines():
            try:
                text = "" if line is None else line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise InvalidSource(
                    f"{name}:{number}: not valid UTF-8; convert the file to UTF-8", path=name, line=number
                ) from error
            if line is None:
                raise InvalidSource(f"{name}:{number}: the line is too long", path=name, line=number)
            if text:
                yield text

"""JSON Lines: one JSON object a line. A BEIR corpus is one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from outcrop.errors import InvalidSource
from outcrop.ingest.fields import document_from
from outcrop.ingest.json_faults import json_fault
from outcrop.ingest.records import RECORD_BYTES_MAX, RECORD_FAULTS, BadRecord, Record, bad_record, unreadable
from outcrop.ingest.streams import ByteFile

_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class JsonLines(msgspec.Struct, frozen=True):
    """The documents of a JSONL file, plain or compressed. The keys are those of `document_from`; blank lines are passed over."""

    path: Path
    description: str
    size_bytes: int | None
    document_count: None = None
    stream: Any = None

    def records(self) -> Iterator[Record | BadRecord]:
        """The documents in the order of the lines. See `Source.records`."""
        decode = msgspec.json.Decoder().decode
        name = self.path.name
        with ByteFile(self.path, self.stream) as file:
            for number, line in file.lines():
                if line is None:
                    yield _too_long(self.path, number, file.position_bytes)
                    continue
                if not line.strip():
                    continue
                origin = f"{name}:{number}"
                content = line if number > 1 else line.removeprefix(_BOM)
                try:
                    fields = decode(content)
                    if type(fields) is not dict:
                        raise _NotAnObject(fields)
                    yield Record(document_from(fields), origin, file.position_bytes)
                except RECORD_FAULTS as error:
                    yield bad_record(origin, error, file.position_bytes)
                except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, _NotAnObject) as error:
                    reason = _reason(content, error)
                    yield unreadable(origin, reason, path=str(self.path), line=number, position_bytes=file.position_bytes)


def open_jsonl(path: Path) -> JsonLines:
    """The source for a JSONL file. Raises `InvalidSource` at once for what is plainly another format (an array, UTF-16)."""
    with ByteFile(path) as file:
        head = file.head(4096)
    if head.startswith(_UTF16):
        raise InvalidSource(f"{path} is UTF-16; JSON is UTF-8: convert it with `iconv -f utf-16 -t utf-8`", path=str(path), line=1)
    start = head.removeprefix(_BOM).lstrip()
    if start.startswith(b"["):
        raise InvalidSource(
            f"{path} is one JSON array; write one object a line, for example with `jq -c '.[]' {path.name}`", path=str(path), line=1
        )
    if start.partition(b"\n")[0].strip() == b"{":
        raise InvalidSource(
            f"{path} spreads one JSON object over several lines; write one object a line, for example with `jq -c . {path.name}`",
            path=str(path),
            line=1,
        )
    return JsonLines(path, f"the JSONL file {path}", path.stat().st_size)


def lines_of(stream: Any, name: str) -> JsonLines:
    """The source for JSON lines from a binary stream such as the standard input, plain or compressed, which can be read once."""
    return JsonLines(Path(name), f"JSON lines from {name}", None, stream=stream)


class _NotAnObject(Exception):
    """The line is valid JSON of another type, which is the argument."""


def _reason(line: bytes, error: Exception) -> str:
    if isinstance(error, _NotAnObject):
        kind = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}.get(type(error.args[0]), "a number")
        return f"a line must be a JSON object, found {kind}"
    if isinstance(error, RecursionError):
        return "the JSON is nested too deep"
    try:
        line.decode()
    except UnicodeDecodeError as wrong:
        return f"not valid UTF-8 (byte 0x{line[wrong.start]:02x} at byte {wrong.start + 1} of the line); convert the file to UTF-8"
    fault = json_fault(line, error)
    if "truncated" in fault:
        ended = "" if line.endswith(b"\n") else ", as does the file: it was probably cut off"
        return f"the line ends in the middle of a JSON value{ended}"
    return f"not a JSON object: {fault}"


def _too_long(path: Path, number: int, position_bytes: int) -> BadRecord:
    reason = f"the line is longer than {RECORD_BYTES_MAX // 2**20} MiB; split the document"
    return unreadable(f"{path.name}:{number}", reason, path=str(path), line=number, position_bytes=position_bytes)

"""Files that are one document each: Markdown, plain text, HTML; one of them, or a folder of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from outcrop.errors import InvalidSource
from outcrop.ingest.html import html_to_text, require_html
from outcrop.ingest.markdown import first_heading, without_front_matter
from outcrop.ingest.records import RECORD_BYTES_MAX, RECORD_FAULTS, BadRecord, Record, bad_record, unreadable
from outcrop.ingest.streams import ByteFile
from outcrop.model import Document

FORMATS = {".md": "markdown", ".markdown": "markdown", ".txt": "text", ".html": "html", ".htm": "html"}
"""The extensions that are read and the value of the metadata field `format` that each gives."""

_UNREADABLE_FOLDER = "the folder cannot be listed"


class Folder(msgspec.Struct, frozen=True):
    """The text files under a folder, depth first in the order of their names.

    A document's id and source are the path relative to the folder, with `/`; its only metadata is `format`. Hidden files and
    folders (those whose name begins with a dot) and other kinds of file are left out; symbolic links are followed, but no folder
    is read twice.
    """

    path: Path
    description: str
    size_bytes: int
    document_count: int

    def records(self) -> Iterator[Record | BadRecord]:
        """One document a file. See `Source.records`."""
        position_bytes = 0
        for file, fault in _files(self.path):
            origin = file.relative_to(self.path).as_posix()
            if fault is not None:
                yield unreadable(origin, fault, path=str(file), position_bytes=position_bytes)
                continue
            record = _record(file, origin, position_bytes)
            position_bytes = record.position_bytes or position_bytes
            yield record


class TextFile(msgspec.Struct, frozen=True):
    """One Markdown, text or HTML file as one document; its id and source are the file's name."""

    path: Path
    description: str
    size_bytes: int
    document_count: int = 1

    def records(self) -> Iterator[Record | BadRecord]:
        """One record. See `Source.records`."""
        yield _record(self.path, self.path.name, 0)


def open_folder(path: Path) -> Folder:
    """The source for a folder. It is walked once at this point, to count and to see that there is something to read.

    Raises `InvalidSource` when there is no file to read, `MissingExtra` when there is HTML and selectolax is not installed.
    """
    count = size_bytes = other_count = 0
    others: set[str] = set()
    for file, fault in _files(path, every=True):
        if fault == _UNREADABLE_FOLDER and file == path:
            raise InvalidSource(f"cannot read {path}: {fault}; give yourself the right to read it", path=str(path))
        kind = FORMATS.get(file.suffix.lower())
        if kind is None and fault is None:
            other_count += 1
            others.add(file.suffix.lower())
            continue
        if kind == "html":
            require_html()
        count += 1
        size_bytes += _size_bytes(file)
    if not count:
        raise InvalidSource(_nothing_to_read(path, others), path=str(path))
    left_out = f" ({other_count} of other kinds are left out)" if other_count else ""
    return Folder(path, f"the {count} files of the folder {path}{left_out}", size_bytes, count)


def files_of(folder: Folder) -> Iterator[Path]:
    """The files that a folder's documents come from."""
    return (file for file, _ in _files(folder.path))


def open_text_file(path: Path) -> TextFile:
    """The source for a single file. Raises `MissingExtra` when it is HTML and selectolax is not installed."""
    if FORMATS[path.suffix.lower()] == "html":
        require_html()
    with ByteFile(path):
        pass
    return TextFile(path, f"the file {path}", path.stat().st_size)


def _nothing_to_read(path: Path, others: set[str]) -> str:
    known = ", ".join(FORMATS)
    if not others:
        return f"the folder {path} holds no files; wanted: {known}, or a BEIR folder with corpus.jsonl"
    found = ", ".join(sorted(suffix or "without extension" for suffix in others)[:8])
    advice = "a data file (JSONL, CSV, Parquet) is given by its own path"
    return f"the folder {path} holds no file that can be read: found {found}; wanted: {known}; {advice}"


def _files(top: Path, *, every: bool = False) -> Iterator[tuple[Path, str | None]]:
    """The files to read under a folder, each with what is wrong with it, or None; with `every`, those of other kinds too."""
    seen: set[tuple[int, int]] = set()
    stack = [top]
    while stack:
        path = stack.pop()
        try:
            is_folder = path.is_dir()
            if is_folder:
                stat = path.stat()
                if (stat.st_dev, stat.st_ino) in seen:
                    continue
                seen.add((stat.st_dev, stat.st_ino))
                inside = sorted((item for item in path.iterdir() if not item.name.startswith(".")), key=_name, reverse=True)
        except OSError:
            yield path, _UNREADABLE_FOLDER
            continue
        if is_folder:
            stack += inside
        elif path.suffix.lower() in FORMATS:
            yield path, None if path.is_file() else _not_a_file(path)
        elif every:
            yield path, None


def _name(path: Path) -> str:
    return path.name


def _not_a_file(path: Path) -> str:
    return "the symbolic link leads nowhere" if path.is_symlink() and not path.exists() else "this is not a regular file"


def _size_bytes(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _record(file: Path, name: str, before_bytes: int) -> Record | BadRecord:
    try:
        with ByteFile(file) as opened:
            content = opened.read()
    except InvalidSource as error:  # one file of many: it may be skipped
        return bad_record(name, error, before_bytes)
    if content is None:
        reason = f"the file is larger than {RECORD_BYTES_MAX // 2**20} MiB; split it"
        return unreadable(name, reason, path=str(file), position_bytes=before_bytes + _size_bytes(file))
    position_bytes = before_bytes + len(content)
    try:
        return Record(_document(name, file, content), name, position_bytes)
    except RECORD_FAULTS as error:
        return bad_record(name, error, position_bytes)


def _document(name: str, file: Path, content: bytes) -> Document:
    kind = FORMATS[file.suffix.lower()]
    title: str | None = None
    if kind == "html":
        title, text = html_to_text(content)
        title = title or first_heading(text)
    else:
        text = _text(file, content)
    if kind == "markdown":
        text, title = without_front_matter(text)
        title = title or first_heading(text)
    return Document(id=name, text=text, title=title or file.stem, source=name, metadata={"format": kind})


def _text(file: Path, content: bytes) -> str:
    """The content as text: UTF-8, or UTF-16 where a byte order mark says so."""
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidSource(
            f"line {line} is not valid {encoding.removesuffix('-sig').upper()} ({error.reason}); convert the file to UTF-8",
            path=str(file),
            line=line,
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InvalidSource(f"line {line} holds a NUL byte; this is not a text file", path=str(file), line=line)
    return text

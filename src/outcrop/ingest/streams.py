"""Files as streams of bytes: plain or compressed, line by line, in bounded memory, with one error for every way to be broken."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from outcrop.errors import InvalidSource, MissingExtra
from outcrop.ingest.records import RECORD_BYTES_MAX

COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")

_BUFFER_BYTES = 256 * 1024
_MAGIC = {".gz": b"\x1f\x8b", ".bz2": b"BZh", ".xz": b"\xfd7zXZ\x00", ".zst": b"\x28\xb5\x2f\xfd"}
_MAGIC_BYTES = max(map(len, _MAGIC.values()))


class ByteFile:
    """A file opened for reading, decompressed by its extension. A context manager.

    Raises `InvalidSource` when it cannot be opened and, while reading, when the compression is damaged or cut off or the disk
    fails; `MissingExtra` for `.zst` without the extra `zstd`. A binary `stream` that is open already is read in the place of the
    file, whose name `path` then only is in messages; its compression is told by its first bytes, and it stays open.
    """

    def __init__(self, path: Path, stream: Any = None) -> None:
        self.path = path
        self._owned = stream is None
        self._offset_bytes = 0
        self._line = 0
        self._text: io.TextIOWrapper | None = None
        with self._faults():
            self._raw = _opened(path, stream)
        try:
            with self._faults():
                self._suffix = path.suffix.lower() if stream is None else _suffix_of(self._raw.peek(_MAGIC_BYTES))
            self._stream = self._decompressed()
        except BaseException:
            self._raw.close()
            raise

    @property
    def compressed(self) -> bool:
        """Whether what is read is decompressed."""
        return self._suffix in COMPRESSIONS

    @property
    def position_bytes(self) -> int:
        """How much of the file has been read: exact for a plain file, up to a buffer ahead for a compressed one."""
        return self._raw.tell() if self.compressed and self._owned else self._offset_bytes

    def lines(self, limit: int = RECORD_BYTES_MAX, *, universal: bool = False) -> Iterator[tuple[int, bytes | None]]:
        """Each line with its 1-based number and its line end. A line of more than `limit` bytes is passed over and given as None.

        A line ends with a line feed; with `universal` also with a carriage return alone, which is slower.
        """
        readline = self._universal_readline() if universal else self._stream.readline
        ends = (b"\n", b"\r") if universal else b"\n"
        while True:
            try:  # not `with self._faults()`: this is the hot path
                line = readline(limit + 1)
            except Exception as error:
                raise self._mapped(error) from error
            if not line:
                return
            self._line += 1
            self._offset_bytes += len(line)
            if len(line) > limit and not line.endswith(ends):
                self._pass_over(readline, ends)
                yield self._line, None
            else:
                yield self._line, line

    def head(self, size: int) -> bytes:
        """The first bytes, without moving the position. To be called before anything else is read."""
        with self._faults():
            return cast("bytes", self._stream.peek(size))[:size]

    def read(self, limit: int = RECORD_BYTES_MAX) -> bytes | None:
        """The whole content, or None when it is more than `limit` bytes."""
        with self._faults():
            content = cast("bytes", self._stream.read(limit + 1))
        return None if len(content) > limit else content

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._stream.close()
        self._raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _decompressed(self) -> Any:
        suffix = self._suffix
        opened: Any = self._raw
        if suffix == ".gz":
            opened = gzip.GzipFile(fileobj=self._raw, mode="rb")
        elif suffix == ".bz2":
            opened = bz2.BZ2File(self._raw)
        elif suffix == ".xz":
            opened = lzma.LZMAFile(self._raw)  # noqa: SIM115 - closed with the ByteFile
        elif suffix == ".zst":
            opened = _zstd().ZstdFile(self._raw)
        elif not self._owned:
            return opened
        return io.BufferedReader(opened, _BUFFER_BYTES)

    def _universal_readline(self) -> Callable[[int], bytes]:
        """`readline` that knows three line ends. Latin-1 has a character for each byte, so text and bytes are the same."""
        self._text = io.TextIOWrapper(self._stream, encoding="latin-1", newline="")  # kept, or its end would close the stream
        readline = self._text.readline
        return lambda limit: readline(limit).encode("latin-1")

    def _pass_over(self, readline: Callable[[int], bytes], ends: bytes | tuple[bytes, ...]) -> None:
        while True:
            with self._faults():
                rest = readline(_BUFFER_BYTES)
            self._offset_bytes += len(rest)
            if not rest or rest.endswith(ends):
                return

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            raise self._mapped(error) from error

    def _mapped(self, error: Exception) -> Exception:
        # ZstdError is told by its name: its module is one of two, and may not be installed.
        if isinstance(error, OSError | EOFError | zlib.error | lzma.LZMAError) or type(error).__name__ == "ZstdError":
            return self._invalid(error)
        return error

    def _invalid(self, error: Exception) -> InvalidSource:
        after = f" after line {self._line}" if self._line else ""
        if isinstance(error, EOFError):
            reason = f"its compressed data ends too early{after}: the file was cut off; copy or download it again"
        elif isinstance(error, PermissionError):
            reason = "permission denied; give yourself the right to read it"
        elif isinstance(error, OSError) and error.errno is not None:
            reason = f"{error.strerror or error}{after}"
        else:
            reason = f"it is not valid {self._suffix} data{after} ({error})"
        return InvalidSource(f"cannot read {self.path}: {reason}", path=str(self.path), line=self._line or None)


def _opened(path: Path, stream: Any) -> Any:
    return path.open("rb", buffering=0) if stream is None else io.BufferedReader(_Readable(stream), _BUFFER_BYTES)


class _Readable(io.RawIOBase):
    """A stream of the caller's to read from: closing this leaves that one open."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        # What is there already is enough: a line is wanted as soon as it comes.
        self._read_some = getattr(stream, "read1", stream.read)

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Fill a part of the buffer; how much of it."""
        content = self._read_some(len(buffer))
        if content is None:  # nothing yet, and it does not wait
            return None
        if not isinstance(content, bytes):
            raise InvalidSource(f"a file object is read as bytes, found one that gives {type(content).__name__}")
        buffer[: len(content)] = content
        return len(content)


def _suffix_of(head: bytes) -> str:
    """Which compression the first bytes are of; "" for none."""
    return next((suffix for suffix, magic in _MAGIC.items() if head.startswith(magic)), "")


def _zstd() -> Any:
    """The standard library's module (Python 3.14), or the package that brings it to older ones."""
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError as error:
        raise MissingExtra(
            "reading .zst files needs the extra 'zstd': pip install 'outcrop[zstd]'",
            extra="zstd",
            remedy="pip install 'outcrop[zstd]'",
        ) from error
    return zstd

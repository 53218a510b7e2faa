"""The vectors of an unfinished build, so that no text is embedded twice whatever becomes of the process.

One frame for each batch, written before the batch's rows are committed: a header (magic, number of rows, first slot, CRC-32 of the
rows) and the rows, float32, little-endian. It is never synced: after a power cut the checksum tells which frames are whole. The
file goes when the generation is ready.
"""

from __future__ import annotations

import struct
import zlib
from bisect import bisect_right
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from outcrop.files import storage_errors

FILE_NAME = "embedded.log"
_HEADER = struct.Struct("<4sIQI")
_MAGIC = b"OutV"
_FLOAT = np.dtype("<f4")


class VectorLogWriter:
    """Appends the vectors of a build's chunks. Every chunk before the last frame's has its vector in the log."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE_NAME
        with storage_errors(self.path):
            self._file = self.path.open("wb")

    def append(self, first_slot: int, vectors: NDArray[np.float32]) -> None:
        """Keep the vectors, float32 of shape (n, dimension), of n chunks whose slots ascend by one.

        What was kept for the same first slot before counts no more. Raises `StorageFailed`.
        """
        rows = np.ascontiguousarray(vectors, _FLOAT).data
        with storage_errors(self.path):
            self._file.write(_HEADER.pack(_MAGIC, len(vectors), first_slot, zlib.crc32(rows)))
            self._file.write(rows)
            self._file.flush()  # to the system: a kill leaves it there

    def close(self) -> None:
        """Release the file. Idempotent."""
        with storage_errors(self.path):
            self._file.close()


class VectorLog:
    """Reads what a build left. Memory-mapped; for one thread."""

    def __init__(self, directory: Path, dimension: int) -> None:
        self._dimension = dimension
        self._data: NDArray[np.uint8] = np.empty(0, np.uint8)
        path = directory / FILE_NAME
        with storage_errors(path):
            if path.is_file() and path.stat().st_size:
                self._data = np.memmap(path, np.uint8, mode="r").view(np.ndarray)
        self._frames = _frames(self._data, dimension)
        self._slots = sorted(self._frames)
        self._whole: dict[int, bool] = {}

    def vectors(self, first_slot: int, count: int) -> NDArray[np.float32] | None:
        """A copy of the vectors of `count` chunks from `first_slot` on: float32 of shape (count, dimension).

        None unless all of them are there, in one frame, as they were written.
        """
        at = bisect_right(self._slots, first_slot) - 1
        if at < 0:
            return None
        begins = self._slots[at]
        place, rows = self._frames[begins]
        if first_slot + count > begins + rows or not self._is_whole(begins):
            return None
        size = self._dimension * _FLOAT.itemsize
        start = place + _HEADER.size + (first_slot - begins) * size
        return self._data[start : start + count * size].view(_FLOAT).reshape(count, self._dimension).copy()

    def close(self) -> None:
        """Release the file. Idempotent."""
        self._data, self._frames, self._slots = np.empty(0, np.uint8), {}, []

    def _is_whole(self, first_slot: int) -> bool:
        """Whether a frame's checksum agrees: computed once."""
        if first_slot not in self._whole:
            place, rows = self._frames[first_slot]
            start = place + _HEADER.size
            content = self._data[start : start + rows * self._dimension * _FLOAT.itemsize]
            self._whole[first_slot] = zlib.crc32(content.data) == _HEADER.unpack_from(self._data.data, place)[3]
        return self._whole[first_slot]


def _frames(data: NDArray[np.uint8], dimension: int) -> dict[int, tuple[int, int]]:
    """Where each frame begins and how many rows it has, by its first slot; up to the first that is cut off or none of ours."""
    frames, place = {}, 0
    while place + _HEADER.size <= len(data):
        magic, rows, first_slot, _ = _HEADER.unpack_from(data.data, place)
        end = place + _HEADER.size + rows * dimension * _FLOAT.itemsize
        if magic != _MAGIC or end > len(data):
            break
        frames[first_slot] = place, rows
        place = end
    return frames

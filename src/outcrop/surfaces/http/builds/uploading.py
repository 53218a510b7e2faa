"""An upload on its way to a file: no faster than the disk, never whole in memory, and not beyond a limit."""

from __future__ import annotations

import asyncio
import errno
import shutil
import time
from concurrent.futures import Executor
from functools import partial
from io import FileIO
from typing import Any

import msgspec
from litestar import Request

from outcrop import files
from outcrop.surfaces.http.access import check_again
from outcrop.surfaces.http.bodies import pieces_of
from outcrop.surfaces.http.builds import states
from outcrop.surfaces.http.builds.running import Begun, Builds
from outcrop.surfaces.http.problems import TooLarge

_BLOCK_BYTES = 1_000_000
_BLOCK_SECONDS = 0.5
_DIGITS_MAX = 18
_FREE_BYTES_MIN = 500_000_000


class _Spool:
    """The file, on threads."""

    def __init__(self, builds: Builds, begun: Begun, total: int | None) -> None:
        self._builds = builds
        self._begun = begun
        self._total = total
        self._size_bytes = 0
        with files.storage_errors(begun.folder.path):
            self._file = FileIO(begun.folder.upload(begun.build.id), "xb")

    def write(self, block: bytes) -> None:
        """Put a block in, and say how far it is. Raises what asks the build to end."""
        self._builds.check_goes_on(self._begun)
        self._check_room()
        with files.storage_errors(self._begun.folder.path):
            rest = memoryview(block)
            while rest:
                rest = rest[self._file.write(rest) :]
        self._size_bytes += len(block)
        told = msgspec.structs.replace(self._begun.build, done=self._size_bytes, total=self._total, unit="bytes")
        states.write(self._begun.folder, told)

    def _check_room(self) -> None:
        """An upload must not take the room that the collection's writes need."""
        folder = self._begun.folder.path
        with files.storage_errors(folder):
            free = shutil.disk_usage(folder).free
        if free < _FREE_BYTES_MIN:
            raise files.storage_failed(folder, OSError(errno.ENOSPC, "an upload leaves half a gigabyte free, and there is less"))

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._file.close()


async def received(request: Request[Any, Any, Any], builds: Builds, begun: Begun, *, pool: Executor, bytes_max: int) -> None:
    """Write the request's body to the build's file.

    Raises `TooLarge`, `BadRequest` if it ends before it is whole, `DeadlinePassed` if nothing comes for long, `BuildCancelled`,
    `Closed`, `StorageFailed`.
    """
    on_thread = partial(asyncio.get_running_loop().run_in_executor, pool)
    told = request.headers.get("content-length", "")
    length = int(told) if told.isdecimal() and len(told) <= _DIGITS_MAX else None
    if length is not None and length > bytes_max:
        raise _too_large(bytes_max)
    spool = await on_thread(_Spool, builds, begun, length)
    try:
        size, block, began = 0, bytearray(), time.monotonic()
        async for piece in pieces_of(request):
            check_again(request)
            size += len(piece)
            if size > bytes_max:
                raise _too_large(bytes_max)
            block += piece
            if len(block) >= _BLOCK_BYTES or time.monotonic() - began >= _BLOCK_SECONDS:
                await on_thread(spool.write, bytes(block))
                block, began = bytearray(), time.monotonic()
        await on_thread(spool.write, bytes(block))
    finally:
        spool.close()


def _too_large(bytes_max: int) -> TooLarge:
    return TooLarge(f"the upload is larger than {bytes_max} bytes; compress it, or let the server read a file (--source-folder)")

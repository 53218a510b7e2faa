"""Where a generation's table lies: in the generation's own folder, in another folder, or in an object store.

It is decided when the table is made, and written down before that in the file `location` in the generation's folder `lancedb`, so
that whoever removes the generation finds the table, finished or not. Without that file the table is in that folder itself. A
configuration that is changed later moves nothing. The time at which `location` was last touched tells that the table has changed.

An object store has durable writes and checksums of its own; what lies in a folder is synced and listed by `settling`.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit
from uuid import uuid4

import msgspec

from outcrop import files
from outcrop.config import folder_of_tables
from outcrop.engines.lancedb import settling
from outcrop.errors import Damaged, OutcropError

_log = logging.getLogger("outcrop")
FOLDER, TABLE = "lancedb", "chunks"
_FILE, _IDENTITY = "location", "identity"
_GENERATION = re.compile(r"[0-9]+-[0-9a-f]{32}$")
_VERSIONS = f"{TABLE}.lance/_versions"
_RETRYING, _RETRIED_SECONDS = "client_retry_timeout", "10"
_RETRYING_VARIABLE = "OBJECT_STORE_CLIENT_RETRY_TIMEOUT"
_S3_RIGHTS = (
    "for s3:// AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, and for another store than Amazon's AWS_ENDPOINT_URL (with"
    " AWS_ALLOW_HTTP=true where it is http://)"
)
_RIGHTS = MappingProxyType(
    {
        "s3": _S3_RIGHTS,
        "gs": "for gs:// GOOGLE_APPLICATION_CREDENTIALS or GOOGLE_SERVICE_ACCOUNT, the name of a file",
        "az": "for az:// AZURE_STORAGE_ACCOUNT_NAME, and AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN",
    }
)


class Place(msgspec.Struct, frozen=True):
    """Where one table lies. `folder` is the generation's own, which exists wherever the table is.

    `uri` is what LanceDB is given; `local` is the folder that it means, or None for an object store. `signed` is the path whose
    time of change tells that the table has changed.
    """

    folder: Path
    uri: str
    local: Path | None
    signed: Path

    def __str__(self) -> str:
        return self.uri

    @property
    def path(self) -> Path:
        """The folder that an error is about: the table's, or the one from which it is known."""
        return self.folder if self.local is None else self.local

    @property
    def is_elsewhere(self) -> bool:
        """Whether the table lies outside of the generation's folder."""
        return self.local != self.folder

    def client_options(self) -> dict[str, str] | None:
        """What the client of an object store is told, besides what it takes from the environment. None for a folder.

        What was not answered within 30 s, the client's default, is not asked again by it for minutes: Lance does that itself.
        """
        if self.local is not None or _RETRYING_VARIABLE in os.environ:
            return None
        return {_RETRYING: _RETRIED_SECONDS}

    def rights(self) -> str:
        """Which variables say with whose rights an object store is asked."""
        return _RIGHTS[urlsplit(self.uri).scheme]

    def is_missing(self) -> bool:
        """Whether there is no table for sure, without asking LanceDB."""
        return self.local is not None and not files.is_there(self.local / _VERSIONS)

    def missing(self) -> Damaged:
        """The error of who finds no table."""
        fault = f"the table in {self} is missing"
        return Damaged(f"{fault}; restore the folder or roll back", path=self.path, fault=fault)

    def signature(self) -> int:
        """What changes with every change of the table, by whatever process, in ns. Raises `Damaged` if there is no table."""
        try:
            return self.signed.stat().st_mtime_ns
        except (FileNotFoundError, NotADirectoryError) as error:
            raise self.missing() from error
        except OSError as error:
            raise files.storage_failed(self.signed, error) from error

    def identity(self) -> str:
        """Tells the table that the generation has now from one that it had before, whose versions have the same numbers."""
        now = _place(self.folder)
        if now.is_elsewhere:
            return now.uri
        try:
            return (self.folder / _IDENTITY).read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise files.storage_failed(self.folder / _IDENTITY, error) from error
        except ValueError as error:
            raise Damaged(f"{self.folder / _IDENTITY} cannot be read: {error}", path=self.folder) from error

    def begin(self) -> None:
        """Before a change: as `settling.begin`."""
        if self.local is not None:
            settling.begin(self.local)

    def settle(self) -> None:
        """After a change: make it durable, and tell the other processes of it. For who holds the apply lock, or builds."""
        if self.local is not None:
            settling.settle(self.local)
        self._touch()

    @contextmanager
    def cleaning(self) -> Iterator[None]:
        """While LanceDB removes what no kept version needs: as `settling.cleaning`."""
        if self.local is None:
            yield
        else:
            with settling.cleaning(self.local):
                yield
        self._touch()

    def check_sizes(self) -> None:
        """Before the table is opened: remove what a power cut left, and check that the listed files have their sizes."""
        if self.local is not None:
            settling.mend(self.local)
            settling.check_sizes(self.local)

    def check_content(self) -> None:
        """As `check_sizes`, but every byte is compared with its checksum."""
        if self.local is not None:
            settling.mend(self.local)
            settling.check_content(self.local)

    def _touch(self) -> None:
        if self.is_elsewhere:
            with files.storage_errors(self.signed):
                os.utime(self.signed)


def made(directory: Path, base: str | None) -> Place:
    """The place of a generation's new table: its own folder, or a new one below the URI or folder `base`. Durably written down.

    It has an identity of its own: another table of this generation may have gone before it.
    """
    folder = directory / FOLDER
    with files.storage_errors(folder):
        folder.mkdir(exist_ok=True)
    if base is None:
        files.write_atomically(folder / _IDENTITY, uuid4().hex.encode())
    else:
        uri = f"{base.rstrip('/')}/{directory.parent.parent.name}/{directory.name}-{uuid4().hex[:8]}"
        files.write_atomically(folder / _FILE, _noted(uri))
    files.sync_folder(directory)
    place = _place(folder)
    if place.is_elsewhere and place.local is not None:
        with files.storage_errors(place.local):
            place.local.mkdir(parents=True)
    return place


def of(directory: Path) -> Place:
    """The place of a generation's table."""
    return _place(directory / FOLDER)


def elsewhere(directory: Path, base: str | None) -> list[Place]:
    """Every place outside of a generation's folder that is known to it: of its table, and of those that were there before.

    Where a note is damaged, what it named is looked for below the folder `base`, by the generation's name, which no other has.
    """
    places, damaged = _noted_in(directory)
    for note in damaged:
        found = _unnamed(note, base)
        places += found
        if not found:
            _log.warning("%s is damaged; if the LanceDB table that it named is still there, it stays", note / _FILE)
    return [place for place in places if place.is_elsewhere]


def has_table_in_a_store(directory: Path) -> bool:
    """Whether one of those places is in an object store, so that LanceDB is needed to remove the table."""
    return any(place.local is None for place in _noted_in(directory)[0])


def noting(directory: Path) -> list[Path]:
    """The folders in a generation's that say where a table lies; or the folder itself, if it is one of these, put aside."""
    return [folder for folder in (directory, directory / FOLDER, *directory.glob(f".{FOLDER}-*")) if files.is_there(folder / _FILE)]


def uri_elsewhere(directory: Path) -> str | None:
    """Where a generation's table lies, if that is not in its folder. None also where that cannot be read any more."""
    try:
        place = of(directory)
    except OutcropError:
        return None
    return place.uri if place.is_elsewhere else None


def remove(local: Path) -> None:
    """Remove a table from a folder outside of the generation's: what is known to be ours, and nothing else that lies there."""
    if not files.is_there(local):
        return
    with files.storage_errors(local), suppress(FileNotFoundError):
        shutil.rmtree(local / f"{TABLE}.lance")
    settling.forget(local)
    for folder in (local, local.parent):  # the generation's and the collection's, if nothing is left in them
        with suppress(OSError):
            folder.rmdir()


def _noted_in(directory: Path) -> tuple[list[Place], list[Path]]:
    """The places that are noted, and the folders whose note is damaged."""
    places, damaged = [], []
    for folder in noting(directory):
        try:
            places.append(_place(folder))
        except Damaged:
            damaged.append(folder)
    return places, damaged


def _unnamed(folder: Path, base: str | None) -> list[Place]:
    """The tables of a generation below a base that is a folder, but for those that it names."""
    below, name = None if base is None else folder_of_tables(base), _GENERATION.search(folder.parent.name)
    if below is None or name is None:
        return []
    named = {place.local.resolve() for place in _noted_in(folder.parent)[0] if place.local is not None}
    with files.storage_errors(below):
        found = [path for path in below.glob(f"*/{name[0]}-*") if path.resolve() not in named]
    return [Place(folder, str(path), path, folder / _FILE) for path in found]


def _place(folder: Path) -> Place:
    note = folder / _FILE
    try:
        content = note.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return Place(folder, str(folder), folder, folder / _VERSIONS)
    except OSError as error:
        raise files.storage_failed(note, error) from error
    uri = content.partition(b"\n")[0].decode("utf-8", "replace")
    if content != _noted(uri):
        raise Damaged(
            f"{note} is not as it was written; it said where the LanceDB table lies. Build the index anew: outcrop repair",
            path=note,
        )
    local = folder_of_tables(uri)
    return Place(folder, uri if local is None else str(local), local, note)


def _noted(uri: str) -> bytes:
    """What the file says: the URI and its SHA-256, a line each."""
    return f"{uri}\n{sha256(uri.encode()).hexdigest()}\n".encode()

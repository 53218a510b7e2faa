"""Where everything lies in a collection's folder. Names only; nothing here reads or writes content."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from outcrop.errors import InvalidName
from outcrop.files import storage_errors

COLLECTION_FILE = "collection.json"
JOURNAL_FILE = "journal.sqlite"
ACTIVE = "active"
GENERATIONS = "generations"
QUERIES = "queries"
BUILDS = "builds"
MANIFEST = "manifest.json"
QUARANTINED = "quarantined"
REFUSED = "refused"
FORMAT = 1

_COLLECTION_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_GENERATION_NAME = re.compile(r"(\d{6,})-([0-9a-f]{32})")
_RESERVED_NAMES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))})


class GenerationName(msgspec.Struct, frozen=True, order=True):
    """A generation's number, for people, and its uuid, for caches. `str()` is the folder's name: `000002-9c1f...`."""

    number: int
    uuid: str

    def __str__(self) -> str:
        return f"{self.number:06d}-{self.uuid}"


class CollectionFolder(msgspec.Struct, frozen=True):
    """The paths of one collection."""

    path: Path

    @property
    def collection_file(self) -> Path:
        """What the collection is: name, uuid, format, defaults. Written once."""
        return self.path / COLLECTION_FILE

    @property
    def journal(self) -> Path:
        """The numbered record: generation numbers and promotions."""
        return self.path / JOURNAL_FILE

    @property
    def active(self) -> Path:
        """The pointer to the active generation."""
        return self.path / ACTIVE

    @property
    def builds(self) -> Path:
        """What a server notes of the builds that it runs. Nothing here depends on it."""
        return self.path / BUILDS

    @property
    def build_lock(self) -> Path:
        """Held by whoever builds."""
        return self.path / "build.lock"

    @property
    def writer_lock(self) -> Path:
        """Held by whoever promotes or writes."""
        return self.path / "writer.lock"

    @property
    def writer_queue(self) -> Path:
        """Held by whoever is the next to hold the writer lock."""
        return self.path / "writer.queue"

    @property
    def generations(self) -> Path:
        """The folder of generations."""
        return self.path / GENERATIONS

    @property
    def queries(self) -> Path:
        """The folder of the query log."""
        return self.path / QUERIES

    def generation(self, name: GenerationName) -> Path:
        """One generation's folder."""
        return self.generations / str(name)

    def names(self) -> list[GenerationName]:
        """Every generation's folder there is, finished or not, by number."""
        with storage_errors(self.generations):
            if not self.generations.is_dir():
                return []
            return sorted(name for name in (parse_name(entry.name) for entry in self.generations.iterdir()) if name is not None)


def parse_name(folder_name: str) -> GenerationName | None:
    """The generation that a folder's name stands for, or None."""
    match = _GENERATION_NAME.fullmatch(folder_name)
    return GenerationName(number=int(match[1]), uuid=match[2]) if match else None


def check_collection_name(name: str) -> str:
    """The name, if it is one that a collection may have; otherwise `InvalidName`."""
    if not isinstance(name, str) or not _COLLECTION_NAME.fullmatch(name) or name in _RESERVED_NAMES:
        raise InvalidName(
            f"{name!r} cannot be a collection's name: use 1 to 64 of a-z, 0-9, _ and -, beginning with a letter or digit"
            " (and no device name such as con or nul)",
            name=name,
        )
    return name

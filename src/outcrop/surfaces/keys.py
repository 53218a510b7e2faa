"""API keys of a database's server: `keys.json` in the database's folder, which only its owner may read.

A key is `oc_`, the key's id, `_` and 256 random bits. Of these the file has the SHA-256 only: no salt and no slow hash, because
nobody guesses 256 bits. Whoever has `write` may read too, whoever has `admin` may do everything. As long as the file is there
keys are wanted, also when the last one has been revoked.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

import msgspec

from outcrop import file_locks, files
from outcrop.errors import CollectionLocked, Damaged, InvalidInput, NotFound

Scope = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
FILE_NAME = "keys.json"
_PREFIX = "oc"
_NAME_CHARACTERS_MAX = 100


class Key(msgspec.Struct, frozen=True):
    """What is known of a key. `collections` are those that it opens; None: all."""

    id: str
    name: str
    scope: Scope
    collections: tuple[str, ...] | None
    created_at: str
    sha256: str

    def allows(self, scope: Scope, collection: str | None) -> bool:
        """Whether it lets do what needs `scope`, in a collection or, with None, in the database as a whole."""
        if self.collections is not None and collection not in self.collections:
            return False
        return SCOPES.index(self.scope) >= SCOPES.index(scope)


class Keys:
    """The keys of a database. Safe to use from many threads; what another process changes is seen at the next look.

    `always_wanted` is for a server that other machines reach: should the file go while it runs, it lets in nobody.
    """

    def __init__(self, folder: Path, *, always_wanted: bool = False) -> None:
        self.path = folder / FILE_NAME
        self._always_wanted = always_wanted
        self._read: tuple[tuple[int, int] | None, dict[str, Key]] = (None, {})

    @property
    def wanted(self) -> bool:
        """Whether a key is needed: there is or was one."""
        return self._always_wanted or files.is_there(self.path)

    def all(self) -> list[Key]:
        """Every key, the oldest first. Raises `Damaged`, `StorageFailed`."""
        return list(self._by_id().values())

    def create(self, name: str, scope: Scope, collections: tuple[str, ...] | None = None) -> str:
        """A new key, which cannot be had again. Raises `InvalidInput` for a name that is empty, too long or taken."""
        if not name.strip() or len(name) > _NAME_CHARACTERS_MAX:
            raise InvalidInput(f"a key's name has 1 to {_NAME_CHARACTERS_MAX} characters, found {len(name)}")
        key_id, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        made = Key(key_id, name, scope, collections, now, _digest(secret))
        with self._changing() as known:
            if any(one.name == name for one in known):
                raise InvalidInput(f"there is a key {name!r} already; revoke it, or take another name")
            self._write([*known, made])
        return f"{_PREFIX}_{key_id}_{secret}"

    def revoke(self, name: str) -> Key:
        """Take a key away, by its name or id. Raises `NotFound`."""
        with self._changing() as known:
            found = next((one for one in known if name in (one.name, one.id)), None)
            if found is None:
                raise NotFound(f"there is no key {name!r}; there are: {', '.join(one.name for one in known) or 'none'}")
            self._write([one for one in known if one != found])
        return found

    def holder(self, given: str) -> Key | None:
        """The key that this is, or None."""
        prefix, _, rest = given.partition("_")
        key_id, _, secret = rest.partition("_")
        found = self._by_id().get(key_id)
        if prefix != _PREFIX or found is None or not hmac.compare_digest(found.sha256, _digest(secret)):
            return None
        return found

    def _by_id(self) -> dict[str, Key]:
        with files.storage_errors(self.path):
            try:
                about = self.path.stat()
            except FileNotFoundError:
                return {}
            state = (about.st_mtime_ns, about.st_ino)
            read_at, known = self._read
            if read_at != state:
                known = {one.id: one for one in _decoded(self.path)}
                self._read = (state, known)
        return known

    @contextmanager
    def _changing(self) -> Iterator[list[Key]]:
        """The keys, while nobody else changes them."""
        with files.storage_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = file_locks.opened(self.path.with_suffix(".lock"), writable=True)
        with lock:
            if not file_locks.lock(lock):
                raise CollectionLocked(f"somebody else is changing {self.path}; try again", path=self.path, owner=None)
            yield self.all()

    def _write(self, keys: list[Key]) -> None:
        before = os.umask(0o077)
        try:
            files.write_atomically(self.path, msgspec.json.format(msgspec.json.encode(keys)))
        finally:
            os.umask(before)


def _decoded(path: Path) -> list[Key]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Key])
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Damaged(f"{path} is damaged ({error}): remove it, and create the keys anew", path=path) from error


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()

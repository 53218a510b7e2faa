"""How much memory may be held, and who holds how much?

One `MemoryBudget` per database, divided into accounts by fixed shares, so that nobody ever waits for what another owner holds.
An owner takes bytes before it allocates them and gives them back when they are free again: what is counted here is what the owners
ask for, not what the process has.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from threading import Condition

import msgspec

from outcrop import forking

#: Which part of the budget each owner may hold. They add up to 1.
#: "ingestion" is the batches that are read, cut, embedded and written; "indexing" is what the engines hold while they build: the
#: text writer's buffer and the part that is being filled; "buffers" the arrays that `outcrop.buffers` lends.
SHARES = {"ingestion": 0.1, "indexing": 0.4, "query cache": 0.2, "embedding cache": 0.05, "buffers": 0.25}
_WAKE_SECONDS = 0.5  # an endless wait in the main thread cannot be interrupted on Windows


class CacheStats(msgspec.Struct, frozen=True):
    """How a cache in memory does, for all collections of the database, in this process.

    `hits` counts what was not done again, also where the same was just being done by another thread; `misses` what was done.
    `hit_rate` is the hits' share of both, None before there was any. Sizes are estimates of the memory that entries take.
    """

    hits: int
    misses: int
    hit_rate: float | None
    entries: int
    size_bytes: int
    size_bytes_max: int


class Account:
    """What one owner may hold. Safe from many threads.

    >>> account = Account("buffers", limit_bytes=100)
    >>> account.try_take(60), account.try_take(60), account.used_bytes
    (True, False, 60)
    >>> account.give_back(60)
    """

    def __init__(self, owner: str, limit_bytes: int) -> None:
        self.owner = owner
        self.limit_bytes = limit_bytes
        self._used_bytes = 0
        self._peak_bytes = 0
        self._changed = Condition(forking.lock())

    @property
    def used_bytes(self) -> int:
        """Taken and not yet given back."""
        return self._used_bytes

    @property
    def peak_bytes(self) -> int:
        """The most that was taken at any time."""
        return self._peak_bytes

    def try_take(self, size_bytes: int) -> bool:
        """Take `size_bytes` if there is room for them; False, and nothing taken, otherwise. Never waits."""
        with self._changed:
            if self._used_bytes + size_bytes > self.limit_bytes:
                return False
            self._add(size_bytes)
            return True

    def take(self, size_bytes: int, *, stopped: Callable[[], bool] = lambda: False) -> bool:
        """Wait for room and take `size_bytes`; False, and nothing taken, once `stopped()` says so.

        What is larger than the whole account is let in when nothing else is held, so that one huge item passes alone instead of
        waiting for ever. `stopped` is asked whenever something is given back, and twice a second.
        """
        with self._changed:
            while self._used_bytes and self._used_bytes + size_bytes > self.limit_bytes:
                if stopped():
                    return False
                self._changed.wait(_WAKE_SECONDS)
            self._add(size_bytes)
            return True

    def allow(self, limit_bytes: int) -> None:
        """Change how much may be held. What is held already stays until it is given back."""
        with self._changed:
            self.limit_bytes = limit_bytes
            self._changed.notify_all()

    def add(self, size_bytes: int) -> None:
        """Take `size_bytes` whatever the limit is: for what was let in and has grown since. Others wait the longer. Never waits."""
        with self._changed:
            self._add(size_bytes)

    def give_back(self, size_bytes: int) -> None:
        """Say that `size_bytes` taken before are free again."""
        with self._changed:
            assert 0 <= size_bytes <= self._used_bytes, f"{self.owner}: {size_bytes} bytes given back of {self._used_bytes}"
            self._used_bytes -= size_bytes
            self._changed.notify_all()

    def _add(self, size_bytes: int) -> None:
        self._used_bytes += size_bytes
        self._peak_bytes = max(self._peak_bytes, self._used_bytes)


def share_bytes(limit_bytes: int, owner: str) -> int:
    """What an owner of `SHARES` may hold of a budget of `limit_bytes`."""
    return int(limit_bytes * SHARES[owner])


def arrow_bytes() -> dict[str, int]:
    """What PyArrow's default pool holds, for all that use it in this process, as the owner "arrow"; nothing if it is not loaded.

    No part of the budget: Arrow allocates what the data needs. What LanceDB allocates itself is not in it.
    """
    allocated = getattr(sys.modules.get("pyarrow"), "total_allocated_bytes", None)
    return {} if allocated is None else {"arrow": int(allocated())}


class MemoryBudget:
    """Bytes that the owners of `SHARES` divide among themselves.

    >>> budget = MemoryBudget(1000)
    >>> budget.account("ingestion").limit_bytes
    100
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._accounts = {owner: Account(owner, share_bytes(limit_bytes, owner)) for owner in SHARES}

    def account(self, owner: str) -> Account:
        """The account of an owner of `SHARES`; always the same object."""
        return self._accounts[owner]

    def allow(self, limit_bytes: int) -> None:
        """Divide another number of bytes among the owners, by the same shares."""
        self.limit_bytes = limit_bytes
        for owner, account in self._accounts.items():
            account.allow(share_bytes(limit_bytes, owner))

    def used_bytes(self) -> dict[str, int]:
        """What each owner holds now."""
        return {owner: account.used_bytes for owner, account in self._accounts.items()}

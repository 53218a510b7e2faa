"""Large arrays for a moment, used again and again: batches of vectors.

One pool a process, as there is one allocator. It holds what the accounts "buffers" of the open databases have room for; where there
is no room, and for small arrays, it simply allocates: nobody waits, and nothing fails for want of a buffer. It gains something only
where the allocator would give memory back to the system and take it again each time
(docs/decisions/0012-where-arrays-are-borrowed.md).
"""

from __future__ import annotations

import mmap
from contextlib import AbstractContextManager, suppress
from math import prod
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from outcrop import forking
from outcrop.memory import Account

ALIGNMENT = 64
#: Smaller arrays are allocated: the allocator keeps those for itself, and is quicker than a pool.
SMALL_BYTES = 64 * 1024
#: From this size on a block is mapped for itself, in huge pages where the system gives them: 8 MB are touched for the first time in
#: 0.7 ms instead of 3.3. It makes no difference to later uses.
HUGE_BYTES = 2 * 1024**2
_STEPS_OF_DOUBLING = 4  # size classes: at most a quarter of a block is not used


class Pool:
    """Blocks that are lent, and come back. Safe from many threads, and in a forked child.

    >>> pool = Pool()
    >>> pool.attach(Account("buffers", 1_000_000))
    >>> with pool.borrowed((1000, 64), np.float32) as rows:
    ...     rows.shape, rows.ctypes.data % ALIGNMENT
    ((1000, 64), 0)
    >>> pool.idle_bytes
    262144
    """

    def __init__(self) -> None:
        self._accounts: tuple[Account, ...] = ()
        self._idle: dict[int, list[_Block]] = {}  # by size; taken from and added to by single steps, without a lock
        self._attaching = forking.lock()

    @property
    def idle_bytes(self) -> int:
        """What is kept and lent to nobody."""
        return sum(size_bytes * len(blocks) for size_bytes, blocks in list(self._idle.items()))

    def borrowed(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> AbstractContextManager[NDArray[Any]]:
        """An array of this shape for the time of a `with`, in C order and aligned to 64 bytes, with anything in it.

        It must not be used afterwards, nor any view of it: what goes on is copied. About a microsecond.
        """
        return _Loan(self, shape, dtype)

    def attach(self, account: Account) -> None:
        """Hold blocks at the expense of this account too."""
        with self._attaching:
            self._accounts = (*self._accounts, account)

    def detach(self, account: Account) -> None:
        """Give back all that is held at its expense, what is lent when it comes back."""
        with self._attaching:
            self._accounts = tuple(one for one in self._accounts if one is not account)
        self.let_go()

    def let_go(self) -> None:
        """Free what is lent to nobody: after work that will not come again soon."""
        for blocks in list(self._idle.values()):
            with suppress(IndexError):  # another thread takes them too
                while True:
                    blocks.pop().free()

    def take(self, size_bytes: int) -> _Block | None:
        """A block of at least this size; None where no account has room for one."""
        rounded = _rounded(size_bytes)
        try:
            return self._idle[rounded].pop()
        except (KeyError, IndexError):
            return self._made(rounded)

    def put_back(self, block: _Block) -> None:
        """Take back what was lent."""
        self._idle[block.size_bytes].append(block)
        account = block.account  # looked at last: it may just be detached, or allowed less
        if account not in self._accounts or account.used_bytes > account.limit_bytes:
            self.let_go()

    def _made(self, size_bytes: int) -> _Block | None:
        self._idle.setdefault(size_bytes, [])
        accounts = self._accounts
        account = next((one for one in accounts if one.try_take(size_bytes)), None)
        if account is None and any(size_bytes <= one.limit_bytes for one in accounts):
            self.let_go()  # of other sizes
            account = next((one for one in accounts if one.try_take(size_bytes)), None)
        if account is None:
            return None
        try:
            return _Block(_memory(size_bytes), account)
        except (MemoryError, OSError):  # a smaller one may still be had, from the allocator
            account.give_back(size_bytes)
            return None


class _Block:
    """Memory, and the account that pays for it."""

    __slots__ = ("account", "memory", "size_bytes")

    def __init__(self, memory: NDArray[np.uint8], account: Account) -> None:
        self.memory = memory
        self.size_bytes = len(memory)
        self.account = account

    def free(self) -> None:
        self.account.give_back(self.size_bytes)


class _Loan(AbstractContextManager[NDArray[Any]]):
    """One use of a block. A class of its own: a generator would take as long again."""

    __slots__ = ("_block", "_dtype", "_pool", "_shape")

    def __init__(self, pool: Pool, shape: int | tuple[int, ...], dtype: DTypeLike) -> None:
        self._pool = pool
        self._shape = shape
        self._dtype = np.dtype(dtype)
        self._block: _Block | None = None

    def __enter__(self) -> NDArray[Any]:
        shape = self._shape
        size_bytes = (shape if isinstance(shape, int) else prod(shape)) * self._dtype.itemsize
        if size_bytes >= SMALL_BYTES:
            self._block = self._pool.take(size_bytes)
        if self._block is None:
            return np.empty(shape, self._dtype)
        return np.ndarray(shape, self._dtype, self._block.memory)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        block, self._block = self._block, None
        if block is not None:
            self._pool.put_back(block)


def _rounded(size_bytes: int) -> int:
    """The size of the class, four of them to each doubling."""
    step = max(1 << size_bytes.bit_length() - 1, SMALL_BYTES) // _STEPS_OF_DOUBLING
    return -(-size_bytes // step) * step


def _memory(size_bytes: int) -> NDArray[np.uint8]:
    """Aligned memory: to 64 bytes, and from `HUGE_BYTES` on to that."""
    if size_bytes >= HUGE_BYTES and hasattr(mmap, "MADV_HUGEPAGE"):
        mapped = mmap.mmap(-1, size_bytes + HUGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # not shared with children
        mapped.madvise(mmap.MADV_HUGEPAGE)
        return _aligned(np.frombuffer(mapped, np.uint8), size_bytes, HUGE_BYTES)
    return _aligned(np.empty(size_bytes + ALIGNMENT, np.uint8), size_bytes, ALIGNMENT)


def _aligned(memory: NDArray[np.uint8], size_bytes: int, alignment: int) -> NDArray[np.uint8]:
    start = -memory.ctypes.data % alignment
    return memory[start : start + size_bytes]


process = Pool()
"""The pool of this process."""

"""Borrowed arrays: aligned, used again, paid for by an account, and never in anybody's way."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import numpy as np
import pytest

import outcrop
from outcrop import Config, Document, buffers
from outcrop.buffers import ALIGNMENT, HUGE_BYTES, SMALL_BYTES, Pool
from outcrop.memory import Account

LARGE = 4 * SMALL_BYTES


def pool_of(limit_bytes: int) -> tuple[Pool, Account]:
    pool, account = Pool(), Account("buffers", limit_bytes)
    pool.attach(account)
    return pool, account


@pytest.mark.parametrize("size_bytes", [SMALL_BYTES, 300_001, HUGE_BYTES, 5_000_001])
def test_an_array_has_the_shape_and_the_alignment_that_are_asked_for(size_bytes: int) -> None:
    pool, _ = pool_of(100_000_000)
    with pool.borrowed((size_bytes // 4, 2), np.float32) as rows:
        assert (rows.shape, rows.dtype, rows.flags.c_contiguous, rows.flags.writeable) == (
            (size_bytes // 4, 2),
            np.float32,
            True,
            True,
        )
        assert rows.ctypes.data % ALIGNMENT == 0
        rows[-1] = 7
        assert rows[-1, 1] == 7


def test_a_block_is_lent_again_for_whatever_fits_its_size() -> None:
    pool, account = pool_of(10 * LARGE)
    with pool.borrowed(LARGE, np.uint8) as first:
        place = first.ctypes.data
    with pool.borrowed((LARGE // 4 - 10,), np.float32) as second:
        assert second.ctypes.data == place
        with pool.borrowed(LARGE, np.uint8) as other:
            assert not np.shares_memory(second, other)
    assert account.used_bytes == pool.idle_bytes == 2 * LARGE


def test_a_small_array_costs_no_account_anything() -> None:
    pool, account = pool_of(LARGE)
    with pool.borrowed((10, 10), np.float32) as rows:
        assert rows.shape == (10, 10)
    assert (account.used_bytes, pool.idle_bytes) == (0, 0)


def test_where_the_account_has_no_room_arrays_are_allocated() -> None:
    pool, account = pool_of(LARGE)
    with pool.borrowed(LARGE, np.uint8) as first, pool.borrowed(LARGE, np.uint8) as second:
        assert not np.shares_memory(first, second)
        assert account.used_bytes == LARGE
    assert account.used_bytes == LARGE


def test_without_an_account_arrays_are_allocated() -> None:
    pool = Pool()
    with pool.borrowed(LARGE, np.uint8) as array:
        assert array.shape == (LARGE,)
    assert pool.idle_bytes == 0


def test_where_the_system_refuses_a_block_arrays_are_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(size_bytes: int) -> None:
        raise OSError(errno.ENOMEM, f"no {size_bytes} bytes")

    monkeypatch.setattr(buffers, "_memory", refused)
    pool, account = pool_of(LARGE)
    with pool.borrowed(LARGE, np.uint8) as array:
        assert array.shape == (LARGE,)
    assert account.used_bytes == 0


def test_blocks_of_another_size_make_room() -> None:
    pool, account = pool_of(2 * LARGE)
    with pool.borrowed(LARGE, np.uint8), pool.borrowed(LARGE, np.uint8):
        pass
    with pool.borrowed(2 * LARGE, np.uint8):
        assert account.used_bytes == 2 * LARGE
    assert (account.used_bytes, pool.idle_bytes) == (2 * LARGE, 2 * LARGE)


def test_what_is_let_go_is_free_and_what_is_lent_stays() -> None:
    pool, account = pool_of(10 * LARGE)
    with pool.borrowed(LARGE, np.uint8) as lent:
        with pool.borrowed(LARGE, np.uint8):
            pass
        pool.let_go()
        assert account.used_bytes == LARGE
        lent[:] = 1
    assert pool.idle_bytes == LARGE


def test_a_detached_account_gets_back_what_it_paid_for_the_lent_when_it_comes_back() -> None:
    pool, account = pool_of(10 * LARGE)
    with pool.borrowed(LARGE, np.uint8), pool.borrowed(2 * LARGE, np.uint8):
        with pool.borrowed(LARGE, np.uint8):
            pass
        pool.detach(account)
        assert account.used_bytes == 3 * LARGE
    assert (account.used_bytes, pool.idle_bytes) == (0, 0)


def test_a_block_comes_back_when_the_work_fails() -> None:
    pool, account = pool_of(LARGE)
    with pytest.raises(ValueError, match="broadcast"), pool.borrowed(LARGE, np.uint8) as array:
        array[:] = np.zeros(3, np.uint8)
    assert pool.idle_bytes == account.used_bytes == LARGE


def test_threads_never_get_the_same_block() -> None:
    pool, account = pool_of(3 * LARGE)
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(300):
            with pool.borrowed(LARGE, np.uint8) as array:
                array[:: SMALL_BYTES // 16] = number
                if (array[:: SMALL_BYTES // 16] != number).any():
                    wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert account.used_bytes == pool.idle_bytes <= 3 * LARGE


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_writes_into_blocks_of_its_own() -> None:
    pool, _ = pool_of(100_000_000)
    with pool.borrowed(HUGE_BYTES, np.uint8) as array:
        array[:] = 1
        child = os.fork()
        if not child:
            array[:] = 2
            os._exit(0)
        os.waitpid(child, 0)
        assert (array == 1).all()


class Soiled(Pool):
    """Whatever was lent is spoilt when it comes back: who still uses it gives another answer."""

    def put_back(self, block: buffers._Block) -> None:
        block.memory[:] = 0xFF
        super().put_back(block)


def answers(folder: Path) -> list[list[tuple[str, float]]]:
    """What a collection answers that was built, written to and absorbed."""
    rng = np.random.default_rng(5)
    vectors = rng.standard_normal((9_000, 64), dtype=np.float32)
    documents = [Document(f"d{n}", f"granite {n % 7}", vector=vector) for n, vector in enumerate(vectors)]
    with outcrop.open(folder, config=Config.test(batch_documents=1000, tail_chunks_max=100)) as db:
        rocks = db.create_collection("rocks", embedder="none", index="ivf_pq")
        rocks.build(documents[:6_000], promote=True)
        rocks.upsert_many(documents[5_000:])
        rocks.optimize()
        found = [rocks.search(vector=vector, k=5) for vector in vectors[::500]]
        return [[(hit.document_id, hit.score) for hit in hits] for hits in found]


def test_nothing_that_was_lent_is_in_an_index_or_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffers, "process", Pool())
    clean = answers(tmp_path / "clean")
    soiled = Soiled()
    monkeypatch.setattr(buffers, "process", soiled)
    assert answers(tmp_path / "soiled") == clean
    assert all(hits[0][0] == f"d{500 * number}" for number, hits in enumerate(clean))


def test_a_database_pays_for_the_buffers_while_it_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffers, "process", Pool())
    with outcrop.open(tmp_path / "kb", config=Config.test()) as db:
        collection = db.create_collection("rocks", embedder="none")
        with buffers.process.borrowed(LARGE, np.uint8):
            assert collection.stats().memory["buffers"] == LARGE
        account = db._shared.memory.account("buffers")
    assert (account.used_bytes, buffers.process.idle_bytes) == (0, 0)


def test_a_block_that_comes_back_when_less_is_allowed_is_freed() -> None:
    pool, account = pool_of(10 * LARGE)
    with pool.borrowed(LARGE, np.uint8), pool.borrowed(LARGE, np.uint8):
        account.allow(LARGE)
        assert account.used_bytes == 2 * LARGE
    assert account.used_bytes <= LARGE

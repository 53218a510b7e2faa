from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from outcrop.embedding import CacheCounts, CachedEmbedder, EmbeddingCache, HashingEmbedder
from outcrop.embedding import cache as cache_module
from outcrop.embedding.cache import cache_keys
from outcrop.errors import EmbeddingFailed

TEXTS = [f"layer {number} of the old red sandstone" for number in range(700)]


class _Counting(HashingEmbedder):
    """The hashing embedder; remembers what it was asked for, and fails at a text that is `fail_at`."""

    def __init__(self, dimension: int = 64, fail_at: str | None = None) -> None:
        super().__init__(dimension)
        self.asked: list[str] = []
        self.fail_at = fail_at

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if self.fail_at in texts:
            raise EmbeddingFailed("no power", embedder="hashing", status=503)
        self.asked += texts
        return super().embed_documents(texts)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "embeddings.sqlite"


@pytest.fixture
def cache(path: Path) -> Iterator[EmbeddingCache]:
    opened = EmbeddingCache(path)
    yield opened
    opened.close()


def test_the_same_text_is_embedded_once_across_calls_and_processes_lifetimes(path: Path, cache: EmbeddingCache) -> None:
    first = _Counting()
    rows = CachedEmbedder(first, cache).embed_documents(TEXTS)
    assert first.asked == TEXTS
    cache.close()
    second = _Counting()
    again = CachedEmbedder(second, EmbeddingCache(path)).embed_documents(TEXTS[::-1])
    assert second.asked == []
    np.testing.assert_array_equal(again, rows[::-1])
    np.testing.assert_array_equal(rows, HashingEmbedder(64).embed_documents(TEXTS))
    assert rows.dtype == np.float32
    assert rows.flags.c_contiguous
    assert rows.flags.writeable


def test_equal_texts_of_one_call_are_embedded_once(cache: EmbeddingCache) -> None:
    embedder = _Counting()
    cached = CachedEmbedder(embedder, cache)
    rows = cached.embed_documents(["slate", "chalk", "slate", "slate"])
    assert embedder.asked == ["slate", "chalk"]
    np.testing.assert_array_equal(rows[0], rows[3])
    assert not np.array_equal(rows[0], rows[1])
    assert cached.counts == CacheCounts(hits=2, misses=2)


def test_only_what_is_missing_is_embedded_and_counted(cache: EmbeddingCache) -> None:
    embedder = _Counting()
    cached = CachedEmbedder(embedder, cache)
    cached.embed_documents(["slate", "chalk"])
    rows = cached.embed_documents(["marl", "chalk", "slate", "clay"])
    assert embedder.asked == ["slate", "chalk", "marl", "clay"]
    assert cached.counts == CacheCounts(hits=2, misses=4)
    np.testing.assert_array_equal(rows, HashingEmbedder(64).embed_documents(["marl", "chalk", "slate", "clay"]))


def test_another_embedder_has_vectors_of_its_own(cache: EmbeddingCache) -> None:
    CachedEmbedder(_Counting(64), cache).embed_documents(["slate"])
    other = _Counting(32)
    assert CachedEmbedder(other, cache).embed_documents(["slate"]).shape == (1, 32)
    assert other.asked == ["slate"]


def test_two_servers_with_the_same_model_name_do_not_share_vectors() -> None:
    identity = HashingEmbedder(64).identity
    assert cache_keys(identity, ["slate"], scope="http://a/v1") != cache_keys(identity, ["slate"], scope="http://b/v1")
    assert cache_keys(identity, ["slate"], scope="http://a/v1") == cache_keys(identity, ["slate"], scope="http://a/v1")


def test_texts_that_differ_only_in_space_or_case_have_keys_of_their_own() -> None:
    texts = ["slate", "Slate", "slate ", "sla te", "", "\udc80"]
    assert len(set(cache_keys(HashingEmbedder(64).identity, texts))) == len(texts)


def test_queries_are_not_stored(cache: EmbeddingCache) -> None:
    cached = CachedEmbedder(HashingEmbedder(64), cache)
    np.testing.assert_array_equal(cached.embed_query("slate"), HashingEmbedder(64).embed_query("slate"))
    assert cache.count() == 0
    cached.embed_documents(["slate"])
    assert cache.count() == 1


def test_what_was_embedded_before_a_failure_is_not_paid_for_again(cache: EmbeddingCache) -> None:
    failing = _Counting(fail_at=TEXTS[600])
    with pytest.raises(EmbeddingFailed, match="no power"):
        CachedEmbedder(failing, cache).embed_documents(TEXTS)
    assert len(failing.asked) == 512
    healed = _Counting()
    CachedEmbedder(healed, cache).embed_documents(TEXTS)
    assert healed.asked == TEXTS[512:]


class _Wrong(HashingEmbedder):
    """Makes what `wrong` makes of the right rows."""

    def __init__(self, wrong: Callable[[NDArray[np.float32]], object]) -> None:
        super().__init__(64)
        self.wrong = wrong

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self.wrong(super().embed_documents(texts))  # type: ignore[return-value]


@pytest.mark.parametrize("size_bytes_max", [0, 1_000_000])
@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (lambda rows: rows[:-1], r"shape \(1, 64\) of float32 for 2 texts, \(2, 64\) is wanted"),
        (lambda rows: rows[:, :32], r"shape \(2, 32\)"),
        (lambda rows: rows[0], r"shape \(64,\)"),
        (lambda rows: rows * np.float32("nan"), "not finite"),
        (lambda rows: rows.astype(str), "of <U"),
    ],
)
def test_an_embedder_that_makes_something_else_than_asked_for_fails_clearly(
    path: Path, wrong: Callable[[NDArray[np.float32]], object], complaint: str, size_bytes_max: int
) -> None:
    cache = EmbeddingCache(path, size_bytes_max)
    with pytest.raises(EmbeddingFailed, match=complaint):
        CachedEmbedder(_Wrong(wrong), cache).embed_documents(["slate", "chalk"])
    assert cache.count() == 0


def test_float64_rows_of_an_embedder_of_ones_own_become_float32(cache: EmbeddingCache) -> None:
    rows = CachedEmbedder(_Wrong(lambda rows: rows.astype(np.float64).tolist()), cache).embed_documents(["slate"])
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, HashingEmbedder(64).embed_documents(["slate"]))


def test_no_texts_give_no_rows(cache: EmbeddingCache) -> None:
    assert CachedEmbedder(HashingEmbedder(64), cache).embed_documents([]).shape == (0, 64)


def test_a_bound_of_zero_writes_nothing(path: Path) -> None:
    embedder = _Counting()
    cached = CachedEmbedder(embedder, EmbeddingCache(path, 0))
    cached.embed_documents(["slate"])
    cached.embed_documents(["slate"])
    assert embedder.asked == ["slate", "slate"]
    assert cached.counts == CacheCounts(hits=0, misses=2)
    assert not path.exists()


def test_the_file_stays_within_its_bound_and_the_newest_vectors_stay(path: Path) -> None:
    bound = 2_000_000
    cache = EmbeddingCache(path, bound)
    cached = CachedEmbedder(HashingEmbedder(256), cache)
    texts = [f"grain {number}" for number in range(6000)]  # 6 MB of vectors
    for start in range(0, len(texts), 250):
        cached.embed_documents(texts[start : start + 250])
    kept = cache.count()
    cache.close()  # folds the log into the file
    assert path.stat().st_size <= bound * 1.25
    assert 1000 < kept < 2000
    last = _Counting(256)
    CachedEmbedder(last, cache).embed_documents(texts[-500:])
    assert last.asked == []
    first = _Counting(256)
    CachedEmbedder(first, cache).embed_documents(texts[:10])
    assert first.asked == texts[:10]


def test_a_text_that_is_used_outlives_those_that_are_not(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hour = 0
    monkeypatch.setattr(cache_module, "_tick", lambda: hour)
    cache = EmbeddingCache(path, 1_000_000)
    cached = CachedEmbedder(HashingEmbedder(256), cache)
    cached.embed_documents(["used", "unused"])
    for hour in range(1, 12):
        cached.embed_documents(["used", *(f"grain {hour} {number}" for number in range(150))])
    left = cache.load(cache_keys(cached.identity, ["used", "unused"]), 256)
    assert list(left) == cache_keys(cached.identity, ["used"])


def test_a_smaller_bound_shrinks_the_file(path: Path) -> None:
    large = EmbeddingCache(path)
    CachedEmbedder(HashingEmbedder(1024), large).embed_documents(TEXTS)
    large.close()
    assert path.stat().st_size > 2_500_000
    small = EmbeddingCache(path, 500_000)
    CachedEmbedder(HashingEmbedder(1024), small).embed_documents(["one more"])
    small.close()
    assert path.stat().st_size <= 625_000


@pytest.mark.parametrize(
    "content", [b"this is no database, but long enough to be read as one" * 100, b"SQLite format 3\x00" + b"\xff" * 9000]
)
def test_a_file_that_is_no_cache_is_set_aside_with_a_warning(path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path.write_bytes(content)
    embedder = _Counting()
    cached = CachedEmbedder(embedder, EmbeddingCache(path))
    with caplog.at_level(logging.WARNING):
        cached.embed_documents(["slate"])
    assert "is damaged" in caplog.text
    assert path.with_name("embeddings.sqlite.damaged").read_bytes() == content
    cached.embed_documents(["slate"])
    assert embedder.asked == ["slate"]


def test_a_file_that_is_damaged_in_the_middle_never_gives_a_wrong_vector(path: Path, cache: EmbeddingCache) -> None:
    CachedEmbedder(HashingEmbedder(256), cache).embed_documents(TEXTS)
    cache.close()
    content = bytearray(path.read_bytes())
    for position in range(20_000, len(content), 3_000):
        content[position : position + 40] = os.urandom(40)
    path.write_bytes(content)
    cached = CachedEmbedder(HashingEmbedder(256), EmbeddingCache(path))
    for _ in range(2):
        np.testing.assert_array_equal(cached.embed_documents(TEXTS), HashingEmbedder(256).embed_documents(TEXTS))


def test_a_garbled_vector_is_a_miss_and_is_replaced(path: Path, cache: EmbeddingCache) -> None:
    CachedEmbedder(HashingEmbedder(64), cache).embed_documents(["slate", "chalk"])
    cache.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE vectors SET vector = zeroblob(256) WHERE id = 1")
    connection.close()
    for asked in (["slate"], []):
        embedder = _Counting()
        rows = CachedEmbedder(embedder, cache).embed_documents(["slate", "chalk"])
        np.testing.assert_array_equal(rows, HashingEmbedder(64).embed_documents(["slate", "chalk"]))
        assert embedder.asked == asked
    assert cache.count() == 2


def test_a_cache_of_another_format_is_set_aside(path: Path, cache: EmbeddingCache, caplog: pytest.LogCaptureFixture) -> None:
    CachedEmbedder(HashingEmbedder(64), cache).embed_documents(["slate"])
    cache.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert EmbeddingCache(path).count() == 0
    assert "its format is 99, not 1" in caplog.text


def test_a_folder_that_cannot_be_written_only_turns_the_cache_off(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("not a folder")
    embedder = _Counting()
    cache = EmbeddingCache(tmp_path / "file" / "embeddings.sqlite")
    cached = CachedEmbedder(embedder, cache)
    assert cached.embed_documents(["slate"]).shape == (1, 64)
    assert cached.embed_documents(["slate"]).shape == (1, 64)
    assert embedder.asked == ["slate", "slate"]
    assert not cache.enabled
    assert caplog.text.count("cannot be used") == 1


def test_a_full_disk_only_turns_the_cache_off(path: Path, cache: EmbeddingCache, caplog: pytest.LogCaptureFixture) -> None:
    cached = CachedEmbedder(HashingEmbedder(1024), cache)
    cached.embed_documents(["slate"])
    assert cache._connection is not None
    pages = cache._connection.execute("PRAGMA page_count").fetchone()[0]
    cache._connection.execute(f"PRAGMA max_page_count = {pages}")  # SQLite's own "database or disk is full"
    np.testing.assert_array_equal(cached.embed_documents(TEXTS), HashingEmbedder(1024).embed_documents(TEXTS))
    assert "database or disk is full" in caplog.text
    assert not cache.enabled
    assert list(EmbeddingCache(path).load(cache_keys(cached.identity, ["slate"]), 1024)) == cache_keys(cached.identity, ["slate"])


def test_a_cache_that_another_process_holds_is_done_without_for_the_moment(
    path: Path, cache: EmbeddingCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "_BUSY_SECONDS", 0.01)
    cached = CachedEmbedder(_Counting(), cache)
    cached.embed_documents(["slate"])
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    assert cached.embed_documents(["slate", "chalk"]).shape == (2, 64)
    holder.execute("ROLLBACK")
    holder.close()
    assert cache.enabled
    assert cache.count() == 1
    cached.embed_documents(["chalk"])
    assert cache.count() == 2


def test_a_deleted_file_does_no_harm(path: Path, cache: EmbeddingCache) -> None:
    cached = CachedEmbedder(HashingEmbedder(64), cache)
    cached.embed_documents(TEXTS)
    for name in os.listdir(path.parent):
        (path.parent / name).unlink()
    np.testing.assert_array_equal(cached.embed_documents(TEXTS), HashingEmbedder(64).embed_documents(TEXTS))
    other = _Counting()
    CachedEmbedder(other, EmbeddingCache(path)).embed_documents(["slate"])
    assert other.asked == ["slate"]


def test_many_threads_share_one_cache(cache: EmbeddingCache) -> None:
    cached = CachedEmbedder(HashingEmbedder(64), cache)
    batches = [TEXTS[start : start + 100] for start in range(0, 700, 50)]
    with ThreadPoolExecutor(8) as pool:
        for batch, rows in zip(batches, pool.map(cached.embed_documents, batches), strict=True):
            np.testing.assert_array_equal(rows, HashingEmbedder(64).embed_documents(batch))
    assert cache.count() == len(TEXTS)
    assert cached.counts.hits + cached.counts.misses == sum(map(len, batches))


def test_many_processes_share_one_cache(path: Path) -> None:
    program = (
        "import sys, numpy as np\n"
        "from outcrop.embedding import CachedEmbedder, EmbeddingCache, HashingEmbedder\n"
        "cached = CachedEmbedder(HashingEmbedder(64), EmbeddingCache(sys.argv[1]))\n"
        "texts = [f'grain {number}' for number in range(600)]\n"
        "for start in range(0, 600, 60):\n"
        "    batch = texts[start : start + 60]\n"
        "    assert np.array_equal(cached.embed_documents(batch), HashingEmbedder(64).embed_documents(batch))\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", program, str(path)]) for _ in range(4)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0, 0, 0]
    assert EmbeddingCache(path).count() == 600
    assert not path.with_name("embeddings.sqlite.damaged").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # other tests' threads are idle
def test_a_forked_child_opens_the_file_for_itself(cache: EmbeddingCache) -> None:
    cached = CachedEmbedder(HashingEmbedder(64), cache)
    cached.embed_documents(["slate"])
    child = os.fork()
    if child == 0:
        status = 1
        try:
            cached.embed_documents(["chalk"])
            status = 0 if cache.count() == 2 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert cache.count() == 2

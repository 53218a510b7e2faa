"""Tables in an S3 store that takes connections and answers nothing: nobody waits for it for long, and it heals by itself."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import outcrop
from outcrop import Config
from outcrop.engines.fallback import index as fallback_index
from outcrop.engines.lancedb import library
from outcrop.engines.lancedb.location import of
from outcrop.errors import NotYetVisible, OutcropError, StorageFailed
from tests.engines import stores
from tests.engines.stores import Store
from tests.fallback.drilling import answered_by, assert_honest, config, found, generation, opened, recovers, rocks

pytest.importorskip("lancedb")

ALONE: dict[str, Any] = {"background": False, "lock_timeout_seconds": 20.0, "query_cache_seconds": 0}
A_PROCESS = """
import sys
from pathlib import Path
from tests.fallback.drilling import *
with opened(Path(sys.argv[1]), config(lancedb_apply_seconds=0.2)) as collection:
    print(answered_by(collection), flush=True)
    sys.stdin.readline()
    collection.upsert(rocks(1, "basalt", begin=100))
    print(answered_by(collection, "basalt"), flush=True)
"""


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with stores.running_store() as running, pytest.MonkeyPatch.context() as patched:
        patched.setenv("AWS_TIMEOUT", "2s")  # so that what hangs in the client does not outlive the tests for long
        yield running


@contextmanager
def hanging(store: Store) -> Iterator[None]:
    """The store hangs, and there is little patience with that."""
    with pytest.MonkeyPatch.context() as impatient:
        impatient.setattr(library, "READ_SECONDS_MAX", 0.3)
        impatient.setattr(fallback_index, "_OPENED_SECONDS", 0.3)
        store.door.hang()
        try:
            yield
        finally:
            store.door.open()


def at(store: Store, **overrides: Any) -> Config:
    return config(lancedb_uri=store.uri, lancedb_apply_seconds=0.3, **overrides)


def test_a_search_that_hangs_in_the_store_is_answered_and_no_other_search_waits(tmp_path: Path, store: Store) -> None:
    with opened(tmp_path / "kb", at(store, breaker_failures_max=5)) as collection:
        assert answered_by(collection) == "lancedb"
        place = of(generation(tmp_path / "kb"))
        with hanging(store):
            hits = collection.search("number7", mode="lexical")
            assert_honest(hits)
            assert (hits[0].document_id, hits.engine) == ("d7", "builtin")
            assert f"{place.uri}: the object store was not reached or refused: LanceDB did not answer within 0.3 s" in str(
                hits.degraded
            )
            serving = collection.stats().serving
            assert serving is not None
            assert serving.state != "closed", "one search that hangs is enough"
            assert {answered_by(collection) for _ in range(5)} == {"builtin"}
        recovers(collection)
        assert of(generation(tmp_path / "kb")) == place, "it was built anew"


def test_searches_that_wait_for_the_newest_version_do_not_wait_one_after_another(tmp_path: Path, store: Store) -> None:
    with opened(tmp_path / "kb", at(store)) as collection:
        assert answered_by(collection) == "lancedb"
        with hanging(store):
            os.utime(of(generation(tmp_path / "kb")).signed)  # as if another process had written
            engines: list[str] = []
            searches = [threading.Thread(target=lambda: engines.append(answered_by(collection))) for _ in range(4)]
            for search in searches:
                search.start()
            for search in searches:
                search.join()
            assert engines == ["builtin"] * 4
        recovers(collection)


def test_writes_are_taken_while_the_store_hangs_and_replayed_when_it_answers(tmp_path: Path, store: Store) -> None:
    with opened(tmp_path / "kb", at(store)) as collection:
        assert answered_by(collection) == "lancedb"
        place = of(generation(tmp_path / "kb"))
        with hanging(store):
            for turn in range(3):
                collection.upsert(rocks(1, "basalt", begin=100 + turn))
                hits = collection.search("basalt", mode="lexical")
                assert (hits.engine, len(hits)) == ("builtin", turn + 1)
                assert_honest(hits)
        recovers(collection)
        assert found(collection, "basalt", mode="lexical") == {"d100", "d101", "d102"}
        assert of(generation(tmp_path / "kb")) == place, "it was built anew"


def test_a_database_opens_while_the_store_hangs(tmp_path: Path, store: Store) -> None:
    with opened(tmp_path / "kb", at(store)) as collection:
        assert answered_by(collection) == "lancedb"
    with hanging(store), opened(tmp_path / "kb", at(store)) as collection:
        assert answered_by(collection) == "builtin"
    with opened(tmp_path / "kb", at(store)) as collection:
        recovers(collection)


def test_a_build_beside_a_store_that_hangs_is_made_without_lancedb_until_it_answers(tmp_path: Path, store: Store) -> None:
    with opened(tmp_path / "kb", at(store)) as collection:
        with hanging(store):
            collection.build(rocks(40, "slate"), promote=True)
            assert answered_by(collection, "slate") == "builtin"
            assert len(found(collection, "slate", mode="lexical")) == 40
        recovers(collection)
        assert len(found(collection, "slate", mode="lexical")) == 40


def test_without_a_fallback_a_store_that_hangs_is_an_error_that_names_it(tmp_path: Path, store: Store) -> None:
    alone = Config.lancedb_test(lancedb_uri=store.uri, **ALONE)
    said = f"{store.uri}/rocks/.* LanceDB did not answer within 0.3 s"
    with opened(tmp_path / "kb", alone) as collection:
        assert answered_by_lancedb_alone(collection)
        with hanging(store):
            with pytest.raises(StorageFailed, match=said):
                collection.search("granite")
            with pytest.raises(NotYetVisible, match=said):
                collection.upsert(rocks(1, "basalt", begin=100))
            with pytest.raises(StorageFailed, match=said):
                collection.build(rocks(3))
        assert answered_by_lancedb_alone(collection)
        collection.optimize()
        assert found(collection, "basalt", mode="lexical") == {"d100"}
    with hanging(store), outcrop.open(tmp_path / "kb", config=alone) as db, pytest.raises(OutcropError, match=said):
        db.collection("rocks").search("granite")


def answered_by_lancedb_alone(collection: outcrop.Collection) -> bool:
    hits = collection.search("granite")
    return (hits.engine, hits.degraded, len(hits)) == ("lancedb", None, 10)


def test_after_an_outage_only_what_was_missed_is_replayed_into_a_store_that_kept_its_data(
    tmp_path: Path, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(tmp_path / "kb", at(store, breaker_failures_max=1)) as collection, caplog.at_level(logging.WARNING, "outcrop"):
        assert answered_by(collection) == "lancedb"
        place = of(generation(tmp_path / "kb"))
        store.door.shut()
        for turn in range(3):
            collection.upsert(rocks(2, "basalt", begin=100 + 2 * turn))
            assert answered_by(collection, "basalt") == "builtin"
        collection.delete(["d100", "d0"])
        assert answered_by(collection, "basalt") == "builtin"
        store.door.open()
        recovers(collection)
        assert found(collection, "basalt", mode="lexical") == {f"d{n}" for n in range(101, 106)}
        assert "d0" not in found(collection, "granite", mode="lexical")
        assert of(generation(tmp_path / "kb")) == place
    assert "engine_rebuilt" not in [getattr(record, "event", None) for record in caplog.records]


def test_what_lies_in_a_store_that_hangs_is_collected_later(tmp_path: Path, store: Store) -> None:
    with opened(tmp_path / "kb", at(store, kept_generations=0, kept_days=0, warm_generations=0)) as collection:
        old = generation(tmp_path / "kb").name
        collection.build(rocks(40, "slate"), promote=True)
        recovers(collection)
        with hanging(store):
            kept = [item.reason for item in collection.gc().kept if item.path.endswith(old)]
            assert ["LanceDB did not answer within 0.3 s" in reason for reason in kept] == [True]
        assert any(item.path.endswith(old) for item in collection.gc().removed)


def test_a_process_ends_while_a_call_of_it_hangs_in_the_store(tmp_path: Path, store: Store) -> None:
    with opened(tmp_path / "kb", at(store)) as collection:
        assert answered_by(collection) == "lancedb"
    environment = {**os.environ, "AWS_TIMEOUT": "600s"}
    program = [sys.executable, "-c", A_PROCESS, str(tmp_path / "kb")]
    with subprocess.Popen(program, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "lancedb\n"
        store.door.hang()
        said, _ = process.communicate("go on\n", timeout=120)
    assert (said, process.returncode) == ("builtin\n", 0)

"""Every mode opens what every other has made, where that is possible; where not, it says which mode or command is needed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import outcrop
from outcrop import Collection, Config
from outcrop.engines import registry
from outcrop.errors import EngineUnavailable, IllegalState, InvalidConfig, ReadOnly
from tests.damage import overwrite
from tests.fallback.drilling import answered_by, config, found, generation, opened, recovers, rocks

pytest.importorskip("lancedb")
MODES: dict[str, Callable[..., Config]] = {
    "default": Config.default,
    "test": Config.test,
    "mvp_only": Config.mvp_only,
    "production": Config.production,
    "lancedb_test": Config.lancedb_test,
}
WRITTEN = {f"d{n}" for n in range(100, 103)}


def of(mode: str) -> Config:
    return MODES[mode](background=False, lock_timeout_seconds=20.0)


def answers(made_by: str, read_by: str) -> str | None:
    """Which engine answers in one mode what was made in another; None if it cannot."""
    if made_by == "lancedb_test":
        return None if read_by == "mvp_only" else "lancedb"
    if read_by == "lancedb_test":
        return "lancedb" if made_by == "production" else None
    return "lancedb" if made_by == read_by == "production" else "builtin"


def written(collection: Collection) -> None:
    collection.upsert(rocks(3, "basalt", begin=100))
    collection.delete(["d0"])


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("read_by", MODES)
@pytest.mark.parametrize("made_by", MODES)
def test_what_one_mode_made_another_opens_or_says_what_is_needed(
    tmp_path: Path, made_by: str, read_by: str, read_only: bool
) -> None:
    with opened(tmp_path / "kb", of(made_by)) as collection:
        written(collection)
    engine = answers(made_by, read_by)
    with opened(tmp_path / "kb", of(read_by), read_only=read_only) as collection:
        if engine is None:
            wanted = "outcrop repair rocks --generation 1 --mode production" if read_by == "lancedb_test" else 'mode "production"'
            with pytest.raises(EngineUnavailable, match=wanted):
                collection.search("basalt")
            return
        hits = collection.search("basalt", mode="lexical")
        assert {hit.document_id for hit in hits} == WRITTEN
        assert hits.engine == engine
        without_index = read_by == "production" and engine == "builtin"
        assert bool(hits.degraded) == without_index
        if without_index:
            assert "generation 1 has no LanceDB index; outcrop repair rocks --generation 1 --mode production" in str(hits.degraded)
        if not read_only:
            collection.upsert(rocks(1, "marble", begin=500))
            assert found(collection, "marble", mode="lexical") == {"d500"}
            assert found(collection, "quarry number0", mode="lexical", where="n = 0") == set()


@pytest.mark.parametrize("between", ["default", "mvp_only", "lancedb_test"])
def test_what_another_mode_wrote_and_forgot_is_there_when_production_returns(tmp_path: Path, between: str) -> None:
    kb = tmp_path / "kb"
    with opened(kb):
        pass
    with opened(kb, of(between)) as collection:
        for turn in range(5):
            collection.upsert(rocks(20, f"basalt{turn}", begin=100))
            with collection._open.stage.opened(collection._open.folder.names()[-1]) as (one, live):
                one.index.absorb(live.applying, keep_seconds=-1.0)
        collection.delete([f"d{n}" for n in range(10)])
    for chosen in (config(), of("mvp_only"), of("lancedb_test"), config()):
        with opened(kb, chosen) as collection:
            if chosen.mode == "production":
                recovers(collection)
            assert found(collection, "basalt4", mode="lexical") == {f"d{n}" for n in range(100, 120)}
            assert found(collection, "basalt3", mode="lexical") == set()
            assert found(collection, "granite", mode="lexical") == {f"d{n}" for n in range(10, 30)}
            assert not {f"d{n}" for n in range(10)} & found(collection, "quarry number5", mode="vector")
            assert all(one.healthy for one in collection.verify())


def test_in_a_mode_without_fallback_a_failure_of_lancedb_is_one_of_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from outcrop.engines.lancedb.snapshot import LanceSnapshot

    with opened(tmp_path / "kb"):
        pass
    with opened(tmp_path / "kb", of("lancedb_test")) as collection:
        assert str(collection.stats().running) == "LanceDB only"
        with monkeypatch.context() as broken:

            def lexical(*_: object) -> None:
                raise RuntimeError("no words today")

            broken.setattr(LanceSnapshot, "lexical", lexical)
            for _ in range(10):
                with pytest.raises(EngineUnavailable, match="no words today"):
                    collection.search("granite")
        assert collection.search("granite").engine == "lancedb"


def test_a_generation_gets_its_lancedb_index_by_repair(tmp_path: Path) -> None:
    kb = tmp_path / "kb"
    with opened(kb, of("default")) as collection:
        written(collection)
        with pytest.raises(IllegalState, match="mode default does not use LanceDB"):
            collection.repair()
    with opened(kb, config(), read_only=True) as collection, pytest.raises(ReadOnly):
        collection.repair()
    with opened(kb) as collection:
        assert answered_by(collection) == "builtin"
        report = collection.repair()
        assert (report.generation, report.chunks) == (1, 32)
        recovers(collection)
        assert found(collection, "basalt", mode="lexical") == WRITTEN
        collection.upsert(rocks(1, "marble", begin=500))
        assert answered_by(collection, "marble") == "lancedb"
    with opened(kb, of("lancedb_test")) as collection:
        assert found(collection, "marble", mode="lexical") == {"d500"}
        assert collection.repair(1).chunks == 33
    with opened(kb, of("mvp_only")) as collection:
        assert found(collection, "basalt", mode="lexical") == WRITTEN


def test_a_generation_made_without_lancedb_is_told_of_and_not_called_failing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kb = tmp_path / "kb"
    with opened(kb, of("default")):
        pass
    with caplog.at_level(logging.WARNING, "outcrop"), opened(kb) as collection:
        assert answered_by(collection) == "builtin"
        serving = collection.stats().serving
        assert serving is not None
        assert (serving.state, serving.failures) == ("open", 0)
        collection.repair()
        assert answered_by(collection) == "lancedb"
    events = [record.event for record in caplog.records if hasattr(record, "event")]
    assert events == ["engine_absent", "engine_recovered"]
    assert "outcrop repair rocks --generation 1 --mode production builds it" in caplog.records[0].message
    assert "again" not in caplog.records[-1].message


def test_a_generation_of_lancedb_alone_has_nothing_to_be_repaired_from(tmp_path: Path) -> None:
    with opened(tmp_path / "kb", of("lancedb_test")):
        pass
    with opened(tmp_path / "kb") as collection:
        assert str(collection.stats().running) == "LanceDB only"
        with pytest.raises(IllegalState, match="build a new one"):
            collection.repair()
        collection.build(promote=True)
        assert answered_by(collection) == "lancedb"
        assert str(collection.stats().running) == "LanceDB with built-in fallback"


def test_repair_beside_another_opening_is_seen_by_it(tmp_path: Path) -> None:
    kb = tmp_path / "kb"
    with opened(kb) as here, opened(kb) as there:
        assert answered_by(there) == "lancedb"
        for turn in range(3):
            here.upsert(rocks(1, f"basalt{turn}", begin=100))
            here.repair()
            assert found(there, f"basalt{turn}", mode="lexical") == {"d100"}
            recovers(there)
            assert found(there, f"basalt{turn}", mode="lexical") == {"d100"}
            assert not turn or found(there, f"basalt{turn - 1}", mode="lexical") == set()


def test_verify_tells_of_damage_in_either_index_and_sets_aside_for_the_built_in_one_only(tmp_path: Path) -> None:
    kb = tmp_path / "kb"
    with opened(kb) as collection:
        data = next((generation(kb) / "lancedb").rglob("*.lance"))
    content = bytearray(data.read_bytes()) if data.is_file() else b""
    if not content:
        data = next(path for path in (generation(kb) / "lancedb" / "chunks.lance" / "data").iterdir())
        content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 0xFF
    data.write_bytes(content)
    with opened(kb, config(), read_only=True) as collection:
        report, _ = collection.verify()
        assert not report.healthy
        assert "outcrop repair" in str(report.fault)
    with opened(kb) as collection:
        assert collection.generations()[0].status == "active"
        collection.repair()
        assert all(one.healthy for one in collection.verify())
    part = next((generation(kb) / "parts").rglob("vectors.f32"))
    overwrite(part, bytes(part.stat().st_size))
    with opened(kb) as collection, suppress(outcrop.OutcropError):
        report, _ = collection.verify()
        assert "vectors.f32" in str(report.fault)


@pytest.mark.parametrize("engine", ["builtin", "lancedb", "lancedb+builtin"])
def test_a_build_may_name_its_engine(tmp_path: Path, engine: str) -> None:
    with opened(tmp_path / "kb") as collection:
        info = collection.build(rocks(5), engine=engine)
        assert info.recipe.engine == engine
        hits = collection.search("granite", generation=info)
        assert hits.engine == ("builtin" if engine == "builtin" else "lancedb")


def test_an_engine_that_there_is_not_or_that_the_mode_does_not_allow_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path / "kb", of("default")) as collection:
        with pytest.raises(InvalidConfig, match="there is no engine 'solr'"):
            collection.build(rocks(5), engine="solr")
        with pytest.raises(InvalidConfig, match="use mode production"):
            collection.build(rocks(5), engine="lancedb+builtin")
    with opened(tmp_path / "kb", of("mvp_only")) as collection, pytest.raises(EngineUnavailable, match="never loads LanceDB"):
        collection.build(rocks(5), engine="lancedb")


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("production", "LanceDB with built-in fallback"),
        ("lancedb_test", "LanceDB only"),
        ("default", "built-in"),
        ("mvp_only", "built-in"),
    ],
)
def test_the_database_says_what_runs(tmp_path: Path, mode: str, said: str) -> None:
    with outcrop.open(tmp_path / "kb", config=of(mode)) as db:
        assert (db.mode, str(db.running)) == (mode, said)


def test_a_built_in_index_older_than_what_is_remembered_says_so(tmp_path: Path) -> None:
    import sqlite3

    from outcrop.errors import Damaged

    kb = tmp_path / "kb"
    with opened(kb, of("default")) as collection:
        written(collection)
    connection = sqlite3.connect(generation(kb) / "documents.sqlite")
    with connection:
        connection.execute("UPDATE head SET sequence = 90, purged = 80")
    connection.close()
    with pytest.raises(Damaged, match="holds the writes up to 2, and what ended up to write 80 is forgotten"):
        registry.engine("builtin", of("default")).open(_recipe(kb), generation(kb))


def _recipe(kb: Path) -> Any:
    from outcrop.generations import manifest

    return manifest.required(generation(kb)).recipe

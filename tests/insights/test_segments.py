"""The files of the query log: bounded, safe among processes, and of no harm to searches whatever happens to them."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcrop.insights import log, segments
from outcrop.insights.line import Noted
from outcrop.insights.segments import Bounds, Reading, Segments, listed
from outcrop.retrieval.hits import NOBODY, TookMs
from tests.insights.logged import lines, log_of, opened, raw, rocks

SIZE_BYTES_MAX = 64_000


def noted(query: str, at: float = 0.0) -> Noted:
    return Noted(
        at,
        query,
        len(query),
        False,
        "lexical",
        10,
        0,
        100,
        None,
        1,
        1,
        "builtin",
        None,
        TookMs(1.0),
        NOBODY,
        3,
        1.5,
        False,
        False,
        1.0,
    )


def appending(folder: Path, **settings: object) -> Segments:
    check_same = settings.pop("check_same", lambda: None)
    bounds = {"size_bytes_max": SIZE_BYTES_MAX, "days": 30.0, "hashed": False, **settings}
    return Segments(folder, bounds=Bounds(**bounds), check_same=check_same)  # type: ignore[arg-type]


def queries(folder: Path) -> list[str | None]:
    return [line.query for line in Reading(folder, 0.0)]


def test_a_log_is_never_larger_than_it_may_be_and_holds_the_newest(tmp_path: Path) -> None:
    writer = appending(tmp_path / "log")
    for number in range(2_000):
        writer.append([noted(f"query {number}", time.time())])
        if number % 100 == 99:
            assert sum(one.size_bytes for one in listed(tmp_path / "log")) <= SIZE_BYTES_MAX

    found = queries(tmp_path / "log")
    assert found == [f"query {number}" for number in range(2_000 - len(found), 2_000)]
    assert len(found) > 200


def test_a_batch_larger_than_a_file_is_parted(tmp_path: Path) -> None:
    appending(tmp_path / "log").append([noted(f"query {number}") for number in range(100)])

    assert queries(tmp_path / "log") == [f"query {number}" for number in range(100)]
    assert len(listed(tmp_path / "log")) > 2


def test_files_begun_within_a_millisecond_are_read_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outcrop.insights.segments.time.time", lambda: 1_764_396_187.313)
    writer = appending(tmp_path / "log")
    for number in range(60):
        writer.append([noted(f"query {number}", time.time())])
        writer.leave()

    assert queries(tmp_path / "log") == [f"query {number}" for number in range(60)]


def test_what_is_older_than_it_may_be_goes(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    old, young = (int((time.time() - days * 86_400) * 1000) for days in (31, 29))
    for began in (old, young):
        (folder / f"{began:013d}-0123abcd.jsonl").write_text("{}\n")
    (folder / "notes.txt").write_text("not ours")

    appending(folder).append([noted("slate")])

    names = {path.name for path in folder.iterdir()}
    assert f"{old:013d}-0123abcd.jsonl" not in names
    assert {f"{young:013d}-0123abcd.jsonl", "notes.txt"} < names


def test_whatever_the_bounds_what_is_written_now_is_there(tmp_path: Path) -> None:
    writer = appending(tmp_path / "log", days=1e-12, size_bytes_max=16)
    for number in range(5):
        writer.append([noted(f"query {number}")])

    assert queries(tmp_path / "log") == ["query 4"]


@given(st.integers(min_value=0, max_value=400), st.binary(max_size=40))
def test_a_line_that_was_cut_short_is_passed_over(tmp_path_factory: pytest.TempPathFactory, cut: int, rubbish: bytes) -> None:
    folder = tmp_path_factory.mktemp("torn") / "log"
    writer = appending(folder)
    writer.append([noted(f"query {number}") for number in range(3)])
    (one,) = listed(folder)
    whole = one.path.read_bytes()
    kept = whole[: min(cut, len(whole))]
    one.path.write_bytes(kept + (b"\n" + rubbish if rubbish else b""))

    reading = Reading(folder, 0.0)
    found = [line.query for line in reading]

    complete = kept.count(b"}")
    assert found[:complete] == [f"query {number}" for number in range(complete)]
    assert len(found) <= 3
    assert bool(kept + rubbish) == bool(found or reading.skipped)


def test_processes_write_side_by_side(tmp_path: Path) -> None:
    with opened(tmp_path) as db:
        rocks(db, embedder="none")
    program = (
        "import sys; from pathlib import Path; from tests.insights.logged import opened\n"
        "with opened(Path(sys.argv[1])) as db:\n"
        "    for number in range(200): db.collection('rocks').search(f'slate {sys.argv[2]} {number}')"
    )
    begun = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), name]) for name in ("one", "two")]
    assert [one.wait(60) for one in begun] == [0, 0]

    assert len(listed(log_of(tmp_path))) == 2
    assert {line.query for line in lines(tmp_path)} == {f"slate {name} {n}" for name in ("one", "two") for n in range(200)}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_logs_its_own_searches_and_no_other_ones(tmp_path: Path) -> None:
    program = """
import os, sys
from pathlib import Path
from tests.insights.logged import opened, rocks
with opened(Path(sys.argv[1])) as db:
    collection = rocks(db, embedder="none")
    collection.search("parent before")
    child = os.fork()
    if not child:
        collection.search("child")
        db.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    collection.search("parent after")
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program, str(tmp_path)], check=True, timeout=60)
    assert sorted(str(line.query) for line in lines(tmp_path)) == ["child", "parent after", "parent before"]


def _refusing(sizes: list[int]) -> Callable[[int, bytes], int]:
    """`os.write` on a disk that has room for so many bytes at each call."""
    write = os.write

    def refuse(descriptor: int, content: bytes) -> int:
        room = sizes.pop(0) if sizes else 0
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, bytes(content)[:room])

    return refuse


def test_when_the_disk_is_full_searches_go_on_and_the_log_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path) as db:
        collection = rocks(db)
        collection.search("slate")
        collection._open.queries.flush()
        monkeypatch.setattr(segments.os, "write", _refusing([10]))
        assert len(collection.search("granite")) > 0
        collection._open.queries.flush()
        monkeypatch.undo()
        collection.search("still waiting")
        collection._open.queries.flush()
        stats = collection.stats().query_log
        assert stats is not None
        assert (stats.logged, stats.lost) == (1, 2)
        assert "No space left" in str(stats.fault)

        collection._open.queries._writer._resumes_at = 0.0
        collection.search("marble")
        collection._open.queries.flush()
        again = collection.stats().query_log
        assert again is not None
        assert (again.logged, again.lost, again.fault) == (2, 2, None)
    reading = Reading(log_of(tmp_path), 0.0)
    assert [line.query for line in reading] == ["slate", "marble"]
    assert reading.skipped == 0


def test_what_the_thread_cannot_take_is_let_go_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_WAITING_MAX", 3)
    with opened(tmp_path) as db:
        collection = rocks(db, embedder="none")
        with collection._open.queries._writer._lock:
            collection._open.queries._writer._thread = sys.modules["threading"].current_thread()  # none is begun, which would wait
            for _ in range(5):
                collection.search("slate")
        collection._open.queries._writer._thread = None
        collection._open.queries.flush()
        stats = collection.stats().query_log
        assert stats is not None
        assert (stats.logged, stats.dropped) == (3, 2)


def test_the_thread_writes_without_being_asked(tmp_path: Path) -> None:
    with opened(tmp_path) as db:
        rocks(db).search("slate")
        deadline = time.monotonic() + 30
        while not lines(tmp_path):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_log_goes_with_its_collection_and_not_into_the_next_one(tmp_path: Path) -> None:
    with opened(tmp_path) as db, opened(tmp_path) as other:
        rocks(db).search("slate")
        beside = other.collection("rocks")
        beside.search("granite")
        beside._open.queries.flush()
        db.drop_collection("rocks")
        assert not log_of(tmp_path).parent.exists()

        rocks(db)
        beside._open.queries.note(*_any_search(db))
        beside._open.queries.flush()
        assert [line.query for line in lines(tmp_path)] == []


def _any_search(db: object) -> tuple[object, object]:
    """A request and its answer, as a search hands them over."""
    from outcrop.retrieval.request import Options, prepare

    collection = db.collection("rocks")  # type: ignore[attr-defined]
    opened_one = collection._open.pin(None)
    request = prepare("marble", None, Options(), opened_one.manifest.recipe)
    hits = collection._open.shared.executor.search(opened_one, request, None)
    opened_one.unpin()
    return request, hits


def test_the_log_is_known_to_who_tidies_up(tmp_path: Path) -> None:
    with opened(tmp_path) as db:
        collection = rocks(db)
        collection.search("slate")
        collection._open.queries.flush()
        report = collection.gc()
        assert [one.kind for one in (*report.kept, *report.removed)] == ["generation"]
        assert all(one.healthy for one in collection.verify())
    assert [line.query for line in lines(tmp_path)] == ["slate"]


def test_a_log_that_was_forgotten_begins_anew(tmp_path: Path) -> None:
    with opened(tmp_path) as db, opened(tmp_path) as other:
        rocks(db).search("slate")
        db.collection("rocks")._open.queries.flush()
        assert other.collection("rocks").forget_queries() > 0
        assert other.collection("rocks").forget_queries() == 0
        db.collection("rocks").search("granite")
    assert [line.query for line in lines(tmp_path)] == ["granite"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
def test_what_else_lies_there_is_neither_read_nor_removed(tmp_path: Path) -> None:
    appending(tmp_path / "log").append([noted("slate", at=time.time())])
    beside = tmp_path / "beside"
    beside.write_text("somebody's", encoding="utf-8")
    like = [tmp_path / "log" / f"{number:013d}-aaaaaaaa.jsonl" for number in range(3)]
    os.mkfifo(like[0])
    like[1].mkdir()
    like[2].symlink_to(beside)
    assert queries(tmp_path / "log") == ["slate"]
    assert segments.forget(tmp_path / "log") > 0
    assert beside.read_text(encoding="utf-8") == "somebody's"
    assert sorted((tmp_path / "log").iterdir()) == like


@pytest.mark.parametrize("spoilt", [{"share": 0}, {"share": -1}, {"at": 1e300}, {"at": -1}])
def test_a_line_of_impossible_numbers_is_passed_over(tmp_path: Path, spoilt: dict[str, float]) -> None:
    with opened(tmp_path) as db:
        collection = rocks(db)
        collection.search("slate")
        collection._open.queries.flush()
        (file,) = listed(log_of(tmp_path))
        (line,) = raw(tmp_path)
        file.path.write_text(f"{json.dumps(line)}\n{json.dumps(line | spoilt)}\n", encoding="utf-8")
        found = collection.insights()
    assert (found.searches, found.skipped_lines) == (1, 1)


def test_where_the_system_has_no_thread_to_give_searches_go_on_and_the_next_one_asks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(log, "_WAITING_MAX", 2)
    with opened(tmp_path) as db:
        collection = rocks(db, embedder="none")
        with monkeypatch.context() as refused:
            refused.setattr(threading.Thread, "start", refuse)
            for query in ("slate", "granite", "one too many"):
                assert collection.search(query) is not None
            stats = collection.stats().query_log
        assert stats is not None
        assert (stats.dropped, stats.lost) == (1, 0)
        assert "can't start new thread" in str(stats.fault)
        collection.search("also one too many")  # has the thread begun
        deadline = time.monotonic() + 30
        while len(lines(tmp_path)) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert [line.query for line in lines(tmp_path)] == ["slate", "granite"]


def test_what_comes_while_a_batch_is_written_waits_for_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append, sizes = Segments.append, []

    def one_more_meanwhile(self: Segments, searches: Sequence[Noted]) -> None:
        append(self, searches)
        sizes.append(len(searches))
        if len(sizes) < 10:
            collection._open.queries._writer._waiting.append(noted("marble"))

    with opened(tmp_path) as db:
        collection = rocks(db, embedder="none")
        monkeypatch.setattr(Segments, "append", one_more_meanwhile)
        collection._open.queries._writer._waiting.extend([noted("slate"), noted("granite")])
        collection._open.queries.flush()
        assert sizes == [2]


def test_a_writer_that_is_ended_by_its_own_thread_writes_what_still_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append, ended = Segments.append, []

    def collected_meanwhile(self: Segments, searches: Sequence[Noted]) -> None:
        append(self, searches)
        if not ended:
            ended.append(True)
            writer.take(noted("granite"))
            writer.close()  # as the garbage collector calls it, when this thread happens to run it

    writer = log._Writer(appending(tmp_path / "log"))
    monkeypatch.setattr(Segments, "append", collected_meanwhile)
    writer.take(noted("slate"))
    thread = writer._thread
    assert thread is not None
    thread.join(30)
    assert queries(tmp_path / "log") == ["slate", "granite"]

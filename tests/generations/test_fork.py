"""Processes that fork with collections open: both sides go on, whatever other threads were doing at that moment.

Each scenario is a program of its own, with a time limit: a hang is a failure, not a stuck test run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

TIME_LIMIT_SECONDS = 240
BEGINNING = """
import faulthandler, multiprocessing, os, signal, subprocess, sys, threading, time, warnings
import outcrop
from outcrop import Config, Document
from outcrop.errors import IllegalState, OutcropError

warnings.simplefilter("ignore")
faulthandler.register(signal.SIGALRM, chain=True)  # shows where a process hangs that is killed for it
signal.alarm(200)

def document(number, word="granite"):
    return Document(f"d{number}", f"{word} and slate, number {number}, of the field", metadata={"n": number})

def forked(work, leave=os._exit):
    child = os.fork()
    if child:
        return child
    signal.alarm(60)
    try:
        work()
    except BaseException:
        import traceback
        traceback.print_exc()
        os._exit(1)
    leave(0)

def ended_well(child):
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == 0, f"a child ended with {code}"

def run(*works):
    "Threads that call the works again and again; ends them and raises what they raised."
    done, errors = threading.Event(), []
    def again(work):
        try:
            while not done.is_set():
                work()
        except BaseException as error:
            errors.append(error)
            raise
    threads = [threading.Thread(target=again, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    def finish():
        done.set()
        for thread in threads:
            thread.join()
        assert not errors, errors
    return finish

def found(kb, word, k=5):
    return [hit.document_id for hit in kb.search(word, k=k, mode="lexical").hits]

config = Config.test(background=BACKGROUND, lock_timeout_seconds=60.0)
db = outcrop.open(sys.argv[1], config=config)
kb = db.create_collection("kb", embedder="hashing:32")
"""


def runs(program: str, folder: Path, *, background: bool = False) -> None:
    """The program ends in time and without an error."""
    text = BEGINNING.replace("BACKGROUND", str(background)) + program
    done = subprocess.run(
        [sys.executable, "-c", text, str(folder / "db")], capture_output=True, text=True, timeout=TIME_LIMIT_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


UNDER_LOAD = """
kb.upsert([document(number) for number in range(200)])
written = []
def write():
    number = 1000 + len(written)
    kb.upsert(document(number, "basalt"))
    written.append(number)
finish = run(lambda: kb.search("granite"), lambda: kb.get(["d1", "d150"]), lambda: kb.count({"n": {"$lt": 50}}), write)
for round in range(ROUNDS):
    def in_child():
        assert len(found(kb, "granite")) == len(kb.search("granite", k=5).hits) == 5
        assert [one.id for one in kb.get(["d1", "d150"])] == ["d1", "d150"]
        assert kb.count({"n": {"$lt": 50}}) == 50
        if round % 3 == 0:
            kb.upsert(document(5000 + round, "gneiss"))
            assert kb.get([f"d{5000 + round}"])
        if round % 5 == 0:
            db.close()
    ended_well(forked(in_child, sys.exit if round % 2 else os._exit))
finish()
expected = {*range(200), *written, *(5000 + round for round in range(0, ROUNDS, 3))}
assert {int(one.id[1:]) for one in kb.scan()} == expected
assert kb.count() == len(expected)
assert kb.verify()[-1].healthy
db.close()
"""


@pytest.mark.parametrize("background", [False, True])
def test_children_forked_amid_searches_and_writes_search_and_write_and_nothing_is_lost(tmp_path: Path, background: bool) -> None:
    runs(UNDER_LOAD.replace("ROUNDS", "10"), tmp_path, background=background)


@pytest.mark.slow
def test_the_same_many_times(tmp_path: Path) -> None:
    runs(UNDER_LOAD.replace("ROUNDS", os.environ.get("FORKS_UNDER_LOAD", "30")), tmp_path, background=True)  # make stress: 120


def test_many_children_at_once_search_and_write_beside_their_parent(tmp_path: Path) -> None:
    runs(
        """
kb.upsert([document(number) for number in range(50)])
finish = run(lambda: found(kb, "granite"))
def writes(first):
    for number in range(first, first + 5):
        kb.upsert(document(number, "gneiss"))
        assert found(kb, "granite")
children = [forked(lambda: writes(1000 * (place + 1))) for place in range(4)]
for number in range(100, 110):
    kb.upsert(document(number, "gneiss"))
for child in children:
    ended_well(child)
finish()
assert kb.count() == 50 + 4 * 5 + 10
assert len(found(kb, "gneiss", k=50)) == 30
db.close()
""",
        tmp_path,
    )


def test_a_pool_of_processes_searches(tmp_path: Path) -> None:
    runs(
        """
kb.upsert([document(number) for number in range(50)])
finish = run(lambda: found(kb, "granite"))
def search(number):
    return [found(kb, f"granite number {number}", k=1), os.getpid()]
with multiprocessing.get_context("fork").Pool(3) as pool:
    answers = pool.map(search, range(30), chunksize=1)
finish()
assert [answer for answer, _ in answers] == [found(kb, f"granite number {number}", k=1) for number in range(30)]
assert os.getpid() not in {process for _, process in answers}
""",
        tmp_path,
    )


def test_a_child_sees_what_others_write_when_its_parent_is_gone_and_loses_nothing_itself(tmp_path: Path) -> None:
    """SQLite would go on with the files that it deleted when the parent closed them, were they open at the fork."""
    runs(
        """
kb.upsert(document(1))
ready, go = multiprocessing.get_context("fork").Pipe(), multiprocessing.get_context("fork").Pipe()
def in_child():
    assert found(kb, "granite") == ["d1"]
    ready[1].send(1)
    go[0].recv()
    assert found(kb, "basalt") == ["d2"]
    kb.upsert(document(3, "gneiss"))
    assert found(kb, "gneiss") == ["d3"]
child = forked(in_child)
ready[0].recv()
db.close()
other = "import outcrop, sys; outcrop.open(sys.argv[1]).collection('kb').upsert({'id': 'd2', 'text': 'basalt'})"
subprocess.run([sys.executable, "-c", other, sys.argv[1]], check=True)
go[1].send(1)
ended_well(child)
with outcrop.open(sys.argv[1], config=config) as db:
    assert sorted(one.id for one in db.collection("kb").scan()) == ["d1", "d2", "d3"]
""",
        tmp_path,
    )


def test_children_that_were_forked_during_a_build_keep_nobody_from_writing(tmp_path: Path) -> None:
    """They inherit the descriptors of the build's locks: ours, and those of the text index."""
    runs(
        """
kb.upsert([document(number) for number in range(300)])
children, until = [], os.pipe()
def wait():
    os.close(until[1])
    os.read(until[0], 1)
def source():
    for number in range(300):
        if number % 30 == 0:
            children.append(forked_by_another_thread())
        yield document(number, "marble")
def forked_by_another_thread():
    made = []
    thread = threading.Thread(target=lambda: made.append(forked(wait)))
    thread.start()
    thread.join()
    return made[0]
built = kb.build(source(), promote=True)
assert len(children) == 10
for number in range(300, 310):
    kb.upsert(document(number, "gneiss"))
assert len(found(kb, "gneiss", k=20)) == 10
kb.rollback()
assert len(found(kb, "gneiss", k=20)) == 10
kb.build(promote=True)
os.close(until[1])
for child in children:
    ended_well(child)
db.close()
""",
        tmp_path,
    )


def test_a_child_goes_on_searching_what_its_parent_let_go(tmp_path: Path) -> None:
    runs(
        """
from outcrop.generations import leases
from outcrop.generations.layout import CollectionFolder
from pathlib import Path
kb.build([document(1)], promote=True)
first = kb.active
ready, go = multiprocessing.get_context("fork").Pipe(), multiprocessing.get_context("fork").Pipe()
def in_child():
    searching = kb.scan()
    assert next(searching).id == "d1"
    ready[1].send(1)
    go[0].recv()
    assert list(searching) == []
    assert found(kb, "marble") == ["d1"]
child = forked(in_child)
ready[0].recv()
kb.build([document(1, "marble")], promote=True)
db.close()
assert leases.is_taken(Path(first.path))
go[1].send(1)
ended_well(child)
assert not leases.is_taken(Path(first.path))
""",
        tmp_path,
    )


def test_searches_that_only_the_parent_goes_on_with_keep_nothing_open_in_the_child(tmp_path: Path) -> None:
    runs(
        """
from pathlib import Path
from outcrop.generations import leases
kb.build([document(number) for number in range(9)], promote=True)
path = Path(kb.active.path)
begun, go_on = threading.Event(), threading.Event()
def scan():
    for _ in kb.scan():
        begun.set()
        go_on.wait()
thread = threading.Thread(target=scan)
thread.start()
begun.wait()
ready, go = multiprocessing.get_context("fork").Pipe(), multiprocessing.get_context("fork").Pipe()
def in_child():
    db.close()
    ready[1].send(1)
    go[0].recv()
child = forked(in_child)
ready[0].recv()
assert leases.is_taken(path)
go_on.set()
thread.join()
db.close()
assert not leases.is_taken(path)
go[1].send(1)
ended_well(child)
""",
        tmp_path,
    )


def test_a_child_that_was_forked_amid_work_that_did_not_end_is_refused_clearly(tmp_path: Path) -> None:
    runs(
        """
from outcrop import forking
kb.upsert(document(1))
forking._WAITED_SECONDS_MAX = 0.1
inside, go_on = threading.Event(), threading.Event()
def stuck():
    with forking.undisturbed():
        inside.set()
        go_on.wait()
thread = threading.Thread(target=stuck)
thread.start()
inside.wait()
def is_refused():
    build = lambda: kb.build([document(3)])
    for use in (lambda: kb.search("granite"), lambda: kb.upsert(document(2)), lambda: kb.get(["d1"]), build):
        try:
            use()
        except IllegalState as error:
            assert "forked while a thread was at work" in str(error), error
        else:
            raise AssertionError("it was not refused")
ended_well(forked(is_refused))
go_on.set()
thread.join()
kb.upsert(document(2))
assert kb.count() == 2
""",
        tmp_path,
    )


@pytest.mark.slow
def test_children_forked_amid_promotions_and_rollbacks_search(tmp_path: Path) -> None:
    runs(
        """
kb.build([document(number) for number in range(50)], promote=True)
kb.build([document(number, "granite marble") for number in range(50)], promote=True)
def change():
    kb.rollback()
def write():
    kb.upsert(document(100, "granite"))
finish = run(change, write, lambda: found(kb, "granite"))
def in_child():
    for _ in range(5):
        assert len(found(kb, "granite")) == 5
for round in range(25):
    ended_well(forked(in_child))
finish()
assert kb.count() == 51
db.close()
""",
        tmp_path,
        background=True,
    )

"""The memory budget: owners take before they allocate, wait for room, and never for each other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Event, Thread

import pytest

import outcrop
from outcrop import Config
from outcrop.memory import SHARES, Account, MemoryBudget


def waiting(account: Account, size_bytes: int) -> tuple[Thread, Event]:
    """A thread that takes `size_bytes` and then sets the event."""
    taken = Event()
    thread = Thread(target=lambda: taken.set() if account.take(size_bytes) else None, daemon=True)
    thread.start()
    return thread, taken


def test_the_shares_are_the_whole_budget() -> None:
    assert sum(SHARES.values()) == pytest.approx(1)
    budget = MemoryBudget(10_000)
    assert {owner: budget.account(owner).limit_bytes for owner in SHARES} == {
        owner: int(10_000 * share) for owner, share in SHARES.items()
    }


def test_what_does_not_fit_is_not_taken() -> None:
    account = Account("buffers", 100)
    assert account.try_take(70)
    assert not account.try_take(31)
    assert account.used_bytes == 70
    assert account.try_take(30)


def test_a_taker_waits_until_there_is_room() -> None:
    account = Account("ingestion", 100)
    account.take(80)
    thread, taken = waiting(account, 50)
    assert not taken.wait(0.05)
    account.give_back(30)
    thread.join(10)
    assert taken.is_set()
    assert (account.used_bytes, account.peak_bytes) == (100, 100)


def test_what_is_larger_than_the_account_passes_alone() -> None:
    account = Account("ingestion", 100)
    account.take(10)
    thread, taken = waiting(account, 1000)
    assert not taken.wait(0.05)
    account.give_back(10)
    thread.join(10)
    assert account.used_bytes == 1000
    assert not account.try_take(1)


def test_what_grows_never_waits_and_others_wait_the_longer() -> None:
    account = Account("ingestion", 100)
    account.take(90)
    account.add(50)
    assert account.used_bytes == 140
    thread, taken = waiting(account, 20)
    account.give_back(50)
    assert not taken.wait(0.05)
    account.give_back(90)
    thread.join(10)
    assert account.used_bytes == 20


def test_a_taker_that_is_stopped_takes_nothing() -> None:
    account = Account("ingestion", 100)
    account.take(100)
    assert not account.take(1, stopped=lambda: True)
    assert account.used_bytes == 100


def test_owners_do_not_wait_for_each_other() -> None:
    budget = MemoryBudget(1000)
    budget.account("query cache").take(10_000)
    assert budget.account("ingestion").try_take(100)
    assert budget.used_bytes()["ingestion"] == 100


def test_more_cannot_be_given_back_than_was_taken() -> None:
    account = Account("buffers", 100)
    account.take(10)
    with pytest.raises(AssertionError, match="buffers: 11 bytes given back of 10"):
        account.give_back(11)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_an_account_that_a_thread_is_using_can_be_used_in_a_forked_child() -> None:
    account, using, done = Account("buffers", 100), Event(), Event()
    account.take(60)
    thread = Thread(target=lambda: account.take(60, stopped=lambda: using.set() or done.wait()))
    thread.start()
    using.wait()
    child = os.fork()
    if not child:
        signal.alarm(20)  # who waits for ever ends
        os._exit(0 if account.try_take(40) and not account.try_take(1) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    done.set()
    thread.join()


def test_stats_tell_what_arrow_holds(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    with outcrop.open(tmp_path, config=Config.test()) as db:
        collection = db.create_collection("rocks", embedder="none")
        before = collection.stats().memory["arrow"]
        held = pyarrow.allocate_buffer(1_000_000)
        assert collection.stats().memory["arrow"] == before + held.size


def test_stats_never_load_arrow(tmp_path: Path) -> None:
    program = f"""
import sys, outcrop
with outcrop.open({str(tmp_path)!r}, config=outcrop.Config.test()) as db:
    memory = db.create_collection("rocks", embedder="none").stats().memory
assert "arrow" not in memory and "pyarrow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)

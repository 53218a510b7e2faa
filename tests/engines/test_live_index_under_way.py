"""Searches in many threads while others write and absorb, and processes that are killed in the middle of it."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from outcrop.engines.builtin import BuiltinEngine
from outcrop.engines.builtin.parts import unlisted
from tests.engines.living import Living, create, recipe
from tests.engines.steps import Model, expected, model_after, shown, step

ROOT = Path(__file__).resolve().parents[2]

WRITES = """
import sys
from pathlib import Path
from tests.engines.living import Living, recipe
from tests.engines.steps import step
living = Living(Path(sys.argv[1]), recipe())
living.recover()
while True:
    number = living.documents.sequence() + 1
    living.write(*step(number))
    print(number, flush=True)
    if ABSORBS:
        living.index.absorb(living.publishing, keep_seconds=-1.0)
        print(number, flush=True)
"""

READS = """
import sys
from pathlib import Path
from tests.engines.living import Living, recipe
from tests.engines.steps import shown
living = Living(Path(sys.argv[1]), recipe())
for _ in sys.stdin:
    snapshot = living.index.snapshot()
    print(repr((snapshot.sequence, *map(sorted, shown(snapshot)))), flush=True)
"""


def test_searches_see_one_write_whole_while_others_write_and_absorb(tmp_path: Path) -> None:
    create(tmp_path, recipe())
    models: list[Model] = [{}]
    written = 0
    done = threading.Event()
    wrong: list[object] = []

    def search(living: Living) -> None:
        while not done.is_set():
            least = written
            snapshot = living.index.snapshot()
            if snapshot.sequence < least or shown(snapshot) != expected(models[snapshot.sequence]):
                wrong.append((least, snapshot, shown(snapshot)))

    def absorb(living: Living) -> None:
        while not done.is_set():
            living.index.absorb(living.publishing)

    with ExitStack() as stack:
        here, there = (stack.enter_context(closing(Living(tmp_path, recipe()))) for _ in range(2))
        threads = [started(search, here, wrong), started(search, there, wrong), started(search, there, wrong)]
        threads += [started(absorb, there, wrong)]
        for number in range(1, 41):
            models.append(model_after(range(1, number + 1)))
            here.write(*step(number))
            written = number
        done.set()
        for thread in threads:
            thread.join()
    assert wrong == []


def started(run: Callable[[Living], None], living: Living, wrong: list[object]) -> threading.Thread:
    def noting() -> None:
        try:
            run(living)
        except Exception as error:  # noqa: BLE001 - a thread's failure must reach the test
            wrong.append(error)

    thread = threading.Thread(target=noting)
    thread.start()
    return thread


def test_another_process_sees_each_write_at_its_next_snapshot(tmp_path: Path) -> None:
    create(tmp_path, recipe())
    reader = subprocess.Popen(
        [sys.executable, "-c", READS, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    with reader, closing(Living(tmp_path, recipe())) as living:
        assert reader.stdin is not None
        assert reader.stdout is not None
        for number in range(1, 25):
            living.write(*step(number))
            if number % 5 == 0:
                living.index.absorb(living.publishing, keep_seconds=-1.0)
            print("now", file=reader.stdin, flush=True)
            legs = [sorted(leg) for leg in expected(model_after(range(1, number + 1)))]
            assert reader.stdout.readline() == repr((number, *legs)) + "\n"
        reader.stdin.close()


@pytest.mark.parametrize("absorbs", [False, True], ids=["apply", "absorb"])
def test_a_killed_writer_leaves_what_it_had_acknowledged(tmp_path: Path, absorbs: bool) -> None:
    create(tmp_path, recipe())
    rng = random.Random(11)
    for _ in range(8):
        acknowledged = killed(tmp_path, absorbs=absorbs, lines=rng.randint(1, 8), delay_seconds=rng.uniform(0, 0.03))
        with closing(Living(tmp_path, recipe())) as living:
            assert living.index.snapshot().sequence >= acknowledged
            check(living, living.index.snapshot().sequence)
            living.recover()
            assert living.documents.sequence() >= acknowledged
            check(living, living.documents.sequence())
            if absorbs and rng.random() < 0.5:
                living.index.absorb(living.publishing, keep_seconds=-1.0)
                assert unlisted(tmp_path, living.documents.parts()) == []
                check(living, living.documents.sequence())
        BuiltinEngine().verify(recipe(), tmp_path)


def killed(directory: Path, *, absorbs: bool, lines: int, delay_seconds: float) -> int:
    """Let a process write until it has said so many lines and a moment longer; the last number that it said."""
    program = WRITES.replace("ABSORBS", str(absorbs))
    writer = subprocess.Popen([sys.executable, "-c", program, directory], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    with writer:
        assert writer.stdout is not None
        said = [writer.stdout.readline() for _ in range(lines)]
        threading.Event().wait(delay_seconds)  # where it is killed is what varies; nothing is waited for
        writer.kill()
        return int((said + writer.stdout.readlines())[-1])


def check(living: Living, sequence: int) -> None:
    assert living.index.snapshot().sequence == sequence
    assert shown(living.index.snapshot()) == expected(model_after(range(1, sequence + 1)))

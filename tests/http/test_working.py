"""How requests are let in."""

from __future__ import annotations

import asyncio
import threading

import pytest

from outcrop.surfaces.http.problems import Busy, DeadlinePassed
from outcrop.surfaces.http.working import Work


def test_more_than_may_wait_are_refused_at_once_and_the_others_are_done() -> None:
    async def main() -> list[int]:
        work, go_on = Work(threads=1, waiting_max=1, seconds_max=60), threading.Event()
        first, second = (asyncio.ensure_future(work.on_thread(lambda: go_on.wait() and 1)) for _ in range(2))
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await work.on_thread(lambda: 3)
        go_on.set()
        found = [await first, await second, await work.on_thread(lambda: 3)]
        await work.finish()
        return found

    assert asyncio.run(main()) == [True, True, 3] or asyncio.run(main()) == [1, 1, 3]


def test_a_deadline_ends_the_waiting_and_not_the_work() -> None:
    done = []

    async def main() -> None:
        work, go_on = Work(threads=1, waiting_max=1, seconds_max=0.01), threading.Event()
        with pytest.raises(DeadlinePassed):
            await work.on_thread(lambda: done.append(go_on.wait()))
        assert work.under_way == 1  # its place is not free yet
        go_on.set()
        await work.finish()
        assert work.under_way == 0

    asyncio.run(main())
    assert done == [True]


def test_what_the_work_raises_comes_out() -> None:
    async def main() -> None:
        work = Work(threads=1, waiting_max=1, seconds_max=60)
        with pytest.raises(ZeroDivisionError):
            await work.on_thread(lambda: 1 // 0)
        await work.finish()

    asyncio.run(main())


def test_what_still_waits_at_its_deadline_is_not_begun() -> None:
    done: list[str] = []

    async def main() -> None:
        work, go_on = Work(threads=1, waiting_max=1, seconds_max=0.01), threading.Event()
        first = asyncio.ensure_future(work.on_thread(go_on.wait, bounded=False))
        await asyncio.sleep(0)
        with pytest.raises(DeadlinePassed):
            await work.on_thread(lambda: done.append("read"))
        go_on.set()
        assert await first
        await work.on_thread(lambda: done.append("later"))
        await work.finish()

    asyncio.run(main())
    assert done == ["later"]


def test_other_limits_hold_for_what_comes_and_what_is_under_way_ends_as_it_began() -> None:
    async def main() -> None:
        work, go_on = Work(threads=1, waiting_max=1, seconds_max=60), threading.Event()
        before = [asyncio.ensure_future(work.on_thread(go_on.wait)) for _ in range(2)]  # one works, one waits
        await asyncio.sleep(0)
        old = work.pool
        work.allow(threads=2, waiting_max=1, seconds_max=0.01)
        with pytest.raises(DeadlinePassed):
            await work.on_thread(go_on.wait)  # on a thread of its own at once
        with pytest.raises(Busy):
            await work.on_thread(go_on.wait)
        work.allow(threads=3, waiting_max=20, seconds_max=60)
        assert await asyncio.gather(*(work.on_thread(lambda: 1) for _ in range(9))) == [1] * 9
        go_on.set()
        assert await asyncio.gather(*before) == [True, True]
        await work.finish()
        with pytest.raises(RuntimeError):
            old.submit(go_on.wait)  # it has been let go of

    asyncio.run(main())

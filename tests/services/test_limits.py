"""Lanes: how many run, how many wait, and what becomes of the others."""

import asyncio
from collections.abc import Callable
from threading import Event

import anyio
import pytest
from fastapi import HTTPException

from services.edge import lanes as limits
from services.edge.lanes import Lane

SHED = "503 {'Retry-After': '1'}"


def outcomes(lane: Lane, tasks: int, ready: Callable[[], bool], release: Event) -> list[str]:
    """Start tasks one after the other, release them once something has happened, and return how each ended."""
    found = [""] * tasks

    async def one(number: int) -> None:
        try:
            found[number] = await lane.run(lambda: str(release.wait(60)))
        except HTTPException as error:
            found[number] = f"{error.status_code} {error.headers}"

    async def all_of_them() -> None:
        async with anyio.create_task_group() as group:
            for number in range(tasks):
                group.start_soon(one, number)
            try:
                with anyio.fail_after(60):
                    while not ready():
                        await anyio.sleep(0.001)
            finally:
                release.set()

    anyio.run(all_of_them)
    return found


def test_what_neither_runs_nor_may_wait_is_shed_at_once() -> None:
    shed: list[int] = []
    lane = Lane(2, 3, lambda: shed.append(1))
    assert outcomes(lane, 9, lambda: len(shed) == 4, Event()) == ["True"] * 5 + [SHED] * 4
    assert outcomes(lane, 5, lambda: True, Event()) == ["True"] * 5


def test_who_waits_too_long_is_shed_and_leaves_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WAIT_SECONDS", 0.01)
    shed: list[int] = []
    lane = Lane(1, 2, lambda: shed.append(1))
    assert outcomes(lane, 3, lambda: len(shed) == 2, Event()) == ["True", SHED, SHED]
    assert outcomes(lane, 1, lambda: True, Event()) == ["True"]


@pytest.mark.parametrize("native", [True, False], ids=["as a server does", "as anyio does"])
def test_a_thread_is_taken_until_its_work_has_ended(native: bool) -> None:
    shed: list[int] = []
    lane, release, begun = Lane(1, 0, lambda: shed.append(1)), Event(), Event()

    def work() -> None:
        begun.set()
        release.wait(60)

    async def is_taken() -> bool:
        try:
            await lane.run(str)
        except HTTPException:
            return True
        return False

    async def main() -> None:
        async with anyio.create_task_group() as group:
            if native:
                asker = asyncio.ensure_future(lane.run(work))
            else:
                group.start_soon(lane.run, work)
            while not begun.is_set():
                await anyio.sleep(0.001)
            if native:
                asker.cancel()
            else:
                group.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0)
                assert await is_taken()
                release.set()
                while await is_taken():
                    await anyio.sleep(0.001)

    anyio.run(main)
    assert len(shed) >= 1


def test_who_leaves_before_a_thread_is_free_leaves_no_work_behind() -> None:
    lane, release, begun = Lane(1, 1, list), Event(), Event()
    done: list[int] = []

    def work() -> None:
        begun.set()
        release.wait(60)

    async def main() -> None:
        first = asyncio.ensure_future(lane.run(work))
        while not begun.is_set():
            await anyio.sleep(0.001)
        second = asyncio.ensure_future(lane.run(done.append, 1))
        await anyio.sleep(0)
        second.cancel()
        release.set()
        await first
        await lane.run(str)

    anyio.run(main)
    assert not done

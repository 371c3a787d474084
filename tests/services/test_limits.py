"""Lanes: how many run, how many wait, and what becomes of the others."""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from contextvars import copy_context
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from fastapi import HTTPException

from recsys.artifacts import ArtifactError
from recsys.home import Home
from recsys_client.schemas.recommend import FromModel
from services.edge import guard as judging
from services.edge import lanes as limits
from services.edge.context import CURRENT, AbandonedError, RequestContext, checkpoint
from services.edge.keys import Keys
from services.edge.lanes import Considerate, Lane, Shares
from services.routes.texts import PIECE_CHARACTERS, PIECE_TEXTS, in_pieces
from services.worker.answering import answering

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


def in_order(lane: Lane, asks: list[tuple[str, str]]) -> list[str]:
    """Let keys ask one after the other while a thread is taken; return their work's names in the order it was done."""
    done: list[str] = []

    async def one(key: str, name: str) -> None:
        CURRENT.set(RequestContext("", key=key))
        try:
            await lane.run(done.append, name)
        except HTTPException as error:
            done.append(f"{name}: {error.status_code}")

    async def main() -> None:
        release, begun = Event(), Event()

        async def holder() -> None:
            CURRENT.set(RequestContext("", key="greedy"))
            await lane.run(lambda: (begun.set(), release.wait(60)))

        async with anyio.create_task_group() as group:
            group.start_soon(holder)
            while not begun.is_set():
                await anyio.sleep(0.001)
            for key, name in asks:
                group.start_soon(one, key, name)
                await anyio.sleep(0)
            release.set()

    anyio.run(main)
    return done


def test_who_has_had_less_of_a_lane_is_next() -> None:
    asks = [("greedy", "g1"), ("greedy", "g2"), ("modest", "m1"), ("greedy", "g3")]
    assert in_order(Lane(1, 10, list), asks)[0] == "m1"


def test_a_full_queue_turns_away_the_newest_of_who_waits_most() -> None:
    shed: list[int] = []
    lane = Lane(1, 3, lambda: shed.append(1))
    asks = [("greedy", "g1"), ("greedy", "g2"), ("greedy", "g3"), ("modest", "m1"), ("greedy", "g4")]
    done = in_order(lane, asks)
    assert sorted(done) == ["g1", "g2", "g3: 503", "g4: 503", "m1"]
    assert len(shed) == 2


def test_work_stops_where_nobody_waits_for_it_any_more() -> None:
    lane, begun, go_on, stopped = Lane(1, 1, list), Event(), Event(), Event()

    def work() -> None:
        checkpoint("work")
        begun.set()
        go_on.wait(60)
        try:
            checkpoint("work")
        except AbandonedError:
            stopped.set()

    async def main() -> None:
        CURRENT.set(RequestContext(""))
        asker = asyncio.ensure_future(lane.run(work))
        while not begun.is_set():
            await anyio.sleep(0.001)
        asker.cancel()
        await asyncio.wait([asker])
        go_on.set()

    anyio.run(main)
    assert stopped.wait(60)


def test_a_lane_behind_another_lets_it_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(limits, "time", SimpleNamespace(monotonic=lambda: now[0]))
    waited: list[float] = []

    class Others(Event):
        busy_for = 0.0

        def wait(self, timeout: float | None = None) -> bool:
            waited.append(min(timeout or 0.0, self.busy_for))
            now[0] += waited[-1]
            return False

    others = Others()
    work = Considerate(others)

    def worked(seconds: float, busy_for: float) -> float:
        now[0] += seconds
        others.busy_for = busy_for
        work("work")
        return waited[-1]

    assert worked(5.0, 100.0) == 5.0  # as long as it has worked, no longer
    assert worked(3.0, 1.0) == 1.0
    assert worked(1.0, 100.0) == 3.0  # what it owes of before, and of now
    others.set()
    now[0] += 7.0
    work("work")
    assert len(waited) == 3
    others.clear()
    assert worked(0.0, 100.0) == 7.0


def test_work_is_told_whether_another_key_waits() -> None:
    lane, begun, release, told = Lane(1, 10, list), Event(), Event(), []

    def work() -> None:
        begun.set()
        release.wait(60)
        told.append(lane.contended)

    async def ask(key: str, *work: Callable[[], object]) -> None:
        CURRENT.set(RequestContext("", key=key))
        await lane.run(*work)

    async def main(other: str) -> None:
        begun.clear()
        release.clear()
        first = asyncio.ensure_future(ask("one", work))
        while not begun.is_set():
            await anyio.sleep(0.001)
        second = asyncio.ensure_future(ask(other, str))
        await anyio.sleep(0)
        release.set()
        await asyncio.wait([first, second])

    for other in ("one", "other"):
        anyio.run(main, other)
    assert told == [False, True]


def test_a_lane_is_quiet_while_nothing_runs_in_it() -> None:
    first = Lane(1, 1, list)
    release, begun = Event(), Event()

    async def main() -> None:
        holder = asyncio.ensure_future(first.run(lambda: (begun.set(), release.wait(60))))
        while not begun.is_set():
            await anyio.sleep(0.001)
        assert not first.quiet.is_set()
        release.set()
        await holder
        await first.run(str)
        while not first.quiet.is_set():  # said by the event loop, a moment later
            await anyio.sleep(0.001)

    anyio.run(main)


def shared(costs: dict[str, float], seconds: float) -> dict[str, float]:
    """Let keys that always have something to do share one thread; return the seconds that each has had."""
    shares, had = Shares(), dict.fromkeys(costs, 0.0)
    while sum(had.values()) < seconds:
        key = min(costs, key=shares.tag)
        shares.begun(key)
        shares.ended(key, costs[key])
        had[key] += costs[key]
    return had


def test_keys_share_alike_however_small_their_questions_are() -> None:
    had = shared({"flood": 0.0001, "usual": 0.012, "heavy": 0.3}, 30)
    assert all(abs(seconds - 10) <= 0.3 for seconds in had.values())


def test_a_key_that_comes_waits_for_what_it_has_had_at_most() -> None:
    shares = Shares()
    for _ in range(1_000):  # alone, for long: it is not made to pay for that
        shares.begun("old")
        shares.ended("old", 1.0)
    shares.begun("old")
    assert shares.tag("new") <= shares.tag("old")
    shares.begun("new")
    shares.ended("new", 0.012)
    assert shares.tag("new") - shares.tag("flood") == pytest.approx(0.012)
    for number in range(2 * limits.MANY_KEYS):
        shares.begun(str(number))
    assert len(shares._tags) <= limits.MANY_KEYS + 1


def test_texts_are_encoded_a_few_at_a_time() -> None:
    texts = ["a" * size for size in (10, 4_086, 1, *[100] * 40, 20_000, 20_000, 3)]
    pieces = list(in_pieces(texts))
    assert [text for piece in pieces for text in piece] == texts
    assert all(len(piece) <= PIECE_TEXTS for piece in pieces)
    assert all(len(piece) == 1 or sum(map(len, piece)) <= PIECE_CHARACTERS for piece in pieces)
    assert [len(piece) for piece in pieces] == [2, 16, 16, 9, 1, 1, 1]


def test_a_key_that_asks_for_nonsense_waits_for_its_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(judging, "time", SimpleNamespace(monotonic=lambda: now[0]))
    guard = judging.Guard(Keys(Home(Path("nowhere"))))

    def asks(key: str, at_once: int = 1) -> float:
        CURRENT.set(RequestContext("", key=key))
        with ExitStack() as stack:
            for _ in range(at_once):
                stack.enter_context(guard.under_way())
            return guard.patience()

    def main() -> None:
        for _ in range(judging.FREE_REFUSALS + 1):
            assert asks("one") == 0
            guard.refused()
        assert asks("one") == judging.REFUSAL_SECONDS
        assert asks("one", at_once=4) == 4 * judging.REFUSAL_SECONDS
        assert asks("one", at_once=100) == judging.LONGEST_SECONDS
        assert asks("other") == 0
        now[0] += 1 / judging.REFUSALS_FORGOTTEN
        assert asks("one") == 0
        for _ in range(1_000):  # without keys nobody is made to wait
            assert asks("") == 0
            guard.refused()

    copy_context().run(main)


def test_a_name_of_no_generation_is_nonsense_and_a_broken_one_is_not(tmp_path: Path) -> None:
    noted: list[str] = []
    serving = SimpleNamespace(generation_id="now", adapter_id="a")

    def named(name: str) -> None:
        if name == "broken":
            raise ArtifactError("a file is missing")
        raise HTTPException(404 if name == "nothing" else 503, name)

    worker: Any = SimpleNamespace(
        home=Home(tmp_path),
        generation=SimpleNamespace(recommender=lambda: serving),
        cache=SimpleNamespace(named=named),
        guard=SimpleNamespace(refused=lambda: noted.append("refused")),
    )
    for name, status, count in (("broken", 409, 0), ("crowded", 503, 0), ("nothing", 404, 1)):
        with pytest.raises(HTTPException) as refused:
            answering(worker, FromModel(generation=name))
        assert (refused.value.status_code, len(noted)) == (status, count)
    assert answering(worker, FromModel(generation="now")) is serving

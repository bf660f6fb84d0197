"""Deadline: fires on time however often it is moved, and makes few timers."""

from __future__ import annotations

import asyncio

import pytest

from httpcore.protocols.deadlines import Deadline


@pytest.fixture
async def fired(clock) -> list[float]:
    return []


@pytest.fixture
async def deadline(clock, fired):
    deadline = Deadline(asyncio.get_running_loop(), lambda: fired.append(clock.now))
    yield deadline
    deadline.close()


async def test_fires_once_at_its_time(clock, deadline, fired):
    deadline.arm(1005.0)
    await asyncio.sleep(20)
    assert fired == [1005.0]
    assert deadline.when is None


async def test_moved_to_later_fires_then_and_needs_no_timer_for_each_move(clock, deadline, fired):
    deadline.arm(1005.0)
    before = clock.timers
    for step in range(1, 1001):
        deadline.when = 1005.0 + step / 100
    deadline.arm(1016.0)
    assert clock.timers == before
    await asyncio.sleep(30)
    assert fired == [1016.0]
    assert clock.timers == before + 2  # this sleep's own, and one when the first had come to its time


async def test_armed_for_sooner_fires_sooner(clock, deadline, fired):
    deadline.arm(1005.0)
    deadline.arm(1002.0)
    await asyncio.sleep(20)
    assert fired == [1002.0]


async def test_taken_back_does_not_fire(clock, deadline, fired):
    deadline.arm(1005.0)
    deadline.when = None
    await asyncio.sleep(20)
    assert fired == []


async def test_taken_back_and_armed_again_fires_once(clock, deadline, fired):
    deadline.arm(1005.0)
    deadline.when = None
    deadline.arm(1008.0)
    await asyncio.sleep(20)
    assert fired == [1008.0]


async def test_can_be_armed_again_after_it_fired(clock, deadline, fired):
    deadline.arm(1005.0)
    await asyncio.sleep(10)
    deadline.arm(1015.0)
    await asyncio.sleep(10)
    assert fired == [1005.0, 1015.0]


async def test_can_be_armed_by_its_own_callback(clock):
    fired: list[float] = []
    own: list[Deadline] = []

    def callback() -> None:
        fired.append(clock.now)
        if len(fired) < 3:
            own[0].arm(clock.now + 5)

    own.append(Deadline(asyncio.get_running_loop(), callback))
    own[0].arm(1005.0)
    await asyncio.sleep(60)
    assert fired == [1005.0, 1010.0, 1015.0]


async def test_closed_leaves_no_timer(deadline, fired):
    deadline.arm(1005.0)
    deadline.close()
    deadline.close()
    assert deadline.when is None
    await asyncio.sleep(20)
    assert fired == []

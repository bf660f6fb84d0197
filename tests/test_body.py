"""BodyQueue: order, water marks, ends, and one reader who may be cancelled."""

from __future__ import annotations

import asyncio

import pytest

from httpcore.body import DEFAULT_HIGH_WATER, DEFAULT_LOW_WATER, BodyQueue


class Producer:
    """Writes down what it is asked to do."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pause(self) -> None:
        self.calls.append("pause")

    def resume(self) -> None:
        self.calls.append("resume")


@pytest.fixture
def producer() -> Producer:
    return Producer()


@pytest.fixture
def queue(producer: Producer) -> BodyQueue:
    return BodyQueue(10, 4, producer.pause, producer.resume)


def test_default_marks_are_asyncios_own() -> None:
    assert (DEFAULT_HIGH_WATER, DEFAULT_LOW_WATER) == (64 * 1024, 16 * 1024)


async def test_chunks_come_in_order_and_then_the_end_for_ever(queue: BodyQueue) -> None:
    for chunk in (b"a", b"bc", b"def"):
        queue.put(chunk)
    assert queue.size == 6
    queue.finish()
    assert [await queue.get() for _ in range(5)] == [b"a", b"bc", b"def", b"", b""]
    assert queue.size == 0


async def test_waiting_reader_gets_what_is_put(queue: BodyQueue) -> None:
    reader = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.put(b"late")
    assert await reader == b"late"


async def test_waiting_reader_gets_the_end(queue: BodyQueue) -> None:
    reader = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.finish()
    assert await reader == b""


async def test_waiting_reader_gets_the_error(queue: BodyQueue) -> None:
    reader = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    error = OSError("broken")
    queue.fail(error)
    with pytest.raises(OSError, match="broken") as caught:
        await reader
    assert caught.value is error


async def test_two_chunks_before_the_reader_runs_both_arrive(queue: BodyQueue) -> None:
    reader = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.put(b"one")
    queue.put(b"two")
    assert await reader == b"one"
    assert await queue.get() == b"two"


async def test_error_comes_after_what_was_queued_and_stays(queue: BodyQueue) -> None:
    queue.put(b"first")
    queue.fail(OSError("broken"))
    assert await queue.get() == b"first"
    for _ in range(2):
        with pytest.raises(OSError, match="broken"):
            await queue.get()


@pytest.mark.parametrize("later", ["put", "fail", "finish"])
async def test_what_comes_after_the_end_is_ignored(queue: BodyQueue, later: str) -> None:
    queue.finish()
    if later == "put":
        queue.put(b"too late")
    elif later == "fail":
        queue.fail(OSError("too late"))
    else:
        queue.finish()
    assert queue.size == 0
    assert await queue.get() == b""


async def test_what_comes_after_an_error_is_ignored(queue: BodyQueue) -> None:
    queue.fail(OSError("first"))
    queue.fail(OSError("second"))
    queue.finish()
    with pytest.raises(OSError, match="first"):
        await queue.get()


@pytest.mark.parametrize("sizes, paused", [([10], False), ([11], True), ([5, 5], False), ([5, 6], True), ([0], False)])
def test_pause_is_asked_for_above_high_water_only(
    queue: BodyQueue, producer: Producer, sizes: list[int], paused: bool
) -> None:
    for size in sizes:
        queue.put(bytes(size))
    assert producer.calls == (["pause"] if paused else [])


def test_pause_is_asked_for_once(queue: BodyQueue, producer: Producer) -> None:
    for _ in range(5):
        queue.put(bytes(8))
    assert producer.calls == ["pause"]


async def test_resume_is_asked_for_at_low_water_and_once(queue: BodyQueue, producer: Producer) -> None:
    for size in (6, 1, 4, 0):
        queue.put(bytes(size))
    seen = []
    while queue.size:
        await queue.get()
        seen.append((queue.size, list(producer.calls)))
    assert seen == [(5, ["pause"]), (4, ["pause", "resume"]), (0, ["pause", "resume"])]
    assert await queue.get() == b""
    assert producer.calls == ["pause", "resume"]


async def test_pausing_starts_anew_after_a_resume(queue: BodyQueue, producer: Producer) -> None:
    for _ in range(2):
        queue.put(bytes(11))
        await queue.get()
    assert producer.calls == ["pause", "resume"] * 2


async def test_reading_without_a_pause_asks_for_nothing(queue: BodyQueue, producer: Producer) -> None:
    queue.put(bytes(10))
    await queue.get()
    assert producer.calls == []


async def test_what_a_waiting_reader_is_woken_for_pauses_nobody(queue: BodyQueue, producer: Producer) -> None:
    reader = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.put(bytes(11))
    assert await reader == bytes(11)
    assert producer.calls == []


async def test_more_before_the_woken_reader_runs_pauses_the_producer(queue: BodyQueue, producer: Producer) -> None:
    reader = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.put(bytes(11))
    queue.put(b"more")
    assert producer.calls == ["pause"]
    await reader
    assert await queue.get() == b"more"
    assert producer.calls == ["pause", "resume"]


async def test_woken_reader_that_is_cancelled_leaves_a_queue_that_pauses(queue: BodyQueue, producer: Producer) -> None:
    reader = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.put(bytes(11))
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert producer.calls == []
    queue.put(b"more")
    assert producer.calls == ["pause"]


def test_take_all_returns_everything_and_resumes(queue: BodyQueue, producer: Producer) -> None:
    queue.put(b"hello, ")
    queue.put(b"world")
    assert queue.take_all() == b"hello, world"
    assert queue.size == 0
    assert producer.calls == ["pause", "resume"]
    assert queue.take_all() == b""
    assert producer.calls == ["pause", "resume"]


async def test_cleared_chunks_are_gone_and_the_end_stays(queue: BodyQueue) -> None:
    queue.put(b"dropped")
    queue.finish()
    queue.clear()
    assert queue.size == 0
    assert await queue.get() == b""


async def test_queue_with_nobody_to_pause_works() -> None:
    queue = BodyQueue(1, 0)
    queue.put(b"more than one byte")
    assert await queue.get() == b"more than one byte"


@pytest.mark.parametrize("put_before_the_task_runs", [False, True])
async def test_cancelled_reader_loses_nothing(queue: BodyQueue, put_before_the_task_runs: bool) -> None:
    reader = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    if put_before_the_task_runs:  # the reader was woken, and is cancelled before it runs
        queue.put(b"kept")
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    if not put_before_the_task_runs:
        queue.put(b"kept")
    queue.put(b"next")
    assert [await queue.get(), await queue.get()] == [b"kept", b"next"]


async def test_put_and_finish_while_the_cancelled_reader_has_not_run_are_kept(queue: BodyQueue) -> None:
    reader = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    reader.cancel()
    queue.put(b"kept")
    queue.finish()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert [await queue.get(), await queue.get()] == [b"kept", b""]


async def test_second_reader_is_refused_and_the_first_goes_on(queue: BodyQueue) -> None:
    reader = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="another task is reading"):
        await queue.get()
    queue.put(b"for the first")
    assert await reader == b"for the first"


async def test_reader_whose_chunk_was_taken_by_another_waits_on(queue: BodyQueue) -> None:
    reader = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.put(b"first")
    assert await queue.get() == b"first"  # before the woken reader runs
    await asyncio.sleep(0)
    assert not reader.done()
    queue.put(b"second")
    assert await reader == b"second"

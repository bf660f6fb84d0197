"""What the blocking API stands on: coroutines run by hand, the loop's thread, and the ways between it and others."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import httpcore
from httpcore.sync import loop_thread as loops
from httpcore.sync.bridge import ThreadedQueue, run
from httpcore.sync.loop_thread import LoopThread, loop_thread
from httpcore.sync.pulled_body import PulledBody

Pool = httpcore.SyncConnectionPool


@pytest.fixture
def thread() -> Iterator[LoopThread]:
    """A loop's thread of the test's own."""
    made = LoopThread()
    yield made
    if not made.loop.is_closed():
        made.stop()
    assert made.loop.is_closed()


def test_coroutine_that_waits_for_the_loop_is_an_error_and_is_closed():
    left = []

    async def wait() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            left.append(True)

    with pytest.raises(RuntimeError, match="waited for something of the loop's"):
        run(wait())
    assert left == [True]


def test_threads_that_start_the_loop_at_once_get_the_same():
    assert loops._kept.get() is loop_thread()  # as for one that found none, and then waited for the lock


def test_callback_that_raises_is_reported_and_the_loop_goes_on(thread: LoopThread):
    reported: list[dict[str, Any]] = []
    done = threading.Event()
    error = ValueError("from a callback")

    def fail() -> None:
        raise error

    thread.loop.set_exception_handler(lambda loop, context: reported.append(context))
    thread.submit(fail)
    thread.submit(done.set)
    assert done.wait(10)
    assert [context["exception"] for context in reported] == [error]
    assert "fail" in reported[0]["message"]


def test_loop_that_was_stopped_takes_nothing(thread: LoopThread):
    called: list[bool] = []
    thread.stop()
    with pytest.raises(RuntimeError, match="closed"):
        thread.submit(called.append, True)
    thread.submit_if_open(called.append, True)
    assert called == []


def test_loop_that_is_stopped_cancels_what_runs_on_it(thread: LoopThread):
    cancelled = []
    begun = threading.Event()

    async def hang() -> None:
        begun.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    future = asyncio.run_coroutine_threadsafe(hang(), thread.loop)
    assert begun.wait(10)
    thread.stop()
    assert cancelled == [True]
    assert future.cancelled()


def test_exchange_of_a_response_may_be_paused_and_resumed_from_the_callers_thread(url: str):
    with Pool() as http, http.request("GET", url + "/bytes/1000000", stream=True) as response:
        exchange = response.exchange
        assert exchange is not None
        for _ in range(3):
            exchange.pause_reading()
            exchange.resume_reading()
        assert len(response.read()) == 1_000_000


@pytest.mark.parametrize("name", ["write", "write_eof"])
def test_nothing_can_be_pushed_into_a_blocking_request(url: str, name: str):
    reported: list[dict[str, Any]] = []
    loop = loop_thread().loop
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda loop, context: reported.append(context))
    try:
        with Pool() as http, http.request("GET", url + "/bytes/1000000", stream=True) as response:
            assert response.exchange is not None
            if name == "write":
                response.exchange.write(b"x")
            else:
                response.exchange.write_eof()
            assert len(response.read()) == 1_000_000
    finally:
        loop.set_exception_handler(before)
    assert [str(context["exception"]) for context in reported] == [
        "the request has a body of its own; make it with body=httpcore.PUSHED"
    ]


def test_error_on_the_way_to_the_pool_is_the_callers(url: str):
    with Pool() as http:
        with pytest.raises(TypeError):
            http.request("GET", url + "/hello", timeout="soon")  # type: ignore[arg-type]
        assert http.request("GET", url + "/hello").status_code == 200
        assert http.num_active_connections == 0


def test_piece_of_a_body_that_was_asked_for_is_not_read_after_the_end(thread: LoopThread):
    """One thread closes the response while another, which reads it, is about to go on with the body."""
    opened: list[bool] = []
    error = httpcore.ResponseClosed("by another thread")

    def body() -> Iterator[bytes]:
        opened.append(True)
        yield b"x"

    async def send() -> bytes:
        return await anext(aiter(PulledBody(thread, queue, body)))

    queue = ThreadedQueue(thread, 1, 0)
    sending = asyncio.run_coroutine_threadsafe(send(), thread.loop)
    while not queue._jobs:
        pass
    queue.leave()
    queue.ask(functools.partial(thread.submit_if_open, queue.set_exception, error))  # its turn is behind the body's
    with pytest.raises(httpcore.ResponseClosed, match="by another thread"):
        queue.wait_for_answer(streamed=True)
    assert opened == []
    assert not sending.done()
    sending.cancel()


def test_content_that_comes_after_the_reader_has_closed_is_dropped(thread: LoopThread):
    queue = ThreadedQueue(thread, 4, 2)
    paused: list[bool] = []
    queue.pause = lambda: paused.append(True)
    queue.put(b"one")
    queue.fail(httpcore.ResponseClosed("closed"))
    queue.put(b"more than high water")
    assert run(queue.get()) == b"one"
    with pytest.raises(httpcore.ResponseClosed):
        run(queue.get())
    assert paused == []

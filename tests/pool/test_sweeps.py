"""A request is ended at every step of the loop, and whatever state it was in, nothing is left behind."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine

import pytest

from httpcore import (
    PUSHED,
    ConnectionPool,
    PoolClosed,
    Request,
    ResponseClosed,
)
from httpcore.handlers import Exchange, ResponseHead
from httpcore.headers import Headers
from httpcore.testing import MemoryConnector
from tests.clock import turns
from tests.conftest import TLSFiles
from tests.pool.books import check_books, check_empty
from tests.pool.peers import AutoPeer, RecordingHandler
from tests.pool.steps import CONTENT, LIMITS, Server, Steps, serving


class Bodies:
    """Streamed bodies, and how many of them were begun and have ended."""

    def __init__(self) -> None:
        self.open = 0

    async def stream(self) -> AsyncIterator[bytes]:
        self.open += 1
        try:
            for _ in range(3):
                yield b"some of it"
                await asyncio.sleep(0)
        finally:
            self.open -= 1


async def get(pool: ConnectionPool, url: str, bodies: Bodies) -> None:
    response = await pool.request("GET", url)
    assert response.body == CONTENT


async def get_streamed(pool: ConnectionPool, url: str, bodies: Bodies) -> None:
    async with await pool.request("GET", url, stream=True) as response:
        assert b"".join([part async for part in response.stream()]) == CONTENT


async def post(pool: ConnectionPool, url: str, bodies: Bodies) -> None:
    response = await pool.request("POST", url, body=bodies.stream())
    assert response.body == CONTENT


async def get_peeking(pool: ConnectionPool, url: str, bodies: Bodies) -> None:
    response = await pool.request("GET", url, body=bodies.stream)
    assert response.body == CONTENT


class PushingHandler(RecordingHandler):
    def exchange_started(self, exchange: Exchange) -> None:
        super().exchange_started(exchange)
        exchange.write(b"some of it")
        asyncio.get_running_loop().call_soon(exchange.write_eof)


async def push(pool: ConnectionPool, url: str, bodies: Bodies) -> None:
    """Pushes a body, and aborts the exchange when cancelled, as any caller of dispatch would."""
    handler = PushingHandler()
    exchange = pool.dispatch(Request("POST", url, body=PUSHED), handler)
    try:
        await handler.until_ended()
    except asyncio.CancelledError:
        exchange.abort()
        assert handler.ended
        raise
    if handler.error is not None:
        raise handler.error
    assert handler.content == CONTENT


REQUESTS: dict[str, Callable[[ConnectionPool, str, Bodies], Coroutine[None, None, None]]] = {
    "get": get,
    "get streamed": get_streamed,
    "post streamed": post,
    "get that peeks": get_peeking,
    "pushed": push,
}


async def attempt(steps: Steps, server: Server, kind: str, *, warm: bool, queued: bool, how: str, after: int) -> bool:
    """Makes a request, ends it after some steps, and checks that nothing came of it; returns whether it was ended."""
    bodies = Bodies()
    pool = server.make_pool()
    if warm:
        await pool.request("GET", server.url)
    busy = asyncio.create_task(pool.request("GET", server.url)) if queued else None
    await asyncio.sleep(0)

    async def run() -> None:
        async with asyncio.timeout(None) as deadline:
            deadlines.append(deadline)
            await REQUESTS[kind](pool, server.url, bodies)

    deadlines: list[asyncio.Timeout] = []
    task = asyncio.create_task(run())

    def expire() -> None:
        if deadlines and not task.done():
            deadlines[0].reschedule(asyncio.get_running_loop().time())

    if how == "timeout":
        steps.actions = {after: expire}
    else:
        steps.actions = {after: task.cancel}
        if how == "cancelled twice":
            steps.actions |= {after + 1: task.cancel, after + 2: task.cancel}
    await asyncio.wait([task])
    acted = not steps.actions
    steps.actions = {}
    if not task.cancelled():
        error = task.exception()
        assert error is None or (isinstance(error, TimeoutError) and how == "timeout"), (after, error)
    check_books(pool)
    response = await pool.request("GET", server.url)
    assert response.body == CONTENT, after
    if busy is not None:
        assert (await busy).body == CONTENT
    await turns()
    check_books(pool)
    assert bodies.open == 0, after
    assert (pool.num_connections, pool.num_keepalive_connections, pool.num_waiting_requests) == (1, 1, 0), after
    await pool.close()
    check_empty(pool)
    return acted


@pytest.mark.parametrize("how", ["cancelled", "cancelled twice", "timeout"])
@pytest.mark.parametrize("queued", [False, True], ids=["alone", "queued"])
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("kind", REQUESTS)
async def test_a_request_ended_at_any_step_in_memory_leaves_the_pool_in_order(
    steps: Steps, tls: TLSFiles, kind: str, warm: bool, queued: bool, how: str
) -> None:
    async with serving("memory", tls) as server:
        after = 0
        while await attempt(steps, server, kind, warm=warm, queued=queued, how=how, after=after):
            after += 1
        assert after > (4 if warm else 10)


@pytest.mark.parametrize("link", ["tcp", "tls"])
@pytest.mark.parametrize("queued", [False, True], ids=["alone", "queued"])
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("kind", ["get", "post streamed", "pushed"])
async def test_a_request_ended_at_any_step_on_sockets_leaves_the_pool_in_order(
    steps: Steps, tls: TLSFiles, link: str, kind: str, warm: bool, queued: bool
) -> None:
    async with serving(link, tls) as server:
        after = 0
        while await attempt(steps, server, kind, warm=warm, queued=queued, how="cancelled", after=after):
            after += 1
        assert after > 5


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("stream", [False, True])
async def test_an_upgrade_cancelled_at_any_step_leaves_the_pool_in_order(
    steps: Steps, warm: bool, stream: bool
) -> None:
    def respond(peer: AutoPeer) -> None:
        if any(name == b"upgrade" for name, _ in peer.requests[-1].headers):
            peer.transport.write(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n")
        else:
            peer.answer()

    connector = MemoryConnector(lambda: AutoPeer(respond=respond), segment=32)
    after, acted = 0, True
    while acted:
        pool = ConnectionPool(limits=LIMITS, connector=connector)
        if warm:
            await pool.request("GET", "http://a/")
        headers = [("connection", "upgrade"), ("upgrade", "x")]
        task = asyncio.create_task(pool.request("GET", "http://a/", headers, stream=stream))
        steps.actions = {after: task.cancel}
        await asyncio.wait([task])
        acted = not steps.actions
        steps.actions = {}
        check_books(pool)
        if not task.cancelled():
            upgraded = task.result().upgraded
            assert upgraded is not None
            upgraded.close()
        assert (await pool.request("GET", "http://a/")).body == b"ok"
        await pool.close()
        check_empty(pool)
        after += 1
    assert after > 5


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("kind", REQUESTS)
async def test_a_pool_closed_at_any_step_is_empty_in_the_end(
    steps: Steps, tls: TLSFiles, kind: str, force: bool
) -> None:
    async with serving("memory", tls) as server:
        after, completed = 0, False
        while not completed:
            bodies, pool = Bodies(), server.make_pool()
            first = asyncio.create_task(REQUESTS[kind](pool, server.url, bodies))
            second = asyncio.create_task(REQUESTS[kind](pool, server.url, bodies))
            closing: list[asyncio.Task[None]] = []

            def close(pool: ConnectionPool, closing: list[asyncio.Task[None]]) -> None:
                closing.append(asyncio.create_task(pool.close(force=force)))

            steps.actions = {after: functools.partial(close, pool, closing)}
            results = await asyncio.gather(first, second, return_exceptions=True)
            completed = bool(steps.actions)
            steps.actions = {}
            for result in results:
                assert result is None or isinstance(result, PoolClosed), after
            for task in closing:
                await task
            await turns()
            await pool.close()
            check_empty(pool)
            assert bodies.open == 0
            after += 1
        assert after > 10


async def test_a_close_that_is_cancelled_at_any_step_has_closed_all_the_same(steps: Steps, tls: TLSFiles) -> None:
    async with serving("tls", tls) as server:
        after, acted = 0, True
        while acted:
            pool = server.make_pool()
            await pool.request("GET", server.url)
            waiting = RecordingHandler()
            pool.dispatch(Request("GET", "http://other/"), waiting)
            closing = asyncio.create_task(pool.close())
            steps.actions = {after: closing.cancel}
            await asyncio.wait([closing])
            acted = not steps.actions
            steps.actions = {}
            await pool.close()
            check_empty(pool)
            assert after == 0 or isinstance(waiting.error, PoolClosed)
            after += 1
        assert after > 2


@pytest.mark.parametrize("how", ["raises", "leaves", "drops"])
async def test_a_consumer_that_stops_after_any_part_leaves_the_pool_in_order(tls: TLSFiles, how: str) -> None:
    async with serving("memory", tls) as server:
        parts, complete = 0, False
        while not complete:
            pool = server.make_pool()
            response = await pool.request("GET", server.url, stream=True)
            read = 0
            try:
                async with response:
                    async for part in response.stream():
                        read += len(part)
                        parts_read = read // 32
                        if parts_read >= parts:
                            if how == "raises":
                                raise ZeroDivisionError
                            break
                    else:
                        complete = True
                        await turns()
            except ZeroDivisionError:
                pass
            check_books(pool)
            await turns()
            assert pool.num_connections == pool.num_keepalive_connections
            assert (await pool.request("GET", server.url)).body == CONTENT
            await pool.close()
            check_empty(pool)
            parts += 1
        assert parts > 1


@pytest.mark.parametrize("callback", ["exchange_started", "response_received", "data_received", "response_complete"])
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
async def test_an_exchange_aborted_from_within_any_callback_leaves_the_pool_in_order(
    tls: TLSFiles, callback: str, warm: bool
) -> None:
    class Aborting(RecordingHandler):
        calls = 0

        def maybe_abort(self, name: str, exchange: Exchange | None) -> None:
            if name == callback:
                if self.calls == at:
                    assert exchange is not None
                    exchange.abort()
                self.calls += 1

        def exchange_started(self, exchange: Exchange) -> None:
            super().exchange_started(exchange)
            self.maybe_abort("exchange_started", exchange)

        def response_received(self, head: ResponseHead) -> None:
            super().response_received(head)
            self.maybe_abort("response_received", self.exchange)

        def data_received(self, data: bytes) -> None:
            assert not self.ended
            super().data_received(data)
            self.maybe_abort("data_received", self.exchange)

        def response_complete(self, trailers: Headers) -> None:
            super().response_complete(trailers)
            self.maybe_abort("response_complete", self.exchange)

    async with serving("memory", tls) as server:
        for at in range(4):
            pool = server.make_pool()
            if warm:
                await pool.request("GET", server.url)
            handler, waiting = Aborting(), RecordingHandler()
            pool.dispatch(Request("GET", server.url), handler)
            pool.dispatch(Request("GET", server.url), waiting)
            await handler.until_ended()
            await waiting.until_ended()
            if callback != "response_complete" and at < handler.calls:
                assert isinstance(handler.error, ResponseClosed)
            else:
                assert handler.completed
            assert waiting.content == CONTENT
            await turns()
            check_books(pool)
            assert pool.num_connections == pool.num_keepalive_connections == 1
            await pool.close()
            check_empty(pool)

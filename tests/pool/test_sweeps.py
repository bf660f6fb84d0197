"""Sweeps: a request is cancelled at every step of the loop, and its connection is cut at every byte."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from httpcore import (
    PUSHED,
    ConnectionPool,
    HTTPCoreError,
    PoolClosed,
    PoolLimits,
    ReadError,
    RemoteProtocolError,
    Request,
    ResponseClosed,
    SSLConfig,
    WriteError,
)
from httpcore.handlers import Exchange, ResponseHead
from httpcore.headers import Headers
from httpcore.testing import MemoryConnector
from tests.clock import turns
from tests.conftest import TLSFiles
from tests.pool.books import check_books, check_empty
from tests.pool.peers import Arrivals, AutoPeer, RecordingHandler

CONTENT = b"0123456789" * 5


class Steps:
    """Counts the callbacks that the loop runs, and acts after a certain one.

    Every state in which a caller can find the pool lies between two of them.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.actions: dict[int, Callable[[], object]] = {}  # by the number of callbacks still to run before each
        run = asyncio.Handle._run  # type: ignore[attr-defined]

        def run_and_act(handle: asyncio.Handle) -> None:
            run(handle)
            if self.actions:
                actions, self.actions = self.actions, {}
                for left, action in actions.items():
                    if left:
                        self.actions[left - 1] = action
                    else:
                        action()

        monkeypatch.setattr(asyncio.Handle, "_run", run_and_act)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    return Steps(monkeypatch)


class Server:
    """Where requests go: a pool for it, and its URL."""

    def __init__(self, make_pool: Callable[[], ConnectionPool], url: str) -> None:
        self.make_pool = make_pool
        self.url = url


def answer_at_length(peer: AutoPeer) -> None:
    peer.answer(CONTENT)


LIMITS = PoolLimits(hard_limit=1)


@asynccontextmanager
async def serving(link: str, tls: TLSFiles) -> AsyncIterator[Server]:
    def make() -> AutoPeer:
        return AutoPeer(respond=answer_at_length)

    if link == "memory":
        connector = MemoryConnector(make, segment=32)
        yield Server(lambda: ConnectionPool(limits=LIMITS, connector=connector), "http://a/")
        await connector.all_closed()
        return
    context: ssl.SSLContext | None = tls.server_context if link == "tls" else None
    config = SSLConfig(verify=tls.client_context)  # shared, as are contexts of a program
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    yield Server(lambda: ConnectionPool(config, limits=LIMITS), f"http{'s' if context else ''}://127.0.0.1:{port}/")
    server.close()


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


REQUESTS: dict[str, Callable[[ConnectionPool, str, Bodies], Awaitable[None]]] = {
    "get": get,
    "get streamed": get_streamed,
    "post streamed": post,
    "get that peeks": get_peeking,
    "pushed": push,
}


async def attempt(
    steps: Steps, server: Server, kind: str, *, warm: bool, queued: bool, how: str, after: int
) -> bool:
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
    loop = asyncio.get_running_loop()
    if how == "timeout":
        steps.actions = {after: lambda: deadlines and deadlines[0].reschedule(loop.time())}
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
            steps.actions = {after: lambda pool=pool: closing.append(asyncio.create_task(pool.close(force=force)))}  # type: ignore[misc]
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


# Loss.

FRAMINGS = {
    "content-length": b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabcdef",
    "chunked": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\nx: y\r\n\r\n",
    "close-delimited": b"HTTP/1.1 200 OK\r\n\r\nabcdef",
    "interim first": b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabcdef",
}


class CutPeer(AutoPeer):
    """Sends the first bytes of a response to the request that asks for it, and cuts the connection."""

    def __init__(self, arrivals: Arrivals, response: bytes, reset: bool) -> None:
        super().__init__(arrivals, respond=CutPeer.cut)  # type: ignore[arg-type]
        self.response = response
        self.reset = reset

    def cut(self) -> None:
        if self.requests[-1].target != b"/cut" or self.arrivals.counts[b"1"] > 1:
            self.answer()
            return
        self.transport.write(self.response)
        if self.reset:
            self.transport.reset()  # type: ignore[attr-defined]
        else:
            self.transport.close()


@pytest.mark.parametrize("segment", [None, 1], ids=["whole", "bytewise"])
@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("reset", [False, True], ids=["end", "reset"])
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_connection_cut_after_any_byte_of_the_response_is_an_error_or_replaced(
    method: str, warm: bool, reset: bool, framing: str, segment: int | None
) -> None:
    response = FRAMINGS[framing]
    for count in range(len(response) + 1):
        arrivals = Arrivals()
        connector = MemoryConnector(
            lambda: CutPeer(arrivals, response[:count], reset),  # noqa: B023  # used within this turn
            segment=segment,
        )
        pool = ConnectionPool(limits=LIMITS, connector=connector)
        if warm:
            await pool.request("GET", "http://a/")
        body: bytes | None = None
        try:
            body = (await pool.request(method, "http://a/cut", [("x-id", "1")], b"x" * (method == "POST"))).body
        except (RemoteProtocolError, ReadError, WriteError) as exc:
            assert exc.request_sent, count
            assert exc.host == "a", count
            assert exc.phase is not None, count
        check_books(pool)
        replayed = warm and method == "GET" and count == 0
        ends_with_the_connection = framing == "close-delimited" and not reset and count > response.index(b"abcdef") - 1
        if replayed:
            assert body == b"ok", count
        elif ends_with_the_connection:
            assert body == response[response.index(b"abcdef") : count], count
        elif count == len(response) and not (framing == "close-delimited" and reset):
            assert body == b"abcdef", count
        else:
            assert body is None, count
        assert arrivals.counts[b"1"] == 1 + replayed, count
        assert (await pool.request("GET", "http://a/")).body == b"ok", count
        await pool.close()
        check_empty(pool)
        assert connector.open_transports == []


class DeafPeer(AutoPeer):
    """Cuts the connection after some bytes of requests."""

    left = 0
    reset = False

    def data_received(self, data: bytes) -> None:
        if not self.left:
            super().data_received(data)
            return
        self.left -= len(data)
        if self.left <= 0:
            self.left = -1
            if self.reset:
                self.transport.reset()  # type: ignore[attr-defined]
            else:
                self.transport.close()


@pytest.mark.parametrize("reset", [False, True], ids=["end", "reset"])
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
async def test_a_connection_cut_after_any_byte_of_the_request_is_an_error_or_replaced(
    method: str, warm: bool, reset: bool
) -> None:
    content = b"" if method == "GET" else b"something"

    async def stream() -> AsyncIterator[bytes]:
        for index in range(0, len(content), 4):
            yield content[index : index + 4]
            await asyncio.sleep(0)

    # The size of the request, framing included, is what a peer that hears all of it receives.
    connector = MemoryConnector(AutoPeer)
    pool = ConnectionPool(connector=connector)
    await pool.send(Request(method, "http://a/", [("accept-encoding", "identity")], stream if content else b""))
    await pool.close()
    for count in range(1, connector.peers[0].size + 1):
        peers: list[DeafPeer] = []

        def make() -> DeafPeer:
            peer = DeafPeer()
            peer.reset = reset
            if not warm and not peers:  # noqa: B023  # used within this turn
                peer.left = count  # noqa: B023
            peers.append(peer)  # noqa: B023
            return peer

        cut = MemoryConnector(make, segment=1)
        pool = ConnectionPool(limits=LIMITS, connector=cut)
        if warm:
            await pool.request("GET", "http://a/")
            peers[0].left = count
        request = Request(method, "http://a/", [("accept-encoding", "identity")], stream if content else b"")
        body: bytes | None = None
        try:
            body = (await pool.send(request)).body
        except HTTPCoreError as exc:
            assert isinstance(exc, (RemoteProtocolError, ReadError, WriteError)), count
            assert exc.request_sent, count
        check_books(pool)
        assert (body == b"ok") == (warm and method != "POST"), (count, body)
        assert (await pool.request("GET", "http://a/")).body == b"ok", count
        await pool.close()
        check_empty(pool)

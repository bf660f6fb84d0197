"""An HTTP/2 request is ended at every step of the loop: its stream is over, and no other notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine

import pytest
from hyperframe.frame import RstStreamFrame

from httpcore import PUSHED, ConnectionPool, Request
from httpcore.handlers import Exchange
from httpcore.protocols import HTTP2Protocol
from tests.clock import turns, until
from tests.conftest import TLSFiles
from tests.pool.books import check_books, check_empty
from tests.pool.http2_origins import CONTENT, WINDOW, Origin, Servers, serving
from tests.pool.peers import RecordingHandler
from tests.pool.steps import Steps

BODY = [b"some of it, "] * 4  # more than WINDOW


class Bodies:
    """Streamed bodies, and how many of them were begun and have not ended."""

    def __init__(self) -> None:
        self.open = 0

    async def stream(self) -> AsyncIterator[bytes]:
        self.open += 1
        try:
            for part in BODY:
                yield part
                await asyncio.sleep(0)
        finally:
            self.open -= 1


async def get(pool: ConnectionPool, url: str, bodies: Bodies) -> None:
    assert (await pool.request("GET", url)).body == CONTENT


async def get_in_a_loop(pool: ConnectionPool, url: str, bodies: Bodies) -> None:
    async with await pool.request("GET", url, stream=True) as response:
        assert b"".join([part async for part in response.stream()]) == CONTENT


async def get_and_close_early(pool: ConnectionPool, url: str, bodies: Bodies) -> None:
    async with await pool.request("GET", url, stream=True) as response:
        assert CONTENT.startswith(await anext(aiter(response.stream())))


async def post(pool: ConnectionPool, url: str, bodies: Bodies) -> None:
    assert (await pool.request("POST", url + "echo", body=bodies.stream())).body == b"".join(BODY)


async def post_after_100(pool: ConnectionPool, url: str, bodies: Bodies) -> None:
    response = await pool.request("POST", url + "echo", {"expect": "100-continue"}, body=bodies.stream)
    assert response.body == b"".join(BODY)


async def post_answered_early(pool: ConnectionPool, url: str, bodies: Bodies) -> None:
    async def stuck() -> AsyncIterator[bytes]:
        async for part in bodies.stream():
            yield part
        bodies.open += 1
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            bodies.open -= 1

    assert (await pool.request("POST", url + "early", body=stuck())).body == CONTENT


async def get_peeking(pool: ConnectionPool, url: str, bodies: Bodies) -> None:
    assert (await pool.request("GET", url + "echo", body=bodies.stream)).body == b"".join(BODY)


class PushingHandler(RecordingHandler):
    def exchange_started(self, exchange: Exchange) -> None:
        super().exchange_started(exchange)
        exchange.write(BODY[0])


async def push(pool: ConnectionPool, url: str, bodies: Bodies) -> None:
    """Pushes a body, and aborts the exchange when cancelled, as any caller of dispatch would."""
    handler = PushingHandler()
    exchange = pool.dispatch(Request("POST", url + "echo", body=PUSHED), handler)
    try:
        await handler.until_started()
        for part in BODY[1:]:
            await asyncio.sleep(0)
            exchange.write(part)
        exchange.write_eof()
        await handler.until_ended()
    except asyncio.CancelledError:
        exchange.abort()
        assert handler.ended
        raise
    if handler.error is not None:
        raise handler.error
    assert handler.content == b"".join(BODY)


async def tunnel(pool: ConnectionPool, url: str, bodies: Bodies, protocol: str | None = None) -> None:
    upgraded = (await pool.request("CONNECT", url, protocol=protocol)).upgraded
    assert upgraded is not None
    try:
        for part in BODY:
            upgraded.write(part)
        received = b""
        while len(received) < len(b"".join(BODY)):
            received += await upgraded.read()
        assert received == b"".join(BODY)
        upgraded.write_eof()
        assert await upgraded.read() == b""
    except BaseException:
        upgraded.abort()
        raise
    upgraded.close()


async def websocket(pool: ConnectionPool, url: str, bodies: Bodies) -> None:
    await tunnel(pool, url, bodies, "websocket")


REQUESTS: dict[str, Callable[[ConnectionPool, str, Bodies], Coroutine[None, None, None]]] = {
    "get": get,
    "get in a loop": get_in_a_loop,
    "get closed early": get_and_close_early,
    "post streamed": post,
    "post after 100": post_after_100,
    "post answered early": post_answered_early,
    "get that peeks": get_peeking,
    "pushed": push,
    "tunnel": tunnel,
    "websocket": websocket,
}


class Company:
    """Other exchanges on the same connection: one is answered in part, one is answered late, one uploads."""

    def __init__(self, pool: ConnectionPool, url: str) -> None:
        self.half, self.late, self.uploading = RecordingHandler(), RecordingHandler(), PushingHandler()
        pool.dispatch(Request("GET", url + "held"), self.half)
        pool.dispatch(Request("POST", url + "held", body=b"x" * WINDOW * 2), self.late)
        pool.dispatch(Request("POST", url + "echo", body=PUSHED), self.uploading)

    async def complete(self, origins: list[Origin]) -> None:
        """Lets them end, and checks what became of them."""
        await self.uploading.until_started()
        exchange = self.uploading.exchange
        assert exchange is not None
        for part in BODY[1:]:
            exchange.write(part)
        exchange.write_eof()
        await until(lambda: bool(origins) and len(origins[0].held) == 2)
        origins[0].release()
        for handler, content in ((self.half, CONTENT), (self.late, CONTENT), (self.uploading, b"".join(BODY))):
            await handler.until_ended()
            assert (handler.completed, handler.content) == (True, content), handler.error


def check_connection(protocol: HTTP2Protocol, origin: Origin) -> None:
    """Asserts that both ends, which have closed, agree on everything, and that nothing was left open."""
    assert origin.violation is None
    assert origin.h2.open_inbound_streams == 0  # each was answered in full, or the client sent RST_STREAM
    assert protocol.streams == protocol._unopened == {}
    assert protocol.in_flight == protocol.window.waiting == protocol.window._reserved == 0
    assert protocol.window.open == origin.h2.outbound_flow_control_window
    assert protocol.h2.outbound_flow_control_window == origin.h2.inbound_flow_control_window


def unconfirmed(pool: ConnectionPool) -> int:
    """How many streams were reset of which the server may not know."""
    assert pool._slots is not None
    protocols = [slot.protocol for slot in pool._slots._all]
    return sum(protocol.liveness.unconfirmed for protocol in protocols if isinstance(protocol, HTTP2Protocol))


async def attempt(
    pool: ConnectionPool, steps: Steps, servers: Servers, kind: str, *, warm: bool, among: str, how: str, after: int
) -> bool:
    """Makes a request, ends it after some steps, and checks that nothing came of it; returns whether it was ended."""
    servers.origins.clear()
    bodies = Bodies()
    if warm:
        await get(pool, servers.url, bodies)
    company = Company(pool, servers.url) if among == "others" else None
    busy = asyncio.create_task(get(pool, servers.url, bodies)) if among == "queued" else None
    await asyncio.sleep(0)

    async def run() -> None:
        async with asyncio.timeout(None) as deadline:
            deadlines.append(deadline)
            await REQUESTS[kind](pool, servers.url, bodies)

    deadlines: list[asyncio.Timeout] = []
    task = asyncio.create_task(run())

    def expire() -> None:
        if deadlines and not task.done():
            deadlines[0].reschedule(asyncio.get_running_loop().time())

    steps.actions = {after: expire if how == "timeout" else task.cancel}
    if how == "cancelled twice":
        steps.actions |= {after + 1: task.cancel, after + 2: task.cancel}
    await asyncio.wait([task])
    acted = not steps.actions
    steps.actions = {}
    if not task.cancelled():
        error = task.exception()
        assert error is None or (isinstance(error, TimeoutError) and how == "timeout"), (after, error)
    check_books(pool)
    if among == "queued":
        await until(
            lambda: not unconfirmed(pool)
        )  # a connection whose only stream was reset gives its place up till then
    await get(pool, servers.url, bodies)
    if company is not None:
        await company.complete(servers.origins)
    if busy is not None:
        await busy
    await turns()
    check_books(pool)
    assert bodies.open == 0, after
    assert (pool.num_connections, pool.num_keepalive_connections, pool.num_waiting_requests) == (1, 1, 0), after
    assert pool._slots is not None
    [slot] = pool._slots._all
    assert isinstance(slot.protocol, HTTP2Protocol)
    protocol = slot.protocol
    await pool.close()
    check_empty(pool)
    [origin] = servers.origins  # it survived
    await origin.closed()
    check_connection(protocol, origin)
    return acted


async def sweep(
    steps: Steps, tls: TLSFiles, kind: str, *, link: str = "memory", warm: bool, among: str, how: str
) -> int:
    async with serving(link, tls, limit=1 if among == "queued" else 100) as servers:
        loop_errors: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: loop_errors.append(context))
        after, acted, resets = -1, True, 0
        while acted:
            after += 1
            pool = servers.make_pool()
            try:
                acted = await attempt(pool, steps, servers, kind, warm=warm, among=among, how=how, after=after)
            finally:
                await pool.close(force=True)
            resets += sum(isinstance(frame, RstStreamFrame) for frame in servers.origins[0].frames)
        assert resets > 2
        assert loop_errors == []
        return after


@pytest.mark.parametrize("among", ["alone", "others", "queued"])
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("kind", REQUESTS)
async def test_a_request_cancelled_at_any_step_ends_its_stream_and_no_other(
    steps: Steps, tls: TLSFiles, kind: str, warm: bool, among: str
) -> None:
    assert await sweep(steps, tls, kind, warm=warm, among=among, how="cancelled") > (5 if warm else 10)


@pytest.mark.parametrize("how", ["cancelled twice", "timeout"])
@pytest.mark.parametrize("among", ["others", "queued"])
@pytest.mark.parametrize("kind", ["get in a loop", "post streamed", "post after 100", "pushed", "tunnel"])
async def test_a_request_ended_in_other_ways_at_any_step_ends_its_stream_and_no_other(
    steps: Steps, tls: TLSFiles, kind: str, among: str, how: str
) -> None:
    assert await sweep(steps, tls, kind, warm=True, among=among, how=how) > 5


async def test_a_websocket_cancelled_before_the_server_says_that_it_takes_any_is_forgotten(
    steps: Steps, tls: TLSFiles
) -> None:
    assert await sweep(steps, tls, "websocket", link="in pieces", warm=False, among="alone", how="cancelled") > 50


@pytest.mark.parametrize("link", ["tcp", "tls"])
@pytest.mark.parametrize("among", ["others", "queued"])
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("kind", ["get in a loop", "post after 100", "tunnel"])
async def test_a_request_cancelled_at_any_step_on_sockets_ends_its_stream_and_no_other(
    steps: Steps, tls: TLSFiles, link: str, kind: str, warm: bool, among: str
) -> None:
    assert await sweep(steps, tls, kind, link=link, warm=warm, among=among, how="cancelled") > 5

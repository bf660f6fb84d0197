"""Replay: what is sent again when a connection that was used before dies, and what never is."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable

import pytest

from httpcore import (
    PUSHED,
    ConnectError,
    ConnectionPool,
    HTTPCoreError,
    NetworkError,
    PoolClosed,
    PoolLimits,
    ReadTimeout,
    RemoteProtocolError,
    Request,
    ResponseClosed,
    TimeoutConfig,
)
from httpcore.exceptions import Phase
from httpcore.testing import MemoryConnector, ScriptedPeer
from httpcore.trace import RequestReplayed, TraceEvent
from tests.clock import Clock, turns
from tests.pool.conftest import Send, Watch
from tests.pool.peers import Arrivals, AutoPeer, RecordingHandler

IDEMPOTENT = ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"]
METHODS = ["GET", "HEAD", "PUT", "DELETE", "POST", "PATCH"]


async def generate():
    yield b"some"
    yield b"thing"


# Kind of body: how to make one, whether it can be sent again once it was begun.
BODIES: dict[str, tuple[Callable[[], object], bool]] = {
    "none": (lambda: b"", True),
    "bytes": (lambda: b"something", True),
    "large bytes": (lambda: b"something" * 20_000, True),
    "text": (lambda: "something", True),
    "callable": (lambda: generate, True),
    "callable of bytes": (lambda: lambda: b"something", True),
    "file": (lambda: io.BytesIO(b"something"), True),
    "list": (lambda: [b"some", b"thing"], False),
    "iterator": (lambda: iter([b"some", b"thing"]), False),
    "generator": (generate, False),
    "pushed": (lambda: PUSHED, False),
}
# How the reused connection dies: whether a request may be sent again afterwards.
DEATHS = {
    "end before the request": None,  # and noticed: there is nothing to send again
    "end": True,
    "reset": True,
    "end in the head": True,
    "end as the request leaves": True,
    "end after a byte": False,
    "reset after a byte": False,
    "nonsense": False,
    "informational": False,
    "408": False,
    "timeout": False,
    "abort": False,
}


class DyingPeer(AutoPeer):
    """Answers its first request, and dies in some way at the second."""

    def __init__(self, arrivals: Arrivals, death: str, mortal: bool) -> None:
        super().__init__(arrivals)
        self.death = death if mortal else ""
        self.done = False
        self.respond = DyingPeer.answer_unless_dying  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self.death == "end in the head" and self.requests:
            self.arrivals.counts[b"1"] += 1
            self.transport.close()
        else:
            super().data_received(data)
            if self.requests and self.requests[-1].target == b"/dies":
                self.die()

    def die(self) -> None:
        if self.done or not self.death:
            return
        self.done = True
        if self.death == "end":
            self.transport.close()
        elif self.death == "reset":
            self.transport.reset()  # type: ignore[attr-defined]
        elif self.death == "end after a byte":
            self.transport.write(b"H")
            self.transport.close()
        elif self.death == "reset after a byte":
            self.transport.write(b"H")
            self.transport.reset()  # type: ignore[attr-defined]
        elif self.death == "nonsense":
            self.transport.write(b"\x00nonsense\r\n\r\n")
        elif self.death == "informational":
            self.transport.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            self.transport.close()
        elif self.death == "408":
            self.transport.write(b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            self.transport.close()

    def answer_unless_dying(self) -> None:
        if not (self.death and self.requests[-1].target == b"/dies"):
            self.answer()


class PushingHandler(RecordingHandler):
    def exchange_started(self, exchange) -> None:
        super().exchange_started(exchange)
        if exchange.request.pushed:
            exchange.write(b"something")
            exchange.write_eof()


def dying_connector(arrivals: Arrivals, death: str) -> MemoryConnector[DyingPeer]:
    """Makes a connector of which the first connection dies at its second request."""
    mortal = iter([True])
    return MemoryConnector(lambda: DyingPeer(arrivals, death, mortal=next(mortal, False)))


@pytest.mark.parametrize("death", DEATHS)
@pytest.mark.parametrize("method", METHODS)
async def test_a_request_is_sent_again_only_where_that_does_no_harm(
    watched: Watch, clock: Clock, death: str, method: str
) -> None:
    for kind, (make_body, again) in BODIES.items():
        for key in (False, True):
            arrivals = Arrivals()
            connector = dying_connector(arrivals, death)
            events: list[TraceEvent] = []
            pool = watched(ConnectionPool(connector=connector, trace=events.append))
            warm = RecordingHandler()
            pool.dispatch(Request("GET", "http://a/"), warm)
            await warm.until_ended()
            if death.startswith("end before"):
                connector.peers[0].transport.close()
                await turns()
            headers = [("x-id", "1"), *([("Idempotency-Key", "k")] if key else [])]
            handler = PushingHandler()
            request = Request(method, "http://a/dies", headers, make_body())  # type: ignore[arg-type]
            if death == "end as the request leaves":
                connector.peers[0].transport.close()
                connector.peers[0].done = True
            exchange = pool.dispatch(request, handler)
            await turns(40)
            if death == "timeout":
                await clock.advance(5)
            elif death == "abort":
                exchange.abort()
            await turns()
            case = (kind, key)
            assert handler.ended, case
            assert handler.exchange is exchange, case
            replays = sum(isinstance(event, RequestReplayed) for event in events)
            may = DEATHS[death]
            if death == "408":
                assert handler.completed, case
            elif may is None:
                assert handler.completed, (case, handler.error)
                assert (replays, arrivals.counts[b"1"]) == (0, 1), case
            elif may and (method in IDEMPOTENT or key) and again:
                assert handler.completed, (case, handler.error)
                assert handler.content == (b"" if method == "HEAD" else b"ok"), case
                assert replays == 1, case
                assert connector.peers[1].body == connector_body(kind), case
            else:
                expected = {"timeout": ReadTimeout, "abort": ResponseClosed, "nonsense": RemoteProtocolError}
                assert isinstance(handler.error, expected.get(death, (NetworkError, RemoteProtocolError))), case
                assert isinstance(handler.error, HTTPCoreError)
                assert handler.error.request_sent, case
                assert replays == 0, case
            arrived = arrivals.counts[b"1"]
            assert arrived <= (2 if method in IDEMPOTENT or key else 1), case
            await pool.close()


def connector_body(kind: str) -> bytes:
    return {"none": b"", "large bytes": b"something" * 20_000}.get(kind, b"something")


async def test_a_request_is_never_sent_a_third_time(watched: Watch) -> None:
    arrivals = Arrivals()
    connector = MemoryConnector(lambda: DyingPeer(arrivals, "end", mortal=True))
    pool = watched(ConnectionPool(connector=connector))
    await pool.request("GET", "http://a/")
    with pytest.raises(RemoteProtocolError) as caught:
        await pool.request("GET", "http://a/dies", [("x-id", "1")])
    assert caught.value.request_sent
    assert arrivals.counts[b"1"] == 2
    assert len(connector.dials) == 2
    assert pool.num_connections == 0


@pytest.mark.parametrize("goes_on", [True, False], ids=["goes on", "ends"])
async def test_a_body_that_outlives_its_cancellation_is_not_mixed_into_the_one_sent_again(
    watched: Watch, goes_on: bool
) -> None:
    connector: MemoryConnector[ScriptedPeer] = MemoryConnector(lambda: ScriptedPeer(close_on_eof=True))
    pool = watched(ConnectionPool(connector=connector, limits=PoolLimits(hard_limit=1)))
    resent, ended = asyncio.Event(), asyncio.Event()
    begun = 0

    async def stubborn():
        nonlocal begun
        begun += 1
        if begun == 1:
            try:
                yield b"first"
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await resent.wait()
                if goes_on:
                    yield b"stray"
            finally:
                ended.set()
        else:
            yield b"second"
            resent.set()
            await ended.wait()
            await turns()

    request = asyncio.create_task(pool.request("GET", "http://a/"))
    peer = await connector.accept()
    peer.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    await request
    request = asyncio.create_task(pool.request("PUT", "http://a/", body=stubborn))
    await peer.receive_until(b"first\r\n")
    peer.close()
    peer = await connector.accept()
    content = (await peer.receive_until(b"0\r\n\r\n")).partition(b"\r\n\r\n")[2]
    assert content == b"6\r\nsecond\r\n0\r\n\r\n"
    peer.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert (await request).status_code == 204


async def test_a_request_on_a_new_connection_that_dies_is_not_sent_again(watched: Watch) -> None:
    arrivals = Arrivals()
    connector = MemoryConnector(lambda: DyingPeer(arrivals, "reset", mortal=True))
    pool = watched(ConnectionPool(connector=connector))
    with pytest.raises(NetworkError):
        await pool.request("GET", "http://a/dies", [("x-id", "1")])
    assert arrivals.counts[b"1"] == 1
    assert len(connector.dials) == 1


async def test_a_replay_whose_dial_fails_says_so_and_that_the_request_was_sent(watched: Watch) -> None:
    connector = dying_connector(Arrivals(), "end")
    pool = watched(ConnectionPool(connector=connector))
    await pool.request("GET", "http://a/")
    connector.fail_next(ConnectError("refused"))
    with pytest.raises(ConnectError, match="refused") as caught:
        await pool.request("GET", "http://a/dies")
    assert caught.value.request_sent
    assert caught.value.phase == Phase.CONNECTING
    assert pool.num_connections == 0


class CountingConnector:
    """Notes how many connections were open at most."""

    def __init__(self, link: MemoryConnector) -> None:
        self.link = link
        self.most = 0

    async def connect(self, protocol_factory, origin, **options):
        protocol = await self.link.connect(protocol_factory, origin, **options)
        self.most = max(self.most, len(self.link.open_transports))
        return protocol


@pytest.mark.parametrize("death", [name for name, again in DEATHS.items() if again])
@pytest.mark.parametrize("limits", [PoolLimits(hard_limit=1), PoolLimits(per_origin_limit=1)])
async def test_a_replay_at_the_limit_goes_before_those_who_wait_and_stays_within_the_limit(
    watched: Watch, send: Send, death: str, limits: PoolLimits
) -> None:
    link = dying_connector(Arrivals(), death)
    connector = CountingConnector(link)
    pool = watched(ConnectionPool(limits=limits, connector=connector))
    await pool.request("GET", "http://a/")
    if death == "end as the request leaves":
        link.peers[0].transport.close()
        link.peers[0].done = True
    dying = send(pool, "http://a/dies")
    waiting = [send(pool) for _ in range(4)]
    if limits.hard_limit == 1:
        waiting.append(send(pool, "http://b/"))
    assert pool.num_waiting_requests == len(waiting)
    for handler in [dying, *waiting]:
        await handler.until_ended()
        assert handler.completed
    assert connector.most == 1


async def test_many_connections_that_die_at_once_are_all_replaced(watched: Watch, send: Send) -> None:
    link: MemoryConnector[AutoPeer] = MemoryConnector(AutoPeer)
    connector = CountingConnector(link)
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=10), connector=connector))
    for handler in [send(pool) for _ in range(10)]:
        await handler.until_ended()
    for peer in link.peers:
        peer.respond = lambda peer: peer.transport.close()
    handlers = [send(pool, headers=[("x-id", str(index))]) for index in range(25)]
    for handler in handlers:
        await handler.until_ended()
        assert handler.completed
    assert connector.most == 10
    assert max(link.peers[0].arrivals.counts.values()) == 1
    await turns()
    assert pool.num_connections == 10


async def test_a_replay_that_is_aborted_while_it_dials_leaves_the_connection_to_who_waits(
    watched: Watch, send: Send
) -> None:
    connector = dying_connector(Arrivals(), "end")
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=1), connector=connector))
    await pool.request("GET", "http://a/")
    connector.hold()
    dying = RecordingHandler()
    exchange = pool.dispatch(Request("GET", "http://a/dies"), dying)
    waiting = send(pool)
    await connector.dialed(2)
    exchange.abort()
    assert isinstance(dying.error, ResponseClosed)
    connector.release()
    await waiting.until_ended()
    assert waiting.completed
    assert len(connector.dials) == 2


async def test_a_replay_that_dials_when_the_pool_closes_fails(watched: Watch) -> None:
    connector = dying_connector(Arrivals(), "end")
    pool = watched(ConnectionPool(connector=connector))
    await pool.request("GET", "http://a/")
    connector.hold()
    dying = RecordingHandler()
    pool.dispatch(Request("GET", "http://a/dies"), dying)
    await connector.dialed(2)
    await pool.close()
    assert isinstance(dying.error, PoolClosed)


async def test_nothing_is_sent_again_once_the_pool_is_closed(watched: Watch) -> None:
    arrivals = Arrivals()
    connector = dying_connector(arrivals, "end")
    pool = watched(ConnectionPool(connector=connector))
    await pool.request("GET", "http://a/")
    dying = RecordingHandler()
    pool.dispatch(Request("GET", "http://a/dies", [("x-id", "1")]), dying)
    await pool.close()
    await dying.until_ended()
    assert isinstance(dying.error, RemoteProtocolError)
    assert arrivals.counts[b"1"] == 1
    assert len(connector.dials) == 1


async def test_total_timeout_covers_the_replay(watched: Watch, clock: Clock) -> None:
    connector = dying_connector(Arrivals(), "end")
    pool = watched(ConnectionPool(connector=connector))
    await pool.request("GET", "http://a/")
    connector.hold()
    handler = RecordingHandler()
    pool.dispatch(Request("GET", "http://a/dies"), handler, timeout=TimeoutConfig(None, total_timeout=3))
    await connector.dialed(2)
    await clock.advance(3)
    assert "did not end within 3 seconds" in str(handler.error)
    connector.release()
    await turns()


async def test_a_callable_body_in_the_middle_of_its_first_attempt_is_stopped_and_called_again(watched: Watch) -> None:
    connector = dying_connector(Arrivals(), "end in the head")
    pool = watched(ConnectionPool(connector=connector))
    await pool.request("GET", "http://a/")
    begun: list[str] = []
    ended: list[str] = []

    async def body():
        begun.append("")
        try:
            for _ in range(4):
                yield b"1234"
                await turns(3)
        finally:
            ended.append("")

    response = await pool.request("PUT", "http://a/dies", [("x-id", "1")], body)
    assert response.body == b"ok"
    assert len(begun) == len(ended) == 2
    assert connector.peers[1].body == b"1234" * 4

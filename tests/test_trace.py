"""Trace hooks: which events come, in which order, and that none is made where nobody listens."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import h11
import pytest

from httpcore import ConnectError, ConnectionPool, HTTP11Protocol, PoolLimits, SSLConfig, TraceEvent, trace
from httpcore.testing import HTTP11Peer, MemoryConnector
from tests.conftest import TLSFiles
from tests.h11_server import Answer, Asked, listening, memory_pool

URL = "http://example.org/"


class Log:
    """A hook that keeps what it gets."""

    def __init__(self) -> None:
        self.events: list[TraceEvent] = []

    def __call__(self, event: TraceEvent) -> None:
        self.events.append(event)

    @property
    def types(self) -> list[type[TraceEvent]]:
        return [type(event) for event in self.events]

    def only(self, kind: type[TraceEvent]) -> TraceEvent:
        (event,) = (event for event in self.events if type(event) is kind)
        return event

    def assert_times_increase(self) -> None:
        times = [event.time for event in self.events]
        assert times == sorted(times)
        assert abs(times[-1] - asyncio.get_running_loop().time()) < 60  # the loop's own clock


@pytest.fixture
def log() -> Log:
    return Log()


# The order of events


async def test_request_on_a_new_connection_and_on_a_reused_one(log: Log) -> None:
    async with memory_pool() as (pool, _):
        await pool.request("GET", URL, trace=log)
        assert log.types == [
            trace.SlotWaitStarted,
            trace.SlotAssigned,
            trace.HeadSent,
            trace.BodySent,
            trace.HeadReceived,
            trace.ConnectionReleased,
            trace.ResponseComplete,
        ]
        assert log.events[0] == trace.SlotWaitStarted(log.events[0].time, limited=False)
        numbers = {event.connection_id for event in log.events if hasattr(event, "connection_id")}
        assert len(numbers) == 1
        first = log.only(trace.SlotAssigned)
        assert isinstance(first, trace.SlotAssigned) and not first.reused
        head = log.only(trace.HeadReceived)
        assert isinstance(head, trace.HeadReceived)
        assert head.status_code == 200 and first.time <= head.first_byte <= head.time
        log.assert_times_increase()

        log.events.clear()
        await pool.request("POST", URL, body=[b"streamed"], trace=log)
        assert log.types == [
            trace.SlotAssigned,
            trace.HeadSent,
            trace.BodySent,
            trace.HeadReceived,
            trace.ConnectionReleased,
            trace.ResponseComplete,
        ]
        second = log.only(trace.SlotAssigned)
        assert isinstance(second, trace.SlotAssigned) and second.reused
        assert second.connection_id == first.connection_id
        log.assert_times_increase()


async def test_events_of_a_real_connection(log: Log) -> None:
    async with listening() as listener, ConnectionPool() as pool:
        await pool.request("GET", listener.url("127.0.0.1"), trace=log)
        assert log.types[:5] == [
            trace.SlotWaitStarted,
            trace.ResolveStarted,
            trace.ResolveComplete,
            trace.TCPConnected,
            trace.SlotAssigned,
        ]
        resolve, found, tcp = log.events[1:4]
        assert resolve == trace.ResolveStarted(resolve.time, "127.0.0.1", listener.port)
        assert found == trace.ResolveComplete(found.time, ("127.0.0.1",))
        assert tcp == trace.TCPConnected(tcp.time, "127.0.0.1")
        log.assert_times_increase()


async def test_events_of_a_tls_connection(log: Log, tls: TLSFiles) -> None:
    config = SSLConfig(verify=tls.ca_path)
    server_context = tls.server_context
    server_context.set_alpn_protocols(["http/1.1"])
    async with listening(ssl_context=server_context) as listener, ConnectionPool(config) as pool:
        await pool.request("GET", listener.url("localhost"), trace=log)
        assert log.types[3:6] == [trace.TCPConnected, trace.TLSEstablished, trace.SlotAssigned]
        established = log.only(trace.TLSEstablished)
        assert established == trace.TLSEstablished(established.time, "TLSv1.3", "http/1.1")
        log.assert_times_increase()


async def test_connection_that_ends_says_why(log: Log) -> None:
    async with memory_pool(lambda asked: Answer(headers=[(b"connection", b"close")])) as (pool, _):
        await pool.request("GET", URL, trace=log)
        assert log.types[-2:] == [trace.ConnectionClosed, trace.ResponseComplete]
        closed = log.only(trace.ConnectionClosed)
        assert isinstance(closed, trace.ConnectionClosed) and closed.reason == "HTTP says that it ends"


async def test_interim_responses_are_events(log: Log) -> None:
    async with MemoryConnector(HTTP11Peer) as connector, ConnectionPool(connector=connector) as pool:
        asking = asyncio.create_task(pool.request("GET", URL, trace=log))
        peer = await connector.accept()
        await peer.receive_request()
        for status_code in (102, 103):
            peer.send_event(h11.InformationalResponse(status_code=status_code, headers=[]))
        peer.send_response()
        await asking
        informational = [event for event in log.events if isinstance(event, trace.InformationalReceived)]
        assert [event.status_code for event in informational] == [102, 103]
        assert log.types[3:6] == [trace.BodySent, trace.InformationalReceived, trace.InformationalReceived]


# Failures


async def test_failed_connection_is_an_event_before_the_failed_exchange(log: Log) -> None:
    async with listening() as listener:
        url = listener.url()
    async with ConnectionPool() as pool:
        with pytest.raises(ConnectError) as caught:
            await pool.request("GET", url, trace=log)
    assert log.types == [
        trace.SlotWaitStarted,
        trace.ResolveStarted,
        trace.ResolveComplete,
        trace.ConnectFailed,
        trace.ExchangeFailed,
    ]
    failed, ended = log.events[-2:]
    assert isinstance(failed, trace.ConnectFailed) and isinstance(ended, trace.ExchangeFailed)
    assert failed.error is caught.value
    assert isinstance(failed.error.__cause__, ConnectionRefusedError)
    assert ended.error is caught.value


async def test_failed_exchange_closes_its_connection_first(log: Log) -> None:
    async with MemoryConnector(HTTP11Peer) as connector, ConnectionPool(connector=connector) as pool:
        asking = asyncio.create_task(pool.request("GET", URL, trace=log))
        peer = await connector.accept()
        await peer.receive_request()
        peer.send(b"not HTTP at all\r\n\r\n")
        with pytest.raises(Exception, match="broke the rules") as caught:
            await asking
        assert log.types[-2:] == [trace.ConnectionClosed, trace.ExchangeFailed]
        failed = log.only(trace.ExchangeFailed)
        assert isinstance(failed, trace.ExchangeFailed) and failed.error is caught.value


async def test_replayed_request_says_so_between_its_two_connections(log: Log) -> None:
    async with MemoryConnector(HTTP11Peer) as connector, ConnectionPool(connector=connector) as pool:
        asking = asyncio.create_task(pool.request("GET", URL))
        peer = await connector.accept()
        await peer.receive_request()
        peer.send_response()
        await asking
        asking = asyncio.create_task(pool.request("GET", URL, trace=log))
        await peer.receive_request()
        peer.close()
        peer = await connector.accept()
        await peer.receive_request()
        peer.send_response()
        await asking
        assert log.types[:3] == [trace.SlotAssigned, trace.HeadSent, trace.BodySent]
        replayed = log.types.index(trace.RequestReplayed)
        assert log.types[replayed + 1 : replayed + 4] == [trace.SlotAssigned, trace.HeadSent, trace.BodySent]
        assert log.types[-1] is trace.ResponseComplete
        assigned = [event for event in log.events if isinstance(event, trace.SlotAssigned)]
        assert [event.reused for event in assigned] == [True, False]
        assert assigned[0].connection_id != assigned[1].connection_id
        log.assert_times_increase()


async def test_wait_for_a_place_says_that_a_limit_is_the_reason(log: Log) -> None:
    limits = PoolLimits(hard_limit=1)
    async with MemoryConnector(HTTP11Peer) as connector, ConnectionPool(limits=limits, connector=connector) as pool:
        first = asyncio.create_task(pool.request("GET", URL))
        peer = await connector.accept()
        await peer.receive_request()
        second = asyncio.create_task(pool.request("GET", URL, trace=log))
        while not log.events:  # noqa: ASYNC110  # until it waits
            await asyncio.sleep(0)
        assert log.events == [trace.SlotWaitStarted(log.events[0].time, limited=True)]
        peer.send_response()
        await first
        await peer.receive_request()
        peer.send_response()
        await second
        assigned = log.only(trace.SlotAssigned)
        assert isinstance(assigned, trace.SlotAssigned) and assigned.reused


# Whose hook


async def test_hook_of_the_pool_gets_every_exchange_but_those_with_their_own(log: Log) -> None:
    own = Log()
    async with MemoryConnector(HTTP11Peer) as connector, ConnectionPool(connector=connector, trace=log) as pool:
        for hook in (None, own, None):
            asking = asyncio.create_task(pool.request("GET", URL, trace=hook))
            peer = connector.peers[0] if connector.peers else await connector.accept()
            await peer.receive_request()
            peer.send_response()
            await asking
        assert log.types.count(trace.ResponseComplete) == 2
        assert own.types.count(trace.ResponseComplete) == 1


async def test_hook_of_the_pool_hears_of_idle_connections_that_end(log: Log) -> None:
    async with memory_pool() as (_, server):
        pool = ConnectionPool(connector=server, trace=log)
        await pool.request("GET", URL)
        log.events.clear()
        await pool.close()
        closed = log.only(trace.ConnectionClosed)
        assert isinstance(closed, trace.ConnectionClosed) and closed.reason == "the pool was closed"
        assert log.types == [trace.ConnectionClosed]


async def test_hook_of_one_exchange_without_a_pool(log: Log) -> None:
    from httpcore import Request, ResponseHandler

    class Handler(ResponseHandler):
        def __init__(self) -> None:
            self.done = asyncio.get_running_loop().create_future()

        def response_complete(self, trailers: object) -> None:
            self.done.set_result(None)

    async with listening() as listener:
        transport, protocol = await asyncio.get_running_loop().create_connection(HTTP11Protocol, *listener.address)
        handler = Handler()
        protocol.dispatch(Request("GET", listener.url()), handler, trace=log)
        await handler.done
        assert log.types[0] is trace.SlotAssigned and log.types[-1] is trace.ResponseComplete
        transport.close()
        await protocol.wait_closed()


# Hooks that raise, and no hook


def raising(event: TraceEvent) -> None:
    raise KeyError(event.name)


async def test_hook_that_raises_is_reported_and_changes_nothing() -> None:
    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))
    async with memory_pool() as (pool, server):
        for _ in range(2):
            response = await pool.request("POST", URL, body=[b"x"], trace=raising)
            assert response.body == b"hello"
        assert len(server.peers) == 1
    assert {context["message"] for context in reported} == {"a trace hook of httpcore raised"}
    assert [str(context["exception"]) for context in reported] == [
        *["'slot.wait_started'", "'slot.assigned'", "'request.head_sent'", "'request.body_sent'"],
        *["'response.head_received'", "'connection.released'", "'response.complete'"],
        *["'slot.assigned'", "'request.head_sent'", "'request.body_sent'"],
        *["'response.head_received'", "'connection.released'", "'response.complete'"],
    ]


async def test_hook_that_raises_while_connecting_changes_nothing(tls: TLSFiles) -> None:
    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))
    async with (
        listening(ssl_context=tls.server_context) as listener,
        ConnectionPool(SSLConfig(verify=tls.ca_path), trace=raising) as pool,
    ):
        assert (await pool.request("GET", listener.url("localhost"))).body == b"hello"
    assert len(reported) > 7


@contextmanager
def counting_events() -> Iterator[list[str]]:
    """Notes every trace event that is made, listened to or not: the interpreter itself reports the calls."""
    made: list[str] = []
    names = {"emit"}

    def profile(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and (
            (frame.f_code.co_name == "__init__" and isinstance(frame.f_locals.get("self"), TraceEvent))
            or (frame.f_code.co_name in names and frame.f_globals.get("__name__") == trace.__name__)
        ):
            made.append(frame.f_code.co_name)

    sys.setprofile(profile)
    try:
        yield made
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize("hook, expected", [(None, []), (Log(), ["__init__", "emit"])])
async def test_without_a_hook_no_event_is_made(hook: Callable[[TraceEvent], None] | None, expected: list[str]) -> None:
    def app(asked: Asked) -> Answer:
        return Answer(headers=[(b"connection", b"close")]) if asked.target == b"/close" else Answer()

    with counting_events() as made:
        async with memory_pool(app) as (pool, _):
            for path in ("first", "again", "close"):
                await pool.request("POST", URL + path, body=[b"x"], trace=hook)
    assert sorted(set(made)) == expected


def test_every_event_has_a_name_a_time_and_is_public() -> None:
    values = vars(trace).values()
    kinds = [value for value in values if isinstance(value, type) and issubclass(value, TraceEvent)]
    kinds.remove(TraceEvent)
    assert {kind.__name__ for kind in kinds} | {"TraceEvent", "TraceHook", "emit"} == set(trace.__all__)
    names = [kind.name for kind in kinds]
    assert len(set(names)) == len(names)
    assert all(name.count(".") == 1 for name in names)
    event = trace.SlotAssigned(1.5, 7, True)
    assert (event.time, event.connection_id, event.reused, event.name) == (1.5, 7, True, "slot.assigned")
    assert repr(event) == "SlotAssigned(time=1.5, connection_id=7, reused=True)"
    with pytest.raises(AttributeError):
        event.time = 2.0  # type: ignore[misc]


def test_events_are_values_that_cannot_be_changed() -> None:
    event, same = (trace.SlotAssigned(1.5, 7, True) for _ in range(2))
    assert event == same
    assert len({event, same}) == 1
    assert event != trace.SlotAssigned(1.5, 8, True)
    assert event != trace.TraceEvent(1.5)
    assert event != (1.5, 7, True)
    with pytest.raises(AttributeError, match="time"):
        del event.time
    assert event == same

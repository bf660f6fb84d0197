"""HTTPExchange: its facts, its trace, its way from one connection to another, and the context its body runs in."""

from __future__ import annotations

import asyncio
import contextvars

import pytest

from httpcore import trace as events
from httpcore.config import TimeoutConfig
from httpcore.exceptions import (
    HTTPCoreError,
    LocalProtocolError,
    Phase,
    ReadError,
    RemoteProtocolError,
    ResponseClosed,
    TotalTimeout,
)
from httpcore.handlers import ResponseHandler
from httpcore.protocols import HTTP11Protocol, HTTPExchange
from httpcore.request import PUSHED, Request
from tests.protocols.recording import NO_TIMEOUT, URL, Client, Recorder, response

OK = response(b"Content-Length: 2", body=b"ok")


def make(request: Request | None = None, recorder: Recorder | None = None, timeout=NO_TIMEOUT) -> HTTPExchange:
    loop = asyncio.get_running_loop()
    return HTTPExchange(request or Request("GET", URL), recorder or Recorder(), timeout, loop)


class Queue:
    """Holds exchanges that have no connection yet."""

    def __init__(self) -> None:
        self.abandoned: list[HTTPExchange] = []

    def abandon(self, exchange: HTTPExchange) -> None:
        self.abandoned.append(exchange)


class TestBeforeItHasAConnection:
    async def test_facts(self, clock):
        exchange = make()
        assert exchange.connection_info is None
        assert exchange.stream_id is None
        assert not exchange.ended
        assert exchange.timings == (1000.0, None, None, None, None)
        assert exchange.phase is Phase.WAITING

    async def test_pushing_is_refused(self, clock):
        exchange = make(Request("POST", URL, body=PUSHED))
        with pytest.raises(LocalProtocolError, match="no connection yet"):
            exchange.write(b"a")
        with pytest.raises(LocalProtocolError, match="no connection yet"):
            exchange.write_eof()

    async def test_abort_is_told_to_who_holds_it(self, clock):
        recorder, queue = Recorder(), Queue()
        exchange = make(recorder=recorder)
        exchange.wait(queue, Phase.CONNECTING)
        exchange.abort()
        assert queue.abandoned == [exchange]
        assert recorder.names == ["failed"]
        assert type(recorder.error) is ResponseClosed
        assert recorder.error.phase is Phase.CONNECTING
        assert recorder.error.request_sent is False

    async def test_abort_with_nobody_to_hold_it(self, clock):
        recorder = Recorder()
        make(recorder=recorder).abort()
        assert recorder.names == ["failed"]

    async def test_total_timeout_runs(self, clock):
        recorder, queue = Recorder(), Queue()
        make(recorder=recorder, timeout=TimeoutConfig(total_timeout=3)).wait(queue, Phase.WAITING)
        await recorder.end()
        assert clock.now == 1003.0
        assert type(recorder.error) is TotalTimeout
        assert len(queue.abandoned) == 1

    async def test_pause_is_kept_for_the_connection(self, client):
        recorder = Recorder()
        client.recorders.append(recorder)
        exchange = make(recorder=recorder)
        exchange.pause_reading()
        client.protocol.start(exchange)
        client.peer.send(OK)
        await asyncio.sleep(10)
        assert recorder.names == ["started"]
        exchange.resume_reading()
        await recorder.end()
        assert recorder.body == b"ok"


class TestFacts:
    async def test_connection_and_timings(self, client, clock):
        recorder = client.dispatch(Request("POST", URL, body=PUSHED))
        exchange = recorder.exchange
        info = exchange.connection_info
        assert info is client.protocol.info
        assert (info.peer_address, info.ssl_object) == (("127.0.0.1", 80), None)
        assert info.local_address[0] == "127.0.0.1"
        assert exchange.stream_id is None
        await asyncio.sleep(1)
        exchange.write_eof()
        await asyncio.sleep(1)
        client.peer.send(response(b"Content-Length: 1"))
        await asyncio.sleep(1)
        client.peer.send(b"x")
        await recorder.end()
        assert exchange.timings == (1000.0, 1000.0, 1001.0, 1002.0, 1003.0)
        assert exchange.ended
        assert exchange.connection_info is info

    async def test_connections_have_ids_of_their_own(self, connect):
        ids = {(await connect()).protocol.info.connection_id for _ in range(5)}
        assert len(ids) == 5

    async def test_repr_of_a_connection_says_where_to_and_how_busy(self, client):
        assert repr(client.protocol).endswith("to ('127.0.0.1', 80), 0 in flight>")

    async def test_handler_is_forgotten_after_the_end(self, client):
        recorder = await client.answer(OK)
        assert recorder.exchange.handler is not recorder


class TestTrace:
    def names(self, found: list[events.TraceEvent]) -> list[str]:
        return [event.name for event in found]

    async def test_whole_exchange(self, client, clock):
        found: list[events.TraceEvent] = []
        recorder = client.dispatch(Request("POST", URL, body=PUSHED), trace=found.append)
        number = client.protocol.info.connection_id
        await asyncio.sleep(1)
        recorder.exchange.write(b"a")
        recorder.exchange.write_eof()
        await asyncio.sleep(1)
        client.peer.send(response(status=b"103 OK") + b"HTTP")
        await asyncio.sleep(1)
        client.peer.send(OK[4:])
        await recorder.end()
        assert found == [
            events.SlotAssigned(1000.0, number, False),
            events.HeadSent(1000.0, number),
            events.BodySent(1001.0, number),
            events.InformationalReceived(1002.0, 103, number),
            events.HeadReceived(1003.0, 200, 1002.0, number),
            events.ConnectionReleased(1003.0, number),
            events.ResponseComplete(1003.0, number),
        ]
        again = client.dispatch(trace=found.append)
        assert found[7:8] == [events.SlotAssigned(1003.0, number, True)]
        client.peer.send(OK)
        await again.end()

    async def test_connection_that_closes(self, client):
        found: list[events.TraceEvent] = []
        recorder = client.dispatch(Request("GET", URL, {"Connection": "close"}), trace=found.append)
        client.peer.send(OK)
        await recorder.end()
        assert self.names(found)[-2:] == ["connection.closed", "response.complete"]
        closed = found[-2]
        assert isinstance(closed, events.ConnectionClosed)
        assert closed.reason == "HTTP says that it ends"

    async def test_failure(self, client):
        found: list[events.TraceEvent] = []
        recorder = client.dispatch(trace=found.append)
        client.peer.send(b"\r\n\r\n")
        await recorder.end()
        assert self.names(found)[-2:] == ["connection.closed", "exchange.failed"]
        failed = found[-1]
        assert isinstance(failed, events.ExchangeFailed)
        assert failed.error is recorder.error

    async def test_upgrade_neither_releases_nor_closes(self, client):
        found: list[events.TraceEvent] = []
        connect = Request("CONNECT", "http://proxy", target="example.org:443")
        recorder = client.dispatch(connect, trace=found.append)
        client.peer.send(response())
        await recorder.end()
        assert self.names(found) == [
            "slot.assigned",
            "request.head_sent",
            "request.body_sent",
            "response.head_received",
            "response.complete",
        ]

    async def test_hook_that_raises_is_reported_and_changes_nothing(self, client):
        found: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: found.append(context["exception"]))

        def hook(event: events.TraceEvent) -> None:
            raise ValueError(event.name)

        recorder = client.dispatch(trace=hook)
        client.peer.send(OK)
        await recorder.end()
        assert recorder.names[-1] == "complete"
        assert [str(error) for error in found][:2] == ["slot.assigned", "request.head_sent"]


class TestReplay:
    """What a pool does with an exchange whose connection died: here by hand."""

    async def replayed(self, connect, request: Request, *, until: bytes) -> tuple[Recorder, Client]:
        first, second = await connect(), await connect()
        recorder = Recorder()
        exchange = make(request, recorder)
        errors: list[HTTPCoreError] = []

        def replay(failed: HTTPExchange, error: HTTPCoreError) -> bool:
            errors.append(error)
            failed.rewind()
            second.protocol.start(failed)
            return True

        exchange.replay = replay
        first.protocol.start(exchange)
        second.recorders.append(recorder)
        await first.peer.receive_until(until)
        first.peer.abort()
        await first.protocol.wait_closed()
        assert len(errors) == 1
        return recorder, second

    @pytest.mark.parametrize(
        ("body", "until"),
        [
            (b"hello", b"hello"),
            (b"h" * 300_000, b"hhhh"),
            (lambda: iter([b"a", b"b"]), b"1\r\nb\r\n"),
        ],
    )
    async def test_request_is_sent_again_as_it_was(self, connect, body, until):
        recorder, second = await self.replayed(connect, Request("PUT", URL, body=body), until=until)
        sent = await second.peer.receive_until(b"\r\n\r\n")
        if isinstance(body, bytes):
            assert await second.peer.receive(len(body)) == body
        else:
            assert await second.peer.receive_until(b"0\r\n\r\n") == b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n"
        assert sent.startswith(b"PUT /path?query HTTP/1.1\r\n")
        second.peer.send(OK)
        await recorder.end()
        assert recorder.names == ["started", "response", "data", "complete"]
        assert recorder.exchange.connection_info is second.protocol.info

    async def test_peeked_body_is_asked_for_again(self, connect):
        waiting = asyncio.Event()
        calls: list[str] = []

        async def body():
            calls.append("body")
            if len(calls) == 1:
                waiting.set()
                await asyncio.Event().wait()
            yield b"x"

        first, second = await connect(), await connect()
        recorder = Recorder()
        exchange = make(Request("GET", URL, body=body), recorder)

        def replay(failed: HTTPExchange, error: HTTPCoreError) -> bool:
            failed.rewind()
            second.protocol.start(failed)
            return True

        exchange.replay = replay
        first.protocol.start(exchange)
        second.recorders.append(recorder)
        await waiting.wait()
        first.peer.abort()
        await second.peer.receive_until(b"1\r\nx\r\n0\r\n\r\n")
        second.peer.send(OK)
        await recorder.end()
        assert recorder.body == b"ok"

    async def test_that_is_refused_is_the_first_error(self, client):
        recorder = Recorder()
        exchange = make(recorder=recorder)
        exchange.replay = lambda failed, error: False
        client.protocol.start(exchange)
        client.recorders.append(recorder)
        client.peer.abort()
        await recorder.end()
        assert type(recorder.error) is ReadError

    async def test_malformed_response_may_be_asked_about_too(self, client):
        asked: list[HTTPCoreError] = []
        recorder = Recorder()
        exchange = make(recorder=recorder)

        def refuse(failed: HTTPExchange, error: HTTPCoreError) -> bool:
            asked.append(error)
            return False

        exchange.replay = refuse
        client.protocol.start(exchange)
        client.recorders.append(recorder)
        client.peer.send(b"\r\n\r\n")
        await recorder.end()
        assert asked == [recorder.error]
        assert type(recorder.error) is RemoteProtocolError

    async def test_abort_is_not_asked_about(self, client):
        recorder = Recorder()
        exchange = make(recorder=recorder)
        exchange.replay = lambda failed, error: pytest.fail("asked")
        client.protocol.start(exchange)
        client.recorders.append(recorder)
        exchange.abort()
        assert recorder.names == ["started", "failed"]


async def test_streamed_body_runs_in_the_context_of_who_dispatched_it(client):
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    seen: list[str] = []

    async def body():
        seen.append(variable.get())
        yield b"x"

    recorder = Recorder()
    client.recorders.append(recorder)
    variable.set("dispatched")
    exchange = make(Request("POST", URL, body=body()), recorder)
    variable.set("started")
    client.protocol.start(exchange)
    await client.peer.receive_until(b"0\r\n\r\n")
    client.peer.send(OK)
    await recorder.end()
    assert seen == ["dispatched"]


async def test_handler_that_overrides_nothing_is_a_complete_one(client):
    exchange = client.protocol.dispatch(Request("POST", URL, {"Expect": "100-continue"}, PUSHED), ResponseHandler())
    client.peer.send(response(status=b"100 Continue") + OK)
    await client.protocol.wait_closed()
    assert exchange.ended


async def test_protocol_without_a_connection_takes_nothing(clock):
    protocol = HTTP11Protocol()
    assert (protocol.available, protocol.in_flight, protocol.closing, protocol.closed) == (0, 0, False, False)

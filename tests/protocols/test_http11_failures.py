"""What goes wrong at every place where it can: one end for each exchange, the right error, the connection gone."""

from __future__ import annotations

import asyncio

import pytest

from httpcore.config import TimeoutConfig
from httpcore.exceptions import (
    HTTPCoreError,
    Phase,
    ReadError,
    ReadTimeout,
    RemoteProtocolError,
    ResponseClosed,
    WriteError,
)
from httpcore.request import PUSHED, Request
from tests.protocols.recording import URL, Recorder, response

CL2, TE = b"Content-Length: 2", b"Transfer-Encoding: chunked"
TRANSCRIPT = response(status=b"103 OK") + response(TE, body=b"1\r\no\r\n1\r\nk\r\n0\r\nX: y\r\n\r\n")
POST_HEAD = b"POST /path?query HTTP/1.1\r\nHost: example.org\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
async def reported(clock) -> list[BaseException]:
    """What goes to the loop's exception handler."""
    found: list[BaseException] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: found.append(context["exception"]))
    return found


async def test_reset_at_every_byte_of_the_response(connect, segment):
    for count in range(len(TRANSCRIPT) + 1):
        client = await connect(segment=segment)
        recorder = client.dispatch()
        await client.peer.receive_until(b"\r\n\r\n")
        client.peer.send(TRANSCRIPT[:count])
        client.peer.abort()
        await recorder.end()
        await client.protocol.wait_closed()
        assert client.transport.is_closing()
        if count == len(TRANSCRIPT):
            assert recorder.names[-1] == "complete"
            continue
        assert type(recorder.error) is ReadError, count
        assert type(recorder.error.__cause__) is ConnectionResetError
        assert (recorder.error.host, recorder.error.port) == ("example.org", 80)
        has_head = TRANSCRIPT[:count].count(b"\r\n\r\n") == 2
        assert recorder.error.phase is (Phase.RECEIVING_BODY if has_head else Phase.RECEIVING_HEAD)
        assert recorder.error.request_sent
        assert client.protocol.close_reason.startswith("connection lost: ")


@pytest.mark.parametrize("kind", ["reset", "end"])
async def test_loss_at_every_byte_of_the_request(connect, kind):
    request = POST_HEAD + b"4\r\nbody\r\n"
    for count in range(len(request) + 1):
        client = await connect(segment=1)
        recorder = client.dispatch(Request("POST", URL, body=PUSHED))
        recorder.exchange.write(b"body")
        await client.peer.receive(count)
        if kind == "reset":
            client.peer.abort()
        else:
            client.peer.send_eof()
        await recorder.end()
        assert type(recorder.error) is (WriteError if kind == "reset" else RemoteProtocolError)
        assert recorder.error.phase is Phase.SENDING_BODY
        assert recorder.error.request_sent
        await client.protocol.wait_closed()


async def test_loss_before_the_body_began_is_a_read_error(client):
    recorder = client.dispatch(Request("POST", URL, body=PUSHED))
    client.peer.abort()
    await recorder.end()
    assert type(recorder.error) is ReadError
    assert recorder.error.phase is Phase.SENDING_HEAD


async def test_write_to_a_server_that_has_gone_is_a_write_error(client):
    """EPIPE: the server's end came first, and while reading is paused nobody sees it."""
    recorder = client.dispatch(Request("POST", URL, body=PUSHED))
    recorder.exchange.pause_reading()
    await client.peer.receive_until(b"\r\n\r\n")
    client.peer.close()
    await client.peer.closed()
    recorder.exchange.write(b"x")  # answered by a reset
    recorder.exchange.write_eof()
    await recorder.end()
    assert type(recorder.error) is WriteError
    assert type(recorder.error.__cause__) is BrokenPipeError


async def test_transport_that_somebody_else_closes_is_an_error(client):
    recorder = client.dispatch()
    client.transport.abort()
    await recorder.end()
    assert type(recorder.error) is RemoteProtocolError
    assert "the connection was closed in the middle of an exchange" in str(recorder.error)


async def test_complete_response_survives_a_reset_behind_it(cut_client):
    recorder = cut_client.dispatch(Request("POST", URL, body=b"some"))
    await cut_client.peer.receive_until(b"some")
    cut_client.peer.send(response(CL2, body=b"ok"))
    cut_client.peer.abort()
    await recorder.end()
    assert recorder.body == b"ok"
    assert recorder.names[-1] == "complete"
    await cut_client.protocol.wait_closed()


class TestHandlersThatRaise:
    """What a handler raises fails its own exchange, and never leaves the protocol."""

    ERRORS = [ValueError("from the handler"), asyncio.CancelledError(), ReadTimeout("of its own")]

    @pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
    @pytest.mark.parametrize("name", ["started", "informational", "response", "data"])
    async def test_before_the_end(self, cut_client, reported, name, error):
        def fail() -> None:
            raise error

        recorder = cut_client.dispatch(None, Recorder().on(name, fail))
        cut_client.peer.send(TRANSCRIPT)
        await recorder.end()
        assert recorder.error is error
        assert recorder.names[-2:] == [name, "failed"]
        await cut_client.peer.closed()
        assert cut_client.protocol.close_reason == "its exchange failed"
        assert reported == []

    @pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
    async def test_in_response_complete(self, cut_client, reported, error):
        def fail() -> None:
            raise error

        recorder = cut_client.dispatch(None, Recorder().on("complete", fail))
        cut_client.peer.send(TRANSCRIPT)
        await recorder.end()
        assert reported == [error]
        assert cut_client.protocol.available == 1
        again = await cut_client.answer(response(CL2, body=b"ok"))
        assert again.body == b"ok"

    @pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
    @pytest.mark.parametrize("how", ["malformed", "reset", "eof", "abort", "timeout"])
    async def test_in_exchange_failed(self, client, reported, how, error):
        def fail() -> None:
            raise error

        recorder = client.dispatch(None, Recorder().on("failed", fail), timeout=TimeoutConfig(read_timeout=5))
        if how == "malformed":
            client.peer.send(b"\r\n\r\n")
        elif how == "reset":
            client.peer.abort()
        elif how == "eof":
            client.peer.send_eof()
        elif how == "abort":
            recorder.exchange.abort()
        await recorder.end()
        assert reported == [error]
        await client.protocol.wait_closed()


ABORTS = {
    "without an error": lambda exchange: exchange.abort(),
    "with an error": lambda exchange: exchange.abort(KeyError("of one's own")),
    "twice": lambda exchange: (exchange.abort(), exchange.abort(ValueError())),
}


class TestAbort:
    """Ends the exchange at once, wherever it stands."""

    def check(self, client, recorder: Recorder, how: str) -> None:
        assert type(recorder.error) is (KeyError if how == "with an error" else ResponseClosed)
        assert recorder.names[-1] == "failed"
        assert client.protocol.closing
        assert client.protocol.in_flight == 0

    @pytest.mark.parametrize("how", ABORTS)
    @pytest.mark.parametrize("name", ["started", "informational", "response", "data"])
    async def test_in_a_callback(self, cut_client, name, how):
        recorder = Recorder()
        cut_client.dispatch(None, recorder.on(name, lambda: ABORTS[how](recorder.exchange)))
        cut_client.peer.send(TRANSCRIPT)
        await recorder.end()
        assert recorder.names[-2:] == [name, "failed"]
        self.check(cut_client, recorder, how)
        await cut_client.peer.closed()
        if name == "started":
            assert cut_client.peer.received == b""

    @pytest.mark.parametrize("how", ABORTS)
    async def test_in_the_last_callback_is_ignored(self, client, how):
        recorder = Recorder()
        client.dispatch(None, recorder.on("complete", lambda: ABORTS[how](recorder.exchange)))
        client.peer.send(TRANSCRIPT)
        await recorder.end()
        assert recorder.names[-1] == "complete"
        assert client.protocol.available == 1
        failed = client.dispatch(None, Recorder().on("failed", lambda: failed.exchange.abort()))
        failed.exchange.abort()
        assert failed.names == ["started", "failed"]

    @pytest.mark.parametrize("how", ABORTS)
    async def test_at_every_byte_of_the_response(self, connect, how):
        for count in range(len(TRANSCRIPT)):
            client = await connect()
            recorder = client.dispatch()
            client.peer.send(TRANSCRIPT[:count])
            await asyncio.sleep(1)
            ABORTS[how](recorder.exchange)
            self.check(client, recorder, how)
            await client.peer.closed()

    @pytest.mark.parametrize("how", ABORTS)
    @pytest.mark.parametrize("method", ["POST", "GET"])
    async def test_in_every_state_of_sending(self, connect, method, how):
        for writes in range(4):
            client = await connect()
            recorder = client.dispatch(Request(method, URL, body=PUSHED))
            for _ in range(writes):
                recorder.exchange.write(b"a")
            ABORTS[how](recorder.exchange)
            self.check(client, recorder, how)
            if writes == 0 and method == "GET":
                assert isinstance(recorder.error, KeyError) or recorder.error.request_sent is False
            await client.peer.closed()
            assert not client.peer.received.endswith(b"0\r\n\r\n")

    async def test_while_a_body_is_awaited(self, client):
        async def body():
            await asyncio.Event().wait()
            yield b""

        recorder = client.dispatch(Request("POST", URL, body=body()))
        await asyncio.sleep(1)
        recorder.exchange.abort()
        assert type(recorder.error) is ResponseClosed
        await client.peer.closed()

    async def test_drops_what_the_server_has_not_taken(self, connect):
        client = await connect(capacity=1000)
        client.peer.pause()
        recorder = client.dispatch(Request("POST", URL, body=PUSHED))
        recorder.exchange.write(bytes(50_000))
        assert client.transport.get_write_buffer_size() > 40_000
        recorder.exchange.abort()
        assert client.transport.get_write_buffer_size() == 0
        await client.protocol.wait_closed()

    async def test_of_an_error_of_the_library_adds_what_the_exchange_did(self, client):
        recorder = client.dispatch()
        recorder.exchange.abort(HTTPCoreError("enough"))
        assert str(recorder.error) == "enough (example.org:80, waiting for the response head)"

    async def test_in_another_exchanges_start_leaves_the_ended_one_alone(self, client):
        """The owner gives the connection on before the handler hears of the end; that handler may do anything."""
        first = client.dispatch()
        second = Recorder().on("started", lambda: first.exchange.abort())

        def give_on(protocol) -> None:
            protocol.on_change = None
            client.dispatch(None, second)

        client.protocol.on_change = give_on
        client.peer.send(response(CL2, body=b"ok"))
        await first.end()
        assert type(first.error) is ResponseClosed
        client.peer.send(response(CL2, body=b"ok"))
        await second.end()
        assert second.names[-1] == "complete"


async def test_owner_that_raises_fails_the_exchange_that_was_ending(client):
    error = ValueError("from the owner")

    def fail(protocol) -> None:
        protocol.on_change = None
        raise error

    client.protocol.on_change = fail
    recorder = client.dispatch()
    client.peer.send(response(CL2, body=b"ok"))
    await recorder.end()
    assert recorder.error is error

"""What goes wrong at every place where it can: one end for each exchange, the right error, the connection gone."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import ClassVar

import pytest

from httpcore.config import TimeoutConfig
from httpcore.exceptions import (
    LocalProtocolError,
    Phase,
    ReadError,
    ReadTimeout,
    RemoteProtocolError,
    ResponseClosed,
    WriteError,
)
from httpcore.protocols import HTTP11Protocol
from httpcore.protocols.h11_codec import H11Codec
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

    ERRORS: ClassVar = [ValueError("from the handler"), asyncio.CancelledError(), ReadTimeout("of its own")]

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

    @pytest.mark.parametrize("name", ["started", "informational", "response", "data"])
    async def test_after_it_aborted(self, cut_client, reported, name):
        """The exchange is over then, so what is raised has to go elsewhere, and not be lost."""
        error = ValueError("from the handler")
        recorder = Recorder()

        def abort_and_fail() -> None:
            recorder.exchange.abort()
            raise error

        cut_client.dispatch(None, recorder.on(name, abort_and_fail))
        cut_client.peer.send(TRANSCRIPT)
        await recorder.end()
        await cut_client.peer.closed()
        assert type(recorder.error) is ResponseClosed
        assert reported == [error]

    @pytest.mark.parametrize("name", ["upgraded", "pause_writing"])
    async def test_after_it_aborted_in_other_callbacks(self, client, reported, name):
        error = ValueError("from the handler")
        recorder = Recorder()

        def abort_and_fail() -> None:
            recorder.exchange.abort()
            raise error

        recorder.on(name, abort_and_fail)
        if name == "upgraded":
            client.dispatch(Request("CONNECT", "http://proxy", target="example.org:443"), recorder)
            client.peer.send(response())
        else:
            client.dispatch(Request("POST", URL, {"Expect": "100-continue"}, PUSHED), recorder)
        await recorder.end()
        await client.peer.closed()
        assert type(recorder.error) is ResponseClosed
        assert reported == [error]

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


async def test_calls_when_the_connection_has_let_go_already_are_ignored(client):
    """The owner, and so any handler, hears of a free connection before the exchange's own handler hears of its end."""
    recorder = client.dispatch(Request("POST", URL, body=PUSHED))

    def call(protocol) -> None:
        protocol.on_change = None
        recorder.exchange.write(b"late")
        recorder.exchange.write_eof()
        recorder.exchange.pause_reading()
        recorder.exchange.resume_reading()

    client.protocol.on_change = call
    client.peer.send(response(CL2, body=b"ok", status=b"413 No"))
    await recorder.end()
    assert recorder.names[-1] == "complete"
    await client.peer.closed()
    assert b"late" not in client.peer.received


async def test_write_to_a_transport_that_somebody_else_closed_is_dropped(client):
    recorder = client.dispatch(Request("POST", URL, body=PUSHED))
    await client.peer.receive_until(b"\r\n\r\n")
    client.transport.close()
    recorder.exchange.write(b"late")
    await recorder.end()
    assert type(recorder.error) is RemoteProtocolError
    await client.peer.closed()
    assert b"late" not in client.peer.received


class Refusing(H11Codec):
    """A codec that finds something wrong with every request."""

    def send_head(self, request: Request, *, without_body: bool = False) -> bytes:
        raise LocalProtocolError("not on this wire")


@pytest.mark.parametrize("body", [b"", PUSHED])
async def test_codec_that_refuses_the_request_fails_it_before_a_byte_is_sent(client, body):
    client.protocol._make_codec = Refusing
    recorder = client.dispatch(Request("POST", URL, body=body))
    assert type(recorder.error) is LocalProtocolError
    assert recorder.error.request_sent is False
    await client.peer.closed()
    assert client.peer.received == b""


class OwnTransport(asyncio.Transport):
    """A transport over a socket that somebody else has."""

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        pass


async def test_break_with_nothing_left_to_read_is_an_error(clock):
    """ETIMEDOUT and the like: the socket is as it was, and has nothing."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        protocol = HTTP11Protocol()
        protocol.connection_made(OwnTransport({"socket": ours}))
        recorder = Recorder()
        protocol.dispatch(Request("GET", URL), recorder)
        error = TimeoutError(errno.ETIMEDOUT, "Connection timed out")
        protocol.connection_lost(error)
        assert type(recorder.error) is ReadError
        assert recorder.error.__cause__ is error
        await protocol.wait_closed()


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

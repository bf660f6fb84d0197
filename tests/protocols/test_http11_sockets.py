"""HTTP11Protocol without a pool, on real sockets: what only a kernel and TLS can do."""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from httpcore.config import TimeoutConfig
from httpcore.exceptions import LocalProtocolError, ReadError, RemoteProtocolError
from httpcore.protocols import HTTP11Protocol
from httpcore.protocols.states import ConnectionState
from httpcore.request import PUSHED, Request
from httpcore.testing import HTTP11Peer, ScriptedPeer
from tests.conftest import TLSFiles
from tests.protocols.recording import Recorder, response

URL = "http://localhost/path"
OK = response(b"Content-Length: 2", body=b"ok")
UNTIL_CLOSE = response(body=b"ok")


@asynccontextmanager
async def connected(
    peer: Callable[[], ScriptedPeer] = ScriptedPeer, files: TLSFiles | None = None
) -> AsyncIterator[tuple[HTTP11Protocol, ScriptedPeer]]:
    """A protocol connected to a peer over loopback, both closed in the end."""
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[ScriptedPeer] = loop.create_future()

    def accept() -> ScriptedPeer:
        accepted.set_result(peer())
        return accepted.result()

    server = await loop.create_server(accept, "127.0.0.1", 0, ssl=files.server_context if files else None)
    host, port = server.sockets[0].getsockname()
    transport, protocol = await loop.create_connection(
        HTTP11Protocol,
        host,
        port,
        ssl=files.client_context if files else None,
        server_hostname="localhost" if files else None,
    )
    other = await accepted
    server.close()
    try:
        yield protocol, other
    finally:
        transport.abort()
        await protocol.wait_closed()
        if other.connected:
            other.transport.abort()
            await other.closed()


def dispatch(protocol: HTTP11Protocol, request: Request | None = None) -> Recorder:
    recorder = Recorder()
    protocol.dispatch(request or Request("GET", URL), recorder, timeout=TimeoutConfig(10))
    return recorder


@pytest.mark.asyncio_only("uvloop reads into a buffer of its own, whose size is not for us to choose")
async def test_reads_grow_when_one_is_filled():
    """What a small response does not need is not allocated for it, and a large one does not go without."""
    size = 4 * 1024 * 1024
    async with connected() as (protocol, peer):
        sizes = []
        for transcript in (OK, response(b"Content-Length: %d" % size, body=bytes(size)), OK):
            recorder = Recorder()
            protocol.dispatch(Request("GET", URL), recorder)
            await peer.receive_until(b"\r\n\r\n")
            peer.send(transcript)
            await recorder.end()
            assert recorder.names[-1] == "complete"
            sizes.append(protocol._transport.max_size)  # type: ignore[attr-defined]  # asyncio's transports have it
        assert sizes == [64 * 1024, 256 * 1024, 256 * 1024]


async def test_requests_follow_each_other_on_a_connection_of_the_callers_own():
    async with connected(HTTP11Peer) as (protocol, peer):
        assert isinstance(peer, HTTP11Peer)
        assert protocol.info.peer_address == peer.transport.get_extra_info("sockname")
        for number in range(3):
            assert protocol.reused == (number > 0)
            recorder = dispatch(protocol, Request("POST", URL, body=b"%d" % number))
            request, body = await peer.receive_request()
            assert (request.target, body) == (b"/path", b"%d" % number)
            peer.send_response(200, body=body)
            await recorder.end()
            assert recorder.body == body
        assert protocol.state == ConnectionState.IDLE
        protocol.close("done")
        await protocol.wait_closed()
        assert protocol.closed


@pytest.mark.parametrize("size", [0, 1, 300_000])
async def test_upload_and_download_at_once(size):
    async with connected() as (protocol, peer):
        recorder = dispatch(protocol, Request("POST", URL, {"Content-Length": str(size)}, lambda: iter([bytes(size)])))
        await peer.receive_until(b"\r\n\r\n")
        peer.send(response(b"Content-Length: %d" % size))
        if size:
            peer.send(await peer.receive(size))
        await recorder.end()
        assert recorder.body == bytes(size)
        assert protocol.available == 1


@asynccontextmanager
async def with_blocking_server() -> AsyncIterator[tuple[HTTP11Protocol, socket.socket]]:
    """A protocol that carried an exchange, and a server's socket that does things in between two turns of the loop."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    _, protocol = await asyncio.get_running_loop().create_connection(HTTP11Protocol, sock=ours)
    recorder = dispatch(protocol)
    theirs.recv(1000)
    theirs.send(OK)
    await recorder.end()
    try:
        yield protocol, theirs
    finally:
        theirs.close()
        protocol.close("the test is over")
        await protocol.wait_closed()


@pytest.mark.parametrize("what", ["bytes", "end"])
async def test_what_came_while_idle_is_seen_before_asyncio_reads_it(what):
    async with with_blocking_server() as (protocol, server):
        if what == "bytes":
            server.send(OK)
        else:
            server.close()
        recorder = Recorder()
        with pytest.raises(LocalProtocolError, match="can take no exchange"):
            protocol.dispatch(Request("GET", URL), recorder)
        assert recorder.names == []
        assert protocol.closing
        assert protocol.close_reason == "something came while it was idle"
        await protocol.wait_closed()
        if what == "bytes":
            with pytest.raises(ConnectionResetError):  # nothing was sent, and what had come was not read
                server.recv(1000)


async def test_without_poll_a_connection_is_used_all_the_same(monkeypatch):
    monkeypatch.delattr(select, "poll")
    async with with_blocking_server() as (protocol, server):
        recorder = dispatch(protocol)
        server.send(OK)
        await recorder.end()
        assert recorder.body == b"ok"


@pytest.mark.parametrize("paused", [False, True], ids=["reading", "paused"])
async def test_response_is_preferred_over_the_write_that_breaks(paused):
    """A server refuses an upload and closes with it unread: the kernel resets, and the answer is there all the same."""
    async with connected() as (protocol, peer):
        recorder = dispatch(protocol, Request("POST", URL, body=PUSHED))
        if paused:  # the write is sure to fail before the answer is read
            recorder.exchange.pause_reading()
        await peer.receive_until(b"\r\n\r\n")
        peer.pause()
        for _ in range(20):
            recorder.exchange.write(bytes(100_000))
        await asyncio.sleep(0)
        peer.send(response(b"Content-Length: 2", b"Connection: close", body=b"no", status=b"413 Too Large"))
        peer.close()
        await peer.closed()
        recorder.exchange.write(b"x")  # in case the kernel has taken all the rest
        await recorder.end()
        assert recorder.error is None
        assert (recorder.statuses, bytes(recorder.body)) == ([413], b"no")
        await protocol.wait_closed()
        assert protocol.closed


async def test_break_without_an_answer_is_an_error():
    async with connected() as (protocol, peer):
        recorder = dispatch(protocol)
        await peer.receive_until(b"\r\n\r\n")
        peer.send(OK[:-1])
        await recorder.until("data")
        peer.abort()
        await recorder.end()
        assert type(recorder.error) is ReadError


class TestTLS:
    """A body that ends with the connection is complete only after close_notify (RFC 9112 9.8)."""

    def cut(self, peer: ScriptedPeer) -> None:
        """Ends the TCP connection, and says nothing of it inside of TLS."""
        with peer.transport.get_extra_info("socket").dup() as copy:
            copy.shutdown(socket.SHUT_WR)

    async def test_requests_follow_each_other(self, tls):
        async with connected(HTTP11Peer, tls) as (protocol, peer):
            assert isinstance(peer, HTTP11Peer)
            assert isinstance(protocol.info.ssl_object, ssl.SSLObject)
            for _ in range(3):
                recorder = dispatch(protocol)
                await peer.receive_request()
                peer.send_response(200, body=b"x" * 100_000)
                await recorder.end()
                assert len(recorder.body) == 100_000

    @pytest.mark.parametrize("transcript", [UNTIL_CLOSE, response(body=b"ok", version=b"HTTP/1.0")])
    async def test_body_that_ends_with_close_notify_is_complete(self, tls, transcript):
        async with connected(files=tls) as (protocol, peer):
            recorder = dispatch(protocol)
            await peer.receive_until(b"\r\n\r\n")
            peer.send(transcript)
            peer.close()
            await recorder.end()
            assert recorder.names[-1] == "complete"
            assert recorder.body == b"ok"
            await protocol.wait_closed()

    @pytest.mark.parametrize(
        "transcript", [UNTIL_CLOSE, b"", OK[:-1], OK[:20], response(b"Transfer-Encoding: chunked", body=b"2\r\nok")]
    )
    async def test_cut_without_close_notify_is_an_error(self, tls, transcript):
        async with connected(files=tls) as (protocol, peer):
            recorder = dispatch(protocol)
            await peer.receive_until(b"\r\n\r\n")
            if transcript:
                peer.send(transcript)
            self.cut(peer)
            await recorder.end()
            assert type(recorder.error) is RemoteProtocolError
            assert "TLS was cut off without close_notify" in str(recorder.error)
            if transcript:
                assert b"ok".startswith(bytes(recorder.body))
            await protocol.wait_closed()

    @pytest.mark.parametrize("transcript", [b"", OK[:-1], OK[:20]])
    async def test_close_notify_too_early_is_an_error(self, tls, transcript):
        async with connected(files=tls) as (protocol, peer):
            recorder = dispatch(protocol)
            await peer.receive_until(b"\r\n\r\n")
            if transcript:
                peer.send(transcript)
            peer.close()
            await recorder.end()
            assert type(recorder.error) is RemoteProtocolError
            assert "the server closed the connection" in str(recorder.error)
            await protocol.wait_closed()

    @pytest.mark.parametrize("how", ["cut", "close"])
    async def test_complete_response_needs_no_close_notify(self, tls, how):
        async with connected(files=tls) as (protocol, peer):
            recorder = dispatch(protocol)
            await peer.receive_until(b"\r\n\r\n")
            peer.send(OK)
            if how == "cut":
                self.cut(peer)
            else:
                peer.close()
            await recorder.end()
            assert recorder.names[-1] == "complete"
            await protocol.wait_closed()
            assert protocol.closed

    async def test_reset_is_an_error(self, tls):
        async with connected(files=tls) as (protocol, peer):
            recorder = dispatch(protocol)
            await peer.receive_until(b"\r\n\r\n")
            peer.send(UNTIL_CLOSE)
            await recorder.until("data")
            peer.abort()
            await recorder.end()
            assert isinstance(recorder.error, (ReadError, RemoteProtocolError))
            await protocol.wait_closed()

    async def test_tunnel_ends_for_both_with_close_notify(self, tls):
        async with connected(files=tls) as (protocol, peer):
            recorder = dispatch(protocol, Request("CONNECT", URL, target="example.org:443"))
            await peer.receive_until(b"\r\n\r\n")
            peer.send(response() + b"left over")
            await recorder.end()
            stream = recorder.stream
            assert stream is not None
            assert await stream.read() == b"left over"
            stream.write(b"up")
            assert await peer.receive(2) == b"up"
            peer.close()
            assert await stream.read() == b""
            await stream.wait_closed()
            assert protocol.closed

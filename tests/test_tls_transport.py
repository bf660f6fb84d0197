"""TLSTransport by itself: on transports in memory, and on the sockets of every loop."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import cast

import pytest

from httpcore import SSLConfig
from httpcore.testing import ScriptedPeer
from httpcore.tls import create_context
from httpcore.tls_begin import connect_tls
from httpcore.tls_sessions import SessionCache
from httpcore.tls_transport import TLSTransport
from tests.clock import turns
from tests.conftest import TLSFiles
from tests.protocols.loops import on_every_loop


class Outer(asyncio.Transport):
    """A transport that keeps what it is to send, for a TLS server without a transport."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.closed = self.aborted = False
        self.reading = True
        self.abortion = asyncio.Event()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True
        self.abortion.set()

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return len(self.sent)


class Scene:
    """A client and a server of TLS, and the bytes between them, which a test moves."""

    def __init__(
        self,
        tls: TLSFiles,
        *,
        announce: bool = True,
        server: ssl.SSLContext | None = None,
        client: ssl.SSLContext | None = None,
    ) -> None:
        self.client = ScriptedPeer()
        self.outer = Outer()
        self.transport = TLSTransport(self.client, client or tls.client_context, "localhost", announce=announce)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server = (server or tls.server_context).wrap_bio(self.incoming, self.outgoing, server_side=True)

    def to_server(self) -> None:
        self.incoming.write(self.outer.sent)
        self.outer.sent = b""

    def to_client(self) -> None:
        if data := self.outgoing.read():
            self.transport.data_received(data)

    async def shake_hands(self) -> None:
        self.transport.connection_made(self.outer)
        for _ in range(4):
            await asyncio.sleep(0)  # the client's last word is sent when the loop has turned
            self.to_server()
            try:
                self.server.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.to_client()
        self.to_client()
        await self.transport.established

    def lose(self, exc: Exception | None = None) -> None:
        self.transport.connection_lost(exc)


@pytest.fixture
async def scene(tls: TLSFiles) -> Scene:
    made = Scene(tls)
    await made.shake_hands()
    return made


async def test_what_is_written_at_once_is_one_record_and_one_write(scene: Scene) -> None:
    scene.transport.writelines([b"head", bytearray(b" and "), memoryview(b"body")])
    assert len(scene.outer.sent) == 5 + len(b"head and body") + 17  # RFC 8446 5.2: header, content type, tag
    scene.to_server()
    assert scene.server.read() == b"head and body"
    scene.transport.write(b"")
    assert scene.outer.sent == b""
    scene.transport.abort()
    scene.lose()


async def test_what_is_written_as_soon_as_the_handshake_is_over_goes_with_its_last_word(tls: TLSFiles) -> None:
    scene = Scene(tls)
    scene.transport.connection_made(scene.outer)
    writes = []

    async def write_at_once() -> None:
        await scene.transport.established
        writes.append(scene.outer.sent)
        scene.transport.write(b"hello")
        writes.append(scene.outer.sent)

    task = asyncio.create_task(write_at_once())
    await asyncio.sleep(0)
    scene.to_server()
    with pytest.raises(ssl.SSLWantReadError):
        scene.server.do_handshake()
    scene.to_client()
    await task
    assert writes[0] == b"" != writes[1] == scene.outer.sent
    scene.to_server()
    scene.server.do_handshake()
    assert scene.server.read() == b"hello"


async def test_last_word_of_a_handshake_is_sent_even_if_nothing_follows(tls: TLSFiles) -> None:
    scene = Scene(tls)
    await scene.shake_hands()
    scene.to_server()
    scene.server.do_handshake()
    assert scene.server.version() == scene.transport.ssl_object.version()


async def test_last_word_of_a_handshake_is_sent_ahead_of_an_abort(tls: TLSFiles) -> None:
    scene = Scene(tls)
    scene.transport.connection_made(scene.outer)
    scene.to_server()
    with pytest.raises(ssl.SSLWantReadError):
        scene.server.do_handshake()
    scene.to_client()
    await scene.transport.established
    scene.transport.abort()
    assert scene.outer.aborted
    scene.to_server()
    scene.server.do_handshake()
    await asyncio.sleep(0)
    assert scene.outer.sent == b""


async def test_records_that_come_together_are_passed_on_together(scene: Scene) -> None:
    scene.server.write(b"x" * 40_000)
    scene.server.write(b"y")
    whole = scene.outgoing.read()
    scene.transport.data_received(whole[:20_000])
    assert await scene.client.receive(16_384) == b"x" * 16_384
    scene.transport.data_received(whole[20_000:])
    assert await scene.client.receive(23_617) == b"x" * 23_616 + b"y"
    scene.transport.abort()
    scene.lose()


async def test_nothing_is_passed_on_while_reading_is_paused(scene: Scene) -> None:
    scene.transport.pause_reading()
    assert not scene.outer.reading and not scene.transport.is_reading()
    scene.server.write(b"late")
    scene.outer.reading = True  # as of a transport that delivers what it had read before
    scene.to_client()
    await turns()
    assert not scene.outer.reading and not scene.client.received
    scene.transport.resume_reading()
    assert scene.outer.reading and scene.transport.is_reading()
    assert await scene.client.receive(4) == b"late"
    scene.transport.abort()
    scene.lose()


async def test_end_of_the_transport_that_comes_while_reading_is_paused_does_not_lose_what_came_before(
    scene: Scene,
) -> None:
    scene.transport.pause_reading()
    scene.server.write(b"last words")
    scene.to_client()
    assert scene.transport.eof_received()  # stays open
    assert not scene.outer.closed
    scene.transport.resume_reading()
    assert await scene.client.receive(10) == b"last words"
    await turns()
    assert scene.outer.closed
    scene.lose()
    assert await scene.client.closed() is None


async def test_close_notify_ends_what_is_inside_and_is_answered(scene: Scene) -> None:
    scene.server.write(b"bye")
    with pytest.raises(ssl.SSLWantReadError):
        scene.server.unwrap()
    scene.to_client()
    assert await scene.client.receive(3) == b"bye"
    assert scene.client.at_eof
    assert scene.transport.is_closing() and scene.outer.closed and not scene.outer.aborted
    scene.to_server()
    scene.server.unwrap()  # the answer is there
    with pytest.raises(ssl.SSLZeroReturnError):
        scene.transport.ssl_object.read(1)
    scene.lose()


async def test_end_without_close_notify_is_told_apart(scene: Scene) -> None:
    assert not scene.transport.eof_received()
    assert scene.outer.closed and not scene.client.at_eof
    with pytest.raises(ssl.SSLWantReadError):
        scene.transport.ssl_object.read(1)
    scene.lose()
    assert await scene.client.closed() is None


@on_every_loop
async def test_answer_of_a_peer_that_closed_while_it_was_written_to_is_not_lost(tls: TLSFiles) -> None:
    """The socket breaks for writing before what came on it was read."""
    ours, theirs = socket.socketpair()
    loop, client, server = asyncio.get_running_loop(), ScriptedPeer(), ScriptedPeer()
    serving = asyncio.ensure_future(loop.connect_accepted_socket(lambda: server, theirs, ssl=tls.server_context))
    transport = await connect_tls(loop.create_unix_connection, ours, client, tls.client_context, "localhost")
    await serving
    server.send(b"no")
    server.close()
    await turns(3)
    for _ in range(20):
        transport.write(b"x" * 1000)
        await asyncio.sleep(0)
    assert await client.closed() is None
    assert client.received == b"no" and client.at_eof


async def test_close_waits_for_the_peers_close_notify_and_drops_what_comes_before_it(scene: Scene) -> None:
    scene.transport.pause_reading()
    scene.transport.close()
    assert scene.outer.reading and not scene.outer.closed
    scene.transport.write(b"too late")
    scene.server.write(b"nobody reads it")
    scene.to_client()
    assert not scene.outer.closed
    scene.to_server()
    scene.server.unwrap()
    scene.to_client()
    assert scene.outer.closed and not scene.outer.aborted
    scene.lose()
    assert not scene.client.received


async def test_peer_that_answers_no_close_notify_is_aborted(tls: TLSFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("httpcore.tls_transport.SHUTDOWN_TIMEOUT", 0.001)
    scene = Scene(tls)
    await scene.shake_hands()
    scene.transport.close()
    await scene.outer.abortion.wait()
    scene.lose()


@pytest.mark.parametrize("announce", [True, False])
async def test_bytes_that_are_no_tls_end_it_with_the_reason(tls: TLSFiles, announce: bool) -> None:
    scene = Scene(tls, announce=announce)
    await scene.shake_hands()
    if not announce:
        assert not scene.client.connected
        scene.client.connection_made(scene.transport)
    scene.transport.data_received(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert scene.outer.aborted
    assert scene.outer.sent.startswith(b"\x15\x03\x03") or scene.outer.sent.startswith(b"\x17\x03\x03")  # an alert
    scene.lose()
    assert isinstance(await scene.client.closed(), ssl.SSLError)


async def test_refused_certificate_is_told_to_the_peer_by_an_alert(tls: TLSFiles) -> None:
    scene = Scene(tls)
    scene.transport = TLSTransport(scene.client, ssl.create_default_context(), "localhost", announce=True)
    with pytest.raises(ssl.SSLError, match=r"(?i)unknown[ _]ca"):  # which the server says
        await scene.shake_hands()
    assert isinstance(scene.transport.established.exception(), ssl.SSLCertVerificationError)
    assert scene.outer.aborted
    scene.lose()
    assert not scene.client.connected


@pytest.mark.parametrize("exc", [None, BrokenPipeError("gone")])
async def test_loss_in_the_handshake_is_told_to_who_waits_alone(tls: TLSFiles, exc: Exception | None) -> None:
    scene = Scene(tls, announce=False)
    scene.transport.connection_made(scene.outer)
    scene.lose(exc)
    with pytest.raises(ConnectionResetError if exc is None else BrokenPipeError):
        await scene.transport.established
    await turns()
    assert not scene.client.connected


@pytest.mark.parametrize("aborted", [True, False])
async def test_session_is_not_offered_again_after_a_handshake_that_failed(tls: TLSFiles, aborted: bool) -> None:
    server = tls.server_context
    server.maximum_version = ssl.TLSVersion.TLSv1_2  # of which a session is offered by many
    client = SessionCache().context("here", create_context(SSLConfig(verify=tls.ca_path), ("http/1.1",)))
    for resumed in (False, True):
        scene = Scene(tls, server=server, client=client)
        await scene.shake_hands()
        assert scene.transport.ssl_object.session_reused is resumed
        scene.transport.close()
        scene.lose()
    failing, other = (Scene(tls, server=server, client=client) for _ in range(2))
    for scene in (failing, other):
        scene.transport.connection_made(scene.outer)
        assert scene.transport.ssl_object.session is not None
    if aborted:
        failing.transport.abort()
    failing.lose(ConnectionResetError("gone"))
    anew = Scene(tls, server=server, client=client)
    assert anew.transport.ssl_object.session is None
    for scene in (other, anew):
        scene.transport.abort()
        scene.lose()
    if not aborted:
        with pytest.raises(ConnectionResetError):
            await failing.transport.established


async def test_aborted_before_it_has_a_transport_aborts_that_too(tls: TLSFiles) -> None:
    scene = Scene(tls)
    scene.transport.abort()
    scene.transport.connection_made(scene.outer)
    assert scene.outer.aborted and not scene.outer.sent
    scene.lose()
    assert scene.transport.established.cancelled() and not scene.client.connected


async def test_buffer_and_facts_are_those_of_the_transport_below(scene: Scene) -> None:
    scene.transport.write(b"x" * 100)
    assert scene.transport.get_write_buffer_size() == len(scene.outer.sent) > 100
    assert scene.transport.get_extra_info("ssl_object") is scene.transport.ssl_object
    assert scene.transport.get_extra_info("peername", "nobody") == "nobody"
    assert not scene.transport.can_write_eof()
    assert scene.transport.get_protocol() is scene.client
    assert repr(scene.transport).startswith("<TLSTransport open on ")
    scene.transport.abort()
    scene.lose()


async def test_old_tls_that_renegotiates_loses_nothing_that_is_written_meanwhile(tls: TLSFiles) -> None:
    """Where a write must wait for the peer, it waits, and those behind it."""
    scene = Scene(tls)
    await scene.shake_hands()
    real = scene.transport._tls

    class Waiting:
        """Python's server cannot ask for it, so what the client's OpenSSL would say of it is said here."""

        waits = True

        def write(self, data: bytes) -> int:
            if self.waits:
                raise ssl.SSLWantReadError
            return real.write(data)

        def read(self, size: int) -> bytes:
            return real.read(size)

    waiting = Waiting()
    scene.transport._tls = cast(ssl.SSLObject, waiting)
    scene.transport.write(b"first ")
    scene.transport.write(b"second")
    assert scene.transport.get_write_buffer_size() == 12 and not scene.outer.sent
    waiting.waits = False
    scene.server.write(b"go on")
    scene.to_client()
    scene.to_server()
    assert scene.server.read() + scene.server.read() == b"first second"
    scene.transport._tls = real
    scene.transport.abort()
    scene.lose()


@on_every_loop
async def test_socket_belongs_to_it_even_if_the_context_cannot_verify_the_name(tls: TLSFiles) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        loop = asyncio.get_running_loop()
        with pytest.raises(ValueError, match="check_hostname requires server_hostname"):
            await connect_tls(loop.create_unix_connection, ours, ScriptedPeer(), tls.client_context, None)
        assert ours.fileno() == -1


@on_every_loop
async def test_connecting_cancelled_after_any_number_of_turns_closes_the_socket(tls: TLSFiles) -> None:
    loop = asyncio.get_running_loop()
    for count in range(1, 8):
        ours, theirs = socket.socketpair()
        theirs.settimeout(10)
        with theirs:
            client = ScriptedPeer()
            connecting = asyncio.ensure_future(
                connect_tls(loop.create_unix_connection, ours, client, tls.client_context, "localhost")
            )
            await turns(count)
            connecting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await connecting
            await turns()
            while await loop.run_in_executor(None, theirs.recv, 65536):
                pass  # until its end
            assert not client.connected

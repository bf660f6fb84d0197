"""Corners of TLSTransport: what is told late, asked twice, or asked of a connection that is over."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest

from httpcore.exceptions import ConnectError
from httpcore.testing import ScriptedPeer
from httpcore.tls_begin import start_tls
from httpcore.tls_transport import TLSTransport
from tests.clock import turns
from tests.conftest import TLSFiles
from tests.test_tls_transport import Outer, Scene


@pytest.fixture
async def scene(tls: TLSFiles) -> Scene:
    made = Scene(tls)
    await made.shake_hands()
    return made


class Limited(Outer):
    """Has limits, and a socket."""

    def __init__(self, sock: socket.socket | None = None) -> None:
        super().__init__()
        self.limits: tuple[int, int] = (0, 0)
        self.sock = sock

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limits = (low or 0, high or 0)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self.limits

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self.sock if name == "socket" else default


async def test_limits_of_its_buffer_are_those_of_the_transport_below(tls: TLSFiles) -> None:
    scene = Scene(tls)
    scene.outer = Limited()
    await scene.shake_hands()
    scene.transport.set_write_buffer_limits(high=200, low=100)
    assert scene.transport.get_write_buffer_limits() == (100, 200)
    scene.transport.abort()
    scene.lose()


@pytest.mark.parametrize("ending", ["abort", "close", "loss"])
async def test_what_is_asked_of_one_that_is_over_does_nothing(scene: Scene, ending: str) -> None:
    if ending == "close":
        scene.transport.close()
        scene.to_server()
        scene.server.unwrap()
        scene.to_client()
    elif ending == "abort":
        scene.transport.abort()
    scene.lose()
    scene.outer.sent = b""
    scene.transport.data_received(b"late")
    scene.transport.pause_reading()
    assert scene.outer.reading
    scene.transport.resume_reading()
    scene.transport.write(b"late")
    scene.transport.close()
    assert not scene.transport.eof_received()
    await turns()
    assert (scene.outer.sent, scene.client.received) == (b"", b"")


async def test_reading_that_was_paused_is_not_resumed_after_the_end(scene: Scene) -> None:
    scene.transport.pause_reading()
    scene.transport.pause_reading()  # says nothing new
    assert not scene.outer.reading
    scene.transport.abort()
    scene.transport.resume_reading()
    scene.transport.resume_reading()
    assert not scene.outer.reading
    scene.lose()


async def test_closed_in_the_handshake_it_is_aborted(tls: TLSFiles) -> None:
    scene = Scene(tls)
    scene.transport.connection_made(scene.outer)
    scene.transport.close()
    assert scene.outer.aborted
    scene.lose()
    assert scene.transport.established.cancelled()
    assert not scene.client.connected


async def test_write_that_tls_refuses_ends_it_with_the_reason(tls: TLSFiles) -> None:
    """The peer has sent what is no record: OpenSSL takes nothing any more, also where reading is paused."""
    scene = Scene(tls)
    await scene.shake_hands()
    with pytest.raises(ssl.SSLError):
        scene.transport.ssl_object.unwrap()  # by someone who has the object: it is closed for writing
    scene.transport.write(b"x")
    assert scene.outer.aborted
    scene.lose()
    assert isinstance(await scene.client.closed(), ssl.SSLError)


@pytest.mark.parametrize("how", ["answer", "answer and close_notify", "nothing", "reset"])
async def test_what_came_before_its_socket_broke_is_passed_on(tls: TLSFiles, how: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        scene = Scene(tls)
        scene.outer = Limited(ours)
        await scene.shake_hands()
        if how.startswith("answer"):
            scene.server.write(b"no")
        if how.endswith("close_notify"):
            with pytest.raises(ssl.SSLWantReadError):
                scene.server.unwrap()
        theirs.sendall(scene.outgoing.read())
        if how == "reset":
            ours.close()
        scene.lose(BrokenPipeError("gone"))
    closed = await scene.client.closed()
    assert scene.client.received == (b"no" if how.startswith("answer") else b"")
    assert scene.client.at_eof is how.endswith("close_notify")
    assert (closed is None) is how.endswith("close_notify")


async def test_bytes_that_are_no_tls_behind_its_close_end_it(scene: Scene) -> None:
    scene.transport.close()
    scene.transport.data_received(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert scene.outer.closed
    scene.lose()
    assert await scene.client.closed() is None


class Relaying(Outer):
    """Gives what it is to send to a server of TLS, and back, at once; then it is lost, if `lost`."""

    def __init__(self, scene: Scene) -> None:
        super().__init__()
        self.scene = scene
        self.protocol: asyncio.BaseProtocol | None = None

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol


async def test_connection_that_is_lost_as_soon_as_tls_has_begun_is_a_connect_error(tls: TLSFiles) -> None:
    scene = Scene(tls)
    outer = Relaying(scene)
    beginning = asyncio.ensure_future(start_tls(outer, ScriptedPeer(), tls.client_context, "localhost"))
    await asyncio.sleep(0)
    inner = outer.protocol
    assert isinstance(inner, TLSTransport)
    scene.incoming.write(outer.sent)
    with pytest.raises(ssl.SSLWantReadError):
        scene.server.do_handshake()
    inner.data_received(scene.outgoing.read())  # the handshake is over, and who waits for it has not had its turn
    inner.connection_lost(None)
    with pytest.raises(ConnectError, match="lost as soon as TLS had begun"):
        await beginning


async def test_paused_again_before_what_had_come_was_passed_on_it_waits_for_the_next_time(scene: Scene) -> None:
    scene.transport.pause_reading()
    scene.server.write(b"late")
    scene.to_client()
    scene.transport.resume_reading()
    scene.transport.pause_reading()
    await turns()
    assert scene.client.received == b""
    scene.transport.resume_reading()
    assert await scene.client.receive(4) == b"late"
    scene.transport.abort()
    scene.lose()

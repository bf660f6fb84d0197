"""`ScriptedPeer`, over a link in memory and over TCP."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from httpcore.testing import ScriptedPeer
from tests.testing.links import MORE_THAN_THE_KERNEL_TAKES, turns

LinkPeers = Callable[[ScriptedPeer, ScriptedPeer], Awaitable[tuple[ScriptedPeer, ScriptedPeer]]]
WAITS: list[Callable[[ScriptedPeer], Awaitable[object]]] = [
    lambda peer: peer.receive(10),
    lambda peer: peer.receive_until(b"\n"),
    lambda peer: peer.receive_some(),
    lambda peer: peer.receive_eof(),
]


@pytest.fixture
async def linked(link: LinkPeers) -> tuple[ScriptedPeer, ScriptedPeer]:
    """Two peers: the client may as well be one."""
    return await link(ScriptedPeer(), ScriptedPeer())


async def test_received_bytes_are_consumed_in_order_and_all_kept(linked):
    client, server = linked
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\nbody, rest")
    assert await server.receive_until(b"\r\n") == b"GET / HTTP/1.1\r\n"
    assert await server.receive_until(b"\r\n\r\n") == b"host: a\r\n\r\n"
    assert await server.receive(4) == b"body"
    assert await server.receive(0) == b""
    assert await server.receive_some() == b", rest"
    assert server.received == b"GET / HTTP/1.1\r\nhost: a\r\n\r\nbody, rest"


async def test_marker_that_comes_in_pieces_is_found(linked):
    client, server = linked
    waiting = asyncio.ensure_future(server.receive_until(b"\r\n\r\n"))
    for part in (b"head\r", b"\n", b"\r", b"\nrest"):
        client.send(part)
        await turns()
    assert await waiting == b"head\r\n\r\n"
    assert await server.receive(4) == b"rest"


async def test_receive_waits_for_the_last_byte(linked):
    client, server = linked
    waiting = asyncio.ensure_future(server.receive(4))
    client.send(b"abc")
    await turns()
    assert not waiting.done()
    client.send(b"de")
    assert await waiting == b"abcd"


async def test_cancelled_wait_consumes_nothing(linked):
    client, server = linked
    waiting = asyncio.ensure_future(server.receive(4))
    await turns()
    waiting.cancel()
    client.send(b"abcd")
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await server.receive(4) == b"abcd"


async def test_wait_cancelled_in_the_turn_in_which_bytes_come_consumes_nothing():
    peer = ScriptedPeer()
    waiting = asyncio.ensure_future(peer.receive(4))
    await turns()
    waiting.cancel()
    peer.data_received(b"abcd")
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await peer.receive(4) == b"abcd"


async def test_end_of_stream_is_awaited_and_leaves_the_link_half_open(linked):
    client, server = linked
    client.send(b"last words")
    client.send_eof()
    assert await server.receive_eof() == b"last words"
    assert server.at_eof and server.connected
    assert await server.receive_some() == b""
    server.send(b"answer")
    assert await client.receive(6) == b"answer"
    server.close()
    assert await server.closed() is None
    assert not server.connected
    assert await client.receive_eof() == b""


async def test_peer_told_so_closes_on_eof(link):
    client, server = await link(ScriptedPeer(), ScriptedPeer(close_on_eof=True))
    client.send_eof()
    assert await server.closed() is None


@pytest.mark.parametrize("wait", WAITS[:2])
async def test_wait_for_what_cannot_come_after_eof_fails_at_once(linked, wait):
    client, server = linked
    waiting = asyncio.ensure_future(wait(server))
    client.send(b"part")
    client.send_eof()
    with pytest.raises(ConnectionError, match=r"the connection ended before .* came; not consumed yet: b'part'"):
        await waiting
    with pytest.raises(ConnectionError, match="ended before"):
        await wait(server)
    assert await server.receive(4) == b"part"


@pytest.mark.parametrize("wait", [*WAITS, lambda peer: peer.drain()])
async def test_wait_fails_at_once_when_the_link_dies(linked, wait):
    client, server = linked
    client.pause()
    server.send(MORE_THAN_THE_KERNEL_TAKES)
    assert server.writing_paused
    waiting = asyncio.ensure_future(wait(server))
    await turns()
    client.abort()
    with pytest.raises(ConnectionError, match=r"was lost before .* came") as caught:
        await waiting
    assert isinstance(await server.closed(), ConnectionResetError)
    assert caught.value.__cause__ is server.error
    with pytest.raises(ConnectionError, match="was lost before"):
        await wait(server)


async def test_abort_resets_the_other_end(linked):
    client, server = linked
    server.send(b"part")
    server.abort()
    server.abort()
    assert await server.closed() is None
    assert isinstance(await client.closed(), ConnectionResetError)
    assert await client.receive(4) == b"part"
    server.send(b"goes nowhere")


async def test_paused_peer_stalls_the_sender_until_it_resumes(linked):
    client, server = linked
    server.pause()
    client.send(MORE_THAN_THE_KERNEL_TAKES)
    draining = asyncio.ensure_future(client.drain())
    await turns()
    assert client.writing_paused and not draining.done()
    assert server.received == b""
    server.resume()
    await draining
    assert not client.writing_paused
    assert await server.receive(len(MORE_THAN_THE_KERNEL_TAKES)) == MORE_THAN_THE_KERNEL_TAKES


async def test_peer_shows_its_state(linked):
    client, server = linked
    client.send(b"data")
    await server.receive(1)
    assert repr(server) == "<ScriptedPeer connected, 4 bytes received, 1 consumed>"
    client.close()
    server.close()
    await server.closed()
    assert repr(server) == "<ScriptedPeer lost, 4 bytes received, 1 consumed>"
    assert repr(ScriptedPeer()) == "<ScriptedPeer not connected yet, 0 bytes received, 0 consumed>"


def test_peer_not_connected_yet_has_no_transport():
    with pytest.raises(ConnectionError, match="not connected yet"):
        ScriptedPeer().send(b"data")

"""`MemoryConnector`: what a pool dials instead of the network."""

from __future__ import annotations

import asyncio
import gc

import pytest
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from httpcore.testing import Dial, HTTP11Peer, MemoryConnector, ScriptedPeer
from httpcore.urls import Origin
from tests.testing.links import turns

ORIGIN = Origin("http", "example.org", 80)


async def test_connect_returns_a_connected_protocol_and_the_peer_is_accepted():
    async with MemoryConnector() as connector:
        client = await connector.connect(ScriptedPeer, ORIGIN, ssl_context=None, server_hostname="example.org")
        assert client.connected
        peer = await connector.accept()
        assert type(peer) is ScriptedPeer and peer.connected
        assert connector.peers == [peer]
        assert connector.dials == [Dial(ORIGIN, {"ssl_context": None, "server_hostname": "example.org"})]
        client.send(b"ping")
        assert await peer.receive(4) == b"ping"
        client.close()
        await connector.all_closed()
        assert connector.open_transports == []


async def test_peers_are_accepted_in_the_order_of_connecting():
    async with MemoryConnector(HTTP11Peer) as connector:
        accepting = [asyncio.ensure_future(connector.accept()) for _ in range(2)]
        clients = [await connector.connect(ScriptedPeer, ORIGIN) for _ in range(3)]
        accepted = [*await asyncio.gather(*accepting), await connector.accept()]
        assert accepted == connector.peers
        assert all(type(peer) is HTTP11Peer for peer in accepted)
        for number, (client, peer) in enumerate(zip(clients, accepted, strict=True)):
            peer.send(b"%d" % number)
            assert await client.receive(1) == b"%d" % number
            client.close()
        await connector.all_closed()


async def test_cancelled_accept_takes_no_peer():
    async with MemoryConnector() as connector:
        accepting = asyncio.ensure_future(connector.accept())
        await turns()
        accepting.cancel()
        client = await connector.connect(ScriptedPeer, ORIGIN)
        with pytest.raises(asyncio.CancelledError):
            await accepting
        assert await connector.accept() is connector.peers[0]
        client.close()


async def test_leaving_the_context_closes_the_servers_ends():
    async with MemoryConnector() as connector:
        client = await connector.connect(ScriptedPeer, ORIGIN)
    assert not connector.peers[0].connected
    assert await client.receive_eof() == b""
    assert connector.open_transports == [client.transport]
    client.close()
    await connector.all_closed()
    await connector.close_servers()


async def test_lost_client_transport_is_not_kept_alive():
    async with MemoryConnector() as connector:
        client = await connector.connect(ScriptedPeer, ORIGIN)
        peer = await connector.accept()
        client.pause()
        with pytest.warns(ResourceWarning, match="unclosed transport <MemoryTransport paused"):
            del client
            gc.collect()
        assert connector.open_transports == []
        assert await peer.receive_eof() == b""


async def test_extra_info_names_the_origin_and_what_was_given():
    async with MemoryConnector(client_extra={"ssl_object": "ssl"}) as connector:
        client = await connector.connect(ScriptedPeer, ORIGIN)
        assert client.transport.get_extra_info("peername") == ("example.org", 80)
        assert client.transport.get_extra_info("ssl_object") == "ssl"
        client.close()


async def test_segment_and_capacity_are_the_links():
    async with MemoryConnector(segment=1, capacity=2) as connector:
        client = await connector.connect(ScriptedPeer, ORIGIN)
        peer = await connector.accept()
        peer.pause()
        client.send(b"abc")
        assert client.transport.get_write_buffer_size() == 1
        peer.resume()
        assert await peer.receive_some() == b"a"
        assert await peer.receive(2) == b"bc"
        client.close()


async def test_dials_fail_as_told_in_order():
    connector = MemoryConnector()
    errors = ConnectionRefusedError("refused"), TimeoutError("timed out")
    for error in errors:
        connector.fail_next(error)
    for error in errors:
        with pytest.raises(type(error)) as caught:
            await connector.connect(ScriptedPeer, ORIGIN)
        assert caught.value is error
    assert connector.peers == []
    assert connector.open_transports == []
    async with connector:
        (await connector.connect(ScriptedPeer, ORIGIN)).close()
    assert len(connector.dials) == 3


async def test_held_dials_go_on_when_released():
    async with MemoryConnector() as connector:
        connector.hold()
        connector.fail_next(ConnectionRefusedError("refused"))
        dials = [asyncio.ensure_future(connector.connect(ScriptedPeer, ORIGIN)) for _ in range(2)]
        await connector.dialed(2)
        await turns()
        assert connector.peers == []
        connector.release()
        with pytest.raises(ConnectionRefusedError):
            await dials[0]
        client = await dials[1]
        assert len(connector.peers) == 1
        client.close()


async def test_cancelling_a_held_dial_leaves_nothing():
    connector = MemoryConnector()
    connector.hold()
    made: list[ScriptedPeer] = []

    def make() -> ScriptedPeer:
        made.append(ScriptedPeer())
        return made[-1]

    dial = asyncio.ensure_future(connector.connect(make, ORIGIN))
    await connector.dialed(1)
    dial.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dial
    connector.release()
    await turns()
    assert made == connector.peers == []
    assert connector.open_transports == []


@pytest.mark.parametrize("turns_before", range(4))
async def test_cancelling_a_dial_at_any_moment_leaves_no_open_transport(turns_before):
    async with MemoryConnector() as connector:
        dial = asyncio.ensure_future(connector.connect(ScriptedPeer, ORIGIN))
        await turns(turns_before)
        if dial.cancel():
            with pytest.raises(asyncio.CancelledError):
                await dial
        else:
            dial.result().close()
        await connector.all_closed()
        for peer in connector.peers:
            assert await peer.receive_eof() == b""


@pytest.mark.parametrize("factory", ["client", "server"])
async def test_error_of_a_factory_is_the_dials_error(factory):
    def fail() -> ScriptedPeer:
        raise ValueError("a bug")

    connector = MemoryConnector(fail if factory == "server" else ScriptedPeer)
    with pytest.raises(ValueError, match="a bug"):
        await connector.connect(fail if factory == "client" else ScriptedPeer, ORIGIN)
    assert connector.open_transports == []


async def test_server_may_be_any_protocol_as_uvicorns():
    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            await send({"type": "http.response.body", "body": message["body"], "more_body": more})

    config = Config(application, lifespan="off", log_config=None)
    config.load()
    state = ServerState()
    async with MemoryConnector(lambda: H11Protocol(config, state, {}), segment=1) as connector:
        client = await connector.connect(ScriptedPeer, ORIGIN)
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nping")
        head = await client.receive_until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n")
        assert await client.receive(4) == b"ping"
        client.close()
        await connector.all_closed()
        await asyncio.gather(*state.tasks)

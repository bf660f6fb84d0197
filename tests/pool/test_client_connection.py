"""ClientConnection: one connection that its user owns."""

from __future__ import annotations

import asyncio
import gc
import socket

import pytest

from httpcore import (
    ClientConnection,
    ConnectError,
    ConnectTimeout,
    HTTP2Config,
    InvalidURL,
    LocalProtocolError,
    ReadTimeout,
    RemoteProtocolError,
    Request,
    ResponseClosed,
    ResponseTooLarge,
    SSLConfig,
    TimeoutConfig,
    UnsupportedProtocol,
)
from httpcore.exceptions import Phase
from httpcore.testing import HTTP11Peer, MemoryConnector
from httpcore.trace import HeadSent, TCPConnected, TLSEstablished, TraceEvent
from tests.clock import Clock, turns
from tests.conftest import TLSFiles
from tests.pool.peers import AutoPeer, RecordingHandler, auto_connector
from tests.pool.version_server import AutoHTTP2Peer, speaking_h2c, version_server


async def test_connection_that_is_dropped_is_closed_with_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    async with auto_connector() as connector:
        connection = await ClientConnection.connect("http://a/", connector=connector)
        response = await connection.request("GET", "http://a/", stream=True)
        del connection
        gc.collect()
        messages = [str(warning.message) for warning in recwarn.list]
        assert messages == ["unclosed <ClientConnection to http://a:80, 1 available, 0 in flight>"]
        recwarn.clear()
        assert await response.read() == b"ok"
        await connector.all_closed()


async def test_limit_of_the_body_is_the_connections_own() -> None:
    async with auto_connector() as connector:
        connection = await ClientConnection.connect("http://a/", connector=connector, max_body_size=1)
        with pytest.raises(ResponseTooLarge):
            await connection.request("GET", "http://a/")
        await connection.close()


async def test_it_carries_one_request_after_the_other(connector: MemoryConnector[HTTP11Peer]) -> None:
    connection = await ClientConnection.connect("http://a/ignored", connector=connector)
    assert repr(connection) == "<ClientConnection to http://a:80, 1 available, 0 in flight>"
    for _ in range(2):
        assert (connection.available, connection.in_flight, connection.closed) == (1, 0, False)
        request = asyncio.create_task(connection.request("GET", "http://a/path"))
        await turns()
        assert (connection.available, connection.in_flight, connection.closed) == (0, 1, False)
        received, _ = await connector.peers[0].receive_request()
        assert received.target == b"/path"
        connector.peers[0].send_response(200, body=b"ok")
        assert (await request).body == b"ok"
    await connection.close()
    assert (connection.available, connection.in_flight, connection.closed) == (0, 0, True)
    assert connector.open_transports == []
    assert len(connector.dials) == 1


async def test_it_has_the_origin_and_the_facts_of_the_connection(connector: MemoryConnector[HTTP11Peer]) -> None:
    async with await ClientConnection.connect("http://a:81/", connector=connector) as connection:
        assert connection.origin == connector.dials[0].origin
        assert connection.origin.port == 81
        assert connection.info.peer_address == ("a", 81)
        assert connection.info.connection_id > 0


async def test_a_second_request_at_once_is_refused_and_the_first_goes_on(
    connector: MemoryConnector[HTTP11Peer],
) -> None:
    async with await ClientConnection.connect("http://a/", connector=connector) as connection:
        request = asyncio.create_task(connection.request("GET", "http://a/"))
        peer = await connector.accept()
        await peer.receive_request()
        with pytest.raises(LocalProtocolError, match="can take no request now: it is busy") as caught:
            await connection.request("GET", "http://a/")
        assert not caught.value.request_sent
        peer.send_response(200, body=b"ok")
        assert (await request).body == b"ok"


@pytest.mark.parametrize("url", ["http://b/", "https://a/", "http://a:81/"])
async def test_a_request_for_another_origin_is_refused(connector: MemoryConnector[HTTP11Peer], url: str) -> None:
    async with await ClientConnection.connect("http://a/", connector=connector) as connection:
        with pytest.raises(LocalProtocolError, match="another origin than http://a"):
            await connection.request("GET", url)
        assert connection.available == 1


async def test_after_close_requests_are_refused(connector: MemoryConnector[HTTP11Peer]) -> None:
    connection = await ClientConnection.connect("http://a/", connector=connector)
    await connection.close()
    await connection.close()
    await connection.close(force=True)
    await connection.aclose()
    with pytest.raises(LocalProtocolError, match="it is closed"):
        await connection.request("GET", "http://a/")


async def test_close_waits_for_the_exchange_and_takes_no_further_one(connector: MemoryConnector[HTTP11Peer]) -> None:
    connection = await ClientConnection.connect("http://a/", connector=connector)
    request = asyncio.create_task(connection.request("GET", "http://a/"))
    peer = await connector.accept()
    await peer.receive_request()
    closing = asyncio.create_task(connection.close())
    await turns()
    assert not closing.done()
    with pytest.raises(LocalProtocolError):
        await connection.request("GET", "http://a/")
    peer.send_response(200, body=b"ok")
    assert (await request).body == b"ok"
    await closing
    assert connection.closed


async def test_close_by_force_aborts_the_exchange(connector: MemoryConnector[HTTP11Peer]) -> None:
    connection = await ClientConnection.connect("http://a/", connector=connector)
    request = asyncio.create_task(connection.request("GET", "http://a/"))
    await (await connector.accept()).receive_request()
    await connection.close(force=True)
    assert connection.closed
    with pytest.raises(ResponseClosed, match="the connection was closed"):
        await request


async def test_an_idle_one_that_is_closed_by_force_is_gone(connector: MemoryConnector[HTTP11Peer]) -> None:
    connection = await ClientConnection.connect("http://a/", connector=connector)
    await connection.close(force=True)
    assert connection.closed
    assert connector.open_transports == []


async def test_the_server_closes_it_while_idle(connector: MemoryConnector[HTTP11Peer]) -> None:
    connection = await ClientConnection.connect("http://a/", connector=connector)
    (await connector.accept()).close()
    await turns()
    assert (connection.available, connection.closed) == (0, True)
    with pytest.raises(LocalProtocolError, match="it is closed"):
        await connection.request("GET", "http://a/")
    await connection.close()


async def test_nothing_is_sent_again(connector: MemoryConnector[HTTP11Peer]) -> None:
    connection = await ClientConnection.connect("http://a/", connector=connector)
    first = asyncio.create_task(connection.request("GET", "http://a/"))
    peer = await connector.accept()
    await peer.receive_request()
    peer.send_response()
    await first
    second = asyncio.create_task(connection.request("GET", "http://a/"))
    await peer.receive_request()
    peer.close()
    with pytest.raises(RemoteProtocolError) as caught:
        await second
    assert caught.value.request_sent
    assert len(connector.dials) == 1
    await connection.close()


async def test_connection_close_in_the_response_closes_it(connector: MemoryConnector[HTTP11Peer]) -> None:
    connection = await ClientConnection.connect("http://a/", connector=connector)
    request = asyncio.create_task(connection.request("GET", "http://a/"))
    peer = await connector.accept()
    await peer.receive_request()
    peer.send_response(200, [("connection", "close")], b"last")
    assert (await request).body == b"last"
    assert connection.closed
    await connection.close()


async def test_timeouts_of_the_connection_hold_unless_the_request_has_its_own(
    connector: MemoryConnector[HTTP11Peer], clock: Clock
) -> None:
    for timeout, seconds in ((None, 3), (1, 1)):
        connection = await ClientConnection.connect("http://a/", timeout=3, connector=connector)
        request = asyncio.create_task(connection.request("GET", "http://a/", timeout=timeout))
        await turns()
        await clock.advance(seconds - 0.1)
        assert not request.done()
        await clock.advance(0.1)
        with pytest.raises(ReadTimeout):
            await request
        await connection.close()


async def test_the_trace_hook_hears_of_the_requests_unless_they_have_their_own() -> None:
    connector = auto_connector()
    general: list[TraceEvent] = []
    own: list[TraceEvent] = []
    async with await ClientConnection.connect("http://a/", trace=general.append, connector=connector) as connection:
        await connection.request("GET", "http://a/")
        assert sum(isinstance(event, HeadSent) for event in general) == 1
        await connection.request("GET", "http://a/", trace=own.append)
    assert sum(isinstance(event, HeadSent) for event in general) == 1
    assert sum(isinstance(event, HeadSent) for event in own) == 1


async def test_dispatch_tells_a_handler() -> None:
    async with await ClientConnection.connect("http://a/", connector=auto_connector()) as connection:
        handler = RecordingHandler()
        exchange = connection.dispatch(Request("GET", "http://a/"), handler)
        assert handler.exchange is exchange
        await handler.until_ended()
        assert handler.content == b"ok"


# Connecting.


@pytest.mark.parametrize("url, error", [("http://", InvalidURL), ("ftp://a/", UnsupportedProtocol)])
async def test_a_url_that_leads_nowhere_is_refused(url: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        await ClientConnection.connect(url, connector=auto_connector())


async def test_an_error_of_the_connector_says_where(connector: MemoryConnector[HTTP11Peer]) -> None:
    connector.fail_next(ConnectError("refused"))
    with pytest.raises(ConnectError, match=r"refused \(a:81, connecting\)") as caught:
        await ClientConnection.connect("http://a:81/", connector=connector)
    assert (caught.value.host, caught.value.port, caught.value.phase) == ("a", 81, Phase.CONNECTING)


async def test_a_connect_timeout_of_the_connector_is_passed_on(connector: MemoryConnector[HTTP11Peer]) -> None:
    error = ConnectTimeout("the kernel gave up")
    connector.fail_next(error)
    with pytest.raises(ConnectTimeout) as caught:
        await ClientConnection.connect("http://a/", connector=connector)
    assert caught.value is error
    assert error.host == "a"


async def test_connecting_for_too_long_is_a_connect_timeout(
    connector: MemoryConnector[HTTP11Peer], clock: Clock
) -> None:
    connector.hold()
    connecting = asyncio.create_task(
        ClientConnection.connect("http://a/", timeout=TimeoutConfig(None, connect_timeout=2), connector=connector)
    )
    await clock.advance(1.9)
    assert not connecting.done()
    await clock.advance(0.1)
    with pytest.raises(ConnectTimeout, match=r"within 2 seconds \(a:80, connecting\)"):
        await connecting


async def test_cancelled_connecting_leaves_nothing(connector: MemoryConnector[HTTP11Peer]) -> None:
    connector.hold()
    connecting = asyncio.create_task(ClientConnection.connect("http://a/", connector=connector))
    await connector.dialed(1)
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    connector.release()
    await turns()
    assert connector.open_transports == []


# On real sockets.


async def test_over_tcp_and_tls(tls: TLSFiles) -> None:
    loop = asyncio.get_running_loop()
    for context in (None, tls.server_context):
        server = await loop.create_server(AutoPeer, "127.0.0.1", 0, ssl=context)
        url = f"http{'s' if context else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        events: list[TraceEvent] = []
        async with await ClientConnection.connect(url, ssl=tls.client_context, trace=events.append) as connection:
            for _ in range(2):
                assert (await connection.request("GET", url)).body == b"ok"
            assert (connection.info.ssl_object is not None) == (context is not None)
        assert any(isinstance(event, TCPConnected) for event in events)
        assert any(isinstance(event, TLSEstablished) for event in events) == (context is not None)
        server.close()


@pytest.mark.parametrize(
    "http1, http2, version", [(True, True, b"HTTP/2"), (False, True, b"HTTP/2"), (True, False, b"HTTP/1.1")]
)
async def test_it_speaks_the_version_that_the_server_chooses(
    tls: TLSFiles, http1: bool, http2: bool, version: bytes
) -> None:
    async with version_server(tls, "h2", "http/1.1") as listener:
        url, config = listener.url("localhost"), SSLConfig(verify=tls.ca_path)
        async with await ClientConnection.connect(url, ssl=config, http1=http1, http2=http2) as connection:
            responses = []
            assert (connection.available > 1) == (version == b"HTTP/2")
            if version == b"HTTP/2":
                responses += await asyncio.gather(*(connection.request("GET", url) for _ in range(5)))
            responses.append(await connection.request("GET", url))
            assert {response.http_version for response in responses} == {version}
        assert len(listener.protocols) == 1


async def test_without_tls_it_speaks_http2_if_nothing_else_is_left() -> None:
    async with speaking_h2c() as listener:
        connection = await ClientConnection.connect(listener.url(), http1=False, http2=HTTP2Config())
        assert (await connection.request("GET", listener.url())).http_version == b"HTTP/2"
        await connection.close()


async def test_a_version_that_may_not_be_spoken_is_a_connect_error_that_says_where(tls: TLSFiles) -> None:
    async with version_server(tls, "http/1.1") as listener:
        with pytest.raises(ConnectError, match=r"http1=False forbids to speak HTTP/1\.1") as caught:
            await ClientConnection.connect(listener.url("localhost"), ssl=tls.client_context, http1=False)
        assert (caught.value.host, caught.value.port) == ("localhost", listener.port)
        assert caught.value.phase == Phase.CONNECTING


async def test_it_refuses_an_upgrade_over_http2_and_goes_on() -> None:
    connector = MemoryConnector(AutoHTTP2Peer)
    async with await ClientConnection.connect("http://a/", http1=False, connector=connector) as connection:
        with pytest.raises(LocalProtocolError, match="HTTP/2 has no upgrade field") as caught:
            await connection.request("GET", "http://a/", {"Connection": "upgrade", "Upgrade": "websocket"})
        assert not caught.value.request_sent
        assert (await connection.request("GET", "http://a/")).body == b"over HTTP/2"


async def test_it_refuses_extended_connect_over_http11_and_goes_on() -> None:
    async with await ClientConnection.connect("http://a/", connector=auto_connector()) as connection:
        with pytest.raises(LocalProtocolError, match="needs HTTP/2") as caught:
            await connection.request("CONNECT", "http://a/", protocol="websocket")
        assert not caught.value.request_sent
        assert (await connection.request("GET", "http://a/")).body == b"ok"


@pytest.mark.parametrize(
    "arguments, error",
    [({"http1": False, "http2": False}, ValueError), ({"http1": 1}, TypeError), ({"http2": 2}, TypeError)],
)
async def test_versions_that_make_no_sense_are_refused(arguments: dict, error: type[Exception]) -> None:
    connector = auto_connector()
    with pytest.raises(error, match=r"http[12]"):
        await ClientConnection.connect("http://a/", connector=connector, **arguments)
    assert connector.dials == []


async def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectError, match=f"127.0.0.1:{port}, connecting") as caught:
        await ClientConnection.connect(f"http://127.0.0.1:{port}/")
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)

"""Choice of version: what is offered, what the server selects, and what follows for connections and requests."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest
import uvloop
from h2.settings import SettingCodes

from httpcore import (
    ClientConnection,
    ConnectError,
    ConnectionPool,
    HTTP2Config,
    HTTP2Protocol,
    LocalProtocolError,
    Origin,
    PoolClosed,
    Request,
    SSLConfig,
)
from httpcore.config import SSLTypes
from httpcore.exceptions import Phase
from httpcore.pool.connector import Dialer
from httpcore.pool.routes import NO_OPTIONS, Route
from httpcore.protocols.handshake import Versions
from httpcore.testing import HTTP2Peer, HTTP11Peer, MemoryConnector
from httpcore.tls import ContextCache
from httpcore.trace import ConnectFailed, TLSEstablished, TraceEvent
from tests.clock import turns, until
from tests.conftest import TLSFiles
from tests.h11_server import H11Server, Listener, MemoryServer, listening
from tests.pool.peers import auto_connector
from tests.pool.version_server import AutoHTTP2Peer, VersionServer, offering, speaking_h2c, version_server

WEBSOCKET = {"Connection": "Upgrade", "Upgrade": "websocket"}


@asynccontextmanager
async def no_descriptor_more() -> AsyncIterator[None]:
    """Waits until what was opened inside is closed, by the server too; one that was cut off tells nobody else of it."""
    before = len(os.listdir("/dev/fd"))
    yield
    await until(lambda: len(os.listdir("/dev/fd")) <= before)


def selected(listener: Listener) -> list[str | None]:
    """What ALPN selected on each of the server's connections."""
    return [protocol.selected for protocol in listener.protocols if isinstance(protocol, VersionServer)]


def own(tls: TLSFiles, *protocols: str) -> ssl.SSLContext:
    """A context such as a user brings."""
    context = tls.client_context
    if protocols:
        context.set_alpn_protocols(protocols)
    return context


async def all_lost(listener: Listener) -> None:
    for protocol in listener.protocols:
        assert isinstance(protocol, VersionServer)
        await protocol.lost


# Over TLS the server chooses.

CHOICES = [
    # what the server takes, http1, http2, what is spoken
    ([], True, True, "HTTP/1.1"),
    ([], True, False, "HTTP/1.1"),
    (["http/1.1"], True, True, "HTTP/1.1"),
    (["http/1.1"], True, False, "HTTP/1.1"),
    (["h2"], True, True, "HTTP/2"),
    (["h2"], True, False, "HTTP/1.1"),  # a server that selects nothing then
    (["h2"], False, True, "HTTP/2"),
    (["h2", "http/1.1"], True, True, "HTTP/2"),
    (["h2", "http/1.1"], True, False, "HTTP/1.1"),
    (["h2", "http/1.1"], False, True, "HTTP/2"),
    (["http/1.1", "h2"], True, True, "HTTP/1.1"),
    (["http/1.1", "h2"], False, True, "HTTP/2"),
]


async def spoken(tls: TLSFiles, takes: list[str], http1: bool, http2: bool) -> None:
    expected = next(choice[3] for choice in CHOICES if choice[:3] == (takes, http1, http2))
    async with version_server(tls, *takes) as listener:
        async with ConnectionPool(SSLConfig(verify=tls.ca_path), http1=http1, http2=http2) as pool:
            for _ in range(2):
                response = await pool.request("GET", listener.url("localhost"))
                assert response.body == f"over {expected}".encode()
                assert response.http_version == expected.encode()
            assert pool.num_connections == 1
        await all_lost(listener)
        assert len(listener.protocols) == 1


@pytest.mark.parametrize("takes, http1, http2, expected", CHOICES)
async def test_server_chooses_among_what_is_allowed(
    tls: TLSFiles, takes: list[str], http1: bool, http2: bool, expected: str
) -> None:
    await spoken(tls, takes, http1, http2)


@pytest.mark.parametrize("takes", [["h2", "http/1.1"], ["http/1.1"]])
def test_server_chooses_among_what_is_allowed_on_uvloop(tls: TLSFiles, takes: list[str]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(spoken(tls, takes, True, True))


async def refuses(tls: TLSFiles) -> None:
    """Asks a server that selects http/1.1 where only HTTP/2 may be spoken."""
    async with version_server(tls, "http/1.1") as listener:
        context = own(tls, "h2", "http/1.1")
        async with no_descriptor_more(), ConnectionPool(context, http1=False) as pool:
            with pytest.raises(ConnectError, match=r"the server selected http/1\.1 by ALPN, not h2") as caught:
                await pool.request("GET", listener.url("localhost"))
            assert caught.value.phase == Phase.CONNECTING
            assert not caught.value.request_sent
            assert pool.num_connections == 0
        assert listener.asked == []


async def test_refused_choice_is_a_connect_error_that_leaves_nothing_open(tls: TLSFiles) -> None:
    await refuses(tls)


def test_refused_choice_is_a_connect_error_that_leaves_nothing_open_on_uvloop(tls: TLSFiles) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(refuses(tls))


@pytest.mark.parametrize("takes", [[], ["http/1.1"]])
async def test_http2_alone_with_a_server_that_does_not_select_it_is_a_connect_error(
    tls: TLSFiles, takes: list[str]
) -> None:
    events: list[TraceEvent] = []
    async with (
        version_server(tls, *takes) as listener,
        no_descriptor_more(),
        ConnectionPool(SSLConfig(verify=tls.ca_path), http1=False) as pool,
    ):
        with pytest.raises(ConnectError, match="selected nothing by ALPN, not h2, and http1=False") as caught:
            await pool.request("GET", listener.url("localhost"), trace=events.append)
        assert pool.num_connections == 0
        assert (caught.value.host, caught.value.port) == ("localhost", listener.port)
    failures = [event.error for event in events if isinstance(event, ConnectFailed)]
    assert failures == [caught.value]
    assert any(isinstance(event, TLSEstablished) for event in events)


def alpn_extension(*protocols: str) -> bytes:
    """What of a ClientHello offers these protocols (RFC 7301 3.1)."""
    names = b"".join(bytes([len(name)]) + name.encode() for name in protocols)
    return b"\x00\x10" + (len(names) + 2).to_bytes(2) + len(names).to_bytes(2) + names


@pytest.mark.parametrize(
    "http1, http2, headers, offered",
    [
        (True, True, (), ["h2", "http/1.1"]),
        (True, HTTP2Config(), (), ["h2", "http/1.1"]),
        (True, False, (), ["http/1.1"]),
        (False, True, (), ["h2"]),
        (True, True, WEBSOCKET, ["http/1.1"]),
    ],
)
async def test_what_is_allowed_is_offered_the_preferred_first(
    tls: TLSFiles, http1: bool, http2: bool | HTTP2Config, headers: dict[str, str], offered: list[str]
) -> None:
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    class Listening(asyncio.Protocol):
        """Hears the ClientHello, and hangs up."""

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            heard.set_result(data)
            self.transport.close()

    pool = ConnectionPool(SSLConfig(verify=tls.ca_path), http1=http1, http2=http2)
    async with listening(Listening) as listener, pool:
        with pytest.raises(ConnectError):
            await pool.request("GET", f"https://localhost:{listener.port}/", headers)
    assert alpn_extension(*offered) in await heard


async def test_config_is_that_of_the_connection(tls: TLSFiles) -> None:
    config = HTTP2Config(stream_window=70_000)
    async with version_server(tls, "h2") as listener:
        async with ConnectionPool(SSLConfig(verify=tls.ca_path), http2=config) as pool:
            await pool.request("GET", listener.url("localhost"))
        peer = listener.protocols[0]
        assert isinstance(peer, VersionServer) and isinstance(peer.protocol, AutoHTTP2Peer)
        assert peer.protocol.h2.remote_settings.initial_window_size == 70_000


# A context of the user's own.


async def selected_elsewhere(tls: TLSFiles, context: ssl.SSLContext) -> str | None:
    """What a server that takes everything selects when asyncio alone connects with this context."""
    async with version_server(tls, "h2", "http/1.1") as listener:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(
            asyncio.Protocol, "127.0.0.1", listener.port, ssl=context, server_hostname="localhost"
        )
        protocol = transport.get_extra_info("ssl_object").selected_alpn_protocol()
        assert protocol is None or isinstance(protocol, str)
        transport.close()
        await all_lost(listener)
    return protocol


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize(
    "offered, http1, http2, expected, elsewhere",
    [
        ([], True, True, "HTTP/1.1", None),
        (["h2", "http/1.1"], True, True, "HTTP/2", "h2"),
        (["h2"], True, True, "HTTP/2", "h2"),
        (["h2"], False, True, "HTTP/2", "h2"),
        (["http/1.1"], True, True, "HTTP/1.1", "http/1.1"),
        (["http/1.1"], True, False, "HTTP/1.1", "http/1.1"),
    ],
)
async def test_own_context_offers_what_its_user_said_before_and_after(
    tls: TLSFiles, wrapped: bool, offered: list[str], http1: bool, http2: bool, expected: str, elsewhere: str | None
) -> None:
    context = own(tls, *offered)
    config: SSLTypes = SSLConfig(verify=context) if wrapped else context
    async with version_server(tls, "h2", "http/1.1") as listener:
        async with ConnectionPool(config, http1=http1, http2=http2) as pool:
            response = await pool.request("GET", listener.url("localhost"))
            assert response.http_version == expected.encode()
        assert selected(listener) == [elsewhere]
    assert await selected_elsewhere(tls, context) == elsewhere


async def test_own_context_that_offers_h2_where_it_may_not_be_spoken_is_a_connect_error(tls: TLSFiles) -> None:
    context = own(tls, "h2", "http/1.1")
    async with version_server(tls, "h2", "http/1.1") as listener, no_descriptor_more():
        async with ConnectionPool(context, http2=False) as pool:
            with pytest.raises(ConnectError, match="must not offer h2") as caught:
                await pool.request("GET", listener.url("localhost"))
            assert not caught.value.request_sent
        # An upgrade, where all else may go over HTTP/2.
        async with ConnectionPool(context) as pool:
            with pytest.raises(ConnectError, match="the request has an upgrade field"):
                await pool.request("GET", listener.url("localhost"), WEBSOCKET)
    assert await selected_elsewhere(tls, context) == "h2"


async def test_own_context_that_offers_nothing_is_named_where_http2_alone_may_be_spoken(tls: TLSFiles) -> None:
    async with version_server(tls, "h2") as listener, ConnectionPool(own(tls), http1=False) as pool:
        with pytest.raises(ConnectError, match=r"context\.set_alpn_protocols\(\['h2'\]\)"):
            await pool.request("GET", listener.url("localhost"))


# Without TLS.


async def test_without_tls_http11_is_spoken() -> None:
    async with listening() as listener, ConnectionPool() as pool:
        assert (await pool.request("GET", listener.url())).http_version == b"HTTP/1.1"


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_without_tls_and_without_http11_http2_is_spoken_with_prior_knowledge(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def main() -> None:
        async with speaking_h2c() as listener, ConnectionPool(http1=False) as pool:
            response = await pool.request("GET", listener.url())
            assert (response.http_version, response.body) == (b"HTTP/2", b"over HTTP/2")

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_connector_without_tls_is_taken_for_plain_whatever_the_scheme(scheme: str) -> None:
    async with ConnectionPool(connector=MemoryServer()) as pool:
        assert (await pool.request("GET", f"{scheme}://a/")).http_version == b"HTTP/1.1"
    connector = MemoryConnector(AutoHTTP2Peer)
    async with ConnectionPool(connector=connector, http1=False) as pool:
        assert (await pool.request("GET", f"{scheme}://a/")).http_version == b"HTTP/2"


# Routes.

ORIGINS = {"http": Origin("http", "a", 80), "https": Origin("https", "a", 443)}


@pytest.mark.parametrize(
    "scheme, http1, http2, expected",
    [
        ("https", True, True, True),
        ("https", False, True, True),
        ("https", True, False, False),
        ("http", True, True, False),
        ("http", False, True, True),
        ("http", True, False, False),
    ],
)
@pytest.mark.parametrize("config", [SSLConfig(), SSLConfig(verify=False)])
def test_route_says_whether_http2_may_be_spoken(
    scheme: str, http1: bool, http2: bool, expected: bool, config: SSLConfig
) -> None:
    versions, options = Versions.of(http1, http2), NO_OPTIONS.override(ssl=config)
    route = Route.to(ORIGINS[scheme], options, versions)
    assert route == Route(ORIGINS[scheme], config if scheme == "https" else None, expected)
    assert Route.of(Request("GET", f"{scheme}://a/"), options, versions) == route


def test_request_to_upgrade_has_a_route_of_its_own() -> None:
    versions = Versions.of(True, True)
    plain, upgrading = (Route.of(Request("GET", "https://a/", h), NO_OPTIONS, versions) for h in ((), WEBSOCKET))
    assert (plain.http2, upgrading.http2) == (True, False)
    assert plain != upgrading
    # Where HTTP/2 is not spoken anyway, all share.
    for url, only in (("http://a/", versions), ("https://a/", Versions.of(True, False))):
        first, second = (Route.of(Request("GET", url, h), NO_OPTIONS, only) for h in ((), WEBSOCKET))
        assert first == second


# Requests that need a certain version.


async def test_upgrade_goes_over_http11_beside_connections_that_speak_http2(tls: TLSFiles) -> None:
    async with version_server(tls, "h2", "http/1.1") as listener:
        url = listener.url("localhost")
        async with ConnectionPool(SSLConfig(verify=tls.ca_path)) as pool:
            assert (await pool.request("GET", url)).http_version == b"HTTP/2"
            for _ in range(2):
                assert (await pool.request("GET", url, WEBSOCKET)).http_version == b"HTTP/1.1"
            assert (await pool.request("GET", url)).http_version == b"HTTP/2"
            assert pool.num_connections == 2
        assert selected(listener) == ["h2", "http/1.1"]


async def test_upgrade_gets_its_raw_stream_on_a_default_pool(tls: TLSFiles) -> None:
    class Upgrading(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert transport.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
            transport = cast(asyncio.Transport, transport)
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            head = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
            self.transport.write(head if data.startswith(b"GET ") else data)

    pool = ConnectionPool(SSLConfig(verify=tls.ca_path))
    async with listening(Upgrading, ssl_context=offering(tls, ["h2", "http/1.1"])) as listener, pool:
        response = await pool.request("GET", listener.url("localhost"), WEBSOCKET, stream=True)
        stream = response.upgraded
        assert stream is not None
        stream.write(b"echo")
        assert await stream.read() == b"echo"
        stream.close()
        await stream.wait_closed()


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_upgrade_where_only_http2_may_be_spoken_is_refused_before_anything_is_dialled(scheme: str) -> None:
    connector = auto_connector()
    async with ConnectionPool(connector=connector, http1=False) as pool:
        with pytest.raises(LocalProtocolError, match=r"HTTP/2 has no upgrade field .* extended CONNECT") as caught:
            await pool.request("GET", f"{scheme}://a/", WEBSOCKET)
        assert caught.value.host == "a"
        assert not caught.value.request_sent
        assert pool.num_connections == 0
    assert connector.dials == []


@pytest.mark.parametrize("url, http2", [("http://a/chat", True), ("http://a/chat", False), ("https://a/chat", False)])
async def test_extended_connect_where_http2_is_not_spoken_is_refused_before_anything_is_dialled(
    url: str, http2: bool
) -> None:
    connector = auto_connector()
    async with ConnectionPool(connector=connector, http2=http2) as pool:
        with pytest.raises(LocalProtocolError, match=r"\(extended CONNECT, RFC 8441\) needs HTTP/2"):
            await pool.request("CONNECT", url, protocol="websocket")
    assert connector.dials == []


async def test_extended_connect_with_a_server_that_selects_http11_is_refused_unsent(tls: TLSFiles) -> None:
    async with version_server(tls, "http/1.1") as listener:
        async with ConnectionPool(SSLConfig(verify=tls.ca_path)) as pool:
            with pytest.raises(LocalProtocolError, match=r"needs HTTP/2 .*, and the server speaks HTTP/1\.1") as caught:
                await pool.request("CONNECT", listener.url("localhost"), protocol="websocket")
            assert not caught.value.request_sent
            assert (await pool.request("GET", listener.url("localhost"))).body == b"over HTTP/1.1"
        for protocol in listener.protocols:
            assert isinstance(protocol, VersionServer) and isinstance(protocol.protocol, H11Server)
            assert b"CONNECT" not in protocol.protocol.received


async def test_extended_connect_names_protocol_path_and_authority() -> None:
    allowing = {SettingCodes.ENABLE_CONNECT_PROTOCOL: 1}
    connector = MemoryConnector(lambda: HTTP2Peer(allowing))
    async with ConnectionPool(connector=connector, http1=False) as pool:
        asking = asyncio.create_task(
            pool.request("CONNECT", "http://a:81/chat?x=1", {"origin": "http://a"}, stream=True, protocol="websocket")
        )
        peer = await connector.accept()
        request = await peer.receive_request()
        assert (request.method, request.pseudo(b":protocol")) == (b"CONNECT", b"websocket")
        assert (request.scheme, request.authority, request.path) == (b"http", b"a:81", b"/chat?x=1")
        assert (b"origin", b"http://a") in request.headers
        assert not request.end_stream
        peer.respond(request.stream_id, 200, end_stream=False)
        response = await asking
        assert response.status_code == 200
        stream = response.upgraded
        assert stream is not None
        stream.write(b"hello")
        assert await peer.receive_data(request.stream_id) == b"hello"
        stream.abort()


# A dial that ends early.


async def connected_at_every_turn(url: str, context: ssl.SSLContext) -> AsyncIterator[asyncio.Task[ClientConnection]]:
    """Connects, cancels after 1, 2, 3 ... turns of the loop, until the connection is made before that."""
    finished, turn = False, 0
    while not finished:
        turn += 1
        connecting = asyncio.create_task(ClientConnection.connect(url, ssl=context))
        await turns(turn)
        finished = connecting.done()
        connecting.cancel()
        yield connecting


async def test_dial_cancelled_at_every_turn_leaves_nothing_open(tls: TLSFiles) -> None:
    count = 0
    async with version_server(tls, "h2") as listener:
        before = len(os.listdir("/dev/fd"))
        async for connecting in connected_at_every_turn(str(listener.url("127.0.0.1")), own(tls, "h2")):
            count += 1
            try:
                connection = await connecting
            except asyncio.CancelledError:
                pass
            else:
                assert connection.available > 1
                await connection.close()
            await until(lambda: len(os.listdir("/dev/fd")) <= before)
    assert count > 5


async def test_pool_closed_at_every_turn_of_a_dial_leaves_nothing_open(tls: TLSFiles) -> None:
    ended: list[str] = []
    context = own(tls, "h2")
    async with version_server(tls, "h2") as listener:
        before = len(os.listdir("/dev/fd"))
        turn = 0
        while "answered" not in ended:
            turn += 1
            pool = ConnectionPool(context)
            asking = asyncio.create_task(pool.request("GET", listener.url("127.0.0.1")))
            await turns(turn)
            await pool.close(force=True)
            try:
                await asking
                ended.append("answered")
            except PoolClosed:
                ended.append("closed")
            await until(lambda: len(os.listdir("/dev/fd")) <= before)
    assert ended.count("closed") > 5


async def test_connector_that_does_not_connect_its_protocol_is_a_connect_error() -> None:
    class Forgetful:
        async def connect(self, protocol_factory, origin, **options):
            return protocol_factory()

    async with ConnectionPool(connector=Forgetful()) as pool:
        with pytest.raises(ConnectError, match="whose connection_made was not called"):
            await pool.request("GET", "http://a/")


async def test_a_dialer_heeds_what_both_the_versions_and_the_route_allow(tls: TLSFiles) -> None:
    async with version_server(tls, "h2", "http/1.1") as listener:
        origin, config = listener.url("localhost").origin, SSLConfig(verify=tls.ca_path)
        for http2 in (True, False):
            route = Route(origin, config, http2)
            protocol = await Dialer(None, ContextCache(), Versions.of(True, True), None).dial(route, 5, None)
            assert isinstance(protocol, HTTP2Protocol) == http2
            protocol.close("enough")
            await protocol.wait_closed()


# What the pool takes.


@pytest.mark.parametrize("arguments", [{"http1": 1}, {"http2": "h2"}, {"http2": None}, {"http2": HTTP2Config}])
def test_pool_refuses_versions_of_another_type(arguments: dict) -> None:
    with pytest.raises(TypeError, match=r"^http[12] takes a bool"):
        ConnectionPool(**arguments)


def test_pool_that_may_speak_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="both False"):
        ConnectionPool(http1=False, http2=False)


async def test_versions_are_those_of_each_pool() -> None:
    connector = MemoryConnector(HTTP11Peer)
    async with ConnectionPool(connector=connector, http2=False) as pool:
        asking = asyncio.create_task(pool.request("GET", "https://a/"))
        peer = await connector.accept()
        await peer.receive_request()
        peer.send_response(200)
        assert (await asking).http_version == b"HTTP/1.1"

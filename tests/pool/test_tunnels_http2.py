"""Tunnels by CONNECT on HTTP/2: many on one connection to the proxy, and what becomes of them when that goes away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from httpcore import (
    ConnectionPool,
    ConnectTimeout,
    HTTP2Config,
    HTTPCoreError,
    NetworkError,
    PoolLimits,
    Proxy,
    RemoteProtocolError,
    SSLConfig,
    TimeoutConfig,
)
from httpcore.exceptions import Phase
from httpcore.pool.tunnels import MAX_REFUSAL_SIZE, REFUSAL_TIMEOUT
from httpcore.testing import HTTP2Peer, MemoryConnector
from tests.clock import Clock, turns, until
from tests.conftest import TLSFiles
from tests.h11_server import Answer, Asked, H11Server, listening
from tests.pool.books import check_books, check_empty
from tests.pool.tunnelling import HTTP_PROXY, HTTPS_PROXY, Origins, below, chosen, refused, tunnelled, unverified
from tests.pool.version_server import AutoHTTP2Peer, version_server
from tests.proxies.http2_proxy import HTTP2Proxy, StreamAnswer, http2_proxy
from tests.proxies.http_proxy import HTTPProxy, ProxyRequest, http_proxy
from tests.proxies.script import Answer as ProxyAnswer
from tests.proxies.script import Then
from tests.proxies.ways import to_address, to_connector, to_protocol

ONE_STREAM = {SettingCodes.MAX_CONCURRENT_STREAMS: 1}
MEGABYTE = bytes(range(256)) * 4096


@contextlib.asynccontextmanager
async def sharing(proxy: HTTP2Proxy, **options) -> AsyncIterator[tuple[ConnectionPool, MemoryConnector]]:
    """A pool whose tunnels all go through `proxy`, in memory."""
    async with tunnelled(proxy, HTTPS_PROXY, version="h2", **options) as both:
        yield both


async def get(pool: ConnectionPool, *hosts: str) -> list[bytes]:
    """Asks all of them at once; returns what they answered."""
    return [response.body for response in await asyncio.gather(*[pool.request("GET", f"http://{h}/") for h in hosts])]


# Sharing


async def test_a_hundred_first_requests_make_one_connection_and_a_tunnel_each() -> None:
    proxy = HTTP2Proxy(connect=Origins().connect)
    async with sharing(proxy) as (pool, connector):
        hosts = [f"host{number}" for number in range(100)]
        assert await get(pool, *hosts) == [b"hello"] * 100
        assert sorted(request.target for request in proxy.requests) == sorted(b"%b:80" % h.encode() for h in hosts)
        assert (len(connector.peers), proxy.tunnels) == (1, 100)
        assert (pool.num_connections, below(pool).count) == (100, 1)
        assert await get(pool, *hosts) == [b"hello"] * 100
        assert (len(connector.peers), proxy.tunnels) == (1, 100)


async def test_a_hundred_first_requests_for_https_origins(tls: TLSFiles) -> None:
    config = unverified(tls)
    context = SSLConfig(verify=tls.ca_path, server_hostname="example.org")
    async with (
        listening(ssl_context=tls.server_context) as origin,
        http2_proxy(tls.server_context, connect=to_address("127.0.0.1", origin.port)) as proxy,
        ConnectionPool(context, proxy=Proxy(proxy.url, ssl=config), timeout=TimeoutConfig(30)) as pool,
    ):
        asking = [pool.request("GET", f"https://host{number}/") for number in range(100)]
        assert {response.body for response in await asyncio.gather(*asking)} == {b"hello"}
        assert (proxy.connections, proxy.tunnels) == (1, 100)
        await pool.close()
        check_empty(pool)


async def test_proxy_that_allows_one_stream_gets_further_connections() -> None:
    proxy = HTTP2Proxy(connect=Origins().connect, settings=ONE_STREAM)
    async with sharing(proxy) as (pool, connector):
        for _ in range(2):
            assert await get(pool, "a", "b", "c") == [b"hello"] * 3
            assert (len(connector.peers), proxy.tunnels) == (3, 3)
            assert (pool.num_connections, below(pool).count) == (3, 3)


async def test_credentials_go_with_every_tunnel_and_none_reaches_an_origin() -> None:
    origins = Origins()
    config = Proxy("https://u:p@proxy", tunnel=True, headers={"X-Proxy": "1"}, ssl=HTTPS_PROXY.ssl)
    proxy = HTTP2Proxy(connect=origins.connect, auth=("u", "p"))
    async with tunnelled(proxy, config, version="h2") as (pool, _):
        assert await get(pool, "a", "b") == [b"hello"] * 2
        assert [request.credentials for request in proxy.requests] == [("u", "p")] * 2
        assert [request.get(b"x-proxy") for request in proxy.requests] == [b"1"] * 2
        for server in origins.servers:
            assert not [name for name, _ in server.asked[0].headers if b"proxy" in name]


async def test_proxies_with_different_credentials_do_not_share_a_connection() -> None:
    proxy = HTTP2Proxy(connect=Origins().connect)
    async with sharing(proxy) as (pool, connector):
        for auth in (("a", "1"), ("a", "2"), ("a", "1")):
            config = Proxy("https://proxy", tunnel=True, auth=auth, ssl=HTTPS_PROXY.ssl)
            await pool.request("GET", "http://origin/", proxy=config)
        assert len(connector.peers) == 2


# Versions


async def test_proxy_that_chooses_http11_gives_a_tunnel_on_each_connection() -> None:
    proxy = HTTPProxy(connect=Origins().connect)
    async with tunnelled(proxy, HTTPS_PROXY, version="http/1.1") as (pool, connector):
        assert await get(pool, "a", "b", "c") == [b"hello"] * 3
        assert (len(connector.peers), proxy.tunnels, below(pool).count) == (3, 3, 0)


async def test_https_proxy_without_http2_is_spoken_to_in_http11(tls: TLSFiles) -> None:
    config = unverified(tls)
    context = tls.server_context
    context.set_alpn_protocols(["h2", "http/1.1"])
    async with (
        listening(ssl_context=tls.server_context) as origin,
        http_proxy(context) as proxy,
        ConnectionPool(config, http2=False, proxy=Proxy(proxy.url, ssl=config)) as pool,
    ):
        assert (await pool.request("GET", origin.url("localhost"))).body == b"hello"
        [record] = proxy.received
        assert record.tls is not None and record.tls.selected_alpn_protocol() == "http/1.1"


async def test_http2_only_pool_asks_an_http_proxy_in_http11_and_speaks_http2_inside() -> None:
    proxy = HTTPProxy(connect=to_protocol(AutoHTTP2Peer))
    async with tunnelled(proxy, HTTP_PROXY, http1=False) as (pool, _):
        assert await get(pool, "a", "b", "a") == [b"over HTTP/2"] * 3
        assert proxy.tunnels == 2
        assert proxy.received[0].head.startswith(b"CONNECT a:80 HTTP/1.1\r\n")


async def test_http2_only_pool_takes_an_https_proxy_that_chooses_http11() -> None:
    proxy = HTTPProxy(connect=to_protocol(AutoHTTP2Peer))
    async with tunnelled(proxy, HTTPS_PROXY, version="http/1.1", http1=False) as (pool, _):
        assert await get(pool, "a") == [b"over HTTP/2"]


async def test_http2_by_prior_knowledge_in_a_stream_of_http2() -> None:
    proxy = HTTP2Proxy(connect=to_protocol(AutoHTTP2Peer))
    async with sharing(proxy, http1=False) as (pool, connector):
        assert await get(pool, "a", "b", "a", "a") == [b"over HTTP/2"] * 4
        assert (len(connector.peers), proxy.tunnels, pool.num_connections) == (1, 2, 2)


@pytest.mark.parametrize("offered", [(), ("http/1.1",), ("h2", "http/1.1")])
async def test_tls_in_a_stream_of_http2(tls: TLSFiles, offered: tuple[str, ...]) -> None:
    config = unverified(tls)
    async with (
        version_server(tls, *offered) as origin,
        http2_proxy(tls.server_context) as proxy,
        ConnectionPool(config, proxy=Proxy(proxy.url, ssl=config)) as pool,
    ):
        asking = [pool.request("GET", origin.url("localhost")) for _ in range(3)]
        expected = b"over HTTP/2" if "h2" in offered else b"over HTTP/1.1"
        assert {response.body for response in await asyncio.gather(*asking)} == {expected}
        assert proxy.connections == 1
        # Of HTTP/1.1, more are opened only if the first has not become free again by then.
        assert 1 <= proxy.tunnels <= (1 if "h2" in offered else 3)
        check_books(pool)
        await pool.close()
        check_empty(pool)


# What refuses


@pytest.mark.parametrize("status", [302, 403, 407, 429, 502, 503])
async def test_refusal_on_a_stream_has_all_that_the_proxy_said_and_hurts_nobody_else(status: int) -> None:
    def answer(request: ProxyRequest) -> StreamAnswer | None:
        if request.target != b"origin:80":
            return None
        return StreamAnswer(status, [(b"x-why", b"reasons"), (b"proxy-authenticate", b"Basic")], b"because")

    proxy = HTTP2Proxy(connect=Origins().connect, answer=answer)
    async with sharing(proxy) as (pool, connector):
        assert await get(pool, "a") == [b"hello"]
        error = await refused(pool)
        assert (error.status_code, error.body, error.phase) == (status, b"because", Phase.CONNECTING)
        assert (b"x-why", b"reasons") in error.headers
        assert f"refused a tunnel to origin:80 with {status}, and asks for credentials: 'Basic'" in error.args[0]
        assert await get(pool, "a", "b") == [b"hello"] * 2
        assert (len(connector.peers), pool.num_connections) == (1, 2)


@pytest.mark.parametrize("size", [MAX_REFUSAL_SIZE, 1_000_000])
async def test_content_of_a_refusal_is_bounded(size: int) -> None:
    refusal = StreamAnswer(403, [], b"x" * size)
    proxy = HTTP2Proxy(
        connect=Origins().connect, answer=lambda request: refusal if request.target == b"origin:80" else None
    )
    async with sharing(proxy) as (pool, connector):
        assert (await refused(pool)).body == b"x" * MAX_REFUSAL_SIZE
        assert await get(pool, "a") == [b"hello"]
        assert len(connector.peers) == 1


@pytest.mark.parametrize(
    "answer, body",
    [
        (StreamAnswer(403, [], b"1234", end_stream=False, reset=ErrorCodes.INTERNAL_ERROR), b"1234"),
        (StreamAnswer(403, [(b"content-length", b"9")], b"1234"), b"1234"),
        (StreamAnswer(403, [], b"1234", end_stream=False, end=ProxyAnswer(b"", Then.CLOSE)), b"1234"),
    ],
)
async def test_refusal_whose_end_is_broken_is_one_all_the_same(answer: StreamAnswer, body: bytes) -> None:
    async with sharing(HTTP2Proxy(connect=Origins().connect, answer=lambda request: answer)) as (pool, _):
        error = await refused(pool)
        assert (error.status_code, error.body) == (403, body)


async def test_refusal_whose_end_does_not_come_is_not_waited_for(clock: Clock) -> None:
    answer = StreamAnswer(403, [], b"1234", end_stream=False)
    async with sharing(
        HTTP2Proxy(connect=Origins().connect, answer=lambda request: answer), timeout=TimeoutConfig(None)
    ) as (pool, _):
        refusing = asyncio.ensure_future(refused(pool))
        await clock.advance(REFUSAL_TIMEOUT + 0.1)
        assert (await refusing).body == b"1234"


@pytest.mark.parametrize("fields", [[(b"content-length", b"5")], [(b"content-length", b"0")], [(b"x", b"y")]])
async def test_fields_of_the_answer_that_opens_a_tunnel_mean_nothing(fields: list[tuple[bytes, bytes]]) -> None:
    answer = StreamAnswer(201, fields, proceed=True)
    async with sharing(HTTP2Proxy(connect=Origins().connect, answer=lambda request: answer)) as (pool, _):
        assert await get(pool, "a") == [b"hello"]


async def test_tunnel_that_ends_with_its_answer_is_an_error() -> None:
    answer = StreamAnswer(200, [], end_stream=True)
    async with sharing(HTTP2Proxy(connect=Origins().connect, answer=lambda request: answer)) as (pool, _):
        with pytest.raises(HTTPCoreError) as caught:
            await pool.request("GET", "http://origin/")
        assert type(caught.value).__name__ in ("ConnectError", "RemoteProtocolError", "ReadError", "ProxyError")
        assert caught.value.host == "origin"


async def test_proxy_that_never_answers_is_a_connect_timeout_and_its_connection_stays(clock: Clock) -> None:
    hang = StreamAnswer()
    proxy = HTTP2Proxy(connect=Origins().connect, answer=lambda request: hang if request.target == b"slow:80" else None)
    async with sharing(proxy, timeout=TimeoutConfig(30, connect_timeout=3)) as (pool, connector):
        assert await get(pool, "a") == [b"hello"]
        asking = asyncio.ensure_future(pool.request("GET", "http://slow/"))
        await proxy.until(lambda: len(proxy.requests) == 2)
        await clock.advance(3.1)
        with pytest.raises(ConnectTimeout):
            await asking
        assert await get(pool, "a", "b") == [b"hello"] * 2
        assert len(connector.peers) == 1


async def test_cancelled_wait_for_a_tunnel_resets_its_stream_when_the_dial_is_over(clock: Clock) -> None:
    proxy = HTTP2Proxy(connect=Origins().connect, answer=lambda request: StreamAnswer())
    async with sharing(proxy, timeout=TimeoutConfig(connect_timeout=3)) as (pool, _):
        asking = asyncio.ensure_future(pool.request("GET", "http://slow/"))
        await proxy.until(lambda: len(proxy.requests) == 1)
        asking.cancel()
        await asyncio.wait([asking])
        await clock.advance(3.1)
        assert pool.num_connections == 0
        await until(lambda: proxy.clients[0].streams == {})


# What is not the tunnel's fault is tried again


async def test_connect_that_was_refused_unprocessed_is_sent_again() -> None:
    answers = [StreamAnswer(reset=ErrorCodes.REFUSED_STREAM)] * 2 + [None]
    proxy = HTTP2Proxy(connect=Origins().connect, answer=lambda request: answers.pop(0))
    async with sharing(proxy) as (pool, _):
        assert await get(pool, "a") == [b"hello"]
        assert len(proxy.requests) == 3 and pool.num_connections == 1


async def test_connect_that_is_always_refused_is_given_up() -> None:
    proxy = HTTP2Proxy(connect=Origins().connect, answer=lambda request: StreamAnswer(reset=ErrorCodes.REFUSED_STREAM))
    async with sharing(proxy) as (pool, _):
        error = await refused(pool)
        assert error.args[0].startswith("the proxy https://proxy:3128 gave no tunnel: ")
        assert error.status_code is None and error.__cause__ is not None
        assert len(proxy.requests) > 2


@pytest.mark.parametrize("code", [ErrorCodes.CONNECT_ERROR, ErrorCodes.INTERNAL_ERROR, ErrorCodes.NO_ERROR])
async def test_stream_that_is_reset_in_place_of_an_answer_is_a_proxy_error(code: ErrorCodes) -> None:
    proxy = HTTP2Proxy(
        connect=Origins().connect,
        answer=lambda request: StreamAnswer(reset=code) if request.target == b"origin:80" else None,
    )
    async with sharing(proxy) as (pool, connector):
        assert (await refused(pool)).args[0].startswith("the proxy https://proxy:3128 gave no tunnel: ")
        assert await get(pool, "a") == [b"hello"]
        assert len(connector.peers) == 1


async def test_goaway_that_leaves_a_connect_out_sends_it_again_elsewhere() -> None:
    answers = [StreamAnswer(goaway=ErrorCodes.NO_ERROR, last_stream_id=0), None]
    proxy = HTTP2Proxy(connect=Origins().connect, answer=lambda request: answers.pop(0))
    async with sharing(proxy) as (pool, connector):
        assert await get(pool, "a") == [b"hello"]
        assert len(connector.peers) == 2


async def test_tunnels_live_on_behind_goaway_and_new_ones_take_a_new_connection() -> None:
    proxy = HTTP2Proxy(connect=Origins().connect)
    async with sharing(proxy) as (pool, connector):
        await get(pool, "a", "b")
        proxy.clients[0].go_away()
        await turns()
        check_books(pool)
        assert await get(pool, "a", "b") == [b"hello"] * 2
        assert len(connector.peers) == 1
        assert await get(pool, "a", "c") == [b"hello"] * 2
        assert (len(connector.peers), proxy.tunnels, below(pool).count) == (2, 3, 2)


# Loss


def holding() -> tuple[Origins, list[H11Server]]:
    """Origins that send half of an answer, and wait."""

    class Half(H11Server):
        def data_received(self, data: bytes) -> None:
            self.received += data
            if b"/half" in data:
                self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n01234")
            else:
                self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")

        def finish(self) -> None:
            self.transport.write(b"56789")

    origins = Origins(Half)
    return origins, origins.servers


async def test_reset_in_the_middle_of_a_tunnel_fails_what_it_carried_alone() -> None:
    origins, servers = holding()
    proxy = HTTP2Proxy(connect=origins.connect)
    async with sharing(proxy) as (pool, connector):
        halves = [await pool.request("GET", f"http://{host}/half", stream=True) for host in ("a", "b")]
        proxy.opened[0].reset(ErrorCodes.CONNECT_ERROR)
        with pytest.raises((NetworkError, RemoteProtocolError)) as caught:
            await halves[0].read()
        assert caught.value.host == "a"
        servers[1].transport.write(b"56789")
        assert await halves[1].read() == b"0123456789"
        assert await get(pool, "a", "b") == [b"hello"] * 2
        assert (len(connector.peers), proxy.tunnels) == (1, 3)


async def test_idempotent_request_on_a_reused_tunnel_that_is_reset_is_sent_again() -> None:
    served = 0

    class Once(H11Server):
        def data_received(self, data: bytes) -> None:
            nonlocal served
            served += 1
            if served == 2:
                proxy.opened[0].reset(ErrorCodes.CONNECT_ERROR)
            else:
                super().data_received(data)

    proxy = HTTP2Proxy(connect=Origins(Once).connect)
    async with sharing(proxy) as (pool, connector):
        assert await get(pool, "a") == [b"hello"]
        assert await get(pool, "a") == [b"hello"]
        assert (served, proxy.tunnels, len(connector.peers)) == (3, 2, 1)


async def test_idle_tunnel_that_is_reset_is_not_used_again() -> None:
    proxy = HTTP2Proxy(connect=Origins().connect)
    async with sharing(proxy) as (pool, _):
        assert await get(pool, "a") == [b"hello"]
        proxy.opened[0].reset(ErrorCodes.CONNECT_ERROR)
        await until(lambda: pool.num_connections == 0)
        assert await get(pool, "a") == [b"hello"]


@pytest.mark.parametrize("how", ["reset", "close", "goaway and close"])
async def test_connection_to_the_proxy_that_dies_takes_its_tunnels_along_and_the_pool_recovers(how: str) -> None:
    origins, _ = holding()
    proxy = HTTP2Proxy(connect=origins.connect)
    async with sharing(proxy) as (pool, connector):
        await get(pool, "idle")
        halves = [await pool.request("GET", f"http://host{n}/half", stream=True) for n in range(10)]
        if how == "goaway and close":
            proxy.clients[0].go_away(ErrorCodes.INTERNAL_ERROR)
        proxy.received[0].reset() if how == "reset" else proxy.received[0].close()
        for number, half in enumerate(halves):
            with pytest.raises((NetworkError, RemoteProtocolError)) as caught:
                await half.read()
            assert caught.value.host == f"host{number}"
        await until(lambda: pool.num_connections == below(pool).count == 0)
        check_books(pool)
        assert await get(pool, "idle", "host0") == [b"hello"] * 2
        assert len(connector.peers) == 2


async def test_proxy_that_falls_silent_is_found_out_by_ping(clock: Clock) -> None:
    origins, _ = holding()
    proxy = HTTP2Proxy(connect=origins.connect)
    http2 = HTTP2Config(ping_interval=10, ping_timeout=5)
    async with sharing(proxy, http2=http2, timeout=TimeoutConfig(None)) as (pool, connector):
        half = await pool.request("GET", "http://a/half", stream=True)
        reading = asyncio.ensure_future(half.read())
        await clock.advance(9)
        assert not reading.done()
        proxy.received[0].connection.transport.pause_reading()
        await clock.advance(20)
        with pytest.raises(HTTPCoreError) as caught:
            await reading
        assert caught.value.host == "a"
        assert pool.num_connections == below(pool).count == 0
        assert await get(pool, "a") == [b"hello"]
        assert len(connector.peers) == 2


# The end


async def test_idle_tunnels_expire_and_the_connection_to_the_proxy_after_them(clock: Clock) -> None:
    proxy = HTTP2Proxy(connect=Origins().connect)
    async with sharing(proxy, limits=PoolLimits(keepalive_expiry=10)) as (pool, connector):
        await get(pool, "a", "b")
        await clock.advance(9.9)
        assert (pool.num_keepalive_connections, below(pool).count) == (2, 1)
        await clock.advance(0.2)
        assert (pool.num_connections, below(pool).idle_count) == (0, 1)
        await clock.advance(9.7)
        assert below(pool).idle_count == 1, "it was idle for as long as its last tunnel is gone"
        await clock.advance(0.4)
        assert below(pool).count == 0
        assert connector.open_transports == []


@pytest.mark.parametrize("force", [False, True])
async def test_close_with_idle_tunnels_leaves_nothing(force: bool) -> None:
    proxy = HTTP2Proxy(connect=Origins().connect)
    async with sharing(proxy) as (pool, connector):
        await get(pool, "a", "b")
        await pool.close(force=force)
        assert (pool.num_connections, below(pool).count) == (0, 0)
        assert connector.open_transports == []


@pytest.mark.parametrize("force", [False, True])
async def test_close_with_idle_tunnels_leaves_nothing_if_the_proxy_does_not_take_part(
    force: bool, clock: Clock
) -> None:
    proxy = HTTP2Proxy(connect=Origins().connect)
    async with sharing(proxy) as (pool, connector):
        await get(pool, "a", "b")
        proxy.received[0].connection.transport.pause_reading()
        closing = asyncio.ensure_future(pool.close(force=force))
        await clock.advance(60)
        await closing
        assert (pool.num_connections, below(pool).count) == (0, 0)
        assert connector.open_transports == []


async def test_close_lets_a_response_in_a_tunnel_end() -> None:
    origins, servers = holding()
    proxy = HTTP2Proxy(connect=origins.connect)
    async with sharing(proxy) as (pool, connector):
        half = await pool.request("GET", "http://a/half", stream=True)
        await get(pool, "b")
        await pool.close()
        assert (pool.num_connections, below(pool).count) == (1, 1)
        check_books(pool)
        servers[0].transport.write(b"56789")
        assert await half.read() == b"0123456789"
        await connector.all_closed()
        assert (pool.num_connections, below(pool).count) == (0, 0)


async def test_forced_close_ends_the_response_in_a_tunnel() -> None:
    origins, _ = holding()
    async with sharing(HTTP2Proxy(connect=origins.connect)) as (pool, connector):
        half = await pool.request("GET", "http://a/half", stream=True)
        await pool.close(force=True)
        with pytest.raises(HTTPCoreError):
            await half.read()
        assert (pool.num_connections, below(pool).count) == (0, 0)
        assert connector.open_transports == []


# Flow control


async def test_response_that_is_not_read_holds_up_its_own_tunnel_alone() -> None:
    body = MEGABYTE * 5

    def app(asked: Asked) -> Answer:
        return Answer(body=body if asked.target == b"/large" else b"small")

    http2 = HTTP2Config(stream_window=65536, max_stream_window=65536, connection_window=65536)
    proxy = HTTP2Proxy(connect=Origins(lambda: H11Server(app)).connect)
    async with sharing(proxy, http2=http2) as (pool, connector):
        large = await pool.request("GET", "http://a/large", stream=True)
        await turns(500)
        waiting = len(proxy.opened[0].waiting)
        assert waiting > 0, "the proxy waits for credit"
        for _ in range(20):
            assert await get(pool, "b", "c") == [b"small"] * 2
        assert len(proxy.opened[0].waiting) == waiting
        assert await large.read() == body
        assert (len(connector.peers), proxy.tunnels) == (1, 3)


async def test_upload_through_a_tunnel_waits_for_the_origin() -> None:
    def app(asked: Asked) -> Answer:
        return Answer(body=b"%d" % len(asked.body))

    origins: MemoryConnector[H11Server] = MemoryConnector(lambda: H11Server(app))
    # A stream may not take the whole of the connection's window, which others would wait for.
    proxy = HTTP2Proxy(connect=to_connector(origins), settings={SettingCodes.INITIAL_WINDOW_SIZE: 16_384})
    async with sharing(proxy, timeout=TimeoutConfig(None)) as (pool, _):
        assert await get(pool, "a") == [b"0"]
        [origin] = origins.peers
        origin.transport.pause_reading()
        uploading = asyncio.ensure_future(pool.request("POST", "http://a/", body=MEGABYTE * 5))
        await turns(500)
        assert len(proxy.opened[0].received) < 2 * len(MEGABYTE)
        assert await get(pool, "b") == [b"0"]
        origin.transport.resume_reading()
        assert (await uploading).body == b"%d" % (5 * len(MEGABYTE))
        await origins.close_servers()


@pytest.mark.parametrize("secure", [False, True])
async def test_much_goes_both_ways_on_sockets(tls: TLSFiles, secure: bool) -> None:
    config = unverified(tls)

    def echo() -> H11Server:
        return H11Server(lambda asked: Answer(body=asked.body))

    async with (
        listening(echo, ssl_context=tls.server_context if secure else None) as origin,
        http2_proxy(tls.server_context) as proxy,
        ConnectionPool(config, proxy=Proxy(proxy.url, tunnel=True, ssl=config), timeout=TimeoutConfig(30)) as pool,
    ):
        asking = [pool.request("POST", origin.url("localhost"), body=MEGABYTE) for _ in range(3)]
        assert all(response.body == MEGABYTE for response in await asyncio.gather(*asking))
        assert proxy.connections == 1
        await pool.close()
        check_empty(pool)


# The proxy by hand


async def test_bytes_that_come_in_one_piece_with_the_answer_are_not_lost() -> None:
    connector = MemoryConnector(HTTP2Peer, client_extra=chosen("h2"))
    pool = ConnectionPool(proxy=HTTPS_PROXY, connector=connector, http1=False)
    asking = asyncio.ensure_future(pool.request("GET", "http://origin/"))
    peer = await connector.accept()
    request = await peer.receive_request()
    settings = b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x01"
    peer.respond(request.stream_id, 200, body=settings, end_stream=False)
    assert (await peer.receive_data(request.stream_id)).startswith(b"PRI * HTTP/2.0")
    assert pool._slots is not None
    [slot] = pool._slots._all
    assert slot.protocol is not None
    await until(lambda: slot.protocol is not None and slot.protocol.available + slot.protocol.in_flight == 1)
    asking.cancel()
    await asyncio.wait([asking])
    await pool.close(force=True)
    await connector.all_closed()
    check_empty(pool)


async def test_bytes_where_tls_begins_are_an_error(tls: TLSFiles) -> None:
    connector = MemoryConnector(HTTP2Peer, client_extra=chosen("h2"))
    pool = ConnectionPool(unverified(tls), proxy=HTTPS_PROXY, connector=connector)
    asking = asyncio.ensure_future(pool.request("GET", "https://origin/"))
    peer = await connector.accept()
    request = await peer.receive_request()
    peer.respond(request.stream_id, 200, body=b"x" * 100_000, end_stream=False)
    with pytest.raises(NetworkError, match="sent something before TLS began"):
        await asking
    assert await peer.receive_reset(request.stream_id) == ErrorCodes.CANCEL
    assert pool.num_connections == 0
    await pool.close()
    await connector.all_closed()
    check_empty(pool)

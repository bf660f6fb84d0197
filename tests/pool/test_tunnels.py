"""Tunnels by CONNECT on HTTP/1.1: how they are asked for, and everything that a proxy may answer."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from httpcore import (
    ConnectError,
    ConnectionPool,
    ConnectTimeout,
    PoolClosed,
    PoolLimits,
    Proxy,
    ProxyError,
    ReadError,
    RemoteProtocolError,
    TimeoutConfig,
    TotalTimeout,
)
from httpcore.exceptions import Phase
from httpcore.pool.tunnels import MAX_REFUSAL_SIZE, REFUSAL_TIMEOUT
from httpcore.testing import HTTP11Peer, MemoryConnector
from tests.clock import Clock, turns, until
from tests.conftest import TLSFiles
from tests.h11_server import H11Server, listening
from tests.pool.books import check_books
from tests.pool.tunnelling import HTTP_PROXY, Origins, below, refused, tunnelled, unverified
from tests.pool.version_server import AutoHTTP2Peer
from tests.proxies.http_proxy import AUTHENTICATE, ESTABLISHED, HTTPProxy, http_proxy
from tests.proxies.script import HANG, Answer, Endless, Then, one_by_one
from tests.proxies.ways import to_address, to_connector, to_protocol

ONE = PoolLimits(hard_limit=1)


def saying(answer: Answer | bytes) -> HTTPProxy:
    """A proxy that gives this answer to the first CONNECT, and a tunnel to all others."""
    first = iter([answer])
    return HTTPProxy(connect=Origins().connect, answer=lambda request: next(first, None))


async def works(pool: ConnectionPool) -> None:
    """The pool's next request works, with the one place that it has."""
    assert pool.num_connections == 0 and pool.num_waiting_requests == 0
    check_books(pool)
    response = await pool.request("GET", "http://origin/")
    assert response.body == b"hello"
    assert pool.num_connections == pool.num_keepalive_connections == 1
    assert below(pool).count == below(pool).idle_count == 0  # an HTTP/1.1 connection that is a tunnel is nothing else
    check_books(pool)


# What is asked


async def test_connect_names_the_origin_and_nothing_of_the_requests_own() -> None:
    origins = Origins()
    config = Proxy("http://user:secret@proxy:3128", headers={"X-Proxy": "mine"}, tunnel=True)
    async with tunnelled(HTTPProxy(connect=origins.connect), config) as (pool, connector):
        for _ in range(2):
            response = await pool.request("GET", "http://origin/path", {"Authorization": "own"})
            assert response.body == b"hello"
        [record] = connector.peers[0].proxy.received
        lines = record.head.split(b"\r\n")
        assert lines[0] == b"CONNECT origin:80 HTTP/1.1"
        fields = {line.partition(b": ")[0].lower(): line.partition(b": ")[2] for line in lines[1:] if line}
        assert fields.pop(b"proxy-authorization") == b"Basic dXNlcjpzZWNyZXQ="
        assert fields.pop(b"x-proxy") == b"mine"
        assert fields.pop(b"host") == b"origin:80"  # RFC 9112 3.2.3 and 3.2
        assert fields in ({}, {b"user-agent": fields.get(b"user-agent", b"")})
        [server] = origins.servers
        assert [asked.target for asked in server.asked] == [b"/path", b"/path"]
        assert all(asked.get(b"authorization") == b"own" for asked in server.asked)
        assert all(b"proxy" not in name for asked in server.asked for name, _ in asked.headers)


@pytest.mark.parametrize(
    "url, target",
    [("http://[::1]/", b"[::1]:80"), ("http://127.0.0.1:8080/", b"127.0.0.1:8080"), ("https://origin/", b"origin:443")],
)
async def test_target_has_a_port_always_and_brackets_where_needed(url: str, target: bytes) -> None:
    async with tunnelled(saying(b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n")) as (pool, connector):
        with pytest.raises(ProxyError):
            await pool.request("GET", url)
        [request] = connector.peers[0].proxy.requests
        assert (request.method, request.target, request.get(b"host")) == (b"CONNECT", target, target)


async def test_connect_in_single_bytes_both_ways() -> None:
    async with tunnelled(HTTPProxy(connect=Origins(segment=1).connect), segment=1) as (pool, _):
        await works(pool)


# What refuses


@pytest.mark.parametrize("status", [300, 302, 400, 401, 403, 404, 407, 418, 429, 500, 502, 503, 504, 599])
async def test_every_status_but_2xx_is_a_proxy_error_with_all_that_the_proxy_said(status: int) -> None:
    answer = b"HTTP/1.1 %d Because\r\nX-Why: reasons\r\nContent-Length: 4\r\n\r\nbody" % status
    async with tunnelled(saying(answer), limits=ONE) as (pool, _):
        error = await refused(pool)
        assert (error.status_code, error.body, error.reply_code) == (status, b"body", None)
        assert (b"x-why", b"reasons") in error.headers
        expected = f"the proxy http://proxy:3128 refused a tunnel to origin:80 with {status} 'Because'"
        assert error.args[0] == expected
        assert error.phase is Phase.CONNECTING
        assert pool.num_connections == 0
        assert below(pool).idle_count == 1  # which said nothing against keeping it
        await works(pool)
        assert len(pool._connector.peers) == 1  # type: ignore[union-attr]


async def test_connection_that_refused_is_reused_for_the_next_connect() -> None:
    async with tunnelled(saying(AUTHENTICATE), limits=ONE) as (pool, connector):
        error = await refused(pool)
        assert (error.status_code, error.body) == (407, b"authenticate\n")
        assert below(pool).idle_count == 1
        await works(pool)
        assert [connection.connections for connection in {peer.proxy for peer in connector.peers}] == [1]


async def test_connection_that_refused_and_was_closed_since_is_not_used() -> None:
    async with tunnelled(saying(AUTHENTICATE), limits=ONE) as (pool, connector):
        await refused(pool)
        connector.peers[0].proxy.received[0].close()
        await until(lambda: below(pool).count == 0)
        await works(pool)
        assert len(connector.peers) == 2


async def test_connection_that_refused_and_dies_as_it_is_used_again_is_replaced() -> None:
    """Nothing was sent through a tunnel that did not come to be, so it may be asked for again."""
    answers: list[Answer | bytes | None] = [AUTHENTICATE, Answer(b"", Then.RESET), None]
    proxy = HTTPProxy(connect=Origins().connect, answer=lambda request: answers.pop(0))
    async with tunnelled(proxy, limits=ONE) as (pool, connector):
        await refused(pool)
        await works(pool)
        assert len(connector.peers) == 2


async def test_challenge_is_in_the_message_quoted_and_cut() -> None:
    answer = (
        b'HTTP/1.1 407 \r\nProxy-Authenticate: Basic realm="a\xff\x80b"\r\n'
        b"Proxy-Authenticate: Negotiate " + b"x" * 5000 + b"\r\nContent-Length: 0\r\n\r\n"
    )
    async with tunnelled(saying(answer), limits=ONE) as (pool, _):
        error = await refused(pool)
        assert error.status_code == 407
        message = error.args[0]
        assert "with 407, and asks for credentials: 'Basic realm=" in message
        assert message.isascii() and message.isprintable() and len(message) < 500
        assert [name for name, _ in error.headers].count(b"proxy-authenticate") == 2


async def test_hostile_reason_is_quoted_and_cut() -> None:
    answer = b"HTTP/1.1 403 \xff\x9b[31mforged: line" + b"!" * 9000 + b"\r\nContent-Length: 0\r\n\r\n"
    async with tunnelled(saying(answer), limits=ONE) as (pool, _):
        message = (await refused(pool)).args[0]
        assert message.isascii() and message.isprintable() and len(message) < 500
        assert "403 '\\\\xff\\\\x9b[31mforged" in message


HEAD = b"HTTP/1.1 403 Forbidden\r\n"
LENGTH = HEAD + b"Content-Length: 10\r\n\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "answer, body",
    [
        (Answer(LENGTH + b"1234", Then.CLOSE), b"1234"),
        (Answer(LENGTH + b"1234", Then.EOF), b"1234"),
        (Answer(LENGTH + b"1234", Then.RESET), None),
        (Answer(CHUNKED + b"4\r\n1234\r\n", Then.CLOSE), b"1234"),
        (Answer(CHUNKED + b"4\r\n1234\r\nzz\r\n"), b"1234"),
        (Answer(CHUNKED + b"4\r\n1234\r\n0\r\nbad trailer\r\n\r\n"), b"1234"),
        (Answer(HEAD + b"\r\nuntil the end", Then.CLOSE), b"until the end"),
        (Answer(HEAD + b"Connection: close\r\nContent-Length: 3\r\n\r\nend"), b"end"),
        (Answer(HEAD + b"Connection: close\r\nContent-Length: 3\r\n\r\nend and more"), b"end"),
        (Answer(one_by_one(LENGTH + b"0123456789")), b"0123456789"),
        (Answer(b"HTTP/1.0 403 Forbidden\r\n\r\nold", Then.CLOSE), b"old"),
    ],
)
async def test_refusal_whose_end_is_missing_or_broken_is_one_all_the_same(answer: Answer, body: bytes | None) -> None:
    async with tunnelled(saying(answer), limits=ONE) as (pool, _):
        error = await refused(pool)
        assert error.status_code == 403
        if body is not None:
            assert error.body == body
        await works(pool)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(Endless(HEAD + b"\r\n", b"x" * 10_000)),
        Answer(Endless(CHUNKED, b"1000\r\n" + b"x" * 4096 + b"\r\n")),
        Answer(HEAD + b"Content-Length: 10000000\r\n\r\n" + b"x" * 10_000_000),
        Answer(HEAD + b"Content-Length: %d\r\n\r\n" % MAX_REFUSAL_SIZE + b"x" * MAX_REFUSAL_SIZE),
    ],
)
async def test_content_of_a_refusal_is_bounded_also_if_it_is_endless(answer: Answer) -> None:
    async with tunnelled(saying(answer), limits=ONE, timeout=TimeoutConfig(None)) as (pool, _):
        error = await refused(pool)
        assert (error.status_code, error.body) == (403, b"x" * MAX_REFUSAL_SIZE)
        assert error.phase is Phase.CONNECTING
        await works(pool)


@pytest.mark.parametrize("start", [LENGTH, CHUNKED, HEAD + b"\r\n"])
async def test_refusal_whose_content_does_not_come_is_not_waited_for(start: bytes, clock: Clock) -> None:
    async with tunnelled(saying(start + b"" if start is CHUNKED else start), timeout=TimeoutConfig(None)) as (pool, _):
        refusing = asyncio.ensure_future(refused(pool))
        await clock.advance(REFUSAL_TIMEOUT - 0.1)
        assert not refusing.done()
        await clock.advance(0.2)
        error = await refusing
        assert (error.status_code, error.body) == (403, b"")
        await works(pool)


async def test_content_in_pieces_that_never_end_is_not_waited_for_either(clock: Clock) -> None:
    connector = MemoryConnector(HTTP11Peer)
    pool = ConnectionPool(proxy=HTTP_PROXY, connector=connector, timeout=TimeoutConfig(None))
    refusing = asyncio.ensure_future(refused(pool))
    peer = await connector.accept()
    await peer.receive_until(b"\r\n\r\n")
    peer.send(HEAD + b"\r\n")
    for _ in range(4):
        peer.send(b"x")
        await clock.advance(REFUSAL_TIMEOUT / 3)
    assert (await refusing).body == b"xxx"
    await pool.close()
    await connector.all_closed()


# What is no answer


@pytest.mark.parametrize(
    "answer, cause",
    [
        (Answer(b"", Then.CLOSE), "closed the connection without sending a response"),
        (Answer(b"HTTP/1.1 200 O", Then.CLOSE), "closed the connection in the middle of its response"),
        (Answer(b"HTTP/1.1 200 OK\r\nX: y\r\n", Then.RESET), "connection"),
        (Answer(b"HTTP/1.1 2x0 OK\r\n\r\n"), "broke the rules of HTTP/1.1"),
        (Answer(b"HTTP/2.0 200 OK\r\n\r\n"), "answered with HTTP/2.0"),
        (Answer(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n"), "broke the rules of HTTP/1.1"),
        (Answer(b"HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n"), "broke the rules of HTTP/1.1"),
        (Answer(b"SSH-2.0-OpenSSH_9.6\r\n", Then.CLOSE), "closed the connection in the middle of its response"),
        (Answer(b"\x15\x03\x01\x00\x02\x02\x46"), "broke the rules of HTTP/1.1"),
        (Answer(Endless(b"HTTP/1.1 200 OK\r\nx: ", b"y" * 4096)), "over "),
        (Answer(Endless(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n" * 100)), "over "),
        (Answer(Endless(b"", b"HTTP/1.1 103 Hints\r\nx: y\r\n\r\n" * 100)), "over "),
        (Answer(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n"), "broke the rules"),
    ],
)
async def test_malformed_answer_is_a_proxy_error_without_a_status(answer: Answer, cause: str) -> None:
    async with tunnelled(saying(answer), limits=ONE) as (pool, _):
        error = await refused(pool)
        assert error.args[0].startswith("the proxy http://proxy:3128 gave no tunnel: ")
        assert cause in error.args[0]
        assert (error.status_code, error.headers, error.body) == (None, [], b"")
        assert error.__cause__ is not None
        await works(pool)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 200\r\n\r\n",
        b"HTTP/1.1 201 Created\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 299 Whatever\r\n\r\n",
        b"HTTP/1.0 200 Connection established\r\nProxy-Agent: old\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + ESTABLISHED,
        ESTABLISHED.replace(b"\r\n", b"\n"),
    ],
)
@pytest.mark.parametrize("segment", [None, 1])
async def test_every_2xx_opens_the_tunnel_whatever_its_fields_say(answer: bytes, segment: int | None) -> None:
    """RFC 9110 9.3.6: content-length and transfer-encoding are to be ignored."""
    proxy = HTTPProxy(connect=Origins().connect, answer=lambda request: Answer(answer, Then.PROCEED))
    async with tunnelled(proxy, limits=ONE, segment=segment) as (pool, _):
        await works(pool)
        assert (await pool.request("GET", "http://origin/")).body == b"hello"
        assert pool.num_connections == proxy.connections == proxy.tunnels == 1


# Bytes behind the answer


async def test_bytes_of_the_origin_behind_the_answer_reach_http2() -> None:
    """A server of HTTP/2 by prior knowledge may send its SETTINGS as soon as it is connected (RFC 9113 3.4)."""
    peers: list[AutoHTTP2Peer] = []

    def make() -> AutoHTTP2Peer:
        peers.append(AutoHTTP2Peer())
        return peers[-1]

    proxy = HTTPProxy(connect=to_protocol(make))
    async with tunnelled(proxy, http1=False) as (pool, _):
        responses = await asyncio.gather(*[pool.request("GET", "http://origin/") for _ in range(5)])
        assert [response.body for response in responses] == [b"over HTTP/2"] * 5
        assert (proxy.tunnels, len(peers)) == (1, 1)


async def test_settings_that_come_in_one_piece_with_the_answer_are_not_lost(connector: MemoryConnector) -> None:
    pool = ConnectionPool(proxy=HTTP_PROXY, connector=connector, http1=False)
    asking = asyncio.ensure_future(pool.request("GET", "http://origin/"))
    peer = await connector.accept()
    await peer.receive_until(b"\r\n\r\n")
    inside = AutoHTTP2Peer()
    settings = b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x01"
    peer.send(ESTABLISHED + settings)
    received = await peer.receive_until(b"SM\r\n\r\n")
    assert received.startswith(b"PRI * HTTP/2.0")
    await turns()
    assert pool._slots is not None
    [slot] = pool._slots._all
    assert slot.protocol is not None
    assert slot.protocol.available + slot.protocol.in_flight == 1, "MAX_CONCURRENT_STREAMS = 1 was heard"
    asking.cancel()
    await asyncio.wait([asking])
    await pool.close(force=True)
    await connector.all_closed()
    assert inside.asked == []


async def test_bytes_where_tls_begins_are_an_error(tls: TLSFiles) -> None:
    proxy = saying(Answer(ESTABLISHED + b"\x16\x03\x01 injected", Then.PROCEED))
    async with tunnelled(proxy, limits=ONE, ssl=unverified(tls)) as (pool, _):
        with pytest.raises(ConnectError, match="the server sent something before TLS began"):
            await pool.request("GET", "https://origin/")
        await works(pool)


async def test_bytes_before_an_http11_request_are_an_error() -> None:
    proxy = saying(Answer(ESTABLISHED + b"HTTP/1.1 200 OK\r\n\r\nsmuggled", Then.PROCEED))
    async with tunnelled(proxy, limits=ONE) as (pool, _):
        with pytest.raises(ConnectError, match="closed as soon as it was made"):
            await pool.request("GET", "http://origin/")
        await works(pool)


async def test_tunnel_that_ends_as_it_begins_is_an_error() -> None:
    async with tunnelled(saying(Answer(ESTABLISHED, Then.CLOSE)), limits=ONE) as (pool, _):
        with pytest.raises((ConnectError, RemoteProtocolError)) as caught:
            await pool.request("GET", "http://origin/")
        assert caught.value.host == "origin"
        await works(pool)


# The connection to the proxy


async def test_proxy_that_cannot_be_reached_is_a_connect_error_with_the_cause() -> None:
    async with tunnelled(saying(AUTHENTICATE), limits=ONE) as (pool, connector):
        connector.fail_next(ConnectError("connection refused"))
        with pytest.raises(ConnectError, match="no connection to the proxy http://proxy:3128: connection refused") as e:
            await pool.request("GET", "http://origin/")
        assert (e.value.host, e.value.port, e.value.phase) == ("origin", 80, Phase.CONNECTING)
        connector.fail_next(ConnectTimeout("too slow"))
        with pytest.raises(ConnectTimeout, match="no connection to the proxy http://proxy:3128: too slow"):
            await pool.request("GET", "http://origin/")
        connector.fail_next(OSError("odd"))
        with pytest.raises(ConnectError, match=r"no connection to the proxy .*the connector failed: OSError"):
            await pool.request("GET", "http://origin/")
        assert below(pool).count == 0
        await refused(pool)


async def test_headers_that_cannot_be_had_are_a_connect_error() -> None:
    def headers() -> dict[str, str]:
        raise LookupError("no token")

    config = Proxy("http://proxy:3128", headers=headers, tunnel=True)
    async with tunnelled(saying(AUTHENTICATE), config, limits=ONE) as (pool, _):
        with pytest.raises(ConnectError, match="the proxy's headers could not be had"):
            await pool.request("GET", "http://origin/")
        assert pool.num_connections == below(pool).count == 0


async def test_headers_are_got_anew_for_each_tunnel() -> None:
    tokens = itertools.count(1)
    config = Proxy("http://proxy:3128", headers=lambda: {"X-Token": str(next(tokens))}, tunnel=True)
    proxy = HTTPProxy(connect=Origins().connect)
    async with tunnelled(proxy, config) as (pool, _):
        for url in ("http://a/", "http://b/", "http://a/"):
            await pool.request("GET", url)
        assert [request.get(b"x-token") for request in proxy.requests] == [b"1", b"2"]


# Time


async def hanging(pool: ConnectionPool, proxy: HTTPProxy, **options) -> asyncio.Task[object]:
    task = asyncio.ensure_future(pool.request("GET", "http://origin/", **options))
    asked = len(proxy.requests)
    await proxy.until(lambda: len(proxy.requests) > asked)
    return task


async def test_proxy_that_never_answers_is_a_connect_timeout(clock: Clock) -> None:
    proxy = saying(HANG)
    async with tunnelled(proxy, limits=ONE, timeout=TimeoutConfig(1, connect_timeout=3)) as (pool, _):
        task = await hanging(pool, proxy)
        await clock.advance(2.9)
        assert not task.done()
        await clock.advance(0.2)
        with pytest.raises(ConnectTimeout):
            await task
        await until(lambda: below(pool).count == 0)
        await works(pool)


async def test_one_connect_timeout_is_for_the_whole_stack(clock: Clock) -> None:
    """The connection takes two seconds, and so does the answer: each is within three, both are not."""
    proxy = saying(HANG)
    async with tunnelled(proxy, limits=ONE, timeout=TimeoutConfig(connect_timeout=3)) as (pool, connector):
        connector.hold()
        task = asyncio.ensure_future(pool.request("GET", "http://origin/"))
        await connector.dialed(1)
        await clock.advance(2)
        connector.release()
        await proxy.until(lambda: proxy.connections == 1)
        await clock.advance(1.1)
        with pytest.raises(ConnectTimeout):
            await task
        await until(lambda: below(pool).count == 0)
        await works(pool)


async def test_connection_that_is_not_made_in_time_is_a_connect_timeout(clock: Clock) -> None:
    async with tunnelled(saying(HANG), limits=ONE, timeout=TimeoutConfig(connect_timeout=3)) as (pool, connector):
        connector.hold()
        task = asyncio.ensure_future(pool.request("GET", "http://origin/"))
        await connector.dialed(1)
        await clock.advance(3.1)
        with pytest.raises(ConnectTimeout):
            await task
        await until(lambda: below(pool).count == 0)
        connector.release()


async def test_total_timeout_ends_the_wait_for_a_tunnel(clock: Clock) -> None:
    proxy = saying(HANG)
    async with tunnelled(proxy, timeout=TimeoutConfig(5, total_timeout=1)) as (pool, _):
        task = await hanging(pool, proxy)
        await clock.advance(1.1)
        with pytest.raises(TotalTimeout):
            await task
        await clock.advance(5)  # the dial, which might have served somebody else, ends too
        assert pool.num_connections == below(pool).count == 0
        await works(pool)


async def test_cancelled_request_leaves_its_tunnel_to_the_next_one() -> None:
    answers = [asyncio.get_running_loop().create_future()]
    proxy = HTTPProxy(connect=Origins().connect, answer=lambda request: answers[0])
    async with tunnelled(proxy, limits=ONE) as (pool, _):
        task = await hanging(pool, proxy)
        task.cancel()
        await asyncio.wait([task])
        check_books(pool)
        answers[0].set_result(None)
        assert (await pool.request("GET", "http://origin/")).body == b"hello"
        assert proxy.tunnels == proxy.connections == 1


@pytest.mark.parametrize("force", [False, True])
async def test_pool_that_is_closed_ends_the_wait_for_a_tunnel(force: bool) -> None:
    proxy = saying(HANG)
    async with tunnelled(proxy) as (pool, connector):
        task = await hanging(pool, proxy)
        await pool.close(force=force)
        with pytest.raises(PoolClosed):
            await task
        assert pool.num_connections == below(pool).count == 0
        assert connector.open_transports == []


@pytest.mark.parametrize("force", [False, True])
async def test_pool_that_is_closed_closes_idle_tunnels_and_connections_to_proxies(force: bool) -> None:
    async with tunnelled(saying(AUTHENTICATE)) as (pool, connector):
        await refused(pool)
        assert (await pool.request("GET", "http://a/")).body == b"hello"
        connector.peers[0].proxy.answer = lambda request: AUTHENTICATE
        await refused(pool)
        assert (pool.num_connections, below(pool).count) == (1, 1)
        await pool.close(force=force)
        assert (pool.num_connections, below(pool).count) == (0, 0)
        assert connector.open_transports == []


# What the pool counts


async def test_limits_count_tunnels_and_not_the_connections_that_ask_for_them() -> None:
    proxy = HTTPProxy(connect=Origins().connect)
    async with tunnelled(proxy, limits=PoolLimits(hard_limit=3, max_waiters=0, per_origin_limit=1)) as (pool, _):
        urls = ["http://a/", "http://b/", "http://c/"]
        responses = await asyncio.gather(*[pool.request("GET", url) for url in urls])
        assert [response.body for response in responses] == [b"hello"] * 3
        assert (pool.num_connections, below(pool).count) == (3, 0)


async def test_first_requests_for_one_origin_each_have_a_tunnel_on_http11() -> None:
    proxy = HTTPProxy(connect=Origins().connect)
    async with tunnelled(proxy) as (pool, connector):
        await asyncio.gather(*[pool.request("GET", "http://origin/") for _ in range(20)])
        assert proxy.tunnels == len(connector.peers) == pool.num_connections == 20


async def test_refusal_fails_all_who_wait_for_it_each_with_an_error_of_its_own(tls: TLSFiles) -> None:
    proxy = HTTPProxy(connect=Origins().connect, answer=lambda request: AUTHENTICATE)
    async with tunnelled(proxy, ssl=unverified(tls)) as (pool, _):
        asking = [pool.request("GET", f"https://origin/{n}") for n in range(5)]
        errors = await asyncio.gather(*asking, return_exceptions=True)
        assert [type(error) for error in errors] == [ProxyError] * 5
        assert len({id(error) for error in errors}) == 5
        assert {error.status_code for error in errors if isinstance(error, ProxyError)} == {407}
        assert {error.body for error in errors if isinstance(error, ProxyError)} == {b"authenticate\n"}
        assert len(proxy.requests) == 1


async def test_tunnel_that_dies_idle_is_replaced() -> None:
    proxy = HTTPProxy(connect=Origins().connect)
    async with tunnelled(proxy, limits=ONE) as (pool, _):
        await pool.request("GET", "http://origin/")
        proxy.received[0].reset()
        await until(lambda: pool.num_connections == 0)
        await works(pool)


async def test_tunnel_that_is_cut_in_a_response_fails_that_response() -> None:
    cuts = iter([Answer(ESTABLISHED, Then.PROCEED, cut_after=20), None])
    proxy = HTTPProxy(connect=Origins().connect, answer=lambda request: next(cuts))
    async with tunnelled(proxy, limits=ONE) as (pool, _):
        with pytest.raises((ReadError, RemoteProtocolError)):
            await pool.request("GET", "http://origin/")
        await works(pool)


async def test_idle_tunnels_expire(clock: Clock) -> None:
    proxy = HTTPProxy(connect=Origins().connect)
    async with tunnelled(proxy, limits=PoolLimits(keepalive_expiry=10)) as (pool, _):
        await pool.request("GET", "http://origin/")
        await clock.advance(9.9)
        assert pool.num_keepalive_connections == 1
        await clock.advance(10.2)
        assert pool.num_connections == 0
        assert proxy.received[0].lost


# On sockets, with TLS


@pytest.mark.parametrize("secure_proxy", [False, True])
@pytest.mark.parametrize("segments", [False, True])
async def test_tls_in_a_tunnel_of_a_proxy_with_and_without_tls(
    tls: TLSFiles, secure_proxy: bool, segments: bool
) -> None:
    answer = Answer(one_by_one(ESTABLISHED) if segments else ESTABLISHED, Then.PROCEED)
    config = unverified(tls)
    async with (
        listening(ssl_context=tls.server_context) as origin,
        http_proxy(tls.server_context if secure_proxy else None, answer=lambda request: answer) as proxy,
        ConnectionPool(config, proxy=Proxy(proxy.url, ssl=config if secure_proxy else None)) as pool,
    ):
        for _ in range(2):
            response = await pool.request("GET", origin.url("localhost"))
            assert response.body == b"hello"
        assert (proxy.connections, proxy.tunnels) == (1, 1)
        assert (proxy.received[0].tls is not None) == secure_proxy
        assert proxy.received[0].tunnelled[:1] == b"\x16"  # TLS, and nothing before it
        await pool.close()
        assert below(pool).count == pool.num_connections == 0


async def test_certificate_of_the_origin_is_verified_in_the_tunnel_for_its_own_name(tls: TLSFiles) -> None:
    config = unverified(tls)
    async with (
        listening(ssl_context=tls.server_context) as origin,
        http_proxy(tls.server_context, connect=to_address("127.0.0.1", origin.port)) as proxy,
        ConnectionPool(config, limits=ONE, proxy=Proxy(proxy.url, ssl=config)) as pool,
    ):
        with pytest.raises(ConnectError, match="the server's certificate was refused: ") as caught:
            await pool.request("GET", "https://else.example/")
        assert caught.value.host == "else.example"
        assert (await pool.request("GET", "https://example.org/")).body == b"hello"


async def test_certificate_of_the_proxy_that_is_not_trusted_is_a_connect_error(tls: TLSFiles) -> None:
    async with http_proxy(tls.server_context) as proxy, ConnectionPool(unverified(tls), proxy=proxy.url) as pool:
        with pytest.raises(ConnectError, match=r"no connection to the proxy .*certificate was refused"):
            await pool.request("GET", "https://origin/")
        assert pool.num_connections == below(pool).count == 0
        assert proxy.requests == []


async def test_origin_that_cannot_be_reached_by_the_proxy_is_a_refusal() -> None:
    origins = MemoryConnector(H11Server)
    origins.fail_next(OSError("unreachable"))
    async with tunnelled(HTTPProxy(connect=to_connector(origins)), limits=ONE) as (pool, _):
        assert (await refused(pool)).status_code == 502
        await works(pool)
        await origins.close_servers()

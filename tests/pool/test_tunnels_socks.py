"""SOCKS through a pool: who looks names up, which addresses are tried, and what the proxy refuses."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from httpcore import (
    ConnectError,
    ConnectionPool,
    ConnectTimeout,
    EgressCandidate,
    LocalProtocolError,
    NetworkConfig,
    PoolLimits,
    Proxy,
    ProxyError,
    SSLConfig,
    TimeoutConfig,
)
from httpcore.exceptions import Phase
from tests.clock import Clock, until
from tests.conftest import TLSFiles
from tests.h11_server import listening
from tests.pool.books import check_books, check_empty
from tests.pool.tunnelling import Origins, below, tunnelled, unverified
from tests.pool.version_server import AutoHTTP2Peer, version_server
from tests.proxies.script import HANG, Answer, Then, one_by_one
from tests.proxies.socks_server import SOCKSRequest, SOCKSServer, Step, reply4, reply5, socks_server
from tests.proxies.ways import to_address, to_protocol

ONE = PoolLimits(hard_limit=1)
SCHEMES = ["socks5", "socks5h", "socks4", "socks4a"]


class Names:
    """A resolver that knows these addresses for every name.

    Attributes:
        asked: the names it was asked for.
    """

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        return self.addresses


def refusing(codes: dict[str, int]) -> Callable[[SOCKSServer], Callable[[Step, bytes], bytes | None]]:
    """Refuses some hosts with these codes."""

    def script(server: SOCKSServer) -> Callable[[Step, bytes], bytes | None]:
        def answer(step: Step, ordinary: bytes) -> bytes | None:
            code = codes.get(server.requests[-1].host) if step == "reply" else None
            return None if code is None else reply5(code)

        return answer

    return script


@contextlib.asynccontextmanager
async def by_socks(
    scheme: str, network: NetworkConfig | None = None, *, codes: dict[str, int] | None = None, **options
) -> AsyncIterator[tuple[ConnectionPool, SOCKSServer]]:
    """A pool whose requests go by a SOCKS server, on a socket, to origins in memory."""
    async with socks_server(connect=Origins().connect, **options) as server:
        if codes is not None:
            server.answer = refusing(codes)(server)
        proxy = Proxy(f"{scheme}://127.0.0.1:{server.port}")
        async with ConnectionPool(proxy=proxy, network=network, limits=ONE) as pool:
            yield pool, server
            check_books(pool)
        check_empty(pool)


# Who looks names up


@pytest.mark.parametrize("scheme", ["socks5h", "socks4a"])
async def test_name_is_sent_where_the_proxy_looks_it_up(scheme: str) -> None:
    names = Names("192.0.2.1")
    async with by_socks(scheme, NetworkConfig(resolver=names)) as (pool, server):
        for _ in range(2):
            assert (await pool.request("GET", "http://origin.example:81/")).body == b"hello"
        version = "5" if scheme == "socks5h" else "4a"
        none = None if version == "5" else ""
        assert server.requests == [SOCKSRequest(version, "origin.example", 81, True, none, None)]  # type: ignore[arg-type]
        assert names.asked == []


@pytest.mark.parametrize("scheme", ["socks5", "socks4"])
async def test_name_is_looked_up_here_where_the_proxy_does_not(scheme: str) -> None:
    names = Names("192.0.2.1")
    async with by_socks(scheme, NetworkConfig(resolver=names)) as (pool, server):
        assert (await pool.request("GET", "http://origin.example/")).body == b"hello"
        [request] = server.requests
        assert (request.host, request.port, request.is_name) == ("192.0.2.1", 80, False)
        assert names.asked == ["origin.example"]


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_address_in_the_url_is_sent_as_one_by_all(scheme: str) -> None:
    async with by_socks(scheme) as (pool, server):
        assert (await pool.request("GET", "http://192.0.2.9/")).body == b"hello"
        assert (server.requests[0].host, server.requests[0].is_name) == ("192.0.2.9", False)


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
async def test_ipv6_address_goes_by_socks5(scheme: str) -> None:
    async with by_socks(scheme) as (pool, server):
        assert (await pool.request("GET", "http://[2001:db8::1]/")).body == b"hello"
        assert (server.requests[0].host, server.requests[0].is_name) == ("2001:db8::1", False)


async def test_ipv6_address_does_not_go_by_socks4a() -> None:
    async with by_socks("socks4a") as (pool, server):
        with pytest.raises(LocalProtocolError, match="SOCKS4 cannot carry an IPv6 address") as caught:
            await pool.request("GET", "http://[2001:db8::1]/")
        assert caught.value.host == "2001:db8::1"
        assert pool.num_connections == 0
        await server.until(lambda: not server.ends)
        assert server.requests == []


async def test_socks4_takes_the_ipv4_addresses_of_a_name_alone() -> None:
    async with by_socks("socks4", NetworkConfig(resolver=Names("2001:db8::1", "192.0.2.1"))) as (pool, server):
        await pool.request("GET", "http://origin/")
        assert [request.host for request in server.requests] == ["192.0.2.1"]


@pytest.mark.parametrize("url", ["http://origin/", "http://[2001:db8::1]/"])
async def test_socks4_has_no_way_to_a_host_with_ipv6_addresses_only(url: str) -> None:
    async with by_socks("socks4", NetworkConfig(resolver=Names("2001:db8::1"))) as (pool, server):
        with pytest.raises(ConnectError, match="SOCKS4 has IPv4 addresses only, and the host has none"):
            await pool.request("GET", url)
        assert server.connections == pool.num_connections == 0


async def test_name_without_addresses_is_a_connect_error_and_the_proxy_is_not_asked() -> None:
    async with by_socks("socks5", NetworkConfig(resolver=Names())) as (pool, server):
        with pytest.raises(ConnectError, match="the host's name was not found"):
            await pool.request("GET", "http://origin/")
        assert server.connections == 0


async def test_connect_to_says_what_the_proxy_is_asked_for() -> None:
    names = Names("192.0.2.7")
    network = NetworkConfig(resolver=names, connect_to={"origin:80": "other:8080"})
    for scheme, host in (("socks5h", "other"), ("socks5", "192.0.2.7")):
        async with by_socks(scheme, network) as (pool, server):
            assert (await pool.request("GET", "http://origin/")).body == b"hello"
            assert (server.requests[0].host, server.requests[0].port) == (host, 8080)
    assert names.asked == ["other"]


# Which addresses are tried


@pytest.mark.parametrize("code", [3, 4, 5, 6, 8])
async def test_next_address_is_tried_where_one_cannot_be_reached(code: int) -> None:
    names = Names("192.0.2.1", "2001:db8::1", "192.0.2.2")
    codes = {"192.0.2.1": code, "2001:db8::1": code}
    async with by_socks("socks5", NetworkConfig(resolver=names), codes=codes) as (pool, server):
        assert (await pool.request("GET", "http://origin/")).body == b"hello"
        assert [request.host for request in server.requests] == ["192.0.2.1", "2001:db8::1", "192.0.2.2"]
        assert pool.num_connections == 1
        await server.until(lambda: sum(not record.lost for record in server.received) == 1)


@pytest.mark.parametrize("code", [1, 2, 7, 9, 255])
async def test_no_other_address_is_tried_where_the_proxy_refuses_for_another_reason(code: int) -> None:
    names = Names("192.0.2.1", "192.0.2.2")
    async with by_socks("socks5", NetworkConfig(resolver=names), codes={"192.0.2.1": code}) as (pool, server):
        with pytest.raises(ProxyError, match=rf"the SOCKS5 proxy refused: .*\(reply code {code}\)") as caught:
            await pool.request("GET", "http://origin/")
        assert (caught.value.reply_code, caught.value.status_code) == (code, None)
        assert (caught.value.host, caught.value.port, caught.value.phase) == ("origin", 80, Phase.CONNECTING)
        assert [request.host for request in server.requests] == ["192.0.2.1"]
        assert pool.num_connections == 0


async def test_error_of_the_last_address_is_what_counts() -> None:
    names = Names("192.0.2.1", "192.0.2.2")
    codes = {"192.0.2.1": 4, "192.0.2.2": 5}
    async with by_socks("socks5", NetworkConfig(resolver=names), codes=codes) as (pool, server):
        with pytest.raises(ProxyError, match="connection refused") as caught:
            await pool.request("GET", "http://origin/")
        assert caught.value.reply_code == 5
        assert len(server.requests) == 2
        codes.clear()
        assert (await pool.request("GET", "http://origin/")).body == b"hello"


async def test_egress_policy_has_its_say_on_what_is_looked_up_for_a_proxy() -> None:
    seen: list[EgressCandidate] = []

    def egress(candidate: EgressCandidate) -> bool:
        seen.append(candidate)
        return candidate.is_proxy or str(candidate.address) != "192.0.2.1"

    network = NetworkConfig(resolver=Names("192.0.2.1", "192.0.2.2"), egress=egress)
    async with by_socks("socks5", network) as (pool, server):
        assert (await pool.request("GET", "http://origin/")).body == b"hello"
        assert [request.host for request in server.requests] == ["192.0.2.2"]
        assert {(c.host, str(c.address), c.port, c.is_proxy) for c in seen} == {
            ("origin", "192.0.2.1", 80, False),
            ("origin", "192.0.2.2", 80, False),
            ("127.0.0.1", "127.0.0.1", server.port, True),
        }
        with pytest.raises(ConnectError, match=r"the egress policy refused 192\.0\.2\.1"):
            await pool.request("GET", "http://192.0.2.1/")


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_egress_policy_refuses_addresses_in_urls_for_every_kind_of_proxy(scheme: str) -> None:
    network = NetworkConfig(egress=lambda candidate: candidate.is_proxy)
    async with by_socks(scheme, network) as (pool, server):
        with pytest.raises(ConnectError, match=r"the egress policy refused 169\.254\.169\.254"):
            await pool.request("GET", "http://169.254.169.254/")
        assert server.connections == pool.num_connections == 0


async def test_egress_policy_that_refuses_the_proxy() -> None:
    async with by_socks("socks5h", NetworkConfig(egress=lambda candidate: False)) as (pool, server):
        with pytest.raises(ConnectError, match=r"the egress policy refused 127\.0\.0\.1"):
            await pool.request("GET", "http://origin/")
        assert server.connections == 0


# Credentials


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
async def test_user_and_password_are_sent(scheme: str) -> None:
    server = SOCKSServer(connect=Origins().connect, auth=("user", "pass word"))
    config = Proxy(f"{scheme}://user:pass%20word@proxy")
    async with tunnelled(server, config) as (pool, _):
        assert (await pool.request("GET", "http://192.0.2.1/")).body == b"hello"
        [request] = server.requests
        assert (request.user, request.password) == ("user", "pass word")


async def test_user_goes_to_a_socks4_proxy() -> None:
    server = SOCKSServer(connect=Origins().connect, auth=("user", ""))
    async with tunnelled(server, Proxy("socks4a://user@proxy")) as (pool, _):
        assert (await pool.request("GET", "http://origin/")).body == b"hello"


@pytest.mark.parametrize(
    "config, message",
    [
        (Proxy("socks5h://proxy"), "accepts none of the methods of authentication"),
        (Proxy("socks5h://user:wrong@proxy"), r"refused user and password \(status 1\)"),
        (Proxy("socks4a://other@proxy"), "refused: request rejected or failed"),
    ],
)
async def test_credentials_that_are_refused_are_a_proxy_error(config: Proxy, message: str) -> None:
    server = SOCKSServer(connect=Origins().connect, auth=("user", "right"))
    async with tunnelled(server, config, limits=ONE) as (pool, connector):
        for _ in range(2):
            with pytest.raises(ProxyError, match=message) as caught:
                await pool.request("GET", "http://origin/")
            assert "wrong" not in str(caught.value)
            assert pool.num_connections == 0
        await connector.all_closed()


# What is no answer, and what comes behind one


@pytest.mark.parametrize("scheme", ["socks5h", "socks4a"])
@pytest.mark.parametrize(
    "answer, message",
    [
        (Answer(b"", Then.EOF), "closed the connection instead of"),
        (Answer(b"", Then.CLOSE), "the connection to the proxy socks.*broke in the middle of its handshake"),
        (Answer(b"\x05", Then.EOF), "(closed the connection|sent the version byte)"),
        (Answer(b"", Then.RESET), "the connection to the proxy socks.*broke in the middle of its handshake"),
        (Answer(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "this looks like an HTTP server"),
        (Answer(b"\x15\x03\x01\x00\x02"), "this looks like a TLS server"),
        (Answer(b"\xff" * 100_000), "sent the version byte 0xff"),
    ],
)
async def test_server_that_is_no_socks_proxy_is_a_proxy_error(scheme: str, answer: Answer, message: str) -> None:
    server = SOCKSServer(connect=Origins().connect, on_accept=answer)
    async with tunnelled(server, Proxy(f"{scheme}://proxy"), limits=ONE) as (pool, connector):
        with pytest.raises(ProxyError, match=message) as caught:
            await pool.request("GET", "http://origin/")
        assert (caught.value.host, caught.value.reply_code) == ("origin", None)
        assert pool.num_connections == 0
        await connector.all_closed()


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_handshake_in_single_bytes(scheme: str) -> None:
    server = SOCKSServer(
        connect=Origins(segment=1).connect, answer=lambda step, data: Answer(one_by_one(data), Then.PROCEED)
    )
    async with tunnelled(server, Proxy(f"{scheme}://proxy"), segment=1) as (pool, _):
        assert (await pool.request("GET", "http://192.0.2.1/")).body == b"hello"


SETTINGS = b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64"


@pytest.mark.parametrize("scheme, reply", [("socks5h", reply5()), ("socks4a", reply4())])
async def test_bytes_of_the_origin_behind_the_reply_reach_http2(scheme: str, reply: bytes) -> None:
    """A server of HTTP/2 by prior knowledge may send its SETTINGS as soon as it is connected (RFC 9113 3.4)."""

    class Silent(AutoHTTP2Peer):
        """Whose SETTINGS are sent by the test, with the reply."""

        def update_settings(self, settings: object) -> None:
            self._preface_sent = True
            self._announced.append({})

    server = SOCKSServer(
        connect=to_protocol(Silent),
        answer=lambda step, data: Answer(reply + SETTINGS, Then.PROCEED) if step == "reply" else None,
    )
    async with tunnelled(server, Proxy(f"{scheme}://proxy"), http1=False) as (pool, _):
        assert (await pool.request("GET", "http://origin/")).body == b"over HTTP/2"
        assert pool._slots is not None
        [slot] = pool._slots._all
        assert slot.protocol is not None and slot.protocol.available == 100


async def test_bytes_behind_the_reply_where_tls_begins_are_an_error(tls: TLSFiles) -> None:
    server = SOCKSServer(
        connect=Origins().connect,
        answer=lambda step, data: Answer(reply5() + b"x", Then.PROCEED) if step == "reply" else None,
    )
    async with tunnelled(server, Proxy("socks5h://proxy"), ssl=unverified(tls)) as (pool, connector):
        with pytest.raises(ConnectError, match="the server sent something before TLS began"):
            await pool.request("GET", "https://origin/")
        assert pool.num_connections == 0
        await connector.all_closed()


# Time


@pytest.mark.parametrize("scheme", ["socks5h", "socks4a"])
@pytest.mark.parametrize("step", ["method", "reply"])
async def test_proxy_that_hangs_is_a_connect_timeout(scheme: str, step: Step, clock: Clock) -> None:
    server = SOCKSServer(connect=Origins().connect, answer=lambda at, data: HANG if at == step else None)
    timeout = TimeoutConfig(None, connect_timeout=3)
    async with tunnelled(server, Proxy(f"{scheme}://proxy"), limits=ONE, timeout=timeout) as (pool, connector):
        if scheme == "socks4a" and step == "method":
            server.on_accept = HANG
        asking = asyncio.ensure_future(pool.request("GET", "http://origin/"))
        await server.until(lambda: server.connections == 1)
        await clock.advance(2.9)
        assert not asking.done()
        await clock.advance(0.2)
        with pytest.raises(ConnectTimeout):
            await asking
        assert pool.num_connections == 0
        await connector.all_closed()


async def test_pool_that_is_closed_ends_the_handshake() -> None:
    server = SOCKSServer(connect=Origins().connect, on_accept=HANG)
    async with tunnelled(server, Proxy("socks5h://proxy")) as (pool, connector):
        asking = asyncio.ensure_future(pool.request("GET", "http://origin/"))
        await server.until(lambda: server.connections == 1)
        await pool.close()
        await asyncio.wait([asking])
        assert asking.exception() is not None
        assert connector.open_transports == []


# Inside


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_tls_and_http2_inside(scheme: str, tls: TLSFiles) -> None:
    config = SSLConfig(verify=tls.ca_path, server_hostname="example.org")
    async with (
        version_server(tls, "h2", "http/1.1") as origin,
        socks_server(connect=to_address("127.0.0.1", origin.port)) as server,
        ConnectionPool(config, proxy=f"{scheme}://127.0.0.1:{server.port}") as pool,
    ):
        asking = [pool.request("GET", "https://192.0.2.1/") for _ in range(5)]
        assert {response.body for response in await asyncio.gather(*asking)} == {b"over HTTP/2"}
        assert (server.tunnels, pool.num_connections, below(pool).count) == (1, 1, 0)
        await pool.close()
        check_empty(pool)


async def test_certificate_is_verified_for_the_name_and_not_for_the_address(tls: TLSFiles) -> None:
    network = NetworkConfig(resolver=Names("192.0.2.1"))
    async with (
        listening(ssl_context=tls.server_context) as origin,
        socks_server(connect=to_address("127.0.0.1", origin.port)) as server,
        ConnectionPool(unverified(tls), network=network, proxy=f"socks5://127.0.0.1:{server.port}") as pool,
    ):
        assert (await pool.request("GET", "https://example.org/")).body == b"hello"
        with pytest.raises(ConnectError, match="certificate was refused"):
            await pool.request("GET", "https://else.example/")
        await until(lambda: pool.num_connections == 1)

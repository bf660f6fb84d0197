"""TCPConnector with a NetworkConfig, on real sockets: unix sockets, local addresses, options, resolver and egress."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import itertools
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import uvloop

from httpcore import (
    CachingResolver,
    ConnectError,
    ConnectionPool,
    ConnectTimeout,
    EgressCandidate,
    HTTP11Protocol,
    HTTPCoreError,
    NetworkConfig,
    Origin,
    ProxyError,
    Resolution,
    SSLConfig,
    TCPConnector,
    TimeoutConfig,
    public_addresses_only,
    trace,
)
from httpcore.pool.tcp_connector import check_target, resolve
from tests.clock import turns, until
from tests.conftest import TLSFiles
from tests.h11_server import H11Server, Listener, listening
from tests.pool.test_connector import hanging, no_descriptor_more, refused_port

EXAMPLE = Origin("http", "example.org", 80)
PAIRS = list(itertools.permutations(["127.0.0.1", "127.0.0.2", "::1"], 2))


class Names:
    """A resolver that answers so for every name, or raises."""

    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Resolution | Sequence[str]:
        self.asked.append(host)
        await asyncio.sleep(0)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer  # type: ignore[return-value]  # some tests give what it must not


class Policy:
    """An egress policy that refuses these addresses, and remembers what it was asked."""

    def __init__(self, *refused: str) -> None:
        self.refused = refused
        self.asked: list[EgressCandidate] = []

    def __call__(self, candidate: EgressCandidate) -> bool:
        self.asked.append(candidate)
        return str(candidate.address) not in self.refused


class Client(HTTP11Protocol):
    """Shows its transport."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.seen = transport
        super().connection_made(transport)


async def connect(
    network: NetworkConfig, origin: Origin = EXAMPLE, *, hook: trace.TraceHook | None = None, to_proxy: bool = False
) -> Client:
    return await TCPConnector(network, to_proxy=to_proxy).connect(Client, origin, trace=hook)


async def close(protocol: HTTP11Protocol) -> None:
    protocol.close("enough")
    await protocol.wait_closed()


@asynccontextmanager
async def connected(network: NetworkConfig, origin: Origin = EXAMPLE) -> AsyncIterator[tuple[Client, socket.socket]]:
    protocol = await connect(network, origin)
    try:
        yield protocol, protocol.seen.get_extra_info("socket")
    finally:
        await close(protocol)


def peer(protocol: HTTP11Protocol) -> object:
    address = protocol.info.peer_address
    return address[:2] if isinstance(address, tuple) else address


def free_port() -> int:
    """A port that is free at every address of this machine."""
    with socket.socket(socket.AF_INET6) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("::", 0))
        port = sock.getsockname()[1]
        assert isinstance(port, int)
    return port


@asynccontextmanager
async def listening_at(host: str, port: int) -> AsyncIterator[list[H11Server]]:
    """An `H11Server` at a certain port: what leads to several addresses leads to one port."""
    accepted: list[H11Server] = []

    def accept() -> H11Server:
        accepted.append(H11Server())
        return accepted[-1]

    server = await asyncio.get_running_loop().create_server(accept, host, port)
    try:
        yield accepted
    finally:
        server.close()
        for protocol in accepted:
            if protocol.transport is not None:
                protocol.transport.abort()


# Unix sockets


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    # Its own path may be too long for a unix socket's name, which has some hundred bytes.
    short = Path(f"/tmp/httpcore-{os.getpid()}.sock") if len(os.fsencode(tmp_path)) > 80 else tmp_path / "socket"
    yield short
    short.unlink(missing_ok=True)


@asynccontextmanager
async def unix_server(path: Path | str, ssl_context: ssl.SSLContext | None = None) -> AsyncIterator[list[H11Server]]:
    accepted: list[H11Server] = []

    def accept() -> H11Server:
        accepted.append(H11Server())
        return accepted[-1]

    server = await asyncio.get_running_loop().create_unix_server(accept, str(path), ssl=ssl_context)
    try:
        yield accepted
    finally:
        server.close()
        for protocol in accepted:
            if protocol.transport is not None:
                protocol.transport.abort()


@contextmanager
def full_unix_socket(path: Path) -> Iterator[socket.socket]:
    """A unix socket with a full backlog."""
    waiting = [socket.socket(socket.AF_UNIX) for _ in range(2)]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(0)
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(str(path))
        try:
            yield listener
        finally:
            for sock in waiting:
                sock.close()


async def test_requests_go_over_a_unix_socket_whatever_their_host_is(path: Path) -> None:
    network = NetworkConfig(
        uds=path, resolver=Names(AssertionError("not looked up")), egress=lambda candidate: 1 / 0 > 1
    )
    async with unix_server(path) as accepted, ConnectionPool(connector=TCPConnector(network)) as pool:
        for _ in range(2):
            response = await pool.request("GET", "http://example.org:8080/")
            assert response.body == b"hello"
        assert len(accepted) == 1
        assert [asked.get(b"host") for asked in accepted[0].asked] == [b"example.org:8080"] * 2


async def test_pool_takes_a_unix_socket(path: Path) -> None:
    async with unix_server(path), ConnectionPool(network=NetworkConfig(uds=path)) as pool:
        assert (await pool.request("GET", "http://example.org/")).body == b"hello"


async def test_tls_over_a_unix_socket_verifies_the_urls_name(path: Path, tls: TLSFiles) -> None:
    events: list[trace.TraceEvent] = []
    async with (
        unix_server(path, tls.server_context) as accepted,
        ConnectionPool(
            SSLConfig(verify=tls.client_context), connector=TCPConnector(NetworkConfig(uds=path)), trace=events.append
        ) as pool,
    ):
        assert (await pool.request("GET", "https://example.org/")).body == b"hello"
        with pytest.raises(ConnectError, match=r"certificate was refused: .* \(with the unix socket '.*sock") as caught:
            await pool.request("GET", "https://example.com/")
        assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
        assert [a.asked != [] for a in accepted] == [True, False]
    connecting = [event for event in events if event.name.startswith("connect.")]
    assert [type(event) for event in connecting] == [
        trace.TCPConnected,
        trace.TLSEstablished,
        trace.TCPConnected,
        trace.ConnectFailed,
    ]
    assert isinstance(connecting[0], trace.TCPConnected) and connecting[0].address == str(path)


async def test_abstract_unix_socket() -> None:
    name = f"\0httpcore-test-{os.getpid()}"
    async with unix_server(name) as accepted, connected(NetworkConfig(uds=name)):
        await until(lambda: len(accepted) == 1)
        assert len(accepted) == 1


async def test_unix_socket_that_is_missing_is_a_connect_error_with_its_path(path: Path) -> None:
    with no_descriptor_more(), pytest.raises(ConnectError) as caught:
        await connect(NetworkConfig(uds=path))
    assert str(caught.value) == (
        f"the connection to the unix socket {str(path)!r} was not made: [Errno 2] No such file or directory"
    )
    assert isinstance(caught.value.__cause__, FileNotFoundError)


async def test_unix_socket_that_nobody_listens_on_is_a_connect_error_with_its_path(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
    with no_descriptor_more(), pytest.raises(ConnectError, match=r"unix socket '.*' was not made: .*refused") as caught:
        await connect(NetworkConfig(uds=path))
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


async def test_path_too_long_for_a_unix_socket_is_a_connect_error() -> None:
    with no_descriptor_more(), pytest.raises(ConnectError, match=r"unix socket '/x{200}' was not made: .*too long"):
        await connect(NetworkConfig(uds="/" + "x" * 200))


async def test_full_backlog_of_a_unix_socket_is_waited_for(path: Path) -> None:
    with full_unix_socket(path) as listener:
        connecting = asyncio.ensure_future(connect(NetworkConfig(uds=path)))
        await turns(20)
        assert not connecting.done()
        accepted, _ = listener.accept()
        protocol = await connecting
        waiting, _ = listener.accept()
        await close(protocol)
        accepted.close()
        waiting.close()


async def test_full_backlog_of_a_unix_socket_is_a_connect_timeout(path: Path) -> None:
    with full_unix_socket(path), no_descriptor_more():
        async with ConnectionPool(
            timeout=TimeoutConfig(connect_timeout=0.1), connector=TCPConnector(NetworkConfig(uds=path))
        ) as pool:
            with pytest.raises(ConnectTimeout, match=r"no connection was made within 0\.1 seconds"):
                await pool.request("GET", "http://example.org/")


async def test_unix_socket_that_is_closed_at_once_was_connected_to(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        class Closing(TCPConnector):
            async def _open_unix(self, loop: asyncio.AbstractEventLoop, path: str) -> socket.socket:
                opening = asyncio.ensure_future(super()._open_unix(loop, path))
                accepted, _ = await loop.sock_accept(listener)
                accepted.close()
                return await opening

        listener.setblocking(False)
        protocol = await Closing(NetworkConfig(uds=path)).connect(HTTP11Protocol, EXAMPLE)
        await protocol.wait_closed()


async def test_socket_options_are_set_on_a_unix_socket(path: Path) -> None:
    network = NetworkConfig(uds=path, socket_options=[(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)])
    async with unix_server(path), connected(network) as (_, sock):
        assert sock.family == socket.AF_UNIX
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED) == 1


async def test_option_of_tcp_is_refused_by_a_unix_socket(path: Path) -> None:
    network = NetworkConfig(uds=path, socket_options=[(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)])
    async with unix_server(path):
        with no_descriptor_more(), pytest.raises(ConnectError, match=r"supported \(socket option \(6, 6, 3\)\)"):
            await connect(network)


# Where from


@pytest.mark.parametrize("local", ["127.0.0.2", ("127.0.0.2", 0)])
async def test_local_address_is_what_the_server_sees(local: str | tuple[str, int]) -> None:
    network = NetworkConfig(local_address=local)
    async with listening() as listener, ConnectionPool(connector=TCPConnector(network)) as pool:
        await pool.request("GET", listener.url())
        assert server_sees(listener)[0] == "127.0.0.2"


async def test_local_port_is_what_the_server_sees() -> None:
    port = refused_port("127.0.0.2")
    network = NetworkConfig(
        local_address=("127.0.0.2", port), socket_options=[(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)]
    )
    async with listening() as listener, connected(network, listener.url().origin):
        await until(lambda: bool(listener.protocols))
        assert server_sees(listener) == ("127.0.0.2", port)


def server_sees(listener: Listener) -> tuple[str, int]:
    (protocol,) = listener.protocols
    assert isinstance(protocol, H11Server)
    host, port = protocol.transport.get_extra_info("peername")
    return host, port


async def test_local_address_that_is_not_ours_is_a_connect_error() -> None:
    with no_descriptor_more(), pytest.raises(ConnectError, match=r"bind on address \('192\.0\.2\.1', 0\)") as caught:
        await connect(NetworkConfig(local_address="192.0.2.1"), Origin("http", "127.0.0.1", refused_port()))
    assert isinstance(caught.value.__cause__, OSError) and caught.value.__cause__.errno == errno.EADDRNOTAVAIL


@pytest.mark.parametrize("local, remote", [("127.0.0.1", "::1"), ("::1", "127.0.0.1")])
async def test_addresses_of_another_family_than_the_local_one_are_not_tried(local: str, remote: str) -> None:
    async with listening(host=local) as listener:
        network = NetworkConfig(local_address=local, resolver=Names([remote, local]))
        async with connected(network, Origin("http", "example.org", listener.port)) as (protocol, _):
            assert peer(protocol) == (local, listener.port)
        with pytest.raises(ConnectError) as caught:
            await connect(NetworkConfig(local_address=local, resolver=Names([remote])))
        assert str(caught.value) == (
            f"{local} (local_address) is of another family than every address of example.org: {remote}"
        )


# Options


async def test_socket_options_are_set_on_the_socket() -> None:
    linger = struct.pack("ii", 1, 5)
    network = NetworkConfig(
        socket_options=[
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, True),
            (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
            (socket.SOL_SOCKET, socket.SO_LINGER, linger),
        ]
    )
    async with listening() as listener, connected(network, listener.url().origin) as (_, sock):
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == linger
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


async def test_last_of_two_values_of_a_socket_option_is_set() -> None:
    count = (socket.IPPROTO_TCP, socket.TCP_KEEPCNT)
    async with listening() as listener:
        network = NetworkConfig(socket_options=[(*count, 3), (*count, 4)])
        async with connected(network, listener.url().origin) as (_, sock):
            assert sock.getsockopt(*count) == 4


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["127.0.0.1", "::1"]])
async def test_socket_option_that_is_not_taken_is_a_connect_error_that_names_it(addresses: list[str]) -> None:
    network = NetworkConfig(resolver=Names(addresses), socket_options=[(socket.SOL_SOCKET, 9999, 1)])
    text = r"not made: .*Protocol not available \(socket option \(1, 9999, 1\)\)"
    with no_descriptor_more(), pytest.raises(ConnectError, match=text) as caught:
        await connect(network)
    assert isinstance(caught.value.__cause__, OSError) and caught.value.__cause__.errno == errno.ENOPROTOOPT


# connect_to


async def test_connect_to_changes_where_the_connection_leads_and_nothing_else(tls: TLSFiles) -> None:
    names = Names(AssertionError("not looked up"))
    async with listening(ssl_context=tls.server_context) as listener:
        network = NetworkConfig(connect_to={"example.org:443": f"127.0.0.1:{listener.port}"}, resolver=names)
        async with ConnectionPool(SSLConfig(verify=tls.client_context), connector=TCPConnector(network)) as pool:
            assert (await pool.request("GET", "https://Example.org/")).body == b"hello"
        assert listener.asked[0].get(b"host") == b"example.org"
    assert names.asked == []


async def test_host_of_connect_to_is_what_is_looked_up_and_shown_to_the_policy() -> None:
    names = Names(["127.0.0.1"])
    policy = Policy()
    events: list[trace.TraceEvent] = []
    async with listening() as listener:
        network = NetworkConfig(
            connect_to={"example.org": f"other.test:{listener.port}"}, resolver=names, egress=policy
        )
        await close(await connect(network, hook=events.append))
        assert names.asked == ["other.test"]
        assert policy.asked == [EgressCandidate("other.test", ipaddress.ip_address("127.0.0.1"), listener.port, False)]
        assert isinstance(events[0], trace.ResolveStarted)
        assert (events[0].host, events[0].port) == ("other.test", listener.port)


# Resolver


@pytest.mark.parametrize("make", [list, tuple, lambda addresses: Resolution(tuple(addresses), 5)])
async def test_resolver_says_where_a_name_leads(make: Callable[[list[str]], Sequence[str]]) -> None:
    events: list[trace.TraceEvent] = []
    async with listening() as listener:
        names = Names(make(["127.0.0.1"]))
        await close(
            await connect(
                NetworkConfig(resolver=names), Origin("http", "example.org.", listener.port), hook=events.append
            )
        )
    assert names.asked == ["example.org."]
    assert [type(event) for event in events] == [trace.ResolveStarted, trace.ResolveComplete, trace.TCPConnected]
    assert isinstance(events[1], trace.ResolveComplete) and events[1].addresses == ("127.0.0.1",)
    assert isinstance(events[2], trace.TCPConnected) and events[2].address == "127.0.0.1"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_resolver_is_not_asked_for_an_address(host: str) -> None:
    names = Names(["192.0.2.1"])
    async with (
        listening(host=host) as listener,
        connected(NetworkConfig(resolver=names), listener.url().origin) as (protocol, _),
    ):
        assert peer(protocol) == (host, listener.port)
    assert names.asked == []


@pytest.mark.parametrize("first, second", PAIRS)
async def test_addresses_are_tried_in_the_resolvers_order(first: str, second: str) -> None:
    port = free_port()
    async with listening_at(first, port), listening_at(second, port) as others:
        network = NetworkConfig(resolver=Names([first, second]))
        async with connected(network, Origin("http", "example.org", port)) as (protocol, _):
            assert peer(protocol) == (first, port)
        assert others == []


@pytest.mark.parametrize("dead, alive", [("127.0.0.2", "127.0.0.1"), ("::1", "127.0.0.1"), ("127.0.0.1", "::1")])
@pytest.mark.parametrize("options", [(), ((socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),)])
async def test_refused_address_of_the_resolver_gives_way_to_the_next(
    dead: str, alive: str, options: tuple[tuple[int, int, int], ...]
) -> None:
    async with listening(host=alive) as listener:
        network = NetworkConfig(resolver=Names([dead, alive]), socket_options=options)
        async with connected(network, Origin("http", "example.org", listener.port)) as (protocol, sock):
            assert peer(protocol) == (alive, listener.port)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == len(options)


async def test_hanging_address_of_the_resolver_gives_way_to_the_next() -> None:
    with hanging("127.0.0.2") as port:
        async with listening_at("127.0.0.1", port):
            network = NetworkConfig(resolver=Names(["127.0.0.2", "127.0.0.1"]))
            with no_descriptor_more():
                async with connected(network, Origin("http", "example.org", port)) as (protocol, _):
                    assert peer(protocol) == ("127.0.0.1", port)
                await turns()


@pytest.mark.parametrize(
    "answer, expected, text",
    [
        (socket.gaierror(-2, "Name or service not known"), ConnectError, "name was not found: Name or service not kn"),
        (OSError(errno.ENETDOWN, "down"), ConnectError, r"the resolver failed: OSError\(100, 'down'\)"),
        (LookupError("why"), ConnectError, r"the resolver failed: LookupError\('why'\)"),
        (TimeoutError("slow"), ConnectTimeout, r"was not looked up in time: TimeoutError\('slow'\)"),
        ([], ConnectError, "the host's name was not found: the resolver knows no address"),
        (["other.test"], ConnectError, "the resolver failed: .*'other.test' is no IP address"),
        ("127.0.0.1", ConnectError, "the resolver failed: .*a sequence of str, not str"),
        (None, ConnectError, "the resolver failed: .*not NoneType"),
    ],
)
async def test_resolver_that_fails_is_an_error_with_its_cause(
    answer: object, expected: type[HTTPCoreError], text: str
) -> None:
    events: list[trace.TraceEvent] = []
    with pytest.raises(expected, match=text) as caught:
        await connect(NetworkConfig(resolver=Names(answer)), hook=events.append)
    assert type(caught.value) is expected
    if isinstance(answer, Exception):
        assert caught.value.__cause__ is answer
    assert [type(event) for event in events] == [trace.ResolveStarted]


async def test_resolver_that_is_no_coroutine_function_is_a_connect_error() -> None:
    def names(host: str) -> list[str]:
        return ["127.0.0.1"]

    with pytest.raises(ConnectError, match=r"the resolver failed: TypeError\(.*await"):
        await connect(NetworkConfig(resolver=names))  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [ConnectError("mine"), ConnectTimeout("mine"), ProxyError("mine")])
async def test_error_of_ours_from_a_hook_is_raised_as_it_is(error: HTTPCoreError) -> None:
    def refuse(candidate: EgressCandidate) -> bool:
        raise error

    for network in NetworkConfig(resolver=Names(error)), NetworkConfig(resolver=Names(["::1"]), egress=refuse):
        with pytest.raises(type(error), match="mine") as caught:
            await connect(network)
        assert caught.value is error


async def test_caching_resolver_is_asked_once_by_several_connections() -> None:
    names = Names(["127.0.0.1"])
    async with listening() as listener:
        network = NetworkConfig(resolver=CachingResolver(names), connect_to={"example.org": f"a:{listener.port}"})
        protocols = await asyncio.gather(*(connect(network) for _ in range(3)))
        protocols.append(await connect(network))
        for protocol in protocols:
            await close(protocol)
    assert names.asked == ["a"]


# Egress


@pytest.mark.parametrize("to_proxy", [False, True])
async def test_policy_sees_every_address_with_what_led_to_it(to_proxy: bool) -> None:
    policy = Policy()
    async with listening() as listener:
        network = NetworkConfig(resolver=Names(["127.0.0.1", "::1", "192.0.2.1"]), egress=policy)
        await close(await connect(network, Origin("http", "example.org", listener.port), to_proxy=to_proxy))
        assert policy.asked == [
            EgressCandidate("example.org", ipaddress.ip_address(address), listener.port, to_proxy)
            for address in ("127.0.0.1", "::1", "192.0.2.1")
        ]


@pytest.mark.parametrize("refused, left", PAIRS)
async def test_refused_address_is_never_connected_to(refused: str, left: str) -> None:
    events: list[trace.TraceEvent] = []
    port = free_port()
    async with listening_at(refused, port) as others, listening_at(left, port):
        network = NetworkConfig(resolver=Names([refused, left, refused]), egress=Policy(refused))
        protocol = await connect(network, Origin("http", "example.org", port), hook=events.append)
        assert peer(protocol) == (left, port)
        await close(protocol)
        assert others == []
    assert isinstance(events[1], trace.ResolveComplete) and events[1].addresses == (left,)


async def test_connection_to_what_is_left_may_fail_but_nothing_else_is_tried() -> None:
    port = free_port()
    async with listening_at("127.0.0.1", port) as others:
        network = NetworkConfig(resolver=Names(["127.0.0.1", "127.0.0.2"]), egress=Policy("127.0.0.1"))
        with pytest.raises(ConnectError, match=r"Connect call failed \('127\.0\.0\.2'"):
            await connect(network, Origin("http", "example.org", port))
        assert others == []


async def test_all_addresses_refused_is_a_connect_error_that_says_which() -> None:
    network = NetworkConfig(resolver=Names(["127.0.0.1", "::1"]), egress=Policy("127.0.0.1", "::1"))
    async with listening() as listener, ConnectionPool(connector=TCPConnector(network)) as pool:
        with pytest.raises(ConnectError) as caught:
            await pool.request("GET", f"http://example.org:{listener.port}/")
        assert str(caught.value) == (
            f"the egress policy refused 127.0.0.1, ::1 (example.org:{listener.port}, connecting)"
        )
        assert caught.value.__cause__ is None
        assert listener.protocols == []
        assert pool.num_connections == 0


async def test_message_names_only_some_of_many_refused_addresses() -> None:
    network = NetworkConfig(resolver=Names([f"192.0.2.{n}" for n in range(100)]), egress=lambda candidate: False)
    with pytest.raises(ConnectError, match=r"refused 192\.0\.2\.0, .*, 192\.0\.2\.7 and 92 more$"):
        await connect(network)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_address_in_the_url_is_refused_too(host: str) -> None:
    async with listening(host=host) as listener:
        for network in NetworkConfig(egress=public_addresses_only), NetworkConfig(egress=Policy(host)):
            with pytest.raises(ConnectError, match=f"the egress policy refused {host}$"):
                await connect(network, listener.url().origin)
        assert listener.protocols == []


async def test_name_that_leads_into_ones_own_network_is_refused() -> None:
    async with listening() as listener:
        network = NetworkConfig(egress=public_addresses_only)
        with pytest.raises(ConnectError, match=r"the egress policy refused (127\.0\.0\.1|::1)"):
            await connect(network, Origin("http", "localhost", listener.port))
        # A name server that answers once so and once so (DNS rebinding) gains nothing: it is asked once.
        names = Names(["::ffff:127.0.0.1", "64:ff9b::7f00:1"])
        with pytest.raises(ConnectError, match="the egress policy refused ::ffff:"):
            await connect(
                NetworkConfig(egress=public_addresses_only, resolver=names), Origin("http", "a", listener.port)
            )
        assert names.asked == ["a"]
        assert listener.protocols == []


async def test_ones_own_proxy_may_be_in_ones_own_network() -> None:
    async with listening() as listener:
        network = NetworkConfig(egress=public_addresses_only)
        await close(await connect(network, listener.url().origin, to_proxy=True))


async def test_policy_that_raises_refuses() -> None:
    cause = LookupError("no such host in the list")

    def policy(candidate: EgressCandidate) -> bool:
        if str(candidate.address) == "::1":
            raise cause
        return True

    async with listening() as listener:
        network = NetworkConfig(resolver=Names(["127.0.0.1", "::1"]), egress=policy)
        with pytest.raises(ConnectError, match=r"the egress policy failed: LookupError\('no such") as caught:
            await connect(network, Origin("http", "example.org", listener.port))
        assert caught.value.__cause__ is cause
        assert listener.protocols == []


@pytest.mark.parametrize("verdict", [None, 1, "yes", [True]])
async def test_policy_that_returns_no_bool_refuses(verdict: object) -> None:
    network = NetworkConfig(egress=lambda candidate: verdict)  # type: ignore[arg-type,return-value]
    text = rf"the egress policy failed: TypeError\('egress returns a bool, not {type(verdict).__name__}'\)"
    with pytest.raises(ConnectError, match=text):
        await connect(network, Origin("http", "127.0.0.1", refused_port()))


# resolve() by itself


async def test_resolve_does_not_apply_connect_to() -> None:
    names = Names(["192.0.2.1", "2001:db8::1"])
    policy = Policy("192.0.2.1")
    network = NetworkConfig(connect_to={"example.org": "127.0.0.1:1"}, resolver=names, egress=policy)
    infos = await resolve(network, "example.org", 80, is_proxy=False, trace=None)
    assert [(info[0], info[1], info[4]) for info in infos] == [
        (socket.AF_INET6, socket.SOCK_STREAM, ("2001:db8::1", 80, 0, 0))
    ]
    assert names.asked == ["example.org"]
    assert [candidate.host for candidate in policy.asked] == ["example.org"] * 2


def test_target_of_a_proxy_is_checked_where_it_is_an_address() -> None:
    network = NetworkConfig(connect_to={"example.org": "127.0.0.1:1"}, egress=public_addresses_only)
    check_target(None, "127.0.0.1", 80)
    check_target(NetworkConfig(), "127.0.0.1", 80)
    check_target(network, "other.test", 80)
    check_target(network, "8.8.8.8", 80)
    for host in "127.0.0.1", "example.org":
        with pytest.raises(ConnectError, match=r"the egress policy refused 127\.0\.0\.1"):
            check_target(network, host, 80)


def test_repr_says_how_sockets_are_made() -> None:
    assert repr(TCPConnector()) == "TCPConnector(None, to_proxy=False)"
    connector = TCPConnector(NetworkConfig(uds="/run/a"), to_proxy=True)
    assert repr(connector) == "TCPConnector(NetworkConfig(uds='/run/a'), to_proxy=True)"


async def test_resolve_keeps_the_zone_of_an_address() -> None:
    infos = await resolve(NetworkConfig(resolver=Names(["fe80::1%1"])), "a", 80, is_proxy=False, trace=None)
    assert [info[4][3:] for info in infos] == [(1,)]


async def test_resolve_without_a_network_asks_the_system() -> None:
    infos = await resolve(None, "localhost", 80, is_proxy=False, trace=None)
    assert {info[4][0] for info in infos} <= {"127.0.0.1", "::1"} and infos


async def test_name_that_the_system_does_not_know_is_a_connect_error(monkeypatch: pytest.MonkeyPatch) -> None:
    error = socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def getaddrinfo(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    with pytest.raises(ConnectError, match="the host's name was not found: Name or") as caught:
        await resolve(None, "nowhere.test", 80, is_proxy=False, trace=None)
    assert caught.value.__cause__ is error


# Cancellation


async def cancelled_at_every_turn(
    make: Callable[[], Awaitable[HTTP11Protocol]], server_side: Callable[[], None] = lambda: None
) -> int:
    """Cancels after 0, 1, 2 ... turns of the loop, until the connection is made before that; returns how many."""
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)  # the server's own complaint
    before = len(os.listdir("/dev/fd"))
    finished = False
    count = 0
    while not finished:
        connecting = asyncio.ensure_future(make())
        await turns(count)
        finished = connecting.done()
        connecting.cancel()
        try:
            protocol = await connecting
        except asyncio.CancelledError:
            pass
        else:
            await close(protocol)
        await until(lambda: len(os.listdir("/dev/fd")) <= before)  # the server's end of it, too
        count += 1
    return count


@pytest.mark.parametrize("over_tls", [False, True])
async def test_unix_connection_cancelled_at_every_turn_leaves_nothing_open(
    path: Path, tls: TLSFiles, over_tls: bool
) -> None:
    connector = TCPConnector(NetworkConfig(uds=path))
    async with unix_server(path, tls.server_context if over_tls else None):
        count = await cancelled_at_every_turn(
            lambda: connector.connect(
                HTTP11Protocol,
                EXAMPLE,
                ssl_context=tls.client_context if over_tls else None,
                server_hostname="example.org" if over_tls else None,
            )
        )
    assert count > (5 if over_tls else 2)


@pytest.mark.parametrize("over_tls", [False, True])
@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["127.0.0.2", "127.0.0.1"], ["127.0.0.1"] * 2])
async def test_connection_with_all_its_hooks_cancelled_at_every_turn_leaves_nothing_open(
    tls: TLSFiles, over_tls: bool, addresses: list[str]
) -> None:
    async with listening(ssl_context=tls.server_context if over_tls else None) as listener:
        network = NetworkConfig(
            local_address="127.0.0.3",
            socket_options=[(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)],
            connect_to={"example.org": f"other.test:{listener.port}"},
            resolver=CachingResolver(Names(addresses), ttl=0),
            egress=Policy(),
        )
        connector = TCPConnector(network)
        count = await cancelled_at_every_turn(
            lambda: connector.connect(
                HTTP11Protocol,
                EXAMPLE,
                ssl_context=tls.client_context if over_tls else None,
                server_hostname="example.org" if over_tls else None,
            )
        )
    assert count > 5


@pytest.mark.parametrize("count", [*range(1, 8), 20])
async def test_cancelled_wait_for_a_backlog_leaves_nothing_open(path: Path, count: int) -> None:
    with full_unix_socket(path), no_descriptor_more():
        connecting = asyncio.ensure_future(connect(NetworkConfig(uds=path)))
        await turns(count)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting


async def test_cancelled_race_of_sockets_with_options_leaves_nothing_open() -> None:
    with hanging("127.0.0.1") as port, no_descriptor_more():
        network = NetworkConfig(
            resolver=Names(["127.0.0.1", "127.0.0.2"]), socket_options=[(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
        )
        connecting = asyncio.ensure_future(connect(network, Origin("http", "example.org", port)))
        await turns(20)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting


# Another loop


def test_unix_sockets_and_options_work_on_uvloop_too(path: Path, tls: TLSFiles) -> None:
    async def main() -> None:
        network = NetworkConfig(uds=path, socket_options=[(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)])
        config = SSLConfig(verify=tls.client_context)
        async with unix_server(path), ConnectionPool(connector=TCPConnector(network)) as pool:
            assert (await pool.request("GET", "http://example.org/")).body == b"hello"
        path.unlink(missing_ok=True)
        async with (
            unix_server(path, tls.server_context),
            ConnectionPool(config, connector=TCPConnector(network)) as pool,
        ):
            assert (await pool.request("GET", "https://example.org/")).body == b"hello"
        path.unlink(missing_ok=True)
        with full_unix_socket(path) as listener:
            connecting = asyncio.ensure_future(connect(NetworkConfig(uds=path)))
            await turns(20)
            assert not connecting.done()
            accepted, _ = listener.accept()
            await close(await connecting)
            accepted.close()
        async with listening() as server:
            keep_alive = (socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            network = NetworkConfig(
                local_address="127.0.0.2",
                socket_options=[(*keep_alive, 1)],
                connect_to={"example.org": f"other.test:{server.port}"},
                resolver=CachingResolver(Names(["::1", "127.0.0.1"])),
                egress=Policy(),
            )
            async with connected(network) as (_, sock):
                assert sock.getsockopt(*keep_alive) == 1
                assert sock.getsockname()[0] == "127.0.0.2"

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())

"""TCPConnector: opens the first hop of a route. A TCP connection or a unix socket, with TLS where it is asked for.

Owns the look-up of names, the say of the egress policy, and the sockets until their transports take them over.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import ssl
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias, TypeVar

import aiohappyeyeballs

from httpcore.egress import Egress, EgressCandidate
from httpcore.exceptions import ConnectError, ConnectTimeout, HTTPCoreError
from httpcore.network import NetworkConfig
from httpcore.resolver import Resolution, Resolver
from httpcore.tls import describe_tls_error
from httpcore.tls_begin import connect_tls
from httpcore.trace import ResolveComplete, ResolveStarted, TCPConnected, TLSEstablished, TraceHook, emit
from httpcore.urls import Origin

__all__ = ["AddrInfo", "TCPConnector", "check_target", "resolve", "translate"]

_P = TypeVar("_P", bound=asyncio.Protocol)

AddrInfo: TypeAlias = tuple[
    socket.AddressFamily, socket.SocketKind, int, str, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
]
"""One result of `getaddrinfo`: family, type, protocol, canonical name and the address to connect to."""

_HAPPY_EYEBALLS_DELAY = 0.25  # seconds before the next address is tried as well: RFC 8305 8
_BACKLOG_DELAY = 0.01  # seconds until a unix socket with a full backlog is tried again
_MAX_NAMED = 8  # addresses in a message


class TCPConnector:
    """Opens TCP connections, with TLS where it is asked for: happy eyeballs on every loop (RFC 8305).

    Args:
        network: how sockets are made; `None` for the defaults.
        to_proxy: whether the origins that it connects to are proxies of the configuration, and not what a URL names;
            the egress policy is told.
    """

    def __init__(self, network: NetworkConfig | None = None, *, to_proxy: bool = False) -> None:
        self._network = network
        self._to_proxy = to_proxy

    def __repr__(self) -> str:
        return f"TCPConnector({self._network!r}, to_proxy={self._to_proxy})"

    async def connect(
        self,
        protocol_factory: Callable[[], _P],
        origin: Origin,
        *,
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
        trace: TraceHook | None = None,
    ) -> _P:
        """See `Connector.connect`."""
        loop = asyncio.get_running_loop()
        path = None if self._network is None else self._network.uds
        try:
            # From here to the transport nothing is awaited: there the socket would have no owner.
            sock = await (self._open_tcp(loop, origin, trace) if path is None else self._open_unix(loop, path))
            if trace is not None:
                try:
                    address = str(sock.getpeername()[0]) if path is None else path
                except OSError:  # the server has reset it already
                    sock.close()
                    raise
                emit(trace, TCPConnected(loop.time(), address), loop)
            create = loop.create_connection if path is None else loop.create_unix_connection
            if ssl_context is None:
                _, protocol = await create(protocol_factory, sock=sock)
                return protocol
            try:
                protocol = protocol_factory()
            except BaseException:
                sock.close()
                raise
            tls = await connect_tls(create, sock, protocol, ssl_context, server_hostname)
        except HTTPCoreError:  # first: a ConnectTimeout is an OSError too
            raise
        except OSError as exc:
            raise translate(exc, path) from exc
        if trace is not None:
            version, alpn_protocol = tls.ssl_object.version(), tls.ssl_object.selected_alpn_protocol()
            emit(trace, TLSEstablished(loop.time(), version, alpn_protocol), loop)
        return protocol

    async def _open_tcp(
        self, loop: asyncio.AbstractEventLoop, origin: Origin, trace: TraceHook | None
    ) -> socket.socket:
        network = self._network
        host, port = origin.host, origin.port
        if network is None:
            infos = await resolve(None, host, port, is_proxy=self._to_proxy, trace=trace)
            return await aiohappyeyeballs.start_connection(
                infos, happy_eyeballs_delay=_HAPPY_EYEBALLS_DELAY, interleave=1, loop=loop
            )
        host, port = network.destination(host, port)
        infos = await resolve(network, host, port, is_proxy=self._to_proxy, trace=trace)
        local: Sequence[AddrInfo] | None = None
        if network.local_address is not None:
            local = _numeric(*network.local_address)
            found, infos = infos, [info for info in infos if info[0] == local[0][0]]
            if not infos:
                raise ConnectError(
                    f"{network.local_address[0]} (local_address) is of another family than every address of {host}: "
                    f"{_name(str(info[4][0]) for info in found)}"
                )

        def make_socket(info: aiohappyeyeballs.AddrInfoType) -> socket.socket:
            return self._make_socket(*info[:3])

        return await aiohappyeyeballs.start_connection(
            infos,
            local_addr_infos=local,
            happy_eyeballs_delay=_HAPPY_EYEBALLS_DELAY,
            interleave=1,
            loop=loop,
            socket_factory=make_socket if network.socket_options else None,
        )

    async def _open_unix(self, loop: asyncio.AbstractEventLoop, path: str) -> socket.socket:
        while True:
            sock = self._make_socket(socket.AF_UNIX, socket.SOCK_STREAM, 0)
            try:
                sock.setblocking(False)
                await loop.sock_connect(sock, path)
                sock.getpeername()
                return sock
            except OSError as exc:
                sock.close()
                # While the backlog is full Linux says EAGAIN, which loops take for EINPROGRESS, and then for success.
                # A blocking socket would wait for its turn; nothing tells of it but trying.
                if exc.errno != errno.ENOTCONN or sys.platform != "linux":
                    raise
            except BaseException:
                sock.close()
                raise
            await asyncio.sleep(_BACKLOG_DELAY)

    def _make_socket(self, family: int, kind: int, protocol: int) -> socket.socket:
        sock = socket.socket(family, kind, protocol)
        assert self._network is not None
        for option in self._network.socket_options:
            try:
                sock.setsockopt(*option)
            except OSError as exc:
                sock.close()
                raise OSError(exc.errno, f"{exc.strerror} (socket option {option!r})") from exc
        return sock


async def resolve(
    network: NetworkConfig | None, host: str, port: int, *, is_proxy: bool, trace: TraceHook | None
) -> Sequence[AddrInfo]:
    """Returns the addresses of `host` that may be connected to, at least one, in the order in which they came.

    Args:
        network: whose resolver finds them, and whose egress policy has a say; `None` for the system, and all of them.
            Its `connect_to` is not looked at: the caller has.
        host: a name, or an IP address without brackets.
        port: their port.
        is_proxy: see `EgressCandidate`.
        trace: a hook, `None` without one.

    Raises:
        ConnectError: there is none, or the egress policy refused them; what a hook raised is the cause.
        ConnectTimeout: the look-up raised a `TimeoutError`.
        HTTPCoreError: a hook raised it.
    """
    loop = asyncio.get_running_loop()
    if trace is not None:
        emit(trace, ResolveStarted(loop.time(), host, port), loop)
    infos: Sequence[AddrInfo]
    try:
        # An address needs no look-up, and so no thread.
        if _is_address(host):
            infos = _numeric(host, port)
        elif network is None or network.resolver is None:
            infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        else:
            found = await _ask(network.resolver, host)
            infos = [info for address in found.addresses for info in _numeric(address, port)]
    except HTTPCoreError:
        raise
    except OSError as exc:
        raise translate(exc) from exc
    if network is not None and network.egress is not None:
        infos = _let_out(network.egress, infos, host, port, is_proxy)
    if trace is not None:
        emit(trace, ResolveComplete(loop.time(), tuple(str(info[4][0]) for info in infos)), loop)
    return infos


def check_target(network: NetworkConfig | None, host: str, port: int) -> None:
    """Asks the egress policy about what a proxy is to connect to, where the URL has the address itself.

    What a name leads to there only the proxy knows.

    Raises:
        ConnectError: the policy refused it, or failed.
        HTTPCoreError: the policy raised it.
    """
    if network is not None and network.egress is not None:
        host, port = network.destination(host, port)
        if _is_address(host):
            _let_out(network.egress, _numeric(host, port), host, port, False)


async def _ask(resolver: Resolver, host: str) -> Resolution:
    try:
        found = Resolution.of(await resolver(host))
    except (HTTPCoreError, socket.gaierror):
        raise
    except TimeoutError as exc:
        raise ConnectTimeout(f"the host's name was not looked up in time: {exc!r}") from exc
    except Exception as exc:
        raise ConnectError(f"the resolver failed: {exc!r}") from exc
    if not found.addresses:
        raise ConnectError("the host's name was not found: the resolver knows no address")
    return found


def _let_out(egress: Egress, infos: Sequence[AddrInfo], host: str, port: int, is_proxy: bool) -> list[AddrInfo]:
    allowed = []
    refused: dict[str, None] = {}
    for info in infos:
        text = str(info[4][0])
        try:
            verdict = egress(EgressCandidate(host, ipaddress.ip_address(text), port, is_proxy))
            if not isinstance(verdict, bool):  # a coroutine of an async policy would be true
                raise TypeError(f"egress returns a bool, not {type(verdict).__name__}")
        except HTTPCoreError:
            raise
        except Exception as exc:
            raise ConnectError(f"the egress policy failed: {exc!r}") from exc
        if verdict:
            allowed.append(info)
        else:
            refused[text] = None
    if not allowed:
        raise ConnectError(f"the egress policy refused {_name(refused)}")
    return allowed


def _name(addresses: Iterable[str]) -> str:
    named = list(dict.fromkeys(addresses))
    more = f" and {len(named) - _MAX_NAMED} more" if len(named) > _MAX_NAMED else ""
    return ", ".join(named[:_MAX_NAMED]) + more


def _numeric(address: str, port: int) -> Sequence[AddrInfo]:
    return socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)


def _is_address(host: str) -> bool:
    return ":" in host or host.rpartition(".")[2].isdigit()  # URL lets no other host end in a number


def translate(exc: OSError, path: str | None = None) -> ConnectError | ConnectTimeout:
    """Returns what it means that a connection, to the unix socket `path` if there is one, was not made."""
    if isinstance(exc, socket.gaierror):
        return ConnectError(f"the host's name was not found: {exc.strerror}")
    where = "" if path is None else f" to the unix socket {path!r}"
    if isinstance(exc, ssl.SSLError):
        return ConnectError(describe_tls_error(exc) + (where and f" (with{where[3:]})"))
    # asyncio reports a TLS handshake that takes over a minute so, and the system a TCP one that got no answer.
    if isinstance(exc, (ConnectionAbortedError, TimeoutError)):
        return ConnectTimeout(f"the connection{where} was not made in time: {exc}")
    return ConnectError(f"the connection{where} was not made: {str(exc) or type(exc).__name__}")

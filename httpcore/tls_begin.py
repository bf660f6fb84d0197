"""How TLS begins: `start_tls` on a transport that is there already, whatever that is, `connect_tls` on a new socket."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable

from httpcore.exceptions import ConnectError, ConnectTimeout
from httpcore.tls import describe_tls_error
from httpcore.tls_transport import TLSTransport

__all__ = ["connect_tls", "start_tls"]


async def start_tls(
    transport: asyncio.Transport,
    protocol: asyncio.Protocol,
    context: ssl.SSLContext,
    server_hostname: str | None,
) -> asyncio.Transport:
    """Begins TLS as the client, and returns the transport of what is inside.

    For those who bring a transport of their own, and for those to whom `loop.start_tls` gives none for it: any
    transport will do, on any loop.

    What was received together with the end of the handshake reaches `protocol` before this returns; its
    `connection_made` is for the caller to call. If it fails, or is cancelled, `transport` is aborted.

    Args:
        transport: what carries it: any loop's, or the caller's own.
        protocol: gets what is inside.
        context: says whom to trust.
        server_hostname: the name to ask for and to verify, `None` for contexts that verify no names.

    Raises:
        ConnectError: the handshake failed, or the connection was lost, or the transport can carry no TLS; the cause is
            chained.
        ConnectTimeout: the peer did not take part in the handshake for a minute.
    """
    try:
        if transport.is_closing():
            raise ConnectionResetError("the connection was lost before TLS began")  # nobody would tell of it
        inner = TLSTransport(protocol, context, server_hostname, announce=False)
        transport.set_protocol(inner)
        inner.connection_made(transport)
        transport.resume_reading()
        await inner.established
    except asyncio.CancelledError:
        transport.abort()
        raise
    except (ConnectionAbortedError, TimeoutError) as exc:
        transport.abort()
        raise ConnectTimeout(f"the TLS handshake was not done in time: {exc}") from exc
    except Exception as exc:  # OSError of a socket, HTTPCoreError of a stream of HTTP/2, and whatever others raise
        transport.abort()
        raise ConnectError(describe_tls_error(exc)) from exc
    if inner.lost:  # between the end of the handshake and this turn of the loop
        raise ConnectError("the connection was lost as soon as TLS had begun")
    return inner


async def connect_tls(
    create: Callable[..., Awaitable[tuple[asyncio.BaseTransport, asyncio.BaseProtocol]]],
    sock: socket.socket,
    protocol: asyncio.Protocol,
    context: ssl.SSLContext,
    server_hostname: str | None,
) -> TLSTransport:
    """Begins TLS on a connected socket, and returns the transport of what is inside.

    The `connection_made` of `protocol` was called by then. If it fails, or is cancelled, the socket is closed.

    Args:
        create: a loop's `create_connection`, or `create_unix_connection`.
        sock: the socket, whose owner this is from now on.
        protocol: gets what is inside.
        context: says whom to trust.
        server_hostname: the name to ask for and to verify, `None` for contexts that verify no names.

    Raises:
        OSError: the handshake failed, with an `ssl.SSLError`, or took over a minute, with a `ConnectionAbortedError`,
            or the connection was lost.
    """
    try:
        tls = TLSTransport(protocol, context, server_hostname, announce=True)
    except BaseException:
        sock.close()
        raise
    try:
        await create(lambda: tls, sock=sock)
        await tls.established
    except BaseException:
        tls.abort()
        raise
    return tls

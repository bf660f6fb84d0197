"""start_tls: TLS on a transport that is there already, whatever that is: a socket, TLS, a tunnel, a caller's own."""

from __future__ import annotations

import asyncio
import ssl
from asyncio import sslproto
from typing import cast

from httpcore.exceptions import ConnectError, ConnectTimeout
from httpcore.tls import describe_tls_error

__all__ = ["TLS_SHUTDOWN_TIMEOUT", "start_tls"]

TLS_SHUTDOWN_TIMEOUT = 1.0
"""Seconds for a peer to answer close_notify; it owes us nothing else by then."""


class _TLSTransport(sslproto._SSLProtocolTransport):
    """asyncio's, which can be ended from within.

    Before Python 3.11.8 and 3.12.2 its own way of doing so raises: TLS in TLS that fails would not say why.
    """

    def _force_close(self, exc: BaseException | None) -> None:
        self.abort()


async def start_tls(
    transport: asyncio.Transport,
    protocol: asyncio.Protocol,
    context: ssl.SSLContext,
    server_hostname: str | None,
) -> asyncio.Transport:
    """Begins TLS as the client, and returns the transport of what is inside.

    What was received together with the end of the handshake reaches `protocol` before this returns; its
    `connection_made` is for the caller to call. If it fails, or is cancelled, `transport` is aborted.

    Args:
        transport: what carries it. One that is no event loop's own needs what asyncio asks for: the attribute
            `_start_tls_compatible`, and to serve an `asyncio.BufferedProtocol`.
        protocol: gets what is inside.
        context: says whom to trust.
        server_hostname: the name to ask for and to verify, `None` for contexts that verify no names.

    Raises:
        ConnectError: the handshake failed, or the connection was lost, or the transport can carry no TLS; the cause is
            chained.
        ConnectTimeout: the peer did not take part in the handshake for a minute.
    """
    loop = asyncio.get_running_loop()
    try:
        if transport.is_closing():
            raise ConnectionResetError("the connection was lost before TLS began")  # asyncio would wait for it
        if type(transport) is sslproto._SSLProtocolTransport:
            transport.__class__ = _TLSTransport
        begin = loop.start_tls(
            transport,
            protocol,
            context,
            server_hostname=server_hostname,
            ssl_shutdown_timeout=TLS_SHUTDOWN_TIMEOUT,
        )
        try:
            inner = await begin
        except TypeError:  # uvloop's takes its own transports only; asyncio's needs nothing that is asyncio's loop's
            if isinstance(loop, asyncio.BaseEventLoop):
                raise
            inner = await asyncio.BaseEventLoop.start_tls(
                cast(asyncio.BaseEventLoop, loop),
                transport,
                protocol,
                context,
                server_hostname=server_hostname,
                ssl_shutdown_timeout=TLS_SHUTDOWN_TIMEOUT,
            )
    except asyncio.CancelledError:
        transport.abort()
        raise
    except (ConnectionAbortedError, TimeoutError) as exc:  # so asyncio reports it
        transport.abort()
        raise ConnectTimeout(f"the TLS handshake was not done in time: {exc}") from exc
    except Exception as exc:  # OSError of a socket, HTTPCoreError of a stream of HTTP/2, and whatever others raise
        transport.abort()
        raise ConnectError(describe_tls_error(exc)) from exc
    # Lost between the end of the handshake and this turn of the loop; or aborted from here, as uvloop reports that.
    if inner is None or inner.get_extra_info("ssl_object") is None:
        transport.abort()
        raise ConnectError("the connection was lost as soon as TLS had begun")
    return inner

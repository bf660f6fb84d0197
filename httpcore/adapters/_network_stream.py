"""What a response's `network_stream` extension is: the connection's facts, and its bytes where HTTP is over on it.

Its words are those that users of httpx know; what it raises are this library's own errors.
"""

from __future__ import annotations

import ssl
from typing import Self

from httpcore.exceptions import ConnectTimeout, ReadTimeout, WriteTimeout
from httpcore.handlers import ConnectionInfo
from httpcore.sync import SyncUpgradedStream
from httpcore.upgraded import UpgradedStream, within

__all__ = ["AsyncNetworkStream", "ConnectionFacts", "NetworkStream"]

_TRANSPORT_NAMES = {"server_addr": "peername", "client_addr": "sockname"}  # others are called the same


class ConnectionFacts:
    """The connection of a response that leaves it to HTTP.

    Args:
        info: what is known of it; `None` for nothing.
    """

    __slots__ = ("_info",)

    def __init__(self, info: ConnectionInfo | None) -> None:
        self._info = info

    def get_extra_info(self, info: str) -> object:
        """Returns `ssl_object`, `server_addr`, `client_addr` or `socket`; `None` where there is no such thing."""
        known = self._info
        if known is None:
            return None
        match info:
            case "ssl_object":
                return known.ssl_object
            case "server_addr":
                return known.peer_address
            case "client_addr":
                return known.local_address
            case "socket":
                return known.socket
        return None


class AsyncNetworkStream:
    """The bytes of a connection after 101, or after 2xx to CONNECT. It ends with its response."""

    def __init__(self, stream: UpgradedStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Returns up to `max_bytes` bytes as soon as there are some; b"" at the end.

        Raises:
            ReadTimeout: there were none within `timeout` seconds; it can be called again. `None` sets no limit.
            ReadError: the connection broke.
            ResponseClosed: the stream was closed here.
        """
        return await within(self._stream.read(max_bytes), timeout, ReadTimeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Sends `buffer`, and returns once the peer keeps up with it.

        Raises:
            WriteTimeout: it did not within `timeout` seconds; `buffer` is sent all the same. `None` sets no limit.
            WriteError: the connection is gone.
        """
        self._stream.write(buffer)
        await within(self._stream.drain(), timeout, WriteTimeout)

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> Self:
        """Begins TLS, and returns the stream of what is inside, which is this one.

        Raises:
            ConnectTimeout: it had not begun within `timeout` seconds; the connection is gone. `None` sets no limit.
            ConnectError: the handshake failed; the connection is gone.
            RuntimeError: bytes were received that nobody has read, which cannot belong to TLS.
        """
        await within(self._stream.start_tls(ssl_context, server_hostname=server_hostname), timeout, ConnectTimeout)
        return self

    async def aclose(self) -> None:
        """Closes the connection once what was written is sent. Idempotent."""
        self._stream.close()

    def get_extra_info(self, info: str) -> object:
        """Returns `ssl_object`, `server_addr`, `client_addr` or `socket`; `None` where there is no such thing."""
        return self._stream.get_extra_info(_TRANSPORT_NAMES.get(info, info))


class NetworkStream:
    """`AsyncNetworkStream` with calls that block."""

    def __init__(self, stream: SyncUpgradedStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """See `AsyncNetworkStream.read`."""
        return self._stream.read(max_bytes, timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """See `AsyncNetworkStream.write`."""
        self._stream.write(buffer, timeout)

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> Self:
        """See `AsyncNetworkStream.start_tls`."""
        self._stream.start_tls(ssl_context, server_hostname=server_hostname, timeout=timeout)
        return self

    def close(self) -> None:
        """Closes the connection once what was written is sent. Idempotent."""
        self._stream.close()

    def get_extra_info(self, info: str) -> object:
        """Returns `ssl_object`, `server_addr`, `client_addr` or `socket`; `None` where there is no such thing."""
        return self._stream.get_extra_info(_TRANSPORT_NAMES.get(info, info))

"""Typed events for a trace hook: what happened to an exchange and to its connection, and when.

A hook is a plain function, called on the loop: `trace=print` will do. With none set nothing is made or called.
An exception from a hook goes to the loop's exception handler and changes nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

__all__ = [
    "BodySent",
    "ConnectFailed",
    "ConnectionClosed",
    "ConnectionReleased",
    "ExchangeFailed",
    "GoawayReceived",
    "HeadReceived",
    "HeadSent",
    "InformationalReceived",
    "PingAnswered",
    "PingSent",
    "RequestReplayed",
    "ResolveComplete",
    "ResolveStarted",
    "ResponseComplete",
    "SettingsReceived",
    "SlotAssigned",
    "SlotWaitStarted",
    "StreamReset",
    "TCPConnected",
    "TLSEstablished",
    "TraceEvent",
    "TraceHook",
    "TunnelEstablished",
    "TunnelStarted",
    "WindowOpened",
    "WindowStalled",
    "emit",
]


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """The base of all events. `time` is in seconds of the loop's clock; `name` is `<noun>.<what happened>`."""

    name: ClassVar[str]
    time: float


@dataclass(frozen=True, slots=True)
class SlotWaitStarted(TraceEvent):
    """No connection could take the exchange; `limited` says whether a limit forbids to make one now."""

    name: ClassVar[str] = "slot.wait_started"
    limited: bool


@dataclass(frozen=True, slots=True)
class SlotAssigned(TraceEvent):
    """The exchange got a connection, which carried one before if `reused`."""

    name: ClassVar[str] = "slot.assigned"
    connection_id: int
    reused: bool


@dataclass(frozen=True, slots=True)
class ResolveStarted(TraceEvent):
    """The host's name is being looked up."""

    name: ClassVar[str] = "connect.resolve_started"
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class ResolveComplete(TraceEvent):
    """These addresses were found; they are tried in this order."""

    name: ClassVar[str] = "connect.resolve_complete"
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TCPConnected(TraceEvent):
    """One of the addresses answered."""

    name: ClassVar[str] = "connect.tcp_connected"
    address: str


@dataclass(frozen=True, slots=True)
class TLSEstablished(TraceEvent):
    """The TLS handshake succeeded."""

    name: ClassVar[str] = "connect.tls_established"
    version: str | None
    alpn_protocol: str | None


@dataclass(frozen=True, slots=True)
class TunnelStarted(TraceEvent):
    """The `proxy` is asked for a way to this host and port: by CONNECT, or as SOCKS has it."""

    name: ClassVar[str] = "connect.tunnel_started"
    proxy: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class TunnelEstablished(TraceEvent):
    """The `proxy` has opened a way to this host and port."""

    name: ClassVar[str] = "connect.tunnel_established"
    proxy: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class ConnectFailed(TraceEvent):
    """No connection could be made."""

    name: ClassVar[str] = "connect.failed"
    error: BaseException


@dataclass(frozen=True, slots=True)
class HeadSent(TraceEvent):
    """The request's head was handed to the transport."""

    name: ClassVar[str] = "request.head_sent"
    connection_id: int
    stream_id: int | None = None


@dataclass(frozen=True, slots=True)
class BodySent(TraceEvent):
    """The last byte of the request was handed to the transport."""

    name: ClassVar[str] = "request.body_sent"
    connection_id: int
    stream_id: int | None = None


@dataclass(frozen=True, slots=True)
class RequestReplayed(TraceEvent):
    """A reused connection died before it answered, or the server did nothing with the request: it is sent again."""

    name: ClassVar[str] = "request.replayed"
    error: BaseException


@dataclass(frozen=True, slots=True)
class InformationalReceived(TraceEvent):
    """An interim (1xx) response came."""

    name: ClassVar[str] = "response.informational_received"
    status_code: int
    connection_id: int
    stream_id: int | None = None


@dataclass(frozen=True, slots=True)
class HeadReceived(TraceEvent):
    """The final response's head came. `first_byte` is when its, or an interim response's, first byte did."""

    name: ClassVar[str] = "response.head_received"
    status_code: int
    first_byte: float
    connection_id: int
    stream_id: int | None = None


@dataclass(frozen=True, slots=True)
class ResponseComplete(TraceEvent):
    """The response's last byte came."""

    name: ClassVar[str] = "response.complete"
    connection_id: int
    stream_id: int | None = None


@dataclass(frozen=True, slots=True)
class ExchangeFailed(TraceEvent):
    """The exchange failed."""

    name: ClassVar[str] = "exchange.failed"
    error: BaseException


@dataclass(frozen=True, slots=True)
class ConnectionReleased(TraceEvent):
    """The connection can carry a further exchange."""

    name: ClassVar[str] = "connection.released"
    connection_id: int


@dataclass(frozen=True, slots=True)
class ConnectionClosed(TraceEvent):
    """The connection is gone, or will be as soon as its buffers are sent; `reason` says why, in words."""

    name: ClassVar[str] = "connection.closed"
    connection_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class SettingsReceived(TraceEvent):
    """An HTTP/2 server announced settings: pairs of identifier and value (RFC 9113 6.5.2). All exchanges hear of it."""

    name: ClassVar[str] = "http2.settings_received"
    connection_id: int
    settings: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class GoawayReceived(TraceEvent):
    """An HTTP/2 server takes no further stream, and will not process those above the last (RFC 9113 6.8)."""

    name: ClassVar[str] = "http2.goaway_received"
    connection_id: int
    last_stream_id: int
    error_code: int
    debug_data: bytes


@dataclass(frozen=True, slots=True)
class StreamReset(TraceEvent):
    """An HTTP/2 stream was reset (RFC 9113 6.4): by the server if `remote`, and else by us."""

    name: ClassVar[str] = "http2.stream_reset"
    connection_id: int
    stream_id: int
    error_code: int
    remote: bool


@dataclass(frozen=True, slots=True)
class WindowStalled(TraceEvent):
    """The rest of a body waits for the server to open an HTTP/2 window: its stream's, or that of the `connection`."""

    name: ClassVar[str] = "http2.window_stalled"
    connection_id: int
    stream_id: int
    connection: bool


@dataclass(frozen=True, slots=True)
class WindowOpened(TraceEvent):
    """The rest of a body that waited for a window goes on."""

    name: ClassVar[str] = "http2.window_opened"
    connection_id: int
    stream_id: int


@dataclass(frozen=True, slots=True)
class PingSent(TraceEvent):
    """An HTTP/2 server was asked for a sign of life, as nothing was heard of it, or a stream was reset."""

    name: ClassVar[str] = "http2.ping_sent"
    connection_id: int


@dataclass(frozen=True, slots=True)
class PingAnswered(TraceEvent):
    """An HTTP/2 server answered a PING, after so many `seconds`."""

    name: ClassVar[str] = "http2.ping_answered"
    connection_id: int
    seconds: float


TraceHook: TypeAlias = Callable[[TraceEvent], None]


def emit(hook: TraceHook, event: TraceEvent, loop: asyncio.AbstractEventLoop) -> None:
    """Calls `hook`, and reports what it raises."""
    try:
        hook(event)
    except Exception as exc:
        loop.call_exception_handler({"message": "a trace hook of httpcore raised", "exception": exc})

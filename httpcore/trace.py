"""Typed events for a trace hook: what happened to an exchange and to its connection, and when.

A hook is a plain function, called on the loop: `trace=print` will do. With none set nothing is made or called.
An exception from a hook goes to the loop's exception handler and changes nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, fields
from typing import ClassVar, TypeAlias, TypeVar, dataclass_transform

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


_T = TypeVar("_T")


@dataclass_transform(frozen_default=True)
def _event(cls: type[_T]) -> type[_T]:
    """`dataclass(frozen=True)`, but that what it would generate for each class stands in the base.

    To generate it for all of them would take as long as to import a quarter of httpcore.
    """
    return dataclass(repr=False, eq=False)(cls)


@_event
class TraceEvent:
    """The base of all events. `time` is in seconds of the loop's clock; `name` is `<noun>.<what happened>`."""

    name: ClassVar[str]
    time: float

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, field.name) for field in fields(self))

    def __repr__(self) -> str:
        values = (f"{field.name}={getattr(self, field.name)!r}" for field in fields(self))
        return f"{type(self).__qualname__}({', '.join(values)})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        assert isinstance(other, TraceEvent)
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __setattr__(self, name: str, value: object) -> None:
        if name in self.__dict__ or all(field.name != name for field in fields(self)):
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field {name!r}")


@_event
class SlotWaitStarted(TraceEvent):
    """No connection could take the exchange; `limited` says whether a limit forbids to make one now."""

    name: ClassVar[str] = "slot.wait_started"
    limited: bool


@_event
class SlotAssigned(TraceEvent):
    """The exchange got a connection, which carried one before if `reused`."""

    name: ClassVar[str] = "slot.assigned"
    connection_id: int
    reused: bool


@_event
class ResolveStarted(TraceEvent):
    """The host's name is being looked up."""

    name: ClassVar[str] = "connect.resolve_started"
    host: str
    port: int


@_event
class ResolveComplete(TraceEvent):
    """These addresses were found; they are tried in this order."""

    name: ClassVar[str] = "connect.resolve_complete"
    addresses: tuple[str, ...]


@_event
class TCPConnected(TraceEvent):
    """One of the addresses answered."""

    name: ClassVar[str] = "connect.tcp_connected"
    address: str


@_event
class TLSEstablished(TraceEvent):
    """The TLS handshake succeeded."""

    name: ClassVar[str] = "connect.tls_established"
    version: str | None
    alpn_protocol: str | None


@_event
class TunnelStarted(TraceEvent):
    """The `proxy` is asked for a way to this host and port: by CONNECT, or as SOCKS has it."""

    name: ClassVar[str] = "connect.tunnel_started"
    proxy: str
    host: str
    port: int


@_event
class TunnelEstablished(TraceEvent):
    """The `proxy` has opened a way to this host and port."""

    name: ClassVar[str] = "connect.tunnel_established"
    proxy: str
    host: str
    port: int


@_event
class ConnectFailed(TraceEvent):
    """No connection could be made."""

    name: ClassVar[str] = "connect.failed"
    error: BaseException


@_event
class HeadSent(TraceEvent):
    """The request's head was handed to the transport."""

    name: ClassVar[str] = "request.head_sent"
    connection_id: int
    stream_id: int | None = None


@_event
class BodySent(TraceEvent):
    """The last byte of the request was handed to the transport."""

    name: ClassVar[str] = "request.body_sent"
    connection_id: int
    stream_id: int | None = None


@_event
class RequestReplayed(TraceEvent):
    """A reused connection died before it answered, or the server did nothing with the request: it is sent again."""

    name: ClassVar[str] = "request.replayed"
    error: BaseException


@_event
class InformationalReceived(TraceEvent):
    """An interim (1xx) response came."""

    name: ClassVar[str] = "response.informational_received"
    status_code: int
    connection_id: int
    stream_id: int | None = None


@_event
class HeadReceived(TraceEvent):
    """The final response's head came. `first_byte` is when its, or an interim response's, first byte did."""

    name: ClassVar[str] = "response.head_received"
    status_code: int
    first_byte: float
    connection_id: int
    stream_id: int | None = None


@_event
class ResponseComplete(TraceEvent):
    """The response's last byte came."""

    name: ClassVar[str] = "response.complete"
    connection_id: int
    stream_id: int | None = None


@_event
class ExchangeFailed(TraceEvent):
    """The exchange failed."""

    name: ClassVar[str] = "exchange.failed"
    error: BaseException


@_event
class ConnectionReleased(TraceEvent):
    """The connection can carry a further exchange."""

    name: ClassVar[str] = "connection.released"
    connection_id: int


@_event
class ConnectionClosed(TraceEvent):
    """The connection is gone, or will be as soon as its buffers are sent; `reason` says why, in words."""

    name: ClassVar[str] = "connection.closed"
    connection_id: int
    reason: str


@_event
class SettingsReceived(TraceEvent):
    """An HTTP/2 server announced settings: pairs of identifier and value (RFC 9113 6.5.2). All exchanges hear of it."""

    name: ClassVar[str] = "http2.settings_received"
    connection_id: int
    settings: tuple[tuple[int, int], ...]


@_event
class GoawayReceived(TraceEvent):
    """An HTTP/2 server takes no further stream, and will not process those above the last (RFC 9113 6.8)."""

    name: ClassVar[str] = "http2.goaway_received"
    connection_id: int
    last_stream_id: int
    error_code: int
    debug_data: bytes


@_event
class StreamReset(TraceEvent):
    """An HTTP/2 stream was reset (RFC 9113 6.4): by the server if `remote`, and else by us."""

    name: ClassVar[str] = "http2.stream_reset"
    connection_id: int
    stream_id: int
    error_code: int
    remote: bool


@_event
class WindowStalled(TraceEvent):
    """The rest of a body waits for the server to open an HTTP/2 window: its stream's, or that of the `connection`."""

    name: ClassVar[str] = "http2.window_stalled"
    connection_id: int
    stream_id: int
    connection: bool


@_event
class WindowOpened(TraceEvent):
    """The rest of a body that waited for a window goes on."""

    name: ClassVar[str] = "http2.window_opened"
    connection_id: int
    stream_id: int


@_event
class PingSent(TraceEvent):
    """An HTTP/2 server was asked for a sign of life, as nothing was heard of it, or a stream was reset."""

    name: ClassVar[str] = "http2.ping_sent"
    connection_id: int


@_event
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

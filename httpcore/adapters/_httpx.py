"""What the transports for httpx2 and for httpx have in common. The two differ in the module's name alone.

A transport is a shim: it makes a `Request` of the client's, sends it by a pool, and gives the client the response with
its content as it came, codings intact. Errors are the client's own, with this library's as `__cause__`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from httpcore import exceptions
from httpcore.adapters._network_stream import ConnectionFacts
from httpcore.config import SSLConfig, TimeoutConfig
from httpcore.exceptions import HTTPCoreError, InvalidURL, Phase, TotalTimeout
from httpcore.pool import ConnectionPool
from httpcore.request import BodyTypes, Request
from httpcore.response import Response
from httpcore.sync import SyncConnectionPool, SyncResponse
from httpcore.urls import URL, parse_url

__all__ = [
    "Adapter",
    "Call",
    "ClientCall",
    "ClientRequest",
    "Wrap",
    "assemble_url",
    "extensions_of",
    "facts_of",
    "translated",
]


class _URL(Protocol):
    @property
    def raw_scheme(self) -> bytes: ...
    @property
    def raw_host(self) -> bytes: ...
    @property
    def port(self) -> int | None: ...
    @property
    def raw_path(self) -> bytes: ...


class _Headers(Protocol):
    @property
    def raw(self) -> list[tuple[bytes, bytes]]: ...


class ClientRequest(Protocol):
    """A request of a client's: `httpx2.Request` or `httpx.Request`."""

    @property
    def method(self) -> str: ...
    @property
    def url(self) -> _URL: ...
    @property
    def headers(self) -> _Headers: ...
    @property
    def stream(self) -> object: ...
    @property
    def extensions(self) -> Mapping[str, object]: ...
    def read(self) -> bytes: ...


Wrap: TypeAlias = Callable[[Any], BodyTypes]
"""Makes a body of a client's stream."""


class Call(Protocol):
    """What a client asks for."""

    @property
    def extensions(self) -> Mapping[str, object]: ...

    def outgoing(self, wrap: Wrap) -> Request:
        """Returns the request that is sent, its content, where that is a stream, wrapped."""

    def translated(self, error: HTTPCoreError) -> Exception:
        """Returns what the client is to be told for `error`, which may be `error`."""


# Names in the client's module. An error that is not here is told under that of its nearest base.
_ERRORS: dict[type[BaseException], str] = {
    exceptions.ConnectError: "ConnectError",
    exceptions.ConnectTimeout: "ConnectTimeout",
    exceptions.DecodingError: "DecodingError",
    exceptions.HTTPCoreError: "TransportError",
    exceptions.InvalidURL: "InvalidURL",
    exceptions.LocalProtocolError: "LocalProtocolError",
    exceptions.NetworkError: "NetworkError",
    exceptions.PoolClosed: "ConnectError",
    exceptions.PoolTimeout: "PoolTimeout",
    exceptions.ProtocolError: "ProtocolError",
    exceptions.ProxyError: "ProxyError",
    exceptions.ReadError: "ReadError",
    exceptions.ReadTimeout: "ReadTimeout",
    exceptions.RemoteProtocolError: "RemoteProtocolError",
    exceptions.ResponseClosed: "ReadError",
    exceptions.StreamConsumed: "StreamConsumed",
    exceptions.TimeoutException: "TimeoutException",
    exceptions.UnsupportedProtocol: "UnsupportedProtocol",
    exceptions.WriteError: "WriteError",
    exceptions.WriteTimeout: "WriteTimeout",
}
# What ran out of time when the total did: clients know no total.
_TIMEOUTS = {
    Phase.WAITING: "PoolTimeout",
    Phase.CONNECTING: "ConnectTimeout",
    Phase.SENDING_HEAD: "WriteTimeout",
    Phase.SENDING_BODY: "WriteTimeout",
}
_LEAST_TIMEOUT = 1e-6  # seconds: what a client's zero is, which means at once
_NOT_IN_PARTS = re.compile(rb"[/?#@\\]")  # what would end a scheme or a host in a URL, or begin it anew


def translated(module: ModuleType, error: HTTPCoreError, request: ClientRequest) -> Exception:
    """Returns the module's error for `error`."""
    if isinstance(error, TotalTimeout):
        name = "ReadTimeout" if error.phase is None else _TIMEOUTS.get(error.phase, "ReadTimeout")
    else:
        name = next(_ERRORS[cls] for cls in type(error).__mro__ if cls in _ERRORS)
    made: Callable[..., Exception] = getattr(module, name)
    if name == "StreamConsumed":
        return made()
    if name == "InvalidURL":
        return made(str(error))
    return made(str(error), request=request)


class ClientCall(NamedTuple):
    """A request of a client of `module`'s, which is `httpx2` or `httpx`."""

    module: ModuleType
    request: ClientRequest

    @property
    def extensions(self) -> Mapping[str, object]:
        """The request's."""
        return self.request.extensions

    def outgoing(self, wrap: Wrap) -> Request:
        """See `Call`."""
        request = self.request
        url, stream = request.url, request.stream
        parsed, target = assemble_url(url.raw_scheme, url.raw_host, url.port, url.raw_path)
        body = request.read() if isinstance(stream, self.module.ByteStream) else wrap(stream)
        given: Any = request.extensions.get("target")
        return Request(request.method, parsed, request.headers.raw, body, target=target if given is None else given)

    def translated(self, error: HTTPCoreError) -> Exception:
        """See `Call`."""
        return translated(self.module, error, self.request)


def assemble_url(scheme: bytes, host: bytes, port: int | None, path: bytes) -> tuple[URL, bytes | None]:
    """Returns the URL of these parts, and the target to be sent where `path` is not the URL's own as it stands.

    Raises:
        UnsupportedProtocol, InvalidURL: they make no URL, or another one than they seem to.
    """
    if _NOT_IN_PARTS.search(host) or _NOT_IN_PARTS.search(scheme):
        raise InvalidURL("the scheme or the host has a character that cannot stand there")
    if b":" in host:
        host = b"[%s]" % host
    if port is not None:
        host = b"%s:%d" % (host, port)
    parsed = parse_url(b"%s://%s%s" % (scheme, host, path if path[:1] == b"/" else b"/"))
    return parsed, None if parsed.target == path else path  # as the client has encoded it


_Pool = TypeVar("_Pool", ConnectionPool, SyncConnectionPool)


class Adapter(Generic[_Pool]):
    """What both kinds of transport have in common."""

    _module: ClassVar[ModuleType]  # the client's
    _pool: _Pool
    _deadlines: tuple[object, TimeoutConfig] | None = None  # the ones of last time, as all requests tend to have them

    def _timeout_of(self, extensions: Mapping[str, Any]) -> TimeoutConfig | None:
        given = extensions.get("timeout")
        if given is None:
            return None
        key = connect, read, write, pool = tuple(
            seconds if seconds is None or seconds > 0 else _LEAST_TIMEOUT
            for seconds in map(given.get, ("connect", "read", "write", "pool"))
        )
        last = self._deadlines
        if last is None or last[0] != key:
            config = dataclasses.replace(
                self._pool.timeout, connect_timeout=connect, read_timeout=read, write_timeout=write, pool_timeout=pool
            )
            self._deadlines = last = key, config
        return last[1]

    def _ssl_of(self, extensions: Mapping[str, Any]) -> SSLConfig | None:
        name = extensions.get("sni_hostname")
        if name is None:
            return None
        return dataclasses.replace(self._pool.ssl, server_hostname=name.decode() if isinstance(name, bytes) else name)


def extensions_of(response: Response | SyncResponse, network_stream: object) -> dict[str, object]:
    extensions: dict[str, object] = {"http_version": response.http_version, "network_stream": network_stream}
    stream_id = None if response.exchange is None else response.exchange.stream_id
    if stream_id is None:
        extensions["reason_phrase"] = response.reason
    else:  # HTTP/2 has no reason phrases, and clients show a usual one
        extensions["stream_id"] = stream_id
    return extensions


def facts_of(response: Response | SyncResponse) -> ConnectionFacts:
    return ConnectionFacts(None if response.exchange is None else response.exchange.connection_info)

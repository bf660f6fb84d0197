"""`ASGIConnector`: runs an ASGI app in this process, under a pool."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from types import TracebackType
from typing import Any, Self, TypeAlias
from urllib.parse import unquote

from .asgi_lifespan import Lifespan
from .memory_transport import DEFAULT_CAPACITY
from .server_connector import Link, ServerConnector
from .server_stream import ClientGone, Fields, ServerStream

__all__ = ["ASGIApp", "ASGIConnector"]

_Message: TypeAlias = MutableMapping[str, Any]
ASGIApp: TypeAlias = Callable[
    [_Message, Callable[[], Awaitable[_Message]], Callable[[_Message], Awaitable[None]]], Awaitable[None]
]
"""An ASGI 3 application: `async def app(scope, receive, send)`."""

_EXTENSIONS = ("http.response.early_hint", "http.response.trailers")


class ASGIConnector(ServerConnector):
    """Runs an ASGI 3 app in memory: every request of the pool is a call of the app, whatever its host and port.

        async with ASGIConnector(app) as connector, ConnectionPool(connector=connector) as http:
            response = await http.request("GET", "http://testserver/")

    Requests take the very way they would take to a server: through the pool, over connections (that are in memory),
    in HTTP/1.1, or HTTP/2 where the pool has `http1=False`. So both directions stream, with back-pressure: `receive`
    gives what has come so far, `send` waits while the client does not read, a response may begin before the request
    has ended, and a client that goes away is an `http.disconnect`. `send` raises an `OSError` then, as ASGI has it.

    `async with` runs the app's lifespan, on the loop of the pool; `with` does for a `SyncConnectionPool`. Without
    either, the app has no lifespan. An exception that leaves the app is raised to who made the request, as it is;
    where nobody waits any more, on leaving the block. There is no scope but `http` and `lifespan`: an upgrade to
    WebSocket reaches the app as the request that it is.

    Args:
        app: the app.
        lifespan: whether to run its lifespan. An app that raises as soon as it is called with one has none.
        raise_app_exceptions: `False` does what servers do: the client gets a 500, or a response that is cut off, and
            the error goes to the log `httpcore.testing`.
        root_path: the path that the app is mounted under. It is a part of the URLs that are requested.
        client: the address and the port that the app sees as the client's; `None` makes up a port of 127.0.0.1.
        segment: the most bytes that either end receives at once; 1 tries an app with what comes byte by byte. `None`:
            as many as asyncio would give.
        capacity: bytes that a connection holds in each direction before the writer has to wait.
        shutdown_timeout: seconds that calls which are still running have to end by themselves on leaving, once they
            were told that their client is gone; then they are cancelled. The lifespan's shutdown has no limit.

    Raises (on entering):
        RuntimeError: the app's startup has failed, with the app's message; or what the app itself has raised.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        lifespan: bool = True,
        raise_app_exceptions: bool = True,
        root_path: str = "",
        client: tuple[str, int] | None = None,
        segment: int | None = None,
        capacity: int = DEFAULT_CAPACITY,
        shutdown_timeout: float = 1.0,
    ) -> None:
        super().__init__(
            raise_app_exceptions=raise_app_exceptions,
            root_path=root_path,
            client=client,
            segment=segment,
            capacity=capacity,
            shutdown_timeout=shutdown_timeout,
        )
        self._app = app
        self._with_lifespan = lifespan
        self._lifespan: Lifespan | None = None

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        if self._with_lifespan:
            lifespan = Lifespan(self._app)
            try:
                await lifespan.start_up()
            except BaseException:
                self._entered = False
                raise
            self._lifespan = lifespan
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        lifespan, self._lifespan = self._lifespan, None
        try:
            await super().__aexit__(exc_type, exc, traceback)
        finally:
            if lifespan is not None:
                await lifespan.shut_down()

    async def _call(self, stream: ServerStream, link: Link) -> None:
        call = _Call(stream)
        await self._app(self._scope(stream, link), call.receive, call.send)

    def _scope(self, stream: ServerStream, link: Link) -> _Message:
        head = stream.head
        target = head.target
        if target[:1] != b"/" and b"://" in target:  # absolute-form (RFC 9112 3.2.2)
            target = b"/" + target.partition(b"://")[2].partition(b"/")[2]
        path, _, query = target.partition(b"?")
        scope: _Message = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": head.http_version,
            "method": head.method.decode("ascii").upper(),
            "scheme": link.origin.scheme,
            "path": unquote(path.decode("latin-1")),
            "raw_path": path,
            "query_string": query,
            "root_path": self._root_path,
            "headers": list(head.headers),
            "client": link.client,
            "server": (link.origin.host, link.origin.port),
            "extensions": {name: {} for name in _EXTENSIONS},
        }
        if self._lifespan is not None:
            scope["state"] = self._lifespan.state.copy()
        return scope


class _Call:
    """What one call of the app is given."""

    def __init__(self, stream: ServerStream) -> None:
        self._stream = stream
        self._end_given = False
        self._trailers_to_come = False
        self._trailers: Fields = []

    async def receive(self) -> _Message:
        stream = self._stream
        if self._end_given or stream.ended:
            await stream.over()
            return {"type": "http.disconnect"}
        try:
            data = await stream.read()
        except ClientGone:
            return {"type": "http.disconnect"}
        if not data and (stream.ended or self._end_given):  # meanwhile
            await stream.over()
            return {"type": "http.disconnect"}
        self._end_given = stream.at_end
        message = {"type": "http.request", "body": data, "more_body": not self._end_given}
        if self._end_given and stream.trailers:
            message["trailers"] = list(stream.trailers)  # ASGI has no place for them; an app may look here
        return message

    async def send(self, message: _Message) -> None:
        stream, kind = self._stream, message["type"]
        if kind == "http.response.start":
            stream.send_head(message["status"], _fields(message))
            self._trailers_to_come = message.get("trailers", False)
        elif kind == "http.response.body":
            data = message.get("body", b"")
            if not isinstance(data, (bytes, bytearray, memoryview)):
                raise TypeError(f"the body of {kind} takes bytes, not {type(data).__name__}")
            await stream.send_data(bytes(data))
            if not message.get("more_body", False) and not self._trailers_to_come:
                stream.send_end([])
        elif kind == "http.response.trailers" and self._trailers_to_come:
            self._trailers += _fields(message)
            if not message.get("more_trailers", False):
                stream.send_end(self._trailers)
        elif kind == "http.response.early_hint":
            stream.send_interim(103, [(b"link", bytes(link)) for link in message["links"]])
        else:
            raise RuntimeError(f"a message of the type {kind!r} cannot be sent here")


def _fields(message: _Message) -> Fields:
    fields: Fields = []
    for name, value in message.get("headers", ()):
        if not isinstance(name, bytes) or not isinstance(value, bytes):
            raise TypeError(f"the headers of {message['type']} are pairs of bytes, not {(name, value)!r}")
        fields.append((name, value))
    return fields

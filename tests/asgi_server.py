"""A small ASGI server on h11 that runs in a test's own process, and can do what uvicorn cannot: interim responses
(`http.response.early_hint`), trailers both ways (`http.response.trailers`; the request's come with its last
`http.request` message), and TLS where a test looks at both ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import h11

import httpcore
from tests.origin_app import Message, Receive, Send
from tests.servers import Origin, serving

ASGIApp = Callable[[Message, Receive, Send], Awaitable[None]]


@contextlib.asynccontextmanager
async def asgi_server(
    app: ASGIApp, ssl_context: ssl.SSLContext | None = None, *, uds: Path | None = None
) -> AsyncIterator[Origin]:
    """Serves `app` on a free port of the loopback address, or on a unix socket."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(reader, writer)
        while await connection.exchange(app):
            pass
        await connection.linger()

    async with serving(serve, ssl_context, uds=uds) as origin:
        yield origin


class _Connection:
    """One connection: exchanges one after another, each with a call of the app."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER)
        self._scope: Message = {}
        self._request_ended = False
        self._response_ended = asyncio.Event()
        self._trailers_to_come = False

    async def exchange(self, app: ASGIApp) -> bool:
        """Serves one exchange. Returns whether there may be another."""
        request = await self._next_event()
        if not isinstance(request, h11.Request):
            return False
        path, _, query = request.target.partition(b"?")
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": request.http_version.decode(),
            "method": request.method.decode(),
            "scheme": "http" if self._writer.get_extra_info("ssl_object") is None else "https",
            "path": unquote(path.decode("ascii")),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": list(request.headers),
            "client": _address(self._writer.get_extra_info("peername")),
            "server": _address(self._writer.get_extra_info("sockname")),
            "extensions": {"http.response.early_hint": {}, "http.response.trailers": {}},
        }
        self._request_ended = False
        self._response_ended.clear()
        try:
            await app(self._scope, self._receive, self._send)
        except httpcore.HTTPCoreError as exc:  # a gateway's: as any server, cut the connection
            raise ConnectionResetError("the app failed") from exc
        if not self._response_ended.is_set():
            raise ConnectionResetError("the app left without a whole response")
        # What it did not ask for may be there all the same: the end of a request without a body.
        while not self._request_ended and isinstance(event := self._http.next_event(), (h11.Data, h11.EndOfMessage)):
            self._request_ended = isinstance(event, h11.EndOfMessage)
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            return True
        return False

    async def linger(self) -> None:
        """Says that nothing more is to come, and takes what does until the client closes: lest a reset destroys the
        response of which it has not read the end (RFC 9112 9.6)."""
        if self._writer.can_write_eof():
            with contextlib.suppress(OSError):  # ENOTCONN: the client has reset it, which nobody was told yet
                self._writer.write_eof()
        while await self._reader.read(65536):
            pass

    async def _next_event(self) -> Any:
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event
            self._http.receive_data(await self._reader.read(65536))

    async def _receive(self) -> Message:
        if self._request_ended:
            return await self._disconnect()
        if self._http.they_are_waiting_for_100_continue:
            self._writer.write(self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
        try:
            event = await self._next_event()
        except (ConnectionError, h11.RemoteProtocolError):
            return {"type": "http.disconnect"}
        if isinstance(event, h11.Data):
            return {"type": "http.request", "body": bytes(event.data), "more_body": True}
        assert isinstance(event, h11.EndOfMessage)
        self._request_ended = True
        return {"type": "http.request", "body": b"", "more_body": False, "trailers": list(event.headers)}

    async def _disconnect(self) -> Message:
        # The tests' clients do not pipeline: what can still come on the connection is its end.
        over = asyncio.ensure_future(self._response_ended.wait())
        gone = asyncio.ensure_future(self._reader.read(1))
        try:
            await asyncio.wait([over, gone], return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()
            gone.cancel()
            _, rest = await asyncio.gather(over, gone, return_exceptions=True)
            if isinstance(rest, bytes) and rest:  # of the next request, which came just now
                self._http.receive_data(rest)
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.early_hint":
            links = [(b"link", link) for link in message["links"]]
            self._write(h11.InformationalResponse(status_code=103, headers=links))
        elif message["type"] == "http.response.start":
            self._trailers_to_come = message.get("trailers", False)
            self._write(h11.Response(status_code=message["status"], headers=message["headers"]))
        elif message["type"] == "http.response.body":
            if message.get("body") and self._scope["method"] != "HEAD":
                self._write(h11.Data(data=message["body"]))
            if not message.get("more_body", False) and not self._trailers_to_come:
                self._end([])
        else:
            assert message["type"] == "http.response.trailers"
            self._end(message["headers"])
        await self._writer.drain()

    def _write(self, event: h11.Event) -> None:
        self._writer.write(self._http.send(event) or b"")

    def _end(self, trailers: list[tuple[bytes, bytes]]) -> None:
        self._write(h11.EndOfMessage(headers=trailers))
        self._response_ended.set()


def _address(name: tuple[Any, ...] | str) -> tuple[Any, ...] | None:
    """Host and port as ASGI has them; `None` for a unix socket, whose name is a path."""
    return name[:2] if isinstance(name, tuple) else None

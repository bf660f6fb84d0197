"""The server that the demo and the README's tests talk to: h11 in the server's role, on asyncio's streams.

Paths: / says hello; /download?size=N sends N bytes; /upload counts what it gets; /echo sends it back as it comes;
/refuse answers 413 before it reads the body; /gzip codes its content for whoever accepts that; /slow never answers;
/drip sends a byte every 50 ms; /hints sends 103 first; /trailers ends with a checksum; /upgrade echoes raw bytes;
/request tells what it was asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import ssl
import sys
from http import HTTPStatus
from typing import Self

import h11

PIECE = bytes(range(256)) * 256  # 64 KiB


class Client:
    """One client's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.http = h11.Connection(h11.SERVER)

    async def receive(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        while True:
            if self.http.they_are_waiting_for_100_continue:
                await self.send_head(100, [])
            event = self.http.next_event()
            if event is not h11.NEED_DATA:
                return event
            self.http.receive_data(await self.reader.read(256 * 1024))

    async def send(self, event: h11.Event) -> None:
        for piece in self.http.send_with_data_passthrough(event) or ():
            self.writer.write(piece)
        await self.writer.drain()

    async def send_head(self, status: int, headers: list[tuple[str, str]]) -> None:
        kind = h11.Response if status >= 200 else h11.InformationalResponse
        await self.send(kind(status_code=status, headers=headers, reason=HTTPStatus(status).phrase.encode()))

    async def respond(self, status: int, headers: list[tuple[str, str]], body: bytes = b"") -> None:
        await self.send_head(status, [*headers, ("Content-Length", str(len(body)))])
        await self.send(h11.Data(data=body))
        await self.send(h11.EndOfMessage())

    async def serve(self) -> None:
        while isinstance(request := await self.receive(), h11.Request):
            path, _, query = request.target.decode().partition("?")
            answer = getattr(self, "on_" + (path.strip("/") or "hello"), self.on_unknown)
            await answer(request, query)
            if path == "/upgrade" or self.http.our_state is h11.MUST_CLOSE:
                return
            while self.http.their_state is h11.SEND_BODY:
                await self.receive()
            self.http.start_next_cycle()

    async def on_hello(self, request: h11.Request, query: str) -> None:
        await self.respond(200, [("Content-Type", "text/plain")], b"Hello, world")

    async def on_unknown(self, request: h11.Request, query: str) -> None:
        await self.respond(404, [], b"Not found")

    async def on_request(self, request: h11.Request, query: str) -> None:
        fields = b"".join(name + b": " + value + b"\n" for name, value in request.headers)
        await self.respond(
            200, [("Content-Type", "text/plain")], request.method + b" " + request.target + b"\n" + fields
        )

    async def on_download(self, request: h11.Request, query: str) -> None:
        left = int(query.partition("=")[2])
        await self.send_head(200, [("Content-Length", str(left))])
        while left:
            piece = PIECE[:left]
            await self.send(h11.Data(data=piece))
            left -= len(piece)
        await self.send(h11.EndOfMessage())

    async def on_upload(self, request: h11.Request, query: str) -> None:
        digest, size = hashlib.sha256(), 0
        while isinstance(event := await self.receive(), h11.Data):
            digest.update(event.data)
            size += len(event.data)
        await self.respond(200, [("Content-Type", "text/plain")], f"{size} bytes {digest.hexdigest()}".encode())

    async def on_echo(self, request: h11.Request, query: str) -> None:
        await self.send_head(200, [("Transfer-Encoding", "chunked")])
        while isinstance(event := await self.receive(), h11.Data):
            await self.send(event)
        await self.send(h11.EndOfMessage())

    async def on_refuse(self, request: h11.Request, query: str) -> None:
        await self.respond(413, [("Connection", "close")], b"Too large")
        while await self.reader.read(1024 * 1024):  # closing now would reset the connection and lose the answer
            pass

    async def on_gzip(self, request: h11.Request, query: str) -> None:
        body, headers = b"Hello, world\n" * 10_000, [("Content-Type", "text/plain"), ("Vary", "Accept-Encoding")]
        if b"gzip" in dict(request.headers).get(b"accept-encoding", b""):
            body = gzip.compress(body)
            headers.append(("Content-Encoding", "gzip"))
        await self.respond(200, headers, body)

    async def on_slow(self, request: h11.Request, query: str) -> None:
        await self.reader.read()
        self.http.send_failed()
        raise ConnectionError("the client gave up")

    async def on_drip(self, request: h11.Request, query: str) -> None:
        await self.send_head(200, [("Content-Length", "1000")])
        for _ in range(1000):
            await self.send(h11.Data(data=b"."))
            await asyncio.sleep(0.05)
        await self.send(h11.EndOfMessage())

    async def on_hints(self, request: h11.Request, query: str) -> None:
        await self.send_head(103, [("Link", "</style.css>; rel=preload")])
        await self.respond(200, [], b"Hello, world")

    async def on_trailers(self, request: h11.Request, query: str) -> None:
        headers = [("Transfer-Encoding", "chunked"), ("Trailer", "Checksum")]
        await self.send_head(200, headers)
        await self.send(h11.Data(data=b"Hello, world"))
        checksum = hashlib.sha256(b"Hello, world").hexdigest()
        await self.send(h11.EndOfMessage(headers=[("Checksum", checksum)]))

    async def on_upgrade(self, request: h11.Request, query: str) -> None:
        if dict(request.headers).get(b"upgrade") != b"echo":
            await self.respond(426, [("Upgrade", "echo"), ("Connection", "upgrade")])
            return
        await self.receive()  # the end of the request
        headers = [("Upgrade", "echo"), ("Connection", "upgrade")]
        await self.send_head(101, headers)
        data = self.http.trailing_data[0]
        while data or (data := await self.reader.read(65536)):
            self.writer.write(data)
            await self.writer.drain()
            data = b""


class Upstream:
    """The server, while `async with` lasts.

    Args:
        ssl_context: for TLS, `None` without.

    Attributes:
        port: where it listens on 127.0.0.1.
    """

    def __init__(self, ssl_context: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self._ssl_context = ssl_context
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._ssl_context, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            # What a client does to its connection is the client's affair; asyncio would log a cancellation.
            with contextlib.suppress(OSError, h11.ProtocolError, asyncio.CancelledError):
                await Client(reader, writer).serve()
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def main() -> None:
    """Serves until standard input ends, and says on standard output where."""
    async with Upstream() as upstream:
        print(upstream.port, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())

"""A client that is not ours: h11 over asyncio's streams, to see what a server really sent."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

import h11


@dataclass
class RawResponse:
    """A response as it came, transfer coding removed."""

    status_code: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    interim: list[tuple[int, list[tuple[bytes, bytes]]]]
    trailers: list[tuple[bytes, bytes]]

    def field(self, name: bytes) -> bytes | None:
        """Returns the only value of a field, `None` if there is none."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) <= 1, f"{name!r} came {len(values)} times"
        return values[0] if values else None

    @property
    def sha256(self) -> str:
        """What the body hashes to."""
        return hashlib.sha256(self.body).hexdigest()


async def fetch(
    url: str,
    method: str = "GET",
    headers: Iterable[tuple[str, str]] = (),
    body: bytes | Iterable[bytes] | None = None,
) -> RawResponse:
    """Sends a request on a connection of its own: bytes with a length, other bodies in chunks. Checks the framing."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        http = h11.Connection(h11.CLIENT)
        fields = [("host", parts.netloc), *headers]
        if isinstance(body, bytes):
            fields.append(("content-length", str(len(body))))
        elif body is not None:
            fields.append(("transfer-encoding", "chunked"))
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        writer.write(http.send(h11.Request(method=method, target=target, headers=fields)) or b"")

        async def send() -> None:
            for chunk in [body] if isinstance(body, bytes) else body or ():
                writer.write(http.send(h11.Data(data=chunk)) or b"")
                await writer.drain()
            writer.write(http.send(h11.EndOfMessage()) or b"")

        sending = asyncio.create_task(send())
        try:
            return await _receive(http, reader)
        finally:
            sending.cancel()
            await asyncio.wait([sending])
    finally:
        writer.transport.abort()


async def _receive(http: h11.Connection, reader: asyncio.StreamReader) -> RawResponse:
    response = RawResponse(0, [], b"", [], [])
    parts: list[bytes] = []
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await reader.read(65536))
        elif isinstance(event, h11.InformationalResponse):
            response.interim.append((event.status_code, list(event.headers)))
        elif isinstance(event, h11.Response):
            response.status_code, response.headers = event.status_code, list(event.headers)
        elif isinstance(event, h11.Data):
            parts.append(bytes(event.data))
        else:
            assert isinstance(event, h11.EndOfMessage)
            response.body, response.trailers = b"".join(parts), list(event.headers)
            assert http.trailing_data == (b"", False), "bytes follow the response"
            return response

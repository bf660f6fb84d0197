"""The limit: connections that write fixed bytes and look at nothing but how many bytes come back.

How many that are is learnt from the first response for a URL, which is read as HTTP. Nothing else is: there are no
timeouts, no errors, no status. What a client costs beyond this is what it does for its user.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import cast
from urllib.parse import urlsplit

_CHUNK = b"10000\r\n%b\r\n" % bytes(64 * 1024)


class Connection(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._left = 0
        self._paused: asyncio.Future[None] | None = None
        self.response: asyncio.Future[None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def start(self, request: bytes, length: int) -> None:
        """Sends the request, or the beginning of it; `response` is done when `length` bytes have come."""
        self._left = length
        self.response = self._loop.create_future()
        self.transport.write(request)

    async def write(self, data: bytes) -> None:
        """Sends more of it."""
        self.transport.write(data)
        if self._paused is not None:
            await self._paused

    def data_received(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left <= 0 and not self.response.done():  # cancelled, when the measurement has ended
            self.response.set_result(None)

    def pause_writing(self) -> None:
        self._paused = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._paused is not None:
            self._paused.set_result(None)
            self._paused = None


class Client:
    """Connections to one server, and who waits for one."""

    def __init__(self, connections: int, authority: str | None) -> None:
        self._free = connections
        self._context = None if authority is None else ssl.create_default_context(cafile=authority)
        self._idle: list[Connection] = []
        self._waiting: deque[asyncio.Future[Connection]] = deque()
        self._requests: dict[str, tuple[bytes, int, int]] = {}

    async def request(self, url: str, like: str | None = None) -> tuple[bytes, int, int]:
        """Returns a GET's bytes, the length of the response, and of the content: those for `like`, if it is given."""
        known = self._requests.get(url)
        if known is None:
            _, length, content = learnt = await self._learn(url if like is None else like)
            known = self._requests[url] = learnt if like is None else (_get(url), length, content)
        return known

    async def _learn(self, url: str) -> tuple[bytes, int, int]:
        parts = urlsplit(url)
        request = _get(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, ssl=self._context)
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().lower().split("\r\n")[1:] if line)
        if "content-length" in fields:
            length = content = int(fields["content-length"])
        else:
            length = content = 0
            while size := int(line := await reader.readuntil(b"\r\n"), 16):
                length += len(line) + len(await reader.readexactly(size + 2))
                content += size
            length += len(b"0\r\n\r\n")
        writer.transport.abort()
        return request, len(head) + length, content

    async def acquire(self, url: str) -> Connection:
        """Returns a connection that is free; waits for one where there are none."""
        if self._idle:
            return self._idle.pop()
        if self._free:
            self._free -= 1
            return await self.connect(url)
        waiter: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        return await waiter

    async def connect(self, url: str) -> Connection:
        """Returns a connection that is new."""
        parts = urlsplit(url)
        loop = asyncio.get_running_loop()
        host, port = str(parts.hostname), int(parts.port or 80)
        _, connection = await loop.create_connection(Connection, host, port, ssl=self._context)
        return connection

    def release(self, connection: Connection) -> None:
        """The connection is free again."""
        if self._waiting:
            self._waiting.popleft().set_result(connection)
        else:
            self._idle.append(connection)

    def close(self) -> None:
        """Closes what is idle."""
        for connection in self._idle:
            connection.transport.abort()


def _get(url: str) -> bytes:
    parts = urlsplit(url)
    return f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()


@asynccontextmanager
async def open_client(connections: int, authority: str | None, http2: bool) -> AsyncIterator[Client]:
    client = Client(connections, authority)
    yield client
    client.close()


async def small(client: Client, url: str) -> int:
    request, length, content = await client.request(url)
    connection = await client.acquire(url)
    connection.start(request, length)
    await connection.response
    client.release(connection)
    return content


download = small


async def once(client: Client, url: str) -> int:
    request, length, content = await client.request(url)
    connection = await client.connect(url)
    # "close" instead of "keep-alive" makes the answer shorter.
    connection.start(request[:-2] + b"Connection: close\r\n\r\n", length - 5)
    await connection.response
    connection.transport.close()
    return content


def _post(url: str, fields: str, body: bytes = b"") -> bytes:
    parts = urlsplit(url)
    return f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{fields}\r\n\r\n".encode() + body


async def post(client: Client, url: str, body: bytes) -> int:
    _, length, content = await client.request(url)
    connection = await client.acquire(url)
    fields = f"Content-Type: application/json\r\nContent-Length: {len(body)}"
    connection.start(_post(url, fields, body), length)
    await connection.response
    client.release(connection)
    return content


async def upload(client: Client, url: str, chunks: AsyncIterator[bytes]) -> int:
    _, length, content = await client.request(url)
    connection = await client.acquire(url)
    connection.start(_post(url, "Transfer-Encoding: chunked"), length)
    async for _ in chunks:
        await connection.write(_CHUNK)
    await connection.write(b"0\r\n\r\n")
    await connection.response
    client.release(connection)
    return content


async def upload_file(client: Client, url: str, path: str) -> int:
    _, length, content = await client.request(url)
    connection = await client.acquire(url)
    with open(path, "rb") as file:
        connection.start(_post(url, f"Content-Length: {os.path.getsize(path)}"), length)
        await asyncio.get_running_loop().sendfile(connection.transport, file)
    await connection.response
    client.release(connection)
    return content


@contextmanager
def open_blocking_client(connections: int) -> Iterator[list[socket.socket]]:
    idle: list[socket.socket] = []
    yield idle
    for connection in idle:
        connection.close()


def blocking_small(idle: list[socket.socket], url: str) -> int:
    parts = urlsplit(url)
    connection = idle.pop() if idle else socket.create_connection((parts.hostname, parts.port))
    connection.sendall(_get(url))
    received = connection.recv(65536)
    idle.append(connection)
    return len(received) - received.index(b"\r\n\r\n") - 4

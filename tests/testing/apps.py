"""What the tests of `ASGIConnector` and `WSGIConnector` are made of: small apps without a framework, and connectors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpcore
from httpcore.testing import ASGIConnector
from httpcore.testing.changes import Changes
from tests.origin_app import Message, Receive, Send

URL = "http://testserver"


async def answer(send: Send, body: bytes = b"", status: int = 200, headers: list[tuple[bytes, bytes]] = []) -> None:  # noqa: B006
    """Sends a whole response."""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def read_body(receive: Receive) -> bytes:
    """Takes a whole request."""
    body = bytearray()
    while True:
        message = await receive()
        assert message["type"] == "http.request"
        body += message["body"]
        if not message["more_body"]:
            return bytes(body)


class Disconnects:
    """An app that starts a response, and then waits for its client to leave."""

    def __init__(self) -> None:
        self.calls = 0
        self.gone = 0
        self.changes = Changes()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        self.calls += 1
        if scope["path"] == "/started":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        self.changes.notify()
        while (await receive())["type"] != "http.disconnect":
            pass
        self.gone += 1
        self.changes.notify()

    async def called(self) -> None:
        await self.changes.wait_until(lambda: self.calls > 0)

    async def left(self) -> None:
        await self.changes.wait_until(lambda: self.gone == self.calls)


@asynccontextmanager
async def running(app: Any, http1: bool = True, **arguments: Any) -> AsyncIterator[httpcore.ConnectionPool]:
    """A pool over an app."""
    async with (
        ASGIConnector(app, lifespan=False, **arguments) as connector,
        httpcore.ConnectionPool(connector=connector, http1=http1) as http,
    ):
        yield http
    assert http.num_connections == 0


class Gate:
    """Lets a test and an app wait for each other."""

    def __init__(self) -> None:
        self.count = 0
        self._changes = Changes()

    def add(self, count: int = 1) -> None:
        self.count += count
        self._changes.notify()

    async def reached(self, count: int) -> None:
        await self._changes.wait_until(lambda: self.count >= count)


async def settled(count: Callable[[], int]) -> int:
    """Returns what `count` gives once it has stopped to change for many turns of the loop."""
    last, same = count(), 0
    while same < 50:
        await asyncio.sleep(0)
        now = count()
        last, same = now, same + 1 if now == last else 0
    return last

"""Transports and timers that are not asyncio's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import cast

import httpcore
from httpcore.protocols.deadlines import Deadline
from tests.asgi_server import asgi_server
from tests.origin_app import app


class _Foreign:
    """A transport that has the methods, and derives from nothing: uvloop's are such."""

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)


class _OnForeign(httpcore.HTTP11Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(_Foreign(transport))  # type: ignore[arg-type]  # that is the point


class _Body(httpcore.ResponseHandler):
    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.parts.append(data)

    def response_complete(self, trailers: httpcore.Headers) -> None:
        self.done.set_result(b"".join(self.parts))

    def exchange_failed(self, exc: BaseException) -> None:
        self.done.set_exception(exc)


async def test_transport_need_not_derive_from_asyncios():
    async with asgi_server(app) as origin:
        url = httpcore.URL(origin.url + "/upload")
        _, protocol = await asyncio.get_running_loop().create_connection(_OnForeign, url.host, url.port)
        handler = _Body()
        protocol.dispatch(httpcore.Request("POST", url, body=b"some content"), handler)
        assert json.loads(await handler.done)["size"] == 12
        protocol.close("the test is over")
        await protocol.wait_closed()


class _ForeignTimers:
    """A loop that returns a plain handle, without a `when`, for what is due at once: uvloop does."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def call_at(self, when: float, callback: Callable[[], None]) -> asyncio.Handle:
        return self._loop.call_soon(callback) if when <= self._loop.time() else self._loop.call_at(when, callback)


async def test_deadline_that_is_due_at_once_needs_no_timer():
    loop = asyncio.get_running_loop()
    fired = asyncio.Event()
    deadline = Deadline(cast("asyncio.AbstractEventLoop", _ForeignTimers(loop)), fired.set)
    deadline.arm(loop.time() - 2)
    deadline.arm(loop.time() - 3)  # to earlier
    deadline.when = loop.time() - 1  # to later, but due
    await fired.wait()
    assert deadline.when is None
    deadline.close()

"""An ASGI app that answers what tests ask of clients with sessions; and servers that run beside a test that blocks."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import json
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import TypeVar
from urllib.parse import parse_qsl

import brotli

from tests import origin_app
from tests.origin_app import TEXT, Message, Receive, Send

_T = TypeVar("_T")

CREDENTIALS = ("user", "passwd")
DECODED = b"decoded " * 1000


class Thread:
    """A loop in a thread of its own, for the servers of a test that blocks."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._stack = contextlib.AsyncExitStack()
        self._thread = threading.Thread(target=self.loop.run_forever)

    def enter(self, context: AbstractAsyncContextManager[_T]) -> _T:
        """Enters `context` there, until the end of the test."""
        entered = self._stack.enter_async_context(context)
        return asyncio.run_coroutine_threadsafe(entered, self.loop).result()

    def call(self, function: Callable[[], object]) -> None:
        self.loop.call_soon_threadsafe(function)

    @contextlib.contextmanager
    def running(self) -> Iterator[Thread]:
        self._thread.start()
        try:
            yield self
        finally:
            try:
                asyncio.run_coroutine_threadsafe(self._stack.aclose(), self.loop).result()
            finally:
                self.loop.call_soon_threadsafe(self.loop.stop)
                self._thread.join()
                self.loop.close()


class App:
    """Answers by the first segment of the path; what it does not know, tests/origin_app.py does.

    Attributes:
        events: what `/events` sends, one after the other.
    """

    def __init__(self) -> None:
        self.events: asyncio.Queue[bytes] = asyncio.Queue()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        name, _, argument = scope["path"].lstrip("/").partition("/")
        route = getattr(self, f"_{name}", None)
        if route is None:
            await origin_app.app(scope, receive, send)
            return
        while (await receive()).get("more_body", False):
            pass
        query = dict(parse_qsl(scope["query_string"].decode()))
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        await route(send, argument, query, headers)

    async def _cookies(self, send: Send, argument: str, query: dict[str, str], headers: dict[str, str]) -> None:
        """Shows the request's cookies, and sets those of the query."""
        fields = [("set-cookie", f"{name}={value}; Path=/") for name, value in query.items()]
        await _answer(send, 200, headers.get("cookie", "").encode(), *fields)

    async def _redirect(self, send: Send, argument: str, query: dict[str, str], headers: dict[str, str]) -> None:
        """Redirects with that status to where the query says, and sets a cookie if it says so."""
        fields = [("set-cookie", f"redirected={query['cookie']}; Path=/")] if "cookie" in query else []
        await _answer(send, int(argument), b"moved", ("location", query["to"]), *fields)

    async def _loop(self, send: Send, argument: str, query: dict[str, str], headers: dict[str, str]) -> None:
        await _answer(send, 302, b"", ("location", f"/loop/{int(argument or 0) + 1}"))

    async def _secret(self, send: Send, argument: str, query: dict[str, str], headers: dict[str, str]) -> None:
        """For those who say who they are, by Basic or, very simply, by Digest."""
        given = headers.get("authorization", "")
        basic = "Basic " + base64.b64encode(":".join(CREDENTIALS).encode()).decode()
        if given == basic or given.startswith('Digest username="user"'):
            await _answer(send, 200, b"secret")
        else:
            challenge = 'Digest realm="tests", nonce="1", qop="auth"' if argument == "digest" else 'Basic realm="tests"'
            await _answer(send, 401, b"who?", ("www-authenticate", challenge))

    async def _headers(self, send: Send, argument: str, query: dict[str, str], headers: dict[str, str]) -> None:
        await _answer(send, 200, json.dumps(headers).encode(), ("content-type", "application/json"))

    async def _many(self, send: Send, argument: str, query: dict[str, str], headers: dict[str, str]) -> None:
        await _answer(send, 200, b"", ("x-many", "one"), ("x-many", "two"), ("x-latin", "caf\xe9"))

    async def _coded(self, send: Send, argument: str, query: dict[str, str], headers: dict[str, str]) -> None:
        await _answer(send, 200, coded(argument), ("content-encoding", argument), ("content-type", "text/plain"))

    async def _broken(self, send: Send, argument: str, query: dict[str, str], headers: dict[str, str]) -> None:
        await _answer(send, 200, b"this is no gzip", ("content-encoding", "gzip"))

    async def _latin(self, send: Send, argument: str, query: dict[str, str], headers: dict[str, str]) -> None:
        await _answer(send, 200, "café".encode("latin-1"), ("content-type", "text/plain; charset=latin-1"))

    async def _events(self, send: Send, argument: str, query: dict[str, str], headers: dict[str, str]) -> None:
        """Events of unknown length, each when the test says so; coded if the path says so."""
        fields = [(b"content-type", b"text/event-stream")]
        coder = zlib.compressobj(wbits=31)
        if argument == "gzip":
            fields.append((b"content-encoding", b"gzip"))
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        while event := await self.events.get():
            if argument == "gzip":
                event = coder.compress(event) + coder.flush(zlib.Z_SYNC_FLUSH)
            await send({"type": "http.response.body", "body": event, "more_body": True})
        end = coder.flush() if argument == "gzip" else b""
        await send({"type": "http.response.body", "body": end, "more_body": False})


def coded(coding: str) -> bytes:
    """Returns `DECODED` in that coding."""
    if coding == "gzip":
        return gzip.compress(DECODED, mtime=0)
    if coding == "deflate":
        return zlib.compress(DECODED)
    if coding == "br":
        return bytes(brotli.compress(DECODED))
    from backports import zstd

    return bytes(zstd.compress(DECODED))


async def _answer(send: Send, status: int, body: bytes, *fields: tuple[str, str]) -> None:
    headers = [(name.encode(), value.encode("latin-1")) for name, value in fields]
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


__all__ = ["CREDENTIALS", "DECODED", "TEXT", "App", "Thread", "coded"]

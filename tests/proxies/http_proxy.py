"""`HTTPProxy`: an HTTP/1.1 proxy in the test's own process, that tunnels (CONNECT) and forwards, or does as told."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple, TypeAlias

import h11

from tests.proxies.forward import Forwarding
from tests.proxies.relay import ClientEnd, Headers, Proxy
from tests.proxies.script import Answer, Then, resolved
from tests.proxies.ways import Connect, dial

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n"
AUTHENTICATE = (
    b"HTTP/1.1 407 Proxy Authentication Required\r\n"
    b'proxy-authenticate: Basic realm="tests"\r\ncontent-length: 13\r\n\r\nauthenticate\n'
)


class ProxyRequest(NamedTuple):
    """What a client asked of a proxy.

    Attributes:
        method: e.g. `b"CONNECT"`.
        target: `b"host:port"` for CONNECT, else an absolute URL.
        headers: names in lower case.
    """

    method: bytes
    target: bytes
    headers: Headers

    def get(self, name: bytes) -> bytes | None:
        """The value of a field; `None` if there is none."""
        values = [value for field, value in self.headers if field == name]
        return b", ".join(values) if values else None

    @property
    def credentials(self) -> tuple[str, str] | None:
        """User and password of Basic authentication; `None` if there are none."""
        scheme, _, encoded = (self.get(b"proxy-authorization") or b"").partition(b" ")
        if scheme.lower() != b"basic":
            return None
        user, _, password = base64.b64decode(encoded).decode().partition(":")
        return user, password


Script: TypeAlias = Callable[[ProxyRequest], Answer | bytes | None | Awaitable[Answer | bytes | None]]


def split_authority(authority: bytes) -> tuple[str, int]:
    """Returns host, without brackets, and port.

    Raises:
        ValueError: not `host:port`.
    """
    host, colon, port = authority.decode("ascii").rpartition(":")
    if not colon or not host:
        raise ValueError(f"not host:port: {authority!r}")
    return host.removeprefix("[").removesuffix("]"), int(port)


class HTTPProxy(Proxy):
    """An HTTP/1.1 proxy; more of it in `Proxy`.

    Args:
        connect: the way to origins.
        auth: user and password that each request has to carry; `None`: none.
        answer: looks at each request, and returns what is sent in place of the ordinary answer: raw bytes, after which
            the connection stays open for another request, or an `Answer`; or `None` for the ordinary one. Also as a
            coroutine, which may wait. To forwarded requests, PROCEED is the same as STAY.
        on_accept: what is done with each connection at once.

    Attributes:
        requests: what was asked, in order, of all connections.
    """

    def __init__(
        self,
        *,
        connect: Connect = dial,
        auth: tuple[str, str] | None = None,
        answer: Script | None = None,
        on_accept: Answer | None = None,
    ) -> None:
        super().__init__(connect, on_accept)
        self.auth = auth
        self.answer = answer
        self.requests: list[ProxyRequest] = []

    def accept(self) -> asyncio.Protocol:
        return _HTTPClientEnd(self)

    async def answer_to(self, request: ProxyRequest) -> Answer | None:
        """Returns the script's answer, or that credentials are missing; or `None`."""
        answer = await resolved(self.answer(request)) if self.answer is not None else None
        if answer is None and self.auth is not None and request.credentials != self.auth:
            answer = AUTHENTICATE
        return Answer(answer) if isinstance(answer, bytes) else answer


class _HTTPClientEnd(ClientEnd):
    proxy: HTTPProxy

    def __init__(self, proxy: HTTPProxy) -> None:
        super().__init__(proxy)
        self._forwarding: Forwarding | None = None

    def data_received(self, data: bytes) -> None:
        if self._forwarding is None:
            super().data_received(data)
        else:
            self.record.received += data
            self._forwarding.receive(data)
            self.proxy.changes.notify()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._forwarding is not None and self._forwarding.origin is not None:
            self._forwarding.origin.read(False)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._forwarding is not None and self._forwarding.origin is not None:
            self._forwarding.origin.read(True)

    def received(self) -> None:
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self.buffer[: end + 4])
        del self.buffer[: end + 4]
        self.record.heads.append(head)
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        http.receive_data(head)
        try:
            event = http.next_event()
        except h11.RemoteProtocolError:
            self.start(self._give_up())
            return
        assert isinstance(event, h11.Request)
        request = ProxyRequest(event.method, event.target, list(event.headers))
        self.proxy.requests.append(request)
        if request.method == b"CONNECT":
            self.start(self._tunnel(request))
            return
        forwarding = self._forwarding = Forwarding(self, http, event)
        if self.buffer:
            forwarding.receive(bytes(self.buffer))
            self.buffer.clear()
        self.start(self._forward(request, forwarding))

    async def _give_up(self) -> None:
        await self.answer(Answer(BAD_REQUEST, Then.CLOSE))

    async def _tunnel(self, request: ProxyRequest) -> None:
        answer = await self.proxy.answer_to(request) or Answer(ESTABLISHED, Then.PROCEED)
        try:
            host, port = split_authority(request.target)
        except ValueError:
            await self._give_up()
        else:
            await self.tunnel(host, port, answer, lambda error: Answer(BAD_GATEWAY))

    async def _forward(self, request: ProxyRequest, forwarding: Forwarding) -> None:
        answer = await self.proxy.answer_to(request)
        if answer is not None:
            await self.answer(answer)
            await forwarding.discard()
        else:
            try:
                await forwarding.run()
            except ValueError:
                await self._give_up()
        self._forwarding = None
        self.buffer += forwarding.leftover


@contextlib.asynccontextmanager
async def http_proxy(
    server_context: ssl.SSLContext | None = None,
    *,
    connect: Connect = dial,
    auth: tuple[str, str] | None = None,
    answer: Script | None = None,
    on_accept: Answer | None = None,
    host: str = "127.0.0.1",
) -> AsyncIterator[HTTPProxy]:
    """An `HTTPProxy` on a free port of `host`, over TLS with a context for a server."""
    async with (
        HTTPProxy(connect=connect, auth=auth, answer=answer, on_accept=on_accept) as proxy,
        proxy.listening(server_context, host),
    ):
        yield proxy

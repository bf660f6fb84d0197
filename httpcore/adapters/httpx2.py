"""Transports for httpx2: `httpx2.AsyncClient(transport=AsyncTransport())`, `httpx2.Client(transport=Transport())`.

Request extensions: `timeout`, `sni_hostname` (also verified), `target`, and `trace`, whose steps are listed in
`httpcore/adapters/_trace.py`. Response extensions: `http_version`, `reason_phrase` (HTTP/1), `stream_id` (HTTP/2) and
`network_stream`.
"""

from __future__ import annotations

from types import ModuleType
from typing import ClassVar

import httpx2

from httpcore.adapters._httpx_async import AsyncAdapter, AsyncContent
from httpcore.adapters._httpx_sync import SyncAdapter, SyncContent

__all__ = ["AsyncTransport", "Transport"]


class _AsyncStream(AsyncContent, httpx2.AsyncByteStream):
    """A response's content."""


class _Stream(SyncContent, httpx2.SyncByteStream):
    """A response's content."""


class AsyncTransport(AsyncAdapter, httpx2.AsyncBaseTransport):
    """Sends an `httpx2.AsyncClient`'s requests by a `ConnectionPool`.

    A client with a transport heeds no proxies of its own: give them to the pool, as in `AsyncTransport(proxy=...)` or
    `AsyncTransport(proxy=httpcore.proxies_from_environment())`. The same goes for `verify`, `cert`, `http1`,
    `http2` and `limits`; timeouts are the client's, but for `total_timeout`, which is the pool's.

    Args:
        pool: a `ConnectionPool`; `None` makes one. It is closed with the transport, which is closed with the client.
        options: the arguments of a `ConnectionPool`, where none is given.

    Raises:
        TypeError: there are both, or `pool` is something else.
    """

    _module: ClassVar[ModuleType] = httpx2

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Sends a request, and returns the response, whose content is to be read, or closed.

        Raises:
            httpx2.TransportError: a subclass of it says what went wrong; `__cause__` is this library's error.
            httpx2.InvalidURL: the URL is malformed or ambiguous.
            Exception: what the request's content or the `trace` callback raised.
        """
        answer = await self._send(request)
        response = answer.response
        return httpx2.Response(
            response.status_code,
            headers=response.raw_headers,
            stream=_AsyncStream(answer),
            extensions=answer.extensions,
        )


class Transport(SyncAdapter, httpx2.BaseTransport):
    """Sends an `httpx2.Client`'s requests by a `SyncConnectionPool`; otherwise the same as `AsyncTransport`.

    Threads may share it. A `trace` callback is called in the thread of the background loop, and must not block.

    Args:
        pool: a `SyncConnectionPool`; `None` makes one. It is closed with the transport, which is closed with the
            client.
        options: the arguments of a `SyncConnectionPool`, where none is given.

    Raises:
        TypeError: there are both, or `pool` is something else.
    """

    _module: ClassVar[ModuleType] = httpx2

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Sends a request, and returns the response, whose content is to be read, or closed.

        Raises:
            httpx2.TransportError: a subclass of it says what went wrong; `__cause__` is this library's error.
            httpx2.InvalidURL: the URL is malformed or ambiguous.
            Exception: what the request's content or the `trace` callback raised.
        """
        answer = self._send(request)
        response = answer.response
        return httpx2.Response(
            response.status_code,
            headers=response.raw_headers,
            stream=_Stream(answer),
            extensions=answer.extensions,
        )

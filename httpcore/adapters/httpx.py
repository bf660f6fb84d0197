"""Transports for httpx: `httpx.AsyncClient(transport=AsyncTransport())`, `httpx.Client(transport=Transport())`.

Request extensions: `timeout`, `sni_hostname` (also verified), `target`, and `trace`, whose steps are listed in
`httpcore/adapters/_trace.py`. Response extensions: `http_version`, `reason_phrase` (HTTP/1), `stream_id` (HTTP/2) and
`network_stream`.
"""

from __future__ import annotations

from types import ModuleType
from typing import ClassVar

import httpx

from httpcore.adapters._httpx_async import AsyncAdapter, AsyncContent
from httpcore.adapters._httpx_sync import SyncAdapter, SyncContent

__all__ = ["AsyncTransport", "Transport"]


class _AsyncStream(AsyncContent, httpx.AsyncByteStream):
    """A response's content."""


class _Stream(SyncContent, httpx.SyncByteStream):
    """A response's content."""


class AsyncTransport(AsyncAdapter, httpx.AsyncBaseTransport):
    """Sends an `httpx.AsyncClient`'s requests by a `ConnectionPool`.

    A client with a transport heeds no proxies of its own: give them to the pool, as in `AsyncTransport(proxy=...)` or
    `AsyncTransport(proxy=httpcore.proxies_from_environment())`. The same goes for `verify`, `cert`, `http1`,
    `http2` and `limits`; timeouts are the client's, but for `total_timeout`, which is the pool's.

    Args:
        pool: a `ConnectionPool`; `None` makes one. It is closed with the transport, which is closed with the client.
        options: the arguments of a `ConnectionPool`, where none is given.

    Raises:
        TypeError: there are both, or `pool` is something else.
    """

    _module: ClassVar[ModuleType] = httpx

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Sends a request, and returns the response, whose content is to be read, or closed.

        Raises:
            httpx.TransportError: a subclass of it says what went wrong; `__cause__` is this library's error.
            httpx.InvalidURL: the URL is malformed or ambiguous.
            Exception: what the request's content or the `trace` callback raised.
        """
        answer = await self._send(request)
        response = answer.response
        return httpx.Response(
            response.status_code,
            headers=response.raw_headers,
            stream=_AsyncStream(answer),
            extensions=answer.extensions,
        )


class Transport(SyncAdapter, httpx.BaseTransport):
    """Sends an `httpx.Client`'s requests by a `SyncConnectionPool`; otherwise the same as `AsyncTransport`.

    Threads may share it. A `trace` callback is called in the thread of the background loop, and must not block.

    Args:
        pool: a `SyncConnectionPool`; `None` makes one. It is closed with the transport, which is closed with the
            client.
        options: the arguments of a `SyncConnectionPool`, where none is given.

    Raises:
        TypeError: there are both, or `pool` is something else.
    """

    _module: ClassVar[ModuleType] = httpx

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Sends a request, and returns the response, whose content is to be read, or closed.

        Raises:
            httpx.TransportError: a subclass of it says what went wrong; `__cause__` is this library's error.
            httpx.InvalidURL: the URL is malformed or ambiguous.
            Exception: what the request's content or the `trace` callback raised.
        """
        answer = self._send(request)
        response = answer.response
        return httpx.Response(
            response.status_code,
            headers=response.raw_headers,
            stream=_Stream(answer),
            extensions=answer.extensions,
        )

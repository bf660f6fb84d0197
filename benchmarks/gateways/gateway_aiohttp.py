"""The gateway of examples/gateway.py on aiohttp: the same ASGI messages and fields, both directions streamed."""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import aiohttp
from multidict import CIMultiDict
from yarl import URL

# By name, as a type checker looks for modules in the folder above all others.
_relayed: Any = importlib.import_module("relayed")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Gateway:
    """Forwards every request to one upstream."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.http: aiohttp.ClientSession

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.lifespan(receive, send)
            return
        downstream = _relayed.Downstream(receive, send)
        try:
            await self.relay(scope, downstream)
        except (aiohttp.ClientError, TimeoutError):
            if downstream.begun:
                raise
            await downstream.refuse()
        except asyncio.CancelledError:
            if not downstream.gone:
                raise
        finally:
            await downstream.close()

    async def relay(self, scope: Message, downstream: Any) -> None:
        body = await downstream.body()
        url = URL(self.upstream + scope["raw_path"].decode("latin-1"), encoded=True)
        fields = _relayed.request_fields(scope)
        headers = CIMultiDict((name.decode("latin-1"), value.decode("latin-1")) for name, value in fields)
        async with self.http.request(
            scope["method"], url, headers=headers, data=body or None, allow_redirects=False
        ) as response:
            await downstream.start(response.status, _relayed.response_fields(response.raw_headers))
            async for part in response.content.iter_any():
                await downstream.write(part)
        await downstream.end()

    async def lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        async with aiohttp.ClientSession(
            auto_decompress=False,
            skip_auto_headers=["user-agent", "accept", "accept-encoding", "content-type"],
            timeout=aiohttp.ClientTimeout(sock_connect=5, sock_read=60),
        ) as self.http:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


app = Gateway(os.environ["UPSTREAM"])

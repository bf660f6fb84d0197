"""The gateway of examples/gateway.py on httpx: the same ASGI messages and fields, both directions streamed."""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import httpx

# By name, as a type checker looks for modules in the folder above all others.
_relayed: Any = importlib.import_module("relayed")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Gateway:
    """Forwards every request to one upstream."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.http = httpx.AsyncClient(timeout=httpx.Timeout(60, connect=5, pool=5))
        self.http.headers.clear()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.lifespan(receive, send)
            return
        downstream = _relayed.Downstream(receive, send)
        try:
            await self.relay(scope, downstream)
        except httpx.TransportError:
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
        url = self.upstream + scope["raw_path"].decode("latin-1")
        headers = _relayed.request_fields(scope)
        request = self.http.build_request(scope["method"], url, headers=headers, content=body or None)
        response = await self.http.send(request, stream=True)
        try:
            await downstream.start(response.status_code, _relayed.response_fields(response.headers.raw))
            async for part in response.aiter_raw():
                await downstream.write(part)
        finally:
            await response.aclose()
        await downstream.end()

    async def lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.http.aclose()
        await send({"type": "lifespan.shutdown.complete"})


app = Gateway(os.environ["UPSTREAM"])

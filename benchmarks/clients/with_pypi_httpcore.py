"""PyPI's httpcore 1.0, which httpx is built on."""

from __future__ import annotations

import importlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

# By name, as a type checker would look for its API in the httpcore of this tree.
httpcore: Any = importlib.import_module("httpcore")

_TIMEOUTS = {"timeout": {"connect": 60.0, "read": 60.0, "write": 60.0, "pool": 60.0}}


@asynccontextmanager
async def open_client(connections: int, authority: str | None, http2: bool) -> AsyncIterator[Any]:
    context = None if authority is None else ssl.create_default_context(cafile=authority)
    async with httpcore.AsyncConnectionPool(
        context, max_connections=connections, max_keepalive_connections=connections
    ) as pool:
        yield pool


async def small(pool: Any, url: str) -> int:
    response = await pool.request("GET", url, extensions=_TIMEOUTS)
    return len(response.content)


async def once(pool: Any, url: str) -> int:
    response = await pool.request("GET", url, headers={"connection": "close"}, extensions=_TIMEOUTS)
    return len(response.content)


async def post(pool: Any, url: str, body: bytes) -> int:
    headers = {"content-type": "application/json"}
    response = await pool.request("POST", url, headers=headers, content=body, extensions=_TIMEOUTS)
    return len(response.content)


async def download(pool: Any, url: str) -> int:
    size = 0
    async with pool.stream("GET", url, extensions=_TIMEOUTS) as response:
        async for part in response.aiter_stream():
            size += len(part)
    return size


async def upload(pool: Any, url: str, chunks: AsyncIterator[bytes]) -> int:
    response = await pool.request("POST", url, content=chunks, extensions=_TIMEOUTS)
    return len(response.content)

"""PyPI's httpcore 1.0, which httpx is built on."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

# By name, as a type checker would look for its API in the httpcore of this tree.
httpcore: Any = importlib.import_module("httpcore")

_TIMEOUTS = {"timeout": {"connect": 60.0, "read": 60.0, "write": 60.0, "pool": 60.0}}


@asynccontextmanager
async def open_client(connections: int) -> AsyncIterator[Any]:
    async with httpcore.AsyncConnectionPool(max_connections=connections, max_keepalive_connections=connections) as pool:
        yield pool


async def small(pool: Any, url: str) -> int:
    response = await pool.request("GET", url, extensions=_TIMEOUTS)
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

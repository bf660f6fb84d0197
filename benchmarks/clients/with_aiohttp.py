"""aiohttp, with what `aiohttp[speedups]` brings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp


@asynccontextmanager
async def open_client(connections: int) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=connections)
    # Its default is a total of five minutes; a total is what it knows best.
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)) as session:
        yield session


async def small(session: aiohttp.ClientSession, url: str) -> int:
    async with session.get(url) as response:
        return len(await response.read())


async def download(session: aiohttp.ClientSession, url: str) -> int:
    size = 0
    async with session.get(url) as response:
        async for part in response.content.iter_any():
            size += len(part)
    return size


async def upload(session: aiohttp.ClientSession, url: str, chunks: AsyncIterator[bytes]) -> int:
    async with session.post(url, data=chunks) as response:
        return len(await response.read())

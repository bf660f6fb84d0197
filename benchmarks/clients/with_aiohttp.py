"""aiohttp, with what `aiohttp[speedups]` brings."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp


@asynccontextmanager
async def open_client(connections: int, authority: str | None, http2: bool) -> AsyncIterator[aiohttp.ClientSession]:
    context = True if authority is None else ssl.create_default_context(cafile=authority)
    connector = aiohttp.TCPConnector(limit=connections, ssl=context)
    # Its default is a total of five minutes; a total is what it knows best.
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)) as session:
        yield session


async def small(session: aiohttp.ClientSession, url: str) -> int:
    async with session.get(url) as response:
        return len(await response.read())


async def once(session: aiohttp.ClientSession, url: str) -> int:
    async with session.get(url, headers={"connection": "close"}) as response:
        return len(await response.read())


async def post(session: aiohttp.ClientSession, url: str, body: bytes) -> int:
    async with session.post(url, data=body, headers={"content-type": "application/json"}) as response:
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


async def upload_file(session: aiohttp.ClientSession, url: str, path: str) -> int:
    with open(path, "rb") as file:
        async with session.post(url, data=file) as response:
            return len(await response.read())

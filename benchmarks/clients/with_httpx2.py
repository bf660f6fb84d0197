"""httpx2, over httpcore2."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2


@asynccontextmanager
async def open_client(connections: int, authority: str | None, http2: bool) -> AsyncIterator[httpx2.AsyncClient]:
    limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
    verify = True if authority is None else ssl.create_default_context(cafile=authority)
    async with httpx2.AsyncClient(http2=http2, verify=verify, limits=limits, timeout=httpx2.Timeout(60)) as client:
        yield client


async def small(client: httpx2.AsyncClient, url: str) -> int:
    response = await client.get(url)
    return len(response.content)


async def once(client: httpx2.AsyncClient, url: str) -> int:
    response = await client.get(url, headers={"connection": "close"})
    return len(response.content)


async def post(client: httpx2.AsyncClient, url: str, body: bytes) -> int:
    response = await client.post(url, content=body, headers={"content-type": "application/json"})
    return len(response.content)


async def download(client: httpx2.AsyncClient, url: str) -> int:
    size = 0
    async with client.stream("GET", url) as response:
        async for part in response.aiter_bytes():
            size += len(part)
    return size


async def upload(client: httpx2.AsyncClient, url: str, chunks: AsyncIterator[bytes]) -> int:
    response = await client.post(url, content=chunks)
    return len(response.content)

"""httpx, over PyPI's httpcore."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import httpx


@asynccontextmanager
async def open_client(connections: int, authority: str | None, http2: bool) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    verify = True if authority is None else ssl.create_default_context(cafile=authority)
    async with httpx.AsyncClient(http2=http2, verify=verify, limits=limits, timeout=httpx.Timeout(60)) as client:
        yield client


async def small(client: httpx.AsyncClient, url: str) -> int:
    response = await client.get(url)
    return len(response.content)


async def once(client: httpx.AsyncClient, url: str) -> int:
    response = await client.get(url, headers={"connection": "close"})
    return len(response.content)


async def post(client: httpx.AsyncClient, url: str, body: bytes) -> int:
    response = await client.post(url, content=body, headers={"content-type": "application/json"})
    return len(response.content)


async def download(client: httpx.AsyncClient, url: str) -> int:
    size = 0
    async with client.stream("GET", url) as response:
        async for part in response.aiter_bytes():
            size += len(part)
    return size


async def upload(client: httpx.AsyncClient, url: str, chunks: AsyncIterator[bytes]) -> int:
    response = await client.post(url, content=chunks)
    return len(response.content)


@contextmanager
def open_blocking_client(connections: int) -> Iterator[httpx.Client]:
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    with httpx.Client(limits=limits, timeout=httpx.Timeout(60)) as client:
        yield client


def blocking_small(client: httpx.Client, url: str) -> int:
    return len(client.get(url).content)

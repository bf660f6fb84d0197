"""httpcore, as it is in this tree, with what is installed beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import httpcore


@asynccontextmanager
async def open_client(connections: int, authority: str | None, http2: bool) -> AsyncIterator[httpcore.ConnectionPool]:
    timeout = httpcore.TimeoutConfig(60)
    limits = httpcore.PoolLimits(soft_limit=connections, hard_limit=connections)
    ssl = None if authority is None else httpcore.SSLConfig(verify=authority)
    async with httpcore.ConnectionPool(ssl, timeout, limits) as pool:
        yield pool


async def small(pool: httpcore.ConnectionPool, url: str) -> int:
    response = await pool.request("GET", url)
    return len(response.body)


async def once(pool: httpcore.ConnectionPool, url: str) -> int:
    response = await pool.request("GET", url, headers={"connection": "close"})
    return len(response.body)


async def post(pool: httpcore.ConnectionPool, url: str, body: bytes) -> int:
    response = await pool.request("POST", url, headers={"content-type": "application/json"}, body=body)
    return len(response.body)


async def download(pool: httpcore.ConnectionPool, url: str) -> int:
    size = 0
    async with await pool.request("GET", url, stream=True) as response:
        async for part in response.stream():
            size += len(part)
    return size


async def upload(pool: httpcore.ConnectionPool, url: str, chunks: AsyncIterator[bytes]) -> int:
    response = await pool.request("POST", url, body=chunks)
    return len(response.body)


async def upload_file(pool: httpcore.ConnectionPool, url: str, path: str) -> int:
    with open(path, "rb") as file:
        response = await pool.request("POST", url, body=file)
    return len(response.body)


@contextmanager
def open_blocking_client(connections: int) -> Iterator[httpcore.SyncConnectionPool]:
    timeout = httpcore.TimeoutConfig(60)
    limits = httpcore.PoolLimits(soft_limit=connections, hard_limit=connections)
    with httpcore.SyncConnectionPool(timeout=timeout, limits=limits) as pool:
        yield pool


def blocking_small(pool: httpcore.SyncConnectionPool, url: str) -> int:
    return len(pool.request("GET", url).body)

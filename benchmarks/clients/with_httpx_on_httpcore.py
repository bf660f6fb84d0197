"""httpx, over this tree's core."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

import httpcore
from httpcore.adapters.httpx import AsyncTransport

# By name, as a type checker looks for modules in the folder above all others.
_client = importlib.import_module("with_httpx")
small, once, post, download, upload = _client.small, _client.once, _client.post, _client.download, _client.upload


@asynccontextmanager
async def open_client(connections: int, authority: str | None, http2: bool) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpcore.PoolLimits(soft_limit=connections, hard_limit=connections)
    ssl = None if authority is None else httpcore.SSLConfig(verify=authority)
    pool = httpcore.ConnectionPool(ssl, limits=limits)
    async with httpx.AsyncClient(transport=AsyncTransport(pool), timeout=httpx.Timeout(60)) as client:
        yield client

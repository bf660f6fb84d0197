"""niquests, over urllib3-future and jh2.

Not `multiplexed=True`, whose responses have to be gathered: with tasks that each wait for their own it costs more, and
both ways open a connection for each of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import niquests


@asynccontextmanager
async def open_client(connections: int, authority: str | None, http2: bool) -> AsyncIterator[niquests.AsyncSession]:
    session = niquests.AsyncSession(
        pool_maxsize=connections,
        revocation_configuration=None,  # no other client asks whether the certificate was revoked
        timeout=60.0,
        verify=True if authority is None else authority,
        disable_http2=not http2,
    )
    session.trust_env = False  # variables that name authorities would win over `verify`
    async with session:
        yield session


async def small(session: niquests.AsyncSession, url: str) -> int:
    response = await session.get(url)
    return len(response.content)


async def once(session: niquests.AsyncSession, url: str) -> int:
    response = await session.get(url, headers={"connection": "close"})
    return len(response.content)


async def post(session: niquests.AsyncSession, url: str, body: bytes) -> int:
    response = await session.post(url, data=body, headers={"content-type": "application/json"})
    return len(response.content)


async def download(session: niquests.AsyncSession, url: str) -> int:
    size = 0
    response = await session.get(url, stream=True)
    async for part in await response.iter_content(-1):
        size += len(part)
    return size


async def upload(session: niquests.AsyncSession, url: str, chunks: AsyncIterator[bytes]) -> int:
    response = await session.post(url, data=chunks)
    return len(response.content)

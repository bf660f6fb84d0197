"""Pools whose requests go through the tunnels of a proxy in this process, and origins behind it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from typing import TypeAlias

import pytest

from httpcore import ConnectionPool, ProxyError, SSLConfig
from httpcore import Proxy as ProxyConfig
from httpcore.pool.slots import Slots
from httpcore.testing import MemoryConnector
from tests.clock import turns
from tests.conftest import TLSFiles
from tests.h11_server import H11Server
from tests.pool.books import check_books, check_empty
from tests.pool.multiplexing import Chosen
from tests.proxies.relay import Proxy
from tests.proxies.ways import Connect, to_protocol

__all__ = [
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "PORT",
    "PROXY",
    "Origins",
    "below",
    "chosen",
    "refused",
    "tunnelled",
    "unverified",
]

PROXY = "http://proxy:3128"
HTTP_PROXY = ProxyConfig(PROXY, tunnel=True)
HTTPS_PROXY = ProxyConfig("https://proxy:3128", tunnel=True, ssl=SSLConfig(verify=ssl.create_default_context()))
PORT = 3128

Make: TypeAlias = Callable[[], H11Server]


class Origins:
    """The origins behind a proxy, in memory. `connect` is the proxy's way to them."""

    def __init__(self, make: Make = H11Server, *, segment: int | None = None) -> None:
        self.servers: list[H11Server] = []
        self._make = make
        self.connect: Connect = to_protocol(self._accept, segment=segment)

    def _accept(self) -> H11Server:
        self.servers.append(self._make())
        return self.servers[-1]


def below(pool: ConnectionPool) -> Slots:
    """The books of a pool's connections to proxies."""
    assert pool._slots is not None and pool._slots._below is not None
    return pool._slots._below


def chosen(*versions: str) -> dict[str, object]:
    """What the link in memory has in place of TLS: the proxy chooses these versions, one for each connection."""
    return {"ssl_object": Chosen(versions)}


@contextlib.asynccontextmanager
async def tunnelled(
    proxy: Proxy, config: ProxyConfig = HTTP_PROXY, *, version: str = "", segment: int | None = None, **options
) -> AsyncIterator[tuple[ConnectionPool, MemoryConnector]]:
    """A pool that reaches everything through tunnels of `proxy`. In the end nothing of it may be left, at no level.

    Args:
        proxy: who gives them.
        config: how it is asked.
        version: what it chooses by ALPN; for an `https` proxy.
        segment: the most bytes that anybody receives at once.
        options: of the pool.
    """
    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))
    extra = chosen(*[version] * 200) if version else None
    connector = MemoryConnector(proxy.accept, segment=segment, client_extra=extra)
    pool = ConnectionPool(proxy=config, connector=connector, **options)
    async with proxy, connector:
        try:
            yield pool, connector
            check_books(pool)
        finally:
            await pool.close(force=True)
            await connector.all_closed()
    await turns()
    check_empty(pool)
    assert reported == []


async def refused(pool: ConnectionPool, url: str = "http://origin/", **options) -> ProxyError:
    """Sends a request for which there is no tunnel, and returns what it failed with."""
    with pytest.raises(ProxyError) as caught:
        await pool.request("GET", url, **options)
    error = caught.value
    assert (error.host, error.port) == ("origin", 80), "the origin's, not the proxy's"
    assert not error.request_sent
    return error


def unverified(tls: TLSFiles) -> SSLConfig:
    """Trusts the tests' authority."""
    return SSLConfig(verify=tls.ca_path)

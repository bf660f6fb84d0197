"""httpx 0.28 as it is, on the core: with no transport given, it uses whatever is called `httpcore`, which is ours."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

import httpcore
from tests.adapters.httpx_kinds import Kind


@dataclass(frozen=True)
class Unmodified(Kind):
    """A client with transports of its own. It takes the arguments of a pool, too, where it has words for them."""

    @property
    def transport_class(self) -> Any:
        """The client's own."""
        return self.module.HTTPTransport if self.blocking else self.module.AsyncHTTPTransport

    @contextlib.asynccontextmanager
    async def client(self, *, client: dict[str, Any] | None = None, **pool: Any) -> AsyncIterator[Any]:
        """A client, closed at the end; then all of its connections have to end."""
        options = {"http2": True, "trust_env": False, **(client or {}), **self._options(**pool)}
        made = (self.module.Client if self.blocking else self.module.AsyncClient)(**options)
        try:
            yield made
        finally:
            await self.call(made.close if self.blocking else made.aclose)
        for transport in [made._transport, *made._mounts.values()]:
            for _ in range(1000):  # upgraded ones, for whose end nobody waits
                if transport._pool._pool.num_connections == 0:
                    break
                await asyncio.sleep(0.001)
            assert transport._pool._pool.num_connections == 0

    def _options(
        self,
        ssl: Any = None,
        proxy: Any = None,
        network: httpcore.NetworkConfig | None = None,
        limits: httpcore.PoolLimits | None = None,
        **rest: Any,
    ) -> dict[str, Any]:
        options: dict[str, Any] = rest
        if ssl is not None:
            options["verify"] = _context(ssl)
        if limits is not None:
            options["limits"] = self.module.Limits(max_connections=limits.hard_limit)
        if isinstance(proxy, httpcore.Proxy):
            proxy = self.module.Proxy(
                f"{proxy.scheme}://{proxy.host}:{proxy.port}",
                auth=None if proxy.auth is None else (proxy.auth[0].decode(), proxy.auth[1].decode()),
                ssl_context=None if proxy.ssl is None else _context(proxy.ssl),
            )
        if proxy is not None:
            options["proxy"] = proxy
        if network is not None:
            options["transport"] = self.transport_class(uds=network.uds, verify=options.get("verify", True))
        return options


def _context(given: Any) -> ssl.SSLContext:
    verify: Any = given.verify if isinstance(given, httpcore.SSLConfig) else given
    return verify if isinstance(verify, ssl.SSLContext) else ssl.create_default_context(cafile=verify)


UNMODIFIED = [Unmodified("httpx", False), Unmodified("httpx", True)]
unmodified = pytest.mark.parametrize("kind", UNMODIFIED, ids=lambda kind: "blocking" if kind.blocking else "async")

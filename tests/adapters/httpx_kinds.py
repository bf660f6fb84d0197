"""The clients that the httpx adapters serve: httpx2 and, where it is installed, httpx; async and blocking.

A test that takes a `Kind` is written once for all: `call` awaits a client's method, or runs it in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

# httpx2 has to be there. httpx 0.28 is installed where it can be: its own requirements name another httpcore.
MODULES = ["httpx2", *(["httpx"] if importlib.util.find_spec("httpx") else [])]


@dataclass(frozen=True)
class Kind:
    """One client: of a module, async or blocking."""

    name: str
    blocking: bool

    @property
    def module(self) -> Any:
        """`httpx2`, or `httpx`."""
        return importlib.import_module(self.name)

    @property
    def adapter(self) -> Any:
        """The module under test."""
        return importlib.import_module(f"httpcore.adapters.{self.name}")

    @property
    def transport_class(self) -> Any:
        """`Transport`, or `AsyncTransport`."""
        return self.adapter.Transport if self.blocking else self.adapter.AsyncTransport

    def make(self, transport: Any, **options: Any) -> Any:
        """Returns a client on `transport`."""
        module = self.module
        return (module.Client if self.blocking else module.AsyncClient)(transport=transport, **options)

    @contextlib.asynccontextmanager
    async def client(self, *, client: dict[str, Any] | None = None, **pool: Any) -> AsyncIterator[Any]:
        """A client on a pool with these options, closed at the end; then all of its connections have to end."""
        transport = self.transport_class(**pool)
        made = self.make(transport, **(client or {}))
        try:
            yield made
        finally:
            await self.call(made.close if self.blocking else made.aclose)
        for _ in range(1000):  # upgraded ones, for whose end nobody waits
            if transport._pool.num_connections == 0:
                break
            await asyncio.sleep(0.001)
        assert transport._pool.num_connections == 0

    async def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Returns what `function` does."""
        if self.blocking:
            return await asyncio.to_thread(function, *args, **kwargs)
        return await function(*args, **kwargs)

    @contextlib.asynccontextmanager
    async def stream(self, client: Any, method: str, url: str, **options: Any) -> AsyncIterator[Any]:
        """`client.stream`."""
        context = client.stream(method, url, **options)
        if not self.blocking:
            async with context as response:
                yield response
            return
        response = await asyncio.to_thread(context.__enter__)
        try:
            yield response
        finally:
            await asyncio.to_thread(context.__exit__, None, None, None)

    async def parts(self, response: Any, name: str = "bytes") -> AsyncIterator[Any]:
        """Gives the parts of a streamed response: its `iter_<name>`."""
        if not self.blocking:
            async for part in getattr(response, f"aiter_{name}")():
                yield part
            return
        parts = getattr(response, f"iter_{name}")()
        while (part := await asyncio.to_thread(next, parts, None)) is not None:
            yield part

    def generator(self, parts: Sequence[bytes]) -> Any:
        """Returns a generator of `parts` for a request's content."""

        def plain() -> Any:
            yield from parts

        async def awaiting() -> Any:
            for part in parts:
                await asyncio.sleep(0)
                yield part

        return plain() if self.blocking else awaiting()

    async def close(self, response: Any) -> None:
        """Closes a response, or anything else that has `close` and `aclose`."""
        await self.call(response.close if self.blocking else response.aclose)


KINDS = [Kind(name, blocking) for name in MODULES for blocking in (False, True)]
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.name}{'-blocking' if kind.blocking else ''}")

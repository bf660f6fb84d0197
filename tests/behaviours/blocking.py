"""The blocking pool with the words of the async one, so that the same behaviours are asked of both.

Each blocking call is made in a thread of its own, so that the test's loop goes on, where the server and the test's
bodies run. What is read is read in ever other threads, which a response has to stand.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import Any, ParamSpec, Self, TypeVar

import pytest

import httpcore
from httpcore.sync import loop_thread as loops
from tests.conftest import _left_behind

_P = ParamSpec("_P")
_T = TypeVar("_T")


def async_only(reason: str) -> pytest.MarkDecorator:
    """Marks a behaviour that is not asked of the blocking pool, as it has no words for it."""
    return pytest.mark.async_only(reason)


async def in_thread(call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Makes a blocking call in a new thread. One that hangs does not keep the program from its end."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def run() -> None:
        try:
            loop.call_soon_threadsafe(done.set_result, call(*args, **kwargs))
        except Exception as exc:
            loop.call_soon_threadsafe(done.set_exception, exc)

    threading.Thread(target=run, name="blocking call", daemon=True).start()
    return await done


def left_on_the_background_loop() -> list[str]:
    """Returns what is still on the loop of all blocking pools, after some time for what is about to end."""
    running = loops._kept.running
    if running is None:
        return []

    async def look() -> list[str]:
        found: list[str] = []
        for _ in range(300):
            found = _left_behind(running.loop)
            if not found:
                break
            await asyncio.sleep(0.01)
        return found

    return asyncio.run_coroutine_threadsafe(look(), running.loop).result()


class BlockingPool:
    """A `SyncConnectionPool`, and what of `ConnectionPool` the behaviours use."""

    def __init__(self, **arguments: Any) -> None:
        self._pool = httpcore.SyncConnectionPool(**arguments)

    async def request(
        self, method: str, url: str, headers: Any = (), body: Any = None, **arguments: Any
    ) -> BlockingResponse:
        if inspect.isasyncgenfunction(body):
            body = functools.partial(_drawn, body, asyncio.get_running_loop())
        response = await in_thread(self._pool.request, method, url, headers, body, **arguments)
        return BlockingResponse(response)

    async def close(self, *, force: bool = False) -> None:
        await in_thread(self._pool.close, force=force)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)


class BlockingResponse:
    """A `SyncResponse`, and what of `Response` the behaviours use."""

    def __init__(self, response: httpcore.SyncResponse) -> None:
        self._response = response

    async def read(self) -> bytes:
        return await in_thread(self._response.read)

    def stream(self) -> AsyncIterator[bytes]:
        return _in_threads(self._response.stream())

    def raw(self) -> AsyncIterator[bytes]:
        return _in_threads(self._response.raw())

    async def close(self) -> None:
        await in_thread(self._response.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._response, name)


async def _in_threads(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (part := await in_thread(next, parts, None)) is not None:
        yield part


def _drawn(body: Callable[[], AsyncGenerator[bytes, None]], loop: asyncio.AbstractEventLoop) -> Iterator[bytes]:
    """Iterates, in another thread than that of `loop`, over what is to run there."""
    parts = body()

    async def go_on() -> bytes | None:
        return await anext(parts, None)

    async def close() -> None:
        await parts.aclose()

    try:
        while (part := asyncio.run_coroutine_threadsafe(go_on(), loop).result()) is not None:
            yield part
    finally:
        asyncio.run_coroutine_threadsafe(close(), loop).result()

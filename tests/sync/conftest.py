"""Servers on a loop of their own, so that tests may block; and a check that nothing is left on the background loop."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TypeVar

import pytest

import httpcore
from tests.asgi_server import asgi_server
from tests.behaviours.blocking import left_on_the_background_loop
from tests.behaviours.ways import WAYS, Server
from tests.conftest import TLSFiles
from tests.origin_app import app

_T = TypeVar("_T")


class Background:
    """A loop in a thread, on which servers run."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="servers")
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()

    @contextmanager
    def opened(self, manager: AbstractAsyncContextManager[_T]) -> Iterator[_T]:
        """Enters and leaves `manager` on the loop, in one task."""
        entered: Future[_T] = Future()
        leave = asyncio.Event()

        async def run() -> None:
            try:
                async with manager as value:
                    entered.set_result(value)
                    await leave.wait()
            except BaseException as exc:
                if entered.done():
                    raise
                entered.set_exception(exc)

        task = asyncio.run_coroutine_threadsafe(run(), self.loop)
        try:
            yield entered.result()
        finally:
            self.loop.call_soon_threadsafe(leave.set)
            task.result()

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()


@pytest.fixture(scope="session")
def servers() -> Iterator[Background]:
    background = Background()
    yield background
    background.stop()


@pytest.fixture
def url(servers: Background) -> Iterator[str]:
    """Where tests/origin_app.py is, over HTTP/1.1."""
    with servers.opened(asgi_server(app)) as origin:
        yield origin.url


@pytest.fixture(params=["h1", "h1+tls", "h2+tls", "connect+tls"])
def server(request: pytest.FixtureRequest, servers: Background, tls: TLSFiles) -> Iterator[Server]:
    with servers.opened(WAYS[request.param](tls, request.getfixturevalue)) as opened:
        yield opened


@pytest.fixture
def http(server: Server) -> Iterator[httpcore.SyncConnectionPool]:
    """A pool that takes the way, closed at the end, when its books have to balance."""
    with httpcore.SyncConnectionPool(**server.pool_arguments) as pool:
        yield pool
    assert pool.num_connections == 0


@pytest.fixture(autouse=True)
def nothing_left_on_the_background_loop() -> Iterator[None]:
    yield
    gc.collect()  # warnings about what was dropped unclosed belong to the test that dropped it
    assert left_on_the_background_loop() == []

"""What the tests of the pool share: pools whose books are checked after every step of the loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from httpcore import ConnectionPool, Request
from httpcore.testing import HTTP11Peer, MemoryConnector
from tests.clock import clock, turns
from tests.pool.books import check_books, check_empty
from tests.pool.peers import RecordingHandler
from tests.pool.steps import Steps

__all__ = ["clock"]

Watch = Callable[[ConnectionPool], ConnectionPool]
Send = Callable[..., RecordingHandler]


@pytest_asyncio.fixture
async def watched(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watch]:
    """Watches a pool: its books are checked after each callback of the loop, and must be empty at the end."""
    pools: list[ConnectionPool] = []
    faults: list[AssertionError] = []
    run = asyncio.Handle._run

    def run_and_check(handle: asyncio.Handle) -> None:
        run(handle)
        if not faults:
            try:
                for pool in pools:
                    if pool.num_connections:  # without one there is nobody to wait for one either
                        check_books(pool)
            except AssertionError as exc:
                exc.add_note(f"after {handle!r}")
                faults.append(exc)

    monkeypatch.setattr(asyncio.Handle, "_run", run_and_check)

    def watch(pool: ConnectionPool) -> ConnectionPool:
        pools.append(pool)
        return pool

    yield watch
    for pool in pools:
        await pool.close(force=True)
    await turns()
    if faults:
        raise faults[0]
    for pool in pools:
        check_empty(pool)


@pytest.fixture
def connector() -> MemoryConnector[HTTP11Peer]:
    """Leads to servers that the test tells what to answer."""
    return MemoryConnector(HTTP11Peer)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """Lets a test act after a certain step of the loop."""
    return Steps(monkeypatch)


@pytest.fixture
def send() -> Send:
    """Dispatches a request on a pool and returns the handler that is told."""

    def dispatch(pool: ConnectionPool, url: str = "http://a/", method: str = "GET", **options) -> RecordingHandler:
        handler = RecordingHandler()
        headers, body = options.pop("headers", ()), options.pop("body", b"")
        pool.dispatch(Request(method, url, headers, body), handler, **options)
        return handler

    return dispatch

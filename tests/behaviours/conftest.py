"""The `server` fixture, which is every way to a server in turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

import pytest
import pytest_asyncio
import uvloop

import httpcore
from tests.behaviours.ways import BLOCKING, WAYS, Server
from tests.conftest import TLSFiles


def _uvloop() -> asyncio.AbstractEventLoop:
    loop = uvloop.new_event_loop()
    loop.set_exception_handler(_stop_on_timeout)
    return loop


def _stop_on_timeout(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # pytest-timeout raises in a signal handler. uvloop runs that as one of its callbacks, whose errors it logs and
    # survives: a test that hangs would hang for good.
    loop.default_exception_handler(context)
    if isinstance(context.get("exception"), pytest.fail.Exception):
        loop.stop()


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Runs each of these tests on each loop."""
    return {"asyncio": asyncio.SelectorEventLoop, "uvloop": _uvloop}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "async_only(reason): a behaviour that blocking pools have no words for")


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem() -> Generator[None, object, object]:
    """Leaves out what blocking pools have no words for, and, as they have a loop of their own, the other loop."""
    made = yield
    return [item for item in made if not _is_left_out(item)] if isinstance(made, list) else made


def _is_left_out(item: pytest.Function) -> bool:
    params = item.callspec.params if hasattr(item, "callspec") else {}
    async_only = item.get_closest_marker("async_only") is not None
    return params.get("server") in BLOCKING and (async_only or _uvloop in params.values())


@pytest_asyncio.fixture(params=list(WAYS))
async def server(request: pytest.FixtureRequest, tls: TLSFiles) -> AsyncIterator[Server]:
    async with WAYS[request.param](tls, request.getfixturevalue) as opened:
        yield opened


@pytest_asyncio.fixture
async def http(server: Server) -> AsyncIterator[httpcore.ConnectionPool]:
    """A pool that takes the way, closed at the end, when its books have to balance."""
    async with server.pool() as pool:
        yield pool
    assert pool.num_connections == 0

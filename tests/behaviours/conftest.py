"""The `server` fixture, which is every way to a server in turn."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator

import pytest
import pytest_asyncio

import httpcore
from tests.behaviours.ways import BLOCKING, WAYS, Server
from tests.conftest import TLSFiles


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "async_only(reason): a behaviour that blocking pools have no words for")


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem() -> Generator[None, object, object]:
    """Leaves out what blocking pools have no words for."""
    made = yield
    return [item for item in made if not _is_left_out(item)] if isinstance(made, list) else made


def _is_left_out(item: pytest.Function) -> bool:
    params = item.callspec.params if hasattr(item, "callspec") else {}
    return params.get("server") in BLOCKING and item.get_closest_marker("async_only") is not None


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

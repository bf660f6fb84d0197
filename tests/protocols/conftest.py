"""The client under test, its link cut into pieces in two ways, and a clock that needs no waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from tests.protocols.recording import Client, Clock


@pytest.fixture(params=[None, 1], ids=["whole", "bytewise"])
def segment(request: pytest.FixtureRequest) -> int | None:
    """How many bytes one end of a link receives at once: what there is, or a single one. A test with it runs twice."""
    return request.param  # type: ignore[no-any-return]


@pytest_asyncio.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Clock]:
    """Puts the test's loop on a clock that jumps; to be asked for before anything that makes timers."""
    with monkeypatch.context() as patch:
        yield Clock(asyncio.get_running_loop(), patch)


@pytest_asyncio.fixture
async def connect(clock: Clock) -> AsyncIterator[Callable[..., object]]:
    """Makes connected clients; when the test ends, they are closed and what their recorders heard is checked."""
    clients: list[Client] = []

    async def make(*, segment: int | None = None, capacity: int = 64 * 1024) -> Client:
        client = Client(segment=segment, capacity=capacity)
        clients.append(client)
        await asyncio.sleep(0)
        return client

    yield make
    for client in clients:
        await client.finish()


@pytest_asyncio.fixture
async def client(connect: Callable[..., object]) -> Client:
    """One client, on a link that delivers what there is."""
    return await connect()  # type: ignore[misc, no-any-return]


@pytest_asyncio.fixture
async def cut_client(connect: Callable[..., object], segment: int | None) -> Client:
    """One client, on a link that delivers what there is, and then on one that delivers byte by byte."""
    return await connect(segment=segment)  # type: ignore[misc, no-any-return]

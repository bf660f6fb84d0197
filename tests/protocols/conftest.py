"""The client under test, its link cut into pieces in two ways, and a clock that needs no waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from httpcore.config import HTTP2Config
from httpcore.protocols.codec import Codec
from httpcore.protocols.codecs import codec_named
from httpcore.testing import HTTP2Peer
from tests.protocols.http2_script import HTTP2Client
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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs what is about HTTP/1.1 with each of its codecs."""
    if "http1_codec" in metafunc.fixturenames and metafunc.module.__name__.rpartition(".")[2].startswith(
        "test_http11_"
    ):
        metafunc.parametrize("http1_codec", ["h11", "llhttp"], indirect=True)


@pytest.fixture
def http1_codec(request: pytest.FixtureRequest) -> type[Codec]:
    """The codec of the connections."""
    return codec_named(getattr(request, "param", "auto"))


@pytest_asyncio.fixture
async def connect(clock: Clock, http1_codec: type[Codec]) -> AsyncIterator[Callable[..., object]]:
    """Makes connected clients; when the test ends, they are closed and what their recorders heard is checked."""
    clients: list[Client] = []

    async def make(*, segment: int | None = None, capacity: int = 64 * 1024) -> Client:
        client = Client(segment=segment, capacity=capacity, codec=http1_codec)
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


@pytest_asyncio.fixture
async def connect_http2(clock: Clock) -> AsyncIterator[Callable[..., object]]:
    """Makes clients of HTTP/2 that have exchanged SETTINGS with their peers; checks them when the test ends."""
    clients: list[HTTP2Client] = []

    async def make(
        peer: HTTP2Peer | None = None,
        *,
        config: HTTP2Config | None = None,
        segment: int | None = None,
        capacity: int = 64 * 1024,
        settled: bool = True,
    ) -> HTTP2Client:
        client = HTTP2Client(peer, config=config, segment=segment, capacity=capacity)
        clients.append(client)
        await asyncio.sleep(0)
        if settled:
            await client.peer.receive_settings_ack()
        return client

    yield make
    for client in clients:
        await client.finish()


@pytest_asyncio.fixture
async def http2(connect_http2: Callable[..., object]) -> HTTP2Client:
    """One client of HTTP/2, on a link that delivers what there is."""
    return await connect_http2()  # type: ignore[misc, no-any-return]


@pytest_asyncio.fixture
async def cut_http2(connect_http2: Callable[..., object], segment: int | None) -> HTTP2Client:
    """One client of HTTP/2, on a link that delivers what there is, and then on one that delivers byte by byte."""
    return await connect_http2(segment=segment)  # type: ignore[misc, no-any-return]

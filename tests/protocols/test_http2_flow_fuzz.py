"""Whatever is read, paused and abandoned in whatever order: whoever reads gets its content."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from httpcore.config import HTTP2Config
from httpcore.protocols.exchange import HTTPExchange
from tests.clock import turns
from tests.protocols.http2_downloads import FIXED, SMALL, Reader, content
from tests.protocols.http2_script import HTTP2Client
from tests.protocols.recording import Recorder

CONFIGS = [
    FIXED,
    SMALL,
    HTTP2Config(stream_window=4000, max_stream_window=5000, connection_window=65535),
    HTTP2Config(stream_window=65535, max_stream_window=300_000, connection_window=65535),
    HTTP2Config(stream_window=1, max_stream_window=50_000, connection_window=65535),
    HTTP2Config(stream_window=20_000, max_stream_window=20_000, connection_window=100_000),
]


class Downloads:
    """A client, and a peer that always sends all that its windows allow."""

    def __init__(self, config: HTTP2Config) -> None:
        self.client = HTTP2Client(config=config)
        self.config = config
        self.all: list[tuple[Recorder, bytes]] = []

    async def open(self, number: int) -> None:
        if self.client.protocol.available:
            recorder, incoming = await self.client.ask(None, Reader())
            body = content(min(number * 997, 20 * self.config.max_stream_window))
            self.all.append((recorder, body))
            self.client.peer.send_headers(incoming.stream_id, [(":status", "200")])
            padding = number % 256 if number % 3 == 0 and self.config.stream_window > 512 else None
            self.client.peer.send_data(incoming.stream_id, body, end_stream=True, pad_length=padding)

    async def open_paused(self, number: int) -> None:
        await self.open(number)
        await self.pause(-1)

    async def open_many_paused(self, number: int) -> None:
        for _ in range(number % 16):
            await self.open_paused(number)

    async def abandon_at_once(self, number: int) -> None:
        """Abandons streams whose content is on its way."""
        for _ in range(number % 16):
            await self.open(number)
            await self.abandon(-1)

    async def pause(self, number: int) -> None:
        if self.all:
            self.all[number % len(self.all)][0].exchange.pause_reading()

    async def pause_on_data(self, number: int) -> None:
        if self.all:
            recorder = self.all[number % len(self.all)][0]
            recorder.on("data", recorder.exchange.pause_reading)

    async def resume(self, number: int) -> None:
        if self.all:
            recorder = self.all[number % len(self.all)][0]
            recorder.reactions.clear()
            recorder.exchange.resume_reading()

    async def abandon(self, number: int) -> None:
        if self.all:
            self.all[number % len(self.all)][0].exchange.abort()

    async def wait(self, number: int) -> None:
        await turns(number % 10)

    async def check(self, number: int) -> None:
        """Waits until nothing moves any more: whoever is not paused has all there is then."""
        before = None
        while before != (before := self._progress()):
            await turns()
        for recorder, body in self.all:
            paused = cast(HTTPExchange, recorder.exchange).reading_paused
            assert recorder.ended or paused
            assert recorder.error is not None or paused or recorder.body == body
        held = sum(not recorder.ended for recorder, _ in self.all) * self.config.max_stream_window
        assert self.client.protocol.window.waiting <= held
        assert self.client.transport.is_reading()

    def _progress(self) -> tuple[object, ...]:
        peer, window = self.client.peer, self.client.protocol.window
        return len(peer.frames), sum(len(recorder.body) for recorder, _ in self.all), window.open, window.waiting


STEPS = [
    Downloads.open,
    Downloads.open_paused,
    Downloads.open_many_paused,
    Downloads.abandon_at_once,
    Downloads.pause,
    Downloads.pause_on_data,
    Downloads.resume,
    Downloads.abandon,
    Downloads.wait,
    Downloads.check,
]


@pytest.mark.parametrize("config", CONFIGS, ids=range(len(CONFIGS)))
@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 300)), min_size=20, max_size=60))
def test_whoever_reads_gets_its_content_whatever_the_others_do(
    config: HTTP2Config, steps: list[tuple[Callable[[Downloads, int], Awaitable[None]], int]]
) -> None:
    async def live() -> None:
        world = Downloads(config)
        try:
            await world.client.peer.receive_settings_ack()
            for step, number in steps:
                await step(world, number)
            for number in range(len(world.all)):
                await world.resume(number)
            await world.check(0)
            world.client.recorders.clear()  # they do not write everything down
            await world.client.finish()
        finally:
            world.client.transport.abort()
            world.client.peer_transport.abort()
            await turns()

    asyncio.run(live())

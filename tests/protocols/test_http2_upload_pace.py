"""When HTTP2Protocol gives an upload up, and when it goes on: deadlines, slow transports, and every order of events."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hypothesis import given, settings
from hypothesis import strategies as st

from httpcore.config import TimeoutConfig
from httpcore.exceptions import ReadError, WriteTimeout
from httpcore.request import PUSHED
from httpcore.testing import HTTP2Peer
from tests.clock import turns
from tests.protocols.http2_downloads import KIB, MIB, content, stream_of
from tests.protocols.http2_script import HTTP2Client, shape
from tests.protocols.http2_uploads import FRAME, WINDOW, answer, data_frames, post, received, thrifty, upload
from tests.protocols.recording import Recorder

PATIENCE = TimeoutConfig(write_timeout=5.0)


@pytest.fixture(params=["bytes", "stream", "pushed"])
def kind(request: pytest.FixtureRequest) -> str:
    """How the body is given."""
    return request.param  # type: ignore[no-any-return]


# Deadlines


@pytest.mark.parametrize("shut", ["stream", "connection"])
async def test_window_that_stays_shut_is_a_write_timeout_of_its_stream(connect_http2, clock, kind, shut):
    size = 0 if shut == "stream" else MIB
    client = await connect_http2(thrifty((SettingCodes.INITIAL_WINDOW_SIZE, size)))
    recorder = upload(client, content(WINDOW + 1000), kind, PATIENCE)
    await recorder.end()
    assert type(recorder.error) is WriteTimeout
    assert recorder.error.request_sent
    assert clock.now == 1005.0
    assert await client.peer.receive_reset(1) is ErrorCodes.CANCEL
    assert "END" not in " ".join(shape(client.peer))
    await client.settle()  # it takes no request until it has shown a sign of life
    await client.still_works()


@pytest.mark.parametrize("opened", ["stream", "connection"])
async def test_every_byte_that_is_taken_restarts_the_write_timeout(connect_http2, clock, kind, opened):
    size = 0 if opened == "stream" else MIB
    client = await connect_http2(thrifty((SettingCodes.INITIAL_WINDOW_SIZE, size)))
    recorder = upload(client, content(WINDOW + 5 if opened == "connection" else 5), kind, PATIENCE)
    await client.settle()
    for _ in range(5):
        await asyncio.sleep(4.0)
        client.peer.credit(1, 1 if opened == "stream" else 0)
        await client.settle()
    assert clock.now == 1020.0
    await client.peer.receive_body(1)
    await answer(client, recorder)


async def test_write_timeout_does_not_run_while_there_is_nothing_to_send(connect_http2, clock):
    client = await connect_http2()
    recorder = client.dispatch(post(PUSHED), timeout=PATIENCE)
    recorder.exchange.write(b"a")
    await asyncio.sleep(60.0)
    recorder.exchange.write(b"b")
    recorder.exchange.write_eof()
    assert await client.peer.receive_body(1) == b"ab"
    await answer(client, recorder)


async def test_write_timeout_of_one_leaves_the_others_alone(connect_http2, clock):
    client = await connect_http2(thrifty((SettingCodes.INITIAL_WINDOW_SIZE, 100)))
    stuck = upload(client, content(200), "bytes", PATIENCE)
    patient = upload(client, content(200), "bytes")
    await stuck.end()
    assert type(stuck.error) is WriteTimeout
    client.peer.credit(100, 3)
    assert await client.peer.receive_body(3) == content(200)
    await answer(client, patient)


async def test_who_waits_for_a_turn_among_many_has_no_write_timeout(connect_http2, clock):
    """The server takes a frame each second: forty uploads have a turn each forty seconds, and none of them is stuck."""
    client = await connect_http2(thrifty())
    blocker = upload(client, content(WINDOW), "bytes")
    uploads = [upload(client, content(2 * FRAME), "bytes", PATIENCE) for _ in range(40)]
    await client.settle()
    for _ in range(80):
        await asyncio.sleep(1.0)
        client.peer.credit(FRAME)
        await client.settle()
    for recorder in uploads:
        assert recorder.error is None
        assert recorder.exchange.stream_id is not None
        assert await client.peer.receive_body(recorder.exchange.stream_id) == content(2 * FRAME)
    await answer(client, blocker, *uploads)


# The transport


async def test_upload_stops_with_the_transport_and_goes_on_with_it(connect_http2, kind):
    client = await connect_http2(
        HTTP2Peer({SettingCodes.INITIAL_WINDOW_SIZE: 2**31 - 1}, auto_credit=False), capacity=1000
    )
    client.peer.credit(2**31 - 1 - WINDOW)
    await client.settle()
    client.peer_transport.pause_reading()
    recorder = upload(client, content(MIB), kind)
    other = upload(client, content(50_000), kind)
    await turns()
    high = client.transport.get_write_buffer_limits()[1]
    assert high < client.transport.get_write_buffer_size() < high + 70_000
    client.peer_transport.resume_reading()
    assert await client.peer.receive_body(1) == content(MIB)
    assert await client.peer.receive_body(3) == content(50_000)
    await answer(client, recorder, other)


async def test_transport_that_takes_nothing_is_a_write_timeout(connect_http2, clock, kind):
    client = await connect_http2(thrifty((SettingCodes.INITIAL_WINDOW_SIZE, MIB)), capacity=1000)
    client.peer.credit(MIB)
    await client.settle()
    client.peer_transport.pause_reading()
    recorder = upload(client, content(MIB), kind, PATIENCE)
    await recorder.end()
    assert type(recorder.error) is WriteTimeout
    assert clock.now == 1005.0
    client.peer_transport.resume_reading()
    assert await client.peer.receive_reset(1) is ErrorCodes.CANCEL
    assert received(client.peer, 1) < 200_000
    await client.settle()
    await client.still_works()


async def test_transport_that_takes_little_is_no_write_timeout(connect_http2, clock, kind):
    """Between the marks of the transport's buffer lies more than a slow server takes within a write timeout."""
    client = await connect_http2(thrifty((SettingCodes.INITIAL_WINDOW_SIZE, MIB)), capacity=1000)
    client.peer.credit(MIB)
    await client.settle()
    client.peer_transport.pause_reading()
    recorders = [upload(client, content(150_000), kind, PATIENCE) for _ in range(2)]
    for _ in range(20):
        await asyncio.sleep(3.0)
        client.peer_transport.resume_reading()
        await asyncio.sleep(0)
        client.peer_transport.pause_reading()
    assert [recorder.error for recorder in recorders] == [None, None]
    client.peer_transport.resume_reading()
    for stream_id in (1, 3):
        assert await client.peer.receive_body(stream_id) == content(150_000)
    await answer(client, *recorders)


async def test_server_that_takes_nothing_and_says_nothing_is_given_up(connect_http2, clock, kind):
    client = await connect_http2(thrifty((SettingCodes.INITIAL_WINDOW_SIZE, MIB)), capacity=1000)
    client.peer.credit(MIB)
    await client.settle()
    client.peer_transport.pause_reading()
    recorder = upload(client, content(MIB), kind)
    await recorder.end()
    assert type(recorder.error) is ReadError
    assert clock.now == 1020.0  # 15 seconds until it is asked for a sign of life, and 5 to give one


# Whatever happens in whatever order

KINDS = ("bytes", "stream", "pushed")


class Uploads:
    """A client that sends bodies, and a server that gives credit as it likes."""

    def __init__(self, capacity: int) -> None:
        self.client = HTTP2Client(thrifty((SettingCodes.INITIAL_WINDOW_SIZE, 1000)), capacity=capacity)
        self.all: list[tuple[Recorder, bytes]] = []
        self.answered: set[int] = set()

    async def open(self, number: int) -> None:
        if self.client.protocol.available:
            body = content(1 + number * 311)
            recorder = upload(self.client, body, KINDS[number % 3])
            self.all.append((recorder, body))
            while (await self.client.peer.receive_request()).stream_id != stream_of(recorder):
                pass

    async def credit(self, number: int) -> None:
        self.client.peer.credit(1 + number * 100)

    async def credit_a_byte(self, number: int) -> None:
        self.client.peer.credit(1)

    async def credit_stream(self, number: int) -> None:
        recorder = self._pick(number)
        if recorder is not None:
            self.client.peer.credit(1 + number * 100, stream_of(recorder))

    async def change_window(self, number: int) -> None:
        self.client.peer.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: number * 200})

    async def change_frame_size(self, number: int) -> None:
        self.client.peer.update_settings({SettingCodes.MAX_FRAME_SIZE: FRAME + number * 300})

    async def respond(self, number: int) -> None:
        recorder = self._pick(number)
        if recorder is not None:
            self.answered.add(stream_of(recorder))
            self.client.peer.respond(stream_of(recorder), body=b"answer")

    async def abandon(self, number: int) -> None:
        recorder = self._pick(number)
        if recorder is not None:
            recorder.exchange.abort()

    async def wait(self, number: int) -> None:
        await turns(number % 10)

    async def check(self, number: int) -> None:
        """Waits until nothing moves any more: whatever the windows have room for was sent then."""
        before = -1
        while before != (before := len(self.client.peer.frames)):
            await self.client.settle()
            before += 2  # its PINGs, both ways
        for recorder, body in self.all:
            stream_id = stream_of(recorder)
            frames = data_frames(self.client.peer, stream_id)
            assert body.startswith(b"".join(frame.data for frame in frames))
            if not recorder.ended:
                whole = frames and "END_STREAM" in frames[-1].flags
                assert whole or self.client.protocol.h2.local_flow_control_window(stream_id) <= 0
        assert not self.client.peer.violation

    def _pick(self, number: int) -> Recorder | None:
        """Returns an exchange that the server has not answered."""
        going = [recorder for recorder, _ in self.all if not recorder.ended]
        going = [recorder for recorder in going if stream_of(recorder) not in self.answered]
        return going[number % len(going)] if going else None


STEPS = [
    Uploads.open,
    Uploads.credit,
    Uploads.credit_a_byte,
    Uploads.credit_stream,
    Uploads.change_window,
    Uploads.change_frame_size,
    Uploads.respond,
    Uploads.abandon,
    Uploads.wait,
    Uploads.check,
]


@pytest.mark.parametrize("capacity", [500, 64 * KIB])
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 300)), min_size=20, max_size=60))
def test_whatever_the_windows_have_room_for_is_sent_whatever_happens(
    capacity: int, steps: list[tuple[Callable[[Uploads, int], Awaitable[None]], int]]
) -> None:
    async def live() -> None:
        world = Uploads(capacity)
        try:
            await world.client.peer.receive_settings_ack()
            for step, number in steps:
                await step(world, number)
            world.client.peer.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: MIB})
            world.client.peer.credit(2**30)
            await world.check(0)
            for recorder, body in world.all:
                assert recorder.ended or received(world.client.peer, stream_of(recorder)) == len(body)
            while world._pick(0) is not None:
                await world.respond(0)
            await world.check(0)
            await world.client.finish()
        finally:
            world.client.transport.abort()
            world.client.peer_transport.abort()
            await turns()

    asyncio.run(live())

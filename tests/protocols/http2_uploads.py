"""What the tests of HTTP2Protocol's uploads share: bodies of every kind, and a server that is thrifty with credit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from h2.settings import SettingCodes
from hyperframe.frame import DataFrame

from httpcore.config import TimeoutConfig
from httpcore.request import PUSHED, BodyTypes, Request
from httpcore.testing import HTTP2Peer
from tests.protocols.http2_script import HTTP2Client
from tests.protocols.recording import NO_TIMEOUT, URL, Recorder

WINDOW = 65535  # bytes: what every window is at the beginning
FRAME = 16384  # bytes: the largest frame, unless the server says otherwise


def post(body: BodyTypes, **options) -> Request:
    return Request("POST", URL, body=body, **options)


def pieces(body: bytes, size: int = 10_000) -> Callable[[], AsyncIterator[bytes]]:
    async def generate() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    return generate


def data_frames(peer: HTTP2Peer, stream_id: int | None = None) -> list[DataFrame]:
    frames = [frame for frame in peer.frames if isinstance(frame, DataFrame)]
    return [frame for frame in frames if stream_id in (None, frame.stream_id)]


def received(peer: HTTP2Peer, stream_id: int) -> int:
    return sum(len(frame.data) for frame in data_frames(peer, stream_id))


def push(recorder: Recorder, body: bytes, size: int = 10_000) -> None:
    """Lets a recorder push `body` whenever it may."""
    rest = memoryview(body)

    def go_on() -> None:
        nonlocal rest
        while not recorder.writing_paused and rest:
            piece, rest = rest[:size], rest[size:]
            recorder.exchange.write(piece)
        if not rest and not recorder.writing_paused:
            recorder.reactions.clear()
            recorder.exchange.write_eof()

    recorder.on("started", go_on)
    recorder.on("resume_writing", go_on)


def upload(client: HTTP2Client, body: bytes, kind: str, timeout: TimeoutConfig = NO_TIMEOUT) -> Recorder:
    """Sends a request with a body of that kind."""
    recorder = Recorder()
    if kind == "pushed":
        push(recorder, body)
    bodies: dict[str, BodyTypes] = {"bytes": body, "stream": pieces(body), "pushed": PUSHED}
    return client.dispatch(post(bodies[kind]), recorder, timeout=timeout)


async def answer(client: HTTP2Client, *recorders: Recorder) -> None:
    for recorder in recorders:
        assert recorder.exchange.stream_id is not None
        client.peer.respond(recorder.exchange.stream_id)
        await recorder.end()
        assert recorder.names[-1] == "complete"


def thrifty(*settings: tuple[SettingCodes, int]) -> HTTP2Peer:
    """Returns a peer that gives no credit by itself."""
    return HTTP2Peer({SettingCodes.MAX_CONCURRENT_STREAMS: 100, **dict(settings)}, auto_credit=False)

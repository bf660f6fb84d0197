"""What the tests of HTTP2Protocol's windows share: downloads that are read, or not."""

from __future__ import annotations

from hyperframe.frame import WindowUpdateFrame

from httpcore.config import HTTP2Config
from httpcore.testing import HTTP2Peer
from tests.protocols.http2_script import HTTP2Client
from tests.protocols.recording import Recorder

KIB, MIB = 1024, 1024 * 1024
SMALL = HTTP2Config(stream_window=1000, max_stream_window=1000, connection_window=65535)
FIXED = HTTP2Config(stream_window=65535, max_stream_window=65535, connection_window=65535)


def content(size: int) -> bytes:
    return bytes(range(251)) * (size // 251) + bytes(range(size % 251))


def increments(peer: HTTP2Peer, stream_id: int) -> list[int]:
    """Returns what the client has credited."""
    frames = [frame for frame in peer.frames if isinstance(frame, WindowUpdateFrame)]
    return [frame.window_increment for frame in frames if frame.stream_id == stream_id]


def window(peer: HTTP2Peer, stream_id: int) -> int:
    """Returns how many bytes the client's window of a stream has room for."""
    return int(peer.h2.streams[stream_id].outbound_flow_control_window)


async def download(
    client: HTTP2Client, body: bytes, recorder: Recorder | None = None, *, paused: bool = False, end_stream: bool = True
) -> Recorder:
    """Sends a request and lets the peer answer as far as the windows allow; returns once both know."""
    recorder = Recorder() if recorder is None else recorder
    if paused:
        recorder.on("response", lambda: recorder.exchange.pause_reading())
    await client.ask(None, recorder)
    client.peer.respond(stream_of(recorder), body=body, end_stream=end_stream)
    await recorder.until("response")
    await client.settle()
    return recorder


def stream_of(recorder: Recorder) -> int:
    assert recorder.exchange.stream_id is not None
    return recorder.exchange.stream_id


async def resume(recorder: Recorder) -> None:
    recorder.reactions.clear()
    recorder.exchange.resume_reading()
    await recorder.end()


class Reader(Recorder):
    """Writes nothing down but the content: the joined events of a large one would take their time."""

    def data_received(self, data: bytes) -> None:
        self.body += data
        self.changes.notify()
        if "data" in self.reactions:
            self.reactions["data"]()

"""Tunnels on HTTP/2, and who uses them in a test."""

from __future__ import annotations

from httpcore.request import Request
from httpcore.upgraded import UpgradedStream
from tests.protocols.http2_script import HTTP2Client
from tests.testing.links import Recorder as Caller

__all__ = ["CONNECT", "PATTERN", "WEBSOCKET", "Caller", "attached", "read_all", "tunnel"]

CONNECT = Request("CONNECT", "http://proxy:3128", target="example.org:443")
WEBSOCKET = Request("CONNECT", "https://example.org/chat", protocol="websocket")
PATTERN = bytes(range(251)) * 1000


async def tunnel(client: HTTP2Client, **options) -> UpgradedStream:
    """Opens a tunnel on the next stream."""
    recorder, incoming = await client.ask(CONNECT, **options)
    client.peer.respond(incoming.stream_id, end_stream=False)
    await recorder.end()
    stream, recorder.stream = recorder.stream, None  # the test's reference is the only one
    assert stream is not None
    return stream


async def attached(client: HTTP2Client) -> Caller:
    """Opens a tunnel, with a protocol on it that writes down its callbacks."""
    caller = Caller()
    caller.on("eof", lambda: True)
    (await tunnel(client)).set_protocol(caller)
    return caller


async def read_all(stream: UpgradedStream) -> bytes:
    received = bytearray()
    while part := await stream.read():
        received += part
    return bytes(received)

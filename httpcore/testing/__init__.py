"""Tools to test code that makes requests, without a network; this library's own tests use them.

`MemoryConnector` under a pool links each connection to a protocol in the same process: `ScriptedPeer` for exact bytes
at exact moments, `HTTP11Peer` and `HTTP2Peer` for requests and responses, `FramePeer` for HTTP/2 frames alone, or any
`asyncio.Protocol`. `memory_link` links two protocols directly; `MemoryTransport` is what they get, a faithful fake of
asyncio's transport over a TCP socket.

`ASGIConnector` and `WSGIConnector` take the network's place too, and run an app at the other end of each connection.
"""

from __future__ import annotations

from .asgi import ASGIApp, ASGIConnector
from .frame_peer import FramePeer
from .http2_peer import HTTP2Peer
from .http2_request import IncomingRequest
from .http11_peer import HTTP11Peer
from .memory_connector import Dial, MemoryConnector
from .memory_transport import MemoryTransport, memory_link
from .scripted_peer import ScriptedPeer
from .wsgi import WSGIConnector

__all__ = [
    "ASGIApp",
    "ASGIConnector",
    "Dial",
    "FramePeer",
    "HTTP2Peer",
    "HTTP11Peer",
    "IncomingRequest",
    "MemoryConnector",
    "MemoryTransport",
    "ScriptedPeer",
    "WSGIConnector",
    "memory_link",
]

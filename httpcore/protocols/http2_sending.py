"""SendingHalf: the half of an HTTP/2 stream that sends the request, and what stands at the other end of both halves.

What the caller gives as a body waits here, and `send_some` hands a frame of it to h2 whenever the connection says that
it is the stream's turn. Bytes are views of what the caller gave; they are copied when h2 makes a frame of them.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Protocol

from h2.connection import H2Connection
from h2.errors import ErrorCodes

from httpcore.config import HTTP2Config
from httpcore.exceptions import LocalProtocolError
from httpcore.headers import Headers, check_trailers
from httpcore.protocols.carrier import Carrier
from httpcore.protocols.deadlines import Deadlines
from httpcore.protocols.exchange import HTTPExchange
from httpcore.protocols.forwarding import forwarded
from httpcore.protocols.http2_fields import request_fields, trailer_fields
from httpcore.protocols.http2_liveness import Liveness
from httpcore.protocols.http2_tunnel import TunnelTransport
from httpcore.protocols.http2_windows import ReceiveWindow
from httpcore.protocols.states import SendState

if TYPE_CHECKING:
    from httpcore.protocols.http2_sender import SendQueue
    from httpcore.protocols.http2_stream import HTTP2Stream

__all__ = ["Multiplexer", "SendingHalf"]

_HIGH_WATER = 64 * 1024  # bytes of a body that wait to be sent, above which its source is paused, and ...
_LOW_WATER = 16 * 1024  # ... at or below which it goes on

_Buffer = bytes | bytearray | memoryview


class Multiplexer(Protocol):
    """The connection, as its streams see it."""

    h2: H2Connection
    config: HTTP2Config
    loop: asyncio.AbstractEventLoop
    window: ReceiveWindow
    read_deadlines: Deadlines[HTTP2Stream]
    write_deadlines: Deadlines[HTTP2Stream]
    proxy_fields: list[tuple[bytes, bytes]] | None
    sender: SendQueue
    liveness: Liveness

    @property
    def transport(self) -> asyncio.Transport:
        """The connection's transport, for what it knows of itself."""

    def open(self, stream: HTTP2Stream) -> None:
        """Sends the stream's head, now or once the server lets it, and calls its `opened`."""

    def schedule(self, stream: HTTP2Stream) -> None:
        """The stream has something to send: its turn comes when the windows and the transport allow."""

    def flush(self) -> None:
        """Hands what h2 has to send to the transport, at the end of the callback that is running."""

    def reset(self, stream: HTTP2Stream, code: ErrorCodes) -> bool:
        """Sends RST_STREAM, if there is anything left to reset; returns whether there was."""

    def leave(self, stream: HTTP2Stream) -> None:
        """The stream is over on the wire; the owner may hear that there is room for another."""

    def refused(self) -> None:
        """The server takes no more streams than there are, for now."""


class SendingHalf(Carrier, ABC):
    """Sends one request, or what is written to the tunnel that came of it.

    Attributes:
        exchange: what it carries.
        stream_id: 0 until its head was sent.
        fields: the request's head, once it is ready to be sent.
        ends_with_head: whether the request has no content, and no tunnel follows it.
        unsent_size: bytes that wait for their turn.
        left: whether nothing of the stream is on the wire any more.
        stalled: whether what it has to send waits for a window.
    """

    def __init__(self, connection: Multiplexer, exchange: HTTPExchange) -> None:
        self._connection = connection
        self.exchange = exchange
        self.stream_id = 0
        self.fields: list[tuple[bytes, bytes]] | None = None
        self.ends_with_head = False
        self.unsent_size = 0
        self.left = False
        self.stalled = False
        self._tunnel: TunnelTransport | None = None
        self._to_send = exchange.request.content_length  # bytes of content that must still be given; None for any
        self._unsent: deque[bytes | memoryview] = deque()
        self._writing = False  # whether the write deadline runs, ...
        self._taken = 0  # ... and what the server had taken when it was set
        self._end: Headers | None = None  # the trailers, once all of the body was given
        self._local_end = False  # END_STREAM or RST_STREAM was sent
        self._continue_handle: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Starts to send the request, right after its handler heard that it is started."""
        if self.exchange.request.peeks:
            self.exchange.start_pump()
        elif self.fields is None:  # exchange_started may have pushed some of the body already
            self._send_head()

    def _send_head(self, *, without_body: bool = False) -> None:
        request = self.exchange.request
        proxy_fields = self._connection.proxy_fields
        addressed = request if proxy_fields is None else forwarded(request, proxy_fields, absolute=False)
        self.fields = request_fields(addressed, without_body=without_body)
        tunnel = request.method == b"CONNECT"
        self.ends_with_head = without_body or (request.content == b"" and not request.trailers and not tunnel)
        self._connection.open(self.stream)
        timeout = self.exchange.timeout.write_timeout
        if not self.stream_id and not self.left and timeout is not None:  # it waits for the server
            self._await_taking(timeout)

    def opened(self, stream_id: int) -> None:
        """The head is being sent, with this number."""
        exchange = self.exchange
        request = exchange.request
        self.stream_id = exchange.stream_id = stream_id
        self._stop_writing()
        exchange.head_sent()
        if exchange.ended:  # by a trace hook
            return
        if self.ends_with_head or request.method == b"CONNECT":
            self._local_end = self.ends_with_head
            exchange.body_sent()
            self._await_progress()
        elif request.expects_continue:
            # First the timer: the handler, who is told to pause, may end the exchange.
            self._continue_handle = self._connection.loop.call_later(exchange.timeout.continue_timeout, self._continue)
            exchange.await_continue()
        else:
            self._send_body()

    def _send_body(self) -> None:
        # Some of what was pushed, or looked into, may wait already.
        request = self.exchange.request
        if request.peeks:
            self._progress()
        elif request.content is None or callable(request.trailers):
            self.exchange.start_pump()
            self._progress()
        elif request.content:
            self._end = check_trailers(request.trailers)  # first, so that the last frame says that it is
            self.write_body(self.exchange, request.content)
        else:
            self.end_body(self.exchange, check_trailers(request.trailers))

    def write_body(self, exchange: HTTPExchange, data: _Buffer) -> None:
        if self.left:  # lost with its connection, of which the exchange has not heard yet
            return
        if self.fields is None:  # the first chunk, for which the head was held back
            self._send_head()
        if self._to_send is not None:
            if len(data) > self._to_send:
                raise LocalProtocolError("the body is longer than its content-length")
            self._to_send -= len(data)
        self.push(data)

    def end_body(self, exchange: HTTPExchange, trailers: Headers) -> None:
        if self.left:
            return
        if self.fields is None:
            if exchange.request.peeks and not trailers:  # the stream was empty: there is no body
                self._send_head(without_body=True)
                return
            self._send_head()
        if self._to_send:
            raise LocalProtocolError(f"the body is {self._to_send} bytes shorter than its content-length")
        self._end = trailers
        self._progress()

    def push(self, data: _Buffer) -> None:
        """Lets `data` wait for its turn."""
        if self.left:
            return
        self._unsent.append(data)  # type: ignore[arg-type]  # it is settled: nobody changes it
        self.unsent_size += len(data)
        self._progress()
        if self.unsent_size > _HIGH_WATER:
            self._pause_writing(True)

    def _progress(self) -> None:
        """Asks for a turn, if anything can be sent."""
        if not self.stream_id or self._local_end or self.exchange.send == SendState.AWAITING_CONTINUE:
            return
        if self._unsent:
            timeout = self.exchange.timeout.write_timeout
            if not self._writing and timeout is not None and self._tunnel is None:
                self._await_taking(timeout)
            self._connection.schedule(self.stream)
        elif self._end is not None:
            self._send_end()

    def send_some(self, limit: int) -> int:
        """Hands a frame of at most `limit` bytes to h2; returns how many. To be called while there are some unsent."""
        exchange, unsent = self.exchange, self._unsent
        if self._tunnel is None:
            exchange.body_started()
        piece = unsent.popleft()
        size = len(piece)
        if size > limit:
            view = memoryview(piece)
            unsent.appendleft(view[limit:])
            piece, size = view[:limit], limit
        self.unsent_size -= size
        last = not unsent and self._end is not None and not self._end
        self._connection.h2.send_data(self.stream_id, piece, end_stream=last)
        if self._writing and unsent:
            assert exchange.timeout.write_timeout is not None
            self._await_taking(exchange.timeout.write_timeout)
        else:
            self._stop_writing()
        if last:
            self._ended_sending()
        elif not unsent and self._end is not None:
            self._send_end()
        elif self.unsent_size <= _LOW_WATER:
            self._pause_writing(False)
        return size

    def _pause_writing(self, paused: bool) -> None:
        if self._tunnel is not None:
            self._tunnel.set_writing_paused(paused)
        elif self.exchange.send != SendState.AWAITING_CONTINUE:
            self.exchange.set_writing_paused(paused)

    def _send_end(self) -> None:
        if self._end:
            self._connection.h2.send_headers(self.stream_id, trailer_fields(self._end), end_stream=True)
        else:
            self._connection.h2.end_stream(self.stream_id)
        self._connection.flush()
        self._ended_sending()

    def _ended_sending(self) -> None:
        self._local_end = True
        if self._tunnel is None:
            self.exchange.body_sent()
            self._await_progress()
        else:
            self._tunnel_sent()

    def _continue(self) -> None:
        """The server said 100 (Continue), or nothing for long enough (RFC 9110 10.1.1)."""
        self._stop_waiting_to_continue()
        exchange = self.exchange
        if exchange.send != SendState.AWAITING_CONTINUE:
            return
        exchange.body_started()
        try:
            self._send_body()
        except LocalProtocolError as exc:
            exchange.fail(exc)
        exchange.set_writing_paused(self.unsent_size > _HIGH_WATER)

    def _await_taking(self, timeout: float) -> None:
        """Starts the write deadline, anew if it runs."""
        self._writing = True
        self._taken = self._connection.sender.progress()
        self._connection.write_deadlines.set(self.stream, timeout)

    def _stop_writing(self) -> None:
        if self._writing:
            assert self.exchange.timeout.write_timeout is not None
            self._writing = False
            self._connection.write_deadlines.discard(self.stream, self.exchange.timeout.write_timeout)

    def _stop_waiting_to_continue(self) -> None:
        if self._continue_handle is not None:
            self._continue_handle.cancel()
            self._continue_handle = None

    @property
    @abstractmethod
    def stream(self) -> HTTP2Stream:
        """The whole, of which this is a half."""

    @abstractmethod
    def _await_progress(self) -> None:
        """The server is to act, perhaps."""

    @abstractmethod
    def _tunnel_sent(self) -> None:
        """This side of the tunnel has ended."""

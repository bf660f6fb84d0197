"""HTTP2Protocol: HTTP/2 on one transport, many exchanges at a time (RFC 9113).

Theory of operation. `start` makes an `HTTP2Stream` of an exchange. Bodies wait at their streams; the `SendQueue` takes
a frame from one stream after the other while the windows and the transport take more, so that none starves. Reading is
never paused: the `FrameReceiver` tells the streams what came, on the spot, and a stream that is not read withholds its
own credit. `Liveness` asks whether the server is there. h2 knows what is legal on the wire; kept here is the
connection's life, and which streams there are.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TypeAlias

from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError

from httpcore import trace
from httpcore.config import HTTP2Config
from httpcore.exceptions import HTTPCoreError, LocalProtocolError, ReadError, RemoteProtocolError, quote_peer_text
from httpcore.protocols.base import LARGE_READ_SIZE, READ_SIZE, HTTPProtocol
from httpcore.protocols.deadlines import Deadlines
from httpcore.protocols.exchange import HTTPExchange
from httpcore.protocols.http2_frames import ConnectionFault, FrameBudget, describe_code
from httpcore.protocols.http2_liveness import Liveness
from httpcore.protocols.http2_receiver import FrameReceiver
from httpcore.protocols.http2_sender import SendQueue
from httpcore.protocols.http2_settings import MAX_ENCODER_TABLE, make_h2
from httpcore.protocols.http2_stream import HTTP2Stream
from httpcore.protocols.http2_windows import ReceiveWindow
from httpcore.protocols.states import HTTP2_CONNECTION, HTTP2ConnectionEvent, HTTP2ConnectionState, SendState

__all__ = ["HTTP2Protocol"]

_ASSUMED_STREAMS = 100  # how many the server is taken to allow until it has said so: it should not say less, by 6.5.2
_LAST_STREAM_ID = 2**31 - 1
_MakeError: TypeAlias = Callable[[HTTP2Stream], HTTPCoreError]


class HTTP2Protocol(HTTPProtocol):
    """An HTTP/2 connection, by ALPN or prior knowledge. See `HTTPProtocol` for how it is used.

    Args:
        config: windows and signs of life; `None` is the defaults.
    """

    def __init__(self, config: HTTP2Config | None = None) -> None:
        super().__init__()
        self.state = HTTP2ConnectionState.PREFACE
        self.config = HTTP2Config() if config is None else config
        self._members: dict[HTTP2Stream, None] = {}  # the streams it carries, the oldest first
        self.streams: dict[int, HTTP2Stream] = {}  # those whose head was sent
        self._unopened: OrderedDict[HTTP2Stream, None] = OrderedDict()  # those whose head waits to be sent
        self._opening = False
        self.last_stream_id = -1  # of our streams
        self._refused_limit: int | None = None  # as many streams as there were when the server refused one
        self.h2, self._fields = make_h2(self.config)
        self._flush_handle: asyncio.Handle | None = None
        # From connection_made on.
        self.window: ReceiveWindow
        self.read_deadlines: Deadlines[HTTP2Stream]
        self.write_deadlines: Deadlines[HTTP2Stream]
        self.liveness: Liveness
        self._receiver: FrameReceiver
        self.sender: SendQueue

    # What users and owners call.

    @property
    def available(self) -> int:
        if self.closing or not self.connected or self.liveness.suspect:
            return 0
        carried = len(self._members)
        limit = self._peer_limit if self._receiver.settled else _ASSUMED_STREAMS
        if self._refused_limit is not None:
            limit = min(limit, self._refused_limit)
        numbers = (_LAST_STREAM_ID - self.last_stream_id) // 2 - (carried - len(self.streams))
        return max(0, min(limit - carried - self.liveness.unconfirmed, numbers))

    @property
    def in_flight(self) -> int:
        return len(self._members)

    @property
    def closing(self) -> bool:
        return self.state >= HTTP2ConnectionState.DRAINING

    @property
    def closed(self) -> bool:
        return self.state == HTTP2ConnectionState.CLOSED

    @property
    def transport(self) -> asyncio.Transport:
        """The connection's transport, for what it knows of itself."""
        return self._transport

    def start(self, exchange: HTTPExchange) -> None:
        reused = self._carried > 0
        self._carried += 1
        stream = HTTP2Stream(self, exchange)
        alone = not self._members
        self._members[stream] = None
        was_in_callback, self._in_callback = self._in_callback, True
        try:
            self.liveness.request_sent(alone=alone)
            exchange.start(stream, self.info, reused)
            if not exchange.ended:
                stream.begin()
        except Exception as exc:
            exchange.fail(exc)
        finally:
            self._in_callback = was_in_callback
            self.flush()

    def close(self, reason: str) -> None:
        if self._drain(reason):
            self._changed()

    def abort(self, error: HTTPCoreError) -> None:
        self.close(str(error))
        self._unopened.clear()
        for stream in list(self._members):
            stream.abort(error)
        if not self.closed:
            self._close_transport(abort=True)

    def ready(self) -> bool:
        if self._transport.is_closing():
            self.close("the connection broke while it was idle")  # connection_lost will say so too, but not yet
            return False
        return not self.closing

    def _drain(self, reason: str) -> bool:
        """Takes no further exchange. Returns whether that is new."""
        if self.closing:
            return False
        self.close_reason = reason
        self.state = HTTP2_CONNECTION[self.state, HTTP2ConnectionEvent.DRAIN]
        self._close_if_empty()
        return True

    def _close_if_empty(self) -> None:
        if self.state == HTTP2ConnectionState.DRAINING and not self._members:
            self._leave_transport(ErrorCodes.NO_ERROR)

    def _leave_transport(self, code: ErrorCodes) -> None:
        self.state = HTTP2_CONNECTION[self.state, HTTP2ConnectionEvent.CLOSE]
        self.h2.close_connection(code)
        self.window.close()
        self._close_transport()

    def _fail(self, code: ErrorCodes, reason: str, make_error: _MakeError) -> None:
        """Ends the connection, and with it all streams."""
        if self.deaf:
            return
        self.close_reason = self.close_reason or reason
        self._leave_transport(code)
        self._lose(self._members, make_error)

    def _lose(self, streams: Iterable[HTTP2Stream], make_error: _MakeError, *, unprocessed: bool = False) -> None:
        # All leave before a handler hears of it, which may call the exchanges of others; and the owner hears of it
        # before that, so that what is sent again does not come back here.
        lost = [(stream, make_error(stream)) for stream in streams]
        self._unopened.clear()
        for stream, error in lost:
            stream.detach(error)
        self._changed()
        for stream, error in lost:
            stream.connection_failed(error, unprocessed=unprocessed)

    # What streams call.

    def open(self, stream: HTTP2Stream) -> None:
        """Sends the stream's head, now or once the server lets it."""
        settled = self._receiver.settled
        extended = stream.exchange.request.protocol is not None
        # The server has lowered its limit meanwhile, or has not said yet whether it takes extended CONNECT.
        if len(self.streams) >= self._peer_limit if settled else extended:
            self._unopened[stream] = None  # where it is already, it keeps its turn
            return
        self._unopened.pop(stream, None)
        if extended and not self.h2.remote_settings.enable_connect_protocol:
            raise LocalProtocolError("the server does not take extended CONNECT (RFC 8441)")
        assert stream.fields is not None
        stream_id = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream_id, stream.fields, stream.ends_with_head)
        # Content in answer to HEAD ends its stream; h2, if it knew of the method, would end the connection.
        self.h2.streams[stream_id].request_method = None
        self.streams[stream_id] = stream
        self.last_stream_id = stream_id
        if _LAST_STREAM_ID - stream_id < 2:
            self._drain("its stream ids are used up")
        stream.opened(stream_id)
        self.flush()

    def schedule(self, stream: HTTP2Stream) -> None:
        """The stream has something to send."""
        self.sender.add(stream)
        self.flush()

    def flush(self) -> None:
        """Hands what h2 has to send to the transport: at the end of the running callback, or with what others send."""
        if self._in_callback or self._flush_handle is not None:
            return
        if len(self._members) > 1:
            self._flush_handle = self.loop.call_soon(self._flush)
        else:
            self._flush()

    def reset(self, stream: HTTP2Stream, code: ErrorCodes) -> bool:
        """Sends RST_STREAM, if there is anything left to reset; returns whether there was."""
        try:
            self.h2.reset_stream(stream.stream_id, code)
        except ProtocolError:  # both sides have ended already
            return False
        self._receiver.expect_late(stream.stream_id, stream.outstanding)
        self.liveness.reset_sent()
        self.flush()
        return True

    def leave(self, stream: HTTP2Stream) -> None:
        """The stream is over on the wire."""
        self._members.pop(stream, None)
        self.streams.pop(stream.stream_id, None)
        self._unopened.pop(stream, None)
        self.sender.discard(stream)
        if not self._members:
            self.liveness.quiet()
        self._open_waiting()
        self._close_if_empty()
        if stream.exchange.trace is not None:
            self._trace_left(stream.exchange.trace)
        if not self.closed:  # connection_lost tells the owner
            self._changed()

    def refused(self) -> None:
        """The server has refused a stream: it takes no more than there are, until it answers one of them."""
        self._refused_limit = len(self._members) - 1
        if not self._refused_limit:
            self._drain("the server refused a request while it had no other")

    def _open_waiting(self) -> None:
        while self._unopened and not self._opening:
            stream = next(iter(self._unopened))
            self._opening = True  # whoever leaves meanwhile lets the loop go on
            try:
                self.open(stream)
            except LocalProtocolError as exc:
                stream.exchange.fail(exc)
            finally:
                self._opening = False
            if stream in self._unopened:
                return

    @property
    def _peer_limit(self) -> int:
        return self.h2.remote_settings.max_concurrent_streams

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        loop, h2, config = self.loop, self.h2, self.config
        self.read_deadlines = Deadlines(loop, HTTP2Stream.read_expired)
        self.write_deadlines = Deadlines(loop, HTTP2Stream.write_expired)
        self.liveness = Liveness(loop, config, self._ping, self._not_alive, self._changed, self._write_gate.progress)
        budget = FrameBudget(loop.time, lambda: self._write_gate.paused)
        self.sender = SendQueue(h2, self._write_gate, self._flush, budget.sent, self.info.connection_id)
        self._receiver = FrameReceiver(self, self._fields, budget)
        self.window = ReceiveWindow(h2, config.connection_window, self._write)
        self.flush()

    def _flush(self) -> None:
        self._flush_handle = None
        self.send_pending()
        super()._flush()

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self.deaf:
            return
        liveness = self.liveness
        liveness.heard_at = self.loop.time()
        suspect, liveness.suspect = liveness.suspect, False
        if len(data) == READ_SIZE:
            self._set_read_size(LARGE_READ_SIZE)
        was_in_callback, self._in_callback = self._in_callback, True
        try:
            self._receiver.receive(data)
        except ConnectionFault as fault:
            self._fault(fault)
        finally:
            self._in_callback = was_in_callback
            self.flush()
        if suspect:
            self._changed()

    def _fault(self, fault: ConnectionFault) -> None:
        self.h2.clear_outbound_data_buffer()  # h2 may have put a GOAWAY of its own there
        reason = f"the server broke the rules of HTTP/2: {fault}: {describe_code(fault.code)}"

        def make_error(stream: HTTP2Stream) -> RemoteProtocolError:
            error = RemoteProtocolError(reason)
            error.__cause__ = fault
            return error

        self._fail(fault.code, reason, make_error)

    def pause_writing(self) -> None:
        self._write_gate.pause()

    def resume_writing(self) -> None:
        self._write_gate.resume()
        self.sender.run()
        self.flush()

    def eof_received(self) -> bool:
        """The server will send no more: the connection is of no use."""
        self.close("the server closed it")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone: the one place where it dies (rule E1)."""
        if self._members and (rest := self._rest(exc)):
            self.data_received(rest)
        self.close_reason = self.close_reason or f"connection lost: {exc}"
        self.state = HTTP2_CONNECTION[self.state, HTTP2ConnectionEvent.LOST]
        self.read_deadlines.close()
        self.write_deadlines.close()
        self.liveness.close()
        body = SendState.SENDING_BODY
        self._lose(self._members, lambda stream: self._translate(exc, sending=stream.exchange.send == body))
        self._lost()

    # What the receiver calls.

    @property
    def deaf(self) -> bool:
        """Whether what comes means nothing any more."""
        return self.state >= HTTP2ConnectionState.CLOSING

    def head_received(self) -> None:
        """The server has answered a request."""
        if self._refused_limit is not None:
            self._refused_limit = None
            self._changed()

    def settings_received(self, settings: tuple[tuple[int, int], ...]) -> None:
        """The server has announced settings."""
        self._refused_limit = None
        if self.state == HTTP2ConnectionState.PREFACE:
            self.state = HTTP2_CONNECTION[self.state, HTTP2ConnectionEvent.SETTINGS]
        self._trace(lambda now, number: trace.SettingsReceived(now, number, settings))
        self.h2.encoder.header_table_size = min(self.h2.encoder.header_table_size, MAX_ENCODER_TABLE)
        for stream in list(self.streams.values()):
            if stream.unsent_size:  # its window may have opened
                self.sender.add(stream)
        self._open_waiting()
        self._changed()

    def goaway_received(self, last_stream_id: int, code: int, debug_data: bytes) -> None:
        """The server takes no further streams, and has done nothing for those above the last (RFC 9113 6.8)."""
        quoted = f" {quote_peer_text(debug_data)}" if debug_data else ""
        reason = f"the server sent GOAWAY: {describe_code(code)}{quoted}"
        self._trace(lambda now, number: trace.GoawayReceived(now, number, last_stream_id, code, debug_data))
        dropped = [stream for stream in self._members if not stream.stream_id or stream.stream_id > last_stream_id]
        self._drain(reason)
        self._lose(dropped, lambda stream: RemoteProtocolError(reason), unprocessed=True)

    def ping_answered(self) -> bool:
        """The server has answered a PING; returns whether there was one."""
        seconds = self.liveness.answered()
        if seconds is not None:
            self._trace(lambda now, number: trace.PingAnswered(now, number, seconds))
        return seconds is not None

    def send_pending(self) -> None:
        """Takes out of h2 what it has to send."""
        if data := self.h2.data_to_send():
            self._outgoing.append(data)

    # Deadlines and signs of life.

    def _ping(self) -> None:
        self.h2.ping(b"httpcore")
        self._trace(trace.PingSent)
        self.flush()

    def _not_alive(self) -> None:
        reason = f"the server did not answer a PING within {self.config.ping_timeout} seconds"
        self._fail(ErrorCodes.NO_ERROR, reason, lambda stream: ReadError(reason))
        self._close_transport(abort=True)

    def _trace(self, make: Callable[[float, int], trace.TraceEvent]) -> None:
        """Tells everybody who traces an exchange on this connection, once."""
        for hook in {id(stream.exchange.trace): stream.exchange.trace for stream in self._members}.values():
            if hook is not None:
                trace.emit(hook, make(self.loop.time(), self.info.connection_id), self.loop)

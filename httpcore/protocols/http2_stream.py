"""HTTP2Stream: one exchange on an HTTP/2 connection, or the tunnel that came of one.

Theory of operation. The connection decides who may send and when; a stream says what. Its `SendingHalf` has the body.
What is received goes to the handler on the spot, and is credited then; while the reader is paused it waits in `_held`,
and its credit is withheld, so that the server stops by itself (rule R2). Nothing else stops with it.

A stream leaves its connection as soon as both sides have ended on the wire, though the rest of the response may still
be held for its reader. What happens to the connection after that does not concern it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from h2.errors import ErrorCodes

from httpcore.exceptions import HTTPCoreError, ReadTimeout, RemoteProtocolError, WriteTimeout, copy_error
from httpcore.handlers import ResponseHead
from httpcore.headers import Headers
from httpcore.protocols.base import LARGE_READ_SIZE
from httpcore.protocols.codec import MAX_HEAD_SIZE
from httpcore.protocols.exchange import HTTPExchange
from httpcore.protocols.http2_fields import parse_content_length, parse_fields, parse_status
from httpcore.protocols.http2_frames import StreamFault, describe_code
from httpcore.protocols.http2_sending import Multiplexer, SendingHalf
from httpcore.protocols.http2_tunnel import TunnelTransport
from httpcore.protocols.states import SendState
from httpcore.trace import StreamReset, emit
from httpcore.upgraded import UpgradedStream

__all__ = ["HTTP2Stream"]

# Bytes of held content that are delivered at once. A reader needs two turns of the loop to ask for more, in which the
# transport may read as much: with less, a whole window would come to wait for one that keeps up with the server.
_PIECE = 2 * LARGE_READ_SIZE
_PATIENCE = 0.25  # seconds without an answer in a tunnel that is given up, after which the connection is looked at
_FIELD_OVERHEAD = 32  # bytes that a field counts for beyond its name and value: RFC 9113 6.5.2


class HTTP2Stream(SendingHalf):
    """One stream, from before it has a number until everything it received was delivered.

    Attributes:
        outstanding: bytes that the server may still send on it.
    """

    def __init__(self, connection: Multiplexer, exchange: HTTPExchange) -> None:
        super().__init__(connection, exchange)
        self._window = self.outstanding = connection.config.stream_window
        self._credited = 0  # bytes that were read and are still to be credited to the stream
        self._held = bytearray()  # content that waits for the reader
        self._caught_up = False  # whether nothing was held at some time since the last credit was given
        self._delivery: asyncio.Handle | None = None
        self._head_size = 0  # bytes of interim responses
        self._remaining: int | None = None  # bytes of content that must still come, None where that is not known
        self._last_came = False  # no more content will come, so that there is nothing to open a window for
        self._remote_end: Headers | None = None  # the trailers, once the server has ended the stream
        self._error: Exception | None = None  # with which a tunnel was lost whose reader has not had all that came
        connection.window.reserve(self._window)

    @property
    def stream(self) -> HTTP2Stream:
        return self

    # Receiving: what the connection calls. Each may raise StreamFault, or what a handler raises.

    def head_received(self, fields: Sequence[tuple[bytes, bytes]]) -> None:
        """A head came, of an interim response or of the final one."""
        exchange = self.exchange
        if exchange.first_byte_at is None:
            exchange.first_byte_at = self._connection.loop.time()
        status_code = parse_status(fields)
        headers = parse_fields(fields, 1)
        if status_code < 200:
            self._interim_received(status_code, headers)
            return
        method = exchange.request.method
        if self._continue_handle is not None:  # a final status in place of 100: the body is not wanted
            self._stop_waiting_to_continue()
        tunnel = method == b"CONNECT" and status_code < 300
        length = None if tunnel else parse_content_length(headers)  # RFC 9110 9.3.6
        self._remaining = 0 if method == b"HEAD" or status_code in (204, 304) else length
        self._await_progress()
        exchange.head_received(ResponseHead(status_code, b"", b"HTTP/2", headers, list(headers)))
        if tunnel and not exchange.ended:
            self._switch()

    def _interim_received(self, status_code: int, headers: Headers) -> None:
        if status_code == 101:
            raise StreamFault(ErrorCodes.PROTOCOL_ERROR, "the response is 101, which HTTP/2 does not have")
        self._head_size += _FIELD_OVERHEAD + sum(len(name) + len(value) + _FIELD_OVERHEAD for name, value in headers)
        if self._head_size > MAX_HEAD_SIZE:
            text = f"the interim responses are over {MAX_HEAD_SIZE} bytes"
            raise StreamFault(ErrorCodes.ENHANCE_YOUR_CALM, text)
        self.exchange.informational_received(status_code, headers)
        if status_code == 100:
            self._continue()

    def data_received(self, data: bytes, flow_size: int, *, last: bool = False) -> None:
        """Content came: `flow_size` bytes with its padding. `end_received` follows if it is the last."""
        self.outstanding -= flow_size
        self._last_came = last
        if flow_size > len(data):
            self._consumed(flow_size - len(data))
        if self._remaining is not None:
            self._remaining -= len(data)
            if self._remaining < 0:
                self._connection.window.read(len(data))
                raise StreamFault(ErrorCodes.PROTOCOL_ERROR, "the response is longer than it says, or than it may be")
        if self._held or self._paused:
            self._held += data
        elif data:
            self._deliver(data)

    def end_received(self, trailers: Headers | None = None) -> None:
        """The server has ended the stream."""
        if self._remaining:
            text = f"the response is {self._remaining} bytes shorter than its content-length"
            raise StreamFault(ErrorCodes.PROTOCOL_ERROR, text)
        self._remote_end = Headers() if trailers is None else trailers
        if self._tunnel is None:
            if not self._local_end:  # nobody wants the rest of the request
                self._reset(ErrorCodes.CANCEL)
            self._leave()  # before the handler hears of it (rule P4): the next request may go out at once
        if not self._held and self._remote_end is not None:  # or whoever heard that there is a place has aborted it
            self._deliver_end()

    def trailers_received(self, fields: Sequence[tuple[bytes, bytes]]) -> None:
        """Trailers came, with which the server has ended the stream."""
        self.end_received(parse_fields(fields, 0))

    def reset_received(self, code: int) -> None:
        """The server has given the stream up."""
        self._trace_reset(code, remote=True)
        error = RemoteProtocolError(f"the server reset the stream: {describe_code(code)}")
        if code == ErrorCodes.REFUSED_STREAM and self._tunnel is None:
            self._connection.refused()
            self._leave(error)
            self.connection_failed(error, unprocessed=True)
        else:
            self._leave(error)
            self.exchange.fail(error)

    def detach(self, error: HTTPCoreError) -> None:
        """The connection is lost to this stream; `connection_failed` follows."""
        self._leave(error)

    def connection_failed(self, error: HTTPCoreError, *, unprocessed: bool = False) -> None:
        """The connection was lost to this stream: the exchange is sent again where that is allowed, or fails."""
        self.exchange.unprocessed = unprocessed or not self.stream_id
        self.exchange.connection_failed(error)

    def fault(self, fault: StreamFault) -> None:
        """The server broke a rule, which ends this stream and no other."""
        error = RemoteProtocolError(f"the server broke the rules of HTTP/2: {fault}: {describe_code(fault.code)}")
        error.__cause__ = fault
        self._cancel(fault.code, error)
        self.exchange.fail(error)

    def _switch(self) -> None:
        """From now on the stream's bytes are the caller's (RFC 9113 8.5, RFC 8441)."""
        exchange = self.exchange
        self._tunnel = TunnelTransport(self, self._connection.transport, self._connection.loop)
        self._stop_deadlines()
        stream = UpgradedStream(self._tunnel.receiver)
        try:
            exchange.handler.connection_upgraded(stream)
        except BaseException:
            stream.abort()
            raise
        if exchange.ended:  # by the handler, who does not want the stream then
            stream.abort()
        exchange.complete(Headers())

    # Delivering.

    @property
    def _paused(self) -> bool:
        return self.exchange.reading_paused if self._tunnel is None else self._tunnel.reading_paused

    def _deliver(self, data: bytes) -> None:
        self._consumed(len(data))
        if self._tunnel is not None:
            self._tunnel.data_received(data)
        else:
            if not self.left:
                self._await_progress()  # content is progress, and moves the deadline; nothing else does
            self.exchange.handler.data_received(data)

    def _consumed(self, size: int) -> None:
        """Credits what was read: to the connection, and to the stream unless it has ended."""
        connection = self._connection
        connection.window.read(size)
        self._credited += size
        if self._credited * 2 < self._window or self.left or self._last_came or self._remote_end is not None:
            return
        increment, self._credited = self._credited, 0
        if (self._caught_up or not self._held) and not self._paused:  # padding is credited while paused, too
            # The reader has had all there was, so it is the window that holds the server up.
            self._caught_up = False
            growth = min(self._window, connection.config.max_stream_window - self._window)
            connection.window.reserve(growth)
            self._window += growth
            increment += growth
        self.outstanding += increment
        connection.h2.increment_flow_control_window(increment, self.stream_id)
        connection.flush()

    def pause_reading(self, exchange: HTTPExchange) -> None:
        timeout = exchange.timeout.read_timeout
        if timeout is not None:  # a slow reader is no fault of the server's
            self._connection.read_deadlines.discard(self, timeout)

    def resume_reading(self, exchange: HTTPExchange) -> None:
        self.resume_delivery()
        self._await_progress()

    def resume_delivery(self) -> None:
        """Delivers what is held, in the loop's next turn: who asks for it is not to be called back at once."""
        if self._held and self._delivery is None:
            self._delivery = self._connection.loop.call_soon(self._deliver_held)

    def _deliver_held(self) -> None:
        self._delivery = None
        held = self._held
        if not held:  # whoever paused and resumed in the middle of the last delivery has had it all, and the end
            return
        try:
            while held and not self._paused:
                piece = bytes(memoryview(held)[:_PIECE])
                del held[: len(piece)]
                self._deliver(piece)
            self._caught_up = self._caught_up or not held
            if not held and self._remote_end is not None:
                self._deliver_end()
        except (Exception, asyncio.CancelledError) as exc:
            self.exchange.handler_raised(exc)
        finally:
            self._connection.flush()

    def _deliver_end(self) -> None:
        assert self._remote_end is not None
        if self._tunnel is None:
            self._release()
            self.exchange.complete(self._remote_end)
        else:
            self._tunnel.eof_received()
            if self.left:  # while the reader was slow
                self._release()
                self._tunnel.gone(self._error)
            elif self._local_end:
                self._leave()

    # Ending.

    def abandon(self, exchange: HTTPExchange) -> None:
        started = exchange.timings.started
        if exchange.timed_out and started is not None:
            self._connection.liveness.timed_out(self._connection.loop.time() - started)
        self._cancel(ErrorCodes.CANCEL)

    def abort(self, error: HTTPCoreError) -> None:
        """Ends now, with a copy of `error`: each says what its own exchange was doing."""
        own = copy_error(error)
        self._cancel(ErrorCodes.CANCEL, own)
        self.exchange.fail(own)

    def abort_tunnel(self, asked_at: float | None = None) -> None:
        """The caller closes the tunnel now: perhaps for want of an answer to what was sent at `asked_at`."""
        waited = 0.0 if asked_at is None else self._connection.loop.time() - asked_at
        if waited >= _PATIENCE and not self.left:
            self._connection.liveness.timed_out(waited)
        self._cancel(ErrorCodes.CANCEL)

    def _tunnel_sent(self) -> None:
        assert self._tunnel is not None
        self._tunnel.sent_end()
        if self._remote_end is not None and not self._held:
            self._leave()

    def end_tunnel(self) -> None:
        """The caller sends no more through the tunnel; what waits is sent first."""
        self._end = Headers()
        self._progress()

    def _cancel(self, code: ErrorCodes, error: Exception | None = None) -> None:
        if not self.left and self.stream_id:
            self._reset(code)
        self._remote_end = None  # nobody is to hear of it
        self._leave(error)
        self._release()

    def _reset(self, code: ErrorCodes) -> None:
        if self._connection.reset(self, code):
            self._trace_reset(code, remote=False)

    def _trace_reset(self, code: int, *, remote: bool) -> None:
        hook, info = self.exchange.trace, self.exchange.connection_info
        if hook is not None and info is not None:
            now = self._connection.loop.time()
            emit(hook, StreamReset(now, info.connection_id, self.stream_id, code, remote), self._connection.loop)

    def _leave(self, error: Exception | None = None) -> None:
        """Nothing of the stream is on the wire any more. Only what is held for the reader of a whole response stays."""
        if self.left:
            return
        self.left = self._local_end = True
        self._stop_deadlines()
        self._unsent.clear()
        self.unsent_size = 0
        if self._remote_end is None or not self._held:
            self._release()
        self._connection.leave(self)
        if self._held:
            self._error = error
        elif self._tunnel is not None:
            self._tunnel.gone(error)

    def _release(self) -> None:
        """Gives back all credit that the stream holds: nobody will read what it has not delivered."""
        window = self._connection.window
        if self._delivery is not None:
            self._delivery.cancel()
            self._delivery = None
        if self._held:
            window.read(len(self._held))
            self._held.clear()
            self._connection.flush()
        window.release(self._window)
        self._window = 0

    def _stop_deadlines(self) -> None:
        self._stop_waiting_to_continue()
        self._stop_writing()
        timeout = self.exchange.timeout.read_timeout
        if timeout is not None:
            self._connection.read_deadlines.discard(self, timeout)

    def read_expired(self) -> None:
        """The read deadline has passed."""
        seconds = self.exchange.timeout.read_timeout
        assert seconds is not None
        self._connection.liveness.timed_out(seconds)
        self.exchange.fail(ReadTimeout(f"the server made no progress for {seconds} seconds"))

    def write_expired(self) -> None:
        """The write deadline has passed."""
        seconds = self.exchange.timeout.write_timeout
        assert seconds is not None
        sender = self._connection.sender
        if sender.waits(self) and sender.progress() != self._taken:  # of this stream or another: its turn will come
            self._await_taking(seconds)
            return
        self._connection.liveness.timed_out(seconds)
        if not self.stream_id:  # nothing will be reset, which would ask the server as well
            self._connection.liveness.ask()
        self.exchange.fail(WriteTimeout(f"the server took none of the request for {seconds} seconds"))

    def _await_progress(self) -> None:
        """Starts the read deadline where the server is to act, and somebody reads.

        The server is to act once the request is sent, or once it has answered in place of 100 (Continue).
        """
        exchange = self.exchange
        timeout = exchange.timeout.read_timeout
        if timeout is None or self.left or exchange.reading_paused:
            return
        refused = exchange.send == SendState.AWAITING_CONTINUE and self._continue_handle is None
        if refused or exchange.send == SendState.DONE:
            self._connection.read_deadlines.set(self, timeout)

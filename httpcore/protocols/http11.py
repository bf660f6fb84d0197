"""HTTP11Protocol: HTTP/1.1 on one transport, one exchange at a time.

Theory of operation. `start` takes an exchange and writes its head, with the body where that is small; a longer or
streamed body is pushed by the exchange's `BodyPump`, or by the caller, through `write_body` and `end_body`.
`data_received` hands the bytes to the codec and calls the handler for everything that comes out, at once. The two
halves meet in `_response_ended`: the connection is reused if, and only if, both are done, HTTP says it persists, and
not one byte is left over; in every other case it closes. A connection that breaks tells its exchange through
`connection_failed`, an exchange that fails lets go through `abandon`. After an upgrade `UpgradedReceiver` takes over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from httpcore.exceptions import HTTPCoreError, LocalProtocolError, ReadTimeout, RemoteProtocolError, WriteTimeout
from httpcore.handlers import ResponseHead
from httpcore.headers import Headers
from httpcore.protocols.base import LARGE_READ_SIZE, READ_SIZE, HTTPProtocol, Outgoing
from httpcore.protocols.carrier import Carrier
from httpcore.protocols.codec import Codec
from httpcore.protocols.codec_events import CodecEvent, EndOfMessage, Interim, Switched
from httpcore.protocols.codecs import auto_codec
from httpcore.protocols.deadlines import Deadline
from httpcore.protocols.exchange import HTTPExchange
from httpcore.protocols.file_sender import FileSender
from httpcore.protocols.forwarding import forwarded
from httpcore.protocols.states import CONNECTION, ConnectionEvent, ConnectionState, ReceiveState, SendState, Transition
from httpcore.upgraded import UpgradedReceiver, UpgradedStream

__all__ = ["HTTP11Protocol"]

_NO_TRAILERS = Headers()
_START, _REUSE, _UPGRADE, _CLOSE, _LOST = map(CONNECTION.on, ConnectionEvent)
_WITH_THE_HEAD = 64 * 1024  # bytes of body that are written together with the head


class HTTP11Protocol(HTTPProtocol, Carrier):
    """An HTTP/1.1 connection. See `HTTPProtocol` for how it is used.

    Args:
        codec: makes the codec of an exchange; `None` is the fastest one that is installed.
    """

    def __init__(self, codec: Callable[[], Codec] | None = None) -> None:
        super().__init__()
        self.state = ConnectionState.IDLE
        self._make_codec = auto_codec() if codec is None else codec
        # Per connection, from connection_made on.
        self._read_deadline: Deadline
        self._write_deadline: Deadline
        self._upgraded: UpgradedReceiver | None = None
        # Per exchange: set by start, cleared by _leave.
        self._exchange: HTTPExchange | None = None
        self._codec: Codec
        self._held: list[Outgoing] = []  # body that was given while 100 (Continue) is awaited, and ...
        self._held_end: Headers | None = None  # ... the trailers with which it was ended
        self._continue_handle: asyncio.TimerHandle | None = None

    # Starting and ending.

    @property
    def available(self) -> int:
        return 1 if self.state == ConnectionState.IDLE and self.connected else 0

    @property
    def in_flight(self) -> int:
        return 0 if self._exchange is None else 1

    @property
    def closing(self) -> bool:
        return self.state >= ConnectionState.CLOSING

    @property
    def closed(self) -> bool:
        return self.state == ConnectionState.CLOSED

    def start(self, exchange: HTTPExchange) -> None:
        self.state = _START[self.state]
        self._exchange = exchange
        self._codec = self._make_codec()
        reused = self._carried > 0
        self._carried += 1
        was_in_callback, self._in_callback = self._in_callback, True
        try:
            exchange.start(self, self.info, reused)
            if self._write_gate.paused:
                self.pause_writing()
            if exchange.reading_paused:
                self._read_gate.pause()
            if exchange.ended:  # by exchange_started, or by one of the others
                return
            if exchange.request.peeks:
                exchange.start_pump()
            elif exchange.send == SendState.IDLE:  # exchange_started may have pushed some of the body already
                self._send_head(exchange)
        except Exception as exc:
            exchange.fail(exc)
        finally:
            self._in_callback = was_in_callback
            if not was_in_callback:
                self._flush()

    def close(self, reason: str) -> None:
        if not self.close_reason:
            self.close_reason = reason
        if self.state == ConnectionState.IDLE:
            self._leave(_CLOSE, reason)
            self._close_transport()
            self._changed()

    def abort(self, error: HTTPCoreError) -> None:
        if self._exchange is not None:
            self._exchange.fail(error)  # which comes back through abandon
        elif not self.closed:
            self.close(str(error))
            self._close_transport(abort=True)

    def abandon(self, exchange: HTTPExchange) -> None:
        if exchange is self._exchange:  # with half a message on the wire, the connection is of no use to anyone
            self._leave(_CLOSE, "its exchange failed")
            self._close_transport(abort=True)
            self._changed()

    def _leave(self, event: Transition[ConnectionState], reason: str) -> None:
        """Moves the connection on and takes it from its exchange, if it has one. The caller tells the owner."""
        exchange, self._exchange = self._exchange, None
        self.state = event[self.state]
        self._read_deadline.when = self._write_deadline.when = None
        self._held_end = None
        self._held.clear()
        self._stop_continue_timer()
        self.close_reason = self.close_reason or reason
        if exchange is not None and exchange.trace is not None and self.state != ConnectionState.UPGRADED:
            self._trace_left(exchange.trace)

    # Sending.

    def _send_head(self, exchange: HTTPExchange, *, without_body: bool = False) -> None:
        request = exchange.request
        addressed = request if self.proxy_fields is None else forwarded(request, self.proxy_fields, absolute=True)
        head = self._codec.send_head(addressed, without_body=without_body)
        exchange.head_sent()
        self._write(head)
        if without_body:
            self._end_request(exchange, _NO_TRAILERS)
        elif request.expects_continue:
            # First the timer: the handler, who is told to pause, may end the exchange.
            self._continue_handle = self.loop.call_later(exchange.timeout.continue_timeout, self._continue)
            exchange.await_continue()
        elif not request.peeks:
            self._send_body(exchange)

    def _send_body(self, exchange: HTTPExchange) -> None:
        content = exchange.request.content
        if content is None or len(content) > _WITH_THE_HEAD or exchange.request.trailers:
            exchange.start_pump()
        else:
            if content:
                self.write_body(exchange, content)
            self._end_request(exchange, _NO_TRAILERS)

    def write_body(self, exchange: HTTPExchange, data: Outgoing) -> None:
        if exchange is not self._exchange:
            return
        if exchange.send == SendState.IDLE:  # the first chunk, for which the head was held back
            self._send_head(exchange)
        if exchange.send == SendState.AWAITING_CONTINUE:
            self._held.append(data)
            return
        exchange.body_started()
        self._write(*self._codec.send_data(data))

    def end_body(self, exchange: HTTPExchange, trailers: Headers) -> None:
        if exchange is not self._exchange:
            return
        if exchange.send == SendState.IDLE:
            if exchange.request.peeks and not trailers:  # the stream was empty: there is no body
                self._send_head(exchange, without_body=True)
                return
            self._send_head(exchange)
        if exchange.send == SendState.AWAITING_CONTINUE:
            self._held_end = trailers
        else:
            self._end_request(exchange, trailers)

    def file_sender(self, exchange: HTTPExchange) -> FileSender | None:
        return FileSender.on(self._transport, exchange, self._codec, self._write_gate, self._write_deadline)

    def _end_request(self, exchange: HTTPExchange, trailers: Headers) -> None:
        if end := self._codec.send_eof(trailers):
            self._write(end)
        if not exchange.ended:  # by a handler that was asked to pause, or a transport that refused
            exchange.body_sent()
            self._await_progress(exchange)

    def _continue(self) -> None:
        """The server said 100 (Continue), or nothing for long enough (RFC 9110 10.1.1)."""
        exchange = self._exchange
        self._stop_continue_timer()
        if exchange is None or exchange.send != SendState.AWAITING_CONTINUE:
            return
        exchange.body_started()
        held, self._held = self._held, []
        try:
            for data in held:
                self._write(*self._codec.send_data(data))
            if self._held_end is not None:
                self._end_request(exchange, self._held_end)
            elif not exchange.request.peeks:  # there, the body is being sent already
                self._send_body(exchange)
        except LocalProtocolError as exc:
            exchange.fail(exc)
        exchange.set_writing_paused(self._write_gate.paused)

    def _stop_continue_timer(self) -> None:
        if self._continue_handle is not None:
            self._continue_handle.cancel()
            self._continue_handle = None

    def pause_writing(self) -> None:
        self._write_gate.pause()
        exchange = self._exchange
        if self._upgraded is not None:
            self._upgraded.pause_writing()
        elif exchange is not None:
            if exchange.timeout.write_timeout is not None:
                self._write_deadline.arm(self.loop.time() + exchange.timeout.write_timeout)
            exchange.set_writing_paused(True)

    def resume_writing(self) -> None:
        self._write_gate.resume()
        self._write_deadline.when = None
        exchange = self._exchange
        if self._upgraded is not None:
            self._upgraded.resume_writing()
        elif exchange is not None and exchange.send != SendState.AWAITING_CONTINUE:
            exchange.set_writing_paused(False)

    # Receiving.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._read_deadline = Deadline(self.loop, self._read_expired)
        self._write_deadline = Deadline(self.loop, self._write_expired)

    def data_received(self, data: bytes) -> None:
        """Bytes came; b"" stands for the end of the connection, while there is an exchange."""
        exchange = self._exchange
        if exchange is None:
            if self._upgraded is not None:
                self._upgraded.data_received(data)
            elif self.state == ConnectionState.IDLE:
                self.close("bytes came while it was idle")
            return
        self._in_callback = True
        if len(data) == READ_SIZE:
            self._set_read_size(LARGE_READ_SIZE)
        try:
            if exchange.first_byte_at is None and data:
                if not exchange.head_written:  # they cannot answer what was not asked yet (RFC 9112 9.2)
                    self._connection_failed(exchange, RemoteProtocolError("bytes came before the request was sent"))
                    return
                exchange.first_byte_at = self.loop.time()
            events = self._codec.receive(data)
            for event in events:
                kind = type(event)
                if kind is bytes:
                    exchange.handler.data_received(event)  # type: ignore[arg-type]
                elif kind is EndOfMessage:
                    self._response_ended(exchange, event.trailers)  # type: ignore[union-attr]
                elif kind is ResponseHead:
                    if self._continue_handle is not None:  # a final status in place of 100: the body is not wanted
                        self._stop_continue_timer()
                        self._await_progress(exchange)
                    exchange.head_received(event)  # type: ignore[arg-type]
                else:
                    self._event_received(exchange, event)
                if self._exchange is not exchange:
                    return
            # Progress is content: what leads nowhere (interim responses, chunk framing) moves no deadline.
            if events and self._read_deadline.when is not None and exchange.receive == ReceiveState.RECEIVING_BODY:
                self._read_deadline.when = self.loop.time() + (exchange.timeout.read_timeout or 0.0)
        except (Exception, asyncio.CancelledError) as exc:
            exchange.handler_raised(exc)
        finally:
            self._in_callback = False
            if self._outgoing:
                self._flush()

    def _event_received(self, exchange: HTTPExchange, event: CodecEvent) -> None:
        if isinstance(event, Interim):
            exchange.informational_received(event.status_code, event.headers)
            if event.status_code == 100:
                self._continue()
        elif isinstance(event, Switched):
            self._switched(exchange, event.leftover)
        else:
            assert isinstance(event, RemoteProtocolError)
            self._connection_failed(exchange, event)

    def _response_ended(self, exchange: HTTPExchange, trailers: Headers) -> None:
        sent = exchange.send == SendState.DONE
        if sent and not self.close_reason and self._codec.reusable:
            self.keep_alive_hint = self._codec.keep_alive_hint
            self._leave(_REUSE, "")
            if self._read_gate.paused:
                self._read_gate.resume()
        else:
            self._leave(_CLOSE, "HTTP says that it ends" if sent else "the response came before the request had ended")
            self._close_transport(abort=not sent)  # nobody wants the rest of the request
        self._changed()  # before the handler hears of it (rule P4): the next request may go out at once
        exchange.complete(trailers)

    def _switched(self, exchange: HTTPExchange, leftover: bytes) -> None:
        self._leave(_UPGRADE, "")
        self._read_gate.resume()
        self._upgraded = UpgradedReceiver(self._transport, self, leftover)
        stream = UpgradedStream(self._upgraded)
        self._changed()
        try:
            exchange.handler.connection_upgraded(stream)
        except BaseException:
            stream.abort()
            raise
        if exchange.ended:  # by the handler, who does not want the stream then
            stream.abort()
        exchange.complete(Headers())

    def _connection_failed(self, exchange: HTTPExchange, error: HTTPCoreError) -> None:
        self._leave(_CLOSE, str(error))
        self._close_transport(abort=True)
        self._changed()
        exchange.connection_failed(error)

    def eof_received(self) -> bool:
        """The server will send no more. Returns whether the transport is to stay open."""
        if self._upgraded is not None:
            return self._upgraded.eof_received()
        if self.state == ConnectionState.IDLE:
            self.close("the server closed it")
        elif self._exchange is not None and self.info.ssl_object is None:
            self.data_received(b"")
        return False  # with TLS, connection_lost follows and can tell whether this was the server's doing

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone: the one place where it dies (rule E1)."""
        if self._exchange is not None and (rest := self._rest(exc)):
            self.data_received(rest)
        cut_off = False
        if self._exchange is not None and exc is None and self.info.ssl_object is not None:
            cut_off = self._cut_off()
            if not cut_off:
                self.data_received(b"")
        exchange = self._exchange
        sending = exchange is not None and exchange.send == SendState.SENDING_BODY
        reason = "TLS was cut off without close_notify" if cut_off else f"connection lost: {exc}"
        self._leave(_LOST, reason)
        self._read_deadline.close()
        self._write_deadline.close()
        if exchange is not None:
            error = RemoteProtocolError(reason) if cut_off else self._translate(exc, sending=sending)
            exchange.connection_failed(error)
        if self._upgraded is not None:
            self._upgraded.connection_lost(exc)
        self._changed()
        self._lost()

    def pause_reading(self, exchange: HTTPExchange) -> None:
        if exchange is self._exchange:
            self._read_gate.pause()
            self._read_deadline.when = None  # a slow reader is no fault of the server's

    def resume_reading(self, exchange: HTTPExchange) -> None:
        if exchange is self._exchange:
            self._read_gate.resume()
            self._await_progress(exchange)

    # Deadlines.

    def _await_progress(self, exchange: HTTPExchange) -> None:
        """Starts the read deadline, if somebody reads and the request is sent, or was answered in place of 100."""
        read_timeout = exchange.timeout.read_timeout
        refused = exchange.send == SendState.AWAITING_CONTINUE and self._continue_handle is None
        if read_timeout is not None and (refused or exchange.send == SendState.DONE) and not self._read_gate.paused:
            self._read_deadline.arm(self.loop.time() + read_timeout)

    def _read_expired(self) -> None:
        exchange = self._exchange
        assert exchange is not None  # _leave takes the deadlines back
        exchange.fail(ReadTimeout(f"the server made no progress for {exchange.timeout.read_timeout} seconds"))

    def _write_expired(self) -> None:
        exchange = self._exchange
        assert exchange is not None and exchange.timeout.write_timeout is not None
        seconds = exchange.timeout.write_timeout
        if self._write_gate.made_progress():
            self._write_deadline.arm(self.loop.time() + seconds)
        else:
            exchange.fail(WriteTimeout(f"the server took none of the request for {seconds} seconds"))

"""HTTPExchange: one request and its response, from `dispatch` to the end, on whatever carries it.

It owns what belongs to the exchange and not to a connection: the states of its two halves, its total deadline, the
pump of a streamed body, and the promise that its handler hears of the end exactly once. The connection that carries it
says what happened, which moves the halves; the exchange asks the connection to write, to pause or to let go.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import TypeAlias

from httpcore.config import TimeoutConfig
from httpcore.exceptions import HTTPCoreError, LocalProtocolError, Phase, ResponseClosed, TotalTimeout
from httpcore.handlers import ConnectionInfo, Exchange, ResponseHandler, ResponseHead, Timings
from httpcore.headers import Headers, HeaderTypes, check_trailers
from httpcore.protocols.carrier import Carrier, Holder
from httpcore.protocols.file_sender import FileSender
from httpcore.protocols.pump import BodyPump
from httpcore.protocols.states import RECEIVE, SEND, ReceiveEvent, ReceiveState, SendEvent, SendState
from httpcore.request import Request
from httpcore.request_body import settled
from httpcore.trace import (
    BodySent,
    ExchangeFailed,
    HeadReceived,
    HeadSent,
    InformationalReceived,
    ResponseComplete,
    SlotAssigned,
    TraceHook,
    emit,
)

__all__ = ["HTTPExchange"]


# What a handler may raise without ending the program: it ends the exchange instead.
_RAISED = (Exception, asyncio.CancelledError)

# Who is told once the exchange is over. Handlers refer to their exchanges; an exchange that went on referring to its
# handler would leave a cycle behind for each request.
_NOBODY = ResponseHandler()

_SEND_HEAD, _BODY_SENT = SEND.on(SendEvent.SEND_HEAD), SEND.on(SendEvent.END)
_HEAD_RECEIVED, _RESPONSE_ENDED = RECEIVE.on(ReceiveEvent.HEAD), RECEIVE.on(ReceiveEvent.END)

Replay: TypeAlias = Callable[["HTTPExchange", HTTPCoreError], bool]


class HTTPExchange(Exchange):
    """What `dispatch` makes; see `Exchange` for what its user may call.

    Attributes:
        handler: who is told. The carrier calls its `data_received` itself, to save a frame for every chunk.
        loop: the loop it runs on.
        timeout: the exchange's deadlines.
        trace: the hook, `None` without one.
        send, receive: the states of the halves. Moved here alone.
        phase_before_start: what it waits for while it has no carrier.
        reused: whether the carrier had carried another exchange before this one.
        first_byte_at: when the first byte came since the request was started on this carrier; `None` before it did.
        head_written: whether any byte of the request was handed to a transport, on this carrier.
        request_sent: the same, on this carrier or an earlier one.
        reading_paused: whether the user asked for a pause.
        replays: how many times the exchange was started before, on connections that did not answer.
        unprocessed: whether the carrier that failed is certain that the server did nothing with the request.
        timed_out: set by who aborts it because the time for an answer, of which no carrier knows, is up.
        replay: asks the pool to send the request again; returns whether it does. `None` without a pool.
    """

    __slots__ = (
        "_carrier",
        "_context",
        "_dispatched_at",
        "_ended_at",
        "_holder",
        "_pump",
        "_pushed_eof",
        "_response_at",
        "_sent_at",
        "_started_at",
        "_total_handle",
        "_writing_paused",
        "connection_info",
        "ended",
        "first_byte_at",
        "handler",
        "head_written",
        "loop",
        "phase_before_start",
        "reading_paused",
        "receive",
        "replay",
        "replays",
        "request",
        "request_sent",
        "reused",
        "send",
        "stream_id",
        "timed_out",
        "timeout",
        "trace",
        "unprocessed",
    )

    def __init__(
        self,
        request: Request,
        handler: ResponseHandler,
        timeout: TimeoutConfig,
        loop: asyncio.AbstractEventLoop,
        trace: TraceHook | None = None,
    ) -> None:
        self.request = request
        self.handler = handler
        self.timeout = timeout
        self.trace = trace
        self.loop = loop
        self.send = SendState.IDLE
        self.receive = ReceiveState.AWAITING_HEAD
        self.phase_before_start = Phase.WAITING
        self.reused = False
        self.first_byte_at: float | None = None
        self.head_written = False
        self.request_sent = False
        self.reading_paused = False
        self.replays = 0
        self.unprocessed = self.timed_out = False
        self.replay: Replay | None = None
        self.stream_id: int | None = None
        self._holder: Holder | None = None
        self._carrier: Carrier | None = None  # the holder, once it is a connection
        self.connection_info: ConnectionInfo | None = None
        self.ended = False
        self._pushed_eof = False
        self._pump: BodyPump | None = None
        self._writing_paused = False
        self._dispatched_at = loop.time()
        self._started_at: float | None = None
        self._sent_at: float | None = None
        self._response_at: float | None = None
        self._ended_at: float | None = None
        self._total_handle: asyncio.TimerHandle | None = None
        if timeout.total_timeout is not None:
            self._total_handle = loop.call_later(timeout.total_timeout, self._total_expired)
        # A streamed body runs in the context of who dispatched it, not of whoever freed the connection.
        self._context = None if request.content is not None else contextvars.copy_context()

    # What the user calls: see handlers.Exchange.

    @property
    def timings(self) -> Timings:
        return Timings(self._dispatched_at, self._started_at, self._sent_at, self._response_at, self._ended_at)

    def pause_reading(self) -> None:
        self.reading_paused = True
        if self._carrier is not None:
            self._carrier.pause_reading(self)

    def resume_reading(self) -> None:
        self.reading_paused = False
        if self._carrier is not None:
            self._carrier.resume_reading(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"write takes bytes, not {type(data).__name__}")
        carrier = self._pushing()
        if carrier is not None and len(flat := settled(data)):
            self._or_fail(lambda: carrier.write_body(self, flat))

    def write_eof(self, trailers: HeaderTypes = ()) -> None:
        fields = check_trailers(trailers)
        carrier = self._pushing()
        if carrier is not None:
            self._pushed_eof = True
            self._or_fail(lambda: carrier.end_body(self, fields))

    def abort(self, error: BaseException | None = None) -> None:
        self.fail(ResponseClosed("the exchange was aborted") if error is None else error)

    # What its holder calls.

    @property
    def phase(self) -> Phase:
        """What the exchange is doing."""
        if self._carrier is None:
            return self.phase_before_start
        if self.receive != ReceiveState.AWAITING_HEAD:
            return Phase.RECEIVING_BODY
        if self.send in (SendState.SENDING_BODY, SendState.AWAITING_CONTINUE):
            return Phase.SENDING_BODY
        return Phase.RECEIVING_HEAD if self.send == SendState.DONE else Phase.SENDING_HEAD

    @property
    def _where(self) -> tuple[int, int | None]:
        """The numbers of the connection and of the stream that carry it, for traces."""
        assert self.connection_info is not None
        return self.connection_info.connection_id, self.stream_id

    def wait(self, holder: Holder, phase: Phase) -> None:
        """`holder` has it from now on, until it can be started."""
        self._holder = holder
        self.phase_before_start = phase

    def start(self, carrier: Carrier, info: ConnectionInfo, reused: bool) -> None:
        """`carrier` carries it from now on. Tells the handler, who may end the exchange at once."""
        self._holder = self._carrier = carrier
        self.connection_info = info
        self.reused = reused
        self._started_at = self.loop.time()
        if self.trace is not None:
            emit(self.trace, SlotAssigned(self._started_at, info.connection_id, reused), self.loop)
        if not self.replays:
            try:
                self.handler.exchange_started(self)
            except _RAISED as exc:
                self.handler_raised(exc)

    def head_sent(self) -> None:
        """The request's head is being handed to the transport."""
        self.send = _SEND_HEAD[self.send]
        self.head_written = self.request_sent = True
        if self.trace is not None:
            emit(self.trace, HeadSent(self.loop.time(), *self._where), self.loop)

    def await_continue(self) -> None:
        """The body waits for 100 (Continue)."""
        self.send = SEND[self.send, SendEvent.AWAIT_CONTINUE]
        self.set_writing_paused(True)

    def body_started(self) -> None:
        """The body is being sent. Nothing to do if it was before."""
        if self.send != SendState.SENDING_BODY:
            self.send = SEND[self.send, SendEvent.SEND_BODY]

    def body_sent(self) -> None:
        """The last byte of the request was handed to the transport."""
        self.send = _BODY_SENT[self.send]
        self._sent_at = self.loop.time()
        if self.trace is not None:
            emit(self.trace, BodySent(self._sent_at, *self._where), self.loop)

    def informational_received(self, status_code: int, headers: Headers) -> None:
        """An interim response came. Tells the handler."""
        if self.trace is not None:
            emit(self.trace, InformationalReceived(self.loop.time(), status_code, *self._where), self.loop)
        self.handler.informational_received(status_code, headers)

    def head_received(self, head: ResponseHead) -> None:
        """The final response's head came. Tells the handler."""
        self.receive = _HEAD_RECEIVED[self.receive]
        self._response_at = self.loop.time()
        if self.trace is not None:
            first_byte = self._response_at if self.first_byte_at is None else self.first_byte_at
            emit(self.trace, HeadReceived(self._response_at, head.status_code, first_byte, *self._where), self.loop)
        self.handler.response_received(head)

    def complete(self, trailers: Headers) -> None:
        """The response ended as it should, and the carrier has let go. Tells the handler, unless it ended before."""
        if self.ended:  # by another handler, who heard first that the carrier is free
            return
        self.receive = _RESPONSE_ENDED[self.receive]
        self._end()
        if self.trace is not None:
            emit(self.trace, ResponseComplete(self.loop.time(), *self._where), self.loop)
        handler, self.handler = self.handler, _NOBODY
        try:
            handler.response_complete(trailers)
        except _RAISED as exc:
            self.handler_raised(exc)

    def fail(self, error: BaseException) -> None:
        """Ends the exchange with `error`: tells the holder, then the handler. Ignored after the end."""
        if self.ended:
            return
        if isinstance(error, HTTPCoreError) and error.host is None:
            error.host, error.port = self.request.url.host, self.request.url.port
            error.phase = self.phase
            error.request_sent = self.request_sent
        self.send = SEND[self.send, SendEvent.FAIL]
        self.receive = RECEIVE[self.receive, ReceiveEvent.FAIL]
        holder = self._holder
        self._end()
        if holder is not None:
            holder.abandon(self)
        if self.trace is not None:
            emit(self.trace, ExchangeFailed(self.loop.time(), error), self.loop)
        handler, self.handler = self.handler, _NOBODY
        try:
            handler.exchange_failed(error)
        except _RAISED as exc:
            self.handler_raised(exc)

    def connection_failed(self, error: HTTPCoreError) -> None:
        """The carrier died or broke the rules: sends the request again where that is allowed, or fails."""
        if not self.ended and (self.replay is None or not self.replay(self, error)):
            self.fail(error)

    def rewind(self) -> None:
        """Makes ready to be started again, on another carrier."""
        if self._pump is not None:
            self._pump.stop()
            self._pump = None
        self._holder = self._carrier = self.connection_info = None
        self.send = SendState.IDLE
        self.head_written = False
        self.first_byte_at = None
        self.replays += 1
        self.unprocessed = False
        self.stream_id = None
        self._writing_paused = False

    def start_pump(self) -> None:
        """Begins to read and send the request's body; nothing to do where the caller pushes it."""
        if not self.request.pushed:
            self._pump = BodyPump(self.request, self, self.loop, self._context, paused=self._writing_paused)

    def set_writing_paused(self, paused: bool) -> None:
        """Tells who sends the body whether to stop or to go on. Idempotent; ignored after the end."""
        if paused == self._writing_paused or self.ended:
            return
        self._writing_paused = paused
        if self._pump is not None:
            self._pump.set_paused(paused)
        elif self.request.pushed:
            try:
                (self.handler.pause_writing if paused else self.handler.resume_writing)()
            except _RAISED as exc:
                self.handler_raised(exc)

    def handler_raised(self, error: BaseException) -> None:
        """What a handler raises fails its exchange; once that is over, the loop's exception handler hears of it."""
        if self.ended:
            message = "a handler of httpcore raised after its exchange had ended"
            self.loop.call_exception_handler({"message": message, "exception": error})
        else:
            self.fail(error)

    # What its pump calls.

    def send_chunk(self, data: bytes | bytearray | memoryview) -> bool:
        """Sends a piece of the body; returns whether any more is wanted."""
        carrier = self._carrier
        assert carrier is not None  # who takes the carrier away stops the pump
        carrier.write_body(self, data)
        return not self.ended

    def send_end(self, trailers: Headers) -> None:
        """Ends the body."""
        if self._carrier is not None:
            self._carrier.end_body(self, trailers)

    def file_sender(self) -> FileSender | None:
        """Returns what sends a file as the body, past the transport; `None` where that is not possible."""
        return None if self._carrier is None else self._carrier.file_sender(self)

    # Its own.

    def _pushing(self) -> Carrier | None:
        """Returns the carrier that takes what the caller pushes; `None` after the end."""
        if not self.request.pushed:
            raise LocalProtocolError("the request has a body of its own; make it with body=httpcore.PUSHED")
        if self.ended:
            return None
        if self._pushed_eof:
            raise LocalProtocolError("the body was ended already")
        if self._carrier is None:
            raise LocalProtocolError("the exchange has no connection yet: wait for exchange_started")
        return self._carrier

    def _or_fail(self, send: Callable[[], None]) -> None:
        # What the caller does wrong is told to the caller, and ends the exchange: the server was promised otherwise.
        try:
            send()
        except LocalProtocolError as exc:
            self.fail(exc)
            raise

    def _end(self) -> None:
        self.ended = True
        self._ended_at = self.loop.time()
        if self._pump is not None:
            self._pump.stop()
            self._pump = None
        self._holder = self._carrier = None
        self.replay = None
        if self._total_handle is not None:
            self._total_handle.cancel()
            self._total_handle = None

    def _total_expired(self) -> None:
        self.fail(TotalTimeout(f"the exchange did not end within {self.timeout.total_timeout} seconds"))

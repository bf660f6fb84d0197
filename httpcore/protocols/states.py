"""The state machines of an exchange and of a connection, as tables.

h11 and h2 know what is legal on the wire; these tables hold only what they do not know. A pair that is missing from a
table cannot happen, whatever the peer or the caller does: it is a bug of ours, and raises `RuntimeError`.

Enums are `IntEnum`s because they are dictionary keys on the path of every request, and a plain `Enum` hashes in Python.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NoReturn, TypeVar

__all__ = [
    "CONNECTION",
    "HTTP2_CONNECTION",
    "RECEIVE",
    "SEND",
    "ConnectionEvent",
    "ConnectionState",
    "HTTP2ConnectionEvent",
    "HTTP2ConnectionState",
    "ReceiveEvent",
    "ReceiveState",
    "SendEvent",
    "SendState",
    "Transition",
    "Transitions",
]

_State = TypeVar("_State", bound=IntEnum)
_Event = TypeVar("_Event", bound=IntEnum)


class Transitions(dict[tuple[_State, _Event], _State]):
    """A table: `table[state, event]` is the state after the event, and a missing pair raises `RuntimeError`."""

    __slots__ = ()

    def __missing__(self, pair: tuple[_State, _Event]) -> NoReturn:
        raise RuntimeError(f"httpcore bug: {pair[1]!r} cannot happen in {pair[0]!r}")

    def on(self, event: _Event) -> Transition[_State]:
        """Returns what `event` alone does: `table.on(event)[state]`, for what happens to every request."""
        return Transition(event, {state: after for (state, given), after in self.items() if given == event})


class Transition(dict[_State, _State]):
    """The column of one event: `column[state]` is the state after it, and a missing state raises `RuntimeError`."""

    __slots__ = ("_event",)

    def __init__(self, event: IntEnum, column: dict[_State, _State]) -> None:
        super().__init__(column)
        self._event = event

    def __missing__(self, state: _State) -> NoReturn:
        raise RuntimeError(f"httpcore bug: {self._event!r} cannot happen in {state!r}")


class SendState(IntEnum):
    """The half of an exchange that sends the request."""

    IDLE = 0  # no byte was written; a streamed body's first chunk may be awaited
    SENDING_HEAD = 1
    AWAITING_CONTINUE = 2  # Expect: 100-continue was sent (RFC 9110 10.1.1)
    SENDING_BODY = 3
    DONE = 4
    FAILED = 5


class SendEvent(IntEnum):
    """What moves the sending half."""

    SEND_HEAD = 0
    AWAIT_CONTINUE = 1
    SEND_BODY = 2
    END = 3
    FAIL = 4


class ReceiveState(IntEnum):
    """The half of an exchange that receives the response."""

    AWAITING_HEAD = 0  # interim (1xx) responses stay here
    RECEIVING_BODY = 1
    DONE = 2
    FAILED = 3


class ReceiveEvent(IntEnum):
    """What moves the receiving half."""

    HEAD = 0
    END = 1
    FAIL = 2


class ConnectionState(IntEnum):
    """An HTTP/1.1 connection."""

    IDLE = 0  # connected, no exchange; bytes or EOF close it
    ACTIVE = 1  # one exchange
    UPGRADED = 2  # after 101, or 2xx to CONNECT: the bytes belong to the caller
    CLOSING = 3  # close was asked for; no exchange; bytes are dropped
    CLOSED = 4  # connection_lost was called


class ConnectionEvent(IntEnum):
    """What moves an HTTP/1.1 connection."""

    START = 0
    REUSE = 1
    UPGRADE = 2
    CLOSE = 3
    LOST = 4


class HTTP2ConnectionState(IntEnum):
    """An HTTP/2 connection."""

    PREFACE = 0  # our preface was sent, and the server's has not come; requests may be sent all the same
    OPEN = 1
    DRAINING = 2  # it takes no further exchange, and closes once those it carries have ended
    CLOSING = 3  # it carries nothing; bytes are dropped
    CLOSED = 4  # connection_lost was called


class HTTP2ConnectionEvent(IntEnum):
    """What moves an HTTP/2 connection."""

    SETTINGS = 0  # the server's preface came
    DRAIN = 1  # GOAWAY came, close was asked for, or the stream ids are used up
    CLOSE = 2
    LOST = 3


SEND: Transitions[SendState, SendEvent] = Transitions(
    {
        (SendState.IDLE, SendEvent.SEND_HEAD): SendState.SENDING_HEAD,
        (SendState.SENDING_HEAD, SendEvent.AWAIT_CONTINUE): SendState.AWAITING_CONTINUE,
        (SendState.SENDING_HEAD, SendEvent.SEND_BODY): SendState.SENDING_BODY,
        (SendState.AWAITING_CONTINUE, SendEvent.SEND_BODY): SendState.SENDING_BODY,
        (SendState.SENDING_HEAD, SendEvent.END): SendState.DONE,
        (SendState.SENDING_BODY, SendEvent.END): SendState.DONE,
        (SendState.IDLE, SendEvent.FAIL): SendState.FAILED,
        (SendState.SENDING_HEAD, SendEvent.FAIL): SendState.FAILED,
        (SendState.AWAITING_CONTINUE, SendEvent.FAIL): SendState.FAILED,
        (SendState.SENDING_BODY, SendEvent.FAIL): SendState.FAILED,
        (SendState.DONE, SendEvent.FAIL): SendState.DONE,  # what was sent stays sent
    }
)

RECEIVE: Transitions[ReceiveState, ReceiveEvent] = Transitions(
    {
        (ReceiveState.AWAITING_HEAD, ReceiveEvent.HEAD): ReceiveState.RECEIVING_BODY,
        (ReceiveState.RECEIVING_BODY, ReceiveEvent.END): ReceiveState.DONE,
        (ReceiveState.AWAITING_HEAD, ReceiveEvent.FAIL): ReceiveState.FAILED,
        (ReceiveState.RECEIVING_BODY, ReceiveEvent.FAIL): ReceiveState.FAILED,
    }
)

CONNECTION: Transitions[ConnectionState, ConnectionEvent] = Transitions(
    {
        (ConnectionState.IDLE, ConnectionEvent.START): ConnectionState.ACTIVE,
        (ConnectionState.ACTIVE, ConnectionEvent.REUSE): ConnectionState.IDLE,
        (ConnectionState.ACTIVE, ConnectionEvent.UPGRADE): ConnectionState.UPGRADED,
        (ConnectionState.IDLE, ConnectionEvent.CLOSE): ConnectionState.CLOSING,
        (ConnectionState.ACTIVE, ConnectionEvent.CLOSE): ConnectionState.CLOSING,
        (ConnectionState.IDLE, ConnectionEvent.LOST): ConnectionState.CLOSED,
        (ConnectionState.ACTIVE, ConnectionEvent.LOST): ConnectionState.CLOSED,
        (ConnectionState.UPGRADED, ConnectionEvent.LOST): ConnectionState.CLOSED,
        (ConnectionState.CLOSING, ConnectionEvent.LOST): ConnectionState.CLOSED,
    }
)

HTTP2_CONNECTION: Transitions[HTTP2ConnectionState, HTTP2ConnectionEvent] = Transitions(
    {
        (HTTP2ConnectionState.PREFACE, HTTP2ConnectionEvent.SETTINGS): HTTP2ConnectionState.OPEN,
        (HTTP2ConnectionState.PREFACE, HTTP2ConnectionEvent.DRAIN): HTTP2ConnectionState.DRAINING,
        (HTTP2ConnectionState.OPEN, HTTP2ConnectionEvent.DRAIN): HTTP2ConnectionState.DRAINING,
        (HTTP2ConnectionState.DRAINING, HTTP2ConnectionEvent.SETTINGS): HTTP2ConnectionState.DRAINING,
        (HTTP2ConnectionState.DRAINING, HTTP2ConnectionEvent.DRAIN): HTTP2ConnectionState.DRAINING,
        (HTTP2ConnectionState.PREFACE, HTTP2ConnectionEvent.CLOSE): HTTP2ConnectionState.CLOSING,
        (HTTP2ConnectionState.OPEN, HTTP2ConnectionEvent.CLOSE): HTTP2ConnectionState.CLOSING,
        (HTTP2ConnectionState.DRAINING, HTTP2ConnectionEvent.CLOSE): HTTP2ConnectionState.CLOSING,
        (HTTP2ConnectionState.PREFACE, HTTP2ConnectionEvent.LOST): HTTP2ConnectionState.CLOSED,
        (HTTP2ConnectionState.OPEN, HTTP2ConnectionEvent.LOST): HTTP2ConnectionState.CLOSED,
        (HTTP2ConnectionState.DRAINING, HTTP2ConnectionEvent.LOST): HTTP2ConnectionState.CLOSED,
        (HTTP2ConnectionState.CLOSING, HTTP2ConnectionEvent.LOST): HTTP2ConnectionState.CLOSED,
    }
)

"""One connection of the server of the soak: h2 in the server's role, an application that follows the plans, and chaos.

Streams that have come wait a moment before the application hears of them. Between two of them the server may say
GOAWAY, refuse, ask for PING, or change its settings: so there are mostly some in flight that a GOAWAY leaves out. What
it sees that no good client does is a fault; the soak fails with the first of them.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar, cast

from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    PingAckReceived,
    RemoteSettingsChanged,
    RequestReceived,
    SettingsAcknowledged,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.settings import SettingCodes
from hyperframe.frame import GoAwayFrame

from tests.soak.h2_state import ServerH2
from tests.soak.plans import NUMBER, Plan, Server, content

if TYPE_CHECKING:
    from tests.soak.server import SoakServer

__all__ = ["ServerConnection"]

_LAST_ID = 2**31 - 1
_DEFAULT_STREAMS = 100
_DEFAULT_WINDOW = 65535
_Pairs = list[tuple[bytes, bytes]]


class _Stream:
    """One request on the server's side."""

    def __init__(self, stream_id: int, plan: Plan) -> None:
        self.id = stream_id
        self.plan = plan
        self.received = bytearray()
        self.body_ended = False
        self.begun = False  # the application has heard of it
        self.answering = False  # the head of the answer was sent
        self.left = b""  # content of the answer that is still to be sent
        self.sent = 0
        self.answered = False  # END_STREAM was sent


class ServerConnection(asyncio.Protocol):
    """One connection.

    Attributes:
        h2: its state, whose windows are compared with the client's.
        streams: those that have not ended, but for those that a GOAWAY left out.
        draining: whether GOAWAY was sent.
        pings: PINGs sent, less those answered.
    """

    transport: asyncio.Transport

    def __init__(self, server: SoakServer) -> None:
        self.server = server
        self.h2 = ServerH2()
        self.streams: dict[int, _Stream] = {}
        self.draining = False
        self.pings = 0
        self.peername: object = None
        self._last_id = _LAST_ID
        self._waiting: list[_Stream] = []  # the application has not heard of them
        self._starting: asyncio.Handle | None = None
        self._blocked = False  # the transport takes no more
        self._over = False
        self._until_chaos = server.draw.randrange(10, 80)  # streams to be started

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)
        self.transport = transport
        self.peername = transport.get_extra_info("peername")
        self.server.connections.append(self)
        self.server.events["connection"] += 1
        self.h2.local_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = _DEFAULT_STREAMS
        self.h2.initiate_connection()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._over = True
        self.server.connections.remove(self)
        if self._starting is not None:
            self._starting.cancel()
        if exc is not None:
            self.server.events[f"connection lost: {type(exc).__name__}"] += 1
        if self.streams and not self.server.stopping:
            self.server.faults.append(f"the client closed a connection with {len(self.streams)} streams")

    def pause_writing(self) -> None:
        self._blocked = True

    def resume_writing(self) -> None:
        self._blocked = False
        self._run(self._pump)

    def data_received(self, data: bytes) -> None:
        self._run(self._receive, data)

    def _receive(self, data: bytes) -> None:
        for event in self.h2.receive_data(data):
            handle = self._EVENTS.get(type(event))
            if handle is not None and not self._over:
                handle(self, event)
        self._pump()

    def _run(self, step: Callable[..., None], *arguments: object) -> None:
        """Every step of the server goes through here: what it raises is the client's fault, or this file's."""
        if self._over:
            return
        try:
            step(*arguments)
            self._flush()
        except Exception as exc:
            self._over = True
            self.server.faults.append("".join(traceback.format_exception(exc)))
            self.transport.abort()

    def _later(self, turns: int, step: Callable[..., None], *arguments: object) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(self._later, turns - 1, step, *arguments)
        else:
            self._run(step, *arguments)

    def _flush(self) -> None:
        data = self.h2.data_to_send()
        if data and not self.transport.is_closing():
            self.transport.write(data)

    # What comes.

    def _request_received(self, event: Event) -> None:
        assert isinstance(event, RequestReceived)
        assert event.stream_id is not None
        plan = self.server.plans[int(dict(event.headers or ())[NUMBER])]
        if event.stream_id > self._last_id:
            self.server.turned_away[plan.number] += 1
            return
        stream = self.streams[event.stream_id] = _Stream(event.stream_id, plan)
        self._waiting.append(stream)
        if self._starting is None:
            self._starting = asyncio.get_running_loop().call_soon(self._run, self._start_some)

    def _data_received(self, event: Event) -> None:
        assert isinstance(event, DataReceived)
        assert event.stream_id is not None
        assert event.flow_controlled_length is not None
        stream = self.streams.get(event.stream_id)
        turns = 0
        if stream is not None:
            stream.received += event.data or b""
            turns = stream.plan.server_turns
        if event.flow_controlled_length:
            self._later(1 + turns, self._credit, event.flow_controlled_length, event.stream_id)

    def _credit(self, size: int, stream_id: int) -> None:
        # Not by acknowledge_received_data: while the settings change, h2 may keep what it was told to give back.
        self.h2.increment_flow_control_window(size)
        stream = self.streams.get(stream_id)
        if stream is not None and not stream.body_ended:
            self.h2.increment_flow_control_window(size, stream_id)

    def _stream_ended(self, event: Event) -> None:
        assert isinstance(event, StreamEnded)
        assert event.stream_id is not None
        stream = self.streams.get(event.stream_id)
        if stream is None:
            return
        stream.body_ended = True
        plan = stream.plan
        if stream.received != content(plan.number, plan.body, up=True):
            self.server.faults.append(f"request {plan.number}: {len(stream.received)} bytes, or others than sent, came")
        if stream.begun:
            self._body_ended(stream)

    def _stream_reset(self, event: Event) -> None:
        assert isinstance(event, StreamReset)
        assert event.stream_id is not None
        stream = self.streams.get(event.stream_id)
        self.server.resets[ErrorCodes(event.error_code or 0).name] += 1
        if stream is not None:
            self._forget(stream)

    def _ping_acknowledged(self, event: Event) -> None:
        assert isinstance(event, PingAckReceived)
        self.pings -= 1
        if event.ping_data == b"goodbye.":
            self._leave_out()

    def _settings_acknowledged(self, event: Event) -> None:
        self.h2.change_next()

    def _terminated(self, event: Event) -> None:
        self._over = True  # the client's GOAWAY, after which h2 sends nothing more; the end of the connection follows

    _EVENTS: ClassVar[dict[type[Event], Callable[[ServerConnection, Event], None]]] = {
        RequestReceived: _request_received,
        DataReceived: _data_received,
        StreamEnded: _stream_ended,
        StreamReset: _stream_reset,
        PingAckReceived: _ping_acknowledged,
        SettingsAcknowledged: _settings_acknowledged,
        ConnectionTerminated: _terminated,
        WindowUpdated: lambda self, event: None,  # the pump runs after every event
        RemoteSettingsChanged: lambda self, event: None,
    }

    # The application.

    def _start_some(self) -> None:
        self._starting = None
        for _ in range(self.server.draw.randrange(1, 8)):
            self._until_chaos -= 1
            if self._until_chaos <= 0 and not self.server.calm:
                self._until_chaos = self.server.draw.randrange(10, 80)
                self._misbehave()
            if not self._waiting:
                break
            stream = self._waiting.pop(0)
            if stream.id in self.streams:
                self._start(stream)
        if self._waiting and self._starting is None:
            self._starting = asyncio.get_running_loop().call_soon(self._run, self._start_some)
        self._pump()

    def _start(self, stream: _Stream) -> None:
        plan, server = stream.plan, self.server
        if server.turned_away[plan.number] < plan.refusals:
            server.turned_away[plan.number] += 1
            server.events["REFUSED_STREAM"] += 1
            self.h2.reset_stream(stream.id, ErrorCodes.REFUSED_STREAM)
            self._forget(stream)
            return
        server.arrived[plan.number] += 1
        stream.begun = True
        if plan.server is Server.ANSWER:
            if stream.body_ended:
                self._body_ended(stream)
        else:
            self._later(1 + plan.server_turns, self._answer, stream)

    def _body_ended(self, stream: _Stream) -> None:
        # Never at once: h2 may know already what an event that is still to be handled says, such as a reset.
        if stream.answered:
            self._forget(stream)
        elif stream.plan.server is Server.ANSWER:
            self._later(1 + stream.plan.server_turns, self._answer, stream)

    def _answer(self, stream: _Stream) -> None:
        plan = stream.plan
        if stream.id not in self.streams:
            return
        if plan.server is Server.RESET:
            self._reset(stream, plan.code)
            return
        if plan.interim:
            self.h2.send_headers(stream.id, [(b":status", b"103"), (b"link", b"</style.css>")])
        fields: _Pairs = [(b":status", b"200"), (NUMBER, b"%d" % plan.number)]
        if plan.framed:
            fields.append((b"content-length", b"%d" % plan.response))
        stream.left = content(plan.number, plan.response, up=False)
        stream.answering = True
        self.h2.send_headers(stream.id, fields, end_stream=plan.method == "HEAD")
        if plan.method == "HEAD":
            self._answered(stream)
        self._pump()

    def _answered(self, stream: _Stream) -> None:
        stream.answered = True
        if stream.body_ended:
            self._forget(stream)
        elif stream.plan.server is Server.EARLY:
            self._reset(stream, ErrorCodes.NO_ERROR)

    def _reset(self, stream: _Stream, code: ErrorCodes) -> None:
        self.server.events[f"RST_STREAM {code.name}"] += 1
        self.h2.reset_stream(stream.id, code)
        self._forget(stream)

    def _pump(self) -> None:
        """Sends what the windows and the transport allow, a frame of each stream in turn."""
        moved = True
        while moved and not self._blocked and not self._over:
            moved = False
            for stream in list(self.streams.values()):
                if stream.answering and not stream.answered:
                    moved |= self._send_some(stream)
            self._flush()

    def _send_some(self, stream: _Stream) -> bool:
        plan = stream.plan
        padding = 10 if plan.padded else None
        room = min(self.h2.local_flow_control_window(stream.id), self.h2.max_outbound_frame_size)
        room = min(room - (0 if padding is None else padding + 1), len(stream.left))
        if plan.server is Server.RESET_MIDWAY:
            if stream.sent >= plan.midway:
                self._reset(stream, plan.code)
                return False
            room = min(room, plan.midway - stream.sent)
        if stream.left and room <= 0:
            return False
        piece, stream.left = stream.left[:room], stream.left[room:]
        stream.sent += len(piece)
        last = not stream.left
        if piece:
            self.h2.send_data(stream.id, piece, end_stream=last and not plan.trailers, pad_length=padding)
        elif not plan.trailers:
            self.h2.end_stream(stream.id)
        if last and plan.trailers:
            self.h2.send_headers(stream.id, [(b"x-trailer", b"%d" % plan.number)], end_stream=True)
        if last:
            self._answered(stream)
        return True

    def _forget(self, stream: _Stream) -> None:
        self.streams.pop(stream.id, None)
        self._finish()

    # Chaos.

    def _misbehave(self) -> None:
        kinds = (self._say_goaway, self._say_goaway_twice, self._change_streams, self._change_window, self.ping)
        self.server.draw.choices(kinds, (2, 1, 4, 4, 3))[0]()

    def ping(self, data: bytes = b"soaking.") -> None:
        """Asks for a sign of life."""
        self.server.events["PING"] += 1
        self.pings += 1
        self.h2.ping(data)

    def ask_for_life(self) -> None:
        """The same, from outside of a step."""
        self._run(self.ping)

    def _goaway(self, last_id: int) -> None:
        # Not with h2, which takes nothing after close_connection.
        self.server.events["GOAWAY"] += 1
        self._flush()
        self.transport.write(GoAwayFrame(0, last_stream_id=last_id, error_code=ErrorCodes.NO_ERROR).serialize())
        self.draining = True

    def _say_goaway(self) -> None:
        if not self.draining:
            self._leave_out()

    def _say_goaway_twice(self) -> None:
        if not self.draining:  # RFC 9113 6.8: what is under way meanwhile is still served
            self._goaway(_LAST_ID)
            self.ping(b"goodbye.")

    def _leave_out(self) -> None:
        """GOAWAY with a last id below those that wait, or some of them."""
        kept = self.server.draw.randrange(len(self._waiting) + 1) if self.server.draw.random() < 0.3 else 0
        self._waiting, out = self._waiting[:kept], self._waiting[kept:]
        self._last_id = self.h2.highest_inbound_stream_id if not out else max(0, out[0].id - 2)
        self._goaway(self._last_id)
        for stream in out:
            if self.streams.pop(stream.id, None) is not None:
                self.server.turned_away[stream.plan.number] += 1
                self.server.events["left out by GOAWAY"] += 1
        self._finish()

    def _finish(self) -> None:
        """After GOAWAY, and once all that it promised is done, one side closes; the client may as well."""
        done = self.draining and self._last_id != _LAST_ID and not self.streams
        if done and not self.transport.is_closing() and self.server.draw.random() < 0.5:
            self._flush()
            self._over = True
            with suppress(OSError):  # the client was faster
                self.transport.write_eof()

    def _change_streams(self) -> None:
        self._change(SettingCodes.MAX_CONCURRENT_STREAMS, (1, 3, 10, 50, 250), _DEFAULT_STREAMS)

    def _change_window(self) -> None:
        self._change(SettingCodes.INITIAL_WINDOW_SIZE, (0, 1, 100, 10_000, 1_000_000), _DEFAULT_WINDOW)

    def _change(self, code: SettingCodes, values: Sequence[int], default: int) -> None:
        """Changes a setting for a while."""
        self.server.events[f"SETTINGS {code.name}"] += 1
        self.h2.change(code, self.server.draw.choice(values))
        self._later(self.server.draw.choice((0, 5, 50, 200)), self.h2.change, code, default)

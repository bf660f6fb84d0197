"""TLSTransport: TLS on top of any transport, as the client. Owns the TLS object, its handshake and its end.

The same code carries TLS on the sockets of asyncio, uvloop and any other loop, inside TLS, in a tunnel on a stream of
HTTP/2, and on a transport of the caller's own. It is used in place of the loops' own TLS as it takes half of their time
for a small exchange, tells one that was cut off from one that was closed, and does what it does on every loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterable
from enum import Enum
from typing import Protocol, cast

from httpcore.tls_sessions import ResumableObject

__all__ = ["HANDSHAKE_TIMEOUT", "SHUTDOWN_TIMEOUT", "TLSTransport"]

HANDSHAKE_TIMEOUT = 60.0
"""Seconds for the handshake: asyncio's. Who connects has a shorter limit of its own."""

SHUTDOWN_TIMEOUT = 1.0
"""Seconds for a peer to take what was written and to answer close_notify; it owes us nothing else by then."""

_RECORD_SIZE = 16 * 1024  # bytes: no record holds more (RFC 8446 5.1), so one read takes all of it
_READ_SIZE = 64 * 1024  # bytes that a socket of asyncio's is asked for at once, until one read brings as many
_LARGE_READ_SIZE = 256 * 1024  # bytes: asyncio's own; they come from the system for each read, however small it is

Data = bytes | bytearray | memoryview


class _State(Enum):
    HANDSHAKE = 0
    OPEN = 1
    CLOSING = 2  # close_notify was sent, or will be once the peer lets us; the peer's is waited for
    CLOSED = 3  # the transport below was told to close


class _SizedReads(Protocol):
    max_size: int


class TLSTransport(asyncio.Transport, asyncio.Protocol):
    """The transport of what is inside TLS, and the protocol of the transport that TLS is on.

    Nothing is kept back: what is written is encrypted and passed on at once, so that the buffer and its limits are
    those of the transport below. That one calls `connection_made`, or who puts this one on it does.

    Args:
        protocol: gets what is inside. Told of nothing before the handshake is over, and not of the end either unless it
            was.
        context: says whom to trust.
        server_hostname: the name to ask for and to verify, `None` for contexts that verify no names.
        announce: whether its `connection_made` is to be called; otherwise that is for the caller to do.

    Attributes:
        established: done when the handshake is. Fails with an `ssl.SSLError` or an `OSError`: a
            `ConnectionAbortedError` where it took too long.
        lost: whether the transport below is gone.

    Raises:
        ValueError: the context cannot verify this name.
    """

    def __init__(
        self,
        protocol: asyncio.Protocol,
        context: ssl.SSLContext,
        server_hostname: str | None,
        *,
        announce: bool,
    ) -> None:
        super().__init__()
        if context.check_hostname and not server_hostname:  # Python's own check is for its sockets alone
            raise ValueError("check_hostname requires server_hostname")
        self._loop = asyncio.get_running_loop()
        self._protocol = protocol
        self._announce = announce
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
        self._facts = {"ssl_object": self._tls, "sslcontext": context}
        self._outer: asyncio.Transport  # from connection_made on
        self._connected = False
        self._state = _State.HANDSHAKE
        self._paused = False
        self._ended = False  # whether the peer's close_notify is there
        self._unread_eof = False  # the end of the transport below came while reading was paused
        self._backlog: list[Data] = []  # what the peer lets us not write while it renegotiates (TLS 1.2)
        self._deadline: asyncio.TimerHandle | None = None
        self._error: Exception | None = None  # with which TLS failed
        self.lost = False
        self.established: asyncio.Future[None] = self._loop.create_future()

    @property
    def ssl_object(self) -> ssl.SSLObject:
        """What Python's `ssl` module tells of the connection."""
        return self._tls

    # The protocol of the transport below.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport below is there: begins the handshake."""
        self._outer = cast(asyncio.Transport, transport)  # uvloop's do not derive from it
        self._connected = True
        if self._state is _State.CLOSED:  # nobody waits for it any more
            self._outer.abort()
            return
        self._set_read_size(_READ_SIZE)
        self._deadline = self._loop.call_later(HANDSHAKE_TIMEOUT, self._handshake_expired)
        self._shake_hands()

    def data_received(self, data: bytes) -> None:
        """Encrypted bytes came."""
        self._incoming.write(data)
        if len(data) == _READ_SIZE:
            self._set_read_size(_LARGE_READ_SIZE)
        if self._state is _State.OPEN:
            if self._paused:  # some transports deliver what they have read before they were told
                self._outer.pause_reading()
            else:
                self._read()
        elif self._state is _State.HANDSHAKE:
            self._shake_hands()
        elif self._state is _State.CLOSING:
            self._shut_down()

    def eof_received(self) -> bool:
        """The transport below has ended, without the peer's close_notify, or behind it."""
        if self._state is _State.HANDSHAKE:
            self._fail(ConnectionResetError("the connection was closed in the TLS handshake"))
        elif self._state is _State.OPEN and self._paused and self._incoming.pending:
            self._unread_eof = True
            return True
        else:
            self._close_outer()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport below is gone."""
        if self._deadline is not None:
            self._deadline.cancel()
        was_open = self._state is _State.OPEN
        self._give_up()
        self._state = _State.CLOSED
        self.lost = True
        self._backlog.clear()
        if not self.established.done():
            self.established.set_exception(exc or ConnectionResetError("the connection was lost in the TLS handshake"))
        elif not self.established.cancelled() and self.established.exception() is None:
            if was_open:
                self._take_rest(exc)
            # The peer had closed, and is where the answer to its close_notify could not be sent to.
            self._protocol.connection_lost(self._error or (None if self._ended else exc))
        # Drops what refers back to this, so that no cycle keeps its memory until the next collection.
        self._protocol = asyncio.Protocol()

    def pause_writing(self) -> None:
        """The buffer of the transport below is full."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """It has room again."""
        self._protocol.resume_writing()

    # The transport of what is inside.

    def write(self, data: Data) -> None:
        """Encrypts bytes, and sends them."""
        if self._state is not _State.OPEN or self._backlog or not data:
            self._write_later(data)
            return
        try:
            self._tls.write(data)
        except ssl.SSLWantReadError:
            self._backlog.append(bytes(data))
        except ssl.SSLError as exc:
            self._fail(exc)
        else:
            self._outer.write(self._outgoing.read())

    def writelines(self, list_of_data: Iterable[Data]) -> None:
        """Encrypts bytes, in as few records as they fit in, and sends them."""
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        """Returns `False`: TLS has no half of a connection to close here."""
        return False

    def close(self) -> None:
        """Sends close_notify, and closes once the peer has answered, or has not for a second."""
        if self._state is _State.HANDSHAKE:
            self.abort()
        elif self._state is _State.OPEN:
            self._state = _State.CLOSING
            self._deadline = self._loop.call_later(SHUTDOWN_TIMEOUT, self.abort)
            if self._paused:  # or the answer would not be seen
                self._outer.resume_reading()
            self._shut_down()

    def abort(self) -> None:
        """Closes now, without close_notify."""
        self._give_up()
        if self._connected:
            self._flush()
        self._state = _State.CLOSED
        self.established.cancel()
        if self._connected:
            self._outer.abort()

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._state in (_State.CLOSING, _State.CLOSED) or self._outer.is_closing()

    def pause_reading(self) -> None:
        """Nothing is passed on until `resume_reading`, and nothing is read."""
        if not self._paused and self._state is _State.OPEN:
            self._paused = True
            self._outer.pause_reading()

    def resume_reading(self) -> None:
        """Undoes `pause_reading`."""
        if self._paused:
            self._paused = False
            if self._state is _State.OPEN:
                self._outer.resume_reading()
                if self._incoming.pending or self._unread_eof:
                    self._loop.call_soon(self._read_rest)

    def is_reading(self) -> bool:
        """Whether it reads: neither paused nor closing."""
        return not self._paused and not self.is_closing()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Installs another protocol for what is inside."""
        self._protocol = cast(asyncio.Protocol, protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Returns the protocol for what is inside."""
        return self._protocol

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Returns `ssl_object`, `sslcontext`, and what the transport below tells."""
        return self._facts[name] if name in self._facts else self._outer.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        """Returns how many bytes wait to be sent, encrypted."""
        return self._outer.get_write_buffer_size() + sum(map(len, self._backlog))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Sets when writing is paused and resumed, in bytes that are encrypted."""
        self._outer.set_write_buffer_limits(high, low)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Returns these limits: the low one and the high one."""
        return self._outer.get_write_buffer_limits()

    def __repr__(self) -> str:
        return f"<TLSTransport {self._state.name.lower()} on {getattr(self, '_outer', None)!r}>"

    # TLS.

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
        except Exception as exc:  # an SSLError, or what the caller's own context raised
            self._fail(exc)
        else:
            assert self._deadline is not None
            self._deadline.cancel()
            self._deadline = None
            self._state = _State.OPEN
            if self.established.cancelled():  # nobody waits for it any more, and has not come round to abort it
                self.abort()
                return
            self.established.set_result(None)
            # Behind whoever waits for it, and has something to write: our last word and that are one packet then.
            self._loop.call_soon(self._flush)
            if self._announce:
                self._protocol.connection_made(self)
            self._read_rest()

    def _read(self) -> None:
        """Passes on what is inside of what came."""
        data, error = self._decrypt()
        if self._outgoing.pending:  # an answer of TLS's own: to a new key, or to what it refuses
            self._flush()
        if data:
            self._protocol.data_received(data)
        if self._state is not _State.OPEN:
            return
        if error is not None:
            self._fail(error)
        elif self._ended:
            self._protocol.eof_received()  # whatever it returns: TLS has no half of a connection that stays open
            self.close()
        elif self._backlog:
            self._write_backlog()

    def _decrypt(self) -> tuple[bytes, ssl.SSLError | None]:
        """Returns what is inside of what came, and what is wrong with the rest."""
        chunks = []
        read, incoming = self._tls.read, self._incoming
        error: ssl.SSLError | None = None
        try:
            while incoming.pending and not self._ended:
                chunk = read(_RECORD_SIZE)
                chunks.append(chunk)
                self._ended = not chunk
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as exc:
            error = exc
        return chunks[0] if len(chunks) == 1 else b"".join(chunks), error

    def _take_rest(self, exc: Exception | None) -> None:
        """Passes on what had come before the transport below was lost.

        A peer that closes while it is written to has often answered: the write that fails must not hide it.
        """
        if isinstance(exc, OSError) and self._announce:  # it is on a socket of its own
            try:
                with self._outer.get_extra_info("socket").dup() as copy:
                    copy.setblocking(False)
                    self._incoming.write(copy.recv(_LARGE_READ_SIZE))
            except OSError:
                pass
        data, _ = self._decrypt()
        if data:
            self._protocol.data_received(data)
        if self._ended:
            self._protocol.eof_received()
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()  # nobody gets it; but now it tells of the peer's

    def _read_rest(self) -> None:
        if self._state is _State.OPEN and not self._paused:
            if self._incoming.pending:
                self._read()
            if self._unread_eof:
                self._close_outer()

    def _write_later(self, data: Data) -> None:
        if self._state is _State.OPEN and data:
            self._backlog.append(bytes(data))

    def _write_backlog(self) -> None:
        backlog, self._backlog = self._backlog, []
        for data in backlog:
            self.write(data)

    def _shut_down(self) -> None:
        """Sends close_notify, once; closes if the peer's is there."""
        read, incoming = self._tls.read, self._incoming
        try:
            while incoming.pending and read(_RECORD_SIZE):  # what nobody wants any more stands before it
                pass
        except ssl.SSLError:
            pass
        try:
            self._tls.unwrap()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError:
            pass
        self._close_outer()

    def _set_read_size(self, size: int) -> None:
        if hasattr(self._outer, "max_size"):
            cast(_SizedReads, self._outer).max_size = size

    def _flush(self) -> None:
        if self._outgoing.pending and self._state is not _State.CLOSED:
            self._outer.write(self._outgoing.read())

    def _close_outer(self) -> None:
        if self._state is not _State.CLOSED:
            self._flush()
            self._state = _State.CLOSED
            self._outer.close()

    def _fail(self, exc: Exception) -> None:
        """Ends everything, as TLS cannot go on. The peer is told why, where TLS has an alert for it."""
        self._error = exc
        if not self.established.done():
            self.established.set_exception(exc)
        self.abort()

    def _give_up(self) -> None:
        if self._state is _State.HANDSHAKE and isinstance(self._tls, ResumableObject):
            self._tls.give_up()

    def _handshake_expired(self) -> None:
        self._fail(ConnectionAbortedError(f"the TLS handshake took longer than {HANDSHAKE_TIMEOUT:g} seconds"))

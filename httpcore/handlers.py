"""The callback contract: what a caller implements (`ResponseHandler`) and what it may call (`Exchange`).

The words are asyncio's own. Everything here runs on the loop's thread.
"""

from __future__ import annotations

import ssl
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from httpcore.headers import Headers

if TYPE_CHECKING:
    from httpcore.request import Request
    from httpcore.upgraded import UpgradedStream

__all__ = ["ConnectionInfo", "Exchange", "ResponseHandler", "ResponseHead", "TLSInfo", "Timings"]


class ResponseHead(NamedTuple):
    """The status line and the header section of a final response (RFC 9112 4, 5).

    Attributes:
        status_code: 101, or 200 to 999.
        reason: the reason phrase as it came, b"" where there was none, as always on HTTP/2.
        http_version: b"HTTP/1.1", b"HTTP/1.0" or b"HTTP/2".
        headers: (lower-case name, value) byte pairs in the order they came.
        raw_headers: the same with the names in the case they came in, which is lower case on HTTP/2.
    """

    status_code: int
    reason: bytes
    http_version: bytes
    headers: Headers
    raw_headers: list[tuple[bytes, bytes]]


class TLSInfo(NamedTuple):
    """What was negotiated on a connection with TLS.

    Attributes:
        version: e.g. `"TLSv1.3"`.
        cipher: the cipher suite's name in OpenSSL's words.
        alpn_protocol: what the server chose, e.g. `"h2"` (RFC 7301); `None` if it chose nothing.
        server_hostname: the name or address that was asked for and verified; `None` without one.
        certificate: the server's own, in DER, whether it was verified or not; `None` if it sent none. Names and dates
            of one that was verified: `ssl_object.getpeercert()`.
        session_reused: whether an earlier session was resumed (RFC 8446 2.2), instead of beginning anew.
    """

    version: str | None
    cipher: str | None
    alpn_protocol: str | None
    server_hostname: str | None
    certificate: bytes | None
    session_reused: bool

    @classmethod
    def of(cls, ssl_object: object) -> TLSInfo | None:
        """Returns what `ssl_object` tells, whose handshake is over; `None` if it is no TLS object of Python's.

        To be asked at once: after a fatal alert OpenSSL knows nothing of it any more.
        """
        if not isinstance(ssl_object, (ssl.SSLObject, ssl.SSLSocket)):
            return None
        cipher = ssl_object.cipher()
        return cls(
            ssl_object.version(),
            None if cipher is None else cipher[0],
            ssl_object.selected_alpn_protocol(),
            ssl_object.server_hostname,
            ssl_object.getpeercert(binary_form=True),
            bool(ssl_object.session_reused),
        )

    def __repr__(self) -> str:
        certificate = None if self.certificate is None else f"{len(self.certificate)} bytes"
        return (
            f"TLSInfo(version={self.version!r}, cipher={self.cipher!r}, alpn_protocol={self.alpn_protocol!r}, "
            f"server_hostname={self.server_hostname!r}, certificate={certificate}, "
            f"session_reused={self.session_reused!r})"
        )


class ConnectionInfo(NamedTuple):
    """What is known of the connection that carries an exchange.

    Attributes:
        connection_id: unique in this process.
        peer_address: the other end's socket address, `None` where the transport has none.
        local_address: this end's.
        ssl_object: the TLS object (`version()`, `cipher()`, `getpeercert()`), `None` without TLS.
        tls: what was negotiated, which stays when the connection ends; `None` without TLS.
        socket: what the transport gives as its socket, for options; `None` where it has none.
    """

    connection_id: int
    peer_address: tuple[str, int] | tuple[str, int, int, int] | str | None
    local_address: tuple[str, int] | tuple[str, int, int, int] | str | None
    ssl_object: ssl.SSLObject | None
    tls: TLSInfo | None = None
    socket: object = None


class Timings(NamedTuple):
    """When things happened, in seconds of the loop's clock; `None` for what has not.

    Attributes:
        dispatched: `dispatch` was called.
        started: the exchange got its connection.
        sent: the last byte of the request was handed to the transport.
        response: the head of the final response came.
        ended: the exchange completed or failed.
    """

    dispatched: float
    started: float | None
    sent: float | None
    response: float | None
    ended: float | None


class Exchange(ABC):
    """One request and its response: what `dispatch` returns.

    Every exchange ends with exactly one of `ResponseHandler.response_complete` and `ResponseHandler.exchange_failed`.
    All methods are to be called on the loop's thread, from within a handler's method or from anywhere else.

    Attributes:
        request: the request, with the framing and host fields as they are sent.
        connection_info: the connection that carries, or carried, the exchange; `None` before there is one.
        stream_id: the number of its HTTP/2 stream, from when its head was sent; `None` on HTTP/1.
        ended: whether the exchange completed or failed.
    """

    __slots__ = ()

    request: Request
    connection_info: ConnectionInfo | None
    stream_id: int | None
    ended: bool

    @property
    @abstractmethod
    def timings(self) -> Timings:
        """When things happened."""

    @abstractmethod
    def pause_reading(self) -> None:
        """Asks for no more `data_received`. On HTTP/1 what was read already may still come: 256 KiB at most.

        The read timeout does not run while reading is paused. Idempotent; ignored after the end.
        """

    @abstractmethod
    def resume_reading(self) -> None:
        """Asks for `data_received` again. Idempotent; ignored after the end."""

    @abstractmethod
    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Sends a piece of the body of a request made with `body=PUSHED`, from `exchange_started` on.

        Never blocks: what the transport does not take is buffered. Stop between `pause_writing` and
        `resume_writing`, or the buffer grows. Ignored after the exchange ended, as a response may come early.

        Raises:
            LocalProtocolError: the request has another body, the body was ended, or more than its content-length
                was written (the exchange then fails as well).
        """

    @abstractmethod
    def write_eof(self, trailers: Iterable[tuple[bytes | str, bytes | str]] = ()) -> None:
        """Ends the body of a request made with `body=PUSHED`.

        Args:
            trailers: trailer fields (RFC 9110 6.5); they need a chunked body on HTTP/1.1.

        Raises:
            LocalProtocolError: as for `write`; less than the content-length was written; or a trailer is malformed
                or not allowed there.
        """

    @abstractmethod
    def abort(self, error: BaseException | None = None) -> None:
        """Ends the exchange now: `exchange_failed(error)` is called before this returns.

        HTTP/1 closes the connection with it, HTTP/2 resets the stream. Idempotent; ignored after the end.

        Args:
            error: what the handler gets; `None` stands for `ResponseClosed`.
        """


class ResponseHandler:
    """What receives a response. Subclass it and implement what is needed, as with `asyncio.Protocol`.

    The calls come on the loop in this order::

        exchange_started
        informational_received*
        response_received
        data_received*
        response_complete

    with `exchange_failed` instead of what is left, exactly once and last, when something goes wrong. An exception
    raised by one of these methods fails the exchange with it, and never leaves the library; from `response_complete`
    and `exchange_failed` it goes to the loop's exception handler, as the exchange is over by then.
    """

    __slots__ = ()

    def exchange_started(self, exchange: Exchange) -> None:
        """The exchange has a connection, and its request is about to be sent. Called once, also if it is replayed."""

    def informational_received(self, status_code: int, headers: Headers) -> None:
        """An interim (1xx) response came: 100, 102, 103 or another, but never 101 (RFC 9110 15.2)."""

    def response_received(self, head: ResponseHead) -> None:
        """The head of the final response came."""

    def data_received(self, data: bytes) -> None:
        """A piece of content came: transfer coding removed, content codings not."""

    def response_complete(self, trailers: Headers) -> None:
        """The response ended as it should. `trailers` are its trailer fields, mostly none."""

    def exchange_failed(self, exc: BaseException) -> None:
        """The exchange ended otherwise: an `HTTPCoreError`, or what a body, a handler or `abort` raised or gave."""

    def connection_upgraded(self, stream: UpgradedStream) -> None:
        """The connection is the caller's: after 101, or 2xx to CONNECT. It follows `response_received`.

        `response_complete` comes at once after it, as the response has no content; the stream lives on until it is
        closed. The default closes it, as nobody else would.
        """
        stream.abort()

    def pause_writing(self) -> None:
        """Please stop `exchange.write`: the peer does not keep up."""

    def resume_writing(self) -> None:
        """Go on with `exchange.write`."""

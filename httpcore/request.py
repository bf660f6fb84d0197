"""Request: a method, a target, the header fields as they will be sent, and a body of one of several kinds.

Everything a caller can get wrong is refused here, when the request is made and before a connection is touched.
"""

from __future__ import annotations

import binascii
import io
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Set
from enum import Enum
from typing import Final, Literal, TypeAlias

from httpcore.exceptions import InvalidURL, LocalProtocolError
from httpcore.headers import Headers, HeaderTypes, check_method, check_protocol, check_trailers, normalize_headers
from httpcore.request_body import Content, FileChunks, Readable, cut, iterate, iterate_blocking, measure
from httpcore.urls import URL, authority_form, check_target, parse_url

__all__ = ["PUSHED", "BodyTypes", "Request", "Trailers"]

# Methods whose requests seldom have content. A stream given for one of these is looked into before the head is
# written, lest a gateway that always passes a stream turns every GET into a chunked request.
_SELDOM_WITH_CONTENT = frozenset({b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"TRACE"})
# Methods that define what content means, where "none" is to be said (RFC 9110 8.6).
_USUALLY_WITH_CONTENT = frozenset({b"POST", b"PUT", b"PATCH"})
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
_ONCE = _FRAMING | {b"host"}
_CHECKED = _ONCE | {b"connection", b"expect"}
_NO_NAMES: Set[bytes] = frozenset()
_MAX_LENGTH_DIGITS = 18  # of a content-length: an exabyte
# The methods that nearly all requests have, which need no further look.
_METHODS: dict[str | bytes, bytes] = {
    name: name if isinstance(name, bytes) else name.encode()
    for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", b"GET", b"POST")
}
_IDEMPOTENT = frozenset({b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"TRACE"})  # RFC 9110 9.2.2


class _Pushed(Enum):
    PUSHED = "PUSHED"

    def __repr__(self) -> str:
        return "httpcore.PUSHED"


PUSHED: Final = _Pushed.PUSHED
"""As a request's body: the caller sends it with `exchange.write` and `exchange.write_eof`."""


BodyTypes: TypeAlias = Content | Callable[[], Content] | Literal[_Pushed.PUSHED] | None
"""What a caller may give as a body. A callable is called anew for every attempt to send it."""
Trailers: TypeAlias = HeaderTypes | Callable[[], HeaderTypes]
"""Trailer fields, or what gives them once the body was sent (a checksum, say)."""


class Request:
    """A request. With `content=` or `extensions=` it is that of httpcore 1.x: see `httpcore.compat`.

    Args:
        method: any token (RFC 9110 9.1); its case is kept.
        url: an `http` or `https` URL. User and password in it are sent as Basic credentials, unless `headers` has
            an `authorization` of its own.
        headers: a mapping or (name, value) pairs. `host` is added unless given, and the framing unless given:
            `content-length` for bytes and for files whose size is known, `transfer-encoding: chunked` for streams.
        body: bytes; text, sent as UTF-8; an iterable or an async iterable of bytes; a binary file; `PUSHED`; or a
            callable that returns one of the first four kinds. `None` and b"" are no body.
        target: the request target, where the URL's own will not do (`b"*"` for OPTIONS). For CONNECT it is the
            `host:port` to be connected to, and the URL says whom to ask.
        trailers: trailer fields to be sent after the body, or a callable that gives them then. They make the body
            chunked.
        protocol: makes a CONNECT an extended one, which asks the server itself to speak this protocol ("websocket") at
            the URL. On HTTP/2 alone (RFC 8441), where it takes the place of `upgrade`.

    Attributes:
        method: bytes.
        url: the `URL`.
        target: the request target, bytes (RFC 9112 3.2).
        headers: `Headers` as they will be sent. A stream for GET, HEAD, DELETE, OPTIONS or TRACE that turns out to
            be empty is sent without its `transfer-encoding`.
        names: the lower-case names of the fields that the caller gave, bytes.
        content: the body where it is bytes, `None` where it is a stream or `PUSHED`.
        content_length: what `content-length` says, `None` without one.
        chunked: whether the body's length is not said beforehand: `transfer-encoding: chunked` on HTTP/1.1.
        closes: whether `connection: close` asks for the connection to end with this exchange.
        expects_continue: whether there is a body, and `expect: 100-continue` asks to be told to send it.
        peeks: whether the first chunk is awaited before the head is sent, to see whether there is a body at all.
        trailers: as given.
        protocol: of an extended CONNECT, bytes; `None` for every other request.

    Raises:
        InvalidURL, UnsupportedProtocol: the URL.
        LocalProtocolError: the method, target, protocol or a header, or framing that contradicts itself or the body.
        TypeError: something has a type that is not listed here.
    """

    __slots__ = (
        "_body",
        "_file_position",
        "_opened",
        "chunked",
        "closes",
        "content",
        "content_length",
        "expects_continue",
        "headers",
        "method",
        "names",
        "peeks",
        "protocol",
        "target",
        "trailers",
        "url",
    )

    def __init__(
        self,
        method: str | bytes,
        url: str | bytes | URL,
        headers: HeaderTypes = (),
        body: BodyTypes = b"",
        *,
        target: str | bytes | None = None,
        trailers: Trailers = (),
        protocol: str | bytes | None = None,
    ) -> None:
        self.method = _METHODS.get(method) or check_method(method)
        self.url = parse_url(url)
        self.headers = Headers() if not headers else normalize_headers(headers)
        self.protocol = None if protocol is None else check_protocol(protocol)
        self.trailers = trailers if callable(trailers) or trailers == () else check_trailers(trailers)
        self._body: BodyTypes = body
        self._opened = [False]  # a list, because copies share the body and so have to share this
        self._file_position: int | None = None
        self.content: bytes | None
        self.content_length: int | None = None
        self.chunked = self.closes = self.expects_continue = self.peeks = False
        if target is not None:
            self.target = check_target(target.encode() if isinstance(target, str) else target)
        elif self.method == b"CONNECT" and protocol is None:
            self.target = authority_form(self.url.origin)
        else:
            self.target = self.url.target

        size: int | None
        if type(body) is bytes:
            self.content = body
            size = len(body)
        else:
            self.content, size = self._examine(body)
        self._complete_headers(size)

    @classmethod
    def of(
        cls,
        method: str | bytes,
        url: str | bytes | URL,
        headers: HeaderTypes,
        body: BodyTypes,
        target: str | bytes | None,
        trailers: Trailers,
        protocol: str | bytes | None,
    ) -> Request:
        """Makes one without looking whether that of httpcore 1.x is meant."""
        request = object.__new__(cls)
        cls.__init__(request, method, url, headers, body, target=target, trailers=trailers, protocol=protocol)
        return request

    @property
    def pushed(self) -> bool:
        """Whether the caller sends the body with `exchange.write`."""
        return self._body is PUSHED

    @property
    def idempotent(self) -> bool:
        """Whether sending it twice does what sending it once does, by its method or by `idempotency-key`."""
        return self.method in _IDEMPOTENT or b"idempotency-key" in self.names

    @property
    def replayable(self) -> bool:
        """Whether the body can be sent again: bytes, a callable, a seekable file, or a stream nobody has started.

        One that is pushed cannot: what was pushed on a connection that died is gone.
        """
        if self.pushed:
            return False
        if self.content is not None or self._file_position is not None or not self._opened[0]:
            return True
        return callable(self._body)

    @property
    def upgrades(self) -> bool:
        """Whether `upgrade` offers the server to switch to another protocol (RFC 9110 7.8)."""
        return b"upgrade" in self.names

    def open_body(self) -> AsyncIterator[bytes]:
        """Returns the body in chunks, from its beginning.

        Raises:
            LocalProtocolError: it was read before and cannot be read again, or it is `PUSHED`.
        """
        if self.pushed:
            raise LocalProtocolError("the request's body is PUSHED: there is nothing to read it from")
        if self.content is None and not self.replayable:
            raise LocalProtocolError("the request's body is a stream that was sent before; pass a callable instead")
        self._opened[0] = True
        if self.content is not None:
            return cut(self.content)
        if callable(self._body):
            return iterate(self._body(), None, ours=True)
        return iterate(self._body, self._file_position, self.content_length)

    def with_headers(self, extra: Iterable[tuple[bytes, bytes]]) -> Request:
        """Returns the same request with `extra` fields, which are taken as they are, behind its own."""
        copy = object.__new__(Request)
        for name in Request.__slots__:
            setattr(copy, name, getattr(self, name))
        copy.headers = Headers([*self.headers, *extra])
        return copy

    @property
    def iterated(self) -> bool:
        """Whether to go on with the body may block: a file, a plain iterable, or what a callable returns.

        Not a regular file, which is sent by the kernel, or read by a thread of the loop's executor.
        """
        body = self._body
        if self.content is not None or isinstance(body, (io.BytesIO, AsyncIterable)) or FileChunks.is_plain(body):
            return False
        return callable(body) or isinstance(body, (Readable, Iterable))

    def with_iterated_body(self, wrap: Callable[[Callable[[], Iterator[bytes]]], AsyncIterable[bytes]]) -> Request:
        """Returns the same request, whose `iterated` body is opened, and gone on with, by what `wrap` makes of it."""
        copy, body, position = self.with_headers(()), self._body, self._file_position
        if callable(body):
            copy._body = lambda: wrap(lambda: iterate_blocking(body(), None, ours=True))
        else:
            copy._body = wrap(lambda: iterate_blocking(body, position, self.content_length))
        return copy

    def __repr__(self) -> str:
        return f"<Request {self.method.decode()} {self.url}>"

    def _examine(self, body: BodyTypes) -> tuple[bytes | None, int | None]:
        # Returns (the content where it is bytes, its size where that is known).
        if body is None:
            return b"", 0
        if isinstance(body, str):
            content = body.encode()
            return content, len(content)
        if isinstance(body, (bytes, bytearray, memoryview)):
            content = bytes(body)
            return content, len(content)
        if isinstance(body, io.TextIOBase):
            raise TypeError("the body is a text file; open it in binary mode")
        if isinstance(body, Readable):
            self._file_position, size = measure(body)
            return None, size
        if body is PUSHED or callable(body) or isinstance(body, (Iterable, AsyncIterable)):
            if isinstance(body, dict):
                raise TypeError("a dict is no body; encode it first, for example with json.dumps")
            return None, None
        raise TypeError(f"a body is bytes, str, a file, an (async) iterable of bytes or a callable, not {body!r:.80}")

    def _complete_headers(self, size: int | None) -> None:
        """Adds what is missing. RFC 9112 3.2 for Host, 6.3 for the framing; RFC 9110 8.6 for when a length is said."""
        headers = self.headers
        self.names = names = {name.lower() for name, _ in headers} if headers else _NO_NAMES
        if not names.isdisjoint(_CHECKED):
            self._check_given(size)
        if self.method == b"CONNECT" and size != 0:
            raise LocalProtocolError("a CONNECT request has no body (RFC 9110 9.3.6)")
        if self.protocol is not None and (self.method != b"CONNECT" or self.upgrades):
            raise LocalProtocolError("protocol is for CONNECT, and without an upgrade field (RFC 8441 4)")
        if b"host" not in names:
            # The authority of the target, which for CONNECT is not that of the URL (RFC 9110 7.2, 9.3.6).
            host = self.target if self.method == b"CONNECT" and self.protocol is None else self.url.host_header
            headers.insert(0, (b"Host", host))
        if self.url.userinfo is not None and b"authorization" not in names:
            headers.append((b"Authorization", _basic_credentials(*self.url.userinfo)))
        if b"content-length" in names:
            if self.trailers:
                raise LocalProtocolError("trailers need a chunked body, and the headers have a content-length")
            if size is not None and size != self.content_length:
                raise LocalProtocolError(f"the content-length header says {self.content_length}, the body has {size}")
        elif b"transfer-encoding" in names:
            self.chunked = True
        elif size is None or self.trailers:
            self.chunked = True
            headers.append((b"Transfer-Encoding", b"chunked"))
            self.peeks = size is None and not self.trailers and self.method in _SELDOM_WITH_CONTENT
        elif size or self.method in _USUALLY_WITH_CONTENT:
            headers.append((b"Content-Length", b"%d" % size))
            self.content_length = size

    def _check_given(self, size: int | None) -> None:
        once: set[bytes] = set()
        for name, value in self.headers:
            lower = name.lower()
            if lower in _ONCE:
                if lower in once:
                    raise LocalProtocolError(f"the headers must not have two {lower.decode()} fields")
                once.add(lower)
            if lower == b"content-length":
                if not value.isdigit() or len(value) > _MAX_LENGTH_DIGITS:
                    raise LocalProtocolError(f"the content-length header is no possible number: {value[:40]!r}")
                self.content_length = int(value)
            elif lower == b"transfer-encoding" and value.lower() != b"chunked":
                raise LocalProtocolError("the only transfer-encoding that can be sent is chunked")
            elif lower == b"expect":
                self.expects_continue = size != 0 and value.lower() == b"100-continue"
            elif lower == b"connection":
                self.closes = self.closes or b"close" in [token.strip() for token in value.lower().split(b",")]
        if len(once & _FRAMING) > 1:
            raise LocalProtocolError("the headers must not have both content-length and transfer-encoding")


def _basic_credentials(user: bytes, password: bytes) -> bytes:
    if b":" in user:
        raise InvalidURL("the user in the URL has a colon, which Basic credentials cannot express (RFC 7617)")
    return b"Basic " + binascii.b2a_base64(user + b":" + password, newline=False)

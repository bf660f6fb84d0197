"""URL, Request and Response of httpcore 1.x: they hold what they are given, which is looked at when it is sent."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from typing import TypeAlias

from httpcore import urls

__all__ = ["URL", "ByteStream", "Content", "HeaderTypes", "Request", "Response", "URLTypes", "encode"]

HeaderTypes: TypeAlias = Mapping[str, str] | Mapping[bytes, bytes] | Iterable[tuple[bytes | str, bytes | str]] | None
Content: TypeAlias = bytes | Iterable[bytes] | AsyncIterable[bytes] | None


def encode(value: bytes | str, name: str) -> bytes:
    """Returns `value` as bytes.

    Raises:
        TypeError: it is text beyond ASCII, or no text.
    """
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str) or not value.isascii():
        raise TypeError(f"{name} takes bytes or ASCII text, not {value!r:.80}")
    return value.encode("ascii")


class ByteStream:
    """Content that is there as a whole, as a stream."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __iter__(self) -> Iterator[bytes]:
        yield self.content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.content


class URL:
    """A URL in parts, none of which is checked before it is used.

    Args:
        scheme, host, target: bytes or ASCII text. The host of IPv6 is without brackets; the target is what the request
            line has, also `b"*"` or an absolute URL.
        port: `None` is the scheme's default.

    Raises:
        TypeError: a part is something else.
    """

    def __init__(
        self,
        *,
        scheme: bytes | str = b"",
        host: bytes | str = b"",
        port: int | None = None,
        target: bytes | str = b"",
    ) -> None:
        self.scheme = encode(scheme, "scheme")
        self.host = encode(host, "host")
        self.port = port
        self.target = encode(target, "target")

    @classmethod
    def of(cls, value: URLTypes) -> URL:
        """Returns `value` in parts.

        Raises:
            UnsupportedProtocol, InvalidURL, TypeError: as `httpcore.URL` does.
        """
        if isinstance(value, URL):
            return value
        url = urls.parse_url(value)
        return cls(scheme=url.scheme, host=url.host, port=url.port, target=url.target)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, URL):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[object, ...]:
        return self.scheme, self.host, self.port, self.target

    def __bytes__(self) -> bytes:
        host = b"[%b]" % self.host if b":" in self.host else self.host
        port = b"" if self.port is None else b":%d" % self.port
        return b"%b://%b%b%b" % (self.scheme, host, port, self.target)

    def __repr__(self) -> str:
        return f"URL(scheme={self.scheme!r}, host={self.host!r}, port={self.port!r}, target={self.target!r})"


URLTypes: TypeAlias = URL | urls.URL | bytes | str


class Request:
    """A request.

    Args:
        method: bytes or text.
        url: a `URL`, one of `httpcore`'s own, or text.
        headers: a mapping or (name, value) pairs. Unlike with httpcore 1.x, what is missing for the framing is added.
        content: bytes, or an iterable, for async pools also an async one; `None` is none.
        extensions: `timeout`, a dict with seconds for `connect`, `read`, `write` and `pool`; `sni_hostname`, `target`,
            and `trace`.

    Attributes:
        method, url, headers, extensions: as given, `headers` as a list of pairs of bytes.
        stream: the content.

    Raises:
        TypeError: something has another type.
        UnsupportedProtocol, InvalidURL: a URL that is text is none.
    """

    def __init__(
        self,
        method: bytes | str,
        url: URLTypes,
        *,
        headers: HeaderTypes = None,
        content: Content = None,
        extensions: Mapping[str, object] | None = None,
    ) -> None:
        self.method = encode(method, "method")
        self.url = url = url if isinstance(url, URL) else URL.of(url)
        self.headers = _pairs(headers)
        self.stream = _stream(content)
        self.extensions = {} if extensions is None else extensions
        target = self.extensions.get("target")
        if isinstance(target, (bytes, str)):
            self.url = URL(scheme=url.scheme, host=url.host, port=url.port, target=target)

    def __repr__(self) -> str:
        return f"<Request [{self.method!r}]>"


class Response:
    """A response. It is to be read to its end, or closed.

    Args:
        status: the status.
        headers: as for `Request`.
        content: bytes, or an (async) iterable, whose `close` or `aclose`, if it has any, ends the response.
        extensions: `http_version`, `network_stream`, and `reason_phrase` or `stream_id`.

    Attributes:
        status, headers, extensions: as given, `headers` as a list of pairs of bytes.
        stream: the content as it comes, codings intact.
    """

    _content: bytes | None = None

    def __init__(
        self,
        status: int,
        *,
        headers: HeaderTypes = None,
        content: Content = None,
        extensions: Mapping[str, object] | None = None,
    ) -> None:
        self.status = status
        self.headers = _pairs(headers)
        self.stream = _stream(content)
        self.extensions = {} if extensions is None else extensions

    @property
    def content(self) -> bytes:
        """What was read.

        Raises:
            RuntimeError: nothing was.
        """
        if self._content is None:
            raise RuntimeError("the response's content was not read: call read(), or await aread(), first")
        return self._content

    def read(self) -> bytes:
        """Reads the content to its end, and returns it."""
        if self._content is None:
            self._content = b"".join(self.iter_stream())
        return self._content

    async def aread(self) -> bytes:
        """Reads the content to its end, and returns it."""
        if self._content is None:
            self._content = b"".join([part async for part in self.aiter_stream()])
        return self._content

    def iter_stream(self) -> Iterator[bytes]:
        """Iterates over the content.

        Raises:
            RuntimeError: it is an async pool's.
        """
        if not isinstance(self.stream, Iterable):
            raise RuntimeError("the response is an async pool's: use aiter_stream(), aread() and aclose()")
        return iter(self.stream)

    def aiter_stream(self) -> AsyncIterator[bytes]:
        """Iterates over the content.

        Raises:
            RuntimeError: it is a blocking pool's.
        """
        if not isinstance(self.stream, AsyncIterable):
            raise RuntimeError("the response is a blocking pool's: use iter_stream(), read() and close()")
        return aiter(self.stream)

    def close(self) -> None:
        """Ends it. Idempotent."""
        close = getattr(self.stream, "close", None)
        if close is not None:
            close()

    async def aclose(self) -> None:
        """Ends it. Idempotent."""
        aclose = getattr(self.stream, "aclose", None)
        if aclose is not None:
            await aclose()

    def __repr__(self) -> str:
        return f"<Response [{self.status}]>"


def _pairs(headers: HeaderTypes) -> list[tuple[bytes, bytes]]:
    if headers is None:
        return []
    pairs: Iterable[tuple[bytes | str, bytes | str]]
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return [
        # Most are bytes, and there are many of them.
        (
            name if type(name) is bytes else encode(name, "a header's name"),
            value if type(value) is bytes else encode(value, "a header's value"),
        )
        for name, value in pairs
    ]


def _stream(content: Content) -> Iterable[bytes] | AsyncIterable[bytes]:
    return ByteStream(content or b"") if content is None or isinstance(content, bytes) else content

"""RawResponse: what `response.raw` is for users of requests, and what it tells them of errors."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator
from typing import IO, cast

from urllib3 import HTTPHeaderDict, HTTPResponse
from urllib3.exceptions import ProtocolError, ReadTimeoutError, SSLError

from httpcore.exceptions import HTTPCoreError, TimeoutException
from httpcore.handlers import Exchange
from httpcore.sync import SyncResponse, SyncUpgradedStream

__all__ = ["RawResponse", "is_tls_error"]

_VERSIONS = {b"HTTP/1.0": 10, b"HTTP/1.1": 11, b"HTTP/2": 20}


class RawResponse(HTTPResponse):
    """What `response.raw` is: a response of urllib3's, whose bytes come from ours.

    `read` and `read1` give content as it came, unless they are told `decode_content=True`; `headers` keeps all lines
    of a field. `version` is 10, 11 or 20. `stream` gives content of unknown length as it comes, in pieces of at most
    what was asked for: no event of a stream of events waits for the next.

    Closing it before the end of its content ends its connection. One that is dropped is aborted when it is collected,
    with a `ResourceWarning`.
    """

    def __init__(self, response: SyncResponse, url: str) -> None:
        headers, message = HTTPHeaderDict(), http.client.HTTPMessage()
        for name, value in response.raw_headers:
            field = name.decode("latin-1"), value.decode("latin-1")
            headers.add(*field)
            message[field[0]] = field[1]
        self._received = response
        self._content = _Content(response)
        request = response.request
        status, version = response.status_code, response.http_version
        # HTTP/2 sends none, and requests shows it.
        reason = http.client.responses.get(status, "") if version == b"HTTP/2" else response.reason.decode("latin-1")
        super().__init__(
            cast(IO[bytes], self._content),
            headers,
            status,
            version=_VERSIONS.get(version, 0),
            version_string=version.decode("latin-1"),
            reason=reason,
            preload_content=False,
            decode_content=False,
            original_response=_OriginalResponse(self._content, message),  # type: ignore[arg-type]  # as much as is used
            enforce_content_length=False,  # the pool has done so
            request_method=None if request is None else request.method.decode(),
            request_url=url,
        )

    @property
    def exchange(self) -> Exchange | None:
        """The exchange, for facts such as `connection_info`, `stream_id` and `timings`."""
        return self._received.exchange

    @property
    def upgraded(self) -> SyncUpgradedStream | None:
        """The raw stream after 101; `None` otherwise. Who asks for it has to close it. For `stream=True` alone."""
        return self._content.take_upgraded()

    def stream(self, amt: int | None = 2**16, decode_content: bool | None = None) -> Iterator[bytes]:  # type: ignore[override]  # a generator all the same
        """Gives the content in pieces of at most `amt` bytes.

        Where its length is known all but the last have that many. `None` is then all of it, and otherwise each as it
        comes.

        Raises:
            urllib3.exceptions.HTTPError: the rest did not come, or is coded otherwise than its header says.
        """
        if self.length_remaining is not None:
            yield from super().stream(amt, decode_content)
        else:
            while piece := self.read1(amt, decode_content):
                yield piece

    def read_chunked(self, amt: int | None = None, decode_content: bool | None = None) -> Iterator[bytes]:  # type: ignore[override]
        """The same as `stream`."""
        return self.stream(amt, decode_content)

    def __del__(self) -> None:
        """Does nothing: not that of files, which closes them.

        The garbage collector runs in any thread, and in the middle of anything; the response that is within aborts its
        exchange in a way that heeds this.
        """


class _Content:
    """The content as it came, in the form of a file: where urllib3 reads from."""

    def __init__(self, response: SyncResponse) -> None:
        self._response = response
        self._upgraded = response.upgraded
        self._parts = response.raw()
        self._part = b""
        self._position = 0  # in that
        self.closed = False

    def take_upgraded(self) -> SyncUpgradedStream | None:
        stream, self._upgraded = self._upgraded, None
        return stream

    def isclosed(self) -> bool:
        return self.closed

    def read(self, amt: int | None = None) -> bytes:
        """Returns that many bytes, or all; fewer only at the end."""
        piece = self.read1(amt)
        if not piece or len(piece) == amt:
            return piece
        pieces, size = [piece], len(piece)
        while (amt is None or size < amt) and (piece := self.read1(None if amt is None else amt - size)):
            pieces.append(piece)
            size += len(piece)
        return b"".join(pieces)

    def read1(self, amt: int | None = None) -> bytes:
        """Returns up to so many bytes as soon as there are some; b"" at the end."""
        if self._position == len(self._part):
            self._next()
        part, position = self._part, self._position
        end = len(part) if amt is None or amt < 0 else min(position + amt, len(part))
        self._position = end
        return part[position:end]

    def _next(self) -> None:
        self._part, self._position = b"", 0
        try:
            self._part = next(self._parts, b"")
        except HTTPCoreError as exc:  # which has closed the response
            self.closed = True
            raise _content_error(exc) from exc
        self.closed = not self._part

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._part, self._position = b"", 0
            self._response.close()
        if (stream := self.take_upgraded()) is not None:
            stream.close()


class _OriginalResponse:
    """Stands for a response of http.client's: the fields as a message, from which cookies are read; and its end."""

    def __init__(self, content: _Content, message: http.client.HTTPMessage) -> None:
        self.msg = message
        self.close = content.close
        self.isclosed = content.isclosed


def is_tls_error(error: HTTPCoreError) -> bool:
    """Returns whether it was TLS that failed: a certificate, say."""
    return isinstance(error.__cause__, ssl.SSLError)


def _content_error(error: HTTPCoreError) -> Exception:
    """Returns what urllib3 would raise, which requests translates."""
    if isinstance(error, TimeoutException):
        # The first argument is only ever shown, and a server says more than one of our pools.
        return ReadTimeoutError(f"{error.host}:{error.port}", None, error.args[0])  # type: ignore[arg-type]
    if is_tls_error(error):
        return SSLError(error)
    return ProtocolError(f"Connection broken: {error}", error)

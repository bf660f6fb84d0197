"""SyncResponse: a response whose content is read by blocking calls. The async one does the work."""

from __future__ import annotations

import ssl
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

from httpcore.exceptions import ConnectTimeout, ReadTimeout, StreamConsumed, TimeoutException, WriteTimeout
from httpcore.handlers import Exchange
from httpcore.headers import Headers
from httpcore.request import Request
from httpcore.response import Response
from httpcore.sync.bridge import run, wait_for
from httpcore.sync.loop_thread import LoopThread, loop_thread
from httpcore.upgraded import UpgradedStream, within

__all__ = ["SyncResponse", "SyncUpgradedStream"]

_T = TypeVar("_T")


class SyncResponse:
    """A response of a `SyncConnectionPool`: the words of `Response`, without `await`.

    A response is for one thread at a time, whichever: two that read it at once get a `RuntimeError`. To close it is for
    any. A streamed one is to be closed, best by `with`; one that is dropped unread is aborted when it is collected,
    with a `ResourceWarning`.

    Attributes:
        status_code: int.
        reason: bytes, b"" where the server gave none.
        http_version: b"HTTP/1.1", b"HTTP/1.0" or b"HTTP/2".
        headers: a list of (lower-case name, value) byte pairs with look-up by name. Where content was or will be
            decoded, `content-encoding` and `content-length` are not in it.
        raw_headers: the wire's header fields, as they came.
    """

    def __init__(self, response: Response) -> None:
        self._response = response
        self._reading = threading.Lock()  # held while a thread reads
        self._upgraded: SyncUpgradedStream | None = None
        self.status_code = response.status_code
        self.reason = response.reason
        self.http_version = response.http_version
        self.headers = response.headers
        self.raw_headers = response.raw_headers

    @property
    def exchange(self) -> Exchange | None:
        """The exchange, for facts such as `connection_info` and `timings`. What it is asked to do it does soon."""
        return self._response.exchange

    @property
    def request(self) -> Request | None:
        """The request as it was sent."""
        return self._response.request

    @property
    def trailers(self) -> Headers:
        """The trailer fields (RFC 9110 6.5); none before the content was received to its end."""
        return self._response.trailers

    @property
    def upgraded(self) -> SyncUpgradedStream | None:
        """The raw stream after 101, or after 2xx to CONNECT; `None` otherwise. It outlives the response."""
        stream = self._response.upgraded
        if self._upgraded is None and stream is not None:
            self._upgraded = SyncUpgradedStream(stream, loop_thread())
        return self._upgraded

    @property
    def body(self) -> bytes:
        """The content.

        Raises:
            ResponseNotRead: it was not read yet; being an `AttributeError`, it makes `hasattr` say no.
        """
        return self._response.body

    def read(self) -> bytes:
        """Reads the content to its end, and returns it as `body` does from then on. Raises as `Response.read`."""
        return self._run(self._response.read())

    def stream(self) -> Iterator[bytes]:
        """Returns an iterator of the content, decoded where this response decodes; see `Response.stream`."""
        return self._iterate(self._response.stream())

    def raw(self) -> Iterator[bytes]:
        """Returns an iterator of the content as it came, codings intact; see `Response.raw`."""
        return self._iterate(self._response.raw())

    def _iterate(self, parts: AsyncIterator[bytes]) -> Iterator[bytes]:
        while True:
            try:
                part = self._run(_next(parts))
            except StopAsyncIteration:
                return
            yield part

    def _run(self, coroutine: Coroutine[Any, Any, bytes]) -> bytes:
        if not self._reading.acquire(blocking=False):
            coroutine.close()
            raise RuntimeError("another thread is reading this response already")
        try:
            return run(coroutine)
        except (StopAsyncIteration, StreamConsumed):
            raise
        except BaseException:
            # Also one that a signal's handler raised, at any point: the piece at hand may be lost, which must not pass
            # for the content's end when it is read on.
            self.close()
            raise
        finally:
            self._reading.release()

    def close(self) -> None:
        """Ends it: an exchange that goes on is aborted, and its connection with it. What was read stays. Idempotent."""
        run(self._response.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<SyncResponse {self.status_code}>"


async def _next(parts: AsyncIterator[bytes]) -> bytes:
    return await anext(parts)


class SyncUpgradedStream:
    """The raw stream of an upgraded connection, with blocking calls: the words of `UpgradedStream`, without `await`.

    One thread may read while another writes. Ctrl-C leaves the stream as it is.
    """

    def __init__(self, stream: UpgradedStream, thread: LoopThread) -> None:
        self._stream = stream
        self._thread = thread

    def read(self, max_bytes: int = 65536, timeout: float | None = None) -> bytes:
        """Returns up to `max_bytes` bytes as soon as there are some; b"" at the end. Raises as the async one.

        Raises:
            ReadTimeout: there were none within `timeout` seconds; it can be called again. `None` sets no limit.
        """
        return self._wait(self._stream.read(max_bytes), timeout, ReadTimeout)

    def write(self, data: bytes | bytearray | memoryview, timeout: float | None = None) -> None:
        """Sends `data`, and returns once the peer keeps up with it.

        Raises:
            WriteError: the connection is gone.
            WriteTimeout: the peer did not keep up within `timeout` seconds; `data` is sent all the same. `None` sets
                no limit.
        """
        self._wait(_write(self._stream, bytes(data)), timeout, WriteTimeout)

    def write_eof(self) -> None:
        """Says that no more will be written, where the transport can say so: TCP can, TLS cannot."""
        self._thread.submit_if_open(self._stream.write_eof)

    def start_tls(
        self, ssl_context: ssl.SSLContext, *, server_hostname: str | None = None, timeout: float | None = None
    ) -> None:
        """Begins TLS on the stream, as the client. Raises as `UpgradedStream.start_tls`.

        Raises:
            ConnectTimeout: it had not begun within `timeout` seconds; the connection is gone. `None` sets no limit.
        """
        self._wait(self._stream.start_tls(ssl_context, server_hostname=server_hostname), timeout, ConnectTimeout)

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Returns the transport's `get_extra_info`: `peername`, `sockname`, `socket`, `ssl_object`."""
        return self._stream.get_extra_info(name, default)

    def close(self) -> None:
        """Closes the connection once what was written is sent. Idempotent."""
        self._thread.submit_if_open(self._stream.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _wait(
        self, coroutine: Coroutine[Any, Any, _T], timeout: float | None, timeout_error: type[TimeoutException]
    ) -> _T:
        try:
            self._thread.check()
        except RuntimeError:
            coroutine.close()
            raise
        return wait_for(within(coroutine, timeout, timeout_error), self._thread)


async def _write(stream: UpgradedStream, data: bytes) -> None:
    stream.write(data)
    await stream.drain()

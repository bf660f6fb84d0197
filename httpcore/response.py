"""Response: what the async API gives, and the handler that builds one from an exchange.

Decoding runs here, on the reader's side, so that content is decoded no faster than somebody reads it.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from types import TracebackType
from typing import Protocol, Self

from httpcore.body import BodyQueue
from httpcore.decoders import Decoder, codings_of
from httpcore.exceptions import ResponseClosed, ResponseNotRead, ResponseTooLarge, StreamConsumed
from httpcore.handlers import Exchange, ResponseHandler, ResponseHead
from httpcore.headers import Headers, HeaderTypes, normalize_headers
from httpcore.request import Request
from httpcore.upgraded import UpgradedStream

__all__ = ["Answer", "Response", "ResponseCollector"]

_SMALL_PART = 4096  # bytes below which parts are put together as they come: an object for each costs far more than it
_DECODE_STEP = 64 * 1024  # bytes that one step of decoding gives, about
# Without content (RFC 9112 6.3), or with a part of it, which cannot be decoded by itself (RFC 9110 15.3.7).
_NEVER_DECODED = frozenset({101, 204, 206, 304})


class _Source(Protocol):
    """Where the coded content comes from: a `BodyQueue`, or what a response made by hand was given."""

    async def get(self) -> bytes:
        """Returns the next piece, b"" at the end."""


class _Iterated:
    """Content that comes from an iterable."""

    def __init__(self, content: AsyncIterable[bytes] | Iterable[bytes]) -> None:
        self._parts = content.__aiter__() if isinstance(content, AsyncIterable) else _aiter(content)

    async def get(self) -> bytes:
        async for part in self._parts:
            if part:
                return part
        return b""

    async def close(self) -> None:
        """Lets a generator run its own `finally`, now and not when it is collected."""
        aclose = getattr(self._parts, "aclose", None)
        if aclose is not None:
            await aclose()


async def _aiter(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


class Response:
    """A response. Those of a pool come with their head received and, unless streamed, their body read.

    Made by hand it serves tests and adapters, and behaves just as a received one::

        Response(200, headers=[("content-type", "text/plain")], body=b"Hello")

    Args:
        status_code: the status.
        headers: a mapping or pairs; content is decoded as its `content-encoding` says.
        body: the content as it would come over the wire: bytes, or an (async) iterable of bytes.
        reason: the reason phrase.
        http_version: b"HTTP/1.1" or another.

    Attributes:
        status_code: int.
        reason: bytes, b"" where the server gave none.
        http_version: b"HTTP/1.1" or b"HTTP/1.0".
        headers: a list of (lower-case name, value) byte pairs with look-up by name. Where content was or will be
            decoded, `content-encoding` and `content-length` are not in it.
        raw_headers: the wire's header fields, as they came.
    """

    _body: bytes | None

    def __init__(
        self,
        status_code: int,
        headers: HeaderTypes = (),
        body: bytes | Iterable[bytes] | AsyncIterable[bytes] = b"",
        *,
        reason: bytes = b"",
        http_version: bytes = b"HTTP/1.1",
    ) -> None:
        raw = normalize_headers(headers)
        fields = Headers([(name.lower(), value) for name, value in raw])
        if isinstance(body, str):
            raise TypeError("a response's body is bytes or an (async) iterable of bytes, not str")
        source = _Iterated([body] if isinstance(body, bytes) else body)
        self._set_up(ResponseHead(status_code, reason, http_version, fields, list(raw)), source, decode=True)
        self._exchange: Exchange | None = None
        self._collector: ResponseCollector | None = None
        self._max_body_size: int | None = None
        if isinstance(body, bytes) and self._decoder is None:
            self._body = body

    def _set_up(self, head: ResponseHead, source: _Source, *, decode: bool, no_content: bool = False) -> None:
        self.status_code, self.reason, self.http_version, self.headers, self.raw_headers = head
        self._source = source
        self._decoder: Decoder | None = None
        self._iterated = False  # stream or raw gave something: the content cannot be read again
        self._complete = False  # the content was read to its end
        self._closed = False
        self._body = None  # until it was read
        self._reader: _ContentIterator | None = None  # of a `read` that goes on, or was cancelled, and ...
        self._parts: list[bytes | bytearray] = []  # ... what it has got so far
        if decode and not no_content and head.status_code not in _NEVER_DECODED:
            values = [value for name, value in head.headers if name == b"content-encoding"]
            if values and (codings := codings_of(values)):
                self._decoder = Decoder(codings)
                dropped = (b"content-encoding", b"content-length")
                self.headers = Headers([pair for pair in head.headers if pair[0] not in dropped])

    @classmethod
    def _received(cls, head: ResponseHead, collector: ResponseCollector, exchange: Exchange) -> Response:
        """Makes one from an exchange, without the checks that a caller's arguments need."""
        response = object.__new__(cls)
        response._exchange = None  # for __del__, should the next line raise
        no_content = exchange.request.method == b"HEAD"
        response._set_up(head, collector.queue, decode=collector.decode, no_content=no_content)
        response._exchange = exchange
        response._collector = collector
        response._max_body_size = collector.max_body_size
        return response

    @property
    def exchange(self) -> Exchange | None:
        """The exchange, for facts such as `connection_info` and `timings`; `None` for a response made by hand."""
        return self._exchange

    @property
    def request(self) -> Request | None:
        """The request as it was sent; `None` for a response made by hand."""
        return None if self._exchange is None else self._exchange.request

    @property
    def trailers(self) -> Headers:
        """The trailer fields (RFC 9110 6.5); none before the content was received to its end."""
        return Headers() if self._collector is None else self._collector.trailers

    @property
    def upgraded(self) -> UpgradedStream | None:
        """The raw stream after 101, or after 2xx to CONNECT; `None` otherwise. It outlives the response."""
        return None if self._collector is None else self._collector.upgraded

    @property
    def body(self) -> bytes:
        """The content.

        Raises:
            ResponseNotRead: it was not read yet; being an `AttributeError`, it makes `hasattr` say no.
        """
        if self._body is None:
            raise ResponseNotRead("the response's content was not read: call `await response.read()` first")
        return self._body

    def stream(self) -> AsyncIterator[bytes]:
        """Returns an iterator of the content, decoded where this response decodes, in pieces of any size.

        The response is closed at the end. Leaving the loop early does not close it: use `async with response`.

        The iterator raises:
            DecodingError: coded content is broken.
            ReadTimeout, TotalTimeout, ReadError, RemoteProtocolError: the rest did not come.
            ResponseClosed: the response was closed.
            StreamConsumed: the content was read before, by `stream` or `raw`.
        """
        return _ContentIterator(self, self._decoder)

    def raw(self) -> AsyncIterator[bytes]:
        """Returns an iterator of the content as it came, codings intact; otherwise as `stream`.

        The iterator raises what that of `stream` does, but no `DecodingError`. After `read` of decoded content it
        raises `StreamConsumed`, as the coded one was not kept.
        """
        return _ContentIterator(self, None)

    async def read(self) -> bytes:
        """Reads the content to its end, and returns it as `body` does from then on.

        When it is cancelled nothing is lost, and it can be called again.

        Raises:
            ResponseTooLarge: it is over `max_body_size`; the response is then closed.
            Exception: what the iterator of `stream` raises.
        """
        limit = self._max_body_size
        if self._body is None and not self.take_complete():
            if self._reader is None:
                self._reader = _ContentIterator(self, self._decoder)
            parts = self._parts
            size = sum(map(len, parts))
            async for part in self._reader:
                if len(part) >= _SMALL_PART:
                    parts.append(part)
                elif parts and isinstance(parts[-1], bytearray):
                    parts[-1] += part
                else:
                    parts.append(bytearray(part))
                size += len(part)
                if limit is not None and size > limit:
                    self._close()
                    text = f"the response's content is over max_body_size, {limit} bytes: stream it, or raise the limit"
                    raise ResponseTooLarge(text)
            self._body = bytes(parts[0]) if len(parts) == 1 else b"".join(parts)
            self._reader, self._parts = None, []
        assert self._body is not None
        return self._body

    def take_complete(self) -> bool:
        """Reads the content if all of it is there and takes no decoding; returns whether it did.

        Most often all of a small body came with its head: there is nothing to iterate over or to wait for.
        """
        source = self._source
        if self._decoder is not None or self._iterated or self._closed or not isinstance(source, BodyQueue):
            return False
        if not source.complete_within(self._max_body_size):
            return False
        self._body = source.take_all()
        self._iterated = self._complete = True
        return True

    async def close(self) -> None:
        """Ends it: an exchange that goes on is aborted, and its connection with it. What was read stays. Idempotent."""
        self._close()
        if isinstance(self._source, _Iterated):
            await self._source.close()

    async def aclose(self) -> None:
        """The same as `close`."""
        await self.close()

    def _close(self) -> None:
        self._closed = True
        if isinstance(self._source, BodyQueue) and not self._complete:
            self._source.fail(ResponseClosed("the response was closed"))
            self._source.clear()
        if self._exchange is not None:
            self._exchange.abort(ResponseClosed("the response was closed"))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<Response {self.status_code}>"

    def __del__(self, _warn: type[ResourceWarning] = ResourceWarning) -> None:
        exchange = getattr(self, "_exchange", None)  # not there if the arguments were refused
        if exchange is None or exchange.ended or self._closed:  # from another thread it is ended soon, not at once
            return
        warnings.warn(f"unclosed {self!r} to {self.request!r}", _warn, source=self, stacklevel=2)
        try:
            # The garbage collector runs in any thread, and in the middle of anything: abort later, on the loop.
            assert self._collector is not None
            self._collector.loop.call_soon_threadsafe(exchange.abort)
        except RuntimeError:
            pass  # the loop is closed, and the connection with it


class _ContentIterator:
    """Iterates over a response's content. A plain object: no generator that would have to be closed."""

    __slots__ = ("_decoder", "_response", "_running", "_started")

    def __init__(self, response: Response, decoder: Decoder | None) -> None:
        self._response = response
        self._decoder = decoder
        self._started = False
        self._running = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        response, decoder = self._response, self._decoder
        if self._running:
            raise RuntimeError("another task is reading this response already")
        if not self._started:
            if response._body is not None and (response._decoder is None or decoder is not None):
                self._started = True
                if response._body:
                    return response._body
                raise StopAsyncIteration
            if response._iterated:
                raise StreamConsumed("the response's content was read already")
            self._started = response._iterated = True
        elif response._body is not None or response._complete:
            raise StopAsyncIteration
        if response._closed:  # what had come by then was dropped, so its end must not pass for the content's
            raise ResponseClosed("the response was closed")
        self._running = True
        try:
            while True:
                if decoder is not None and (decoded := decoder.read(_DECODE_STEP)):
                    return decoded
                part = await response._source.get()
                if not part:
                    break
                if decoder is None:
                    return part
                decoder.feed(part)
            if decoder is not None:
                decoder.finish()
        except Exception:
            response._close()
            raise
        finally:
            self._running = False
        response._complete = True
        raise StopAsyncIteration


class Answer(Protocol):
    """What a `ResponseCollector` completes: an `asyncio.Future` of a `Response`, or what is like one."""

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Returns the loop."""

    def done(self) -> bool:
        """Whether it was completed, or nobody waits any more."""

    def set_result(self, result: Response, /) -> None:
        """The response is there."""

    def set_exception(self, exception: BaseException, /) -> None:
        """There will be none."""


class ResponseCollector(ResponseHandler):
    """The handler behind `request()`: completes `future` with a `Response` whose content it queues.

    It must not refer to the response: one that nobody else refers to is to be collected, and aborts its exchange.

    Args:
        future: what is completed.
        queue: where the content waits to be read.
        decode: whether the response decodes its content.
        max_body_size: bytes that `Response.read` may return, `None` without a limit.
    """

    def __init__(self, future: Answer, queue: BodyQueue, *, decode: bool, max_body_size: int | None) -> None:
        self.loop = future.get_loop()
        self.future: Answer | None = future
        self.decode = decode
        self.max_body_size = max_body_size
        self.queue = queue
        self.trailers = Headers()
        self.upgraded: UpgradedStream | None = None
        self._exchange: Exchange | None = None  # until the response is made, which has it then
        self.data_received = self.queue.put  # type: ignore[method-assign]  # saves a frame for every chunk

    def exchange_started(self, exchange: Exchange) -> None:
        """Keeps the exchange for the response."""
        self._exchange = exchange
        self.queue.pause = exchange.pause_reading
        self.queue.resume = exchange.resume_reading

    def response_received(self, head: ResponseHead) -> None:
        """Gives the response to who waits for it."""
        exchange, self._exchange = self._exchange, None
        future = self.future
        assert exchange is not None
        assert future is not None
        if not future.done():  # by the cancellation of who waited, who is about to abort the exchange
            # This may raise, for what the head says of the content; exchange_failed then needs the future.
            future.set_result(Response._received(head, self, exchange))
        self.future = None

    def connection_upgraded(self, stream: UpgradedStream) -> None:
        """Keeps the stream for `Response.upgraded`."""
        self.upgraded = stream

    def response_complete(self, trailers: Headers) -> None:
        """Ends the queue."""
        self.trailers = trailers
        self.queue.finish()

    def exchange_failed(self, exc: BaseException) -> None:
        """Tells who waits for the response, or who reads it."""
        self._exchange = None
        self.queue.fail(exc)
        future, self.future = self.future, None
        if future is not None and not future.done():
            future.set_exception(exc)

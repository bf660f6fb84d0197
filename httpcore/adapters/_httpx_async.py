"""The async transport for httpx2 and for httpx, but for its base class; and the content of its responses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from typing import Any, NamedTuple, Self, Unpack

from httpcore.adapters._httpx import Adapter, Call, ClientCall, ClientRequest, extensions_of, facts_of
from httpcore.adapters._network_stream import AsyncNetworkStream
from httpcore.adapters._options import PoolOptions
from httpcore.adapters._trace import AsyncTrace
from httpcore.exceptions import HTTPCoreError
from httpcore.pool import ConnectionPool
from httpcore.response import Response

__all__ = ["AsyncAdapter", "AsyncContent"]


class AsyncAnswer(NamedTuple):
    """A response, and what its content needs to be told of: what was asked for, and its trace."""

    call: Call
    response: Response
    trace: AsyncTrace | None

    @property
    def extensions(self) -> dict[str, object]:
        """What the client's response is told besides."""
        upgraded = self.response.upgraded
        stream = facts_of(self.response) if upgraded is None else AsyncNetworkStream(upgraded)
        return extensions_of(self.response, stream)


class AsyncAdapter(Adapter[ConnectionPool]):
    """The async transport, but for its base class.

    Args:
        pool: what sends the requests. It is closed with the transport.
        options: the arguments of a `ConnectionPool` to be made instead.

    Raises:
        TypeError: there are both, or `pool` is something else.
    """

    def __init__(self, pool: ConnectionPool | None = None, **options: Unpack[PoolOptions]) -> None:
        if pool is None:
            pool = ConnectionPool(**options)
        elif options:
            raise TypeError("give a pool or the arguments of one, not both")
        if not isinstance(pool, ConnectionPool):
            raise TypeError(f"pool takes a ConnectionPool, not {type(pool).__name__}")
        self._pool = pool

    def _send(self, request: ClientRequest) -> Coroutine[Any, Any, AsyncAnswer]:
        return self._perform(ClientCall(self._module, request))

    async def _perform(self, call: Call) -> AsyncAnswer:
        extensions = call.extensions
        callback: Any = extensions.get("trace")
        trace = None
        try:
            outgoing = call.outgoing(lambda stream: stream)
            if callback is not None:
                trace = AsyncTrace(callback, outgoing)
            response = await self._pool.send(
                outgoing,
                stream=True,
                timeout=self._timeout_of(extensions),
                trace=trace,
                decode=False,
                ssl=self._ssl_of(extensions),
            )
        except HTTPCoreError as exc:
            if trace is not None:
                trace.closed()
                await trace.flush()
            if (error := call.translated(exc)) is exc:
                raise
            raise error from exc
        if trace is not None:
            trace.answered(response)
            try:
                await trace.flush()
            except BaseException:
                await _end(response)
                raise
        return AsyncAnswer(call, response, trace)

    async def aclose(self) -> None:
        """Closes the pool, also one that was given: it takes no new requests. See `ConnectionPool.close`."""
        await self._pool.close()

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__name__} on {self._pool!r}>"


class AsyncContent:
    """The content of a response, as it came, but for its base class.

    Args:
        answer: the response.
    """

    def __init__(self, answer: AsyncAnswer) -> None:
        self._answer = answer
        self._closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Returns an iterator of the content."""
        return _AsyncParts(self._answer)

    async def aclose(self) -> None:
        """Ends the response: an exchange that goes on is aborted, and so is an upgraded connection. Idempotent."""
        await _end(self._answer.response)
        trace = self._answer.trace
        if trace is not None and not self._closed:
            self._closed = True
            trace.closed()
            await trace.flush()


async def _end(response: Response) -> None:
    await response.close()
    if response.upgraded is not None:
        response.upgraded.close()


class _AsyncParts:
    """Iterates over the content. A plain object: no generator that would have to be closed."""

    __slots__ = ("_answer", "_parts")

    def __init__(self, answer: AsyncAnswer) -> None:
        self._answer = answer
        self._parts: AsyncIterator[bytes] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        answer, trace = self._answer, self._answer.trace
        if self._parts is None:
            self._parts = answer.response.raw()
            if trace is not None:
                trace.reading()
        try:
            part = await anext(self._parts)
        except StopAsyncIteration:
            if trace is not None:
                trace.read()
                await trace.flush()
            raise
        except HTTPCoreError as exc:
            if trace is not None:
                trace.failed(exc)
                await trace.flush()
            if (error := answer.call.translated(exc)) is exc:
                raise
            raise error from exc
        if trace is not None:
            await trace.flush()
        return part

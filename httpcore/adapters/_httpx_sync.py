"""The blocking transport for httpx2 and for httpx, but for its base class; and the content of its responses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Unpack

from httpcore.adapters._httpx import Adapter, Call, ClientCall, ClientRequest, extensions_of, facts_of
from httpcore.adapters._network_stream import NetworkStream
from httpcore.adapters._options import PoolOptions
from httpcore.adapters._trace import Trace
from httpcore.exceptions import HTTPCoreError
from httpcore.sync import SyncConnectionPool, SyncResponse
from httpcore.sync.loop_thread import loop_thread

__all__ = ["SyncAdapter", "SyncContent"]


class SyncAnswer(NamedTuple):
    """A response, and what its content needs to be told of: what was asked for, and its trace."""

    call: Call
    response: SyncResponse
    trace: Trace | None

    @property
    def extensions(self) -> dict[str, object]:
        """What the client's response is told besides."""
        upgraded = self.response.upgraded
        stream = facts_of(self.response) if upgraded is None else NetworkStream(upgraded)
        return extensions_of(self.response, stream)


class _Once:
    """A stream that is iterated over as a plain iterable, which is sent once, whatever else it is."""

    def __init__(self, stream: Iterable[bytes]) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._stream)


class SyncAdapter(Adapter[SyncConnectionPool]):
    """The blocking transport, but for its base class.

    Args:
        pool: what sends the requests. It is closed with the transport.
        options: the arguments of a `SyncConnectionPool` to be made instead.

    Raises:
        TypeError: there are both, or `pool` is something else.
    """

    def __init__(self, pool: SyncConnectionPool | None = None, **options: Unpack[PoolOptions]) -> None:
        if pool is None:
            pool = SyncConnectionPool(**options)
        elif options:
            raise TypeError("give a pool or the arguments of one, not both")
        if not isinstance(pool, SyncConnectionPool):
            raise TypeError(f"pool takes a SyncConnectionPool, not {type(pool).__name__}")
        self._pool = pool

    def _send(self, request: ClientRequest) -> SyncAnswer:
        return self._perform(ClientCall(self._module, request))

    def _perform(self, call: Call) -> SyncAnswer:
        extensions = call.extensions
        callback: Any = extensions.get("trace")
        trace = None
        try:
            outgoing = call.outgoing(_Once)
            if callback is not None:
                trace = Trace(callback, outgoing, loop_thread())
            response = self._pool.send(
                outgoing,
                stream=True,
                timeout=self._timeout_of(extensions),
                trace=trace,
                decode=False,
                ssl=self._ssl_of(extensions),
            )
        except HTTPCoreError as exc:
            if trace is not None:
                trace.run(trace.closed)
            if (translated := call.translated(exc)) is exc:
                raise
            raise translated from exc
        if trace is not None:
            answered = trace.answered
            try:
                trace.run(lambda: answered(response))
            except BaseException:
                _end_blocking(response)
                raise
        return SyncAnswer(call, response, trace)

    def close(self) -> None:
        """Closes the pool, also one that was given: it takes no new requests. See `ConnectionPool.close`."""
        self._pool.close()

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__name__} on {self._pool!r}>"


class SyncContent:
    """The content of a response, as it came, but for its base class.

    Args:
        answer: the response.
    """

    def __init__(self, answer: SyncAnswer) -> None:
        self._answer = answer
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        """Iterates over the content."""
        call, response, trace = self._answer
        if trace is not None:
            trace.run(trace.reading)
        try:
            yield from response.raw()
        except HTTPCoreError as exc:
            if trace is not None:
                failed, error = trace.failed, exc
                trace.run(lambda: failed(error))
            if (translated := call.translated(exc)) is exc:
                raise
            raise translated from exc
        if trace is not None:
            trace.run(trace.read)

    def close(self) -> None:
        """Ends the response: an exchange that goes on is aborted, and so is an upgraded connection. Idempotent."""
        _end_blocking(self._answer.response)
        trace = self._answer.trace
        if trace is not None and not self._closed:
            self._closed = True
            trace.run(trace.closed)


def _end_blocking(response: SyncResponse) -> None:
    response.close()
    if response.upgraded is not None:
        response.upgraded.close()

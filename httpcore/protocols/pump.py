"""BodyPump: the task that reads a streamed body and sends it, as fast as the peer takes it."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Protocol

from httpcore.headers import Headers, check_trailers
from httpcore.protocols.file_sender import FileSender
from httpcore.request import Request
from httpcore.request_body import FileChunks

__all__ = ["BodyPump", "BodySink"]


class BodySink(Protocol):
    """Where the body goes: the exchange."""

    def send_chunk(self, data: bytes | bytearray | memoryview) -> bool:
        """Sends a piece; returns whether any more is wanted."""

    def send_end(self, trailers: Headers) -> None:
        """Ends the body."""

    def fail(self, error: BaseException) -> None:
        """The body cannot be sent to its end."""

    def file_sender(self) -> FileSender | None:
        """Returns what sends a file past the transport, `None` where that is not possible."""


class BodyPump:
    """Runs from when it is made until the body was sent, it raised, or `stop` was called.

    Args:
        request: whose body and trailers are sent.
        sink: where to.
        loop: the loop.
        context: the context of whoever dispatched the request: the body's code is theirs, and must not see that of
            whoever freed the connection.
        paused: whether `sink` takes nothing for now.
    """

    __slots__ = ("_paused", "_request", "_sink", "_task", "_writable")

    def __init__(
        self,
        request: Request,
        sink: BodySink,
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context | None,
        *,
        paused: bool,
    ) -> None:
        self._request = request
        self._sink = sink
        self._paused = paused
        self._writable: asyncio.Future[None] | None = None  # what the task waits for while paused
        self._task: asyncio.Task[None] | None = asyncio.Task(self._run(loop), loop=loop, context=context)

    def set_paused(self, paused: bool) -> None:
        """Lets it stop after the piece in hand, or go on."""
        self._paused = paused
        if not paused and self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    def stop(self) -> None:
        """Ends it: nobody wants the rest. The body's own `finally` runs in the loop's next turn."""
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    async def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            await self._send(loop)
        except asyncio.CancelledError as exc:
            # By `stop` the exchange is over, or starts anew; by anybody else the body's own code was cancelled.
            if self._task is not None:
                self._sink.fail(exc)
            raise
        except Exception as exc:
            self._sink.fail(exc)

    async def _send(self, loop: asyncio.AbstractEventLoop) -> None:
        chunks = self._request.open_body()
        try:
            if isinstance(chunks, FileChunks) and (sender := self._sink.file_sender()) is not None:
                await sender.send(chunks, self._sink.send_chunk)
            async for chunk in chunks:
                if self._task is None or (len(chunk) and not self._sink.send_chunk(chunk)):
                    return
                while self._paused:
                    self._writable = loop.create_future()
                    await self._writable
        finally:
            await chunks.aclose()  # type: ignore[attr-defined]  # it is a generator of request.py
        if self._task is None:  # a body that outlived its cancellation must not end the same one, sent again
            return
        trailers = self._request.trailers
        self._sink.send_end(check_trailers(trailers() if callable(trailers) else trailers))

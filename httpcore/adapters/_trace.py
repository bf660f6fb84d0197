"""The `trace` extension of httpx: a callback `(name, info)`, under the names that httpcore 1.x has for what happens.

A name is `<step>.started`, and `<step>.complete` or `<step>.failed` later. These steps are told:

    connection.connect_tcp              name look-up and TCP, or a unix socket
    connection.start_tls                started is known beforehand only where there is no proxy; else, together with
                                        complete, when it is done
    socks.setup_socks5_connection       a SOCKS proxy's handshake
    proxy.start_tls, socks.start_tls    TLS with the origin, in a proxy's tunnel
    http11.send_request_headers         http2. where that is spoken, as in all below
    http11.send_request_body
    http11.receive_response_headers     `return_value` is version, status, reason and header fields
    http11.receive_response_body        from when somebody begins to read it until its end is read
    http11.response_closed

`info` holds `host` and `port`, or the `request` as it was sent, where a step starts; `return_value` where it is
complete; `exception` where it failed. What else httpcore 1.x tells (settings, its own retries) is not told, nor is a
CONNECT to a proxy. A request that is sent again goes through its steps anew, after those that it broke off failed.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Coroutine
from typing import TypeAlias

from httpcore.request import Request
from httpcore.response import Response
from httpcore.sync import SyncResponse
from httpcore.sync.bridge import wait_for
from httpcore.sync.loop_thread import LoopThread
from httpcore.trace import (
    BodySent,
    ConnectFailed,
    ExchangeFailed,
    HeadSent,
    RequestReplayed,
    ResolveStarted,
    TCPConnected,
    TLSEstablished,
    TraceEvent,
    TunnelEstablished,
    TunnelStarted,
)

__all__ = ["AsyncTrace", "Trace"]

Info: TypeAlias = dict[str, object]


class _Steps(ABC):
    """Which steps have started and not ended, and what is told of each event. All on the loop's thread.

    Args:
        request: the request.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._open: list[str] = []
        self._http: str | None = None  # "http11" or "http2", once the request is sent
        self._answered = False
        self._tunnel = "connection"  # or "proxy", or "socks", once the proxy has opened the way
        self._tls_is_next = False  # whether nothing but TLS can come after TCP
        self._raised: BaseException | None = None  # by the callback, which is told nothing more then

    @abstractmethod
    def tell(self, name: str, info: Info) -> None:
        """Passes it on to the caller, unless the callback has raised."""

    def __call__(self, event: TraceEvent) -> None:
        """The hook."""
        match event:
            case ResolveStarted(host=host, port=port):
                origin = self._request.url.origin
                self._tls_is_next = origin == ("https", host, port)
                self._start("connection.connect_tcp", host=host, port=port)
            case TCPConnected():
                self._start("connection.connect_tcp")  # of a unix socket nothing is heard before
                self._complete("connection.connect_tcp")
                if self._tls_is_next:
                    self._start("connection.start_tls", server_hostname=self._request.url.host)
            case TunnelStarted(proxy=proxy, host=host, port=port):
                self._tunnel = "socks" if proxy.startswith("socks") else "proxy"
                if self._tunnel == "socks":
                    self._start("socks.setup_socks5_connection", host=host, port=port)
            case TunnelEstablished(host=host):
                self._complete("socks.setup_socks5_connection")
                if self._request.url.scheme == "https":
                    self._start(f"{self._tunnel}.start_tls", server_hostname=host)
            case TLSEstablished():
                within = next((step for step in self._open if step.endswith(".start_tls")), "connection.start_tls")
                self._start(within)
                self._complete(within)
            case HeadSent(stream_id=stream_id):
                self._http = "http11" if stream_id is None else "http2"
                self._start(f"{self._http}.send_request_headers", request=self._request)
                self._complete(f"{self._http}.send_request_headers")
                self._start(f"{self._http}.send_request_body", request=self._request)
            case BodySent():
                self._complete(f"{self._http}.send_request_body")
                if not self._answered:
                    self._start(f"{self._http}.receive_response_headers", request=self._request)
            case RequestReplayed(error=error) | ConnectFailed(error=error) | ExchangeFailed(error=error):
                self.failed(error)

    def answered(self, response: Response | SyncResponse) -> None:
        """The response's head is there."""
        self._answered = True
        step = f"{self._http}.receive_response_headers"
        self._start(step, request=self._request)  # an early answer's has not
        self._complete(step, (response.http_version, response.status_code, response.reason, response.raw_headers))

    def reading(self) -> None:
        """Somebody begins to read the content."""
        self._start(f"{self._http}.receive_response_body", request=self._request)

    def read(self) -> None:
        """The content was read to its end."""
        self._complete(f"{self._http}.receive_response_body")

    def failed(self, error: BaseException) -> None:
        """What was going on has failed."""
        while self._open:
            self.tell(f"{self._open.pop()}.failed", {"exception": error})

    def closed(self) -> None:
        """It is over, whichever way."""
        if self._http is not None:
            step = f"{self._http}.response_closed"
            self._start(step, request=self._request)
            self._complete(step)

    def _start(self, step: str, **info: object) -> None:
        if step not in self._open:
            self._open.append(step)
            self.tell(f"{step}.started", info)

    def _complete(self, step: str, return_value: object = None) -> None:
        if step in self._open:
            self._open.remove(step)
            self.tell(f"{step}.complete", {"return_value": return_value})


class AsyncTrace(_Steps):
    """For a coroutine function, which is called in order, each time as soon as the loop can. A plain one will do, too.

    Args:
        callback: called with name and info.
        request: the request.
    """

    def __init__(self, callback: Callable[[str, Info], object], request: Request) -> None:
        super().__init__(request)
        self._callback = callback
        self._context = contextvars.copy_context()  # of who sends, and not of who made the connection
        self._pending: deque[tuple[str, Info]] = deque()
        self._task: asyncio.Task[None] | None = None  # while something is pending

    def tell(self, name: str, info: Info) -> None:
        """Has the callback called."""
        if self._raised is not None:
            return
        self._pending.append((name, info))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._call(), context=self._context)

    async def flush(self) -> None:
        """Returns once the callback was told everything.

        Raises:
            Exception: it raised that, and is told nothing more.
        """
        while self._task is not None:
            await self._task
        if self._raised is not None:
            raise self._raised

    async def _call(self) -> None:
        try:
            while self._pending:
                result = self._callback(*self._pending.popleft())
                if inspect.isawaitable(result):
                    await result
        except Exception as exc:
            self._raised = exc
        finally:
            self._task = None
            self._pending.clear()


class Trace(_Steps):
    """For a function, which is called in the thread of the background loop, and must not block.

    Args:
        callback: called with name and info.
        request: the request.
        thread: the background loop's.
    """

    def __init__(self, callback: Callable[[str, Info], object], request: Request, thread: LoopThread) -> None:
        super().__init__(request)
        self._callback = callback
        self._context = contextvars.copy_context()
        self._thread = thread

    def tell(self, name: str, info: Info) -> None:
        """Calls the callback."""
        if self._raised is not None:
            return
        try:
            result = self._context.run(self._callback, name, info)
            if isinstance(result, Coroutine):
                result.close()
                raise TypeError(
                    "the trace callback of a blocking client is a plain function, and no coroutine function"
                )
        except Exception as exc:
            self._raised = exc

    def run(self, step: Callable[[], None]) -> None:
        """Does one of the steps, from the caller's thread.

        Raises:
            Exception: the callback raised that, now or earlier, and is told nothing more.
        """

        async def on_the_loop() -> None:
            step()

        wait_for(on_the_loop(), self._thread)
        if self._raised is not None:
            raise self._raised

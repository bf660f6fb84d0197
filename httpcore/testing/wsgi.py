"""`WSGIConnector`: runs a WSGI app in threads of this process, under a pool."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable
from urllib.parse import unquote_to_bytes
from wsgiref.types import WSGIApplication

from .memory_transport import DEFAULT_CAPACITY
from .server_connector import Link, ServerConnector
from .server_stream import ClientGone, Fields, ServerStream

__all__ = ["WSGIConnector"]

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_T = TypeVar("_T")
_CHECK = 0.5  # seconds after which a thread looks whether the loop that it waits for still is
_WITHOUT_HTTP = {"CONTENT_TYPE", "CONTENT_LENGTH"}


class WSGIConnector(ServerConnector):
    """Runs a WSGI app (PEP 3333) in memory: every request of the pool is a call of the app, whatever its host and port.

        with WSGIConnector(app) as connector, SyncConnectionPool(connector=connector) as http:
            response = http.request("GET", "http://testserver/")

    It goes with a `ConnectionPool` too, by `async with`. Requests take the very way they would take to a server, as
    with `ASGIConnector`. Both directions stream: `wsgi.input` blocks until the client has sent more, and the app is
    not asked for more content while the client does not read. When the client goes away, both raise
    `ConnectionResetError` in the app's thread.

    An exception that leaves the app is raised to who made the request, as it is; where nobody waits any more, on
    leaving the block.

    Args:
        app: the app.
        threads: how many calls may run at once; further requests wait.
        errors: `wsgi.errors`; `None` is `sys.stderr`.
        raise_app_exceptions: `False` does what servers do: the client gets a 500, or a response that is cut off, and
            the error goes to the log `httpcore.testing`.
        root_path: `SCRIPT_NAME`, which is taken off the path of requests that begin with it.
        client: `REMOTE_ADDR` and `REMOTE_PORT`; `None` makes up a port of 127.0.0.1.
        segment: the most bytes that either end receives at once; `None`: as many as asyncio would give.
        capacity: bytes that a connection holds in each direction before the writer has to wait.
        shutdown_timeout: seconds that calls which are still running have to end on leaving, once their client is gone.
            A thread cannot be ended from outside: one that takes longer goes on by itself.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        threads: int = 16,
        errors: IO[str] | None = None,
        raise_app_exceptions: bool = True,
        root_path: str = "",
        client: tuple[str, int] | None = None,
        segment: int | None = None,
        capacity: int = DEFAULT_CAPACITY,
        shutdown_timeout: float = 5.0,
    ) -> None:
        super().__init__(
            raise_app_exceptions=raise_app_exceptions,
            root_path=root_path,
            client=client,
            segment=segment,
            capacity=capacity,
            shutdown_timeout=shutdown_timeout,
        )
        self._app = app
        self._threads = threads
        self._error_stream = errors
        self._executor: ThreadPoolExecutor | None = None
        self._stuck = False  # whether a thread may still run that nobody waits for any more

    async def aclose(self) -> None:
        try:
            await super().aclose()
        finally:
            executor, self._executor = self._executor, None
            if executor is not None:
                executor.shutdown(wait=not self._stuck, cancel_futures=True)
                self._stuck = False

    async def _call(self, stream: ServerStream, link: Link) -> None:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix="wsgi")
        loop = asyncio.get_running_loop()
        call = _Call(stream, loop)
        try:
            await loop.run_in_executor(self._executor, call.run, self._app, self._environ(stream, link, call))
        except asyncio.CancelledError:
            self._stuck = True
            raise

    def _environ(self, stream: ServerStream, link: Link, call: _Call) -> dict[str, Any]:
        head, origin = stream.head, link.origin
        target = head.target
        if target[:1] != b"/" and b"://" in target:  # absolute-form (RFC 9112 3.2.2)
            target = b"/" + target.partition(b"://")[2].partition(b"/")[2]
        path, _, query = target.partition(b"?")
        path_info = unquote_to_bytes(path).decode("latin-1")
        root = self._root_path.encode().decode("latin-1")
        if root and (path_info == root or path_info.startswith(root + "/")):
            path_info = path_info[len(root) :]
        environ: dict[str, Any] = {
            "REQUEST_METHOD": head.method.decode("ascii").upper(),
            "SCRIPT_NAME": root,
            "PATH_INFO": path_info,
            "QUERY_STRING": query.decode("latin-1"),
            "REQUEST_URI": head.target.decode("latin-1"),
            "SERVER_NAME": origin.host,
            "SERVER_PORT": str(origin.port),
            "SERVER_PROTOCOL": f"HTTP/{head.http_version}",
            "REMOTE_ADDR": link.client[0],
            "REMOTE_PORT": str(link.client[1]),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": origin.scheme,
            "wsgi.input": io.BufferedReader(_Input(call)),
            "wsgi.input_terminated": True,  # reading ends where the body does, also without a content-length
            "wsgi.errors": sys.stderr if self._error_stream is None else self._error_stream,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in head.headers:
            if b"_" in name:  # it would look like another field
                continue
            key = name.decode("ascii").upper().replace("-", "_")
            if key not in _WITHOUT_HTTP:
                key = "HTTP_" + key
            text = value.decode("latin-1")
            separator = "; " if key == "HTTP_COOKIE" else ", "
            environ[key] = environ[key] + separator + text if key in environ else text
        return environ


_ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]


@runtime_checkable
class _Closable(Protocol):
    def close(self) -> object: ...


class _Call:
    """One call of the app. `run` and what it calls are in a thread; `stream` is for the loop alone."""

    def __init__(self, stream: ServerStream, loop: asyncio.AbstractEventLoop) -> None:
        self._stream = stream
        self._loop = loop
        self._head: tuple[int, Fields] | None = None
        self._head_sent = False

    def read(self) -> bytes:
        """Waits for a piece of the request's body; `b""` is its end."""
        return self._wait_for(self._stream.read())

    def run(self, app: WSGIApplication, environ: dict[str, Any]) -> None:
        """Calls the app, and sends what it returns."""
        content: Iterable[bytes] = app(environ, self._start_response)
        try:
            single = isinstance(content, (list, tuple)) and len(content) == 1 and environ["REQUEST_METHOD"] != "HEAD"
            for part in content:
                if single:
                    self._add_length(len(part))
                if part:
                    self._write(part)
            self._wait_for(self._finish())
        finally:
            if isinstance(content, _Closable):
                content.close()

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: _ExcInfo | None = None, /
    ) -> Callable[[bytes], object]:
        if exc_info is not None:
            try:
                if self._head_sent and exc_info[1] is not None:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # refers to this frame
        elif self._head is not None:
            raise RuntimeError("start_response was called before; again only with exc_info (PEP 3333)")
        code = status[:3]
        if not code.isdecimal() or status[3:4] not in ("", " "):
            raise ValueError(f"a status is three digits and a reason, not {status!r}")
        fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        self._head = int(code), fields
        return self._write

    def _add_length(self, length: int) -> None:
        """The content is all there: says how long it is, unless the app did."""
        if self._head is None or self._head_sent:
            return
        status, fields = self._head
        if (
            status >= 200
            and status not in (204, 304)
            and not any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in fields)
        ):
            fields.append((b"content-length", b"%d" % length))

    def _write(self, data: bytes) -> None:
        if not isinstance(data, bytes):
            raise TypeError(f"the content of a WSGI app is bytes, not {type(data).__name__}")
        self._wait_for(self._send(data))

    async def _send(self, data: bytes) -> None:
        self._send_head()
        await self._stream.send_data(data)

    async def _finish(self) -> None:
        self._send_head()
        self._stream.send_end([])

    def _send_head(self) -> None:
        if self._head is None:
            raise RuntimeError("the app sent content without a call of start_response")
        if not self._head_sent:
            self._stream.send_head(*self._head)
            self._head_sent = True

    def _wait_for(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Runs `coroutine` on the loop, and waits for it in this thread."""
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError as exc:
            coroutine.close()
            raise ClientGone("the event loop of the client has ended") from exc
        while not wait([future], _CHECK).done:
            if self._loop.is_closed():
                coroutine.close()  # it was never begun
                raise ClientGone("the event loop of the client has ended")
        try:
            return future.result()
        except CancelledError as exc:
            raise ClientGone("the event loop of the client ends") from exc


class _Input(io.RawIOBase):
    """`wsgi.input`, unbuffered: reads block until the client has sent something."""

    def __init__(self, call: _Call) -> None:
        self._call = call
        self._rest = memoryview(b"")
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        if not self._rest and not self._ended:
            self._rest = memoryview(self._call.read())
            self._ended = not self._rest
        view = memoryview(buffer).cast("B")
        size = min(len(view), len(self._rest))
        view[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

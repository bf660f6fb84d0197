"""`ServerStream`: one request, and the response to it, as an app in memory sees them; whatever the version of HTTP.

It owns what came of the request's body and was not taken yet, and the order in which a response is sent. How that goes
over the wire is the matter of the connections in `server_http11` and `server_http2`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from .changes import Changes

__all__ = ["HIGH_WATER", "ClientGone", "Fields", "RequestHead", "ServerStream"]

HIGH_WATER = 64 * 1024
"""Bytes of a request's body that wait for the app before the client has to pause."""

Fields: TypeAlias = list[tuple[bytes, bytes]]


class ClientGone(ConnectionResetError):
    """The client has left: nobody reads the response, and no more of the request will come."""

    @classmethod
    def caused(cls, error: BaseException) -> bool:
        """Whether `error` is one of these, or what became of one on its way out of an app."""
        return any(isinstance(each, cls) for each in _with_causes(error, set()))


def _with_causes(error: BaseException, seen: set[int]) -> Iterator[BaseException]:
    if id(error) in seen:
        return
    seen.add(id(error))
    yield error
    nested = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    for each in (error.__cause__, error.__context__, *nested):
        if each is not None:
            yield from _with_causes(each, seen)


class RequestHead(NamedTuple):
    """The head of a request.

    Attributes:
        method: as it came.
        target: as it came (RFC 9112 3.2); with HTTP/2, `:path`.
        http_version: "1.0", "1.1" or "2".
        headers: lower-case names and values, in order, with a `host`.
    """

    method: bytes
    target: bytes
    http_version: str
    headers: Fields

    def expects_continue(self) -> bool:
        """Whether the client holds the body back until it hears 100 (Continue) (RFC 9110 10.1.1)."""
        return any(name == b"expect" and value.lower() == b"100-continue" for name, value in self.headers)


class ServerStream(ABC):
    """One request and its response.

    Args:
        head: the request's.
        number: which request of its connection it is, from 1; with HTTP/2, the stream's number.

    Attributes:
        trailers: the request's, once its body has ended.
        started: whether the response's head was sent.
        ended: whether all of the response was sent.
        lost: whether the client has left.
    """

    def __init__(self, head: RequestHead, number: int) -> None:
        self.head = head
        self.number = number
        self.trailers: Fields = []
        self.started = False
        self.ended = False
        self.lost = False
        self.request_ended = False
        self._body: deque[bytes] = deque()
        self._credit = 0  # what the connection is to be told of `_body` once it is taken
        self._continue_wanted = head.expects_continue()
        self._without_content = head.method == b"HEAD"
        self._changes = Changes()

    # What the app's side calls.

    @property
    def at_end(self) -> bool:
        """Whether the request has ended, and nothing of its body is left to be read."""
        return self.request_ended and not self._body

    async def read(self) -> bytes:
        """Waits for a piece of the request's body, which asks for it where the client awaits that; `b""`: its end.

        Raises:
            ClientGone: the rest will not come.
        """
        if self._continue_wanted and not (self._body or self.request_ended or self.started or self.lost):
            self._write_interim(100, [])
        self._continue_wanted = False
        await self._changes.wait_until(lambda: bool(self._body) or self.request_ended or self.lost or self.ended)
        data = b"".join(self._body)
        self._body.clear()
        credit, self._credit = self._credit, 0
        if data:
            self._body_taken(credit)
        elif not self.request_ended:
            raise ClientGone("the client left in the middle of its request")
        return data

    async def over(self) -> None:
        """Waits until the response is sent, or the client gone."""
        await self._changes.wait_until(lambda: self.ended or self.lost)

    def send_interim(self, status: int, headers: Fields) -> None:
        """Sends a response of 1xx."""
        self._check(not self.started, "an interim response comes before the response")
        self._write_interim(status, headers)

    def send_head(self, status: int, headers: Fields) -> None:
        """Starts the response.

        Raises:
            ClientGone: nobody wants it.
            RuntimeError: it was started before.
            h11.LocalProtocolError, h2.exceptions.ProtocolError: it is malformed.
        """
        self._check(not self.started, "the response was started already")
        self._write_head(status, headers)
        self.started = True
        self._without_content = self._without_content or status in (204, 304)

    async def send_data(self, data: bytes) -> None:
        """Sends a piece of the response's content, and waits while the client is slow to read. Not sent for HEAD.

        Raises:
            ClientGone: nobody wants it.
            RuntimeError: the response was not started, or has ended.
            h11.LocalProtocolError: more than its `content-length`.
        """
        self._check(self.started and not self.ended, "content comes after the response's start and before its end")
        if data and not self._without_content:
            await self._write_data(data)

    def send_end(self, trailers: Fields) -> None:
        """Ends the response.

        Raises:
            ClientGone: nobody wants it.
            RuntimeError: the response was not started, or has ended.
            h11.LocalProtocolError: less was sent than its `content-length`.
        """
        self._check(self.started and not self.ended, "the end comes once, after the response's start")
        self.ended = True
        self._body.clear()
        try:
            self._write_end(trailers)
        except BaseException:
            self.ended = False
            raise
        self._changes.notify()

    @abstractmethod
    def abort(self) -> None:
        """Cuts the response off, where it has not ended: the client sees that it is not whole."""

    def _check(self, allowed: bool, rule: str) -> None:
        if self.lost:
            raise ClientGone("the client has left")
        if not allowed:
            raise RuntimeError(rule)

    # What the connection calls.

    @property
    def buffered(self) -> int:
        """How many bytes of the body wait, padding included."""
        return self._credit

    def feed(self, data: bytes, credit: int) -> None:
        """More of the body came; the connection hears of `credit` bytes once it is taken. Dropped after the end."""
        if self.ended:
            self._body_taken(credit)
            return
        if data:
            self._body.append(data)
        self._credit += credit
        self._changes.notify()

    def feed_end(self) -> None:
        """The request has ended."""
        self.request_ended = True
        self._changes.notify()

    def lose(self) -> None:
        """The client is gone."""
        self.lost = True
        self._changes.notify()

    def wake(self) -> None:
        """Lets who waits for room look again."""
        self._changes.notify()

    # What the versions of HTTP do.

    @abstractmethod
    def _body_taken(self, credit: int) -> None:
        """So many bytes of the body are in the app's hands."""

    @abstractmethod
    def _write_interim(self, status: int, headers: Fields) -> None: ...

    @abstractmethod
    def _write_head(self, status: int, headers: Fields) -> None: ...

    @abstractmethod
    async def _write_data(self, data: bytes) -> None:
        """Writes content, and returns when there is room for more. Raises `ClientGone` if there will be none."""

    @abstractmethod
    def _write_end(self, trailers: Fields) -> None: ...

"""What the gateways on other clients share: fields that are relayed and added, as examples/gateway.py has them, and
the client's side, so that one that goes away takes the request to the upstream along, as there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

Fields = list[tuple[bytes, bytes]]

_HOP_BY_HOP = frozenset(
    b"connection keep-alive te transfer-encoding upgrade".split()
    + b"proxy-authenticate proxy-authorization proxy-connection".split()
)
_OURS = _HOP_BY_HOP | {b"host", b"expect", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"}


def request_fields(scope: Message) -> Fields:
    """Returns the fields for the upstream."""
    headers: Fields = scope["headers"]
    fields = [pair for pair in headers if pair[0] not in _OURS]
    fields.append((b"x-forwarded-for", scope["client"][0].encode()))
    fields.append((b"via", scope["http_version"].encode() + b" gateway"))
    fields.append((b"x-forwarded-proto", scope["scheme"].encode()))
    fields += [(b"x-forwarded-host", value) for name, value in headers if name == b"host"]
    return fields


def response_fields(raw: Iterable[tuple[bytes, bytes]]) -> Fields:
    """Returns the fields for the client."""
    fields = [(name.lower(), value) for name, value in raw]
    return [pair for pair in fields if pair[0] not in _HOP_BY_HOP] + [(b"via", b"1.1 gateway")]


class ClientGone(Exception):
    """The client went away while it sent its body."""


class Downstream:
    """The client's side of one request.

    Attributes:
        gone: the client went away; the task that relays was cancelled then.
        begun: it was sent the head of a response.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self.gone = self.begun = False
        self._receive = receive
        self._send = send
        self._task = asyncio.current_task()
        self._watcher: asyncio.Task[None] | None = None

    async def body(self) -> bytes | AsyncIterator[bytes]:
        """Returns the body, as bytes where it came whole."""
        message = await self._receive()
        if message.get("more_body", False):
            return self._rest(message)
        self._watcher = asyncio.create_task(self._watch())
        return message.get("body", b"")  # type: ignore[no-any-return]

    async def _rest(self, message: Message) -> AsyncIterator[bytes]:
        yield message.get("body", b"")
        while message.get("more_body", False):
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            yield message.get("body", b"")
        self._watcher = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        if self._task is not None:
            self._task.cancel()

    async def start(self, status: int, fields: Fields) -> None:
        """Sends the head of the response."""
        self.begun = True
        await self._send({"type": "http.response.start", "status": status, "headers": fields})

    async def write(self, data: bytes) -> None:
        """Sends content."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self) -> None:
        """Sends the end of it."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def refuse(self) -> None:
        """Sends an error, instead of a response."""
        await self.start(502, [(b"content-type", b"text/plain")])
        await self.end()

    async def close(self) -> None:
        """Nothing more is done with it."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])

"""An ASGI app that answers what tests ask of a server. It keeps nothing between requests.

It runs under uvicorn, with or without nginx in front (which leaves the `/app` it is found under), under hypercorn, and
under tests/asgi_server.py and tests/asgi_server_h2.py in a test's own process.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from tests.content import blocks

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

TEXT = b"The quick brown fox jumps over the lazy dog.\n" * 1000


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Answers by the first segment of the path; the second one is its argument."""
    assert scope["type"] == "http"
    name, _, argument = scope["path"].removeprefix("/app").lstrip("/").partition("/")
    await _ROUTES[name](scope, receive, send, argument)


async def _hello(scope: Message, receive: Receive, send: Send, argument: str) -> None:
    await _start(send, 200, (b"content-type", b"text/plain"), (b"content-length", b"12"))
    await _body(send, b"Hello, world", more=False)


async def _upload(scope: Message, receive: Receive, send: Send, argument: str) -> None:
    """Counts and hashes what it gets, and says how the request looked."""
    digest = hashlib.sha256()
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        digest.update(message["body"])
        size += len(message["body"])
        if not message["more_body"]:
            break
    report = {
        "method": scope["method"],
        "target": (scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")).decode(),
        "headers": [[name.decode(), value.decode()] for name, value in scope["headers"]],
        "size": size,
        "sha256": digest.hexdigest(),
        "trailers": [[name.decode(), value.decode()] for name, value in message.get("trailers", ())],
    }
    body = json.dumps(report).encode()
    await _start(send, 200, (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)))
    await _body(send, body, more=False)


async def _echo(scope: Message, receive: Receive, send: Send, argument: str) -> None:
    """Sends back each piece as it comes: full duplex."""
    await _start(send, 200, (b"content-type", b"application/octet-stream"))
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        more = message["more_body"]
        await _body(send, message["body"], more=more)


async def _bytes(scope: Message, receive: Receive, send: Send, argument: str) -> None:
    """So many bytes of `blocks`, with their length."""
    await _start(send, 200, (b"content-length", argument.encode()))
    for block in blocks(int(argument)):
        await _body(send, block, more=True)
    await _body(send, b"", more=False)


async def _chunked(scope: Message, receive: Receive, send: Send, argument: str) -> None:
    """So many bytes of `blocks`, with no length."""
    await _start(send, 200)
    for block in blocks(int(argument)):
        await _body(send, block, more=True)
    await _body(send, b"", more=False)


async def _status(scope: Message, receive: Receive, send: Send, argument: str) -> None:
    """That status; with a body where there may be one."""
    status = int(argument)
    body = b"" if status in (204, 304) else b"status " + argument.encode()
    length = [] if status in (204, 304) else [(b"content-length", b"%d" % len(body))]
    await _start(send, status, *length)
    await _body(send, body, more=False)


async def _gzip(scope: Message, receive: Receive, send: Send, argument: str) -> None:
    """A text, coded with gzip for those who take it, or for all if the path ends in `always`."""
    accepted = b"gzip" in dict(scope["headers"]).get(b"accept-encoding", b"") or argument == "always"
    body = gzip.compress(TEXT, mtime=0) if accepted else TEXT
    coding = [(b"content-encoding", b"gzip")] if accepted else []
    await _start(send, 200, *coding, (b"content-length", b"%d" % len(body)), (b"vary", b"accept-encoding, origin"))
    await _body(send, body, more=False)


async def _refuse(scope: Message, receive: Receive, send: Send, argument: str) -> None:
    """413, with not a byte of the body read."""
    await _start(send, 413, (b"content-length", b"9"))
    await _body(send, b"too large", more=False)


async def _refuse_late(scope: Message, receive: Receive, send: Send, argument: str) -> None:
    """413, after the first piece of the body."""
    await receive()
    await _refuse(scope, receive, send, argument)


async def _hang(scope: Message, receive: Receive, send: Send, argument: str) -> None:
    """Takes the request, and never answers."""
    await _until_disconnected(receive)


async def _stall(scope: Message, receive: Receive, send: Send, argument: str) -> None:
    """Begins a response, and never ends it."""
    await _start(send, 200, (b"content-length", b"1000"))
    await _body(send, b"begun", more=True)
    await _until_disconnected(receive)


async def _break(scope: Message, receive: Receive, send: Send, argument: str) -> None:
    """Begins a response, and leaves without its end: the server cuts the connection."""
    await _start(send, 200, (b"content-length", b"1000"))
    await _body(send, b"begun", more=True)


async def _close(scope: Message, receive: Receive, send: Send, argument: str) -> None:
    """Ends the connection after the response."""
    await _start(send, 200, (b"content-length", b"3"), (b"connection", b"close"))
    await _body(send, b"bye", more=False)


async def _hints(scope: Message, receive: Receive, send: Send, argument: str) -> None:
    """103 before the response: for servers that can."""
    links = [b"</style.css>; rel=preload; as=style", b"</script.js>; rel=preload; as=script"]
    await send({"type": "http.response.early_hint", "links": links})
    await _hello(scope, receive, send, argument)


async def _trailers(scope: Message, receive: Receive, send: Send, argument: str) -> None:
    """Content with a trailer field, its hash: for servers that can."""
    headers = [(b"trailer", b"content-sha256")]
    await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": True})
    await _body(send, TEXT, more=False)
    digest = hashlib.sha256(TEXT).hexdigest().encode()
    await send({"type": "http.response.trailers", "headers": [(b"content-sha256", digest)], "more_trailers": False})


async def _hop_by_hop(scope: Message, receive: Receive, send: Send, argument: str) -> None:
    """A response with fields that are for the next hop only."""
    await _start(
        send,
        200,
        (b"content-length", b"12"),
        (b"connection", b"keep-alive, x-internal"),
        (b"keep-alive", b"timeout=100"),
        (b"x-internal", b"secret"),
        (b"x-kept", b"yes"),
    )
    await _body(send, b"Hello, world", more=False)


async def _until_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _start(send: Send, status: int, *headers: tuple[bytes, bytes]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})


async def _body(send: Send, data: bytes, *, more: bool) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": more})


_ROUTES: dict[str, Callable[[Message, Receive, Send, str], Awaitable[None]]] = {
    "hello": _hello,
    "upload": _upload,
    "echo": _echo,
    "bytes": _bytes,
    "chunked": _chunked,
    "status": _status,
    "gzip": _gzip,
    "refuse": _refuse,
    "refuse-late": _refuse_late,
    "hang": _hang,
    "stall": _stall,
    "break": _break,
    "close": _close,
    "hints": _hints,
    "trailers": _trailers,
    "hop-by-hop": _hop_by_hop,
}

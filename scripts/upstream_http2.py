"""The server that the demo's HTTP/2 parts talk to: hypercorn, over TLS (ALPN: h2, http/1.1) and without.

Paths: / says hello; /download?size=N sends N bytes; /upload counts what it gets; /echo sends it back as it comes;
/hints sends 103 first; /trailers ends with a checksum, for who says that trailers are welcome.

    python scripts/upstream_http2.py FOLDER

FOLDER is where it puts its certificate, and ca.pem, the authority to trust.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import hypercorn.asyncio
import hypercorn.config
import trustme

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PIECE = bytes(range(256)) * 256  # 64 KiB


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Answers by path."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    await PATHS.get(scope["path"], on_unknown)(scope, receive, send)


async def on_hello(scope: Message, receive: Receive, send: Send) -> None:
    await start(send, 200, (b"content-type", b"text/plain"))
    await content(send, b"Hello, world")


async def on_unknown(scope: Message, receive: Receive, send: Send) -> None:
    await start(send, 404)
    await content(send, b"Not found")


async def on_download(scope: Message, receive: Receive, send: Send) -> None:
    left = int(scope["query_string"].partition(b"=")[2])
    await start(send, 200, (b"content-length", b"%d" % left))
    while left:
        piece = PIECE[:left]
        await content(send, piece, more=True)
        left -= len(piece)
    await content(send, b"")


async def on_upload(scope: Message, receive: Receive, send: Send) -> None:
    digest, size, more = hashlib.sha256(), 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        digest.update(message["body"])
        size += len(message["body"])
        more = message["more_body"]
    await start(send, 200, (b"content-type", b"text/plain"))
    await content(send, f"{size} bytes {digest.hexdigest()}".encode())


async def on_echo(scope: Message, receive: Receive, send: Send) -> None:
    await start(send, 200)
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        more = message["more_body"]
        await content(send, message["body"], more=more)


async def on_hints(scope: Message, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload"]})
    await on_hello(scope, receive, send)


async def on_trailers(scope: Message, receive: Receive, send: Send) -> None:
    headers = [(b"trailer", b"checksum")]
    await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": True})
    await content(send, b"Hello, world")
    checksum = hashlib.sha256(b"Hello, world").hexdigest().encode()
    await send({"type": "http.response.trailers", "headers": [(b"checksum", checksum)], "more_trailers": False})


async def start(send: Send, status: int, *headers: tuple[bytes, bytes]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})


async def content(send: Send, data: bytes, *, more: bool = False) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": more})


PATHS = {
    "/": on_hello,
    "/download": on_download,
    "/upload": on_upload,
    "/echo": on_echo,
    "/hints": on_hints,
    "/trailers": on_trailers,
}


async def main(folder: Path) -> None:
    """Serves until standard input ends, and says on standard output where."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    listeners = [socket.create_server(("127.0.0.1", 0), backlog=1024) for _ in range(2)]
    config = hypercorn.config.Config()
    config.certfile = config.keyfile = str(folder / "server.pem")
    config.bind, config.insecure_bind = ([f"fd://{listener.fileno()}"] for listener in listeners)
    config.loglevel = "WARNING"
    config.graceful_timeout = 0
    ports = dict(zip(("tls", "plain"), (listener.getsockname()[1] for listener in listeners), strict=True))
    print(json.dumps(ports), flush=True)
    # Each listener belongs to hypercorn now, under its number.
    for listener in listeners:
        listener.detach()
    await hypercorn.asyncio.serve(app, config, shutdown_trigger=lambda: asyncio.to_thread(sys.stdin.read))  # type: ignore[arg-type]  # its messages are typed dicts


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))

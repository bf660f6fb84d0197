"""Use the HTTP/1.1 protocol without a pool, on a connection of your own, as with any `asyncio.Protocol`.

`HTTP2Protocol` is used in the same way, and carries many exchanges at once. Whatever makes a transport will do:
`create_connection`, `create_unix_connection`, a tunnel, another event loop.

    python examples/own_protocol.py 127.0.0.1 8000 /first /second
"""

from __future__ import annotations

import asyncio
import sys

import httpcore


class PrintResponse(httpcore.ResponseHandler):
    """Prints a response as it comes."""

    def __init__(self) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def response_received(self, head: httpcore.ResponseHead) -> None:
        print(head.http_version.decode(), head.status_code, head.reason.decode())

    def data_received(self, data: bytes) -> None:
        print(data.decode(errors="replace"))

    def response_complete(self, trailers: httpcore.Headers) -> None:
        self.done.set_result(None)

    def exchange_failed(self, exc: BaseException) -> None:
        self.done.set_exception(exc)


async def main(host: str, port: int, *paths: str) -> None:
    loop = asyncio.get_running_loop()
    _, protocol = await loop.create_connection(httpcore.HTTP11Protocol, host, port)
    for path in paths:
        if not protocol.available:
            raise SystemExit(f"the connection is over: {protocol.close_reason}")
        handler = PrintResponse()
        protocol.dispatch(httpcore.Request("GET", f"http://{host}:{port}{path}"), handler)
        await handler.done
    protocol.close("that was all")
    await protocol.wait_closed()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:]))

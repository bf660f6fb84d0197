"""Download with callbacks: no queue and no task between the connection and the file. Ctrl-Z pauses, and goes on.

While it is paused, nothing is read from the connection; its buffers fill up, and the server has to wait.

    python examples/callbacks.py https://example.org/disk.img disk.img
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import BinaryIO

import httpcore


class Download(httpcore.ResponseHandler):
    """Writes the content of one response to a file."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.size = 0
        self.paused = False
        self.done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.exchange: httpcore.Exchange

    def toggle(self) -> None:
        """Pauses the download, or goes on with it."""
        self.paused = not self.paused
        if self.paused:
            self.exchange.pause_reading()
        else:
            self.exchange.resume_reading()
        print(f"{'paused' if self.paused else 'resumed'} at {self.size} bytes", flush=True)

    def exchange_started(self, exchange: httpcore.Exchange) -> None:
        self.exchange = exchange
        asyncio.get_running_loop().add_signal_handler(signal.SIGTSTP, self.toggle)

    def response_received(self, head: httpcore.ResponseHead) -> None:
        print(head.status_code, head.headers.get("content-length", "?"), "bytes", flush=True)

    def data_received(self, data: bytes) -> None:
        self.file.write(data)
        self.size += len(data)

    def response_complete(self, trailers: httpcore.Headers) -> None:
        self.done.set_result(self.size)

    def exchange_failed(self, exc: BaseException) -> None:
        self.done.set_exception(exc)


async def main(url: str, path: str) -> None:
    with open(path, "wb") as file:
        async with httpcore.ConnectionPool() as http:
            download = Download(file)
            http.dispatch(httpcore.Request("GET", url), download)
            print("saved", await download.done, "bytes")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))

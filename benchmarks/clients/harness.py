"""Runs one client on one case, in the client's own environment, and prints what it cost as JSON.

    python harness.py with_aiohttp http://localhost:8000/small 50 20000 small --expect 13 --seconds 2

A client is a module beside this one with an async context manager `open_client(connections)` and, on what that gives,
the coroutine functions `small(client, url)`, `download(client, url)` and `upload(client, url, chunks)`, which return
how many bytes of content the response had. It does the work as its library's documentation would. A client that takes
part in HTTP/2 has `open_http2_client(connections, authority)` too: it offers nothing but what it offers by itself once
HTTP/2 is switched on, and trusts the certificate in the file `authority`.

Nothing but the standard library and that module is imported, and no path but this folder's is on `sys.path`: in the
tree above lies another `httpcore` than the one that some peers need.

`concurrency` tasks send one request after another. The measurement begins when the warm-up has been through, while
they go on, and ends after `count` requests or `seconds`: so the number of requests that wait is the same throughout.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import json
import resource
import time
from collections.abc import AsyncIterator
from functools import partial

CHUNK = bytes(64 * 1024)
WARM_UP_SECONDS = 10.0  # at most: by then the slowest client has its connections and its queue


class Meter:
    """Counts requests, and looks at the clocks when the warm-up and the measurement end.

    Attributes:
        done: set when the measurement has ended.
    """

    def __init__(self, warm_up: int, count: int, seconds: float) -> None:
        self.done = asyncio.Event()
        self._seconds = seconds
        self._warm_up = self._left = warm_up
        self._count = count
        self._measuring = False
        self._until = time.perf_counter() + WARM_UP_SECONDS
        self._wall = self._cpu = 0.0
        self._faults = 0
        self.requests = self.page_faults = 0
        self.wall = self.cpu = 0.0

    def tick(self) -> None:
        """One request is through."""
        self._left -= 1
        now = time.perf_counter()
        if self._left > 0 and now < self._until:
            return
        if not self._measuring:
            gc.collect()  # what the warm-up left is nobody's fault
            self._measuring = True
            self._left = self._count
            self._faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            self._wall, self._cpu = time.perf_counter(), time.process_time()
            self._until = self._wall + self._seconds
        elif not self.done.is_set():
            self.requests = self._count - self._left
            self.cpu = time.process_time() - self._cpu  # user and system, of all threads
            self.wall = now - self._wall
            self.page_faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - self._faults
            self.done.set()


async def chunks(size: int) -> AsyncIterator[bytes]:
    """The body of an upload."""
    for _ in range(size // len(CHUNK)):
        yield CHUNK


async def run(options: argparse.Namespace) -> dict[str, float]:
    """Runs the case; returns requests, seconds of CPU and of the clock, and page faults."""
    module = importlib.import_module(options.client)
    function = getattr(module, options.what)
    if options.authority is None:
        opening = module.open_client(options.connections)
    else:
        opening = module.open_http2_client(options.connections, options.authority)
    async with opening as client:
        work = partial(function, client, options.url)
        meter = Meter(options.warm_up, options.count, options.seconds)

        async def keep_asking() -> None:
            while True:
                received = await (work(chunks(options.upload)) if options.what == "upload" else work())
                if received != options.expect:
                    raise SystemExit(f"{options.client}: the response had {received} bytes of content")
                meter.tick()

        async def wait_for_the_end() -> None:
            await meter.done.wait()

        tasks = [asyncio.create_task(keep_asking()) for _ in range(options.concurrency)]
        ended = asyncio.create_task(wait_for_the_end())
        finished, _ = await asyncio.wait([ended, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in finished:
            task.result()  # raises what a request raised
    return {
        "requests": meter.requests,
        "cpu_seconds": meter.cpu,
        "wall_seconds": meter.wall,
        "page_faults": meter.page_faults,
    }


def main() -> None:
    """Reads the arguments, runs, prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("client")
    parser.add_argument("url")
    parser.add_argument("concurrency", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("what", choices=["small", "download", "upload"])
    parser.add_argument("--expect", type=int, required=True, help="bytes of content that each response must have")
    parser.add_argument("--upload", type=int, default=0, help="bytes of content that each request of an upload has")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--warm-up", type=int, default=500, help="requests")
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--authority", help="speak HTTP/2, and trust the certificate in this file")
    print(json.dumps(asyncio.run(run(parser.parse_args()))))


if __name__ == "__main__":
    main()

"""Runs one client on one case, in the client's own environment, and prints what it cost as JSON.

    python harness.py with_aiohttp http://localhost:8000/small 50 20000 small --expect 13 --seconds 2

A client is a module beside this one with an async context manager `open_client(connections, authority, http2)`: it
trusts the certificate in the file `authority`, unless that is `None`, and offers HTTP/2, if that is to be spoken, as it
does by itself once HTTP/2 is switched on. On what that gives there are coroutine functions, which return how many bytes
of content the response had:

- `small(client, url)`
- `once(client, url)`: `small` with `connection: close`, so that each has a connection of its own
- `post(client, url, body)`: with `content-type: application/json`
- `download(client, url)`: as a stream, which is dropped
- `upload(client, url, chunks)`: from an async generator
- `upload_file(client, url, path)`

It does the work as its library's documentation would, and has those functions that it is measured by.

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
import os
import resource
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from typing import Any, NoReturn, TypeVar

Result = TypeVar("Result")

CHUNK = bytes(64 * 1024)
DOCUMENT = b'{"text":"%b"}' % (b"x" * (1024 - 11))
WARM_UP_SECONDS = 3.0  # at most: by then the slowest client has its connections and its queue


class Meter:
    """Counts requests, and looks at the clocks when the warm-up and the measurement end.

    Args:
        options: how many requests, for how long, and whose costs.

    Attributes:
        done: whether the measurement has ended.
        figures: the figures, then.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.done = False
        self.figures: dict[str, float] = {}
        self._seconds: float = options.seconds
        self._left: int = options.warm_up
        self._count: int = options.count
        self._process: int | None = options.process
        self._measuring = False
        self._until = time.perf_counter() + WARM_UP_SECONDS
        self._wall = self._cpu = 0.0
        self._faults = 0

    def tick(self) -> bool:
        """One request is through; returns whether that was the last one."""
        self._left -= 1
        now = time.perf_counter()
        if self.done or (self._left > 0 and now < self._until):
            return False
        if not self._measuring:
            gc.collect()  # what the warm-up left is nobody's fault
            self._measuring = True
            self._left = self._count
            self._faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            self._wall, self._cpu = time.perf_counter(), self._cpu_seconds()
            self._until = self._wall + self._seconds
            return False
        self.done = True
        self.figures = {
            "requests": self._count - self._left,
            "cpu_seconds": self._cpu_seconds() - self._cpu,
            "wall_seconds": now - self._wall,
            "page_faults": resource.getrusage(resource.RUSAGE_SELF).ru_minflt - self._faults,
            "peak_bytes": self._peak(),
        }
        return True

    def _cpu_seconds(self) -> float:
        """User and system time of all threads, also of those that have ended."""
        if self._process is None:
            return time.process_time()
        return time.clock_gettime(
            (~self._process << 3) | 2
        )  # Linux: the clock of another process (clock_getcpuclockid)

    def _peak(self) -> int:
        if self._process is None:
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        with open(f"/proc/{self._process}/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


async def chunks(size: int) -> AsyncIterator[bytes]:
    """The body of an upload."""
    for _ in range(size // len(CHUNK)):
        yield CHUNK


def leave(figures: dict[str, float]) -> NoReturn:
    """Prints the figures and ends: what is still under way goes with the process, as some clients take long to stop."""
    print(json.dumps(figures), flush=True)
    os._exit(0)


async def run(options: argparse.Namespace) -> None:
    """Runs the case, prints the figures, and ends the process."""
    module = importlib.import_module(options.client)
    function = getattr(module, options.what)
    async with module.open_client(options.connections, options.authority, options.http2) as client:
        work = partial(function, client, options.url)
        more: dict[str, Callable[[], Any]] = {
            "post": lambda: work(DOCUMENT),
            "upload": lambda: work(chunks(options.upload)),
            "upload_file": lambda: work(options.file),
        }
        ask = more.get(options.what, work)
        meter = Meter(options)
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def keep_asking() -> None:
            while True:
                received = await ask()
                if received != options.expect:
                    raise SystemExit(f"{options.client}: the response had {received} bytes of content")
                if meter.tick():
                    ended.set_result(None)

        tasks = [asyncio.create_task(keep_asking()) for _ in range(options.concurrency)]
        waited: list[asyncio.Future[None]] = [ended, *tasks]
        finished, _ = await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        for future in finished:
            future.result()  # raises what a request raised
        leave(meter.figures)


def run_threads(options: argparse.Namespace) -> None:
    """Runs the case in threads, which share what `open_blocking_client(connections)` gives.

    `blocking_small(client, url)` is what `small` is for coroutines.
    """
    module = importlib.import_module(options.client)
    meter = Meter(options)
    lock = threading.Lock()
    errors: list[str] = []

    def keep_asking() -> None:
        try:
            while not meter.done and not errors:
                received = module.blocking_small(client, options.url)
                if received != options.expect:
                    raise ValueError(f"the response had {received} bytes of content")
                with lock:
                    meter.tick()
        except Exception as exc:
            errors.append(f"{options.client}: {exc!r}")

    with module.open_blocking_client(options.connections) as client:
        threads = [threading.Thread(target=keep_asking) for _ in range(options.concurrency)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if errors:
        raise SystemExit(errors[0])
    leave(meter.figures)


def run_on(loop: str, main: Coroutine[Any, Any, Result]) -> Result:
    """Runs a coroutine on asyncio's own loop, or on uvloop's."""
    factory = importlib.import_module("uvloop").new_event_loop if loop == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def main() -> None:
    """Reads the arguments, runs, prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("client")
    parser.add_argument("url")
    parser.add_argument("concurrency", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("what")
    parser.add_argument("--expect", type=int, required=True, help="bytes of content that each response must have")
    parser.add_argument("--upload", type=int, default=0, help="bytes of content that each request of an upload has")
    parser.add_argument("--file", help="what is uploaded by upload_file")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--warm-up", type=int, default=300, help="requests")
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--authority", help="trust the certificate in this file")
    parser.add_argument("--http2", action="store_true", help="offer HTTP/2")
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    parser.add_argument("--process", type=int, help="whose CPU time and memory are measured, if not this process's")
    options = parser.parse_args()
    if options.what == "blocking_small":
        run_threads(options)
    else:
        run_on(options.loop, run(options))


if __name__ == "__main__":
    main()

"""How far a process grows while content much larger than its memory passes through. Run by scripts/benchmark --memory.

Each case has a process of its own, which makes one small request, notes its resident memory, lets the kernel forget
the peak of it so far, and does the work. Growth is the new peak less what was noted. The controls do the same with what
holds the other side back taken away: where these do not grow, the figures above them mean nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpcore
from benchmarks.memory_server import GIB, PACE
from benchmarks.report import RESULTS

MIB: Final = 1024 * 1024
LIMIT: Final = 8 * MIB
"""Bytes by which a process may grow."""

_UNBOUNDED: Final = 64 * GIB


class Failed(Exception):
    """A case did not do what it was to do."""


def _memory(field: str) -> int:
    """Returns a field of /proc/self/status in bytes: VmRSS, resident memory, or VmHWM, its peak."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


async def _growth(pool: httpcore.ConnectionPool, origin: str, work: Callable[[], Awaitable[None]]) -> int:
    await pool.request("GET", f"{origin}/small")  # what only the first request needs is loaded then
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak (proc(5))
    await work()
    return _memory("VmHWM") - before


async def _read_slowly(pool: httpcore.ConnectionPool, url: str, size: int) -> None:
    received = since = 0
    async with await pool.request("GET", url, stream=True) as response:
        async for part in response.stream():
            received += len(part)
            since += len(part)
            if since >= PACE:
                since = 0
                await asyncio.sleep(0.001)
    if received != size:
        raise Failed(f"{received} bytes came instead of {size}")


async def _read(pool: httpcore.ConnectionPool, url: str, size: int) -> None:
    received = 0
    async with await pool.request(
        "GET", url, headers=[("accept-encoding", "gzip")], stream=True, decode=True
    ) as response:
        async for part in response.stream():
            received += len(part)
    if received != size:
        raise Failed(f"{received} bytes came instead of {size}")


async def _refuse(pool: httpcore.ConnectionPool, url: str) -> None:
    try:
        await pool.request("GET", url, max_body_size=MIB)
    except httpcore.ResponseTooLarge:
        return
    raise Failed("there was no ResponseTooLarge")


async def _chunks(size: int) -> AsyncIterator[bytes]:
    block = memoryview(bytes(64 * 1024))
    for _ in range(size // len(block)):
        yield bytes(block)  # memory of its own, which would be seen if it were kept


async def _send(pool: httpcore.ConnectionPool, url: str, size: int) -> None:
    response = await pool.request("POST", url, headers={"content-length": str(size)}, body=_chunks(size))
    if response.status_code != 200:
        raise Failed(f"the server answered {response.status_code}")


async def download(origin: str) -> int:
    async with httpcore.ConnectionPool() as pool:
        return await _growth(pool, origin, lambda: _read_slowly(pool, f"{origin}/zeros/{GIB}", GIB))


async def upload(origin: str) -> int:
    async with httpcore.ConnectionPool() as pool:
        return await _growth(pool, origin, lambda: _send(pool, f"{origin}/slow-sink", GIB))


async def bomb(origin: str) -> int:
    async with httpcore.ConnectionPool() as pool:
        return await _growth(pool, origin, lambda: _read(pool, f"{origin}/bomb/10", 10 * GIB))


async def bomb_refused(origin: str) -> int:
    async with httpcore.ConnectionPool() as pool:
        return await _growth(pool, origin, lambda: _refuse(pool, f"{origin}/bomb/10"))


async def download_control(origin: str) -> int:
    async with httpcore.ConnectionPool(high_water=_UNBOUNDED) as pool:
        return await _growth(pool, origin, lambda: _read_slowly(pool, f"{origin}/zeros/{GIB // 8}", GIB // 8))


class _Heedless(httpcore.ResponseHandler):
    """Pushes a whole upload, whatever `pause_writing` says."""

    def __init__(self, size: int) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._size = size

    def exchange_started(self, exchange: httpcore.Exchange) -> None:
        block = memoryview(bytes(64 * 1024))
        for _ in range(self._size // len(block)):
            exchange.write(bytes(block))
        exchange.write_eof()

    def response_complete(self, trailers: httpcore.Headers) -> None:
        self.ended.set_result(None)

    def exchange_failed(self, exc: BaseException) -> None:
        self.ended.set_exception(exc)


async def upload_control(origin: str) -> int:
    async with httpcore.ConnectionPool() as pool:

        async def push() -> None:
            size = GIB // 8
            fields = {"content-length": str(size)}
            handler = _Heedless(size)
            pool.dispatch(httpcore.Request("POST", f"{origin}/slow-sink", fields, httpcore.PUSHED), handler)
            await handler.ended

        return await _growth(pool, origin, push)


@dataclass(frozen=True)
class Case:
    """A row of the table. A control has to be over the limit, every other case under it."""

    name: str
    run: Callable[[str], Coroutine[None, None, int]]
    control: bool = False

    @property
    def key(self) -> str:
        return self.run.__name__.replace("_", "-")


CASES: Final = (
    Case("download of 1 GiB, slow reader", download),
    Case("upload of 1 GiB, slow server", upload),
    Case("gzip of 10 MiB that decodes to 10 GiB, streamed", bomb),
    Case("the same buffered: ResponseTooLarge at max_body_size of 1 MiB", bomb_refused),
    Case("control: download of 128 MiB, no high-water mark", download_control, control=True),
    Case("control: upload of 128 MiB, pauses ignored", upload_control, control=True),
)


@contextmanager
def _running_server() -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.memory_server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.terminate()


def _measure(case: Case, origin: str) -> tuple[int, float]:
    """Returns bytes of growth and seconds, from a fresh process."""
    command = [sys.executable, "-m", "benchmarks.memory", "--run", case.key, origin]
    result = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True, timeout=300)
    if result.returncode != 0:
        raise SystemExit(f"benchmarks: {case.name} failed")
    growth, seconds = json.loads(result.stdout)
    return growth, seconds


def _run_all(cases: list[Case]) -> int:
    lines = ["| work | growth of peak memory | has to be | seconds |", "|---|---:|---:|---:|"]
    wrong = 0
    with _running_server() as origin:
        for case in cases:
            growth, seconds = _measure(case, origin)
            good = growth > LIMIT if case.control else growth < LIMIT
            wrong += not good
            wanted = f"{'>' if case.control else '<'} {LIMIT // MIB} MiB"
            line = f"| {case.name} | {growth / MIB:.1f} MiB | {wanted}{'' if good else ' **no**'} | {seconds:.1f} |"
            lines.append(line)
            print(line, file=sys.stderr)
    facts = f"httpcore (this tree) {httpcore.__version__}, Python {platform.python_version()}, {platform.machine()}."
    table = "\n".join([facts, "", *lines]) + "\n"
    print(table)
    if len(cases) == len(CASES):
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / "memory.md").write_text(table)
    return 1 if wrong else 0


def main() -> int:
    """Reads the arguments; measures one case, or all of them."""
    parser = argparse.ArgumentParser(prog="scripts/benchmark --memory", description="Measures memory.")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="cases whose key has WORD")
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    parser.epilog = "Cases: " + ", ".join(case.key for case in CASES)
    options = parser.parse_args()
    if not sys.platform.startswith("linux"):
        raise SystemExit("benchmarks: memory is measured through /proc, which only Linux has")
    if options.run is None:
        return _run_all([case for case in CASES if any(word in case.key for word in options.only)] or list(CASES))
    key, origin = options.run
    run = next(case.run for case in CASES if case.key == key)
    started = time.perf_counter()
    growth = asyncio.run(run(origin))
    print(json.dumps([growth, time.perf_counter() - started]))
    return 0


if __name__ == "__main__":
    sys.exit(main())

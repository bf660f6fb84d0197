"""What the parts of the demo share: how they say things, measure, and run other programs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Self

import httpcore

__all__ = ["MIB", "ROOT", "Failed", "Show", "peak_memory", "pieces", "rate", "run_gateway", "run_program"]

ROOT = Path(__file__).resolve().parent.parent
MIB = 1024 * 1024
WIDTH = 100  # columns


class Failed(Exception):
    """Something is not as expected."""


class Show:
    """One part of the demo: prints its title, what it says, and how long it took."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append("   " + text)

    def timeline(self, events: Sequence[httpcore.TraceEvent]) -> None:
        """Says what happened, and when after the first of it."""
        for event in events:
            names = [field.name for field in fields(event) if field.name not in ("time", "name", "first_byte")]
            facts = ", ".join(f"{name}={getattr(event, name)!r}" for name in names)
            self.say(f"{(event.time - events[0].time) * 1000:8.2f} ms  {event.name:<26} {facts}")

    def expect(self, holds: bool, what: str) -> None:
        if not holds:
            raise Failed(what)

    def __enter__(self) -> Self:
        self.began = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, where: TracebackType | None
    ) -> None:
        took = f"{(time.perf_counter() - self.began) * 1000:,.1f} ms"
        print(f"\n{self.title}{took:>{WIDTH - len(self.title)}}", *self.lines, sep="\n", flush=True)


def peak_memory() -> float:
    """Returns the most memory this process has had, in MiB."""
    # Linux counts in ru_maxrss what the process had been before it became this program: the peak of who started it.
    with contextlib.suppress(FileNotFoundError):
        status = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MIB if sys.platform == "darwin" else peak / 1024


def rate(size: int, began: float) -> str:
    seconds = time.perf_counter() - began
    return f"{size / MIB:.0f} MiB in {seconds:.2f} s, {size / 1e6 / seconds:,.0f} MB/s"


async def pieces(count: int) -> AsyncIterator[bytes]:
    for number in range(count):
        yield bytes([number % 256]) * MIB


@contextlib.asynccontextmanager
async def run_program(
    *arguments: str | Path, env: dict[str, str] | None = None, pass_fds: tuple[int, ...] = ()
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Runs a Python program for as long as the block lasts."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, *map(str, arguments), stdin=pipe, stdout=pipe, env=env, pass_fds=pass_fds
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.communicate()


# `uvicorn --fd` would do, but takes every socket for a unix one, and so leaves Nagle's algorithm on.
SERVE = """
import socket, sys, uvicorn
sys.path.insert(0, sys.argv[1])
config = uvicorn.Config("gateway:app", log_level="warning")
uvicorn.Server(config).run([socket.socket(fileno=int(sys.argv[2]))])
"""


@contextlib.asynccontextmanager
async def run_gateway(**environment: str) -> AsyncIterator[str]:
    """Runs examples/gateway.py under uvicorn, and gives its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd = listener.fileno()
        env = {**os.environ, **environment}
        async with run_program("-c", SERVE, ROOT / "examples", str(fd), env=env, pass_fds=(fd,)):
            # The listening socket is here already, so a first request just waits until uvicorn has started.
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"

"""Which core does what: server and client must not take time from each other, nor wander."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["pinned", "server_and_client"]


def server_and_client() -> tuple[int | None, int | None]:
    """Returns the core for the server and the one for the client; `None` where there are no two to choose from."""
    allowed = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []
    if len(allowed) < 2:
        print("benchmarks: server and client share a core, or cannot be pinned; trust ratios only", file=sys.stderr)
        return None, None
    return allowed[0], allowed[-1]


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Processes that are started meanwhile, and what they start, run on `core` alone; anywhere if it is `None`."""
    if core is None or sys.platform != "linux":
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)

"""urllib3."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import urllib3


@contextmanager
def open_blocking_client(connections: int) -> Iterator[urllib3.PoolManager]:
    with urllib3.PoolManager(maxsize=connections, block=True, timeout=urllib3.Timeout(60)) as client:
        yield client


def blocking_small(client: urllib3.PoolManager, url: str) -> int:
    return len(client.request("GET", url).data)

"""requests, over urllib3."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import requests
from requests.adapters import HTTPAdapter


@contextmanager
def open_blocking_client(connections: int) -> Iterator[requests.Session]:
    with requests.Session() as client:
        client.mount("http://", HTTPAdapter(pool_maxsize=connections, pool_block=True))
        yield client


def blocking_small(client: requests.Session, url: str) -> int:
    return len(client.get(url, timeout=60).content)

"""pycurl: libcurl's easy interface, a handle for each thread, as it documents."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pycurl


@contextmanager
def open_blocking_client(connections: int) -> Iterator[list[pycurl.Curl]]:
    idle: list[pycurl.Curl] = []
    yield idle
    for handle in idle:
        handle.close()


def blocking_small(idle: list[pycurl.Curl], url: str) -> int:
    if idle:
        handle = idle.pop()
    else:
        handle = pycurl.Curl()
        handle.setopt(pycurl.TIMEOUT, 60)
        handle.setopt(pycurl.NOSIGNAL, 1)  # signals are for one thread only
    handle.setopt(pycurl.URL, url)
    content = handle.perform_rb()
    idle.append(handle)
    return len(content)

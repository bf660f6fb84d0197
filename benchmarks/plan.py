"""What is measured: the cases, and in which round of which run. Who takes part in them is in peers.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

__all__ = [
    "CASES",
    "CHUNK",
    "CHUNKS",
    "CONNECTIONS",
    "GROWTH_FROM",
    "GROWTH_TO",
    "LARGE",
    "POST",
    "SMALL",
    "Case",
    "Group",
]

CONNECTIONS: Final = 100
"""How many connections the pool of every peer may make."""

SMALL: Final = b"Hello, world!"
"""The content of a small response."""

POST: Final = 1024
"""Bytes of the JSON document that is posted."""

LARGE: Final = 100 * 1024 * 1024
"""Bytes of the large downloads and uploads."""

CHUNKS, CHUNK = 1000, 64
"""How many chunks the chunked response has, and the bytes of each."""

Group: TypeAlias = Literal["http1", "http2", "blocking", "gateway"]
"""Cases that the same peers take part in, and whose figures have the same baseline."""

_BASELINES: Final[dict[Group, str]] = {
    "http1": "aiohttp",
    "http2": "httpx",
    "blocking": "urllib3",
    "gateway": "gateway-aiohttp",
}
_LIMITS: Final[dict[Group, str | None]] = {
    "http1": "bare",
    "http2": None,
    "blocking": "bare",
    "gateway": "gateway-nginx",
}


@dataclass(frozen=True)
class Case:
    """One kind of work.

    Attributes:
        name: as the table shows it.
        key: as the JSON and `--only` know it.
        what: the function of `clients/with_*.py` that does it.
        path: what is asked for.
        concurrency: how many tasks ask, over `CONNECTIONS` connections at most.
        count: requests after which the measurement ends, if its time is not over before.
        group: who takes part.
        size: bytes of content one request moves, where they are what matters; 0 where the request itself is.
        expect: bytes of content that the response must have.
        tls: whether it is done over TLS. HTTP/2 always is.
        quick: whether it belongs to the short run.
    """

    name: str
    key: str
    what: Literal["small", "once", "post", "download", "upload", "upload_file", "blocking_small"]
    path: str
    concurrency: int
    count: int
    group: Group = "http1"
    size: int = 0
    expect: int = len(SMALL)
    tls: bool = False
    quick: bool = False

    @property
    def baseline(self) -> str:
        """The key of the peer whose figures are 1.00."""
        return _BASELINES[self.group]

    @property
    def limit(self) -> str | None:
        """The key of the peer that does as little as can be done; `None` where there is none."""
        return _LIMITS[self.group]

    @property
    def warm_up(self) -> int:
        """Requests before the measurement begins: connections are open then, windows as wide as they get."""
        return 1 if self.size else max(300, self.concurrency)


def _large(name: str, key: str, what: Literal["download", "upload", "upload_file"], **more: object) -> Case:
    case = Case(name, key, what, "/large" if what == "download" else "/upload", 1, 400, size=LARGE)
    values = {**vars(case), "expect": LARGE if what == "download" else len(SMALL), **more}
    return Case(**values)


CASES: Final = (
    Case("small GET, 1 at a time", "get-1", "small", "/small", 1, 50_000),
    Case("small GET, 50 at a time", "get-50", "small", "/small", 50, 100_000, quick=True),
    Case("small GET, 500 at a time", "get-500", "small", "/small", 500, 100_000),
    Case("small GET, 2,000 at a time", "get-2000", "small", "/small", 2000, 100_000, quick=True),
    Case("POST of 1 KiB of JSON, 50 at a time", "post-50", "post", "/small", 50, 100_000),
    Case("GET, 20 header fields, 50 at a time", "headers-50", "small", "/headers", 50, 100_000),
    Case(
        f"{CHUNKS:,} chunks of {CHUNK} bytes",
        "chunks",
        "download",
        "/chunks",
        1,
        50_000,
        expect=CHUNKS * CHUNK,
        quick=True,
    ),
    _large("download of 100 MiB", "download", "download", quick=True),
    _large("upload of 100 MiB", "upload", "upload"),
    _large("upload of a file of 100 MiB", "upload-file", "upload_file"),
    Case("a connection per GET, 10 at a time", "once-10", "once", "/small", 10, 20_000),
    Case("TLS: small GET, 50 at a time", "tls-get-50", "small", "/small", 50, 100_000, tls=True, quick=True),
    _large("TLS: download of 100 MiB", "tls-download", "download", tls=True),
    _large("TLS: upload of 100 MiB", "tls-upload", "upload", tls=True),
    Case("TLS: a connection per GET, 10 at a time", "tls-once-10", "once", "/small", 10, 20_000, tls=True),
    Case("HTTP/2: small GET, 1 at a time", "http2-get-1", "small", "/small", 1, 50_000, "http2", tls=True),
    Case(
        "HTTP/2: small GET, 50 at a time", "http2-get-50", "small", "/small", 50, 100_000, "http2", tls=True, quick=True
    ),
    _large("HTTP/2: download of 100 MiB", "http2-download", "download", group="http2", tls=True),
    _large("HTTP/2: upload of 100 MiB", "http2-upload", "upload", group="http2", tls=True),
    Case("blocking: small GET, 1 thread", "blocking-1", "blocking_small", "/small", 1, 50_000, "blocking", quick=True),
    Case("blocking: small GET, 32 threads", "blocking-32", "blocking_small", "/small", 32, 50_000, "blocking"),
    Case("gateway: small GET, 50 at a time", "gateway-50", "small", "/small", 50, 100_000, "gateway", quick=True),
    _large("gateway: download of 100 MiB", "gateway-download", "download", group="gateway"),
)

GROWTH_FROM, GROWTH_TO = "get-50", "get-2000"

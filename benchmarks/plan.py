"""What is measured, and who: the cases and the peers. A new one is a line here, and for a peer two files more."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["CASES", "CONNECTIONS", "GROWTH_FROM", "GROWTH_TO", "LARGE", "LARGE_HTTP2", "PEERS", "Case", "Peer"]

ROOT: Final = Path(__file__).parent.parent

CONNECTIONS: Final = 100
"""How many connections the pool of every peer may make."""

LARGE: Final = 10 * 1024 * 1024
"""Bytes of the large download and upload."""

LARGE_HTTP2: Final = 100 * 1024 * 1024
"""The same over HTTP/2, where what a flow-control window does to speed shows late."""

_HTTP1_BASELINE: Final = "aiohttp"
_HTTP2_BASELINE: Final = "httpx"
_BLOCKING_BASELINE: Final = "urllib3"


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
        size: bytes of content one request moves, where they are what matters; 0 where the request itself is.
        http2: whether it is done over HTTP/2 and TLS, or else over HTTP/1.1 and plain TCP.
        blocking: whether threads ask by blocking calls, instead of tasks.
    """

    name: str
    key: str
    what: str
    path: str
    concurrency: int
    count: int
    size: int = 0
    http2: bool = False
    blocking: bool = False

    @property
    def baseline(self) -> str:
        """The key of the peer whose figures are 1.00."""
        if self.blocking:
            return _BLOCKING_BASELINE
        return _HTTP2_BASELINE if self.http2 else _HTTP1_BASELINE

    @property
    def warm_up(self) -> int:
        """Requests before the measurement begins: connections are open then, windows as wide as they get."""
        if self.size:
            return 1 if self.size > LARGE else 3
        return max(500, self.concurrency)


@dataclass(frozen=True)
class Peer:
    """One client.

    Attributes:
        name: as the table shows it.
        key: its `peers/<key>.txt` and its environment.
        module: its `clients/<module>.py`.
        distribution: whose version is shown.
        quick_up_to: how many at a time `--quick` asks of it: beyond, one request takes it so long that the rest of
            its warm-up alone would take a minute.
        http1: whether it takes part where HTTP/1.1 is measured.
        http2: whether it takes part where HTTP/2 is.
        blocking: whether it takes part where blocking calls are.
    """

    name: str
    key: str
    module: str
    distribution: str
    quick_up_to: int = 2000
    http1: bool = True
    http2: bool = False
    blocking: bool = False

    def takes_part(self, case: Case) -> bool:
        """Whether it is measured on `case`."""
        if case.blocking:
            return self.blocking
        return self.http2 if case.http2 else self.http1

    @property
    def python(self) -> Path:
        """The interpreter of its environment, which scripts/benchmark makes."""
        return ROOT / ".benchmark-envs" / self.key / "bin" / "python"


PEERS: Final = (
    Peer("httpcore (this tree)", "httpcore", "with_httpcore", "httpcore", http2=True, blocking=True),
    Peer("aiohttp", "aiohttp", "with_aiohttp", "aiohttp"),
    Peer("httpx", "httpx", "with_httpx", "httpx", quick_up_to=50, http2=True, blocking=True),
    Peer("httpcore (PyPI)", "pypi-httpcore", "with_pypi_httpcore", "httpcore", quick_up_to=50),
    Peer("niquests", "niquests", "with_niquests", "niquests", http1=False, http2=True),
    Peer("urllib3", "urllib3", "with_urllib3", "urllib3", http1=False, blocking=True),
    Peer("requests", "requests", "with_requests", "requests", http1=False, blocking=True),
)

CASES: Final = (
    Case("small GET, 1 at a time", "get-1", "small", "/small", 1, 10_000),
    Case("small GET, 50 at a time", "get-50", "small", "/small", 50, 20_000),
    Case("small GET, 500 at a time", "get-500", "small", "/small", 500, 20_000),
    Case("small GET, 2,000 at a time", "get-2000", "small", "/small", 2000, 20_000),
    Case("download of 10 MiB", "download", "download", "/large", 1, 400, LARGE),
    Case("upload of 10 MiB", "upload", "upload", "/upload", 1, 400, LARGE),
    Case("HTTP/2: small GET, 1 at a time", "http2-get-1", "small", "/small", 1, 10_000, http2=True),
    Case("HTTP/2: small GET, 50 at a time", "http2-get-50", "small", "/small", 50, 20_000, http2=True),
    Case("HTTP/2: download of 100 MiB", "http2-download", "download", "/large-http2", 1, 40, LARGE_HTTP2, http2=True),
    Case("HTTP/2: upload of 100 MiB", "http2-upload", "upload", "/upload", 1, 40, LARGE_HTTP2, http2=True),
    Case("blocking small GET, 1 thread", "sync-1", "blocking_small", "/small", 1, 10_000, blocking=True),
    Case("blocking small GET, 32 threads", "sync-32", "blocking_small", "/small", 32, 10_000, blocking=True),
)
GROWTH_FROM, GROWTH_TO = "get-50", "get-2000"

"""What is measured, and who: the cases and the peers. A new one is a line here, and for a peer two files more."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["BASELINE", "CASES", "CONNECTIONS", "GROWTH_FROM", "GROWTH_TO", "LARGE", "PEERS", "Case", "Peer"]

ROOT: Final = Path(__file__).parent.parent

CONNECTIONS: Final = 100
"""How many connections the pool of every peer may make."""

LARGE: Final = 10 * 1024 * 1024
"""Bytes of the large download and upload."""


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
    """

    name: str
    key: str
    what: str
    path: str
    concurrency: int
    count: int
    size: int = 0


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
    """

    name: str
    key: str
    module: str
    distribution: str
    quick_up_to: int = 2000

    @property
    def python(self) -> Path:
        """The interpreter of its environment, which scripts/benchmark makes."""
        return ROOT / ".benchmark-envs" / self.key / "bin" / "python"


PEERS: Final = (
    Peer("httpcore (this tree)", "httpcore", "with_httpcore", "httpcore"),
    Peer("aiohttp", "aiohttp", "with_aiohttp", "aiohttp"),
    Peer("httpx", "httpx", "with_httpx", "httpx", quick_up_to=50),
    Peer("httpcore (PyPI)", "pypi-httpcore", "with_pypi_httpcore", "httpcore", quick_up_to=50),
)
BASELINE: Final = "aiohttp"
"""The peer whose figures are 1.00."""

CASES: Final = (
    Case("small GET, 1 at a time", "get-1", "small", "/small", 1, 10_000),
    Case("small GET, 50 at a time", "get-50", "small", "/small", 50, 20_000),
    Case("small GET, 500 at a time", "get-500", "small", "/small", 500, 20_000),
    Case("small GET, 2,000 at a time", "get-2000", "small", "/small", 2000, 20_000),
    Case("download of 10 MiB", "download", "download", "/large", 1, 400, LARGE),
    Case("upload of 10 MiB", "upload", "upload", "/upload", 1, 400, LARGE),
)
GROWTH_FROM, GROWTH_TO = "get-50", "get-2000"

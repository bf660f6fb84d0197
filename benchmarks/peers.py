"""Who is measured. A peer more is an entry here, its `peers/<environment>.txt` and its `clients/<module>.py`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from benchmarks.plan import Case, Group

__all__ = ["PEERS", "ROOT", "Peer", "environment_python"]

ROOT: Final = Path(__file__).parent.parent


def environment_python(name: str) -> Path:
    """Returns the interpreter of an environment, which scripts/benchmark makes of `peers/<name>.txt`."""
    return ROOT / ".benchmark-envs" / name / "bin" / "python"


@dataclass(frozen=True)
class Peer:
    """One client, on one loop; or one gateway.

    Attributes:
        name: as the table shows it.
        key: as the JSON and `--only` know it.
        environment: of which `peers/<environment>.txt` it is.
        module: its `clients/<module>.py`; of a gateway the ASGI app, empty for nginx.
        groups: the kinds of cases that it takes part in.
        distribution: whose version is shown; `None` where it is shown by another peer, or there is none.
        loop: whose event loop it runs on.
        keys: the only HTTP/1.1 cases that it takes part in; `None` is all. Cases that would say nothing new of it, at
            the length that they would take, are left out.
        quick: whether it belongs to the short run.
    """

    name: str
    key: str
    environment: str
    module: str
    groups: tuple[Group, ...] = ("http1",)
    distribution: str | None = None
    loop: Literal["asyncio", "uvloop"] = "asyncio"
    keys: frozenset[str] | None = None
    quick: bool = True

    def takes_part(self, case: Case) -> bool:
        """Whether it is measured on `case`."""
        if case.group not in self.groups:
            return False
        return self.keys is None or case.group != "http1" or case.key in self.keys

    @property
    def python(self) -> Path:
        """The interpreter of its environment."""
        return environment_python(self.environment)


# What tells something of the loop, and what a client costs that needs some tenths of a millisecond for each request:
# httpx and PyPI's httpcore need tens of milliseconds for one of 2,000 at a time.
_LOOP: Final = frozenset("get-1 get-50 get-2000 chunks download upload tls-get-50 tls-download".split())
_SLOW: Final = frozenset("get-1 get-50 download tls-get-50 once-10".split())
_QUEUE: Final = _SLOW | {"get-500"}
_HTTP: Final[tuple[Group, ...]] = ("http1", "http2")


def _slow(
    name: str, key: str, groups: tuple[Group, ...], distribution: str | None, keys: frozenset[str] | None = None
) -> Peer:
    """One that the short run leaves out."""
    return Peer(name, key, key, f"with_{key.replace('-', '_')}", groups, distribution, keys=keys, quick=False)


def _gateway(name: str, key: str, environment: str, app: str, loop: Literal["asyncio", "uvloop"] = "asyncio") -> Peer:
    return Peer(name, key, environment, app, ("gateway",), loop=loop, quick=environment != "httpx")


PEERS: Final = (
    Peer("httpcore", "httpcore", "httpcore", "with_httpcore", (*_HTTP, "blocking"), "httpcore"),
    Peer("httpcore[fast]", "httpcore-fast", "httpcore-fast", "with_httpcore", (*_HTTP, "blocking")),
    Peer(
        "httpcore[fast], uvloop", "httpcore-fast-uvloop", "httpcore-fast", "with_httpcore", _HTTP, None, "uvloop", _LOOP
    ),
    Peer("aiohttp", "aiohttp", "aiohttp", "with_aiohttp", ("http1",), "aiohttp"),
    Peer("aiohttp, uvloop", "aiohttp-uvloop", "aiohttp", "with_aiohttp", ("http1",), None, "uvloop", _LOOP),
    Peer("pyreqwest", "pyreqwest", "pyreqwest", "with_pyreqwest", _HTTP, "pyreqwest"),
    Peer("httpx", "httpx", "httpx", "with_httpx", (*_HTTP, "blocking"), "httpx", keys=_QUEUE),
    _slow("httpx2", "httpx2", _HTTP, "httpx2", keys=_QUEUE),
    _slow("niquests", "niquests", _HTTP, "niquests", keys=_SLOW),
    _slow("httpcore (PyPI)", "pypi-httpcore", ("http1",), "httpcore", keys=_QUEUE),
    _slow("httpx on httpcore[fast]", "httpx-on-httpcore", ("http1",), None, keys=_QUEUE),
    _slow("httpx2 on httpcore[fast]", "httpx2-on-httpcore", ("http1",), None, keys=_QUEUE),
    Peer("urllib3", "urllib3", "urllib3", "with_urllib3", ("blocking",), "urllib3"),
    _slow("requests", "requests", ("blocking",), "requests"),
    Peer("pycurl", "pycurl", "pycurl", "with_pycurl", ("blocking",), "pycurl"),
    Peer("bare protocol", "bare", "bare", "with_bare", ("http1", "blocking")),
    Peer("bare protocol, uvloop", "bare-uvloop", "bare", "with_bare", ("http1",), "uvloop", "uvloop", _LOOP),
    _gateway("httpcore[fast]", "gateway-httpcore", "httpcore-fast", "gateway:app"),
    _gateway("httpcore[fast], uvloop", "gateway-httpcore-uvloop", "httpcore-fast", "gateway:app", "uvloop"),
    _gateway("aiohttp", "gateway-aiohttp", "aiohttp", "gateway_aiohttp:app"),
    _gateway("aiohttp, uvloop", "gateway-aiohttp-uvloop", "aiohttp", "gateway_aiohttp:app", "uvloop"),
    _gateway("httpx", "gateway-httpx", "httpx", "gateway_httpx:app"),
    _gateway("nginx", "gateway-nginx", "", ""),
)

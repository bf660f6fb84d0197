"""Runs one peer on one case, in processes of its own, and returns what it cost."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.cores import pinned
from benchmarks.gateway import running_gateway
from benchmarks.nginx import Nginx, running_nginx
from benchmarks.peers import Peer, environment_python
from benchmarks.plan import CONNECTIONS, Case
from benchmarks.raw_server import running_raw_server

__all__ = ["CLIENTS", "Sample", "Servers", "measure", "run_client", "running_servers"]

CLIENTS: Final = Path(__file__).parent / "clients"


@dataclass(frozen=True)
class Sample:
    """One client on one case, once.

    Attributes:
        requests: how many were measured.
        cpu_seconds: user and system time of the client's process; of the gateway's, where that is measured.
        wall_seconds: how long it took.
        page_faults: minor ones; two for each request is malloc's doing, see README.md.
        peak_bytes: the most resident memory that the process ever had.
    """

    requests: int
    cpu_seconds: float
    wall_seconds: float
    page_faults: int
    peak_bytes: int


@dataclass(frozen=True)
class Servers:
    """What the clients ask.

    Attributes:
        nginx: the server of nearly everything.
        raw: the beginning of the URLs of the server of fixed bytes.
        core: where they run; `None` is anywhere.
    """

    nginx: Nginx
    raw: str
    core: int | None

    def origin(self, case: Case) -> str:
        """Returns the beginning of the URL that is asked for in `case`."""
        if case.path == "/chunks":
            return self.raw
        if case.group == "http2":
            return self.nginx.http2
        return self.nginx.tls if case.tls else self.nginx.plain


@contextmanager
def running_servers(core: int | None) -> Iterator[Servers]:
    """Runs both servers, on `core` alone unless that is `None`."""
    with running_nginx(core) as nginx, running_raw_server(core) as raw:
        yield Servers(nginx, raw, core)


def measure(peer: Peer, case: Case, servers: Servers, seconds: float, core: int | None) -> Sample:
    """Runs one client on one case, for `seconds`, on `core`; returns its figures."""
    origin = servers.origin(case)
    if case.group != "gateway":
        return _measure(peer.python, peer.module, peer.loop, case, origin, servers, seconds, core)
    # The gateway has the core to itself; who asks shares the servers'.
    with running_gateway(peer, origin, core) as (front, process):
        bare = environment_python("bare")
        return _measure(bare, "with_bare", "uvloop", case, front, servers, seconds, servers.core, process)


def _measure(
    python: Path,
    module: str,
    loop: str,
    case: Case,
    origin: str,
    servers: Servers,
    seconds: float,
    core: int | None,
    process: int | None = None,
) -> Sample:
    command: list[str | Path] = [python, CLIENTS / "harness.py", module, origin + case.path]
    command += [str(case.concurrency), str(case.count)]
    command += [case.what, "--expect", str(case.expect), "--upload", str(case.size), "--file", servers.nginx.file]
    command += ["--seconds", str(seconds), "--warm-up", str(case.warm_up), "--connections", str(CONNECTIONS)]
    command += ["--loop", loop]
    if case.tls:
        command += ["--authority", servers.nginx.authority]
    if case.group == "http2":
        command += ["--http2"]
    if process is not None:
        command += ["--process", str(process)]
    return Sample(**run_client(command, f"{module} on {case.name}", core))


def run_client(command: list[str | Path], name: str, core: int | None) -> dict[str, Any]:
    """Runs a program on `core` that prints JSON; returns that.

    Raises:
        SystemExit: it failed.
    """
    with pinned(core):
        result = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True, timeout=120)
    if result.returncode != 0:
        raise SystemExit(f"benchmarks: {name} failed")
    figures: dict[str, Any] = json.loads(result.stdout)
    return figures

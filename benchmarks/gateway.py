"""Gateways in front of the server: examples/gateway.py, and the same on other clients, all under one ASGI server."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.cores import pinned
from benchmarks.nginx import free_ports, running_proxy
from benchmarks.peers import ROOT, Peer

__all__ = ["running_gateway"]

_FOLDERS = (ROOT / "examples", Path(__file__).parent / "gateways")


@contextmanager
def running_gateway(peer: Peer, upstream: str, core: int | None) -> Iterator[tuple[str, int]]:
    """Runs one on `core`, unless that is `None`; gives the beginning of its URLs and the id of the process it works in.

    Raises:
        SystemExit: it does not start.
    """
    if not peer.module:
        with running_proxy(urlsplit(upstream).netloc, core) as found:
            yield found
        return
    (port,) = free_ports(1)
    folder = next(folder for folder in _FOLDERS if (folder / f"{peer.module.partition(':')[0]}.py").exists())
    command: list[str | Path] = [peer.python, "-m", "uvicorn", "--app-dir", folder, peer.module, "--port", str(port)]
    command += ["--http", "httptools", "--loop", peer.loop, "--log-level", "error"]
    command += ["--no-access-log", "--no-server-header", "--no-date-header", "--no-proxy-headers"]
    with pinned(core):
        # In that folder, as uvicorn imports from the one it is in: httpx would find this tree's httpcore.
        process = subprocess.Popen(command, env={**os.environ, "UPSTREAM": upstream}, cwd=folder)
    try:
        _wait_for(port, process, peer)
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], peer: Peer) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.05)
    raise SystemExit(f"benchmarks: the gateway of {peer.key} did not start")

"""The server that everybody is measured against: nginx on a core of its own, on loopback, in a temporary folder."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.cores import pinned
from benchmarks.plan import LARGE

__all__ = ["SMALL", "running_nginx"]

SMALL = b"Hello, world!"

# `upload` reads the request's body to its end, into memory, before it passes the request on without it; a plain
# `return` would answer at once, and the client could stop. No connection is closed by the number of its requests.
_CONFIGURATION = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    sendfile on;
    tcp_nodelay on;
    default_type text/plain;
    keepalive_requests 1000000000;
    keepalive_timeout 300s;
    client_max_body_size 0;
    client_body_buffer_size {body_buffer};
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        root {folder};
        location = /small {{ return 200 "{small}"; }}
        location = /large {{ }}
        location = /upload {{
            proxy_pass http://unix:{folder}/sink.sock:;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
        }}
    }}
    server {{
        listen unix:{folder}/sink.sock;
        location / {{ return 200 "{small}"; }}
    }}
}}
"""


@contextmanager
def running_nginx(core: int | None) -> Iterator[str]:
    """Runs nginx, on `core` alone unless that is `None`; gives the beginning of its URLs.

    Raises:
        SystemExit: there is no nginx, or it does not start.
    """
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise SystemExit("benchmarks: there is no nginx here; scripts/install-servers installs it")
    with tempfile.TemporaryDirectory(prefix="httpcore-benchmark-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx's worker is another user, if it was started by root
        (folder / "large").write_bytes(bytes(LARGE))
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        text = _CONFIGURATION.format(folder=folder, port=port, small=SMALL.decode(), body_buffer=LARGE + 4096)
        (folder / "nginx.conf").write_text(text)
        command = [binary, "-p", name, "-e", f"{name}/error.log", "-c", f"{name}/nginx.conf"]
        with pinned(core):
            server = subprocess.Popen(command)
        try:
            _wait_for(port, server, folder)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait()


def _wait_for(port: int, server: subprocess.Popen[bytes], folder: Path) -> None:
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            if server.poll() is not None:
                break
            time.sleep(0.05)
    log = folder / "error.log"
    raise SystemExit(f"benchmarks: nginx did not start\n{log.read_text() if log.exists() else ''}")

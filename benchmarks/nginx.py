"""The server that everybody is measured against: nginx on a core of its own, on loopback, in a temporary folder.

It has two ports: one for HTTP/1.1 over TCP, one for HTTP/2 over TLS with a certificate of the day.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cores import pinned
from benchmarks.plan import LARGE, LARGE_HTTP2

__all__ = ["SMALL", "Nginx", "running_nginx"]

SMALL = b"Hello, world!"

# `upload` reads the request's body to its end, into memory, before it passes the request on without it; a plain
# `return` would answer at once, and the client could stop. No connection is closed by the number of its requests.
# Where HTTP/2 is measured nothing else is answered, so that no client can pass with HTTP/1.1. (From 1.25 on nginx wants
# to hear `http2 on` instead, and says so in its log.)
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
{locations}    }}
    server {{
        listen 127.0.0.1:{tls_port} ssl http2 backlog=4096;
        ssl_certificate {folder}/certificate.pem;
        ssl_certificate_key {folder}/key.pem;
        http2_max_concurrent_streams 256;
        if ($server_protocol != HTTP/2.0) {{ return 505; }}
        root {folder};
{locations}    }}
    server {{
        listen unix:{folder}/sink.sock;
        location / {{ return 200 "{small}"; }}
    }}
}}
"""

_LOCATIONS = """        location = /small {{ return 200 "{small}"; }}
        location = /large {{ }}
        location = /large-http2 {{ }}
        location = /upload {{
            proxy_pass http://unix:{folder}/sink.sock:;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
        }}
"""


@dataclass(frozen=True)
class Nginx:
    """A running nginx.

    Attributes:
        origin: the beginning of its URLs for HTTP/1.1.
        tls_origin: the beginning of its URLs for HTTP/2.
        authority: a file with the certificate that a client has to trust for these.
    """

    origin: str
    tls_origin: str
    authority: Path


@contextmanager
def running_nginx(core: int | None) -> Iterator[Nginx]:
    """Runs nginx, on `core` alone unless that is `None`.

    Raises:
        SystemExit: there is no nginx or no openssl, or it does not start.
    """
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise SystemExit("benchmarks: there is no nginx here; scripts/install-servers installs it")
    with tempfile.TemporaryDirectory(prefix="httpcore-benchmark-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx's worker is another user, if it was started by root
        (folder / "large").write_bytes(bytes(LARGE))
        (folder / "large-http2").write_bytes(bytes(LARGE_HTTP2))
        authority = _certify(folder)
        with socket.create_server(("127.0.0.1", 0)) as free, socket.create_server(("127.0.0.1", 0)) as also_free:
            port, tls_port = free.getsockname()[1], also_free.getsockname()[1]
        values = {"folder": folder, "small": SMALL.decode()}
        text = _CONFIGURATION.format(
            port=port,
            tls_port=tls_port,
            body_buffer=max(LARGE, LARGE_HTTP2) + 4096,
            locations=_LOCATIONS.format(**values),
            **values,
        )
        (folder / "nginx.conf").write_text(text)
        command = [binary, "-p", name, "-e", f"{name}/error.log", "-c", f"{name}/nginx.conf"]
        with pinned(core):
            server = subprocess.Popen(command)
        try:
            _wait_for(port, server, folder)
            yield Nginx(f"http://127.0.0.1:{port}", f"https://127.0.0.1:{tls_port}", authority)
        finally:
            server.terminate()
            server.wait()


def _certify(folder: Path) -> Path:
    """Makes a key and a certificate for 127.0.0.1 in `folder`; returns the file with the latter."""
    binary = shutil.which("openssl")
    if binary is None:
        raise SystemExit("benchmarks: there is no openssl here, and HTTP/2 needs a certificate")
    certificate = folder / "certificate.pem"
    command = [binary, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=benchmarks"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "keyUsage=critical,digitalSignature,keyCertSign"]
    command += ["-keyout", str(folder / "key.pem"), "-out", str(certificate)]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    if result.returncode != 0:
        raise SystemExit(f"benchmarks: openssl made no certificate\n{result.stderr}")
    return certificate


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

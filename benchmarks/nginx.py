"""The server that everybody is measured against: nginx on a core of its own, on loopback, in a temporary folder.

It has three ports: HTTP/1.1 over TCP, HTTP/1.1 over TLS, and HTTP/2 over TLS, with a certificate of the day.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.certificate import certify
from benchmarks.cores import pinned
from benchmarks.plan import LARGE, SMALL

__all__ = ["Nginx", "free_ports", "running_nginx", "running_proxy"]

_COMMON = """
daemon off;
worker_processes 1;
pid {folder}/{name}.pid;
error_log {folder}/{name}.log;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    sendfile on;
    tcp_nodelay on;
    default_type text/plain;
    keepalive_requests 1000000000;
    keepalive_timeout 300s;
    client_max_body_size 0;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
"""

# `upload` reads the request's body to its end, into memory, before it passes the request on without it; a plain
# `return` would answer at once, and the client could stop. No connection is closed by the number of its requests.
# Where HTTP/2 is measured nothing else is answered, so that no client can pass with HTTP/1.1, and where HTTP/1.1 is,
# nothing else is offered. (From 1.25 on nginx wants to hear `http2 on` instead, and says so in its log.)
_SERVERS = """
    client_body_buffer_size {body_buffer};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate {folder}/certificate.pem;
    ssl_certificate_key {folder}/key.pem;
    server {{
        listen 127.0.0.1:{plain} backlog=4096;
        listen 127.0.0.1:{tls} ssl backlog=4096;
        root {folder};
{locations}    }}
    server {{
        listen 127.0.0.1:{http2} ssl http2 backlog=4096;
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
        location = /headers {{
{fields}            return 200 "{small}";
        }}
        location = /large {{ }}
        location = /upload {{
            proxy_pass http://unix:{folder}/sink.sock:;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
        }}
"""

_PROXY = """
    upstream server {{
        server {upstream};
        keepalive 100;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://server;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_max_temp_file_size 0;
        }}
    }}
}}
"""


@dataclass(frozen=True)
class Nginx:
    """A running nginx.

    Attributes:
        plain: the beginning of its URLs for HTTP/1.1.
        tls: the same over TLS.
        http2: the beginning of its URLs for HTTP/2.
        authority: a file with the certificate that a client has to trust.
        file: a file of `LARGE` bytes.
    """

    plain: str
    tls: str
    http2: str
    authority: Path
    file: Path


def free_ports(count: int) -> list[int]:
    """Returns ports that were free a moment ago."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def running_nginx(core: int | None) -> Iterator[Nginx]:
    """Runs the server, on `core` alone unless that is `None`.

    Raises:
        SystemExit: there is no nginx or no openssl, or it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="httpcore-benchmark-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx's worker is another user, if it was started by root
        file = folder / "large"
        file.write_bytes(bytes(LARGE))
        authority = certify(folder)
        plain, tls, http2 = free_ports(3)
        # nginx itself has five more: server, date, content-type, content-length and connection.
        fields = "".join(
            f'            add_header X-Field-{number} "the value of field {number}";\n' for number in range(15)
        )
        locations = _LOCATIONS.format(folder=folder, small=SMALL.decode(), fields=fields)
        text = _COMMON.format(folder=folder, name="server")
        text += _SERVERS.format(
            folder=folder,
            small=SMALL.decode(),
            plain=plain,
            tls=tls,
            http2=http2,
            body_buffer=LARGE + 4096,
            locations=locations,
        )
        with _running(folder, "server", text, plain, core):
            origins = (f"http://127.0.0.1:{plain}", f"https://127.0.0.1:{tls}", f"https://127.0.0.1:{http2}")
            yield Nginx(*origins, authority, file)


@contextmanager
def running_proxy(upstream: str, core: int | None) -> Iterator[tuple[str, int]]:
    """Runs nginx as a gateway to `upstream` ("127.0.0.1:8000"); gives its origin and the id of its worker process."""
    with tempfile.TemporaryDirectory(prefix="httpcore-benchmark-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (port,) = free_ports(1)
        text = _COMMON.format(folder=folder, name="gateway") + _PROXY.format(upstream=upstream, port=port)
        with _running(folder, "gateway", text, port, core) as process:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            yield f"http://127.0.0.1:{port}", int(children[0])


@contextmanager
def _running(folder: Path, name: str, text: str, port: int, core: int | None) -> Iterator[subprocess.Popen[bytes]]:
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise SystemExit("benchmarks: there is no nginx here; scripts/install-servers installs it")
    configuration, log = folder / f"{name}.conf", folder / f"{name}.log"
    configuration.write_text(text)
    with pinned(core):
        process = subprocess.Popen([binary, "-p", folder, "-e", log, "-c", configuration])
    try:
        _wait_for(port, process, log)
        yield process
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.05)
    raise SystemExit(f"benchmarks: nginx did not start\n{log.read_text() if log.exists() else ''}")

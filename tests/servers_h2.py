"""More real servers, that speak HTTP/2: nghttpd, h2o, hypercorn and Node's; nginx has listeners for it too.

Each listens twice: over TLS, where ALPN picks HTTP/2, and without TLS for those who know beforehand that it is HTTP/2.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import TLSFiles
from tests.servers import MEDIUM, Nginx, Program, require, require_module

_TESTS = Path(__file__).parent


@dataclass(frozen=True)
class H2Server:
    """A running server.

    Attributes:
        h2_url: over TLS, on localhost.
        h2c_url: without TLS.
        hello: the path of a few bytes of text, for GET and HEAD.
        download: the path of `MEDIUM` bytes of `tests.content`.
        more_than_a_window: the path of content that is larger than 64 KiB, and costs the server nothing to begin.
        upload: the path that takes a body, and answers with it, or (JSON) with its hash.
        trailers: the path of content with a trailer field whose name is `trailer_name`; `None` where it has none.
    """

    h2_url: str
    h2c_url: str
    hello: str
    download: str
    more_than_a_window: str
    upload: str
    trailers: str | None
    trailer_name: str = "x-trailer"


def _listeners() -> tuple[socket.socket, socket.socket]:
    return socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))


def _urls(tls_port: int, port: int) -> tuple[str, str]:
    return f"https://localhost:{tls_port}", f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def nginx_h2(nginx: Nginx) -> H2Server:
    """nginx, which passes uploads on to tests/origin_app.py."""
    return H2Server(nginx.h2_url, nginx.h2c_url, "/hello.txt", "/medium.bin", "/medium.bin", "/app/upload", "/trailers")


@pytest.fixture(scope="session")
def nghttpd(tls: TLSFiles, web_root: Path) -> Iterator[H2Server]:
    """nghttpd, of nghttp2: one process with TLS and one without."""
    binary = require("nghttpd")
    # It takes no socket that listens already. Who else asks for a port meanwhile is given another one.
    listeners = _listeners()
    tls_port, port = (listener.getsockname()[1] for listener in listeners)
    for listener in listeners:
        listener.close()
    options = ["-a", "127.0.0.1", "-d", str(web_root), "--echo-upload", "--trailer", "x-trailer: last"]
    with contextlib.ExitStack() as running:
        for where, arguments in (tls_port, [str(tls.key_path), str(tls.cert_path)]), (port, ["--no-tls"]):
            program = Program([binary, *options, str(where), *arguments])
            running.callback(program.stop)
            program.wait_for_port(where)  # it says nothing
        yield H2Server(*_urls(tls_port, port), "/hello.txt", "/medium.bin", "/medium.bin", "/hello.txt", "/hello.txt")


_H2O_CONF = """
num-threads: 1
{user}
error-log: /dev/stderr
listen:
  host: 127.0.0.1
  port: {port}
listen:
  host: 127.0.0.1
  port: {tls_port}
  ssl:
    certificate-file: {cert}
    key-file: {key}
hosts:
  default:
    paths:
      "/":
        file.dir: {root}
      "/app":
        proxy.reverse.url: {origin}/app
"""


@pytest.fixture(scope="session")
def h2o(
    tmp_path_factory: pytest.TempPathFactory, tls: TLSFiles, web_root: Path, origin_app_url: str
) -> Iterator[H2Server]:
    """h2o, which passes uploads on to tests/origin_app.py."""
    binary = require("h2o")
    listeners = _listeners()
    tls_port, port = (listener.getsockname()[1] for listener in listeners)
    config = tmp_path_factory.mktemp("h2o") / "h2o.conf"
    config.write_text(
        _H2O_CONF.format(
            user="user: root" if os.geteuid() == 0 else "",
            port=port,
            tls_port=tls_port,
            cert=tls.cert_path,
            key=tls.key_path,
            root=web_root,
            origin=origin_app_url,
        )
    )
    # Server::Starter's way to pass on sockets that listen already.
    passed = ";".join(f"127.0.0.1:{listener.getsockname()[1]}={listener.fileno()}" for listener in listeners)
    program = Program(
        [binary, "-c", str(config)],
        env={"SERVER_STARTER_PORT": passed, "SERVER_STARTER_GENERATION": "1"},
        pass_fds=[listener.fileno() for listener in listeners],
    )
    for listener in listeners:
        listener.close()
    yield H2Server(*_urls(tls_port, port), "/hello.txt", "/medium.bin", "/medium.bin", "/app/upload", None)
    program.stop()


@pytest.fixture(scope="session")
def hypercorn(tls: TLSFiles) -> Iterator[H2Server]:
    """hypercorn with tests/origin_app.py."""
    require_module("hypercorn")
    listeners = _listeners()
    tls_port, port = (listener.getsockname()[1] for listener in listeners)
    tls_socket, socket_ = (f"fd://{listener.fileno()}" for listener in listeners)
    # One process (-w 0), and no time for connections to end: the tests close theirs.
    command = [sys.executable, "-m", "hypercorn", "tests.origin_app:app", "-w", "0", "--graceful-timeout", "0"]
    command += ["-b", tls_socket, "--insecure-bind", socket_]
    program = Program(
        [*command, "--certfile", str(tls.cert_path), "--keyfile", str(tls.key_path)],
        env={"PYTHONPATH": str(_TESTS.parent), "PYTHONUNBUFFERED": "1"},
        cwd=_TESTS.parent,
        pass_fds=[listener.fileno() for listener in listeners],
    )
    for listener in listeners:
        listener.close()
    medium, long = f"/bytes/{MEDIUM}", "/bytes/200000"
    yield H2Server(*_urls(tls_port, port), "/hello", medium, long, "/upload", "/trailers", "content-sha256")
    program.stop()


@pytest.fixture(scope="session")
def node_h2(tls: TLSFiles, web_root: Path) -> Iterator[H2Server]:
    """Node's http2, with tests/node_h2_server.js; see there for what it answers beside the files."""
    binary = require("node")
    program = Program([binary, str(_TESTS / "node_h2_server.js"), str(tls.key_path), str(tls.cert_path), str(web_root)])
    ports = json.loads(program.wait_for_line(r"listening (\{.*\})")[1])
    yield H2Server(
        *_urls(ports["tls"], ports["plain"]), "/hello.txt", "/medium.bin", "/medium.bin", "/echo", "/trailers"
    )
    program.stop()

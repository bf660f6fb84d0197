"""Real servers for tests, on loopback alone: nginx, uvicorn, and origins of a test's own (more: servers_h2.py).

A fixture starts its program once per session, and ends that process by its id. What the programs printed is added to
the report of a test that fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NoReturn

import pytest

from tests.content import blocks

if TYPE_CHECKING:
    from tests.conftest import TLSFiles

_START_TIMEOUT = 30.0  # seconds within which a server has to be there
LARGE = 100 * 1024 * 1024  # bytes of the large file
MEDIUM = 20_000_003  # bytes of one that takes a while, but not long


def require(binary: str) -> str:
    """Returns the path of a program; without it, skips the test, or fails it where servers are required."""
    path = shutil.which(binary) or shutil.which(binary, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        _missing(f"{binary} is not installed: scripts/install-servers")
    return path


def require_module(name: str) -> None:
    """Skips the test where there is no such Python package, or fails it where servers are required."""
    if importlib.util.find_spec(name) is None:
        _missing(f"{name} is not installed: it is of the test extra")


def _missing(message: str) -> NoReturn:
    if os.environ.get("HTTPCORE_REQUIRE_SERVERS") == "1":
        pytest.fail(message)
    pytest.skip(message)


class Program:
    """A program that runs in the background. What it prints is kept.

    Args:
        command: the command line.
        env: variables to set beside the environment's.
        cwd: the folder to run in.
        pass_fds: descriptors that it inherits.
    """

    running: ClassVar[list[Program]] = []  # whose output a failing test shows

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.command = list(command)
        self.output: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        self._process = subprocess.Popen(
            self.command,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            pass_fds=pass_fds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.running.append(self)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self.output.append(line)
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def wait_for_line(self, pattern: str) -> re.Match[str]:
        """Waits until it has printed a line in which `pattern` is found; fails if it ends before."""

        def found() -> re.Match[str] | None:
            return next((match for line in self.output if (match := re.search(pattern, line))), None)

        with self._news:
            self._news.wait_for(lambda: self._ended or found() is not None, _START_TIMEOUT)
            match = found()
        if match is None:
            self.stop()
            pytest.fail(f"{self.command} did not print {pattern!r}:\n{''.join(self.output)}")
        return match

    def wait_for_port(self, port: int) -> None:
        """Waits until it listens on that port of the loopback address; fails if it ends before."""
        deadline = time.monotonic() + _START_TIMEOUT
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port)).close()
                return
            if self._ended or time.monotonic() > deadline:
                self.stop()
                pytest.fail(f"{self.command} does not listen on port {port}:\n{''.join(self.output)}")
            time.sleep(0.01)

    def stop(self) -> None:
        """Ends it, and returns once it has ended."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()
        if self in self.running:
            self.running.remove(self)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Shows the last of what the servers printed with a test that failed."""
    report = yield
    if report.failed:
        for program in Program.running:
            if program.output:
                report.sections.append((" ".join(program.command[:4]), "".join(program.output[-40:])))
    return report


# uvicorn


def start_uvicorn(
    app: str,
    *options: str,
    app_dir: Path,
    http: str = "httptools",
    env: Mapping[str, str] | None = None,
) -> tuple[Program, str]:
    """Runs `uvicorn app`, and returns it with its URL once it listens.

    Args:
        app: what is to be run, as `module:name`.
        options: more of the command line.
        app_dir: the folder the module is in, and the one uvicorn runs in.
        http: `httptools` or `h11`.
        env: variables to set.
    """
    # The tests check uvicorn's side too: a warning there is not an error. The project is imported from its source.
    environment = {"PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONUNBUFFERED": "1", **(env or {})}
    command = [sys.executable, "-m", "uvicorn", app, "--port", "0", "--http", http, "--no-access-log", *options]
    program = Program(command, env=environment, cwd=app_dir)
    match = program.wait_for_line(r"Uvicorn running on (https?://[0-9.:]+)")
    return program, match[1]


UvicornServer = Callable[..., str]


@pytest.fixture(scope="session")
def uvicorn_server() -> Iterator[UvicornServer]:
    """A function that runs an ASGI app as `start_uvicorn` does, and returns its URL; it runs to the session's end."""
    programs: list[Program] = []

    def run(
        app: str, *options: str, app_dir: Path, http: str = "httptools", env: Mapping[str, str] | None = None
    ) -> str:
        program, url = start_uvicorn(app, *options, app_dir=app_dir, http=http, env=env)
        programs.append(program)
        return url

    yield run
    for program in programs:
        program.stop()


@pytest.fixture(scope="session")
def origin_app_url(uvicorn_server: UvicornServer) -> str:
    """The URL of tests/origin_app.py under uvicorn: echoes, and a sink that counts and hashes uploads."""
    return uvicorn_server("tests.origin_app:app", app_dir=Path(__file__).parents[1])


@pytest.fixture(scope="session")
def web_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files for servers: `hello.txt` (13 bytes), `data.json` (about 1 MB), and `medium.bin` and
    `large.bin` (`MEDIUM` and `LARGE` bytes of `tests.content`).
    """
    root = tmp_path_factory.mktemp("root")
    (root / "hello.txt").write_bytes(b"Hello, world!")
    rows = ",\n".join(f'{{"id": {index}, "name": "row {index * 7919 % 10007}"}}' for index in range(30_000))
    (root / "data.json").write_text(f"[{rows}]\n")
    for name, size in {"medium.bin": MEDIUM, "large.bin": LARGE}.items():
        with (root / name).open("wb") as file:
            file.writelines(blocks(size))
    return root


# nginx


@dataclass(frozen=True)
class Nginx:
    """A running nginx.

    Attributes:
        url: `http://127.0.0.1:port`; with `/`, "Hello, world" (12 bytes, plain text).
        tls_url: the same over TLS, on localhost.
        h2_url: the same over TLS, with HTTP/2 for those who offer it (ALPN).
        h2c_url: the same without TLS, for those who know beforehand that it is HTTP/2.
        root: the folder whose files it serves.
        sockets: for each of the URLs the unix socket on which the same is to be had.
    """

    url: str
    tls_url: str
    h2_url: str
    h2c_url: str
    root: Path
    sockets: dict[str, Path]


_NGINX_CONF = """
daemon off;
{user}
worker_processes 1;
error_log stderr error;
pid {folder}/nginx.pid;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    {temp_paths}
    client_max_body_size 0;
    default_type application/octet-stream;
    types {{ text/plain txt; application/json json; }}
    gzip_types application/json;
    gzip_proxied any;
    keepalive_requests 1000000;
    server {{
        listen 127.0.0.1:{ports[0]};
        listen 127.0.0.1:{ports[1]} ssl;
        # From 1.25.1 on `http2 on` is the new way to say it, for whole servers; this one is still understood.
        listen 127.0.0.1:{ports[2]} ssl http2;
        listen 127.0.0.1:{ports[3]} http2;
        listen unix:{sockets[0]};
        listen unix:{sockets[1]} ssl;
        listen unix:{sockets[2]} ssl http2;
        listen unix:{sockets[3]} http2;
        ssl_certificate {cert};
        ssl_certificate_key {key};
        root {root};
        location = / {{ default_type text/plain; return 200 "Hello, world"; }}
        # What framing the request had when it came here.
        location = /framing {{
            default_type text/plain;
            return 200 "transfer-encoding: $http_transfer_encoding, content-length: $http_content_length";
        }}
        location = /status/204 {{ return 204; }}
        location = /status/304 {{ return 304; }}
        location = /data.json {{ gzip on; }}
        location = /trailers {{ try_files /hello.txt =404; add_trailer x-trailer last; }}
        location /close/ {{ alias {root}/; keepalive_timeout 0; }}
        # To tests/origin_app.py, with nothing held back either way.
        location /app/ {{
            proxy_pass http://{origin};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_request_buffering off;
        }}
    }}
}}
"""


@pytest.fixture(scope="session")
def nginx(
    tmp_path_factory: pytest.TempPathFactory, tls: TLSFiles, web_root: Path, origin_app_url: str
) -> Iterator[Nginx]:
    """nginx with a configuration of its own; see `_NGINX_CONF` for what it answers.

    Its files are those of `web_root`; `data.json` comes with gzip where that is accepted.
    """
    binary = require("nginx")
    folder = tmp_path_factory.mktemp("nginx")
    # nginx inherits sockets that listen already: no port can be lost to another, and there is nothing to wait for.
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
    ports = [listener.getsockname()[1] for listener in listeners]
    sockets = [folder / str(index) for index in range(4)]
    for path in sockets:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        listeners.append(listener)
    temp_paths = "\n".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(
        _NGINX_CONF.format(
            folder=folder,
            root=web_root,
            ports=ports,
            sockets=sockets,
            temp_paths=temp_paths,
            cert=tls.cert_path,
            key=tls.key_path,
            origin=origin_app_url.removeprefix("http://"),
            user="user root;" if os.geteuid() == 0 else "",
        )
    )
    descriptors = [listener.fileno() for listener in listeners]
    program = Program(
        [binary, "-p", str(folder), "-e", "stderr", "-c", str(config)],
        env={"NGINX": "".join(f"{descriptor};" for descriptor in descriptors)},
        pass_fds=descriptors,
    )
    for listener in listeners:
        listener.close()
    urls = (
        f"http://127.0.0.1:{ports[0]}",
        f"https://localhost:{ports[1]}",
        f"https://localhost:{ports[2]}",
        f"http://127.0.0.1:{ports[3]}",
    )
    yield Nginx(*urls, web_root, dict(zip(urls, sockets, strict=True)))
    program.stop()


# Origins in the test's own process

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Origin:
    """A server whose every connection is one call of a function of the test's."""

    url: str
    connections: int = 0
    errors: list[BaseException] = field(default_factory=list)


@contextlib.asynccontextmanager
async def serving(
    serve: Serve, ssl_context: ssl.SSLContext | None = None, *, uds: Path | None = None
) -> AsyncIterator[Origin]:
    """Runs `serve(reader, writer)` for each connection, which is closed when it returns.

    It listens on a free port of the loopback address; or on a unix socket, which has no place in the URL.

    On leaving, what still runs is cancelled, and what one of them raised is raised.
    """
    tasks: set[asyncio.Task[None]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        origin.connections += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            writer.transport.abort()
        except Exception as exc:
            origin.errors.append(exc)
            writer.transport.abort()
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()
            tasks.discard(task)

    if uds is not None:
        server = await asyncio.start_unix_server(run, uds, ssl=ssl_context)
        origin = Origin("http://localhost" if ssl_context is None else "https://localhost")
    else:
        server = await asyncio.start_server(run, "127.0.0.1", 0, ssl=ssl_context)
        port = server.sockets[0].getsockname()[1]
        origin = Origin(f"http://127.0.0.1:{port}" if ssl_context is None else f"https://localhost:{port}")
    try:
        yield origin
    finally:
        server.close()
        # On a copy: who ends takes itself off the list.
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
    if origin.errors:
        raise origin.errors[0]

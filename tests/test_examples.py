"""The examples do what they say: run as a user runs them, against real servers."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest

from tests import origin_app
from tests.asgi_server import asgi_server
from tests.asgi_server_h2 import asgi_server_h2
from tests.conftest import TLSFiles
from tests.content import blocks, sha256
from tests.servers import Nginx, serving

_EXAMPLES = Path(__file__).parents[1] / "examples"


# Runs the file behind it, and keeps what asyncio's debug mode finds, but for how long a step of the loop took, which
# says how busy the machine is.
_RUN = """
import logging, runpy, sys
logging.getLogger("asyncio").addFilter(lambda record: not record.msg.startswith("Executing "))
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class _Example:
    """A running example."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        assert process.stdout is not None
        self._stdout = process.stdout

    @classmethod
    async def start(cls, name: str, *arguments: object) -> _Example:
        return cls(
            await asyncio.create_subprocess_exec(
                # An example leaves nothing unclosed, and uses nothing deprecated.
                *(sys.executable, "-W", "error", "-X", "dev", "-c", _RUN, str(_EXAMPLES / name), *map(str, arguments)),
                cwd=_EXAMPLES.parent,
                env={"PYTHONPATH": str(_EXAMPLES.parent)},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        )

    async def line(self) -> str:
        """Returns the next line it prints."""
        return (await self._stdout.readline()).decode().rstrip("\n")

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def rest(self) -> tuple[str, str]:
        """Waits for its end, and returns what it printed since."""
        out, err = await self._process.communicate()
        return out.decode(), err.decode()

    @property
    def return_code(self) -> int | None:
        return self._process.returncode


async def _run(name: str, *arguments: object) -> str:
    """Runs an example that is to succeed, and returns what it printed."""
    example = await _Example.start(name, *arguments)
    out, err = await example.rest()
    assert (example.return_code, err) == (0, "")
    return out


def test_every_example_is_run_by_a_test():
    names = [path.name for path in sorted(_EXAMPLES.glob("*.py"))]
    # Some have a file of their own: test_example_gateway.py
    source = "".join(path.read_text() for path in Path(__file__).parent.glob("test_example*.py"))
    assert names
    assert [name for name in names if f'"{name}"' not in source and f"examples.{name[:-3]}" not in source] == []


async def test_get_prints_the_response(nginx: Nginx):
    out = await _run("get.py", nginx.url)
    head, _, body = out.partition("\n\n")
    assert head.splitlines()[0] == "HTTP/1.1 200 OK"
    assert "content-type: text/plain" in head.splitlines()
    assert body == "Hello, world\n"


async def test_stream_download_writes_the_file(nginx: Nginx, tmp_path: Path):
    out = await _run("stream_download.py", nginx.url + "/data.json", tmp_path / "copy")
    data = (nginx.root / "data.json").read_bytes()
    assert out == f"{len(data)} bytes\n"
    assert (tmp_path / "copy").read_bytes() == data


async def test_stream_download_of_what_is_not_there_writes_nothing(nginx: Nginx, tmp_path: Path):
    example = await _Example.start("stream_download.py", nginx.url + "/missing", tmp_path / "copy")
    assert await example.rest() == ("", "the server answered 404\n")
    assert not (tmp_path / "copy").exists()


async def test_stream_upload_sends_the_file_and_its_hash(tmp_path: Path):
    size = 3_000_000
    with (tmp_path / "file").open("wb") as file:
        file.writelines(blocks(size))
    async with asgi_server(origin_app.app) as origin:
        out = await _run("stream_upload.py", origin.url + "/upload", tmp_path / "file")
    status, report = out.splitlines()
    assert status == "200"
    received = json.loads(report)
    assert (received["method"], received["size"], received["sha256"]) == ("PUT", size, sha256(size))
    assert received["trailers"] == [["content-sha256", sha256(size)]]


async def test_callbacks_pause_and_resume_the_download(tmp_path: Path):
    half = b"x" * 100_000
    go_on = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 * len(half)) + half)
        await go_on.wait()
        writer.write(half)
        await writer.drain()
        await reader.read()

    async with serving(serve) as origin:
        example = await _Example.start("callbacks.py", origin.url, tmp_path / "copy")
        assert await example.line() == "200 200000 bytes"
        example.send_signal(signal.SIGTSTP)
        paused = await example.line()
        assert paused.startswith("paused at ")
        go_on.set()
        example.send_signal(signal.SIGTSTP)
        resumed = await example.line()
        # Nothing came in between, whatever the server sent.
        assert resumed == paused.replace("paused", "resumed")
        assert await example.rest() == ("saved 200000 bytes\n", "")
    assert (tmp_path / "copy").read_bytes() == half + half


async def test_callbacks_report_a_failure(tmp_path: Path):
    async with asgi_server(origin_app.app) as origin:
        example = await _Example.start("callbacks.py", origin.url + "/break", tmp_path / "copy")
        out, err = await example.rest()
    assert out == "200 1000 bytes\n"
    assert "httpcore.exceptions.RemoteProtocolError" in err


@pytest.mark.parametrize("with_tls", [True, False], ids=["ALPN", "prior knowledge"])
async def test_http2_makes_its_requests_on_one_connection(with_tls: bool, tls: TLSFiles):
    async with asgi_server_h2(origin_app.app, tls.server_context if with_tls else None) as origin:
        out = await _run("http2.py", origin.url + "/hello", 50, *([tls.ca_path] if with_tls else []))
        assert origin.connections == 1
    *lines, summary = out.splitlines()
    assert lines == [f"HTTP/2 200 connection 1, stream {number}" for number in range(1, 101, 2)]
    assert summary == "responses: 50, connections: 1"


async def test_http2_takes_a_connection_each_where_the_server_chooses_http11(tls: TLSFiles):
    async with asgi_server(origin_app.app, tls.server_context) as origin:
        out = await _run("http2.py", origin.url + "/hello", 1, tls.ca_path)
    assert out == "HTTP/1.1 200 connection 1, stream None\nresponses: 1, connections: 1\n"


async def test_own_protocol_makes_its_requests_on_one_connection():
    async with asgi_server(origin_app.app) as origin:
        port = origin.url.rpartition(":")[2]
        out = await _run("own_protocol.py", "127.0.0.1", port, "/hello", "/hello", "/status/404")
        assert origin.connections == 1
    assert out == "HTTP/1.1 200 \nHello, world\n" * 2 + "HTTP/1.1 404 \nstatus 404\n"


async def test_own_protocol_stops_when_the_server_closes():
    async with asgi_server(origin_app.app) as origin:
        port = origin.url.rpartition(":")[2]
        example = await _Example.start("own_protocol.py", "127.0.0.1", port, "/close", "/hello")
        out, err = await example.rest()
    assert out == "HTTP/1.1 200 \nbye\n"
    assert err == "the connection is over: HTTP says that it ends\n"

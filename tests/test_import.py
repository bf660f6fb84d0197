"""What `import httpcore` loads, and what it leaves for those who use it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import httpcore

ROOT = Path(__file__).resolve().parent.parent

UNUSED = {"aiofastnet", "brotli", "certifi", "email", "h2", "hpack", "hyperframe", "idna", "truststore", "zstandard"}
UNUSED_OWN = {
    "httpcore.adapters",
    "httpcore.compat",
    "httpcore.environment",
    "httpcore.protocols.http2",
    "httpcore.sync",
    "httpcore.testing",
}

_PLAIN_REQUEST = """
import asyncio, sys, httpcore

async def answer(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    writer.write(b"HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\n\\r\\nhi")
    await writer.drain()

async def main():
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with httpcore.ConnectionPool() as pool:
        response = await pool.request("GET", f"http://127.0.0.1:{port}/", headers={"accept-encoding": "identity"})
        assert response.body == b"hi"
    server.close()

asyncio.run(main())
"""


def loaded_by(code: str) -> set[str]:
    """Returns the names of the modules that a new interpreter has after `code`."""
    run = subprocess.run(
        [sys.executable, "-c", code + "\nimport sys; print(*sys.modules)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(run.stdout.split())


@pytest.mark.parametrize("code", ["import httpcore", _PLAIN_REQUEST], ids=["import", "plain request"])
def test_nothing_is_imported_that_is_not_used(code: str) -> None:
    loaded = loaded_by(code)
    assert "asyncio" in loaded and "httpcore.pool.connection_pool" in loaded
    assert loaded & (UNUSED | UNUSED_OWN) == set()


@pytest.mark.parametrize("name", [*httpcore.__all__, "AsyncConnectionPool", "HTTPProxy"])
def test_every_name_is_there_when_it_is_asked_for(name: str) -> None:
    loaded_by(f"from httpcore import {name}; import httpcore; assert httpcore.{name} is {name}")


def test_dir_has_what_is_imported_later() -> None:
    assert set(httpcore.__all__) <= set(dir(httpcore))


def test_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'httpcore' has no attribute 'Client'"):
        httpcore.Client  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(AttributeError, match=r"module 'httpcore.protocols' has no attribute 'HTTP3Protocol'"):
        httpcore.protocols.HTTP3Protocol  # type: ignore[attr-defined]  # noqa: B018

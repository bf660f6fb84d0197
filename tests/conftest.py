"""What every test gets: the event loop it runs on, a check that it leaves nothing behind, and certificates."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import socket
import ssl
import sys
import warnings
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import trustme
import uvloop

from httpcore.protocols.codecs import auto_codec, codec_named

pytest_plugins = ["tests.servers", "tests.servers_h2", "tests.servers_proxies"]

# Fixtures that take hold of what asyncio's own loop is made of, its selector and its handles; uvloop has neither.
_ASYNCIO_FIXTURES = {"clock", "steps"}


class _UvloopPolicy(uvloop.EventLoopPolicy):  # type: ignore[misc]  # untyped
    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        loop: asyncio.AbstractEventLoop = super().new_event_loop()
        loop.set_exception_handler(_stop_on_timeout)
        return loop


def _stop_on_timeout(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # pytest-timeout raises in a signal handler. uvloop runs that as one of its callbacks, whose errors it logs and
    # survives: a test that hangs would hang for good.
    loop.default_exception_handler(context)
    if isinstance(context.get("exception"), pytest.fail.Exception):
        loop.stop()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--loop", choices=("asyncio", "uvloop"), default="asyncio", help="the event loop of all tests")
    parser.addoption(
        "--http1-codec", choices=("llhttp", "h11"), default="llhttp", help="what http1_codec='auto' is in all tests"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "asyncio_only(reason): not to be run with --loop uvloop")
    config.addinivalue_line("markers", "llhttp_only(reason): not to be run with --http1-codec h11")
    if config.getoption("http1_codec") == "h11":
        _choose_h11()
    if config.getoption("loop") == "uvloop":
        # What a policy makes is what everybody gets: async tests, `asyncio.run`, and the blocking API's own loop.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of policies, from Python 3.14 on
            asyncio.set_event_loop_policy(_UvloopPolicy())


def _choose_h11() -> None:
    # As on the default install: what is found of httptools the first time is remembered, and afterwards it is there
    # again for the tests that name llhttp.
    sys.modules["httptools"] = None  # type: ignore[assignment]  # how Python itself remembers that there is no module
    try:
        assert auto_codec() is codec_named("h11")
    finally:
        del sys.modules["httptools"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what means another loop, or another codec, than the one to run on."""
    left_out: set[pytest.Item] = set()
    if config.getoption("loop") == "uvloop":
        left_out.update(item for item in items if _means_asyncio(item))
    if config.getoption("http1_codec") == "h11":
        left_out.update(item for item in items if item.get_closest_marker("llhttp_only") is not None)
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


def _means_asyncio(item: pytest.Item) -> bool:
    names = getattr(item, "fixturenames", ())
    return item.get_closest_marker("asyncio_only") is not None or not _ASYNCIO_FIXTURES.isdisjoint(names)


@pytest.fixture(scope="module", autouse=True)
def _out_of_the_collectors_sight() -> None:
    """Freezes all that is there before the tests of a module: modules, fixtures, thousands of tests and their reports.

    It stays until the end, and a full collection after each test would look through it for longer than most tests
    last. What a test makes is made later, and found as ever.
    """
    gc.collect()
    gc.freeze()


def _left_behind(loop: asyncio.AbstractEventLoop) -> list[str]:
    """Returns what is still there: tasks, timers, and sockets that the loop watches."""
    current = asyncio.current_task()
    found = [f"task {task!r}" for task in asyncio.all_tasks(loop) if task is not current and not task.done()]
    found += [f"timer {handle!r}" for handle in getattr(loop, "_scheduled", ()) if not handle.cancelled()]
    selector = getattr(loop, "_selector", None)
    if selector is not None:
        own = getattr(loop, "_ssock", None)
        found += [f"socket {key!r}" for key in selector.get_map().values() if key.fileobj != (own and own.fileno())]
    elif isinstance(loop, uvloop.Loop):
        found += _watched_by_uvloop(loop)
    return found


def _watched_by_uvloop(loop: uvloop.Loop) -> list[str]:
    # It keeps what it watches to itself, and its timers; Linux tells at least the former.
    watched = Path(f"/proc/self/fdinfo/{loop._get_backend_id()}")  # type: ignore[attr-defined]
    if not watched.exists():
        return []
    found = []
    for descriptor in [int(line.split()[1]) for line in watched.read_text().splitlines() if line.startswith("tfd:")]:
        if os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:"):
            with socket.socket(fileno=os.dup(descriptor)) as copy:
                # A pair without names is the loop's own, by which signals wake it up.
                if copy.family != socket.AF_UNIX or copy.getsockname() or _peer_name(copy):
                    found.append(f"socket {copy!r}")
    return found


def _peer_name(connection: socket.socket) -> object:
    try:
        return connection.getpeername()
    except OSError:
        return None


@pytest.fixture(autouse=True)
def _leaks(request: pytest.FixtureRequest) -> None:
    # A test that is no coroutine has no loop to leave anything on; to make one for it would cost more than the test.
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("nothing_left_behind")


@pytest_asyncio.fixture
async def nothing_left_behind() -> AsyncIterator[None]:
    """Fails a test after which a task, a timer or an open transport is left on its loop."""
    yield
    loop = asyncio.get_running_loop()
    # Ends that were asked for take some turns of the loop: connection_lost, TLS's own, cancelled tasks' last steps.
    for _ in range(20):
        if not _left_behind(loop):
            break
        await asyncio.sleep(0)
    else:
        # What real sockets still have to say takes the kernel's time, not the loop's turns.
        for _ in range(200):
            if not _left_behind(loop):
                break
            await asyncio.sleep(0.01)
    found = _left_behind(loop)
    gc.collect()  # warnings about what was dropped unclosed belong to the test that dropped it
    assert not found, "the test left behind:\n" + "\n".join(found)


@dataclass(frozen=True)
class TLSFiles:
    """A certificate authority and a server's certificate for localhost, 127.0.0.1, ::1 and example.org."""

    authority: trustme.CA
    ca_path: Path
    cert_path: Path
    key_path: Path

    @property
    def server_context(self) -> ssl.SSLContext:
        """A new context for a server."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert_path, self.key_path)
        return context

    @property
    def client_context(self) -> ssl.SSLContext:
        """A new context that trusts the authority."""
        return ssl.create_default_context(cafile=str(self.ca_path))


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TLSFiles:
    """Certificates for servers on loopback."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1", "::1", "example.org")
    files = TLSFiles(authority, folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    authority.cert_pem.write_to_path(str(files.ca_path))
    files.cert_path.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(str(files.key_path))
    return files

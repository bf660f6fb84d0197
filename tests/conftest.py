"""What every test gets: a check that it leaves nothing behind, and certificates."""

from __future__ import annotations

import asyncio
import gc
import inspect
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
import trustme

pytest_plugins = ["tests.servers", "tests.servers_h2", "tests.servers_proxies"]


def _left_behind(loop: asyncio.AbstractEventLoop) -> list[str]:
    """Returns what is still there: tasks, timers, and sockets that the loop watches."""
    current = asyncio.current_task()
    found = [f"task {task!r}" for task in asyncio.all_tasks(loop) if task is not current and not task.done()]
    found += [f"timer {handle!r}" for handle in getattr(loop, "_scheduled", ()) if not handle.cancelled()]
    selector = getattr(loop, "_selector", None)
    if selector is not None:
        own = getattr(loop, "_ssock", None)
        found += [f"socket {key!r}" for key in selector.get_map().values() if key.fileobj != (own and own.fileno())]
    return found


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

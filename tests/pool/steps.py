"""What sweeps go by: the steps of a loop, and servers to be reached over several kinds of link."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from httpcore import (
    ConnectionPool,
    PoolLimits,
    SSLConfig,
)
from httpcore.testing import MemoryConnector
from tests.conftest import TLSFiles
from tests.pool.peers import AutoPeer

__all__ = ["CONTENT", "LIMITS", "Server", "Steps", "serving"]

CONTENT = b"0123456789" * 5


class Steps:
    """Counts the callbacks that the loop runs, and acts after a certain one.

    Every state in which a caller can find the pool lies between two of them.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.actions: dict[int, Callable[[], object]] = {}  # by the number of callbacks still to run before each
        run = asyncio.Handle._run

        def run_and_act(handle: asyncio.Handle) -> None:
            run(handle)
            if self.actions:
                actions, self.actions = self.actions, {}
                for left, action in actions.items():
                    if left:
                        self.actions[left - 1] = action
                    else:
                        action()

        monkeypatch.setattr(asyncio.Handle, "_run", run_and_act)


class Server:
    """Where requests go: a pool for it, and its URL."""

    def __init__(self, make_pool: Callable[[], ConnectionPool], url: str) -> None:
        self.make_pool = make_pool
        self.url = url


def answer_at_length(peer: AutoPeer) -> None:
    peer.answer(CONTENT)


LIMITS = PoolLimits(hard_limit=1)


@asynccontextmanager
async def serving(link: str, tls: TLSFiles) -> AsyncIterator[Server]:
    def make() -> AutoPeer:
        return AutoPeer(respond=answer_at_length)

    if link == "memory":
        connector = MemoryConnector(make, segment=32)
        yield Server(lambda: ConnectionPool(limits=LIMITS, connector=connector), "http://a/")
        await connector.all_closed()
        return
    context: ssl.SSLContext | None = tls.server_context if link == "tls" else None
    config = SSLConfig(verify=tls.client_context)  # shared, as are contexts of a program
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    yield Server(lambda: ConnectionPool(config, limits=LIMITS), f"http{'s' if context else ''}://127.0.0.1:{port}/")
    server.close()

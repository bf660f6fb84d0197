"""The server of the soak: all of its connections, on loopback TCP, and what they saw."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

from tests.clock import until
from tests.soak.connection import ServerConnection
from tests.soak.plans import Plan

__all__ = ["SoakServer"]


class SoakServer:
    """All connections, and what they saw.

    Args:
        plans: what the requests ask for.
        seed: of what the server draws by itself.
        calm: whether it never says GOAWAY nor changes its settings by itself.

    Attributes:
        connections: those that are open.
        arrived: how many times the application heard of a request, by number.
        turned_away: how many times one was refused, or left out by a GOAWAY, by number.
        resets: how many streams the client reset, by code.
        events: how often the server did what.
        faults: what no good client does.
        stopping: whether it is the server that ends its connections.
    """

    def __init__(self, plans: Sequence[Plan], seed: int, *, calm: bool = False) -> None:
        self.plans = plans
        self.draw = random.Random(seed)
        self.calm = calm
        self.connections: list[ServerConnection] = []
        self.arrived: Counter[int] = Counter()
        self.turned_away: Counter[int] = Counter()
        self.resets: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self.faults: list[str] = []
        self.stopping = False
        self._listener: asyncio.Server | None = None

    async def start(self) -> str:
        """Listens on loopback; returns the beginning of its URLs."""
        self._listener = await asyncio.get_running_loop().create_server(lambda: ServerConnection(self), "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._listener.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Aborts what is still open."""
        assert self._listener is not None
        self.stopping = True
        self._listener.close()
        for connection in list(self.connections):
            connection.transport.abort()
        await until(lambda: not self.connections)
        await self._listener.wait_closed()

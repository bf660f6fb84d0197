"""`Changes`: how a test's coroutine waits for a fact that a protocol's callback brings about, without sleeping."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["Changes"]


class Changes:
    """Wakes everybody who waits, whenever something has changed; each looks for itself whether it was that.

    Those who wait longer look first, however often they have looked in vain.
    """

    def __init__(self) -> None:
        self._waiting: dict[object, asyncio.Future[None]] = {}

    def notify(self) -> None:
        """Lets everybody look."""
        for future in self._waiting.values():
            if not future.done():  # told already, or cancelled
                future.set_result(None)

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Returns when `condition()` holds, at once if it does already. What it raises goes to the caller."""
        place = object()
        try:
            while not condition():
                self._waiting[place] = asyncio.get_running_loop().create_future()  # keeps its place in the order
                await self._waiting[place]
        finally:
            self._waiting.pop(place, None)

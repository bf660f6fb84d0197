"""Lifeline: how the books of a pool learn that their loop is about to end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

__all__ = ["Lifeline"]


class Lifeline:
    """Lives as long as the loop: `asyncio.run` closes async generators before it closes the loop.

    So a pool that was not closed leaves no open socket behind, and works on the next loop.

    Args:
        cut: called when the loop is about to end, unless `end` was called before.
    """

    def __init__(self, cut: Callable[[], None]) -> None:
        self._cut: Callable[[], None] | None = cut
        self._generator = self._live()
        # The first step is what makes the loop know of a generator. It runs to the `yield` without waiting.
        try:
            self._generator.__anext__().send(None)
        except StopIteration:
            pass

    def end(self) -> None:
        """It is not needed any more."""
        self._cut = None
        # Nothing waits in its `finally` either. When the loop is ending it, it is on its way already.
        try:
            self._generator.aclose().send(None)
        except (StopIteration, RuntimeError):
            pass

    async def _live(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            if self._cut is not None:
                self._cut()

"""`Lifespan`: an ASGI app's startup and shutdown, in a task of their own between which the app serves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

__all__ = ["Lifespan"]


class Lifespan:
    """One call of an app with the scope `lifespan`.

    Args:
        app: an ASGI 3 app.

    Attributes:
        state: what the app has put into its scope's `state`.
    """

    # Not `ASGIApp`, which stands in a module that needs this one.
    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.state: dict[str, object] = {}
        self._app = app
        self._messages: asyncio.Queue[str] = asyncio.Queue()
        self._answers: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        self._asked = False  # whether the app has taken `lifespan.startup`
        self._task: asyncio.Task[None] | None = None  # None where the app has no lifespan

    async def start_up(self) -> None:
        """Returns when the app is ready, or where it has no lifespan.

        Raises:
            RuntimeError: the app says that its startup has failed.
            BaseException: what the app has raised since then.
        """
        task = self._task = asyncio.get_running_loop().create_task(self._run())
        if not await self._ask("lifespan.startup"):
            self._task = None
            if self._asked:
                await task  # raises what it has raised
                raise RuntimeError("the app has ended its lifespan before its startup was complete")
            if not task.cancelled():
                task.exception()  # an app that knows no lifespan raises: that is how it says so

    async def shut_down(self) -> None:
        """Returns when the app has shut down.

        Raises:
            RuntimeError: the app says that its shutdown has failed.
            BaseException: what the app has raised.
        """
        task, self._task = self._task, self._task
        if task is None:
            return
        await self._ask("lifespan.shutdown")
        self._task = None
        await task

    async def _ask(self, question: str) -> bool:
        """Tells the app; returns whether it says that this is complete, and not that it has ended."""
        task = self._task
        assert task is not None
        self._messages.put_nowait(question)
        answer = asyncio.ensure_future(self._answers.get())
        try:
            await asyncio.wait([answer, task], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait([task])
            raise
        finally:
            answer.cancel()
        if not answer.done() or answer.cancelled():
            return False
        message = answer.result()
        if message["type"] == f"{question}.complete":
            return True
        self._task = None
        await self._end(task)
        raise RuntimeError(f"the app's {message['type']}: {message.get('message', '')}")

    async def _end(self, task: asyncio.Task[None]) -> None:
        """Ends the task of an app that has failed; raises what it raises."""
        await asyncio.sleep(0)  # an app that says that it has failed mostly raises why, right after that
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
        if not task.cancelled():
            task.result()

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        await self._app(scope, self._receive, self._send)

    async def _receive(self) -> dict[str, str]:
        message = await self._messages.get()
        self._asked = True
        return {"type": message}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if not message["type"].startswith("lifespan."):
            raise RuntimeError(f"a message of the type {message['type']!r} cannot be sent in the lifespan")
        self._answers.put_nowait(message)

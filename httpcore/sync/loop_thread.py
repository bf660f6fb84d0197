"""The loop of the blocking API: one for each process, in a thread of its own, which all blocking pools share."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading

__all__ = ["background_loop"]

_STOP_TIMEOUT = 5.0  # seconds for the loop to close what pools have left open, when the program ends


class _LoopThread:
    """Where the loop is kept; there is one of these."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: tuple[asyncio.AbstractEventLoop, threading.Thread] | None = None
        self._forked: list[object] = []  # the parent process's, kept from being collected: their selectors are its own

    def loop(self) -> asyncio.AbstractEventLoop:
        running = self._running
        if running is None:
            with self._lock:
                running = self._running
                if running is None:
                    loop = asyncio.new_event_loop()
                    thread = threading.Thread(target=_run, args=(loop,), name="httpcore", daemon=True)
                    thread.start()
                    running = self._running = loop, thread
        return running[0]

    def stop(self) -> None:
        with self._lock:
            running, self._running = self._running, None
        if running is not None:
            loop, thread = running
            loop.call_soon_threadsafe(loop.stop)
            thread.join(_STOP_TIMEOUT)

    def forget(self) -> None:
        """In a forked child: the thread is not there, and the loop's selector is the parent's."""
        self._lock = threading.Lock()  # another thread may have held it
        if self._running is not None:
            self._forked.append(self._running)
            self._running = None


_loop_thread = _LoopThread()


def background_loop() -> asyncio.AbstractEventLoop:
    """Returns the loop, which is started by the first call, and ends with the program.

    A process that was forked has one of its own.
    """
    return _loop_thread.loop()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        try:
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())  # which is how pools learn that the loop ends
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()


atexit.register(_loop_thread.stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_loop_thread.forget)

"""The loop of the blocking API: one for each process, in a thread of its own, which all blocking pools share."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading

__all__ = ["background_loop"]

_STOP_TIMEOUT = 5.0  # seconds for the loop to close what pools have left open, when the program ends

_lock = threading.Lock()
_running: tuple[asyncio.AbstractEventLoop, threading.Thread] | None = None
_forked: list[object] = []  # loops of the parent process, kept from being collected: their selectors are the parent's


def background_loop() -> asyncio.AbstractEventLoop:
    """Returns the loop, which is started by the first call, and ends with the program.

    A process that was forked has one of its own.
    """
    global _running
    if _running is None:
        with _lock:
            if _running is None:
                loop = asyncio.new_event_loop()
                thread = threading.Thread(target=_run, args=(loop,), name="httpcore", daemon=True)
                thread.start()
                _running = loop, thread
    return _running[0]


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


def _stop() -> None:
    global _running
    with _lock:
        running, _running = _running, None
    if running is not None:
        loop, thread = running
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_STOP_TIMEOUT)


def _forget() -> None:
    """In a forked child: the thread is not there, and the loop's selector is the parent's."""
    global _lock, _running
    _lock = threading.Lock()  # another thread may have held it
    if _running is not None:
        _forked.append(_running)
        _running = None


atexit.register(_stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)

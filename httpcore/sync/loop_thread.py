"""The loop of the blocking API: one for each process, in a thread of its own, which all blocking pools share."""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import threading
from collections.abc import Callable

if sys.platform == "linux":
    from httpcore.sync.job_selector import JobSelector

__all__ = ["LoopThread", "background_loop", "loop_thread", "ring"]

_STOP_TIMEOUT = 5.0  # seconds for the loop to close what pools have left open, when the program ends


def ring(bell: threading.Lock) -> None:
    """Releases the lock for which a thread waits."""
    try:
        bell.release()
    except RuntimeError:
        pass  # it is released already, and the thread about to find that out


class LoopThread:
    """A loop that runs in a thread of its own, and what other threads have to do with it.

    Attributes:
        loop: the loop.
        forked: whether this is the copy in a forked process, where nothing runs.
        submit: `submit(callback, *args)` has the loop call it, soon, in the context of who asks, as
            `call_soon_threadsafe` does, at a fraction of the cost. Raises `RuntimeError` once the loop is closed.
        wake: `wake(bell)` releases a lock for which another thread waits. To be called on the loop's thread, which may
            first finish what it has at hand: a thread that is woken while it cannot have the GIL is woken in vain.
    """

    submit: Callable[..., object]
    wake: Callable[[threading.Lock], None]

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.new_event_loop()
        self.submit, self.wake = self.loop.call_soon_threadsafe, ring
        # One that a policy makes, such as uvloop's, is taken as it is.
        if sys.platform == "linux" and hasattr(os, "eventfd") and type(self.loop) is asyncio.SelectorEventLoop:
            self.loop.close()
            selector = JobSelector()
            self.loop = asyncio.SelectorEventLoop(selector)
            selector.loop = self.loop
            self.submit, self.wake = selector.submit, selector.wake
        self._thread = threading.Thread(target=self._run, name="httpcore", daemon=True)
        self._thread.start()
        self.forked = False
        self.ident = self._thread.ident

    def check(self) -> None:
        """To be called ahead of what blocks.

        Raises:
            RuntimeError: this is the loop's thread, which would wait for itself for ever; or a forked process, which
                does not have the loop's thread.
        """
        if self.forked:
            raise RuntimeError("the response or the stream belongs to the process that this one was forked from")
        if threading.get_ident() == self.ident:
            raise RuntimeError("a blocking call from the thread of the loop, which cannot wait: from a hook, perhaps")

    def submit_if_open(self, callback: Callable[..., object], *args: object) -> None:
        """What `submit` does; nothing once the loop is closed, and with it all that it had."""
        try:
            self.submit(callback, *args)
        except RuntimeError:
            pass

    def stop(self) -> None:
        """Ends it, and what goes on on it. Waits for that, but no longer than is decent."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(_STOP_TIMEOUT)

    def _run(self) -> None:
        loop = self.loop
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
                asyncio.set_event_loop(None)
                loop.close()


class _Kept:
    """Where the process's own is kept; there is one of these."""

    def __init__(self) -> None:
        self.running: LoopThread | None = None
        self._lock = threading.Lock()
        self._forked: list[LoopThread] = []  # the parent process's, never collected: their selectors are its own

    def get(self) -> LoopThread:
        """Returns it; makes it if there is none."""
        with self._lock:
            if self.running is None:
                self.running = LoopThread()
            return self.running

    def stop(self) -> None:
        """The program ends."""
        with self._lock:
            running, self.running = self.running, None
        if running is not None:
            running.stop()

    def forget(self) -> None:
        """In a forked child: the thread is not there, and the loop's selector is the parent's."""
        self._lock = threading.Lock()  # another thread may have held it
        if self.running is not None:
            self.running.forked = True
            self._forked.append(self.running)
            self.running = None


_kept = _Kept()


def loop_thread() -> LoopThread:
    """Returns the process's own, which is started by the first call, and ends with the program.

    A process that was forked has one of its own.
    """
    return _kept.running or _kept.get()


def background_loop() -> asyncio.AbstractEventLoop:
    """Returns the loop of `loop_thread()`."""
    return loop_thread().loop


atexit.register(_kept.stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_kept.forget)

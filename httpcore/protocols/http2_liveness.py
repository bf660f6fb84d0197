"""Liveness: is the server of an HTTP/2 connection still there? It is asked by PING (RFC 9113 6.7).

A connection whose other end vanished looks like one whose server thinks. Three occasions make us ask: nothing was heard
for a while although requests are open; a request is sent after a long silence; a stream was reset. The last is asked
for another reason as well: a server may go on working for streams that were reset, and one that is made to work for
hundreds of them takes it for an attack. So a stream keeps its place until the server has confirmed that it knows, by
answering a PING behind RST_STREAM.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from httpcore.config import HTTP2Config
from httpcore.protocols.deadlines import Deadline

__all__ = ["Liveness"]


class Liveness:
    """What is known of the server's being there.

    Args:
        loop: the loop.
        config: how long silence may last.
        ping: sends PING.
        dead: called once a PING was not answered, and nothing else was heard, for the ping timeout.
        confirmed: called when the server has confirmed that streams were reset.
        taken: gives a number that has grown whenever the server took something of what waits to be sent.

    Attributes:
        heard_at: when anything was heard last, in seconds of the loop's clock.
        suspect: whether an exchange timed out in the middle of silence, and nothing was heard since.
    """

    __slots__ = (
        "_config",
        "_confirmed",
        "_dead",
        "_loop",
        "_ping",
        "_pinged_at",
        "_resets_confirmable",
        "_resets_since",
        "_silence",
        "_taken",
        "_taken_before",
        "_unanswered",
        "_watching",
        "heard_at",
        "suspect",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        config: HTTP2Config,
        ping: Callable[[], None],
        dead: Callable[[], None],
        confirmed: Callable[[], None],
        taken: Callable[[], int],
    ) -> None:
        self._loop = loop
        self._config = config
        self._ping = ping
        self._dead = dead
        self._confirmed = confirmed
        self._taken = taken
        self._taken_before = 0
        self.heard_at = loop.time()
        self.suspect = False
        self._watching = False  # whether requests are open
        self._pinged_at: float | None = None  # when the PING was sent that is not answered yet
        self._resets_confirmable = 0  # streams that were reset before that PING, ...
        self._resets_since = 0  # ... and after it
        self._silence = Deadline(loop, self._silent)
        self._unanswered = Deadline(loop, self._not_answered)

    @property
    def unconfirmed(self) -> int:
        """How many streams were reset of which the server may not know."""
        return self._resets_confirmable + self._resets_since

    def request_sent(self, *, alone: bool) -> None:
        """A request is about to be sent; `alone` if no other is open."""
        interval = self._config.ping_interval
        if interval is None:
            return
        now = self._loop.time()
        if alone and now - self.heard_at >= interval:
            self.ask()
        self._watching = True
        if self._silence.when is None:
            self._silence.arm(now + interval)

    def quiet(self) -> None:
        """No request is open any more: silence means nothing."""
        self._watching = False

    def reset_sent(self) -> None:
        """A stream was reset."""
        self._resets_since += 1
        self.ask()

    def timed_out(self, seconds: float) -> None:
        """An exchange timed out after so many seconds, or a tunnel was given up that long after something was sent."""
        self.suspect = self.suspect or self._loop.time() - self.heard_at >= seconds

    def ask(self) -> None:
        """Sends a PING, unless one is on its way."""
        if self._pinged_at is None:
            self._pinged_at = self._loop.time()
            self._taken_before = self._taken()
            self._resets_confirmable, self._resets_since = self._resets_since, 0
            self._unanswered.arm(self._pinged_at + self._config.ping_timeout)
            self._ping()

    def answered(self) -> float | None:
        """The PING was answered; returns after how many seconds, `None` if there was none."""
        if self._pinged_at is None:
            return None
        seconds = self._loop.time() - self._pinged_at
        self._settle()
        return seconds

    def close(self) -> None:
        """Ends the timers."""
        self._silence.close()
        self._unanswered.close()

    def _settle(self) -> None:
        self._pinged_at = self._unanswered.when = None
        confirmed, self._resets_confirmable = self._resets_confirmable, 0
        if self._resets_since:
            self.ask()
        if confirmed:
            self._confirmed()

    def _silent(self) -> None:
        if not self._watching:
            return  # the next request arms it again
        interval = self._config.ping_interval
        assert interval is not None
        now = self._loop.time()
        if now - self.heard_at >= interval:
            self.ask()
            self._silence.arm(now + interval)
        else:
            self._silence.arm(self.heard_at + interval)

    def _not_answered(self) -> None:
        assert self._pinged_at is not None
        before, self._taken_before = self._taken_before, self._taken()
        if self.heard_at <= self._pinged_at and self._taken_before != before:  # it has not come to the PING yet
            self._unanswered.arm(self._loop.time() + self._config.ping_timeout)
        elif self.heard_at <= self._pinged_at:
            self._dead()
        else:  # it is there, and has other things to do; to wait for longer would keep places for nothing
            self._settle()

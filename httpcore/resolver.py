"""Resolver: what finds the addresses of a host's name. Owns its contract, and `CachingResolver`, which remembers."""

from __future__ import annotations

import asyncio
import ipaddress
import math
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

from httpcore.exceptions import HTTPCoreError, copy_error, quote_peer_text

__all__ = ["CachingResolver", "Resolution", "Resolver"]


class Resolution(NamedTuple):
    """What a host's name was found to lead to.

    Attributes:
        addresses: IPv4 and IPv6 addresses as text, an IPv6 one with its zone where it needs one (`"fe80::1%eth0"`).
            They are tried in this order, though the families take turns (RFC 8305 4).
        ttl: seconds for which the answer may be remembered. `None` where nothing was said of that.
    """

    addresses: tuple[str, ...]
    ttl: float | None = None

    @classmethod
    def of(cls, answer: Resolution | Sequence[str]) -> Resolution:
        """Returns a resolver's answer as a `Resolution`, with no address in it twice.

        Raises:
            TypeError: it is neither a `Resolution` nor a sequence of `str`.
            ValueError: one of its addresses is none, or its `ttl` is below zero.
        """
        addresses, ttl = answer if isinstance(answer, Resolution) else (answer, None)
        if isinstance(addresses, (str, bytes)) or not isinstance(addresses, Sequence):
            raise TypeError(f"a resolver returns a Resolution or a sequence of str, not {type(addresses).__name__}")
        if ttl is not None:
            _check_ttl(ttl)
        found: dict[str, None] = {}
        for address in addresses:
            if not isinstance(address, str):
                raise TypeError(f"a resolver returns addresses as str, not {type(address).__name__}")
            try:
                found[str(ipaddress.ip_address(address))] = None
            except ValueError as exc:
                raise ValueError(f"the resolver's answer {quote_peer_text(address)} is no IP address") from exc
        return cls(tuple(found), ttl)


Resolver: TypeAlias = Callable[[str], Awaitable[Resolution | Sequence[str]]]
"""Finds the addresses of a host's name. What it raises is the cause of a `ConnectError`."""


class _Lookup:
    """A look-up that runs, for so many."""

    __slots__ = ("task", "waiters")

    def __init__(self, task: asyncio.Task[Resolution]) -> None:
        self.task = task
        self.waiters = 0


class _Memory:
    """What one loop knows: answers with the time of their expiry, the one unused for longest first, and look-ups."""

    __slots__ = ("answers", "lookups")

    def __init__(self) -> None:
        self.answers: dict[str, tuple[Resolution, float]] = {}
        self.lookups: dict[str, _Lookup] = {}


class CachingResolver:
    """A `Resolver` that remembers the answers of another, and asks it once for all who want the same at one time.

    Failures, and answers without an address, are not remembered. Each loop has a memory of its own; it leaves no task
    and no timer behind.

    Args:
        resolver: who knows; `None` for the system, through the loop's `getaddrinfo`.
        ttl: seconds for which answers are remembered that say nothing of it, as those of the system: 0 does not
            remember them, `None` does for ever. For others goes what they say.
        max_size: how many answers are remembered; those unused for longest are forgotten.

    Raises:
        TypeError: `resolver` is not callable, or another argument is no number.
        ValueError: `ttl` is below zero, or `max_size` below one.
    """

    def __init__(self, resolver: Resolver | None = None, *, ttl: float | None = 10.0, max_size: int = 256) -> None:
        if resolver is not None and not callable(resolver):
            raise TypeError(f"resolver takes a function, not {type(resolver).__name__}")
        if ttl is not None:
            _check_ttl(ttl)
        if isinstance(max_size, bool) or not isinstance(max_size, int):
            raise TypeError(f"max_size takes a whole number, not {type(max_size).__name__}")
        if max_size < 1:
            raise ValueError(f"max_size must be at least 1, not {max_size}")
        self._resolver: Resolver = _ask_system if resolver is None else resolver
        self._ttl = math.inf if ttl is None else ttl
        self._max_size = max_size
        self._memories: WeakKeyDictionary[asyncio.AbstractEventLoop, _Memory] = WeakKeyDictionary()

    async def __call__(self, host: str) -> Resolution:
        """Returns the addresses of `host`, with what is left of their time.

        Raises:
            Exception: whatever the resolver raises.
            TypeError, ValueError: its answer is none; see `Resolution.of`.
        """
        loop = asyncio.get_running_loop()
        memory = self._memories.get(loop) or self._begin(loop)
        now = loop.time()
        answer, expires = memory.answers.pop(host, (None, now))
        if answer is not None and now < expires:
            memory.answers[host] = answer, expires
            return answer._replace(ttl=expires - now)
        lookup = memory.lookups.get(host)
        if lookup is None:
            lookup = memory.lookups[host] = _Lookup(loop.create_task(self._look_up(host)))

            def finish(task: asyncio.Task[Resolution], lookup: _Lookup = lookup) -> None:
                if memory.lookups.get(host) is lookup:
                    del memory.lookups[host]
                # Asking for the exception also says that somebody has: all who waited may be gone.
                if not task.cancelled() and task.exception() is None:
                    self._remember(memory, host, task.result(), loop.time())

            lookup.task.add_done_callback(finish)
        lookup.waiters += 1
        try:
            await asyncio.wait([lookup.task])
        except asyncio.CancelledError:
            lookup.waiters -= 1
            if not lookup.waiters and not lookup.task.done():
                del memory.lookups[host]
                lookup.task.cancel()
                await asyncio.wait([lookup.task])
            raise
        try:
            return lookup.task.result()
        except HTTPCoreError as exc:
            raise copy_error(exc) from exc.__cause__

    def clear(self) -> None:
        """Forgets all answers, for when the network has changed. Look-ups that run are not disturbed."""
        for memory in list(self._memories.values()):
            memory.answers.clear()

    def _begin(self, loop: asyncio.AbstractEventLoop) -> _Memory:
        for reference in self._memories.keyrefs():
            # A loop that was closed in the middle of a look-up would be held by it.
            if (other := reference()) is not None and other.is_closed():
                self._memories.pop(other, None)
        memory = self._memories[loop] = _Memory()
        return memory

    async def _look_up(self, host: str) -> Resolution:
        return Resolution.of(await self._resolver(host))

    def _remember(self, memory: _Memory, host: str, answer: Resolution, now: float) -> None:
        seconds = self._ttl if answer.ttl is None else answer.ttl
        if seconds > 0 and answer.addresses:
            memory.answers.pop(host, None)
            memory.answers[host] = answer, now + seconds
            if len(memory.answers) > self._max_size:
                del memory.answers[next(iter(memory.answers))]


async def _ask_system(host: str) -> Sequence[str]:
    infos = await asyncio.get_running_loop().getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    found = []
    for info in infos:
        address = str(info[4][0])
        zone = info[4][3] if len(info[4]) == 4 else 0
        found.append(f"{address}%{zone}" if zone and "%" not in address else address)
    return found


def _check_ttl(ttl: float) -> None:
    if isinstance(ttl, bool) or not isinstance(ttl, (int, float)):
        raise TypeError(f"ttl takes seconds or None, not {type(ttl).__name__}")
    if not ttl >= 0:  # refuses NaN as well
        raise ValueError(f"ttl must not be below zero, and is {ttl!r}")

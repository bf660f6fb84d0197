"""The soak of HTTP/2: many requests, a server that misbehaves within the rules, and accounts that must balance.

    python -m tests.soak.run --requests 50000 --seed 1

Every request ends as its plan explains: with the right answer, or with an error that the server caused on purpose. One
that is not idempotent reaches the application once at most; one that was refused, or left out by a GOAWAY, is answered
all the same. When all are through, and the pool is still open, no stream is left, and both sides of every connection
know the same windows, of which nothing is missing but what is about to be credited.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from httpcore import ConnectionPool, HTTPCoreError, PoolLimits, RemoteProtocolError, Response
from httpcore.config import HTTP2Config
from httpcore.pool.retries import MAX_REPLAYS_UNPROCESSED
from httpcore.protocols.http2 import HTTP2Protocol
from httpcore.request import BodyTypes
from tests.clock import until
from tests.pool.books import check_books, check_empty
from tests.soak.connection import ServerConnection
from tests.soak.plans import NUMBER, BodyKind, Client, Plan, content, make_plans
from tests.soak.server import SoakServer

__all__ = ["Summary", "soak"]

_HELD_FOR = 150  # requests that get through meanwhile
_TIMEOUT = 30.0  # seconds, in which on loopback anything happens that is going to


@dataclass
class Summary:
    """What came of a run.

    Attributes:
        outcomes: requests by how they ended.
        events: what the server did, and how often.
        resets: streams that the client reset, by code.
        seconds: how long it took.
    """

    outcomes: Counter[str]
    events: Counter[str]
    resets: Counter[str]
    seconds: float

    def __str__(self) -> str:
        lines = [f"{self.outcomes.total()} requests in {self.seconds:.1f} s"]
        for title, counter in (("outcomes", self.outcomes), ("server", self.events), ("client resets", self.resets)):
            lines += [f"{title}:", *(f"  {count:7} {name}" for name, count in sorted(counter.items()))]
        return "\n".join(lines)


class _Soak:
    """One run."""

    def __init__(self, pool: ConnectionPool, server: SoakServer, origin: str) -> None:
        self.pool = pool
        self.server = server
        self.origin = origin
        self.outcomes: Counter[str] = Counter()
        self._through = 0
        self._next = 0

    async def run(self, concurrency: int) -> None:
        """Sends all requests, so many at a time."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(concurrency):
                    group.create_task(self._keep_asking(concurrency))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None  # the others are its consequences, or more of the same

    async def _keep_asking(self, concurrency: int) -> None:
        plans = self.server.plans
        while self._next < len(plans):
            plan = plans[self._next]
            self._next += 1
            held = min(self._next + _HELD_FOR, len(plans) - concurrency)

            def may_go_on(held: int = held) -> bool:
                # A connection that was told to go away keeps its place while somebody reads from it.
                return self._through >= held or self.pool.num_waiting_requests > concurrency // 2

            outcome = await self._ask(plan, may_go_on)
            self._through += 1
            self.outcomes[outcome] += 1
            assert not self.server.faults, self.server.faults
            if self._through % 10 == 0:
                check_books(self.pool)

    async def _ask(self, plan: Plan, may_go_on: Callable[[], bool]) -> str:
        """Sends one request, and returns how it ended.

        Raises:
            AssertionError: its plan does not explain that.
        """
        task = asyncio.create_task(self._send(plan, may_go_on))
        if plan.client is Client.CANCEL:
            with contextlib.suppress(asyncio.CancelledError):  # another request has failed; told by the next await
                for _ in range(plan.turns):
                    if not task.done():
                        await asyncio.sleep(0)
            task.cancel()
        arrived = self.server.arrived
        try:
            outcome = await task
        except asyncio.CancelledError:
            me = asyncio.current_task()
            if plan.client is not Client.CANCEL or (me is not None and me.cancelling()):  # another request has failed
                raise
            outcome = "cancelled"
        except HTTPCoreError as exc:
            outcome = self._explain(plan, exc)
        assert plan.idempotent or arrived[plan.number] <= 1, (
            f"{plan} reached the application {arrived[plan.number]} times"
        )
        return outcome

    def _explain(self, plan: Plan, error: HTTPCoreError) -> str:
        assert isinstance(error, RemoteProtocolError), f"{plan} failed with {error!r}"
        if plan.fails and plan.code.name in str(error):
            return f"reset: {plan.code.name}"
        turned_away = "GOAWAY" in str(error) or "REFUSED_STREAM" in str(error)
        times = self.server.turned_away[plan.number]
        assert turned_away, f"{plan} failed with {error!r}"
        assert times, f"{plan} failed with {error!r}, but was never turned away"
        assert not self.server.arrived[plan.number], f"{plan} failed with {error!r}, but reached the application"
        if plan.one_shot:
            return "turned away, with a body that can be had once"
        assert times > MAX_REPLAYS_UNPROCESSED, f"{plan} failed with {error!r}, turned away {times} times"
        return "turned away too often"

    async def _send(self, plan: Plan, may_go_on: Callable[[], bool]) -> str:
        sent = content(plan.number, plan.body, up=True)

        async def chunks() -> AsyncIterator[bytes]:
            for start in range(0, len(sent), plan.chunk):
                yield sent[start : start + plan.chunk]
                if start % 3 == 0:
                    await asyncio.sleep(0)

        bodies: dict[BodyKind, BodyTypes] = {
            BodyKind.BYTES: sent,
            BodyKind.CALLABLE: chunks,
            BodyKind.ITERATOR: chunks(),
        }
        headers = {NUMBER: b"%d" % plan.number}
        streamed = plan.client in (Client.STREAM, Client.HOLD, Client.CLOSE)
        response = await self.pool.request(plan.method, self.origin, headers, bodies[plan.body_kind], streamed)
        assert response.status_code == 200
        assert response.headers[NUMBER.decode()] == str(plan.number), f"{plan} got another's answer"
        if not streamed:
            assert response.body == content(plan.number, plan.response, up=False), f"{plan} got other content"
        elif not await self._read(plan, response, may_go_on):
            return "closed"
        assert not plan.fails, f"{plan} was answered all the same"
        return "answered after being turned away" if self.server.turned_away[plan.number] else "answered"

    async def _read(self, plan: Plan, response: Response, may_go_on: Callable[[], bool]) -> bool:
        """Reads a response as planned; returns whether to its end."""
        expected = content(plan.number, plan.response, up=False)
        received = 0
        async with response:
            if plan.client is Client.CLOSE and plan.midway == 0:
                return False
            async for part in response.raw():
                assert part == expected[received : received + len(part)], f"{plan} got other content"
                received += len(part)
                if plan.client is Client.CLOSE and received >= plan.midway:
                    return False
                if plan.client is Client.HOLD and received >= plan.midway:
                    await until(may_go_on)
                elif plan.client is Client.STREAM:
                    for _ in range(plan.turns):
                        await asyncio.sleep(0)
        assert received == plan.response, f"{plan} got {received} bytes"
        return True

    # Accounts.

    async def settle(self) -> None:
        """Waits until nothing is under way on any connection, and compares the two sides' books."""
        await until(lambda: not any(connection.streams for connection in self.server.connections))
        await until(lambda: not any(connection.draining for connection in self.server.connections))
        for _ in range(2):  # the answer to a PING comes after all that was sent before it, whatever caused it
            for connection in self.server.connections:
                connection.ask_for_life()
            await until(lambda: not any(connection.pings for connection in self.server.connections))
        protocols = self._protocols()
        assert len(protocols) == len(self.server.connections)
        for connection in self.server.connections:
            _compare(protocols[connection.peername], connection)
        check_books(self.pool)

    def _protocols(self) -> dict[object, HTTP2Protocol]:
        """The client's side of the connections, by the address that the server knows."""
        assert self.pool._slots is not None
        protocols = [slot.protocol for slot in self.pool._slots._all]
        assert all(isinstance(protocol, HTTP2Protocol) for protocol in protocols)
        return {
            protocol.transport.get_extra_info("sockname"): protocol
            for protocol in protocols
            if isinstance(protocol, HTTP2Protocol)
        }


def _compare(protocol: HTTP2Protocol, connection: ServerConnection) -> None:
    """Asserts that nothing is left on either side of a connection, and that both know the same windows."""
    window = protocol.window
    assert protocol.in_flight == 0
    assert protocol.streams == {}
    assert not protocol._members
    assert not protocol._unopened
    assert protocol.available > 0
    assert connection.h2.open_inbound_streams == 0
    assert connection.h2.outbound_flow_control_window == window.open, "bytes of the server's window were lost"
    assert connection.h2.inbound_flow_control_window == protocol.h2.outbound_flow_control_window, "bytes of ours were"
    assert window.waiting == 0, "bytes that nobody reads were never credited"
    assert window._reserved == 0
    assert window._size - window.open == window._read + window._late, "what is missing is being credited"


async def soak(requests: int, seed: int, concurrency: int = 100) -> Summary:
    """Runs the soak.

    Args:
        requests: how many.
        seed: of the plans and of what the server does.
        concurrency: how many at a time.

    Raises:
        AssertionError: an account does not balance.
    """
    started = time.perf_counter()
    draw = random.Random(seed)
    config = HTTP2Config(
        stream_window=draw.choice((1000, 20_000, 65_535, 1_000_000)),
        max_stream_window=1_000_000,
        connection_window=draw.choice((65_535, 200_000, 1_000_000)),
    )
    server = SoakServer(make_plans(seed, requests), seed)
    origin = await server.start()
    limits = PoolLimits(hard_limit=draw.choice((1, 2, 4, 8)), keepalive_expiry=None)
    pool = ConnectionPool(None, _TIMEOUT, limits, http1=False, http2=config)
    try:
        run = _Soak(pool, server, origin)
        await run.run(concurrency)
        server.calm = True
        await run.settle()
    finally:
        await pool.close(force=True)
        await server.stop()
    check_empty(pool)
    assert not server.faults, server.faults
    return Summary(run.outcomes, server.events, server.resets, time.perf_counter() - started)


def main() -> None:
    """Reads the arguments, runs, prints the summary."""
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=50_000, help="how many (50000)")
    parser.add_argument("--seed", type=int, help="of what is drawn (another one each time)")
    parser.add_argument("--concurrency", type=int, default=100, help="how many at a time (100)")
    options = parser.parse_args()
    seed = random.randrange(1_000_000) if options.seed is None else options.seed
    print(f"seed {seed}", file=sys.stderr)
    print(asyncio.run(soak(options.requests, seed, options.concurrency)))


if __name__ == "__main__":
    main()

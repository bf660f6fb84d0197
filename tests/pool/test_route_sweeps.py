"""A request by a proxy is ended at every step of the loop, in every way, and the books of both levels stay in order."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable

import pytest

from httpcore import ConnectionPool, ConnectTimeout, PoolClosed, Request, ResponseClosed
from tests.clock import Clock, turns
from tests.conftest import TLSFiles
from tests.pool.books import check_books, check_empty
from tests.pool.peers import RecordingHandler
from tests.pool.route_sweeping import (
    CONNECT_TIMEOUT,
    KINDS,
    MEMORY_KINDS,
    TLS_KINDS,
    Stack,
    WatchedSteps,
    all_quiet,
    standing,
)

# What each may take grows with the layers and what is done in them; fewer would mean that the sweep missed some.
FEWEST_STEPS = 10


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> WatchedSteps:
    return WatchedSteps(monkeypatch)


async def get(pool: ConnectionPool, url: str) -> None:
    assert (await pool.request("GET", url)).status_code == 200


async def warm_up(pool: ConnectionPool, stack: Stack, before: str) -> None:
    """Makes a connection that is used again, one whose place is needed, or none."""
    if before != "cold":
        await get(pool, stack.url if before == "warm" else stack.other_url)


async def attempt(
    stack: Stack, steps: WatchedSteps, *, before: str, company: str, how: str, after: int, clock: Clock | None = None
) -> bool:
    """Makes a request, ends it after some steps, and checks that nothing came of it; returns whether it was ended."""
    pool = stack.make_pool(2 if company == "beside" else 1)
    steps.pools = [pool]
    await warm_up(pool, stack, before)
    # "queued" has the only place; "beside" is a tunnel that is asked for at the same time, on the same connection.
    other = asyncio.create_task(get(pool, stack.other_url)) if company != "alone" else None
    await asyncio.sleep(0)
    handler = RecordingHandler()
    deadlines: list[asyncio.Timeout] = []

    async def run() -> None:
        async with asyncio.timeout(None) as deadline:
            deadlines.append(deadline)
            await get(pool, stack.url)

    async def run_pushed() -> None:
        pool.dispatch(Request("GET", stack.url), handler)
        await handler.until_ended()

    task = asyncio.create_task(run_pushed() if how == "aborted" else run())

    def expire() -> None:
        if deadlines and not task.done():
            deadlines[0].reschedule(asyncio.get_running_loop().time())

    def abort() -> None:
        if handler.exchange is not None:
            handler.exchange.abort()

    def move_clock() -> None:
        assert clock is not None
        clock.now += CONNECT_TIMEOUT + 0.05

    act: dict[str, Callable[[], object]] = {
        "cancelled": task.cancel,
        "cancelled twice": task.cancel,
        "timeout": expire,
        "aborted": abort,
        "connect timeout": move_clock,
    }
    steps.actions = {after: act[how]}
    if how == "cancelled twice":
        steps.actions |= {after + 1: task.cancel, after + 2: task.cancel}
    await asyncio.wait([task])
    acted = not steps.actions
    steps.actions = {}
    if not task.cancelled():
        error = task.exception()
        expected = {"timeout": TimeoutError, "connect timeout": ConnectTimeout}.get(how)
        assert error is None or (expected is not None and type(error) is expected), (after, error)
    if handler.error is not None:
        assert type(handler.error) is ResponseClosed, after
    check_books(pool)
    await get(pool, stack.url)
    if other is not None:
        await other
    await turns()
    check_books(pool)
    assert (pool.num_connections, pool.num_waiting_requests) == (pool.num_keepalive_connections, 0), after
    assert pool.num_connections == 1 or company == "beside", after
    await pool.close()
    check_empty(pool)
    await stack.all_gone()
    return acted


async def sweep(
    stack: Stack,
    steps: WatchedSteps,
    *,
    before: str,
    company: str,
    how: str,
    clock: Clock | None = None,
    stride: int = 1,
) -> int:
    """Ends a request after each step, or each so many; returns how many there were."""
    async with all_quiet():
        after = 0
        while await attempt(stack, steps, before=before, company=company, how=how, after=after, clock=clock):
            after += stride
        steps.check()
    return after


@pytest.mark.parametrize("before, company", [("cold", "queued"), ("warm", "alone"), ("another warm", "queued")])
@pytest.mark.parametrize("kind", MEMORY_KINDS)
async def test_a_request_cancelled_at_any_step_of_its_route_in_memory_leaves_the_pool_in_order(
    steps: WatchedSteps, tls: TLSFiles, kind: str, before: str, company: str
) -> None:
    async with standing(KINDS[kind], tls, segment=32) as stack:
        count = await sweep(stack, steps, before=before, company=company, how="cancelled")
        assert count > (4 if before == "warm" or not stack.kind.tunnel else FEWEST_STEPS)


@pytest.mark.parametrize("how", ["cancelled twice", "timeout", "aborted"])
@pytest.mark.parametrize("kind", MEMORY_KINDS)
async def test_a_request_ended_in_other_ways_at_any_step_in_memory_leaves_the_pool_in_order(
    steps: WatchedSteps, tls: TLSFiles, kind: str, how: str
) -> None:
    async with standing(KINDS[kind], tls, segment=32) as stack:
        company = "queued" if how == "aborted" else "alone"
        assert await sweep(stack, steps, before="cold", company=company, how=how) > FEWEST_STEPS


# No request that is cancelled ends the dial that was begun for it. What does is its timeout, and that the pool closes.


@pytest.mark.parametrize("before", ["cold", "another warm"])
@pytest.mark.parametrize("kind", MEMORY_KINDS)
async def test_a_dial_whose_time_is_over_at_any_step_in_memory_leaves_the_pool_in_order(
    steps: WatchedSteps, tls: TLSFiles, clock: Clock, kind: str, before: str
) -> None:
    async with standing(KINDS[kind], tls, segment=32) as stack:
        count = await sweep(stack, steps, before=before, company="alone", how="connect timeout", clock=clock)
        assert count > (4 if not stack.kind.tunnel else FEWEST_STEPS)


async def close_at_any_step(stack: Stack, steps: WatchedSteps, *, force: bool, before: str, stride: int = 1) -> int:
    """Closes pools at every step of two requests, one of which waits for the other, or for the same connection."""
    limit = 2 if stack.kind.proxy_http2 else 1
    async with all_quiet():
        after, completed = 0, False
        while not completed:
            pool = stack.make_pool(limit)
            steps.pools = [pool]
            await warm_up(pool, stack, before)
            tasks = [asyncio.create_task(get(pool, url)) for url in (stack.url, stack.other_url)]
            closing: list[asyncio.Task[None]] = []

            def close(pool: ConnectionPool, closing: list[asyncio.Task[None]]) -> None:
                closing.append(asyncio.create_task(pool.close(force=force)))

            steps.actions = {after: functools.partial(close, pool, closing)}
            results = await asyncio.gather(*tasks, return_exceptions=True)
            completed = bool(steps.actions)
            steps.actions = {}
            for result in results:
                assert result is None or type(result) is PoolClosed, (after, result)
            for task in closing:
                await task
            await pool.close()
            await turns()
            check_empty(pool)
            await stack.all_gone()
            after += stride
        steps.check()
    return after


@pytest.mark.parametrize("force", [False, True], ids=["in order", "by force"])
@pytest.mark.parametrize("before", ["cold", "another warm"])
@pytest.mark.parametrize("kind", MEMORY_KINDS)
async def test_a_pool_closed_at_any_step_of_a_route_in_memory_is_empty_in_the_end(
    steps: WatchedSteps, tls: TLSFiles, kind: str, before: str, force: bool
) -> None:
    async with standing(KINDS[kind], tls, segment=32) as stack:
        count = await close_at_any_step(stack, steps, force=force, before=before)
        assert count > (4 if not stack.kind.tunnel else FEWEST_STEPS)


async def cancel_connects(stack: Stack, steps: WatchedSteps, *, twice: bool, stride: int = 1) -> int:
    """Cancels `ClientConnection.connect` at every step."""
    async with all_quiet():
        after, acted = 0, True
        while acted:
            task = asyncio.create_task(stack.connect())
            steps.actions = {after: task.cancel}
            if twice:
                steps.actions |= {after + 1: task.cancel, after + 2: task.cancel}
            await asyncio.wait([task])
            acted = not steps.actions
            steps.actions = {}
            if not task.cancelled():
                connection = task.result()
                assert (await connection.request("GET", stack.url)).status_code == 200
                await connection.close()
                if stack.connector is not None:
                    assert stack.connector.open_transports == []
            await stack.all_gone()
            after += stride
    return after


@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize("kind", MEMORY_KINDS)
async def test_a_connect_cancelled_at_any_step_of_its_route_in_memory_leaves_nothing(
    steps: WatchedSteps, tls: TLSFiles, kind: str, twice: bool
) -> None:
    async with standing(KINDS[kind], tls, segment=32) as stack:
        assert await cancel_connects(stack, steps, twice=twice) > (2 if not stack.kind.tunnel else 4)


# An HTTP/2 proxy gives the tunnels of many connections on one.


@pytest.mark.parametrize("how", ["cancelled", "aborted"])
@pytest.mark.parametrize("before", ["cold", "another warm"])
async def test_a_tunnel_that_shares_its_connection_ended_at_any_step_leaves_the_others(
    steps: WatchedSteps, tls: TLSFiles, before: str, how: str
) -> None:
    # Cold, two tunnels are asked for on the connection that is still dialled; else on the one that another has.
    async with standing(KINDS["CONNECT on HTTP/2"], tls, segment=32) as stack:
        count = await sweep(stack, steps, before=before, company="beside", how=how)
        assert count > FEWEST_STEPS
        assert stack.proxy.connections == count + 1  # one for each pool, whatever was ended


# With TLS, on sockets. Handshakes take their time: every second step, of so many that all parts of each are met.


@pytest.mark.parametrize("before, company", [("cold", "alone"), ("another warm", "queued")])
@pytest.mark.parametrize("kind", TLS_KINDS)
async def test_a_request_cancelled_at_any_step_of_its_route_on_sockets_leaves_the_pool_in_order(
    steps: WatchedSteps, tls: TLSFiles, kind: str, before: str, company: str
) -> None:
    async with standing(KINDS[kind], tls) as stack:
        stride = 2 if company == "alone" else 4
        count = await sweep(stack, steps, before=before, company=company, how="cancelled", stride=stride)
        assert count > FEWEST_STEPS


@pytest.mark.parametrize("kind", TLS_KINDS)
async def test_a_dial_whose_time_is_over_at_any_step_on_sockets_leaves_the_pool_in_order(
    steps: WatchedSteps, tls: TLSFiles, clock: Clock, kind: str
) -> None:
    async with standing(KINDS[kind], tls) as stack:
        count = await sweep(stack, steps, before="cold", company="alone", how="connect timeout", clock=clock, stride=2)
        assert count > FEWEST_STEPS


@pytest.mark.parametrize("force", [False, True], ids=["in order", "by force"])
@pytest.mark.parametrize("kind", TLS_KINDS)
async def test_a_pool_closed_at_any_step_of_a_route_on_sockets_is_empty_in_the_end(
    steps: WatchedSteps, tls: TLSFiles, kind: str, force: bool
) -> None:
    async with standing(KINDS[kind], tls) as stack:
        assert await close_at_any_step(stack, steps, force=force, before="cold", stride=2) > FEWEST_STEPS


@pytest.mark.parametrize("kind", TLS_KINDS)
async def test_a_connect_cancelled_at_any_step_of_its_route_on_sockets_leaves_nothing(
    steps: WatchedSteps, tls: TLSFiles, kind: str
) -> None:
    async with standing(KINDS[kind], tls) as stack:
        assert await cancel_connects(stack, steps, twice=False) > FEWEST_STEPS

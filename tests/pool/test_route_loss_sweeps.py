"""The way to an origin is cut at every byte that comes by it: a typed error, and nothing left behind."""

from __future__ import annotations

import asyncio

import pytest

from httpcore import (
    ConnectError,
    ConnectTimeout,
    HTTP2Config,
    HTTPCoreError,
    ProxyError,
    ReadError,
    ReadTimeout,
    RemoteProtocolError,
    WriteError,
)
from httpcore.exceptions import Phase
from tests.clock import Clock, turns
from tests.conftest import TLSFiles
from tests.pool.books import check_books, check_empty
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

_UNMADE = {"end": (ProxyError, ConnectError), "reset": (ProxyError, ConnectError), "hang": (ConnectTimeout,)}
_BROKEN = {
    "end": (RemoteProtocolError, ReadError, WriteError),
    "reset": (RemoteProtocolError, ReadError, WriteError),
    "hang": (ReadTimeout,),
}


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> WatchedSteps:
    return WatchedSteps(monkeypatch)


async def sizes(stack: Stack) -> tuple[int, int]:
    """Returns how many bytes come by the wire before the connection stands, and in all, with one response."""
    assert stack.wire is not None
    connection = await stack.connect()
    handshake = stack.wire.sent[-1] if stack.wire.sent else 0  # a proxy that forwards asks the origin of itself
    assert (await connection.request("GET", stack.url)).status_code == 200
    total = stack.wire.sent[-1]
    await connection.close()
    await stack.all_gone()
    return handshake, total


async def attempt(stack: Stack, steps: WatchedSteps, clock: Clock, cut: str, after: int) -> HTTPCoreError | None:
    """Makes a request whose connection is cut, and then one whose is not; returns the error of the first."""
    wire = stack.wire
    assert wire is not None
    pool = stack.make_pool()
    steps.pools = [pool]
    wire.cut_next(cut, after)
    task = asyncio.create_task(pool.request("GET", stack.url, timeout=CONNECT_TIMEOUT))
    if cut == "hang":
        await wire.until(lambda: wire.was_cut)
        await turns()
        await clock.advance(CONNECT_TIMEOUT + 0.05)
    await asyncio.wait([task])
    error = task.exception()
    assert error is None or isinstance(error, HTTPCoreError), (after, error)
    check_books(pool)
    if cut == "hang" and not (error is not None and error.phase is Phase.CONNECTING):
        # One of HTTP/2 keeps its place until its PING is not answered: that in the tunnel, then that below.
        for _ in range(stack.kind.proxy_http2 + (stack.kind.origin == "h2")):
            await clock.advance(HTTP2Config().ping_timeout + 0.05)
    assert (await pool.request("GET", stack.url)).status_code == 200, after
    await turns()
    check_books(pool)
    assert (pool.num_connections, pool.num_keepalive_connections) == (1, 1), after
    closing = asyncio.create_task(pool.close())
    if cut == "hang":  # one that was given up says goodbye, which nobody answers
        await turns()
        await clock.advance(HTTP2Config().ping_timeout + 0.05)
    await closing
    check_empty(pool)
    await stack.all_gone()
    return error


async def sweep(
    stack: Stack, steps: WatchedSteps, clock: Clock, cut: str, *, exact: bool, points: int | None = None
) -> None:
    """Cuts after each byte, or at so many points."""
    handshake, total = await sizes(stack)
    stride = 1 if points is None else max(1, total // points)
    async with all_quiet():
        # A connection that says nothing more once its response is complete is as good as any, until it is used. With
        # TLS their sizes differ by a few bytes, as signatures do.
        end = total + 1 if cut != "hang" else total if exact else total - 20
        for after in range(0, end, stride):
            error = await attempt(stack, steps, clock, cut, after)
            if error is None:
                assert after >= handshake, after
            elif error.phase is Phase.CONNECTING:
                assert type(error) in _UNMADE[cut], (after, error)
                assert after <= handshake or not exact, (after, handshake, error)
            else:
                assert type(error) in _BROKEN[cut], (after, error)
                assert after >= handshake or not exact, (after, handshake, error)
            assert exact is False or after < total or error is None, (after, error)
        steps.check()


@pytest.mark.parametrize("cut", ["end", "reset", "hang"])
@pytest.mark.parametrize("kind", MEMORY_KINDS)
async def test_a_way_cut_after_any_byte_in_memory_is_an_error_and_no_more(
    steps: WatchedSteps, tls: TLSFiles, clock: Clock, kind: str, cut: str
) -> None:
    async with standing(KINDS[kind], tls, wired="proxy") as stack:
        await sweep(stack, steps, clock, cut, exact=True)


@pytest.mark.parametrize("cut", ["end", "reset"])
@pytest.mark.parametrize("kind", MEMORY_KINDS)
async def test_an_origin_that_goes_after_any_byte_behind_its_proxy_in_memory_is_an_error_and_no_more(
    steps: WatchedSteps, tls: TLSFiles, clock: Clock, kind: str, cut: str
) -> None:
    async with standing(KINDS[kind], tls, wired="origin") as stack:
        await sweep(stack, steps, clock, cut, exact=False)


# With TLS thousands of bytes come by the wire: every so many of them.


@pytest.mark.parametrize("cut", ["end", "reset", "hang"])
@pytest.mark.parametrize("kind", TLS_KINDS)
async def test_a_way_cut_at_any_point_on_sockets_is_an_error_and_no_more(
    steps: WatchedSteps, tls: TLSFiles, clock: Clock, kind: str, cut: str
) -> None:
    async with standing(KINDS[kind], tls, wired="proxy") as stack:
        await sweep(stack, steps, clock, cut, exact=False, points=25)


@pytest.mark.parametrize("cut", ["end", "reset"])
@pytest.mark.parametrize("kind", ["CONNECT, TLS", "TLS, CONNECT on HTTP/2, TLS, HTTP/2", "SOCKS5, TLS"])
async def test_an_origin_that_goes_at_any_point_behind_its_proxy_on_sockets_is_an_error_and_no_more(
    steps: WatchedSteps, tls: TLSFiles, clock: Clock, kind: str, cut: str
) -> None:
    async with standing(KINDS[kind], tls, wired="origin") as stack:
        await sweep(stack, steps, clock, cut, exact=False, points=25)


# In pieces of one byte.


async def exchange_in_pieces(stack: Stack, steps: WatchedSteps) -> None:
    async with all_quiet():
        pool = stack.make_pool()
        steps.pools = [pool]
        for url in (stack.url, stack.url, stack.other_url):
            assert (await pool.request("POST", url, body=b"x" * 100)).status_code == 200
        await pool.close()
        check_empty(pool)
        await stack.all_gone()
        steps.check()


@pytest.mark.parametrize("kind", MEMORY_KINDS)
async def test_a_way_whose_every_byte_comes_by_itself_in_memory_is_as_any_other(
    steps: WatchedSteps, tls: TLSFiles, kind: str
) -> None:
    async with standing(KINDS[kind], tls, segment=1) as stack:
        await exchange_in_pieces(stack, steps)


@pytest.mark.parametrize("kind", TLS_KINDS)
async def test_a_way_whose_every_byte_comes_by_itself_on_sockets_is_as_any_other(
    steps: WatchedSteps, tls: TLSFiles, kind: str
) -> None:
    async with standing(KINDS[kind], tls, wired="proxy") as stack:
        assert stack.wire is not None
        stack.wire.one_by_one = True
        await exchange_in_pieces(stack, steps)

"""The connection is cut at every byte of an exchange: an error or a replay, and nothing left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from httpcore import (
    ConnectionPool,
    HTTPCoreError,
    PoolLimits,
    ReadError,
    RemoteProtocolError,
    Request,
    WriteError,
)
from httpcore.testing import MemoryConnector
from tests.pool.books import check_books, check_empty
from tests.pool.peers import Arrivals, AutoPeer

LIMITS = PoolLimits(hard_limit=1)
FRAMINGS = {
    "content-length": b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabcdef",
    "chunked": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\nx: y\r\n\r\n",
    "close-delimited": b"HTTP/1.1 200 OK\r\n\r\nabcdef",
    "interim first": b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabcdef",
}


async def outcome(pool: ConnectionPool, request: Request) -> tuple[bytes | None, HTTPCoreError | None]:
    """Sends a request; returns the content of the response, or the error."""
    try:
        return (await pool.send(request)).body, None
    except HTTPCoreError as exc:
        return None, exc


class CutPeer(AutoPeer):
    """Sends the first bytes of a response to the request that asks for it, and cuts the connection."""

    def __init__(self, arrivals: Arrivals, response: bytes, reset: bool) -> None:
        super().__init__(arrivals, respond=CutPeer.cut)  # type: ignore[arg-type]
        self.response = response
        self.reset = reset

    def cut(self) -> None:
        if self.requests[-1].target != b"/cut" or self.arrivals.counts[b"1"] > 1:
            self.answer()
            return
        self.transport.write(self.response)
        if self.reset:
            self.transport.reset()  # type: ignore[attr-defined]
        else:
            self.transport.close()


@pytest.mark.parametrize("segment", [None, 1], ids=["whole", "bytewise"])
@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("reset", [False, True], ids=["end", "reset"])
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_connection_cut_after_any_byte_of_the_response_is_an_error_or_replaced(
    method: str, warm: bool, reset: bool, framing: str, segment: int | None
) -> None:
    response = FRAMINGS[framing]
    for count in range(len(response) + 1):
        arrivals = Arrivals()
        connector = MemoryConnector(
            lambda: CutPeer(arrivals, response[:count], reset),  # noqa: B023  # used within this turn
            segment=segment,
        )
        pool = ConnectionPool(limits=LIMITS, connector=connector)
        if warm:
            await pool.request("GET", "http://a/")
        request = Request(method, "http://a/cut", [("x-id", "1")], b"x" * (method == "POST"))
        body, error = await outcome(pool, request)
        if error is not None:
            assert isinstance(error, (RemoteProtocolError, ReadError, WriteError)), count
            assert (error.request_sent, error.host) == (True, "a"), count
            assert error.phase is not None, count
        check_books(pool)
        replayed = warm and method == "GET" and count == 0
        ends_with_the_connection = framing == "close-delimited" and not reset and count > response.index(b"abcdef") - 1
        if replayed:
            assert body == b"ok", count
        elif ends_with_the_connection:
            assert body == response[response.index(b"abcdef") : count], count
        elif count == len(response) and not (framing == "close-delimited" and reset):
            assert body == b"abcdef", count
        else:
            assert body is None, count
        assert arrivals.counts[b"1"] == 1 + replayed, count
        assert (await pool.request("GET", "http://a/")).body == b"ok", count
        await pool.close()
        check_empty(pool)
        assert connector.open_transports == []


class DeafPeer(AutoPeer):
    """Cuts the connection after some bytes of requests."""

    left = 0
    reset = False

    def data_received(self, data: bytes) -> None:
        if not self.left:
            super().data_received(data)
            return
        self.left -= len(data)
        if self.left <= 0:
            self.left = -1
            if self.reset:
                self.transport.reset()  # type: ignore[attr-defined]
            else:
                self.transport.close()


@pytest.mark.parametrize("reset", [False, True], ids=["end", "reset"])
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
async def test_a_connection_cut_after_any_byte_of_the_request_is_an_error_or_replaced(
    method: str, warm: bool, reset: bool
) -> None:
    content = b"" if method == "GET" else b"something"

    async def stream() -> AsyncIterator[bytes]:
        for index in range(0, len(content), 4):
            yield content[index : index + 4]
            await asyncio.sleep(0)

    # The size of the request, framing included, is what a peer that hears all of it receives.
    connector = MemoryConnector(AutoPeer)
    pool = ConnectionPool(connector=connector)
    await pool.send(Request(method, "http://a/", [("accept-encoding", "identity")], stream if content else b""))
    await pool.close()
    for count in range(1, connector.peers[0].size + 1):
        peers: list[DeafPeer] = []

        def make() -> DeafPeer:
            peer = DeafPeer()
            peer.reset = reset
            if not warm and not peers:  # noqa: B023  # used within this turn
                peer.left = count  # noqa: B023
            peers.append(peer)  # noqa: B023
            return peer

        cut = MemoryConnector(make, segment=1)
        pool = ConnectionPool(limits=LIMITS, connector=cut)
        if warm:
            await pool.request("GET", "http://a/")
            peers[0].left = count
        request = Request(method, "http://a/", [("accept-encoding", "identity")], stream if content else b"")
        body, error = await outcome(pool, request)
        if error is not None:
            assert isinstance(error, (RemoteProtocolError, ReadError, WriteError)), count
            assert error.request_sent, count
        check_books(pool)
        assert (body == b"ok") == (warm and method != "POST"), (count, body)
        assert (await pool.request("GET", "http://a/")).body == b"ok", count
        await pool.close()
        check_empty(pool)

"""A pushed body and a connection that dies: what was pushed is gone, so the request is not sent again."""

from __future__ import annotations

import asyncio

import pytest

import httpcore
from httpcore.testing import HTTP11Peer, MemoryConnector
from tests.pool.peers import RecordingHandler


class Pusher(RecordingHandler):
    """Pushes the first part as soon as it can."""

    def exchange_started(self, exchange: httpcore.Exchange) -> None:
        super().exchange_started(exchange)
        exchange.write(b"the first part, ")


@pytest.mark.parametrize("method", ["PUT", "POST", "GET"])
async def test_pushed_body_is_not_sent_again_when_a_reused_connection_dies(method: str) -> None:
    async with MemoryConnector(HTTP11Peer) as connector, httpcore.ConnectionPool(connector=connector) as http:
        first = asyncio.create_task(http.request("GET", "http://a/"))
        peer = await connector.accept()
        await peer.receive_request()
        peer.send_response(200)
        await first

        handler = Pusher()
        exchange = http.dispatch(httpcore.Request(method, "http://a/", body=httpcore.PUSHED), handler)
        await peer.receive_event()
        peer.abort()
        await connector.all_closed()
        assert exchange.ended
        assert len(connector.dials) == 1

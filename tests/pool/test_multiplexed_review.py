"""What a pool does with an HTTP/2 connection whose server never says anything."""

from __future__ import annotations

import asyncio

import pytest

from httpcore import ConnectionPool, HTTP2Config, PoolLimits, TimeoutConfig, WriteTimeout
from httpcore.testing import HTTP2Peer, MemoryConnector
from tests.clock import Clock
from tests.pool.conftest import Watch


async def test_connection_on_which_requests_wait_for_settings_in_vain_gives_its_place_up(
    clock: Clock, watched: Watch
) -> None:
    connector = MemoryConnector(lambda: HTTP2Peer(settings=None))
    limits = PoolLimits(hard_limit=1, keepalive_expiry=None)
    config = HTTP2Config(ping_interval=None, ping_timeout=5.0)
    pool = watched(ConnectionPool(limits=limits, connector=connector, http1=False, http2=config))
    timeout = TimeoutConfig(write_timeout=1.0, pool_timeout=30.0)
    for count in (1, 2):
        asking = asyncio.ensure_future(
            pool.request("CONNECT", "http://example.org/", protocol="websocket", timeout=timeout)
        )
        await clock.advance(6.0)
        with pytest.raises(WriteTimeout):
            await asking
        assert len(connector.dials) == count
    await pool.close(force=True)

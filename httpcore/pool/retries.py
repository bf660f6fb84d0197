"""Replay: may an attempt that failed be sent again? RFC 9110 9.2.2, RFC 9112 9.3.1, RFC 9113 8.7."""

from __future__ import annotations

from httpcore.exceptions import HTTPCoreError, NetworkError, RemoteProtocolError
from httpcore.protocols.exchange import HTTPExchange

__all__ = ["MAX_REPLAYS_UNPROCESSED", "may_replay"]

MAX_REPLAYS_UNPROCESSED = 5
"""How often a request is sent again that the server certainly did nothing with.

Once would do for a server that goes away for good; one that recycles its connections may meet a request twice. Sending
it again does no harm, so the limit is there only for a server that refuses everything.
"""


def may_replay(exchange: HTTPExchange, error: HTTPCoreError) -> bool:
    """Whether `exchange`, which failed with `error` on the connection that carried it, may be sent on another.

    A request which the server certainly did nothing with (`exchange.unprocessed`) is sent again whatever its method,
    up to `MAX_REPLAYS_UNPROCESSED` times.

    Any other only once: a server may close an idle connection at any moment, also just as a request is sent. So a
    request is sent again if its connection was a reused one, which died before one byte of an answer, and if sending
    it twice does no harm: nothing was written, or the method (or an idempotency key) makes it idempotent.

    In both cases only if its body can be had again, and never after a timeout or an abort, which do not come here.
    """
    if exchange.first_byte_at is not None or not exchange.request.replayable:
        return False
    if exchange.unprocessed:
        return exchange.replays < MAX_REPLAYS_UNPROCESSED
    return (
        exchange.reused
        and not exchange.replays
        and isinstance(error, (NetworkError, RemoteProtocolError))
        and (not exchange.head_written or exchange.request.idempotent)
    )

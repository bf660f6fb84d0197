"""Replay: may an attempt that failed be sent again? RFC 9110 9.2.2, RFC 9112 9.3.1."""

from __future__ import annotations

from httpcore.exceptions import HTTPCoreError, NetworkError, RemoteProtocolError
from httpcore.protocols.exchange import HTTPExchange

__all__ = ["may_replay"]


def may_replay(exchange: HTTPExchange, error: HTTPCoreError) -> bool:
    """Whether `exchange`, which failed with `error` on the connection that carried it, may be sent on another.

    A server may close an idle connection at any moment, also just as a request is sent. So a request is sent again
    if its connection was a reused one, which died before one byte of an answer, and if sending it twice does no harm:
    nothing was written, or the method (or an idempotency key) makes it idempotent. And only if its body can be had
    again, and only once; never after a timeout or an abort, which do not come here.
    """
    return (
        exchange.reused
        and not exchange.replayed
        and exchange.first_byte_at is None
        and isinstance(error, (NetworkError, RemoteProtocolError))
        and (not exchange.head_written or exchange.request.idempotent)
        and exchange.request.replayable
    )

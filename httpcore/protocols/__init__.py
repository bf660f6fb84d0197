"""Bytes to callbacks on one transport. Nothing in here knows of pools."""

import typing

from httpcore.protocols.base import HTTPProtocol
from httpcore.protocols.exchange import HTTPExchange
from httpcore.protocols.http11 import HTTP11Protocol

__all__ = ["HTTP2Protocol", "HTTP11Protocol", "HTTPExchange", "HTTPProtocol"]

if typing.TYPE_CHECKING:
    from httpcore.protocols.http2 import HTTP2Protocol
else:

    def __getattr__(name: str) -> object:
        if name != "HTTP2Protocol":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from httpcore.protocols.http2 import HTTP2Protocol  # h2 takes a third of the time that all else takes

        return HTTP2Protocol

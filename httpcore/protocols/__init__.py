"""Bytes to callbacks on one transport. Nothing in here knows of pools."""

from httpcore.protocols.base import HTTPProtocol
from httpcore.protocols.exchange import HTTPExchange
from httpcore.protocols.http2 import HTTP2Protocol
from httpcore.protocols.http11 import HTTP11Protocol

__all__ = ["HTTP2Protocol", "HTTP11Protocol", "HTTPExchange", "HTTPProtocol"]

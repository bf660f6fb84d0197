"""Holder and Carrier: who has an exchange, as the exchange sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from httpcore.headers import Headers

if TYPE_CHECKING:
    from httpcore.protocols.exchange import HTTPExchange
    from httpcore.protocols.file_sender import FileSender

__all__ = ["Carrier", "Holder"]


class Holder(Protocol):
    """Who has the exchange at the moment: a queue while it waits, then a connection."""

    def abandon(self, exchange: HTTPExchange) -> None:
        """The exchange has failed: forget it and free what it holds."""


class Carrier(Holder, Protocol):
    """A connection, or a stream of one, that carries the exchange."""

    def write_body(self, exchange: HTTPExchange, data: bytes | bytearray | memoryview) -> None:
        """Sends a piece of the body, and the head before the first one if that was held back."""

    def end_body(self, exchange: HTTPExchange, trailers: Headers) -> None:
        """Ends the body."""

    def file_sender(self, exchange: HTTPExchange) -> FileSender | None:
        """Returns what sends a file as the body, past the transport; `None` where that is not possible."""
        return None

    def pause_reading(self, exchange: HTTPExchange) -> None:
        """Withholds what comes for this exchange."""

    def resume_reading(self, exchange: HTTPExchange) -> None:
        """Delivers it again."""

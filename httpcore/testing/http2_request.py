"""`IncomingRequest`: the head of a request as an `HTTP2Peer` received it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Fields", "IncomingRequest"]

Fields: TypeAlias = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class IncomingRequest:
    """The head of a request, as it came.

    Attributes:
        stream_id: the stream it opened.
        fields: all of it in order, the pseudo-header fields included. What was sent to be never indexed is a
            `hpack.NeverIndexedHeaderTuple`, which is a tuple all the same.
        end_stream: whether it is all of the request: END_STREAM came with it.
    """

    stream_id: int
    fields: Fields
    end_stream: bool

    @property
    def headers(self) -> Fields:
        """The fields that are no pseudo-header fields, in order."""
        return [field for field in self.fields if not field[0].startswith(b":")]

    def pseudo(self, name: bytes) -> bytes:
        """The value of a pseudo-header field such as `b":protocol"`; `b""` if there is none."""
        return next((value for field, value in self.fields if field == name), b"")

    @property
    def method(self) -> bytes:
        """The value of `:method`."""
        return self.pseudo(b":method")

    @property
    def scheme(self) -> bytes:
        """The value of `:scheme`; `b""` for CONNECT."""
        return self.pseudo(b":scheme")

    @property
    def authority(self) -> bytes:
        """The value of `:authority`."""
        return self.pseudo(b":authority")

    @property
    def path(self) -> bytes:
        """The value of `:path`; `b""` for CONNECT."""
        return self.pseudo(b":path")

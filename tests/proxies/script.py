"""What a test may have a proxy say in the place of what it would say, and how it may end a connection."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import socket
import struct
from collections.abc import Awaitable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeVar

from httpcore.testing import MemoryTransport

AnswerT = TypeVar("AnswerT")


class Then(Enum):
    """What comes after an answer's bytes.

    PROCEED goes on as after the ordinary answer: the tunnel. STAY waits for what the client sends next, forever if it
    sends nothing: an answer of no bytes and STAY is a proxy that hangs. EOF and CLOSE send a FIN, RESET a RST; but to
    the kernel, a close with bytes of the client's unread is a reset too.
    """

    PROCEED = auto()
    STAY = auto()
    EOF = auto()
    CLOSE = auto()
    RESET = auto()


@dataclass(frozen=True)
class Answer:
    """What is sent in the ordinary answer's place.

    Attributes:
        data: the bytes; or pieces of them, each written in a turn of the loop of its own, for as long as the client
            reads (they may be endless).
        then: what comes after.
        cut_after: with PROCEED: after so many bytes of the origin's, the client's connection is reset.
    """

    data: bytes | Iterable[bytes] = b""
    then: Then = Then.STAY
    cut_after: int | None = None


HANG = Answer()


def one_by_one(data: bytes) -> list[bytes]:
    """Returns the bytes as pieces of one byte."""
    return [data[index : index + 1] for index in range(len(data))]


@dataclass(frozen=True)
class Endless:
    """Pieces without end: `start`, then `piece` again and again."""

    start: bytes
    piece: bytes

    def __iter__(self) -> Iterator[bytes]:
        return itertools.chain([self.start], itertools.repeat(self.piece))


def reset(transport: asyncio.Transport) -> None:
    """Aborts so that the other end sees `ConnectionResetError`."""
    if transport.is_closing():
        transport.abort()
    elif isinstance(transport, MemoryTransport):
        transport.reset()
    else:
        # Lingering for 0 seconds makes the kernel send a RST instead of a FIN.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


async def resolved(answer: AnswerT | Awaitable[AnswerT]) -> AnswerT:
    """Awaits what a script returned, if it is awaitable."""
    return await answer if inspect.isawaitable(answer) else answer

"""What the soak asks for: plans, one for each request, that client and server both follow.

All that is random is drawn here and in the server's own generator, from one seed. In which order things then meet is
the loop's affair: the same seed gives the same plans, and not the same run.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum

from h2.errors import ErrorCodes

__all__ = ["NUMBER", "BodyKind", "Client", "Plan", "Server", "content", "make_plans"]

NUMBER = b"x-number"
"""The request field that names the plan."""

_BLOCK = random.Random(9113).randbytes(1024 * 1024)
_CODES = (
    ErrorCodes.NO_ERROR,  # with which a response that is not complete is an error as well
    ErrorCodes.PROTOCOL_ERROR,
    ErrorCodes.INTERNAL_ERROR,
    ErrorCodes.CANCEL,
    ErrorCodes.ENHANCE_YOUR_CALM,
)


class BodyKind(Enum):
    """How the request's body is given."""

    BYTES = "bytes"
    CALLABLE = "a function that gives it anew for each attempt"
    ITERATOR = "an iterator, which can be had once"


class Server(Enum):
    """What the application does with a request that reaches it."""

    ANSWER = "answers once it has read the body"
    ECHO = "answers while it reads the body"
    EARLY = "answers to the end without reading the body, and resets with NO_ERROR"
    EARLY_SILENT = "the same without the reset: it is for the client to stop"
    RESET = "resets in place of an answer"
    RESET_MIDWAY = "resets within the answer's content"


class Client(Enum):
    """What the client does with the response."""

    READ = "reads it"
    STREAM = "streams it, with pauses"
    HOLD = "stops reading in the middle of it, until many others are through"
    CLOSE = "closes it in the middle"
    CANCEL = "is cancelled at some moment"


@dataclass(frozen=True)
class Plan:
    """One request.

    Attributes:
        number: its own, from 0.
        method: a non-idempotent one may reach the application once at most.
        body: bytes to be sent, cut into chunks of `chunk` bytes unless they are given as bytes.
        body_kind: how.
        chunk: see `body`.
        response: bytes of content in the answer; none for HEAD.
        server, client: what either side does.
        code: with which the server resets.
        refusals: how many times the server refuses the stream (REFUSED_STREAM) before the application hears of it.
        midway: bytes of the response's content after which something happens to it.
        turns: turns of the loop after which the client is cancelled, or which it rests between two reads.
        server_turns: turns which the application thinks, and which pass before it returns credit for what it read.
        framed: whether the response has a `content-length`.
        interim: whether a 103 comes first.
        trailers: whether trailers come last.
        padded: whether the response's DATA frames are padded.
    """

    number: int
    method: str
    body: int
    body_kind: BodyKind
    chunk: int
    response: int
    server: Server
    client: Client
    code: ErrorCodes
    refusals: int
    midway: int
    turns: int
    server_turns: int
    framed: bool
    interim: bool
    trailers: bool
    padded: bool

    @property
    def idempotent(self) -> bool:
        return self.method in ("GET", "HEAD", "PUT")

    @property
    def fails(self) -> bool:
        """Whether the server resets the stream before its answer is complete."""
        return self.server is Server.RESET or (self.server is Server.RESET_MIDWAY and self.method != "HEAD")

    @property
    def one_shot(self) -> bool:
        """Whether the body can be had only once."""
        return self.body_kind is BodyKind.ITERATOR


def content(number: int, size: int, *, up: bool) -> bytes:
    """Returns the content that goes up or down with a plan: no two plans have the same."""
    start = number * 2027 % (len(_BLOCK) // 2) + (1000 if up else 0)
    return _BLOCK[start : start + size]


def _size(draw: random.Random) -> int:
    """Bytes: mostly few, sometimes none, now and then far more than any window."""
    kind = draw.random()
    if kind < 0.15:
        return 0
    if kind < 0.7:
        return draw.randrange(1, 2000)
    if kind < 0.95:
        return draw.randrange(2000, 70_000)
    return draw.randrange(70_000, 400_000)


def make_plans(seed: int, count: int) -> list[Plan]:
    """Draws the plans of a run."""
    draw = random.Random(seed)
    return [_plan(draw, number) for number in range(count)]


def _plan(draw: random.Random, number: int) -> Plan:
    method = draw.choice(("GET", "GET", "HEAD", "PUT", "POST", "POST", "PATCH"))
    with_body = method in ("PUT", "POST", "PATCH")
    body = _size(draw) if with_body else 0
    response = 0 if method == "HEAD" else _size(draw)
    midway = draw.randrange(response) if response else 0
    server = draw.choices(list(Server), (55, 15, 8, 5, 7, 10))[0]
    client = draw.choices(list(Client), (45, 25, 2, 13, 15))[0]
    return Plan(
        number=number,
        method=method,
        body=body,
        body_kind=draw.choices(list(BodyKind), (5, 3, 2))[0] if with_body else BodyKind.BYTES,
        chunk=max(draw.choice((100, 3000, 16384, 65536, 200_000)), body // 40),
        response=response,
        server=server,
        client=client,
        code=draw.choice(_CODES),
        refusals=draw.choice((0,) * 12 + (1, 1, 2)),
        midway=midway,
        turns=draw.choice((0, 1, 2, 5, 10, 30)),
        server_turns=draw.choice((0, 0, 0, 1, 3, 10)),
        framed=draw.random() < 0.5,
        interim=draw.random() < 0.1,
        trailers=method != "HEAD" and draw.random() < 0.1,
        padded=draw.random() < 0.1,
    )

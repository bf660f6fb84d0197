"""Incremental decoding of content codings (RFC 9110 8.4). Owns what is coded and what is decoded, at whose pace.

Decoding is pulled, never pushed: content is given to a `Decoder` as it arrives and decoded only as far as the reader
asks, so a decompression bomb grows no faster than somebody reads it. That holds for every layer of stacked codings:
a layer decodes a small piece, and the layer below uses it up before the next one is made.

What a `Decoder` holds: the input it was given and has not decoded, and for each layer some 128 KiB in transit plus the
window of its library: 32 KiB for gzip and deflate, up to 16 MiB for br and up to 8 MiB for zstd, where the content
makes use of a window that large.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Protocol

from .exceptions import DecodingError

__all__ = ["MAX_CODINGS", "Decoder", "accept_encoding", "codings_of"]

MAX_CODINGS = 5
"""How often content may be coded; each layer multiplies what a small response can cost."""

_PIECE = 32 * 1024
# Bytes given to a library at once, and asked of a layer for the layer below it. The libraries copy what they have not
# used up at every call that reaches the output limit or the end of a member; short pieces keep that cost linear.

_MAX_EMPTY_MEMBERS = 1000
# gzip members or zstd frames in a row that decode to nothing. A zstd frame of 9 bytes costs about 20 us.

_MAX_BARREN = 1024 * 1024
# Bytes that pass from layer to layer without a byte of content (padding, skippable frames). What the peer sends arrives
# at the pace of the network, but what a layer makes of it may be a thousand times that, all within one `read()`.

_ZSTD_WINDOW_LOG = 23  # 8 MiB, the most that RFC 9659 allows for the coding


class Decoder:
    """Decodes the content of one message.

    Call `feed()` with what arrived, then `read()` until it returns `b""`, and so on; at the end of the content
    `finish()`. After a `DecodingError` every further call raises it again.

    Args:
        codings: the names of the codings in the order they were applied, as `codings_of` returns them; at least one.

    Raises:
        ValueError: a coding is not supported, or there is none.
    """

    def __init__(self, codings: Sequence[bytes]) -> None:
        classes = _stage_classes()
        if not codings or any(coding not in classes for coding in codings):
            raise ValueError(f"cannot decode {list(codings)!r}: not a row of supported codings")
        # The coding applied last is the outermost, and the first to be undone.
        self._stages = [classes[coding]() for coding in reversed(codings)]
        self._barren = 0
        self._error: DecodingError | None = None

    def feed(self, data: bytes) -> None:
        """Takes the next bytes of the content; nothing is decoded yet.

        The input is kept until `read()` got to it, so a reader that feeds before `read()` returned `b""` is correct,
        but has to bound what it feeds.
        """
        self._stages[0].feed(data)

    def read(self, max_bytes: int = 65536) -> bytes:
        """Decodes the next part.

        Takes time linear in the input it uses up, also when that decodes to nothing: what was fed bounds the outermost
        layer, fixed limits on empty members and on barren bytes bound the layers below.

        Args:
            max_bytes: the most bytes to return, at least 1. br alone may go beyond it, as its library fills whole
                blocks of 32, 64, 128 KiB and so on: to 32 KiB or about three times that; with the default, 96 KiB.

        Returns:
            The next decoded bytes, or `b""` when there are none without more input.

        Raises:
            DecodingError: the content is corrupt, goes on behind its end, or breaks a limit.
            ValueError: `max_bytes` is less than 1.
        """
        if max_bytes < 1:
            raise ValueError("max_bytes must be at least 1")  # zlib and zstd would take it for "no limit"
        if self._error is not None:
            raise self._error.with_traceback(None)
        try:
            return self._pull(max_bytes)
        except DecodingError as exc:
            self._error = exc
            raise

    def finish(self) -> None:
        """Checks that the content is complete. Content of no bytes at all is (a response to HEAD, an empty file).

        Raises:
            DecodingError: a coding was cut off.
            RuntimeError: `read()` has not returned `b""` since the last `feed()`.
        """
        if self._error is not None:
            raise self._error.with_traceback(None)
        for stage in self._stages:
            if stage.pending:
                raise RuntimeError("finish() before read() returned b''")
            if stage.started and not stage.complete:
                self._error = DecodingError(f"{stage.coding} content was cut off")
                raise self._error

    def _pull(self, max_bytes: int) -> bytes:
        stages = self._stages
        last = len(stages) - 1
        # From the innermost layer outwards to one that has something, and from there inwards again.
        index = last
        while True:
            stage = stages[index]
            if index == last:
                if data := stage.read(max_bytes):
                    self._barren = 0
                    return data
            elif data := stage.read(_PIECE):
                self._barren += len(data)
                if self._barren > _MAX_BARREN:
                    raise DecodingError(f"{stage.coding} content holds {self._barren} bytes that decode to nothing")
                index += 1
                stages[index].feed(data)
                continue
            if index == 0:
                return b""
            index -= 1


def accept_encoding() -> bytes:
    """Returns the value of `Accept-Encoding` that offers all that can be decoded here (RFC 9110 12.5.3)."""
    return b"gzip, deflate, br, zstd" if _zstd_module_name() else b"gzip, deflate, br"


def codings_of(values: Iterable[bytes]) -> list[bytes] | None:
    """Says how the content of a message is coded (RFC 9110 8.4).

    Args:
        values: the values of all its `Content-Encoding` fields, in order.

    Returns:
        The lower-case names of the codings in the order they were applied, without `identity`, empty when the content
        is not coded; `None` when one of them is unknown, so that the content is to be left as it is.

    Raises:
        DecodingError: there are more than `MAX_CODINGS`, known or not.
    """
    names = (name.strip(b" \t").lower() for value in values for name in value.split(b","))
    codings = [name for name in names if name and name != b"identity"]
    if len(codings) > MAX_CODINGS:
        raise DecodingError(f"content was coded {len(codings)} times, more than {MAX_CODINGS}")
    classes = _stage_classes()
    return codings if all(coding in classes for coding in codings) else None


# -- One layer ---------------------------------------------------------------------------------------------------------


class _Stage(ABC):
    """One coding's layer: a queue of input in front of a library's decompressor.

    Attributes:
        coding: its name, for messages.
        started: whether there was any input.
        complete: whether the content may end after the input used so far.
        more: whether `_decode(b"")` has to be called, and no input given, because the library may hold back output.
    """

    coding: str
    _errors: tuple[type[Exception], ...]

    def __init__(self) -> None:
        self.started = False
        self.complete = False
        self.more = False
        self._input: deque[memoryview] = deque()
        self._empty_members = 0

    @property
    def pending(self) -> bool:
        """Whether `read()` may have something without more input."""
        return self.more or bool(self._input)

    def feed(self, data: bytes) -> None:
        if data:
            self.started = True
            self._input.append(memoryview(data))

    def read(self, limit: int) -> bytes:
        """Returns the next decoded bytes, about `limit` at most, or `b""` when it needs more input."""
        try:
            while self.more or self._input:
                if decoded := self._decode(b"" if self.more else self._next_piece(), limit):
                    self._empty_members = 0
                    return decoded
        except self._errors as exc:
            raise DecodingError(f"{self.coding} content is corrupt: {exc}") from exc
        return b""

    @abstractmethod
    def _decode(self, data: bytes | memoryview, limit: int) -> bytes:
        """Decodes `data`, which is empty if and only if `more` is set; sets `more` and `complete` anew."""

    def _next_piece(self) -> memoryview:
        first = self._input[0]
        if len(first) <= _PIECE:
            return self._input.popleft()
        self._input[0] = first[_PIECE:]
        return first[:_PIECE]

    def _put_back(self, rest: bytes) -> None:
        """Takes back what the library did not use of the last piece."""
        if rest:
            self._input.appendleft(memoryview(rest))

    def _count_member(self) -> None:
        self._empty_members += 1
        if self._empty_members > _MAX_EMPTY_MEMBERS:
            raise DecodingError(f"{self.coding} content has more than {_MAX_EMPTY_MEMBERS} empty parts in a row")

    def _trailing_data(self) -> DecodingError:
        return DecodingError(f"{self.coding} content goes on behind its end")


class _Member(Protocol):
    """What zlib and the zstd library have in common: the decompressor of one member or frame."""

    def decompress(self, data: bytes | memoryview, /, max_length: int) -> bytes: ...
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...


class _Inflater(_Member, Protocol):
    @property
    def unconsumed_tail(self) -> bytes: ...


class _Frame(_Member, Protocol):
    @property
    def needs_input(self) -> bool: ...


class _Inflate(_Stage):
    """What gzip and deflate share."""

    _errors = (zlib.error,)
    _inflater: _Inflater | None = None

    def _decode(self, data: bytes | memoryview, limit: int) -> bytes:
        inflater = self._inflater or self._begin(data)
        if inflater is None:
            return b""
        decoded = inflater.decompress(data, limit)
        self.complete = inflater.eof
        self._inflater = None if self.complete else inflater
        self._put_back(inflater.unused_data or inflater.unconsumed_tail)
        # zlib may stop at the limit in the middle of a match, with no input left over and output to come.
        self.more = not self.complete and not self._input and len(decoded) == limit
        return decoded

    @abstractmethod
    def _begin(self, data: bytes | memoryview) -> _Inflater | None:
        """Makes the decompressor for what begins with `data`; `None` when all of `data` is to be skipped."""


class _Gzip(_Inflate):
    """gzip (RFC 1952): members one after the other (2.2), behind the last of which zeros may fill up a block."""

    coding = "gzip"
    _padded = False

    def _begin(self, data: bytes | memoryview) -> _Inflater | None:
        if self.complete:
            self._padded = self._padded or data[0] == 0
            # What is neither padding nor a member is refused, as Go does: it may be content that was lost otherwise.
            if self._padded:
                if bytes(data).strip(b"\0"):
                    raise self._trailing_data()
                return None
        self._count_member()
        return zlib.decompressobj(wbits=31)


class _Deflate(_Inflate):
    """deflate: the zlib format (RFC 1950), or bare RFC 1951 data, which servers have sent under this name as well."""

    coding = "deflate"

    def _begin(self, data: bytes | memoryview) -> _Inflater:
        if self.complete:
            raise self._trailing_data()
        # A zlib header has method 8 in its lower four bits. Bare data would have to begin with a stored block that is
        # not the last and whose padding is not zero, which no encoder writes.
        return zlib.decompressobj(wbits=15 if data[0] & 0x0F == 8 else -15)


class _BrotliDecompressor(Protocol):
    def process(self, data: bytes, output_buffer_limit: int) -> bytes: ...
    def can_accept_more_data(self) -> bool: ...
    def is_finished(self) -> bool: ...


class _Brotli(_Stage):
    """br (RFC 7932), by brotli or brotlicffi: from 1.2 on both have these three methods."""

    coding = "br"

    def __init__(self) -> None:
        super().__init__()
        module = _brotli_module()
        self._errors = (module.error,)
        self._decompressor: _BrotliDecompressor = module.Decompressor()

    def _decode(self, data: bytes | memoryview, limit: int) -> bytes:
        if self.complete:
            raise self._trailing_data()
        # brotlicffi takes no memoryview; a copy of one piece costs nothing beside decoding it.
        decoded = self._decompressor.process(bytes(data), output_buffer_limit=limit)
        self.complete = self._decompressor.is_finished()
        # Once it holds no input, can_accept_more_data() says True with up to a window of output still to come (1.2.1):
        # only an empty answer shows that there is none.
        self.more = not self.complete and (bool(decoded) or not self._decompressor.can_accept_more_data())
        return decoded


class _Zstd(_Stage):
    """zstd (RFC 8878): frames one after the other (3), with windows of at most 8 MiB (RFC 9659)."""

    coding = "zstd"

    def __init__(self) -> None:
        super().__init__()
        name = _zstd_module_name()
        assert name is not None  # the coding would be unknown
        module = import_module(name)
        self._errors = (module.ZstdError,)
        options = {module.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
        self._new_frame: Callable[[], _Frame] = partial(module.ZstdDecompressor, options=options)
        self._frame: _Frame | None = None

    def _decode(self, data: bytes | memoryview, limit: int) -> bytes:
        if self._frame is None:
            self._count_member()
            self._frame = self._new_frame()
        frame = self._frame
        decoded = frame.decompress(data, limit)
        self.complete = frame.eof
        self.more = not frame.eof and not frame.needs_input
        if frame.eof:
            self._put_back(frame.unused_data)
            self._frame = None
        return decoded


# -- The libraries -----------------------------------------------------------------------------------------------------
# Loaded when content first needs them: importing them costs more than importing all of this package's own modules.


@cache
def _stage_classes() -> dict[bytes, type[_Stage]]:
    # RFC 9110 8.4.1.3: x-gzip is the same as gzip.
    classes: dict[bytes, type[_Stage]] = {b"gzip": _Gzip, b"x-gzip": _Gzip, b"deflate": _Deflate, b"br": _Brotli}
    if _zstd_module_name():
        classes[b"zstd"] = _Zstd
    return classes


@cache
def _brotli_module() -> ModuleType:
    try:
        return import_module("brotli")
    except ImportError:
        return import_module("brotlicffi")  # PyPy and others


@cache
def _zstd_module_name() -> str | None:
    # Python 3.14 may be built without the library: compression.zstd is there all the same, its C part is not.
    for needed, name in (("_zstd", "compression.zstd"), ("backports.zstd", "backports.zstd")):
        try:
            if find_spec(needed) is not None:
                return name
        except ModuleNotFoundError:  # not even its parent package
            pass
    return None

"""What a request's body may be, and how it is cut into the chunks that are sent."""

from __future__ import annotations

import asyncio
import io
import os
import stat
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Protocol, TypeAlias, TypeGuard, runtime_checkable

__all__ = ["Content", "FileChunks", "Readable", "cut", "iterate", "iterate_blocking", "measure", "settled"]

_CHUNK_SIZE = 64 * 1024  # bytes: how large bodies are cut, so that no more than this waits behind the water marks
_YIELD_AFTER = 1024 * 1024  # bytes that a body which never waits may send before other tasks get their turn


@runtime_checkable
class Readable(Protocol):
    """A binary file, or what is read like one."""

    def read(self, size: int, /) -> bytes:
        """Returns up to `size` bytes, b"" at the end."""


_Buffer: TypeAlias = bytes | bytearray | memoryview
_PlainFile: TypeAlias = io.FileIO | io.BufferedReader | io.BufferedRandom
Content: TypeAlias = _Buffer | str | Iterable[bytes] | AsyncIterable[bytes] | Readable


def measure(file: Readable) -> tuple[int | None, int | None]:
    """Returns the position of a file that can be rewound, and how many bytes follow where that is known."""
    if not isinstance(file, io.IOBase) or not file.seekable():
        return None, None
    position = file.tell()
    if isinstance(file, io.BytesIO):
        return position, max(len(file.getbuffer()) - position, 0)
    try:
        status = os.fstat(file.fileno())
    except OSError:  # a file-like object with no descriptor: gzip.GzipFile has one, of another size, see below
        return position, None
    # Only what reads its descriptor as it is has the size of it; a GzipFile, say, does not.
    plain = isinstance(getattr(file, "raw", file), io.FileIO) and stat.S_ISREG(status.st_mode)
    return position, max(status.st_size - position, 0) if plain else None


async def cut(content: bytes) -> AsyncIterator[bytes]:
    """Gives `content` in chunks, which are views of it."""
    view = memoryview(content)
    for start in range(0, len(view), _CHUNK_SIZE):
        yield view[start : start + _CHUNK_SIZE]  # type: ignore[misc]  # what takes the chunks takes any buffer
        if start % _YIELD_AFTER == 0:
            await asyncio.sleep(0)


class FileChunks(AsyncIterator[bytes]):
    """The chunks of a plain file, which may also be sent in another way than by reading it.

    Args:
        file: where they are; `is_plain`.
        position: where they begin.
        size: how many bytes there are at most; `None` for all until the file's end.
        ours: whether `aclose` closes the file.

    Attributes:
        position: of the next chunk.
    """

    __slots__ = ("_end", "_file", "_ours", "_sought", "position")

    def __init__(self, file: _PlainFile, position: int, size: int | None, *, ours: bool) -> None:
        self._file = file
        self._ours = ours
        self._end = None if size is None else position + size
        self._sought = False  # whether the file stands at `position`
        self.position = position

    @staticmethod
    def is_plain(body: object) -> TypeGuard[_PlainFile]:
        """Whether `body` is a regular file, and nothing that has a say in what is read from it stands before it."""
        if type(body) not in (io.FileIO, io.BufferedReader, io.BufferedRandom):
            return False
        assert isinstance(body, (io.FileIO, io.BufferedReader, io.BufferedRandom))
        if type(getattr(body, "raw", body)) is not io.FileIO or body.closed:
            return False
        return body.readable() and stat.S_ISREG(os.fstat(body.fileno()).st_mode)

    async def seek(self) -> None:
        """Puts the file to the next chunk, and writes out what was written to it before."""
        self._sought = True
        await asyncio.get_running_loop().run_in_executor(None, self._file.seek, self.position)

    def fileno(self) -> int:
        """Returns the file's descriptor; its own position says nothing."""
        return self._file.fileno()

    def advance(self, size: int) -> None:
        """So many bytes were sent in another way."""
        self.position += size
        self._sought = False

    async def __anext__(self) -> bytes:
        # The server may have all of it by now, and answer at once; a connection whose request has not ended by then is
        # not used again. So no thread is asked for what is known: that this is the end.
        if not self._is_at_end():
            if not self._sought:
                await self.seek()
            size = _CHUNK_SIZE if self._end is None else min(_CHUNK_SIZE, self._end - self.position)
            if chunk := await asyncio.get_running_loop().run_in_executor(None, self._file.read, size):
                self.position += len(chunk)
                return chunk
        if not self._sought:
            self._file.seek(self.position)
        await self.aclose()
        raise StopAsyncIteration

    def _is_at_end(self) -> bool:
        if self._end is not None:
            return self.position >= self._end
        # Files that have content and no size exist, in /proc.
        return self.position >= os.fstat(self._file.fileno()).st_size > 0

    async def aclose(self) -> None:
        """Closes the file, if a callable opened it. At their end they do so themselves, as a generator does."""
        if self._ours:
            self._file.close()


def iterate(
    body: object, file_position: int | None, size: int | None = None, *, ours: bool = False
) -> AsyncIterator[bytes]:
    """Gives any kind of body as chunks: an async generator, or `FileChunks`. Both have `aclose`.

    Generators are closed when this is, and so is a file that is `ours`: one that a callable opened.

    Args:
        body: the body.
        file_position: where it begins, if it is a file that was measured.
        size: how many bytes it had then, where that is known. If it has grown since, the rest is not sent.
        ours: whether a callable opened it.
    """
    if FileChunks.is_plain(body):
        return FileChunks(body, body.tell() if file_position is None else file_position, size, ours=ours)
    return _iterate(body, file_position, ours=ours)


async def _iterate(body: object, file_position: int | None, *, ours: bool) -> AsyncIterator[bytes]:
    if isinstance(body, str):
        body = body.encode()
    if isinstance(body, (bytes, bytearray, memoryview)):
        async for chunk in cut(bytes(body)):
            yield chunk
    elif isinstance(body, AsyncIterable):
        async_chunks = aiter(body)
        sent = 0
        try:
            async for chunk in async_chunks:
                yield _checked(chunk)
                sent += len(chunk)
                if sent >= _YIELD_AFTER:  # it may never wait, and neither do we while the peer keeps up
                    sent = 0
                    await asyncio.sleep(0)
        finally:
            # A generator cut off in the middle runs its own `finally` now, and not when it is collected.
            aclose = getattr(async_chunks, "aclose", None)
            if aclose is not None:
                await aclose()
    elif isinstance(body, Readable):
        try:
            async for chunk in _read_file(body, file_position):
                yield chunk
        finally:
            close = getattr(body, "close", None)
            if ours and close is not None:
                close()
    elif isinstance(body, Iterable):
        chunks = iter(body)
        sent = 0
        try:
            for chunk in chunks:
                yield _checked(chunk)
                sent += len(chunk)
                if sent >= _YIELD_AFTER:
                    sent = 0
                    await asyncio.sleep(0)
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()
    else:
        raise TypeError(f"the body's callable returned {type(body).__name__}, which is no body")


def iterate_blocking(
    body: object, file_position: int | None, size: int | None = None, *, ours: bool = False
) -> Iterator[bytes]:
    """Gives what `iterate` does, in a thread where reading may block."""
    if isinstance(body, str):
        body = body.encode()
    if isinstance(body, (bytes, bytearray, memoryview)):
        content = bytes(body)
        for start in range(0, len(content), _CHUNK_SIZE):
            yield content[start : start + _CHUNK_SIZE]
    elif isinstance(body, AsyncIterable):
        raise TypeError("a blocking call cannot iterate over what is async: let the callable return a plain iterator")
    elif isinstance(body, Readable):
        try:
            if file_position is not None:
                assert isinstance(body, io.IOBase)
                body.seek(file_position)
            end = None if size is None or not FileChunks.is_plain(body) else size
            while chunk := body.read(_CHUNK_SIZE if end is None else min(_CHUNK_SIZE, end)):
                yield _checked(chunk)
                if end is not None:
                    end -= len(chunk)
        finally:
            close = getattr(body, "close", None)
            if ours and close is not None:
                close()
    elif isinstance(body, Iterable):
        chunks = iter(body)
        try:
            for chunk in chunks:
                yield _checked(chunk)
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()
    else:
        raise TypeError(f"the body's callable returned {type(body).__name__}, which is no body")


async def _read_file(file: Readable, position: int | None) -> AsyncIterator[bytes]:
    if isinstance(file, io.BytesIO):
        start = file.tell() if position is None else position
        async for chunk in cut(file.getvalue()[start:]):
            yield chunk
        return
    loop = asyncio.get_running_loop()
    if position is not None:
        assert isinstance(file, io.IOBase)
        await loop.run_in_executor(None, file.seek, position)
    while chunk := await loop.run_in_executor(None, file.read, _CHUNK_SIZE):  # a disk may be slow, or far away
        yield _checked(chunk)


def _checked(chunk: object) -> bytes:
    if isinstance(chunk, (bytes, bytearray, memoryview)):
        return settled(chunk)  # type: ignore[return-value]  # what takes the chunks takes any buffer
    raise TypeError(f"a body gives chunks of bytes, not {type(chunk).__name__}")


def settled(data: bytes | bytearray | memoryview) -> bytes | memoryview:
    """Returns `data` as what may wait in a buffer: its `len` is its size in bytes, and nobody changes it."""
    if isinstance(data, bytes):
        return data
    if not isinstance(data, memoryview):
        return bytes(data)
    flat = data.readonly and data.ndim == 1 and data.itemsize == 1 and data.c_contiguous
    return data if flat else data.tobytes()

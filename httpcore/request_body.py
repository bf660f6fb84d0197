"""What a request's body may be, and how it is cut into the chunks that are sent."""

from __future__ import annotations

import asyncio
import io
import os
import stat
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Protocol, TypeAlias, runtime_checkable

__all__ = ["Content", "Readable", "cut", "iterate", "iterate_blocking", "measure", "settled"]

_CHUNK_SIZE = 64 * 1024  # bytes: how large bodies are cut, so that no more than this waits behind the water marks
_YIELD_AFTER = 1024 * 1024  # bytes that a body which never waits may send before other tasks get their turn


@runtime_checkable
class Readable(Protocol):
    """A binary file, or what is read like one."""

    def read(self, size: int, /) -> bytes:
        """Returns up to `size` bytes, b"" at the end."""


_Buffer: TypeAlias = bytes | bytearray | memoryview
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


async def iterate(body: object, file_position: int | None, *, ours: bool = False) -> AsyncIterator[bytes]:
    """Gives any kind of body as chunks.

    Generators are closed when this is, and so is a file that is `ours`: one that a callable opened.
    """
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


def iterate_blocking(body: object, file_position: int | None, *, ours: bool = False) -> Iterator[bytes]:
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
            while chunk := body.read(_CHUNK_SIZE):
                yield _checked(chunk)
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

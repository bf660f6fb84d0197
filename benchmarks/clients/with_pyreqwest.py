"""pyreqwest, over Rust's reqwest, which runs on a thread of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from pyreqwest.client import Client, ClientBuilder


@asynccontextmanager
async def open_client(connections: int, authority: str | None, http2: bool) -> AsyncIterator[Client]:
    builder = ClientBuilder().max_connections(connections).pool_max_idle_per_host(connections)
    builder = builder.timeout(timedelta(seconds=60)).http2(http2)
    if authority is not None:
        builder = builder.add_root_certificate_pem(Path(authority).read_bytes())
    async with builder.build() as client:
        yield client


async def small(client: Client, url: str) -> int:
    response = await client.get(url).build().send()
    return len(await response.bytes())


async def once(client: Client, url: str) -> int:
    response = await client.get(url).header("connection", "close").build().send()
    return len(await response.bytes())


async def post(client: Client, url: str, body: bytes) -> int:
    response = await client.post(url).header("content-type", "application/json").body_bytes(body).build().send()
    return len(await response.bytes())


async def download(client: Client, url: str) -> int:
    size = 0
    async with client.get(url).build_streamed() as response:
        while (part := await response.body_reader.read_chunk()) is not None:
            size += len(part)
    return size


async def upload(client: Client, url: str, chunks: AsyncIterator[bytes]) -> int:
    response = await client.post(url).body_stream(chunks).build().send()
    return len(await response.bytes())


async def upload_file(client: Client, url: str, path: str) -> int:
    """From a generator, as it takes no files."""
    with open(path, "rb") as file:
        return await upload(client, url, _blocks(file.read))


async def _blocks(read: Callable[[int], bytes]) -> AsyncIterator[bytes]:
    while block := read(64 * 1024):
        yield block

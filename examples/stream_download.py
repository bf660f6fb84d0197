"""Download a file of any size in constant memory: the server is slowed down to the pace of the disk.

python examples/stream_download.py https://example.org/disk.img disk.img
"""

from __future__ import annotations

import asyncio
import sys

import httpcore


async def main(url: str, path: str) -> None:
    async with (
        httpcore.ConnectionPool() as http,
        await http.request("GET", url, stream=True) as response,
    ):
        if response.status_code != 200:
            raise SystemExit(f"the server answered {response.status_code}")
        size = 0
        with open(path, "wb") as file:
            async for part in response.stream():
                # A write to a disk may block. Off the loop, it holds up nobody else.
                await asyncio.to_thread(file.write, part)
                size += len(part)
    print(f"{size} bytes")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))

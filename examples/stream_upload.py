"""Upload a file of any size in constant memory, and tell its hash in a trailer field.

The body is an async generator *function*, not a generator: it can be called again, so the request can be sent again
when a connection that was kept alive turns out to be gone.

    python examples/stream_upload.py https://example.org/upload disk.img
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import AsyncIterator

import httpcore


async def main(url: str, path: str) -> None:
    digest = hashlib.sha256()

    async def body() -> AsyncIterator[bytes]:
        nonlocal digest
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            while part := await asyncio.to_thread(file.read, 64 * 1024):
                digest.update(part)
                yield part  # returns once the connection takes more

    def trailers() -> dict[str, str]:
        return {"content-sha256": digest.hexdigest()}

    async with httpcore.ConnectionPool() as http:
        headers = {"trailer": "content-sha256"}
        response = await http.request("PUT", url, headers, body, trailers=trailers)

    print(response.status_code)
    print(response.body.decode(errors="replace"))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))

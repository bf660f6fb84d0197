"""Make a request and print the response.

python examples/get.py https://example.org/
"""

from __future__ import annotations

import asyncio
import sys

import httpcore


async def main(url: str) -> None:
    async with httpcore.ConnectionPool() as http:
        response = await http.request("GET", url)

    print(response.http_version.decode(), response.status_code, response.reason.decode())
    for name, value in response.headers:
        print(f"{name.decode()}: {value.decode('latin-1')}")
    print()
    print(response.body.decode(errors="replace"))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

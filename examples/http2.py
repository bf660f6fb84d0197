"""Make many requests at once over one HTTP/2 connection, and print on which stream each was answered.

Over TLS the server is asked for HTTP/2 and may choose HTTP/1.1, which then takes a connection for each request that is
under way. Without TLS the server has to be known to speak HTTP/2.

    python examples/http2.py https://example.org/ 50
    python examples/http2.py https://localhost:8443/ 50 ca.pem
    python examples/http2.py http://127.0.0.1:8000/ 50
"""

from __future__ import annotations

import asyncio
import sys

import httpcore


async def main(url: str, count: int, ca_path: str | None = None) -> None:
    config = httpcore.SSLConfig(verify=True if ca_path is None else ca_path)
    async with httpcore.ConnectionPool(config, http1=url.startswith("https:")) as http:
        responses = await asyncio.gather(*(http.request("GET", url) for _ in range(count)))

    connections = set()
    for response in responses:
        assert response.exchange is not None
        info = response.exchange.connection_info
        assert info is not None
        connections.add(info.connection_id)
        where = f"connection {info.connection_id}, stream {response.exchange.stream_id}"
        print(response.http_version.decode(), response.status_code, where)
    print(f"responses: {len(responses)}, connections: {len(connections)}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:4]))

"""The parts of the demo that are about HTTP/2. Those for which the version makes no difference are in demo.py."""

from __future__ import annotations

import asyncio
import hashlib
import time

import httpcore
from scripts.show import MIB, Show, rate, run_gateway

__all__ = ["choice", "closed_early", "early_hints_and_trailers", "gateway", "many_streams", "nobody_reads"]


def connection_of(response: httpcore.Response) -> int:
    """Returns the number of the connection that carried it."""
    assert response.exchange is not None
    assert response.exchange.connection_info is not None
    return response.exchange.connection_info.connection_id


async def choice(show: Show, http: httpcore.ConnectionPool, url: str, *, plain_url: str) -> None:
    response = await http.request("GET", url + "/")
    assert response.exchange is not None
    assert response.exchange.connection_info is not None
    tls = response.exchange.connection_info.ssl_object
    assert tls is not None
    alpn = tls.selected_alpn_protocol()
    show.say(f"over TLS the server chose {alpn!r} by ALPN: {response.http_version!r}")
    show.expect((alpn, response.http_version) == ("h2", b"HTTP/2"), "HTTP/2 is chosen")
    show.expect(response.exchange.stream_id == 1, "it is the first stream")
    async with httpcore.ConnectionPool(http1=False) as by_knowledge:
        response = await by_knowledge.request("GET", plain_url + "/")
    show.say(f"without TLS, by prior knowledge (http1=False): {response.http_version!r}")
    show.expect(response.http_version == b"HTTP/2", "HTTP/2 is spoken")
    async with httpcore.ConnectionPool() as careful:
        response = await careful.request("GET", plain_url + "/")
    show.say(f"without TLS, knowing nothing: {response.http_version!r}")
    show.expect(response.http_version == b"HTTP/1.1", "HTTP/1.1 is spoken")


async def many_streams(show: Show, http: httpcore.ConnectionPool, url: str) -> None:
    tasks = [asyncio.create_task(http.request("GET", url + "/")) for _ in range(200)]
    await asyncio.sleep(0)
    show.say(f"200 requests, and nobody knows yet what the server speaks: {http!r}")
    show.expect(http.num_connections == 1, "one connection is made, for which all wait")
    responses = await asyncio.gather(*tasks)
    used = {connection_of(response) for response in responses}
    streams = {(connection_of(r), r.exchange.stream_id) for r in responses if r.exchange is not None}
    show.say(f"200 answers on {len(streams)} streams of {len(used)} connections; the server allows 100 on each")
    show.expect(all(response.body == b"Hello, world" for response in responses), "all are answered")
    show.expect(len(streams) == 200, "each has a stream of its own")
    show.expect(len(used) <= 2, "no more connections are made than it takes")


async def nobody_reads(show: Show, http: httpcore.ConnectionPool, url: str) -> None:
    size, received = 16 * MIB, 0
    async with await http.request("GET", f"{url}/download?size={size}", stream=True) as response:
        began = time.perf_counter()
        small = await asyncio.gather(*(http.request("GET", url + "/") for _ in range(50)))
        took = (time.perf_counter() - began) * 1000
        same = {connection_of(answer) for answer in small} == {connection_of(response)}
        show.say(f"nobody reads 16 MiB; 50 requests beside them, on the same connection, took {took:.1f} ms")
        show.expect(all(answer.body == b"Hello, world" for answer in small), "all are answered")
        show.expect(same and http.num_connections == 1, "one connection carries them all")
        async for part in response.stream():
            received += len(part)
    show.say(f"then they were read: {received:,} bytes")
    show.expect(received == size, "every byte came")


async def closed_early(show: Show, http: httpcore.ConnectionPool, url: str) -> None:
    resets: list[httpcore.TraceEvent] = []

    def note(event: httpcore.TraceEvent) -> None:
        if event.name == "http2.stream_reset":
            resets.append(event)

    used = set()
    for _ in range(10):
        async with await http.request("GET", f"{url}/download?size={16 * MIB}", stream=True, trace=note) as response:
            async for _ in response.stream():
                break  # enough
        used.add(connection_of(response))
    answer = await http.request("GET", url + "/")
    used.add(connection_of(answer))
    show.say(f"10 downloads of 16 MiB, each closed after its first bytes: {len(resets)} streams were reset")
    show.say(f"{len(used)} connection carried them, and the next request: {answer.status_code} {answer.body!r}")
    show.expect(len(resets) == 10, "each stream is reset")
    show.expect(len(used) == 1 and http.num_connections == 1, "the connection stays")


async def early_hints_and_trailers(show: Show, http: httpcore.ConnectionPool, url: str) -> None:
    seen: list[httpcore.TraceEvent] = []
    await http.request("GET", url + "/hints", trace=seen.append)
    names = [event.name for event in seen if event.name.startswith("response.")]
    show.say("before the response: " + ", ".join(names))
    show.expect(names[0] == "response.informational_received", "103 is delivered")
    response = await http.request("GET", url + "/trailers", headers={"te": "trailers"})
    show.say(f"behind it: {response.trailers!r}")
    show.expect(response.trailers["checksum"] == hashlib.sha256(response.body).hexdigest(), "trailers are delivered")


async def gateway(show: Show, http: httpcore.ConnectionPool, url: str, *, plain_url: str) -> None:
    async with run_gateway(UPSTREAM=plain_url, UPSTREAM_HTTP2="1") as through:
        response = await http.request("GET", through + "/", timeout=20)
        spoken = f"{response.http_version.decode()} to the gateway, via: {response.headers['via']}"
        show.say(f"GET / -> {response.status_code} {response.body!r}; {spoken}")
        show.expect(response.headers["via"] == "2 gateway", "the upstream speaks HTTP/2")
        began, received = time.perf_counter(), 0
        async with await http.request("GET", f"{through}/download?size={16 * MIB}", stream=True) as response:
            small = await asyncio.gather(*(http.request("GET", through + "/") for _ in range(50)))
            async for part in response.stream():
                received += len(part)
        show.say(f"down: {rate(received, began)}; before anybody read it, {len(small)} small answers came")
        show.expect(received == 16 * MIB, "the download comes through")
        show.expect(all(answer.body == b"Hello, world" for answer in small), "so do the small ones")

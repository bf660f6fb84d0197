"""Shows the library at work against servers of its own on loopback, says how long each part took, and checks it all.

The servers (scripts/upstream.py for HTTP/1.1, scripts/upstream_http2.py for HTTP/2), the proxy (scripts/proxy.py) and
the gateway (examples/gateway.py under uvicorn) are processes of their own, so that times and memory are this process's.
Exits with 1 if anything is not as expected.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import hashlib
import json
import platform
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import httpcore
from scripts import demo_http2, demo_routes, demo_sync
from scripts.show import MIB, ROOT, Failed, Show, peak_memory, pieces, rate, run_gateway, run_program

# The parts.


async def one_request(show: Show, http: httpcore.ConnectionPool, url: str) -> None:
    response = await http.request("GET", url + "/")
    show.say(f"GET / -> {response.status_code} {response.reason.decode()}, {response.body!r}")
    timings = response.exchange.timings if response.exchange is not None else None
    show.expect(response.body == b"Hello, world" and timings is not None, "the answer is Hello, world")
    show.say(f"{http!r}")


async def many_requests(show: Show, http: httpcore.ConnectionPool, url: str) -> None:
    async with httpcore.ConnectionPool(limits=httpcore.PoolLimits(hard_limit=20)) as pool:
        tasks = [asyncio.create_task(pool.request("GET", url + "/")) for _ in range(200)]
        await asyncio.sleep(0)
        show.say(f"200 requests, at most 20 connections: {pool!r}, {pool.num_waiting_requests} requests queued")
        show.expect((pool.num_active_connections, pool.num_waiting_requests) == (20, 180), "20 dial, 180 wait")
        responses = await asyncio.gather(*tasks)
        used = {info.connection_id for r in responses if r.exchange and (info := r.exchange.connection_info)}
        show.say(f"200 answers over {len(used)} connections: {pool!r}, {pool.num_waiting_requests} requests queued")
        show.expect(all(r.body == b"Hello, world" for r in responses), "all are answered")
        show.expect(pool.num_active_connections == pool.num_waiting_requests == 0, "the books balance")
    show.say(f"after close(): {pool!r}")
    show.expect(pool.num_connections == 0, "nothing is left")


async def download(show: Show, http: httpcore.ConnectionPool, url: str, *, size: int = 256 * MIB) -> None:
    received, before, began = 0, peak_memory(), time.perf_counter()
    async with await http.request("GET", f"{url}/download?size={size}", stream=True) as response:
        async for part in response.stream():
            received += len(part)
            if received == len(part):
                await asyncio.sleep(0.1)  # a slow reader: the server is paused, and nothing piles up
    grown = peak_memory() - before
    show.say(f"{rate(received, began)}; the peak of this process's memory grew by {grown:.1f} MiB")
    show.expect(received == size, "every byte came")
    show.expect(grown < 16, "memory is bounded")


async def upload(show: Show, http: httpcore.ConnectionPool, url: str, *, size: int = 128 * MIB) -> None:
    digest, before, began = hashlib.sha256(), peak_memory(), time.perf_counter()

    async def body() -> AsyncIterator[bytes]:
        async for piece in pieces(size // MIB):
            digest.update(piece)
            yield piece

    response = await http.request("POST", url + "/upload", body=body)
    grown = peak_memory() - before
    show.say(f"{rate(size, began)}; the peak of this process's memory grew by {grown:.1f} MiB")
    show.say(f"the server got {response.body.decode()}")
    show.expect(response.body.decode() == f"{size} bytes {digest.hexdigest()}", "the server got what was sent")
    show.expect(grown < 16, "memory is bounded")


async def duplex(show: Show, http: httpcore.ConnectionPool, url: str) -> None:
    heard = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"Anybody there?"
        await heard.wait()
        yield b" Good."

    response = await http.request("POST", url + "/echo", body=body, stream=True)
    async for part in response.stream():
        show.say(f"heard {part!r}" + ("" if heard.is_set() else " while the request is still being sent"))
        heard.set()
    show.expect(heard.is_set(), "the response came before the request's end")


class PausingHandler(httpcore.ResponseHandler):
    """Takes 1 MiB, pauses for 2 ms, and so on."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self.loop.create_future()
        self.calls: list[str] = []
        self.received = self.pauses = self.while_paused = self.most_while_paused = 0
        self.paused = False

    def exchange_started(self, exchange: httpcore.Exchange) -> None:
        self.exchange = exchange
        self.calls.append("exchange_started")

    def response_received(self, head: httpcore.ResponseHead) -> None:
        self.calls.append(f"response_received({head.status_code})")

    def data_received(self, data: bytes) -> None:
        if self.paused:
            self.while_paused += len(data)
            self.most_while_paused = max(self.most_while_paused, self.while_paused)
        self.received += len(data)
        if self.received // MIB > self.pauses and not self.paused:
            self.pauses += 1
            self.paused = True
            self.while_paused = 0
            self.exchange.pause_reading()
            self.loop.call_later(0.002, self.resume)

    def resume(self) -> None:
        self.paused = False
        self.exchange.resume_reading()

    def response_complete(self, trailers: httpcore.Headers) -> None:
        self.calls.append("response_complete")
        self.done.set_result(None)

    def exchange_failed(self, exc: BaseException) -> None:
        if not self.done.done():
            self.done.set_exception(exc)


async def callbacks(show: Show, http: httpcore.ConnectionPool, url: str) -> None:
    handler = PausingHandler()
    http.dispatch(httpcore.Request("GET", f"{url}/download?size={32 * MIB}"), handler)
    await handler.done
    show.say(", ".join([*handler.calls[:2], "data_received ...", *handler.calls[2:]]))
    late = f"at most {handler.most_while_paused / 1024:.0f} KiB more came while paused"
    show.say(f"{handler.received / MIB:.0f} MiB with {handler.pauses} times pause_reading and resume_reading; {late}")
    show.expect(handler.received == 32 * MIB and handler.pauses > 10, "all came, with pauses")
    show.expect(handler.most_while_paused <= 256 * 1024, "what still comes is bounded")


async def early_answer(show: Show, http: httpcore.ConnectionPool, url: str) -> None:
    sent = 0
    stopped = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        try:
            while True:
                yield bytes(65536)
                sent += 65536
        finally:
            stopped.set()

    response = await http.request("POST", url + "/refuse", body=endless)
    await stopped.wait()
    show.say(
        f"{response.status_code} {response.body!r} came while an endless body was sent; it stopped at {sent:,} bytes"
    )
    show.expect(response.status_code == 413, "the answer is 413")


async def codings(show: Show, http: httpcore.ConnectionPool, url: str) -> None:
    response = await http.request("GET", url + "/gzip")
    wire = dict(response.raw_headers)
    coded = int(wire[b"Content-Length"])
    show.say(f"{coded:,} bytes of {wire[b'Content-Encoding'].decode()} on the wire, {len(response.body):,} decoded")
    show.expect(response.body == b"Hello, world\n" * 10_000, "gzip is decoded")
    response = await http.request("GET", url + "/gzip", headers={"accept-encoding": "gzip"}, stream=True)
    untouched = await response.read()
    show.say(f"streamed with an accept-encoding of one's own: {len(untouched):,} bytes, untouched")
    show.expect(len(untouched) == coded, "what the caller negotiates is left alone")


async def timeouts(show: Show, http: httpcore.ConnectionPool, url: str) -> None:
    drip = httpcore.TimeoutConfig(0.5, total_timeout=0.3)
    for path, timeout in (("/slow", 0.2), ("/drip", drip)):
        try:
            await http.request("GET", url + path, timeout=timeout)
        except httpcore.TimeoutException as exc:
            show.say(f"{path}: {type(exc).__name__}: {exc}")
            expected = httpcore.ReadTimeout if path == "/slow" else httpcore.TotalTimeout
            show.expect(isinstance(exc, expected) and exc.request_sent, f"{expected.__name__} is raised")
        else:
            raise Failed(f"{path} times out")


async def interim_and_trailers(show: Show, http: httpcore.ConnectionPool, url: str) -> None:
    class Hints(httpcore.ResponseHandler):
        def __init__(self) -> None:
            self.hints: list[tuple[int, str]] = []
            self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def informational_received(self, status_code: int, headers: httpcore.Headers) -> None:
            self.hints.append((status_code, headers["link"]))

        def response_complete(self, trailers: httpcore.Headers) -> None:
            self.done.set_result(None)

        def exchange_failed(self, exc: BaseException) -> None:
            if not self.done.done():
                self.done.set_exception(exc)

    handler = Hints()
    http.dispatch(httpcore.Request("GET", url + "/hints"), handler)
    await handler.done
    show.say(f"before the response: {handler.hints}")
    response = await http.request("GET", url + "/trailers")
    show.say(f"behind it: {response.trailers!r}")
    show.expect(handler.hints == [(103, "</style.css>; rel=preload")], "103 is delivered")
    show.expect(response.trailers["checksum"] == hashlib.sha256(response.body).hexdigest(), "trailers are delivered")


async def upgrade(show: Show, http: httpcore.ConnectionPool, url: str) -> None:
    headers = {"connection": "upgrade", "upgrade": "echo"}
    response = await http.request("GET", url + "/upgrade", headers=headers)
    stream = response.upgraded
    if stream is None:
        raise Failed("the connection is upgraded")
    heard = []
    for word in (b"raw", b"bytes"):
        stream.write(word)
        await stream.drain()
        heard.append(await stream.read())
    stream.close()
    await stream.wait_closed()
    show.say(f"{response.status_code} {response.reason.decode()}: wrote two words, read {heard}")
    show.expect(heard == [b"raw", b"bytes"], "the echo answers")


async def tracing(show: Show, http: httpcore.ConnectionPool, url: str) -> None:
    events: list[httpcore.TraceEvent] = []
    async with httpcore.ConnectionPool(trace=events.append) as traced:
        await traced.request("POST", url + "/upload", body=pieces(1))
    show.timeline(events)
    names = [event.name for event in events]
    order = ["slot.assigned", "request.head_sent", "request.body_sent", "response.head_received", "response.complete"]
    show.expect([name for name in names if name in order] == order, "the timeline is in order")
    show.expect(names[-1] == "connection.closed", "the end is told as well")


async def gateway(show: Show, http: httpcore.ConnectionPool, url: str) -> None:
    async with run_gateway(UPSTREAM=url) as through:
        response = await http.request("GET", through + "/gzip", timeout=20)
        show.say(f"GET /gzip -> {response.status_code}, {len(response.body):,} bytes decoded at this end")
        show.expect(response.body == b"Hello, world\n" * 10_000, "the coded answer comes through")
        began, received = time.perf_counter(), 0
        async with await http.request("GET", f"{through}/download?size={64 * MIB}", stream=True) as response:
            async for part in response.stream():
                received += len(part)
        show.say(f"down: {rate(received, began)}")
        show.expect(received == 64 * MIB, "the download comes through")
        began, digest = time.perf_counter(), hashlib.sha256()

        async def body() -> AsyncIterator[bytes]:
            async for piece in pieces(64):
                digest.update(piece)
                yield piece

        response = await http.request("POST", through + "/upload", body=body)
        show.say(f"up:   {rate(64 * MIB, began)}; the server got {response.body.decode()[:40]}...")
        expected = f"{64 * MIB} bytes {digest.hexdigest()}"
        show.expect(response.body.decode() == expected, "the upload comes through")


# The frame.

Part = Callable[[Show, httpcore.ConnectionPool, str], Awaitable[None]]

PARTS: dict[str, Part] = {
    "A request": one_request,
    "200 requests at once": many_requests,
    "A download, streamed": download,
    "An upload, streamed": upload,
    "Full duplex": duplex,
    "Callbacks that pause and resume": callbacks,
    "An early 413 stops an upload": early_answer,
    "Content codings": codings,
    "Timeouts": timeouts,
    "Interim responses and trailers": interim_and_trailers,
    "An upgrade to raw bytes": upgrade,
    "The timeline of one request": tracing,
    "The gateway, both ways": gateway,
    "An ASGI app in process": demo_sync.asgi_app,
    "Blocking: one thread": demo_sync.one_thread,
    "Blocking: 8 threads, one pool": demo_sync.eight_threads,
}


def http2_parts(plain_url: str) -> dict[str, Part]:
    """Returns those that get the HTTP/2 server's TLS address, and a pool of their own that trusts it."""
    return {
        "HTTP/2: the choice of version": functools.partial(demo_http2.choice, plain_url=plain_url),
        "HTTP/2: 200 requests at once": demo_http2.many_streams,
        "HTTP/2: a download, streamed": functools.partial(download, size=32 * MIB),
        "HTTP/2: an upload, streamed": functools.partial(upload, size=16 * MIB),
        "HTTP/2: full duplex": duplex,
        "HTTP/2: a download that nobody reads": demo_http2.nobody_reads,
        "HTTP/2: responses closed early": demo_http2.closed_early,
        "HTTP/2: interim responses and trailers": demo_http2.early_hints_and_trailers,
        "HTTP/2: the gateway in front of it": functools.partial(demo_http2.gateway, plain_url=plain_url),
    }


def route_parts(url: str, proxies: demo_routes.Proxies, folder: str) -> dict[str, Part]:
    """Returns those that get the same as those for HTTP/2; `url` is the HTTP/1.1 server's, without TLS."""
    through, ca = functools.partial, f"{folder}/ca.pem"
    return {
        "Routes: forwarded by a proxy": through(demo_routes.forwarded, plain_url=url, proxies=proxies),
        "Routes: a tunnel, layer by layer": through(demo_routes.tunnel, proxies=proxies, ca=ca),
        "Routes: a proxy that refuses": through(demo_routes.refused, proxies=proxies),
        "Routes: SOCKS": through(demo_routes.socks, proxies=proxies),
        "Routes: a WebSocket through a tunnel": through(demo_routes.websocket, proxies=proxies, folder=folder),
        "Routes: a unix socket": demo_routes.unix_socket,
        "Routes: what may not be connected to": through(demo_routes.egress, plain_url=url),
    }


def client_parts(folder: str) -> dict[str, Part]:
    """Returns those in which clients of other libraries talk to the HTTP/2 server."""
    return {"httpx2, requests and httpx on the core": functools.partial(demo_sync.adapters, ca=f"{folder}/ca.pem")}


async def run_part(number: int, title: str, part: Part, http: httpcore.ConnectionPool, url: str) -> bool:
    """Runs a part, and returns whether all was as expected."""
    with Show(f"{number}. {title}") as show:
        try:
            async with asyncio.timeout(30):
                await part(show, http, url)
        except Failed as exc:
            show.say(f"FAILED: it does not hold that {exc}")
        except (httpcore.HTTPCoreError, OSError, TimeoutError) as exc:
            show.say(f"FAILED: {exc!r}")
        else:
            return True
    return False


async def main() -> int:
    """Runs the parts and returns how many have failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="*", type=int, help="the numbers of the parts to run; all by default")
    chosen = parser.parse_args().part
    failures = 0
    scripts = ROOT / "scripts"
    with tempfile.TemporaryDirectory() as folder:
        async with (
            run_program(scripts / "upstream.py") as upstream,
            run_program(scripts / "upstream_http2.py", folder) as upstream_http2,
            httpcore.ConnectionPool() as http,
        ):
            assert upstream.stdout is not None
            assert upstream_http2.stdout is not None
            url = f"http://127.0.0.1:{int(await upstream.stdout.readline())}"
            ports = json.loads(await upstream_http2.stdout.readline())
            tls_url, plain_url = f"https://localhost:{ports['tls']}", f"http://127.0.0.1:{ports['plain']}"
            print(
                f"httpcore {httpcore.__version__}, Python {platform.python_version()}; the servers are {url} (HTTP/1.1)"
            )
            print(f"and {tls_url}, {plain_url} (HTTP/2)")
            async with run_program(scripts / "proxy.py", folder) as proxy:  # the other's certificate is there now
                assert proxy.stdout is not None
                proxies = demo_routes.Proxies.of(await proxy.stdout.readline())
                parts_with_tls = http2_parts(plain_url) | client_parts(folder) | route_parts(url, proxies, folder)
                for number, (title, part) in enumerate((PARTS | parts_with_tls).items(), 1):
                    if chosen and number not in chosen:
                        continue
                    if title in PARTS:
                        failures += not await run_part(number, title, part, http, url)
                    else:
                        async with httpcore.ConnectionPool(httpcore.SSLConfig(verify=f"{folder}/ca.pem")) as pool:
                            failures += not await run_part(number, title, part, pool, tls_url)
            print(f"\n{http!r}")
    print(f"After close(): {http!r}. " + (f"{failures} parts FAILED." if failures else "All as expected."))
    return failures


if __name__ == "__main__":
    sys.exit(1 if asyncio.run(main()) else 0)

"""The parts of the demo that are about blocking calls, about clients of other libraries, and about apps in process.

The servers are other processes, but the demo's own loop runs in the main thread: what blocks is called in others.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import ssl
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from typing import Any

import httpx
import httpx2
import requests

import httpcore
from httpcore.adapters.httpx2 import AsyncTransport
from httpcore.adapters.requests import HTTPAdapter
from httpcore.testing import ASGIConnector
from scripts.show import MIB, Show, peak_memory, rate

__all__ = ["adapters", "asgi_app", "eight_threads", "one_thread"]

Message = MutableMapping[str, Any]


async def one_thread(show: Show, http: httpcore.ConnectionPool, url: str) -> None:
    await asyncio.to_thread(_block, show, url)


def _block(show: Show, url: str, *, size: int = 64 * MIB) -> None:
    with httpcore.SyncConnectionPool() as http:
        response = http.request("GET", url + "/")
        show.say(f"GET / -> {response.status_code} {response.reason.decode()}, {response.body!r}")
        show.expect(response.body == b"Hello, world", "the answer is Hello, world")

        received, before, began = 0, peak_memory(), time.perf_counter()
        with http.request("GET", f"{url}/download?size={size}", stream=True) as response:
            for part in response.stream():
                received += len(part)
        show.say(
            f"down: {rate(received, began)}; the peak of this process's memory grew by {peak_memory() - before:.1f} MiB"
        )
        show.expect(received == size, "every byte came")
        show.expect(peak_memory() - before < 16, "memory is bounded")

        digest, threads = hashlib.sha256(), set()

        def body() -> Iterator[bytes]:
            for number in range(64):
                threads.add(threading.current_thread())
                piece = bytes([number]) * MIB
                digest.update(piece)
                yield piece

        began = time.perf_counter()
        response = http.request("POST", url + "/upload", body=body)
        show.say(f"up:   {rate(size, began)}; the generator ran in the thread of the call")
        show.expect(response.body.decode() == f"{size} bytes {digest.hexdigest()}", "the server got what was sent")
        show.expect(threads == {threading.current_thread()}, "the generator runs where the call is")
        try:
            http.request("GET", url + "/slow", timeout=0.2)
        except httpcore.ReadTimeout as exc:
            show.say(f"/slow: {type(exc).__name__}: {exc}")
        else:
            show.expect(False, "/slow times out")


async def eight_threads(show: Show, http: httpcore.ConnectionPool, url: str) -> None:
    await asyncio.to_thread(_share, show, url)


def _share(show: Show, url: str, *, each: int = 100) -> None:
    limits = httpcore.PoolLimits(hard_limit=4)
    with httpcore.SyncConnectionPool(limits=limits) as http, ThreadPoolExecutor(8) as executor:
        used: Counter[int] = Counter()
        lock = threading.Lock()

        def work(number: int) -> bool:
            right = True
            for _ in range(each):
                response = http.request("GET", url + "/")
                right = right and response.body == b"Hello, world"
                if response.exchange is not None and (info := response.exchange.connection_info) is not None:
                    with lock:
                        used[info.connection_id] += 1
            return right

        began = time.perf_counter()
        right = all(executor.map(work, range(8)))
        took = time.perf_counter() - began
        show.say(
            f"8 threads, {8 * each} requests over {len(used)} connections: {8 * each / took:,.0f} requests a second"
        )
        show.say(f"{http!r}")
        show.expect(right and used.total() == 8 * each, "all are answered")
        show.expect(len(used) <= 4, "the limit holds for all threads together")
        loops = [thread for thread in threading.enumerate() if thread.name == "httpcore"]
        show.say(f"one loop serves them all, in {loops}")
        show.expect(len(loops) == 1, "there is one loop")
    show.say(f"after close(): {http!r}")
    show.expect(http.num_connections == 0, "nothing is left")


async def adapters(show: Show, http: httpcore.ConnectionPool, url: str, *, ca: str) -> None:
    transport = AsyncTransport(ssl=httpcore.SSLConfig(verify=ca))
    async with httpx2.AsyncClient(transport=transport) as client:
        answers = await asyncio.gather(*(client.get(url + "/") for _ in range(50)))
        versions = {answer.http_version for answer in answers}
        show.say(f"httpx2 {httpx2.__version__}, 50 at once: {', '.join(versions)}, {transport._pool!r}")
        show.expect({answer.text for answer in answers} == {"Hello, world"}, "all are answered")
        show.expect(versions == {"HTTP/2"}, "HTTP/2 is spoken")
    await asyncio.to_thread(_request, show, url, ca)
    context = ssl.create_default_context(cafile=ca)
    async with httpx.AsyncClient(verify=context, http2=True, trust_env=False) as client:
        response = await client.get(url + "/")
        own: Any = client._transport
        show.say(f"httpx {httpx.__version__}, as it is: {response.http_version}, {own._pool!r}")
        show.expect(response.text == "Hello, world", "httpx is answered")


def _request(show: Show, url: str, ca: str) -> None:
    with requests.Session() as session:
        session.trust_env = False
        session.verify = ca
        session.mount("https://", HTTPAdapter())
        response = session.get(url + "/")
        version = f"HTTP/{response.raw.version / 10:g}"
        show.say(f"requests {metadata.version('requests')}: {version}, {response.status_code} {response.text!r}")
        show.expect((response.raw.version, response.text) == (20, "Hello, world"), "requests is answered, over HTTP/2")
        with session.get(f"{url}/download?size={16 * MIB}", stream=True) as response:
            received = sum(len(part) for part in response.iter_content(65536))
        show.say(f"and streamed: {received:,} bytes")
        show.expect(received == 16 * MIB, "every byte came")


async def asgi_app(show: Show, http: httpcore.ConnectionPool, url: str) -> None:
    gone = asyncio.Event()

    async def app(
        scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while (message := await receive())["type"] == "http.request":
            await send({"type": "http.response.body", "body": message["body"].upper(), "more_body": True})
            if not message["more_body"] and scope["path"] == "/echo":
                await send({"type": "http.response.body"})
                return
        gone.set()

    heard = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"Anybody there?"
        await heard.wait()
        yield b" Good."

    for version in (b"HTTP/1.1", b"HTTP/2"):
        heard.clear()
        gone.clear()
        make = functools.partial(httpcore.ConnectionPool, http1=version == b"HTTP/1.1")
        async with ASGIConnector(app) as connector, make(connector=connector) as pool:
            async with await pool.request("POST", "http://testserver/echo", body=body, stream=True) as response:
                async for part in response.stream():
                    during = "" if heard.is_set() else " while the request is still being sent"
                    show.say(f"{response.http_version.decode()}: heard {part!r}{during}")
                    heard.set()
            show.expect(response.http_version == version, "that version is spoken")
            async with await pool.request("GET", "http://testserver/endless", stream=True) as response:
                pass  # which closes it: the app would go on for ever
            await gone.wait()
            show.say("the client left, and the app was told: http.disconnect")

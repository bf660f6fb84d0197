"""Opens thousands of connections with one client, and prints by how much its process grew, as JSON.

    python harness_connections.py with_aiohttp http://127.0.0.1:8000 /held/head 5000 asyncio

The server (benchmarks/raw_server.py) holds its answers until all have asked, so that there is a connection for each.
Held in the middle (`/held/body`), they are measured as they are then; else when they were released, and connections are
idle.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import importlib
import json
import resource
import sys

# By name, as a type checker looks for modules in the folder above all others.
run_on = importlib.import_module("harness").run_on


def resident() -> int:
    """Returns the bytes of resident memory, when what can be given back was given back."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc
    if trim is not None:
        trim(0)
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


async def ask(origin: str, path: str) -> str:
    """Asks the server, on a connection that is not the client's."""
    host, _, port = origin.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    content = await reader.readexactly(length)
    writer.transport.abort()
    return content.decode()


async def run(module_name: str, origin: str, path: str, count: int) -> int:
    """Returns by how many bytes the process grew."""
    module = importlib.import_module(module_name)
    work = module.download if path == "/held/body" else module.small
    async with module.open_client(count, None, False) as client:
        await module.small(client, origin + "/small")
        if module_name == "with_bare":
            await client.request(origin + "/held/head", origin + "/small")
            await client.request(origin + "/held/body", origin + "/small")
        before = resident()
        tasks = [asyncio.create_task(work(client, origin + path)) for _ in range(count)]
        await ask(origin, f"/held/{count}")  # answered when so many are held
        if path == "/held/body":
            await asyncio.sleep(0.2)  # what the server has sent has to be taken
            grown = resident() - before
            await ask(origin, "/release")
            await asyncio.gather(*tasks)
        else:
            await ask(origin, "/release")
            await asyncio.gather(*tasks)
            tasks.clear()
            await asyncio.sleep(0.1)
            grown = resident() - before
    return grown


def main() -> None:
    """Reads the arguments, runs, prints."""
    _, module, origin, path, count, loop = sys.argv
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print(json.dumps({"bytes": run_on(loop, run(module, origin, path, int(count)))}))


if __name__ == "__main__":
    main()

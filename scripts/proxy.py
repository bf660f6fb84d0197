"""The proxy that the demo goes through: HTTP/1.1, with TLS and without, that forwards and tunnels; and SOCKS5.

Everybody has to give the user "demo" and the password "secret". Small, and for a demo: it forwards one request on each
connection, and lets everybody who knows the password go anywhere.

    python scripts/proxy.py FOLDER

FOLDER is where server.pem is, the certificate to show; see upstream_http2.py.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
import ssl
import sys
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

USER, PASSWORD = "demo", "secret"
CREDENTIALS = b"Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode())

CHALLENGE = (
    b'HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm="demo"\r\n'
    b"Content-Length: 22\r\n\r\nWho are you, stranger?"
)
BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"

# SOCKS5: RFC 1928 and RFC 1929.
IPV4, NAME, IPV6 = 1, 3, 4
ASK_PASSWORD = b"\x05\x02"
WELCOME, GO_AWAY = b"\x01\x00", b"\x01\x01"
SUCCEEDED, REFUSED = (b"\x05" + code + b"\x00\x01" + bytes(6) for code in (b"\x00", b"\x05"))


class Peer(NamedTuple):
    """One end of a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


async def relay(client: Peer, server: Peer) -> None:
    """Passes on what either says, until both have ended."""

    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(64 * 1024):
            sink.write(data)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()
        else:
            sink.close()  # TLS knows no half of an end

    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(copy(client.reader, server.writer))
            tasks.create_task(copy(server.reader, client.writer))
    finally:
        server.writer.close()


async def serve_http(client: Peer) -> None:
    """Forwards a request, or becomes a tunnel."""
    while True:
        head = await client.reader.readuntil(b"\r\n\r\n")
        request_line, *lines = head[:-4].split(b"\r\n")
        method, target, _ = request_line.split(b" ")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        if fields.pop(b"proxy-authorization", None) == CREDENTIALS:
            break
        client.writer.write(CHALLENGE)
    tunnel = method == b"CONNECT"
    url = urlsplit(("//" if tunnel else "") + target.decode())
    try:
        server = Peer(*await asyncio.open_connection(url.hostname, url.port or 80))
    except OSError:
        client.writer.write(BAD_GATEWAY)
        return
    if tunnel:
        client.writer.write(ESTABLISHED)
    else:
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        fields |= {b"connection": b"close", b"via": b"1.1 demo"}
        head = b"".join(name + b": " + value + b"\r\n" for name, value in fields.items())
        server.writer.write(method + b" " + path.encode() + b" HTTP/1.1\r\n" + head + b"\r\n")
    await relay(client, server)


async def serve_socks(client: Peer) -> None:
    """Becomes a tunnel."""
    reader, writer = client

    async def counted() -> bytes:
        return await reader.readexactly((await reader.readexactly(1))[0])

    await reader.readexactly(1)  # the version
    await counted()  # what the client can do
    writer.write(ASK_PASSWORD)
    await reader.readexactly(1)
    if (await counted(), await counted()) != (USER.encode(), PASSWORD.encode()):
        writer.write(GO_AWAY)
        return
    writer.write(WELCOME)
    kind = (await reader.readexactly(4))[3]
    if kind == NAME:
        host = (await counted()).decode()
    else:
        family, size = (socket.AF_INET, 4) if kind == IPV4 else (socket.AF_INET6, 16)
        host = socket.inet_ntop(family, await reader.readexactly(size))
    port = int.from_bytes(await reader.readexactly(2))
    try:
        server = Peer(*await asyncio.open_connection(host, port))
    except OSError:
        writer.write(REFUSED)
        return
    writer.write(SUCCEEDED)
    await relay(client, server)


async def main(folder: Path) -> None:
    """Serves until standard input ends, and says on standard output where."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Which listener it came to tells what is spoken.
        port = writer.get_extra_info("sockname")[1]
        with contextlib.suppress(OSError, EOFError, ExceptionGroup):  # clients and servers may go as they like
            await (serve_socks if port == ports["socks5h"] else serve_http)(Peer(reader, writer))
        writer.close()

    ports = {}
    for scheme in ("http", "https", "socks5h"):
        tls = context if scheme == "https" else None
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
        ports[scheme] = server.sockets[0].getsockname()[1]
    print(json.dumps(ports), flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))

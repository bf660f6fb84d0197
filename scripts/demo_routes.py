"""The parts of the demo that are about the ways to a server: proxies, tunnels, sockets, and what may not be reached."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import tempfile
from typing import NamedTuple

from websockets.asyncio.server import ServerConnection, serve

import httpcore
from examples.websocket import WebSocket
from scripts.proxy import PASSWORD, USER
from scripts.show import Failed, Show
from scripts.upstream import Client

__all__ = ["Proxies", "egress", "forwarded", "refused", "socks", "tunnel", "unix_socket", "websocket"]


class Proxies(NamedTuple):
    """Where scripts/proxy.py listens, each time with user and password."""

    http: str
    https: str
    socks5h: str

    @classmethod
    def of(cls, line: bytes) -> Proxies:
        """Returns what it has said."""
        return cls(**{name: f"{name}://{USER}:{PASSWORD}@localhost:{port}" for name, port in json.loads(line).items()})


async def forwarded(show: Show, http: httpcore.ConnectionPool, url: str, *, plain_url: str, proxies: Proxies) -> None:
    async with httpcore.ConnectionPool(proxy=proxies.http) as pool:
        response = await pool.request("GET", plain_url + "/request")
        through = [line for line in response.body.decode().splitlines() if not line.startswith("accept-encoding")]
        show.say(f"{httpcore.Proxy(proxies.http)!r} is asked for {plain_url}/request, and asks the server:")
        show.say(" | ".join(through))
        show.expect("via: 1.1 demo" in through, "the request comes by the proxy")
        show.expect(not any("authorization" in line for line in through), "the proxy keeps its credentials")
        response = await pool.request("GET", plain_url + "/request", proxy=httpcore.DIRECT)
        show.expect(b"via" not in response.body, "DIRECT goes without")


async def tunnel(show: Show, http: httpcore.ConnectionPool, url: str, *, proxies: Proxies, ca: str) -> None:
    events: list[httpcore.TraceEvent] = []
    proxy = httpcore.Proxy(proxies.https, ssl=httpcore.SSLConfig(verify=ca))
    async with httpcore.ConnectionPool(httpcore.SSLConfig(verify=ca), proxy=proxy) as pool:
        response = await pool.request("GET", url + "/", trace=events.append)
        show.timeline([event for event in events if event.name.startswith(("connect.", "request.", "response."))])
        show.expect(response.http_version == b"HTTP/2", "HTTP/2 is spoken in the tunnel")
        layers = [event.name for event in events if event.name.startswith("connect.t")]
        to_proxy, through = ["connect.tcp_connected", "connect.tls_established"], ["connect.tls_established"]
        between = ["connect.tunnel_started", "connect.tunnel_established"]
        show.expect(sorted(layers) == sorted([*to_proxy, *between, *through]), "TLS is in TLS")
        answers = await asyncio.gather(*(pool.request("GET", url + "/") for _ in range(50)))
        show.say(f"50 more requests at once: {pool!r}")
        show.expect(all(answer.body == b"Hello, world" for answer in answers), "all are answered")
        show.expect(pool.num_connections == 1, "one tunnel carries them")


async def refused(show: Show, http: httpcore.ConnectionPool, url: str, *, proxies: Proxies) -> None:
    wrong = httpcore.Proxy(proxies.http, auth=("demo", "guess"))
    try:
        await http.request("GET", url + "/", proxy=wrong)
    except httpcore.ProxyError as exc:
        show.say(f"{exc}")
        challenge = dict(exc.headers)[b"proxy-authenticate"]
        show.say(f"status_code={exc.status_code}, proxy-authenticate: {challenge.decode()}, body={exc.body!r}")
        show.expect((exc.status_code, exc.request_sent) == (407, False), "the proxy asks for credentials")
    else:
        raise Failed("a wrong password is refused")
    show.say(f"{http!r}")
    show.expect(http.num_connections == 0, "its place is free again")


async def socks(show: Show, http: httpcore.ConnectionPool, url: str, *, proxies: Proxies) -> None:
    response = await http.request("GET", url + "/", proxy=proxies.socks5h)
    show.say(f"{response.http_version.decode()} in TLS by SOCKS5: {response.status_code} {response.body!r}")
    show.expect(response.body == b"Hello, world", "the answer is Hello, world")
    try:
        await http.request("GET", "https://localhost:1/", proxy=proxies.socks5h)
    except httpcore.ProxyError as exc:
        show.say(f"where nobody listens: {exc}; reply_code={exc.reply_code}")
        show.expect(exc.reply_code == 5, "the proxy says why")
    else:
        raise Failed("a server that is not there cannot be reached")


async def unix_socket(show: Show, http: httpcore.ConnectionPool, url: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Client(reader, writer).serve()
        writer.close()

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "server.sock")
        server = await asyncio.start_unix_server(answer, path)
        async with httpcore.ConnectionPool(network=httpcore.NetworkConfig(uds=path)) as pool:
            response = await pool.request("GET", "http://docker.example/request")
            show.say("the server was asked: " + " | ".join(response.body.decode().splitlines()))
            show.expect(b"host: docker.example" in response.body, "the URL says what is asked, the path where")
        server.close()
        await server.wait_closed()


async def egress(show: Show, http: httpcore.ConnectionPool, url: str, *, plain_url: str) -> None:
    async def resolver(host: str) -> list[str]:
        return ["::ffff:127.0.0.1", "10.0.0.1"]

    careful = httpcore.NetworkConfig(resolver=resolver, egress=httpcore.public_addresses_only)
    for target in (plain_url, "http://[::1]/", "http://innocent.example/"):
        try:
            await http.request("GET", target, network=careful)
        except httpcore.ConnectError as exc:
            show.say(f"{exc}")
            show.expect("the egress policy refused" in str(exc), "the policy refuses it")
        else:
            raise Failed(f"{target} is not reached")
    show.expect(http.num_connections == 0, "nothing was connected to")


async def websocket(show: Show, http: httpcore.ConnectionPool, url: str, *, proxies: Proxies, folder: str) -> None:
    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{folder}/server.pem")
    config = httpcore.SSLConfig(verify=f"{folder}/ca.pem")
    async with serve(echo, "127.0.0.1", 0, ssl=context) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with (
            httpcore.ConnectionPool(config, proxy=proxies.http) as pool,
            await WebSocket.connect(pool, f"wss://localhost:{port}/") as messages,
        ):
            await messages.send("Anybody there?")
            heard = await messages.receive()
            show.say(f"{messages.response.status_code} {messages.response.reason.decode()}, then {heard!r}")
            show.expect(heard == "Anybody there?", "messages come back")

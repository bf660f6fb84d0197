"""examples/websocket.py with the websockets package's server over HTTP/1.1, and behind haproxy and nghttpx over HTTP/2
(RFC 8441); with hypercorn; through real proxies; and with servers that break the rules.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import hashlib
import http
import re
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import websockets.asyncio.server
import websockets.exceptions

import httpcore
from examples import websocket
from examples.websocket import ConnectionClosed, HandshakeError, WebSocket
from httpcore.testing import MemoryConnector, ScriptedPeer
from tests.clock import until
from tests.conftest import TLSFiles
from tests.content import blocks
from tests.pool.steps import Steps
from tests.servers import Program, require, require_module
from tests.servers_proxies import ProxyServer, Squid

_ROOT = Path(__file__).parents[1]
_LINKS = ["ws", "wss", "haproxy", "nghttpx"]
_PROXIES = ["squid-open", "squid-auth", "squid-tls", "tinyproxy", "microsocks_auth", "danted", "nghttpx"]
_LARGE = 1_000_000

ServerConnection = websockets.asyncio.server.ServerConnection
Handler = Callable[[ServerConnection], Awaitable[None]]


# Ways to the server


@dataclass(frozen=True)
class Front:
    """A program that takes HTTP/2, and passes WebSockets on over HTTP/1.1 to whoever listens on `backend`."""

    url: str
    backend: socket.socket


_HAPROXY_CONF = """
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend front
    bind fd@{descriptor} ssl crt {pem} alpn h2
    default_backend websockets
backend websockets
    server websockets {host}:{port}
"""


@pytest.fixture(scope="session")
def haproxy_front(tmp_path_factory: pytest.TempPathFactory, tls: TLSFiles) -> Iterator[Front]:
    """haproxy: HTTP/2 over TLS."""
    binary = require("haproxy")
    folder = tmp_path_factory.mktemp("haproxy")
    pem = folder / "both.pem"
    pem.write_bytes(tls.key_path.read_bytes() + tls.cert_path.read_bytes())
    config = folder / "haproxy.cfg"
    with socket.create_server(("127.0.0.1", 0)) as backend:
        listener = socket.create_server(("127.0.0.1", 0))
        host, port = backend.getsockname()
        config.write_text(_HAPROXY_CONF.format(descriptor=listener.fileno(), pem=pem, host=host, port=port))
        program = Program([binary, "-db", "-f", str(config)], pass_fds=[listener.fileno()])
        url = f"wss://localhost:{listener.getsockname()[1]}"
        listener.close()
        yield Front(url, backend)
        program.stop()


@pytest.fixture(scope="session")
def nghttpx_front() -> Iterator[Front]:
    """nghttpx: HTTP/2 by prior knowledge."""
    binary = require("nghttpx")
    with socket.create_server(("127.0.0.1", 0)) as backend:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]  # which it cannot inherit; who asks meanwhile is given another one
        options = ["--conf=/dev/null", "--workers=1", "--single-process"]
        ends = [f"--frontend=127.0.0.1,{port};no-tls", f"--backend=127.0.0.1,{backend.getsockname()[1]}"]
        program = Program([binary, *options, *ends])
        program.wait_for_port(port)
        yield Front(f"ws://127.0.0.1:{port}", backend)
        program.stop()


@dataclass
class Link:
    """A way to servers of the websockets package.

    Attributes:
        pool: a pool for it.
        http2: whether it goes over HTTP/2.
    """

    pool: httpcore.ConnectionPool
    http2: bool
    _front: Front | None
    _tls: TLSFiles | None

    @contextlib.asynccontextmanager
    async def serve(
        self,
        handler: Handler,
        *,
        subprotocols: Sequence[str] = (),
        process_request: Callable[..., object] | None = None,
        max_queue: int = 16,
    ) -> AsyncIterator[str]:
        """Runs a server, and gives its URL. On leaving, waits for its handlers, and raises what one of them raised."""
        errors: list[BaseException] = []

        async def handle(connection: ServerConnection) -> None:
            try:
                await handler(connection)
            except BaseException as exc:
                errors.append(exc)

        async with websockets.asyncio.server.serve(
            handle,
            None if self._front else "127.0.0.1",
            None if self._front else 0,
            sock=self._front.backend.dup() if self._front else None,
            ssl=self._tls.server_context if self._tls else None,
            subprotocols=[websockets.Subprotocol(name) for name in subprotocols] or None,
            process_request=process_request,  # type: ignore[arg-type]  # takes a plain function or a coroutine function
            max_queue=max_queue,
            compression=None,
        ) as server:
            port = server.sockets[0].getsockname()[1]
            if self._front is not None:
                yield self._front.url
            else:
                yield f"wss://localhost:{port}" if self._tls else f"ws://127.0.0.1:{port}"
        if errors:
            raise errors[0]


@pytest.fixture
def proxy(request: pytest.FixtureRequest, tls: TLSFiles) -> httpcore.Proxy | None:
    """The proxy to go through, none at all by default: a test may say which, by `_PROXIES`."""
    name = getattr(request, "param", None)
    if name is None:
        return None
    server = request.getfixturevalue(name.partition("-")[0])
    if isinstance(server, Squid):
        server = getattr(server, name.partition("-")[2])
    assert isinstance(server, ProxyServer)
    config = httpcore.SSLConfig(verify=str(tls.ca_path)) if server.scheme == "https" else None
    return httpcore.Proxy(server.url_with_credentials, ssl=config)


@pytest.fixture(params=_LINKS)
async def link(request: pytest.FixtureRequest, tls: TLSFiles, proxy: httpcore.Proxy | None) -> AsyncIterator[Link]:
    name = request.param
    front = request.getfixturevalue(f"{name}_front") if name in ("haproxy", "nghttpx") else None
    config = httpcore.SSLConfig(verify=str(tls.ca_path))
    async with httpcore.ConnectionPool(config, http1=name != "nghttpx", proxy=proxy) as pool:
        yield Link(pool, front is not None, front, tls if name == "wss" else None)
        await until(lambda: pool.num_active_connections == 0)  # whatever the test did, none of it is left


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    return Steps(monkeypatch)


async def collect(client: WebSocket) -> list[str | bytes]:
    return [message async for message in client]


async def echo(connection: ServerConnection) -> None:
    with contextlib.suppress(websockets.exceptions.ConnectionClosed):  # however the client goes
        async for message in connection:
            await connection.send(message)


# Messages


async def test_text_and_binary_messages_come_back_as_they_were_sent(link: Link):
    messages: list[str | bytes] = [
        "Hello",
        b"Hello",
        "",
        b"",
        "gr\u00fc\u00df \U0001f44b",
        bytes(range(256)),
        "x" * 126,
    ]
    async with link.serve(echo) as url, await WebSocket.connect(link.pool, url) as client:
        for message in messages:
            await client.send(message)
            assert await client.receive() == message


async def test_request_says_where_and_what_on_either_version_of_http(link: Link):
    async def handler(connection: ServerConnection) -> None:
        assert connection.request is not None
        await connection.send(connection.request.path)
        await connection.send(connection.request.headers["x-test"])

    async with (
        link.serve(handler) as url,
        await WebSocket.connect(link.pool, url + "/chat?a=b", headers=[("x-test", "1")]) as client,
    ):
        version, status = (b"HTTP/2", 200) if link.http2 else (b"HTTP/1.1", 101)
        assert (client.response.http_version, client.response.status_code) == (version, status)
        assert [await client.receive(), await client.receive()] == ["/chat?a=b", "1"]
        assert client.subprotocol is None


@pytest.mark.parametrize("message", ["\u20ac" * (_LARGE // 3), b"".join(blocks(_LARGE))], ids=["text", "binary"])
async def test_large_messages_come_back_whole(link: Link, message: str | bytes):
    async with link.serve(echo) as url, await WebSocket.connect(link.pool, url) as client:
        for _ in range(2):
            await client.send(message)
            assert await client.receive() == message


async def test_fragments_are_one_message_and_pings_between_them_are_answered(link: Link):
    answered = asyncio.Event()

    async def handler(connection: ServerConnection) -> None:
        async def fragments() -> AsyncIterator[str]:
            yield "Hel"
            await (await connection.ping(b"are you there?"))
            answered.set()
            yield ""
            yield "lo"

        await connection.send(fragments())
        await connection.send([b"a", b"", b"b"])

    async with link.serve(handler) as url, await WebSocket.connect(link.pool, url) as client:
        assert await client.receive() == "Hello"
        assert answered.is_set()
        assert await client.receive() == b"ab"


async def test_character_cut_by_fragments_and_segments_is_put_together(link: Link):
    text = "\u20ac\U0001f44b" * 50_000

    async def handler(connection: ServerConnection) -> None:
        await connection.send(text)
        await connection.recv()

    async with link.serve(handler) as url, await WebSocket.connect(link.pool, url) as client:
        assert await client.receive() == text
        await client.send("received")


async def test_messages_that_come_together_are_received_in_order(link: Link):
    async def handler(connection: ServerConnection) -> None:
        await asyncio.gather(*(connection.send(str(number)) for number in range(100)))

    async with link.serve(handler) as url, await WebSocket.connect(link.pool, url) as client:
        assert await collect(client) == [str(number) for number in range(100)]


async def test_messages_flow_both_ways_at_once(link: Link):
    messages = [bytes([number]) * 20_000 for number in range(200)]

    async def handler(connection: ServerConnection) -> None:
        async def push() -> None:
            for message in messages:
                await connection.send(message)

        async with asyncio.TaskGroup() as group:
            group.create_task(push())
            received = [await connection.recv() for _ in messages]
        assert received == messages

    async def push(client: WebSocket) -> None:
        for message in messages:
            await client.send(message)

    async with (
        link.serve(handler) as url,
        await WebSocket.connect(link.pool, url) as client,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(push(client))
        assert [await client.receive() for _ in messages] == messages


async def test_websockets_over_http2_share_a_connection(link: Link):
    async with link.serve(echo) as url, contextlib.AsyncExitStack() as stack:
        # The first says which version it is.
        clients = [await stack.enter_async_context(await WebSocket.connect(link.pool, url))]
        connecting = [WebSocket.connect(link.pool, url) for _ in range(19)]
        clients += [await stack.enter_async_context(client) for client in await asyncio.gather(*connecting)]
        for client in clients:
            await client.send(str(id(client)))
        assert [await client.receive() for client in clients] == [str(id(client)) for client in clients]
        connections = {client.response.exchange.connection_info for client in clients if client.response.exchange}
        assert len(connections) == (1 if link.http2 else 20)


async def test_slow_receiver_holds_up_the_server_and_nobody_else(link: Link):
    sent = 0

    async def handler(connection: ServerConnection) -> None:
        nonlocal sent
        assert connection.request is not None
        if connection.request.path == "/echo":
            await echo(connection)
            return
        for _ in range(500):
            await connection.send(bytes(100_000))
            sent += 1

    async with (
        link.serve(handler) as url,
        await WebSocket.connect(link.pool, url) as slow,
        await WebSocket.connect(link.pool, url + "/echo") as other,
    ):
        for _ in range(20):
            await other.send(bytes(100_000))
            assert await other.receive() == bytes(100_000)
        assert sent < 500
        assert [len(message) for message in await collect(slow)] == [100_000] * 500


# Closing


async def test_code_and_reason_of_the_client_reach_the_server(link: Link):
    closed: list[tuple[int | None, str | None]] = []

    async def handler(connection: ServerConnection) -> None:
        await connection.wait_closed()
        closed.append((connection.close_code, connection.close_reason))

    async with link.serve(handler) as url, await WebSocket.connect(link.pool, url) as client:
        await client.close(4000, "enough \u20ac")
        with pytest.raises(ConnectionClosed, match=r"4000 'enough \\u20ac'"):
            await client.send("more")
        with pytest.raises(ConnectionClosed) as caught:
            await client.receive()
        await client.close(4001)
    assert (caught.value.code, caught.value.reason) == (4000, "enough \u20ac")
    assert closed == [(4000, "enough \u20ac")]


@pytest.mark.parametrize(("code", "normal"), [(1000, True), (1001, True), (1011, False), (4001, False)])
async def test_code_and_reason_of_the_server_reach_the_client(link: Link, code: int, normal: bool):
    async def handler(connection: ServerConnection) -> None:
        await connection.send("last")
        await connection.close(code, "that was all")
        assert connection.close_code == code  # as it was answered

    async with link.serve(handler) as url, await WebSocket.connect(link.pool, url) as client:
        if normal:
            assert await collect(client) == ["last"]
        else:
            assert await anext(client) == "last"
            with pytest.raises(ConnectionClosed):
                await anext(client)
        for use in (client.receive(), client.send("too late")):
            with pytest.raises(ConnectionClosed) as caught:
                await use
            assert (caught.value.code, caught.value.reason) == (code, "that was all")


async def test_messages_that_come_while_closing_are_dropped(link: Link):
    async def handler(connection: ServerConnection) -> None:
        with contextlib.suppress(websockets.exceptions.ConnectionClosedOK):
            while True:
                await connection.send(bytes(10_000))

    async with link.serve(handler) as url, await WebSocket.connect(link.pool, url) as client:
        assert len(await client.receive()) == 10_000


async def test_close_ends_a_receive_that_waits_in_another_task(link: Link):
    async with link.serve(echo) as url, await WebSocket.connect(link.pool, url) as client:
        receiving = asyncio.create_task(collect(client))
        await asyncio.sleep(0)
        await client.close()
        assert await receiving == []


async def test_both_sides_close_at_once(link: Link):
    async def handler(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.close(4002)

    async with link.serve(handler) as url, await WebSocket.connect(link.pool, url) as client:
        await client.send("close")
        await client.close(4003)
        with pytest.raises(ConnectionClosed):
            await client.receive()


async def test_connection_that_breaks_is_1006(link: Link):
    async def handler(connection: ServerConnection) -> None:
        await connection.recv()
        connection.transport.abort()

    async with link.serve(handler) as url, await WebSocket.connect(link.pool, url) as client:
        await client.send("go")
        with pytest.raises(ConnectionClosed, match="1006") as caught:
            await client.receive()
        assert caught.value.code == 1006
        with pytest.raises(ConnectionClosed, match="1006"):
            while True:  # the kernel may take some before it says so
                await client.send(bytes(100_000))


async def test_error_in_the_clients_block_closes_with_1011(link: Link):
    async def handler(connection: ServerConnection) -> None:
        await connection.wait_closed()
        assert connection.close_code == 1011

    async with link.serve(handler) as url:
        with pytest.raises(ZeroDivisionError):
            async with await WebSocket.connect(link.pool, url):
                raise ZeroDivisionError


async def test_message_that_is_too_large_closes_with_1009(link: Link):
    async def handler(connection: ServerConnection) -> None:
        await connection.send(bytes(1000))
        with contextlib.suppress(websockets.exceptions.ConnectionClosedError):
            await connection.send([bytes(600), bytes(401)])
        await connection.wait_closed()
        assert connection.close_code == 1009

    async with link.serve(handler) as url, await WebSocket.connect(link.pool, url, max_size=1000) as client:
        assert await client.receive() == bytes(1000)
        for _ in range(2):
            with pytest.raises(ConnectionClosed, match="1009 'the message is too large'"):
                await client.receive()


async def test_websocket_that_is_dropped_unclosed_warns_and_ends(link: Link):
    async def handler(connection: ServerConnection) -> None:
        await connection.wait_closed()
        assert connection.close_code == 1006

    async with link.serve(handler) as url:
        client = await WebSocket.connect(link.pool, url)
        await asyncio.sleep(0)  # the step that began with the response's arrival still refers to it
        with pytest.warns(ResourceWarning, match="unclosed <UpgradedStream"):
            del client
            gc.collect()


# The handshake


async def test_refusal_says_its_status_and_content(link: Link):
    def refuse(connection: ServerConnection, request: object) -> object:
        return connection.respond(http.HTTPStatus.FORBIDDEN, "members only\n")

    async with link.serve(echo, process_request=refuse) as url:
        with pytest.raises(HandshakeError, match=r"^the server answered 403$") as caught:
            await WebSocket.connect(link.pool, url)
        assert caught.value.response.body == b"members only\n"


async def test_subprotocol_is_the_one_the_server_chooses(link: Link):
    async def handler(connection: ServerConnection) -> None:
        await connection.send(connection.subprotocol or "none")

    async with (
        link.serve(handler, subprotocols=["chat.v2", "chat.v1"]) as url,
        await WebSocket.connect(link.pool, url, ["chat.v1", "superchat"]) as client,
    ):
        assert client.subprotocol == await client.receive() == "chat.v1"


# Cancellation


async def test_connect_that_is_cancelled_leaves_no_connection(link: Link):
    asked = asyncio.Event()
    gone = asyncio.Event()

    async def wait(connection: ServerConnection, request: object) -> None:
        asked.set()
        try:
            await connection.wait_closed()
        finally:
            gone.set()

    async with link.serve(echo, process_request=wait) as url:
        task = asyncio.create_task(WebSocket.connect(link.pool, url))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await gone.wait()


async def test_receive_that_is_cancelled_loses_nothing(link: Link):
    go_on = asyncio.Event()

    async def handler(connection: ServerConnection) -> None:
        async def fragments() -> AsyncIterator[str]:
            yield "Hel"
            await (await connection.ping())
            begun.set()
            await go_on.wait()
            yield "lo"

        await connection.send(fragments())

    begun = asyncio.Event()
    async with link.serve(handler) as url, await WebSocket.connect(link.pool, url) as client:
        task = asyncio.create_task(client.receive())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        assert await client.receive() == "Hello"


@pytest.mark.parametrize("what", ["receive", "send"])
async def test_block_that_is_cancelled_ends_the_connection(link: Link, what: str):
    reached, cancelled = asyncio.Event(), asyncio.Event()

    async def handler(connection: ServerConnection) -> None:
        await cancelled.wait()  # nothing is received until then, so the client cannot send for ever
        with pytest.raises(websockets.exceptions.ConnectionClosedError):
            while True:
                await connection.recv()

    async def use(url: str) -> None:
        async with await WebSocket.connect(link.pool, url) as client:
            reached.set()
            while True:
                await (client.receive() if what == "receive" else client.send(bytes(_LARGE)))

    async with link.serve(handler, max_queue=1) as url:
        task = asyncio.create_task(use(url))
        await reached.wait()
        for _ in range(50):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        cancelled.set()


async def converse(pool: httpcore.ConnectionPool, url: str) -> None:
    async with await WebSocket.connect(pool, url) as client:
        await client.send("Hello")
        assert await client.receive() == "Hello"


async def cancel_at_any_step(pool: httpcore.ConnectionPool, url: str, steps: Steps) -> None:
    """Converses again and again, cancelled after one callback of the loop, after two and so on, until it succeeds."""
    steps_taken = 0
    while True:
        task = asyncio.create_task(converse(pool, url))
        steps.actions[steps_taken] = task.cancel
        await asyncio.wait([task])
        steps.actions.clear()
        steps_taken += 1
        if not task.cancelled():
            break
    await task
    assert steps_taken > 10
    # It may have a connection that was begun for who was cancelled, for which a server would wait as it closes.
    await pool.close()


async def test_cancellation_at_any_step_leaves_no_connection(link: Link, steps: Steps):
    async with link.serve(echo) as url:
        await cancel_at_any_step(link.pool, url, steps)


# Servers that break the rules, byte by byte


def consent(request: bytes, **fields: str) -> bytes:
    """Returns the answer that agrees to a request. Fields that are given take the place of its own; none if empty."""
    (key,) = re.findall(rb"\r\nsec-websocket-key: (.*)\r\n", request)
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()
    answer = {"upgrade": "websocket", "connection": "upgrade", "sec-websocket-accept": accept}
    answer |= {name.replace("_", "-"): value for name, value in fields.items()}
    lines = [f"{name}: {value}\r\n" for name, value in answer.items() if value]
    return f"HTTP/1.1 101 Switching Protocols\r\n{''.join(lines)}\r\n".encode()


@dataclass
class Scripted:
    """A server that sends what a test says."""

    pool: httpcore.ConnectionPool
    _connector: MemoryConnector[ScriptedPeer]

    async def connect(self, frames: bytes = b"", *subprotocols: str, **fields: str) -> tuple[WebSocket, ScriptedPeer]:
        """Returns both ends of a connection. `frames` come right behind the consent, which has those `fields`."""
        connecting = asyncio.create_task(WebSocket.connect(self.pool, "ws://example.org/", subprotocols))
        peer = await self._connector.accept()
        peer.send(consent(await peer.receive_until(b"\r\n\r\n"), **fields) + frames)
        return await connecting, peer


@pytest.fixture(params=[None, 1], ids=["whole", "byte by byte"])
async def scripted(request: pytest.FixtureRequest) -> AsyncIterator[Scripted]:
    async with (
        MemoryConnector(segment=request.param) as connector,
        httpcore.ConnectionPool(connector=connector) as pool,
    ):
        yield Scripted(pool, connector)
        await asyncio.sleep(0)
        assert not connector.open_transports


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"sec_websocket_accept": "c2FtcGxl"}, "another request"),
        ({"sec_websocket_accept": ""}, "another request"),
        ({"upgrade": "h2c"}, "another protocol"),
        ({"sec_websocket_protocol": "other"}, "a subprotocol that was not offered"),
        ({"sec_websocket_extensions": "permessage-deflate"}, "an extension that was not offered"),
    ],
)
async def test_consent_to_something_else_is_an_error(scripted: Scripted, fields: dict[str, str], fault: str):
    with pytest.raises(HandshakeError, match=f"^the server agreed to {fault}$") as caught:
        await scripted.connect(b"", "chat", **fields)
    assert caught.value.response.status_code == 101


async def test_consent_may_name_the_protocol_in_capitals(scripted: Scripted):
    client, peer = await scripted.connect(b"\x88\x00", upgrade="WebSocket", connection="Keep-Alive, Upgrade")
    assert await collect(client) == []
    peer.close()
    await client.close()


async def test_url_of_another_scheme_is_an_error():
    async with httpcore.ConnectionPool() as pool:
        with pytest.raises(httpcore.UnsupportedProtocol, match="must begin with ws:// or wss://"):
            await WebSocket.connect(pool, "https://example.org/")


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x81\x81\x00\x00\x00\x00a", 1002),  # masked
        (b"\xc1\x01a", 1002),  # of an extension that was not agreed upon
        (b"\x83\x00", 1002),  # an opcode that is reserved
        (b"\x80\x01a", 1002),  # the continuation of nothing
        (b"\x01\x01a\x81\x01b", 1002),  # a new message within one
        (b"\x09\x00", 1002),  # a control frame in fragments
        (b"\x88\x01a", 1002),  # half a code
        (b"\x88\x02\x03\xee", 1002),  # 1006 is not for the wire
        (b"\x81\x01\xff", 1007),  # no UTF-8
        (b"\x81\x01\xe2", 1007),  # half a character
    ],
)
async def test_frame_that_breaks_a_rule_closes_with_its_code(scripted: Scripted, frame: bytes, code: int):
    client, peer = await scripted.connect(b"\x81\x02ok" + frame)
    assert await client.receive() == "ok"
    for _ in range(2):
        with pytest.raises(ConnectionClosed) as caught:
            await client.receive()
        assert caught.value.code == code
    # A close frame (masked: a key, and the code under it), and then nothing.
    peer.send_eof()
    await client.close()
    head, length, *rest = await peer.receive_eof()
    assert (head, length) == (0x88, 0x80 | len(rest[4:]))
    assert bytes([rest[4] ^ rest[0], rest[5] ^ rest[1]]) == code.to_bytes(2)
    peer.close()


async def test_close_frame_without_a_code_is_answered_with_one_and_ends_the_iteration(scripted: Scripted):
    client, peer = await scripted.connect(b"\x81\x01a\x82\x01b\x88\x00")
    assert await collect(client) == ["a", b"b"]
    assert (await peer.receive(6))[:2] == b"\x88\x80"
    peer.close()
    await client.close()
    with pytest.raises(ConnectionClosed, match="1005 ''"):
        await client.receive()


async def test_fragments_without_content_add_nothing(scripted: Scripted):
    client, peer = await scripted.connect(b"\x01\x01a" + b"\x00\x00" * 1000 + b"\x80\x01b\x02\x00\x80\x00")
    assert [await client.receive(), await client.receive()] == ["ab", b""]
    peer.close()
    await client.close()


@pytest.mark.parametrize("frames", [b"", b"\x81", b"\x01\x01a", b"\x81\x7e\x01"])
async def test_connection_that_ends_without_a_close_frame_is_1006(scripted: Scripted, frames: bytes):
    client, peer = await scripted.connect(frames)
    peer.send_eof()
    with pytest.raises(ConnectionClosed, match="1006"):
        await client.receive()
    await client.close()
    peer.close()


async def test_pings_are_not_answered_once_the_client_has_closed(scripted: Scripted):
    client, peer = await scripted.connect()
    closing = asyncio.create_task(client.close())
    await peer.receive(8)
    peer.send(b"\x89\x00\x81\x01a\x88\x02\x03\xe8")
    peer.send_eof()
    await closing
    assert await peer.receive_eof() == b""
    peer.close()


async def test_server_that_does_not_close_is_not_waited_for_long(scripted: Scripted, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(websocket, "_CLOSE_TIMEOUT", 0)
    client, peer = await scripted.connect()
    await client.close()
    await peer.receive_eof()
    peer.close()


# Proxies


@pytest.mark.parametrize("proxy", _PROXIES, indirect=True)
async def test_it_goes_through_a_proxy(link: Link, proxy: httpcore.Proxy):
    async with link.serve(echo) as url:
        async with await WebSocket.connect(link.pool, url) as client:
            assert client.response.exchange is not None
            info = client.response.exchange.connection_info
            assert info is not None
            assert info.peer_address is not None
            assert info.peer_address[1] == proxy.port
            for message in ("Hello", b"".join(blocks(300_000))):
                await client.send(message)
                assert await client.receive() == message
            await client.close(4000)
        with pytest.raises(ConnectionClosed, match="4000"):
            await client.receive()


@pytest.mark.parametrize("proxy", ["squid-tls", "microsocks_auth", "nghttpx"], indirect=True)
async def test_cancellation_at_any_step_leaves_no_connection_through_a_proxy(
    link: Link, proxy: httpcore.Proxy, steps: Steps
):
    async with link.serve(echo) as url:
        await cancel_at_any_step(link.pool, url, steps)


async def test_refusal_of_the_proxy_is_its_own_error(tinyproxy: ProxyServer):
    async with httpcore.ConnectionPool(proxy=tinyproxy.url) as pool:
        with pytest.raises(httpcore.ProxyError) as caught:
            await WebSocket.connect(pool, "ws://127.0.0.1:1/")
    assert caught.value.status_code == 407


# hypercorn


@pytest.fixture(scope="session")
def hypercorn_urls(tls: TLSFiles) -> Iterator[dict[str, str]]:
    """hypercorn with tests/websocket_app.py, with TLS (`wss`) and without (`ws`); HTTP/1.1 and HTTP/2 on both."""
    require_module("hypercorn")
    listeners = {scheme: socket.create_server(("127.0.0.1", 0)) for scheme in ("wss", "ws")}
    with_tls, without = (f"fd://{listener.fileno()}" for listener in listeners.values())
    command = [sys.executable, "-m", "hypercorn", "tests.websocket_app:app", "-w", "0", "--graceful-timeout", "0"]
    command += ["--bind", with_tls, "--insecure-bind", without]
    program = Program(
        [*command, "--certfile", str(tls.cert_path), "--keyfile", str(tls.key_path)],
        env={"PYTHONPATH": str(_ROOT), "PYTHONUNBUFFERED": "1"},
        cwd=_ROOT,
        pass_fds=[listener.fileno() for listener in listeners.values()],
    )
    ports = {scheme: listener.getsockname()[1] for scheme, listener in listeners.items()}
    for listener in listeners.values():
        listener.close()
    yield {"wss": f"wss://localhost:{ports['wss']}", "ws": f"ws://127.0.0.1:{ports['ws']}"}
    program.stop()


@dataclass
class Hypercorn:
    """hypercorn, and a pool for it."""

    url: str
    pool: httpcore.ConnectionPool
    http_version: bytes


@pytest.fixture(params=["ws-1.1", "wss-1.1", "ws-2", "wss-2"])
async def hypercorn(
    request: pytest.FixtureRequest, hypercorn_urls: dict[str, str], tls: TLSFiles
) -> AsyncIterator[Hypercorn]:
    # A pool for each test: on HTTP/2, hypercorn drops the whole connection over a frame that comes to a stream which is
    # over for it, such as the end of the client's side.
    scheme, _, version = request.param.partition("-")
    config = httpcore.SSLConfig(verify=str(tls.ca_path))
    async with httpcore.ConnectionPool(config, http1=version == "1.1", http2=version == "2") as pool:
        yield Hypercorn(hypercorn_urls[scheme], pool, f"HTTP/{version}".encode())


async def test_hypercorn_echoes(hypercorn: Hypercorn):
    async with await WebSocket.connect(hypercorn.pool, hypercorn.url, ["a", "b"]) as client:
        assert client.response.http_version == hypercorn.http_version
        assert client.subprotocol == "b"
        for message in ("Hello", b"Hello", "\u20ac" * (_LARGE // 3), b"".join(blocks(_LARGE))):
            await client.send(message)
            assert await client.receive() == message
        await client.send("close 4005")
        with pytest.raises(ConnectionClosed, match="4005 'as told'"):
            await client.receive()


async def test_hypercorn_is_closed_by_the_client(hypercorn: Hypercorn, monkeypatch: pytest.MonkeyPatch):
    async with await WebSocket.connect(hypercorn.pool, hypercorn.url) as client:
        await client.send("Hello")
        assert await client.receive() == "Hello"
        # It answers the close frame. On HTTP/2 it does not end the stream then.
        monkeypatch.setattr(websocket, "_CLOSE_TIMEOUT", 0.3)
        await client.close(4006)
        with pytest.raises(ConnectionClosed, match="4006"):
            await client.receive()


async def test_hypercorn_refuses(hypercorn: Hypercorn):
    for _ in range(2):
        with pytest.raises(HandshakeError, match=r"^the server answered 403$"):
            await WebSocket.connect(hypercorn.pool, hypercorn.url + "/refuse")


# As a user runs it


async def run(*arguments: object) -> tuple[int | None, str, str]:
    """Runs the example, and returns its status and what it printed."""
    process = await asyncio.create_subprocess_exec(
        # It leaves nothing unclosed, and uses nothing deprecated.
        *(sys.executable, "-W", "error", "-X", "dev", "examples/websocket.py", *map(str, arguments)),
        cwd=_ROOT,
        env={"PYTHONPATH": str(_ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_it_prints_what_comes_back(link: Link, tls: TLSFiles):
    async with link.serve(echo) as url:
        version = ["--http", "2"] if link.http2 else []
        result = await run(url, "Hello", "gr\u00fc\u00df", *version, "--ca", tls.ca_path)
    assert result == (0, "Hello\ngr\u00fc\u00df\n", "")


async def test_it_says_what_went_wrong(link: Link, tls: TLSFiles):
    def refuse(connection: ServerConnection, request: object) -> object:
        return connection.respond(http.HTTPStatus.NOT_FOUND, "nothing here\n")

    async with link.serve(echo, process_request=refuse) as url:
        version = ["--http", "2"] if link.http2 else []
        result = await run(url, "Hello", *version, "--ca", tls.ca_path)
    assert result == (1, "", "the server answered 404\n")

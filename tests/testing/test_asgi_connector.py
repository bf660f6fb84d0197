"""`ASGIConnector`: requests of a pool are calls of an app, with all that can happen between the two."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import h11
import pytest
import uvloop
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived
from hyperframe.frame import DataFrame

import httpcore
from httpcore.testing import ASGIConnector, ScriptedPeer
from httpcore.urls import Origin
from tests.origin_app import TEXT, Message, Receive, Send
from tests.origin_app import app as origin_app
from tests.testing.apps import URL, Disconnects, Gate, answer, read_body, running, settled
from tests.testing.links import turns

both_versions = pytest.mark.parametrize("http1", [True, False], ids=["HTTP/1.1", "HTTP/2"])
BLOCK = bytes(16 * 1024)
# More than both ends' buffers, queues and windows can hold on the way, and far less than the whole.
ON_THE_WAY = 2 * 1024 * 1024
WHOLE = 64 * 1024 * 1024


async def echo(scope: Message, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    await answer(send, await read_body(receive))


async def echo_early(scope: Message, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while (message := await receive())["type"] == "http.request" and message["more_body"]:
        await send({"type": "http.response.body", "body": message["body"], "more_body": True})


# What an app is given


@both_versions
async def test_scope_says_all_of_the_request(http1: bool):
    scopes: list[Message] = []

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await answer(send)

    async with running(app, http1, root_path="/a", client=("192.0.2.7", 1234)) as http:
        headers = [("X-One", "1"), ("cookie", "a=b"), ("cookie", "c=d"), ("x-one", "2")]
        await http.request("GET", "https://example.org:8443/a/caf%C3%A9%2Fx?q=%20&r=1", headers)
    (scope,) = scopes
    fields = scope.pop("headers")
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1" if http1 else "2",
        "method": "GET",
        "scheme": "https",
        "path": "/a/café/x",
        "raw_path": b"/a/caf%C3%A9%2Fx",
        "query_string": b"q=%20&r=1",
        "root_path": "/a",
        "client": ("192.0.2.7", 1234),
        "server": ("example.org", 8443),
        "extensions": {"http.response.early_hint": {}, "http.response.trailers": {}},
    }
    assert fields[0] == (b"host", b"example.org:8443")
    assert [value for name, value in fields if name == b"x-one"] == [b"1", b"2"]
    cookies = [value for name, value in fields if name == b"cookie"]
    assert cookies == ([b"a=b", b"c=d"] if http1 else [b"a=b; c=d"])


@pytest.mark.parametrize("target, path, query", [("/", "/", b""), ("/x?a=b", "/x", b"a=b"), ("", "/", b"")])
async def test_path_of_a_request_that_a_proxy_would_forward_is_that_of_its_url(target: str, path: str, query: bytes):
    scopes: list[Message] = []

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await answer(send)

    connector = ASGIConnector(app, lifespan=False)
    async with connector, httpcore.ConnectionPool(connector=connector, proxy="http://proxy:3128") as http:
        await http.request("GET", "http://example.org" + target)
    assert [(scope["path"], scope["query_string"]) for scope in scopes] == [(path, query)]
    assert scopes[0]["server"] == ("proxy", 3128)


@both_versions
async def test_small_request_is_one_message(http1: bool):
    messages: list[Message] = []

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        messages.append(await receive())
        await answer(send)

    async with running(app, http1) as http:
        await http.request("POST", URL, body=b"all of it")
        await http.request("GET", URL)
    assert messages == [
        {"type": "http.request", "body": b"all of it", "more_body": False},
        {"type": "http.request", "body": b"", "more_body": False},
    ]


@both_versions
async def test_trailers_and_early_hints_go_through(http1: bool):
    received: list[tuple[int, bytes]] = []

    class Handler(httpcore.ResponseHandler):
        def informational_received(self, status_code: int, headers: httpcore.Headers) -> None:
            received.extend((status_code, value) for name, value in headers if name == b"link")

        def response_complete(self, trailers: httpcore.Headers) -> None:
            gate.add()

    gate = Gate()
    async with running(origin_app, http1) as http:
        http.dispatch(httpcore.Request("GET", f"{URL}/hints"), Handler())
        await gate.reached(1)
        response = await http.request("GET", f"{URL}/trailers")
    assert [status for status, _ in received] == [103, 103]
    assert response.body == TEXT
    assert [name for name, _ in response.trailers] == [b"content-sha256"]


@both_versions
@pytest.mark.parametrize("trailers", [[], [[(b"a", b"1")], [(b"b", b"2")]]], ids=["none", "in two messages"])
async def test_trailers_come_in_as_many_messages_as_the_app_likes(http1: bool, trailers: list):
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "trailers": True})
        await send({"type": "http.response.body", "body": b"content"})
        for fields in trailers:
            await send({"type": "http.response.trailers", "headers": fields, "more_trailers": True})
        await send({"type": "http.response.trailers"})

    async with running(app, http1) as http:
        response = await http.request("GET", URL)
    assert response.body == b"content"
    assert list(response.trailers) == [field for fields in trailers for field in fields]


@both_versions
async def test_trailers_of_the_request_come_with_its_end(http1: bool):
    messages: list[Message] = []

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        while not messages or messages[-1]["more_body"]:
            messages.append(await receive())
        await answer(send)

    async def body() -> AsyncIterator[bytes]:
        yield b"content"

    async with running(app, http1) as http:
        await http.request("POST", URL, body=body, trailers=lambda: [("x-sum", "7")])
    assert messages[-1]["trailers"] == [(b"x-sum", b"7")]


@both_versions
async def test_end_of_the_request_is_told_once_whoever_asks(http1: bool):
    messages: list[Message] = []

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        asking = [asyncio.ensure_future(receive()) for _ in range(2)]
        await turns()
        asked.add()
        messages.append(await asking[0])
        await answer(send)
        messages.append(await asking[1])

    async def body() -> AsyncIterator[bytes]:
        await asked.reached(1)
        return
        yield b""

    asked = Gate()
    async with running(app, http1) as http:
        await http.request("POST", URL, body=body)
    assert messages == [{"type": "http.request", "body": b"", "more_body": False}, {"type": "http.disconnect"}]


# Streaming


@both_versions
async def test_request_and_response_go_piece_by_piece(http1: bool):
    heard, answered = Gate(), Gate()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            if message["body"]:
                heard.add()
            await send({"type": "http.response.body", "body": message["body"], "more_body": more})

    async def body() -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"%d" % number
            await heard.reached(number + 1)
            await answered.reached(number + 1)

    pieces = []
    async with running(app, http1) as http, await http.request("POST", URL, body=body, stream=True) as response:
        async for piece in response.stream():
            pieces.append(piece)
            answered.add()
    assert pieces == [b"0", b"1", b"2"]


@both_versions
async def test_client_pauses_until_the_app_reads(http1: bool):
    reads, read = Gate(), 0
    sent = 0

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        nonlocal read
        await reads.reached(1)
        more = True
        while more:
            message = await receive()
            read += len(message["body"])
            more = message["more_body"]
        await answer(send)

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < WHOLE:
            sent += len(BLOCK)
            yield BLOCK

    async with running(app, http1) as http:
        asking = asyncio.ensure_future(http.request("POST", URL, body=body))
        assert 0 < await settled(lambda: sent) < ON_THE_WAY
        reads.add()
        await asking
    assert read == sent == WHOLE


@both_versions
async def test_app_pauses_until_the_client_reads(http1: bool):
    sent = 0

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while sent < WHOLE:
            sent += len(BLOCK)
            await send({"type": "http.response.body", "body": BLOCK, "more_body": sent < WHOLE})

    async with running(app, http1) as http, await http.request("GET", URL, stream=True) as response:
        assert 0 < await settled(lambda: sent) < ON_THE_WAY
        assert sum([len(piece) async for piece in response.stream()]) == WHOLE


@both_versions
async def test_app_that_waits_for_room_hears_that_the_client_left(http1: bool):
    errors: list[OSError] = []
    gate = Gate()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": BLOCK, "more_body": True})
        except OSError as exc:
            errors.append(exc)
            gate.add()
        with pytest.raises(ConnectionResetError):
            await send({"type": "http.response.body", "body": BLOCK, "more_body": True})
        assert (await receive())["type"] in ("http.request", "http.disconnect")
        assert await receive() == {"type": "http.disconnect"}

    async with running(app, http1) as http:
        response = await http.request("GET", URL, stream=True)
        await turns(50)
        assert not errors
        await response.close()
        await gate.reached(1)
    assert len(errors) == 1


@both_versions
async def test_response_before_the_end_of_the_request_stands(http1: bool):
    after: list[Message] = []

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await receive()
        await answer(send, b"enough", 413)
        after.append(await receive())

    async def body() -> AsyncIterator[bytes]:
        while True:
            yield BLOCK
            await asyncio.sleep(0)

    async with running(app, http1) as http:
        response = await http.request("POST", URL, body=body)
        assert (response.status_code, response.body) == (413, b"enough")
        assert (await http.request("POST", URL, body=b"x")).status_code == 413
    assert after == [{"type": "http.disconnect"}] * 2


async def test_response_that_closes_the_connection_before_the_end_of_the_request_stands():
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await answer(send, b"enough", 413, [(b"connection", b"close")])

    async def body() -> AsyncIterator[bytes]:
        while True:
            yield BLOCK
            await asyncio.sleep(0)

    async with running(app) as http:
        response = await http.request("POST", URL, body=body)
        assert (response.status_code, response.body) == (413, b"enough")


@both_versions
@pytest.mark.parametrize("segment", [1, 7])
async def test_byte_by_byte(http1: bool, segment: int):
    async with running(echo, http1, segment=segment) as http:
        response = await http.request("POST", URL, body=b"0123456789" * 20)
    assert response.body == b"0123456789" * 20


# What has no content, and what asks first


@both_versions
@pytest.mark.parametrize("method, status", [("HEAD", 200), ("GET", 204), ("GET", 304)])
async def test_response_without_content(http1: bool, method: str, status: int):
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        length = [] if status == 204 else [(b"content-length", b"5")]
        await answer(send, b"dummy", status, length)

    async with running(app, http1) as http:
        for _ in range(2):
            response = await http.request(method, URL)
            assert (response.status_code, response.body) == (status, b"")
        assert http.num_connections == 1


@both_versions
async def test_body_is_asked_for_when_the_app_first_receives(http1: bool):
    events: list[str] = []

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        events.append("called")
        await turns()
        events.append("receives")
        await answer(send, await read_body(receive))

    async def body() -> AsyncIterator[bytes]:
        events.append("body")
        yield b"content"

    timeout = httpcore.TimeoutConfig(5.0, continue_timeout=5.0)
    async with running(app, http1) as http:
        response = await http.request("POST", URL, {"expect": "100-continue"}, body, timeout=timeout)
    assert response.body == b"content"
    assert events == ["called", "receives", "body"]


@both_versions
async def test_body_that_the_app_never_receives_is_not_sent(http1: bool):
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await answer(send, b"no", 417)

    def body() -> AsyncIterator[bytes]:
        raise AssertionError("asked for")

    async with running(app, http1) as http:
        response = await http.request("POST", URL, {"expect": "100-continue", "content-length": "10"}, body)
    assert (response.status_code, response.body) == (417, b"no")


# The client leaves


@both_versions
@pytest.mark.parametrize("path", ["/", "/started"])
async def test_app_hears_that_the_request_was_cancelled(http1: bool, path: str):
    app = Disconnects()
    async with running(app, http1) as http:
        asking = asyncio.ensure_future(http.request("GET", URL + path))
        await app.called()
        assert app.gone == 0
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await app.left()


@both_versions
async def test_app_hears_that_the_response_was_closed(http1: bool):
    app = Disconnects()
    async with running(app, http1) as http:
        async with await http.request("GET", f"{URL}/started", stream=True) as response:
            assert await anext(response.stream()) == b"begun"
        await app.left()


@both_versions
async def test_app_hears_that_the_client_left_in_the_middle_of_its_request(http1: bool):
    app = Disconnects()

    async def body() -> AsyncIterator[bytes]:
        yield b"begun"
        await app.called()
        raise ValueError("no more")

    async with running(app, http1) as http:
        with pytest.raises(ValueError, match="no more"):
            await http.request("POST", URL, body=body)
        await app.left()


@both_versions
async def test_app_hears_that_the_pool_was_closed(http1: bool):
    app = Disconnects()
    async with ASGIConnector(app, lifespan=False) as connector:
        http = httpcore.ConnectionPool(connector=connector, http1=http1)
        asking = asyncio.ensure_future(http.request("GET", URL))
        await app.called()
        await http.close(force=True)
        with pytest.raises(httpcore.PoolClosed):
            await asking
        await app.left()


@both_versions
async def test_what_an_app_makes_of_a_client_that_left_is_no_error(http1: bool):
    class ClientDisconnect(Exception):
        pass

    gate = Gate()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        gate.add()
        try:
            while True:
                await send({"type": "http.response.body", "body": BLOCK, "more_body": True})
        except OSError:
            error = ExceptionGroup("of a task group", [ClientDisconnect()])
            raise error  # noqa: B904
        finally:
            gate.add()

    async with running(app, http1) as http:
        response = await http.request("GET", URL, stream=True)
        await response.close()
        await gate.reached(2)


async def test_requests_that_are_no_http_are_refused():
    connector = ASGIConnector(echo)
    client = await connector.connect(ScriptedPeer, Origin("http", "testserver", 80))
    client.send(b"GET /\x00 HTTP/1.1\r\n\r\n")
    assert (await client.receive_eof()).startswith(b"HTTP/1.1 400 ")
    other = await connector.connect(ScriptedPeer, Origin("http", "testserver", 80))
    other.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(100))
    await other.receive_eof()
    silent = await connector.connect(ScriptedPeer, Origin("http", "testserver", 80))
    for each in (client, other, silent):
        each.close()
        await each.closed()
    await connector.aclose()


async def test_pipelined_requests_are_answered_in_order():
    connector = ASGIConnector(echo)
    client = await connector.connect(ScriptedPeer, Origin("http", "testserver", 80))
    for number in range(3):
        client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n%d" % number)
    await client.receive_until(b"0\r\n0\r\n\r\n")
    await client.receive_until(b"1\r\n0\r\n\r\n")
    await client.receive_until(b"2\r\n0\r\n\r\n")
    client.send(b"GET / HTTP/1.0\r\n\r\n")
    assert (await client.receive_eof()).startswith(b"HTTP/1.1 200 ")
    client.close()
    await connector.aclose()


async def test_request_that_becomes_malformed_behind_the_responses_head_is_cut_off():
    connector = ASGIConnector(echo_early)
    client = await connector.connect(ScriptedPeer, Origin("http", "testserver", 80))
    client.send(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n")
    assert (await client.receive_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    await client.receive_until(b"1\r\nx\r\n")
    client.send(b"no size\r\n")
    assert await client.receive_eof() == b""  # no second response in the middle of the first
    client.close()
    await connector.aclose()


async def test_response_that_waits_in_the_transport_is_read_after_its_end():
    ended = Gate()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await answer(send, status=204, headers=[(b"x-large", bytes(b"x" * 60_000))])
        ended.add()

    connector = ASGIConnector(app, capacity=1024)
    client = await connector.connect(ScriptedPeer, Origin("http", "testserver", 80))
    client.pause()
    for number in (1, 2):
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        await ended.reached(number)
    client.resume()
    for _ in range(2):
        assert len(await client.receive_until(b"\r\n\r\n")) > 60_000
    client.close()
    await client.closed()
    await connector.aclose()


async def test_what_comes_on_a_stream_behind_its_reset_is_dropped_and_the_connection_goes_on():
    connector = ASGIConnector(echo)
    client = await connector.connect(ScriptedPeer, Origin("http", "testserver", 80))
    http = H2Connection(H2Configuration(client_side=True))
    fields = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/")]
    http.initiate_connection()
    http.send_headers(1, fields)
    http.reset_stream(1)
    client.send(http.data_to_send() + DataFrame(1, b"late").serialize())
    http.send_headers(3, fields)
    http.send_data(3, b"body", end_stream=True)
    client.send(http.data_to_send())
    received = b""
    while not received.endswith(b"body"):
        data = await client.receive_some()
        received += b"".join(event.data for event in http.receive_data(data) if isinstance(event, DataReceived))
    client.close()
    await client.closed()
    await connector.aclose()


# Many requests


@both_versions
async def test_requests_share_a_connection(http1: bool):
    clients = []

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        clients.append(scope["client"])
        await answer(send, await read_body(receive))

    async with running(app, http1) as http:
        for number in range(5):
            assert (await http.request("POST", URL, body=b"%d" % number)).body == b"%d" % number
        assert http.num_connections == http.num_keepalive_connections == 1
    assert len(set(clients)) == 1


@both_versions
async def test_a_hundred_requests_at_once(http1: bool):
    async with running(echo, http1) as http:
        asked = [http.request("POST", URL, body=b"%d" % number * 1000) for number in range(100)]
        responses = await asyncio.gather(*asked)
        assert http.num_connections == (100 if http1 else 1)
    assert [response.body for response in responses] == [b"%d" % number * 1000 for number in range(100)]


async def test_limits_of_the_pool_hold():
    at_once = most = 0

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await turns()
        at_once -= 1
        await answer(send)

    async with ASGIConnector(app, lifespan=False) as connector:
        limits = httpcore.PoolLimits(hard_limit=3, soft_limit=3)
        async with httpcore.ConnectionPool(connector=connector, limits=limits) as http:
            await asyncio.gather(*(http.request("GET", URL) for _ in range(20)))
    assert most == 3


# Apps that misbehave


@both_versions
@pytest.mark.parametrize(
    "messages, error",
    [
        ([{"type": "http.response.body"}], RuntimeError),
        ([{"type": "http.response.start", "status": 200}] * 2, RuntimeError),
        ([{"type": "http.response.start", "status": 200}, {"type": "http.response.body", "body": "text"}], TypeError),
        ([{"type": "http.response.start", "status": 200, "headers": [("a", "b")]}], TypeError),
        ([{"type": "http.response.start", "status": 200}, {"type": "http.response.trailers"}], RuntimeError),
        ([{"type": "websocket.accept"}], RuntimeError),
        ([{"type": "http.response.start", "status": 200}, *[{"type": "http.response.body"}] * 2], RuntimeError),
    ],
    ids=["content first", "two starts", "text", "text headers", "trailers unsaid", "websocket", "two ends"],
)
async def test_what_must_not_be_sent_is_raised_to_the_app_and_by_it(
    http1: bool, messages: list, error: type[Exception]
):
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    async with running(app, http1) as http:
        with pytest.raises(error):
            await http.request("GET", URL)


@pytest.mark.parametrize("body", [b"too much", b"no"])
async def test_content_that_is_not_as_long_as_it_says_is_raised_to_the_app(body: bytes):
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        with pytest.raises(h11.LocalProtocolError):
            await answer(send, body, headers=[(b"content-length", b"3")])
        raise ValueError("afterwards")

    async with running(app) as http:
        with pytest.raises(ValueError, match="afterwards"):
            await http.request("GET", URL)


async def test_connector_works_on_one_loop_after_another_but_not_on_two():
    connector = ASGIConnector(echo, lifespan=False)

    async def use() -> bytes:
        async with httpcore.ConnectionPool(connector=connector) as http:
            return (await http.request("POST", URL, body=b"echo")).body

    def use_elsewhere() -> bytes:
        return asyncio.run(use())

    assert await asyncio.to_thread(use_elsewhere) == b"echo"
    assert await asyncio.to_thread(use_elsewhere) == b"echo"
    async with connector:
        with pytest.raises(httpcore.ConnectError, match="another event loop"):
            await asyncio.to_thread(use_elsewhere)
        assert await use() == b"echo"


def test_app_runs_on_uvloop():
    async def main() -> None:
        for http1 in (True, False):
            async with running(echo, http1) as http:
                assert (await http.request("POST", URL, body=BLOCK * 100)).body == BLOCK * 100

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def test_blocking_pool_runs_an_app():
    with ASGIConnector(echo) as connector, httpcore.SyncConnectionPool(connector=connector) as http:
        assert http.request("POST", URL, body=b"echo").body == b"echo"


async def test_cancelled_dial_leaves_nothing():
    connector = ASGIConnector(echo)
    for before in range(3):
        dial = asyncio.ensure_future(connector.connect(ScriptedPeer, Origin("http", "testserver", 80)))
        await turns(before)
        if dial.cancel():
            with pytest.raises(asyncio.CancelledError):
                await dial
        else:
            dial.result().close()
    await connector.aclose()

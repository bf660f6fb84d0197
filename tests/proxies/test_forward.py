"""`HTTPProxy` by itself: requests in absolute-form, as raw clients and origins see them."""

from __future__ import annotations

import asyncio

import pytest

from httpcore.testing import MemoryConnector, ScriptedPeer
from tests.content import blocks
from tests.h11_server import Answer as OriginAnswer
from tests.h11_server import Asked, H11Server
from tests.proxies.clients import dialed, in_memory
from tests.proxies.forward import split_target
from tests.proxies.http_proxy import AUTHENTICATE, HTTPProxy
from tests.proxies.script import HANG, Answer, Then
from tests.proxies.ways import to_connector, to_protocol

GET = b"GET http://example.org/path?query HTTP/1.1\r\nHost: example.org\r\n\r\n"
POST = b"POST http://example.org/ HTTP/1.1\r\nHost: example.org\r\n"


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        (b"http://example.org", ("example.org", 80, b"example.org", b"/")),
        (b"http://example.org:81/?", ("example.org", 81, b"example.org:81", b"/?")),
        (b"http://example.org?a=b", ("example.org", 80, b"example.org", b"/?a=b")),
        (b"http://[::1]:8080/%20//x?y", ("::1", 8080, b"[::1]:8080", b"/%20//x?y")),
    ],
)
def test_target_is_split_into_where_and_what(target: bytes, parts: tuple[str, int, bytes, bytes]) -> None:
    assert split_target(target) == parts


async def test_request_goes_on_in_origin_form_without_what_is_for_the_proxy() -> None:
    async with MemoryConnector() as origins, HTTPProxy(connect=to_connector(origins)) as proxy:
        async with in_memory(proxy.accept()) as client:
            client.send(
                GET[:-2] + b"Proxy-Authorization: Basic eDp5\r\nProxy-Connection: keep-alive\r\nConnection: x\r\n"
                b"Accept: text/plain\r\nAuthorization: secret\r\n\r\n"
            )
            origin = await origins.accept()
            assert await origin.receive_until(b"\r\n\r\n") == (
                b"GET /path?query HTTP/1.1\r\nhost: example.org\r\nAccept: text/plain\r\nAuthorization: secret\r\n\r\n"
            )
            origin.send(b"HTTP/1.1 200 Fine\r\nContent-Length: 2\r\nSet-Cookie: a\r\nConnection: close\r\n\r\nok")
            assert await client.receive_until(b"\r\n\r\nok") == (
                b"HTTP/1.1 200 Fine\r\nContent-Length: 2\r\nSet-Cookie: a\r\n\r\nok"
            )
            await origin.receive_eof()
        assert origins.dials[0].origin == ("http", "example.org", 80)
        assert proxy.requests[0].target == b"http://example.org/path?query"
        assert proxy.requests[0].credentials == ("x", "y")


async def test_connection_is_kept_for_requests_of_every_kind_and_for_a_tunnel() -> None:
    def app(asked: Asked) -> OriginAnswer:
        status = int(asked.target[1:])
        return OriginAnswer(status, [(b"x-method", asked.method)], asked.body + b"!" if status == 200 else b"")

    async with HTTPProxy(connect=to_protocol(lambda: H11Server(app))) as proxy, in_memory(proxy.accept()) as client:
        for method, status in (("GET", 200), ("HEAD", 200), ("GET", 204), ("GET", 304), ("POST", 200)):
            client.send(f"{method} http://o/{status} HTTP/1.1\r\nHost: o\r\n".encode())
            client.send(b"content-length: 4\r\n\r\nbody" if method == "POST" else b"\r\n")
            head = await client.receive_until(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 %d " % status) and b"x-method: %s" % method.encode() in head
            if method != "HEAD" and status == 200:
                assert await client.receive_until(b"!") == (b"body!" if method == "POST" else b"!")
        client.send(b"CONNECT o:80 HTTP/1.1\r\nHost: o\r\n\r\nGET /200 HTTP/1.1\r\nHost: o\r\n\r\n")
        assert (await client.receive_until(b"!")).count(b"HTTP/1.1 200 ") == 2
        assert proxy.connections == 1 and len(proxy.requests) == 6 and proxy.tunnels == 1


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with HTTPProxy(connect=to_protocol(H11Server)) as proxy, in_memory(proxy.accept()) as client:
        client.send(GET * 2 + POST + b"content-length: 3\r\n\r\nabc" + GET)
        for _ in range(4):
            await client.receive_until(b"hello")
        assert [request.method for request in proxy.requests] == [b"GET", b"GET", b"POST", b"GET"]


async def test_chunks_and_trailers_pass_both_ways() -> None:
    async with (
        MemoryConnector() as origins,
        HTTPProxy(connect=to_connector(origins)) as proxy,
        in_memory(proxy.accept()) as client,
    ):
        client.send(POST + b"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
        origin = await origins.accept()
        assert b"Expect: 100-continue" in await origin.receive_until(b"\r\n\r\n")
        origin.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert (await client.receive_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        client.send(b"3\r\nabc\r\n")
        assert await origin.receive_until(b"abc\r\n") == b"3\r\nabc\r\n"
        client.send(b"0\r\nx: y\r\n\r\n")
        assert await origin.receive_until(b"\r\n\r\n") == b"0\r\nx: y\r\n\r\n"
        origin.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nsum: 1\r\n\r\n")
        assert (await client.receive_until(b"sum: 1\r\n\r\n")).endswith(b"2\r\nok\r\n0\r\nsum: 1\r\n\r\n")


async def test_ten_megabytes_pass_both_ways() -> None:
    content = b"".join(blocks(10_000_000))
    app = lambda asked: OriginAnswer(body=asked.body)  # noqa: E731
    async with (
        HTTPProxy(connect=to_protocol(lambda: H11Server(app))) as proxy,
        proxy.listening(None),
        dialed(proxy.port) as client,
    ):
        client.send(POST + b"Content-Length: %d\r\n\r\n" % len(content) + content)
        await client.receive_until(b"\r\n\r\n")
        assert await client.receive(len(content)) == content


@pytest.mark.parametrize("uploading", [True, False])
async def test_slow_receiver_holds_up_the_sender(uploading: bool) -> None:
    async with (
        MemoryConnector() as origins,
        HTTPProxy(connect=to_connector(origins)) as proxy,
        in_memory(proxy.accept()) as client,
    ):
        client.send(POST + b"Content-Length: 10000000\r\n\r\n")
        origin = await origins.accept()
        origin.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n")
        await origin.receive_until(b"\r\n\r\n")
        await client.receive_until(b"\r\n\r\n")
        sender, receiver = (client, origin) if uploading else (origin, client)
        receiver.pause()
        sent = 0
        while not sender.writing_paused:
            sender.send(bytes(100_000))
            sent += 100_000
            await asyncio.sleep(0)
            assert sent < 10_000_000
        receiver.resume()
        assert await receiver.receive(sent) == bytes(sent)


async def test_early_response_is_relayed_while_the_request_goes_on() -> None:
    async with (
        MemoryConnector() as origins,
        HTTPProxy(connect=to_connector(origins)) as proxy,
        in_memory(proxy.accept()) as client,
    ):
        client.send(POST + b"Content-Length: 6\r\n\r\nabc")
        origin = await origins.accept()
        await origin.receive_until(b"abc")
        origin.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await client.receive_until(b"ok")
        client.send(b"def" + GET)
        assert await origin.receive_eof() == b"def"
        await (await origins.accept()).receive_until(b"\r\n\r\n")


async def test_early_response_of_an_origin_that_closes_closes_the_client_in_order() -> None:
    async with (
        MemoryConnector() as origins,
        HTTPProxy(connect=to_connector(origins)) as proxy,
        in_memory(proxy.accept()) as client,
    ):
        client.send(POST + b"Content-Length: 6\r\n\r\nabc")
        origin = await origins.accept()
        await origin.receive_until(b"abc")
        origin.send(b"HTTP/1.1 413 Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")
        origin.close()
        response = await client.receive_eof()
        assert response.endswith(b"no") and b"connection: close\r\n" in response.lower()
        client.send(b"de")
        client.close()
        await proxy.until(lambda: not proxy.ends)
        assert proxy.received[0].error is None


async def test_response_without_a_length_is_relayed_to_its_end() -> None:
    async with MemoryConnector() as origins, HTTPProxy(connect=to_connector(origins)) as proxy:
        for version, response in ((b"1", b"3\r\nabc\r\n0\r\n\r\n"), (b"0", b"\r\n\r\nabc")):
            async with in_memory(proxy.accept()) as client:
                client.send(GET.replace(b"HTTP/1.1", b"HTTP/1." + version))
                origin = await origins.accept()
                await origin.receive_until(b"\r\n\r\n")
                origin.send(b"HTTP/1.0 200 OK\r\n\r\nabc")
                origin.close()
                assert (await client.receive_until(response)).endswith(response)


async def test_origin_that_cannot_be_reached_or_gives_no_response_is_a_502() -> None:
    async with (
        MemoryConnector() as origins,
        HTTPProxy(connect=to_connector(origins)) as proxy,
        in_memory(proxy.accept()) as client,
    ):
        origins.fail_next(ConnectionRefusedError())
        client.send(POST + b"Content-Length: 3\r\n\r\n")
        assert (await client.receive_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 502 ")
        client.send(b"abc")
        for end in (ScriptedPeer.close, ScriptedPeer.abort, lambda peer: peer.send(b"what?\r\n\r\n")):
            client.send(GET)
            end(await origins.accept())
            assert (await client.receive_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 502 ")


async def test_response_that_is_cut_is_cut_for_the_client_too() -> None:
    async with (
        MemoryConnector() as origins,
        HTTPProxy(connect=to_connector(origins)) as proxy,
        in_memory(proxy.accept()) as client,
    ):
        client.send(GET)
        origin = await origins.accept()
        origin.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab")
        origin.close()
        assert (await client.receive_eof()).endswith(b"\r\n\r\nab")


async def test_client_that_goes_ends_the_exchange_with_the_origin() -> None:
    async with (
        MemoryConnector() as origins,
        HTTPProxy(connect=to_connector(origins)) as proxy,
        in_memory(proxy.accept()) as client,
    ):
        client.send(GET)
        origin = await origins.accept()
        await origin.receive_until(b"\r\n\r\n")
        client.close()
        assert await origin.receive_eof() == b""


async def test_refusals_read_the_request_to_its_end() -> None:
    async with (
        HTTPProxy(connect=to_protocol(H11Server), auth=("user", "pass")) as proxy,
        in_memory(proxy.accept()) as client,
    ):
        client.send(POST + b"Content-Length: 3\r\n\r\n")
        assert await client.receive(len(AUTHENTICATE)) == AUTHENTICATE
        client.send(b"abc" + GET[:-2] + b"Proxy-Authorization: Basic dXNlcjpwYXNz\r\n\r\n")
        assert (await client.receive_until(b"hello")).startswith(b"HTTP/1.1 200 ")


async def test_scripts_answer_forwarded_requests_too() -> None:
    answers: list[Answer | bytes] = [
        b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n",
        Answer(b"HTTP/1.1 20", Then.CLOSE),
        HANG,
    ]
    async with HTTPProxy(answer=lambda request: answers.pop(0)) as proxy:
        async with in_memory(proxy.accept()) as client:
            client.send(GET)
            assert (await client.receive_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 403 No")
            client.send(GET)
            assert await client.receive_eof() == b"HTTP/1.1 20"
        async with in_memory(proxy.accept()) as client:
            client.send(GET)
            await proxy.until(lambda: not answers)


@pytest.mark.parametrize("target", [b"/path", b"https://example.org/", b"http://:80/", b"ftp://example.org/"])
async def test_target_that_is_not_for_a_proxy_is_a_400(target: bytes) -> None:
    async with HTTPProxy() as proxy, in_memory(proxy.accept()) as client:
        client.send(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % target)
        assert (await client.receive_eof()).startswith(b"HTTP/1.1 400 ")


async def test_body_that_is_malformed_closes_the_connection() -> None:
    async with HTTPProxy(connect=to_protocol(H11Server)) as proxy, in_memory(proxy.accept()) as client:
        client.send(POST + b"Transfer-Encoding: chunked\r\n\r\nwhat\r\n")
        assert await client.receive_eof() == b""

"""Forwarding: the exact bytes of requests that a proxy is to send on, over HTTP/1.1, and their fields over HTTP/2."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hpack import NeverIndexedHeaderTuple
from hypothesis import given
from hypothesis import strategies as st

from httpcore import (
    PUSHED,
    ClientConnection,
    ConnectionPool,
    LocalProtocolError,
    Proxy,
    ProxyError,
    Request,
    ResponseHandler,
)
from httpcore.handlers import Exchange
from httpcore.protocols.forwarding import forwarded
from httpcore.testing import HTTP2Peer, MemoryConnector
from httpcore.testing.http2_request import IncomingRequest

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def over_http11(request: Request, proxy: Proxy | str = "http://proxy:3128", answer: bytes = OK) -> bytes:
    """Sends a request on a pool with a proxy; returns what came at the proxy."""
    async with MemoryConnector() as connector, ConnectionPool(connector=connector, proxy=proxy) as pool:
        asking = asyncio.create_task(pool.send(request, decode=False))
        peer = await connector.accept()
        head = await peer.receive_until(b"\r\n\r\n")
        body = b""
        if b"chunked" in head:
            body = await peer.receive_until(b"0\r\n\r\n")
        elif request.content_length:
            body = await peer.receive(request.content_length)
        peer.send(answer)
        assert (await asking).status_code == 200
        assert [dial.origin for dial in connector.dials] == [("http", "proxy", 3128)]
        return head + body


# HTTP/1.1: absolute-form (RFC 9112 3.2.2).

TARGETS = [
    # URL, target, Host
    ("http://a/", b"http://a/", b"a"),
    ("http://a", b"http://a/", b"a"),
    ("http://a?x", b"http://a/?x", b"a"),
    ("http://a:80/", b"http://a/", b"a"),
    ("http://a:8080/", b"http://a:8080/", b"a:8080"),
    ("http://a:443/", b"http://a:443/", b"a:443"),
    ("http://A./", b"http://a./", b"a."),
    ("http://a/path/../x;y?q=1&r=http://b/#fragment", b"http://a/path/../x;y?q=1&r=http://b/", b"a"),
    ("http://a//b//", b"http://a//b//", b"a"),
    ("http://a/%2F%00?%20", b"http://a/%2F%00?%20", b"a"),
    ("http://a/ä", b"http://a/%C3%A4", b"a"),
    ("http://bücher.example/", b"http://xn--bcher-kva.example/", b"xn--bcher-kva.example"),
    ("http://[::1]/", b"http://[::1]/", b"[::1]"),
    ("http://[2001:DB8::1]:8080/x", b"http://[2001:db8::1]:8080/x", b"[2001:db8::1]:8080"),
    ("http://127.0.0.1:1/", b"http://127.0.0.1:1/", b"127.0.0.1:1"),
]


@pytest.mark.parametrize("url, target, host", TARGETS)
async def test_target_names_the_origin_as_host_does(url: str, target: bytes, host: bytes) -> None:
    assert await over_http11(Request("GET", url)) == b"GET %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (target, host)


async def test_user_and_password_of_the_url_are_not_in_the_target() -> None:
    expected = b"GET http://a/ HTTP/1.1\r\nHost: a\r\nAuthorization: Basic dTpw\r\n\r\n"
    assert await over_http11(Request("GET", "http://u:p@a/")) == expected


@pytest.mark.parametrize(
    "url, target, expected",
    [
        # RFC 9112 3.2.4: for all of the server, the last proxy writes the asterisk.
        ("http://a/", b"*", b"http://a"),
        ("http://a:8080/x", b"*", b"http://a:8080"),
        ("http://[::1]:1/", b"*", b"http://[::1]:1"),
        ("http://a/x", None, b"http://a/x"),
    ],
)
async def test_options(url: str, target: bytes | None, expected: bytes) -> None:
    request = Request("OPTIONS", url, target=target)
    got = await over_http11(request)
    assert got.startswith(b"OPTIONS %b HTTP/1.1\r\nHost: %b\r\n" % (expected, request.url.host_header))


@pytest.mark.parametrize(
    "given, expected",
    [
        ("/other?x", b"http://a/other?x"),
        ("//b/", b"http://a//b/"),
        ("http://b/", b"http://b/"),  # the caller's own absolute-form is what the caller wants
        ("http://a/", b"http://a/"),
    ],
)
async def test_target_of_the_callers_own(given: str, expected: bytes) -> None:
    got = await over_http11(Request("GET", "http://a/path", target=given))
    assert got == b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % expected


@pytest.mark.parametrize("name", ["Host", "host", "HOST"])
async def test_host_of_the_callers_own_is_sent_and_the_target_stays_the_urls(name: str) -> None:
    got = await over_http11(Request("GET", "http://a/", {"X": "1", name: "b:1", "Y": "2"}))
    assert got == b"GET http://a/ HTTP/1.1\r\nX: 1\r\n%b: b:1\r\nY: 2\r\n\r\n" % name.encode()


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "TRACE", "PURGE", "get"])
async def test_methods_without_content(method: str) -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n" + b"ok" * (method != "HEAD")
    got = await over_http11(Request(method, "http://a/"), answer=answer)
    assert got == b"%b http://a/ HTTP/1.1\r\nHost: a\r\n\r\n" % method.encode()


async def chunks() -> AsyncIterator[bytes]:
    yield b"one"
    yield b"two"


BODIES: list[tuple[dict[str, Any], bytes]] = [
    ({"body": b""}, b"Content-Length: 0\r\n\r\n"),
    ({"body": b"body"}, b"Content-Length: 4\r\n\r\nbody"),
    ({"body": chunks}, b"Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"),
    ({"body": [b"one"]}, b"Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n"),
    ({"body": [], "headers": {"content-length": "0"}}, b"\r\n"),
]


@pytest.mark.parametrize("options, expected", BODIES)
async def test_bodies_are_framed_as_without_a_proxy(options: dict[str, Any], expected: bytes) -> None:
    given = b"".join(b"%b: %b\r\n" % (n.encode(), v.encode()) for n, v in options.get("headers", {}).items())
    got = await over_http11(Request("POST", "http://a/", **options))
    assert got == b"POST http://a/ HTTP/1.1\r\nHost: a\r\n" + given + expected


async def test_fields_of_the_proxy_come_behind_the_requests_own_framing_included() -> None:
    proxy = Proxy("http://u:p@proxy:3128", [("X-One", "1"), ("X-Two", "2"), ("X-One", "3")])
    got = await over_http11(Request("POST", "http://a/", {"X-One": "0"}, b"body"), proxy)
    assert got == (
        b"POST http://a/ HTTP/1.1\r\nHost: a\r\nX-One: 0\r\nContent-Length: 4\r\n"
        b"X-One: 1\r\nX-Two: 2\r\nX-One: 3\r\nProxy-Authorization: Basic dTpw\r\n\r\nbody"
    )


async def test_stream_that_turns_out_empty_is_sent_without_framing() -> None:
    got = await over_http11(Request("GET", "http://a/", body=[]), "http://u:p@proxy:3128")
    assert got == b"GET http://a/ HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Basic dTpw\r\n\r\n"


async def test_expectation_goes_to_the_proxy_and_its_answer_is_heeded() -> None:
    async with (
        MemoryConnector() as connector,
        ConnectionPool(connector=connector, proxy="http://proxy") as pool,
    ):
        asking = asyncio.create_task(pool.request("POST", "http://a/", {"Expect": "100-continue"}, b"body"))
        peer = await connector.accept()
        head = await peer.receive_until(b"\r\n\r\n")
        assert head.startswith(b"POST http://a/ HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n")
        assert peer.received.endswith(b"\r\n\r\n")
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await peer.receive(4) == b"body"
        peer.send(OK)
        assert (await asking).body == b"ok"


class Pushing(ResponseHandler):
    """Pushes a body."""

    def exchange_started(self, exchange: Exchange) -> None:
        exchange.write(b"pushed")
        exchange.write_eof()


async def test_body_that_is_pushed_before_the_head_is_written_is_forwarded_too() -> None:
    async with MemoryConnector() as connector, ConnectionPool(connector=connector, proxy="http://proxy") as pool:
        pool.dispatch(Request("POST", "http://a/", body=PUSHED), Pushing())
        peer = await connector.accept()
        head = b"POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert await peer.receive_until(b"0\r\n\r\n") == head + b"6\r\npushed\r\n0\r\n\r\n"
        peer.send(OK)


async def test_one_connection_carries_requests_for_all_origins_each_with_its_own_target() -> None:
    async with MemoryConnector() as connector, ConnectionPool(connector=connector, proxy="http://u:p@proxy") as pool:
        for url in ("http://a/", "http://b:81/x", "http://[::1]/"):
            asking = asyncio.create_task(pool.request("GET", url, decode=False))
            peer = connector.peers[0] if connector.peers else await connector.accept()
            head = await peer.receive_until(b"\r\n\r\n")
            host = url.split("/")[2].encode()
            assert head == (
                b"GET %b HTTP/1.1\r\nHost: %b\r\nProxy-Authorization: Basic dTpw\r\n\r\n" % (url.encode(), host)
            )
            peer.send(OK)
            await asking
        assert len(connector.dials) == 1


async def test_request_that_is_sent_again_is_written_anew_for_the_new_connection() -> None:
    tokens = iter(["1", "2"])
    proxy = Proxy("http://proxy", lambda: {"X-Token": next(tokens)})
    async with MemoryConnector() as connector, ConnectionPool(connector=connector, proxy=proxy) as pool:
        request = Request("GET", "http://a/")
        asking = asyncio.create_task(pool.send(request, decode=False))
        first = await connector.accept()
        await first.receive_until(b"\r\n\r\n")
        first.send(OK)
        await asking
        asking = asyncio.create_task(pool.send(request, decode=False))
        assert await first.receive_until(b"\r\n\r\n") == b"GET http://a/ HTTP/1.1\r\nHost: a\r\nX-Token: 1\r\n\r\n"
        first.close()  # without an answer, on a connection that had been idle
        second = await connector.accept()
        assert await second.receive_until(b"\r\n\r\n") == b"GET http://a/ HTTP/1.1\r\nHost: a\r\nX-Token: 2\r\n\r\n"
        second.send(OK)
        assert (await asking).body == b"ok"
        assert (request.target, request.headers) == (b"/", [(b"Host", b"a")])


async def test_connection_of_ones_own_forwards_likewise() -> None:
    async with MemoryConnector() as connector:
        opening = ClientConnection.connect("http://a/", proxy="http://u:p@proxy", connector=connector)
        async with await opening as connection:
            asking = asyncio.create_task(connection.request("GET", "http://a/x", decode=False))
            peer = await connector.accept()
            expected = b"GET http://a/x HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Basic dTpw\r\n\r\n"
            assert await peer.receive_until(b"\r\n\r\n") == expected
            peer.send(OK)
            assert (await asking).body == b"ok"


async def test_tunnel_carries_origin_form_and_no_field_of_the_proxy() -> None:
    proxy = Proxy("http://u:p@proxy", {"X-One": "1"}, tunnel=True)
    async with MemoryConnector() as connector, ConnectionPool(connector=connector, proxy=proxy) as pool:
        asking = asyncio.create_task(pool.request("GET", "http://a/x", {"X": "1"}, decode=False))
        peer = await connector.accept()
        assert await peer.receive_until(b"\r\n\r\n") == (
            b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nX-One: 1\r\nProxy-Authorization: Basic dTpw\r\n\r\n"
        )
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        assert await peer.receive_until(b"\r\n\r\n") == b"GET /x HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n"
        peer.send(OK)
        await asking


@pytest.mark.parametrize(
    "url, target", [("http://[::1]/", b"[::1]:80"), ("http://a:8080/", b"a:8080"), ("http://A./", b"a.:80")]
)
async def test_connect_names_host_and_port_always(url: str, target: bytes) -> None:
    proxy = Proxy("http://proxy", tunnel=True)
    async with MemoryConnector() as connector, ConnectionPool(connector=connector, proxy=proxy) as pool:
        asking = asyncio.create_task(pool.request("GET", url, decode=False))
        peer = await connector.accept()
        expected = b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (target, target)
        assert await peer.receive_until(b"\r\n\r\n") == expected
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        await peer.receive_until(b"\r\n\r\n")
        peer.send(OK)
        await asking


# HTTP/2: the URL's authority, whatever Host says.


class SelectedHTTP2:
    """What a link in memory has in place of a TLS object."""

    def selected_alpn_protocol(self) -> str:
        return "h2"


async def over_http2(request: Request, proxy: Proxy | str = "https://proxy:3129") -> IncomingRequest:
    """Sends a request on a pool with a proxy that speaks HTTP/2; returns it as it came there."""
    connector = MemoryConnector(HTTP2Peer, client_extra={"ssl_object": SelectedHTTP2()})
    async with connector, ConnectionPool(connector=connector, proxy=proxy) as pool:
        asking = asyncio.create_task(pool.send(request, decode=False))
        peer = await connector.accept()
        incoming = await peer.receive_request()
        if not incoming.end_stream:
            assert await peer.receive_body(incoming.stream_id) == b"body"
        peer.respond(incoming.stream_id, 200)
        assert (await asking).http_version == b"HTTP/2"
        assert [dial.origin for dial in connector.dials] == [("https", "proxy", 3129)]
        return incoming


@pytest.mark.parametrize("url, target, host", TARGETS)
async def test_pseudo_fields_name_the_origin(url: str, target: bytes, host: bytes) -> None:
    path = target.removeprefix(b"http://" + host)
    incoming = await over_http2(Request("GET", url))
    assert incoming.fields == [
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":authority", host),
        (b":path", path),
    ]


async def test_host_of_the_callers_own_does_not_lead_elsewhere_over_http2() -> None:
    incoming = await over_http2(Request("GET", "http://a:81/", {"Host": "b", "x": "1"}))
    assert (incoming.authority, incoming.headers) == (b"a:81", [(b"x", b"1")])


async def test_asterisk_is_a_path_over_http2() -> None:
    incoming = await over_http2(Request("OPTIONS", "http://a/", target="*"))
    assert (incoming.method, incoming.scheme, incoming.authority, incoming.path) == (b"OPTIONS", b"http", b"a", b"*")


async def test_fields_of_the_proxy_come_behind_and_its_credentials_are_never_indexed() -> None:
    proxy = Proxy("https://u:p@proxy:3129", {"X-One": "1"})
    incoming = await over_http2(Request("POST", "http://a/", {"X": "0"}, b"body"), proxy)
    credentials = (b"proxy-authorization", b"Basic dTpw")
    assert incoming.headers == [(b"x", b"0"), (b"content-length", b"4"), (b"x-one", b"1"), credentials]
    assert [isinstance(field, NeverIndexedHeaderTuple) for field in incoming.headers] == [False] * 3 + [True]


async def test_credentials_of_the_callers_own_are_never_indexed_either_and_come_alone() -> None:
    request = Request("GET", "http://a/", {"Proxy-Authorization": "own"})
    incoming = await over_http2(request, Proxy("https://u:p@proxy:3129", {"X-One": "1"}))
    assert incoming.headers == [(b"proxy-authorization", b"own"), (b"x-one", b"1")]
    assert isinstance(incoming.headers[0], NeverIndexedHeaderTuple)


async def test_credentials_in_connect_are_never_indexed() -> None:
    connector = MemoryConnector(HTTP2Peer, client_extra={"ssl_object": SelectedHTTP2()})
    proxy = Proxy("https://proxy", {"Proxy-Authorization": "Bearer x"}, tunnel=True)
    async with connector, ConnectionPool(connector=connector, proxy=proxy) as pool:
        for _ in range(2):  # the second one could refer to the first by its index
            asking = asyncio.create_task(pool.request("GET", "http://a/"))
            peer = connector.peers[0] if connector.peers else await connector.accept()
            incoming = await peer.receive_request()
            assert incoming.fields[:2] == [(b":method", b"CONNECT"), (b":authority", b"a:80")]
            assert incoming.headers == [(b"proxy-authorization", b"Bearer x")]
            assert isinstance(incoming.headers[0], NeverIndexedHeaderTuple)
            peer.respond(incoming.stream_id, 403)
            with pytest.raises(ProxyError, match="refused a tunnel"):
                await asking


async def test_absolute_target_of_the_callers_own_is_refused_over_http2() -> None:
    connector = MemoryConnector(HTTP2Peer, client_extra={"ssl_object": SelectedHTTP2()})
    async with connector, ConnectionPool(connector=connector, proxy="https://proxy") as pool:
        with pytest.raises(LocalProtocolError, match="a request target on HTTP/2 is a path"):
            await pool.send(Request("GET", "http://a/", target="http://b/"))


async def test_body_that_is_chunked_over_http11_is_data_over_http2() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"bo"
        yield b"dy"

    incoming = await over_http2(Request("POST", "http://a/", body=body))
    assert incoming.headers == []


# The function alone.

FIELDS = [(b"X-One", b"1"), (b"proxy-AUTHORIZATION", b"secret")]


@pytest.mark.parametrize("absolute", [False, True])
def test_request_itself_is_not_changed(absolute: bool) -> None:
    request = Request("POST", "http://a/", {"Host": "b"}, b"body")
    before = (request.target, list(request.headers), request.names)
    fields = list(FIELDS)
    copy = forwarded(request, fields, absolute=absolute)
    assert copy is not request
    assert (request.target, list(request.headers), request.names) == before
    assert fields == FIELDS


@pytest.mark.parametrize("absolute", [False, True])
def test_body_is_shared_with_the_request(absolute: bool) -> None:
    request = Request("POST", "http://a/", body=iter([b"once"]))
    copy = forwarded(request, [], absolute=absolute)
    assert copy.replayable and request.replayable
    copy.open_body()
    assert not request.replayable


_hosts = st.sampled_from(["a", "a.", "xn--bcher-kva", "127.0.0.1", "[::1]"])
_paths = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters='#\\"<>^`{|}'), max_size=20)


@given(_hosts, st.integers(0, 65535), _paths, st.sampled_from(["", "b", "b:1"]))
def test_absolute_form_reads_back_as_the_url(host: str, port: int, path: str, given_host: str) -> None:
    request = Request("GET", f"http://{host}:{port}/{path}", {"Host": given_host} if given_host else {})
    copy = forwarded(request, [(b"x", b"1")], absolute=True)
    assert Request("GET", copy.target).url == request.url
    assert copy.headers == [*request.headers, (b"x", b"1")]
    over_http2 = forwarded(request, [(b"x", b"1")], absolute=False)
    assert over_http2.target == request.target
    assert over_http2.headers == [(b"Host", request.url.host_header), (b"x", b"1")]

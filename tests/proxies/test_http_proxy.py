"""`HTTPProxy` by itself: tunnels, refusals, and every way to end, as raw clients see them."""

from __future__ import annotations

import asyncio
import base64
import ssl

import pytest

from httpcore.testing import MemoryConnector, ScriptedPeer
from httpcore.urls import Origin
from tests.conftest import TLSFiles
from tests.content import blocks
from tests.proxies.clients import Echo, connected, dialed, echo_server, in_memory
from tests.proxies.http_proxy import AUTHENTICATE, BAD_GATEWAY, ESTABLISHED, HTTPProxy, ProxyRequest, http_proxy
from tests.proxies.script import HANG, Answer, Endless, Then, one_by_one
from tests.proxies.ways import to_address, to_connector, to_protocol

CONNECT = b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n"
SIZE = 10_000_000


def refusing(answer: Answer | bytes) -> HTTPProxy:
    return HTTPProxy(connect=to_protocol(Echo), answer=lambda request: answer)


async def test_tunnel_relays_both_ways_and_what_came_is_recorded() -> None:
    async with echo_server() as origin, http_proxy() as proxy, connected(proxy.port) as client:
        head = b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: origin\r\nX-Mixed: Case\r\n\r\n" % origin.port
        assert await client.ask(head) == ESTABLISHED
        assert await client.ask_exactly(b"through", 7) == b"through"
        [request], [record] = proxy.requests, proxy.received
        assert request == (
            b"CONNECT",
            b"127.0.0.1:%d" % origin.port,
            [(b"host", b"origin"), (b"x-mixed", b"Case")],
        )
        assert (record.heads, record.head) == ([head], head)
        assert record.tunnelled == b"through"
        assert record.received == head + b"through"
        assert (proxy.connections, proxy.tunnels, proxy.url) == (1, 1, f"http://127.0.0.1:{proxy.port}")
        assert record.tls is None and not record.lost
    assert record.lost


async def test_ten_megabytes_pass_both_ways(tls: TLSFiles) -> None:
    content = b"".join(blocks(SIZE))
    async with echo_server() as origin, http_proxy(tls.server_context) as proxy:
        async with connected(proxy.port, tls.client_context) as client:
            await client.ask(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: origin\r\n\r\n" % origin.port)
            assert await client.transfer(content) == content
        assert proxy.received[0].tunnelled == content
        assert isinstance(proxy.received[0].tls, ssl.SSLObject)


async def test_slow_reader_holds_up_the_other_side() -> None:
    async with (
        MemoryConnector() as origins,
        HTTPProxy(connect=to_connector(origins)) as proxy,
        in_memory(proxy.accept()) as client,
    ):
        client.send(CONNECT)
        assert await client.receive_until(b"\r\n\r\n") == ESTABLISHED
        origin = await origins.accept()
        for reader, writer in ((client, origin), (origin, client)):
            reader.pause()
            sent = 0
            while not writer.writing_paused:
                writer.send(bytes(65536))
                sent += 65536
                await asyncio.sleep(0)
                assert sent < 10_000_000
            reader.resume()
            assert await reader.receive(sent) == bytes(sent)


async def test_bytes_sent_before_the_tunnel_is_open_reach_the_origin() -> None:
    async with MemoryConnector() as origins, HTTPProxy(connect=to_connector(origins)) as proxy:
        origins.hold()
        async with in_memory(proxy.accept()) as client:
            client.send(CONNECT + b"early")
            await origins.dialed(1)
            origins.release()
            assert await (await origins.accept()).receive(5) == b"early"
            assert proxy.received[0].head == CONNECT
            assert proxy.received[0].tunnelled == b"early"
            assert origins.dials[0].origin == ("http", "example.org", 443)


async def test_bytes_of_an_origin_that_speaks_first_come_behind_the_answer() -> None:
    class Greeter(ScriptedPeer):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.send(b"220 hello")
            self.close()

    async with HTTPProxy(connect=to_protocol(Greeter)) as proxy, in_memory(proxy.accept()) as client:
        client.send(CONNECT)
        assert await client.receive_eof() == ESTABLISHED + b"220 hello"


async def test_half_closed_tunnel_goes_on_in_the_other_direction() -> None:
    async with (
        MemoryConnector() as origins,
        HTTPProxy(connect=to_connector(origins)) as proxy,
        in_memory(proxy.accept()) as client,
    ):
        client.send(CONNECT)
        await client.receive_until(b"\r\n\r\n")
        origin = await origins.accept()
        client.send(b"all")
        client.send_eof()
        assert await origin.receive_eof() == b"all"
        origin.send(b"answer")
        origin.close()
        assert await client.receive_eof() == b"answer"
        await origin.closed()


async def test_reset_origin_closes_the_client_and_the_other_way_round() -> None:
    async with MemoryConnector() as origins, HTTPProxy(connect=to_connector(origins)) as proxy:
        async with in_memory(proxy.accept()) as client:
            client.send(CONNECT)
            await client.receive_until(b"\r\n\r\n")
            (await origins.accept()).abort()
            assert await client.receive_eof() == b""
        async with in_memory(proxy.accept()) as client:
            client.send(CONNECT)
            await client.receive_until(b"\r\n\r\n")
            client.abort()
            assert await (await origins.accept()).receive_eof() == b""
        await proxy.until(lambda: not proxy.ends)
        assert isinstance(proxy.received[1].error, ConnectionResetError)


async def test_unreachable_origin_is_a_502_after_which_the_client_may_ask_again() -> None:
    async with MemoryConnector() as origins, HTTPProxy(connect=to_connector(origins)) as proxy:
        origins.fail_next(ConnectionRefusedError())
        async with in_memory(proxy.accept()) as client:
            client.send(CONNECT)
            assert await client.receive_until(b"\r\n\r\n") == BAD_GATEWAY
            client.send(CONNECT)
            assert await client.receive_until(b"\r\n\r\n") == ESTABLISHED
        assert proxy.tunnels == 1


@pytest.mark.parametrize("target", [b"example.org", b":443", b"example.org:https"])
async def test_connect_to_what_is_no_authority_is_a_400(target: bytes) -> None:
    async with HTTPProxy() as proxy, in_memory(proxy.accept()) as client:
        client.send(b"CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\n" % target)
        assert (await client.receive_eof()).startswith(b"HTTP/1.1 400 ")


async def test_malformed_request_is_a_400() -> None:
    async with HTTPProxy() as proxy, in_memory(proxy.accept()) as client:
        client.send(b"what\r\n\r\n")
        assert (await client.receive_eof()).startswith(b"HTTP/1.1 400 ")
        assert proxy.requests == []


async def test_credentials_are_required_and_checked() -> None:
    async with HTTPProxy(connect=to_protocol(Echo), auth=("user", "päss:word")) as proxy:
        async with in_memory(proxy.accept()) as client:
            for credentials in ("", "user:wrong"):
                encoded = base64.b64encode(credentials.encode())
                client.send(CONNECT[:-2] + b"Proxy-Authorization: Basic %s\r\n\r\n" % encoded)
                assert await client.receive(len(AUTHENTICATE)) == AUTHENTICATE
            client.send(CONNECT[:-2] + b"Proxy-Authorization: Bearer token\r\n\r\n")
            assert await client.receive(len(AUTHENTICATE)) == AUTHENTICATE
            encoded = base64.b64encode("user:päss:word".encode())
            client.send(CONNECT[:-2] + b"Proxy-Authorization: Basic %s\r\n\r\n" % encoded)
            assert await client.receive(len(ESTABLISHED)) == ESTABLISHED
        assert [request.credentials for request in proxy.requests] == [
            ("", ""),
            ("user", "wrong"),
            None,
            ("user", "päss:word"),
        ]
        assert [record.heads for record in proxy.received] == [proxy.received[0].heads]
        assert len(proxy.received[0].heads) == 4


async def test_raw_answer_takes_the_ordinary_ones_place_and_leaves_the_connection_open() -> None:
    refusal = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno"
    async with refusing(refusal) as proxy, in_memory(proxy.accept()) as client:
        for _ in range(2):
            client.send(CONNECT)
            assert await client.receive(len(refusal)) == refusal
        assert proxy.tunnels == 0


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 20",
        b"HTTP/1.1 407 No\r\ncontent-length: 5\r\n\r\n",
    ],
)
@pytest.mark.parametrize("then", [Then.EOF, Then.CLOSE, Then.RESET])
@pytest.mark.parametrize("pieces", [False, True])
async def test_connection_ends_at_any_byte_of_the_answer(data: bytes, then: Then, pieces: bool) -> None:
    answer = Answer(one_by_one(data) if pieces else data, then)
    async with refusing(answer) as proxy, proxy.listening(None), dialed(proxy.port) as client:
        client.send(CONNECT)
        assert isinstance(await client.closed(), ConnectionResetError) == (then is Then.RESET)
        assert client.received == data


async def test_answer_comes_byte_by_byte() -> None:
    async with refusing(Answer(one_by_one(ESTABLISHED), Then.PROCEED)) as proxy:
        sizes: list[int] = []

        class Client(ScriptedPeer):
            def data_received(self, data: bytes) -> None:
                sizes.append(len(data))
                super().data_received(data)

        connector = MemoryConnector(proxy.accept)
        async with connector:
            client = await connector.connect(Client, Origin("http", "proxy.example", 3128))
            client.send(CONNECT + b"echo")
            assert await client.receive(len(ESTABLISHED) + 4) == ESTABLISHED + b"echo"
            assert sizes[: len(ESTABLISHED)] == [1] * len(ESTABLISHED)
            client.close()
            await client.closed()


@pytest.mark.parametrize(
    "answer",
    [
        ESTABLISHED + b"extra",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.0 299 Sure\r\n\r\n",
    ],
)
async def test_tunnel_opens_behind_an_answer_of_any_bytes(answer: bytes) -> None:
    async with refusing(Answer(answer, Then.PROCEED)) as proxy, in_memory(proxy.accept()) as client:
        client.send(CONNECT)
        assert await client.receive(len(answer)) == answer
        client.send(b"echo")
        assert await client.receive(4) == b"echo"


async def test_endless_answer_is_sent_at_the_clients_pace() -> None:
    answer = Answer(Endless(b"HTTP/1.1 200 OK\r\n", b"x-filler: " + b"x" * 1000 + b"\r\n"))
    async with refusing(answer) as proxy, proxy.listening(None), connected(proxy.port) as client:
        client.writer.write(CONNECT)
        assert len(await client.reader.readexactly(3_000_000)) == 3_000_000
        assert proxy.received[0].head == CONNECT


async def test_proxy_that_hangs_answers_nothing_and_notices_that_the_client_goes() -> None:
    async with refusing(HANG) as proxy, proxy.listening(None), connected(proxy.port) as client:
        client.writer.write(CONNECT)
        await proxy.until(lambda: len(proxy.requests) == 1)
        client.writer.close()
        await proxy.until(lambda: proxy.received[0].lost)
        assert await client.reader.read() == b""


async def test_client_that_goes_during_the_dial_ends_the_dial() -> None:
    async with MemoryConnector() as origins, HTTPProxy(connect=to_connector(origins)) as proxy:
        origins.hold()
        async with in_memory(proxy.accept()) as client:
            client.send(CONNECT)
            await origins.dialed(1)
            client.close()
            await proxy.until(lambda: proxy.received[0].lost)
        origins.release()
        assert origins.peers == []


async def test_script_may_wait() -> None:
    may = asyncio.Event()

    async def answer(request: ProxyRequest) -> Answer | bytes | None:
        await may.wait()
        return None

    async with HTTPProxy(connect=to_protocol(Echo), answer=answer) as proxy, in_memory(proxy.accept()) as client:
        client.send(CONNECT)
        await proxy.until(lambda: len(proxy.requests) == 1)
        may.set()
        assert await client.receive(len(ESTABLISHED)) == ESTABLISHED


async def test_error_in_a_script_ends_the_connections_and_is_raised_at_the_end() -> None:
    def answer(request: ProxyRequest) -> bytes:
        raise LookupError(request.target)

    with pytest.raises(LookupError, match=r"example\.org:443"):
        async with HTTPProxy(answer=answer) as proxy, in_memory(proxy.accept()) as client:
            client.send(CONNECT)
            assert await client.receive_eof() == b""


@pytest.mark.parametrize("then", [Then.EOF, Then.CLOSE, Then.RESET])
@pytest.mark.parametrize("data", [b"", b"SSH-2.0-not-a-proxy\r\n"])
async def test_connection_ends_on_accept(then: Then, data: bytes) -> None:
    async with http_proxy(on_accept=Answer(data, then)) as proxy, dialed(proxy.port) as client:
        assert isinstance(await client.closed(), ConnectionResetError) == (then is Then.RESET)
        assert client.received == data


async def test_proxy_that_hangs_on_accept_looks_at_no_request() -> None:
    async with http_proxy(on_accept=HANG) as proxy, connected(proxy.port) as client:
        client.writer.write(CONNECT)
        await proxy.until(lambda: bool(proxy.received) and proxy.received[0].received == CONNECT)
        assert proxy.requests == []


async def test_tunnel_is_cut_after_so_many_bytes_to_the_client() -> None:
    async with (
        refusing(Answer(ESTABLISHED, Then.PROCEED, cut_after=5)) as proxy,
        proxy.listening(None),
        dialed(proxy.port) as client,
    ):
        client.send(CONNECT + b"abc")
        assert await client.receive(len(ESTABLISHED) + 3) == ESTABLISHED + b"abc"
        client.send(b"defg")
        assert isinstance(await client.closed(), ConnectionResetError)
        assert client.received == ESTABLISHED + b"abcde"


async def test_records_end_their_connections() -> None:
    async with (
        http_proxy(connect=to_protocol(Echo)) as proxy,
        connected(proxy.port) as first,
        connected(proxy.port) as second,
    ):
        for client in (first, second):
            await client.ask(CONNECT)
        proxy.received[0].close()
        assert await first.reader.read() == b""
        proxy.received[1].reset()
        with pytest.raises(ConnectionResetError):
            await second.reader.read()


async def test_tls_of_the_origin_passes_through_tls_of_the_proxy(tls: TLSFiles) -> None:
    async with (
        echo_server(tls.server_context) as origin,
        http_proxy(tls.server_context, connect=to_address("127.0.0.1", origin.port)) as proxy,
    ):
        async with connected(proxy.port, tls.client_context) as client:
            assert await client.ask(CONNECT) == ESTABLISHED
            await client.writer.start_tls(tls.client_context, server_hostname="example.org")
            assert await client.ask_exactly(b"secret", 6) == b"secret"
        assert b"secret" not in proxy.received[0].received
        assert proxy.received[0].tunnelled[:2] == b"\x16\x03"
        assert proxy.url == f"https://localhost:{proxy.port}"

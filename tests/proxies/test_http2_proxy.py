"""`HTTP2Proxy` by itself, as h2 in the client's role sees it."""

from __future__ import annotations

import asyncio
import base64

import h2.config
import h2.connection
import h2.events
import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from httpcore.testing import MemoryConnector, ScriptedPeer
from tests.conftest import TLSFiles
from tests.content import blocks
from tests.h11_server import H11Server
from tests.proxies.clients import Echo, dialed, echo_server
from tests.proxies.h2_client import CONNECT, connected, linked
from tests.proxies.http2_proxy import HANGING_STREAM, HTTP2Proxy, StreamAnswer, http2_proxy
from tests.proxies.http_proxy import ProxyRequest
from tests.proxies.script import HANG, Answer, Then
from tests.proxies.ways import to_address, to_connector, to_protocol

GET = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"example.org"), (b":path", b"/path")]
SETTINGS_ACK = b"\0\0\0\4\1\0\0\0\0"
POST = [(b":method", b"POST"), *GET[1:]]


def answering(answer: StreamAnswer) -> HTTP2Proxy:
    return HTTP2Proxy(connect=to_protocol(Echo), answer=lambda request: answer)


async def test_tunnels_share_a_connection_and_each_has_its_own_bytes() -> None:
    async with (
        MemoryConnector() as origins,
        HTTP2Proxy(connect=to_connector(origins)) as proxy,
        linked(proxy) as client,
    ):
        one, two = client.ask([*CONNECT, (b"x-key", b"value")]), client.ask(CONNECT)
        client.say(one, b"one")
        client.say(two, b"two")
        first, second = await origins.accept(), await origins.accept()
        assert (await first.receive(3), await second.receive(3)) == (b"one", b"two")
        second.send(b"2")
        first.send(b"1")
        await client.until(lambda: client.data(one) and client.data(two))
        assert (client.data(one), client.data(two)) == (b"1", b"2")
        assert client.headers(one) == [(b":status", b"200")]
        assert proxy.requests == [
            (b"CONNECT", b"example.org:443", [(b"x-key", b"value")]),
            (b"CONNECT", b"example.org:443", []),
        ]
        assert [stream.received for stream in proxy.opened] == [b"one", b"two"]
        assert (proxy.connections, proxy.tunnels, len(proxy.clients)) == (1, 2, 1)
        assert proxy.received[0].tunnelled == b"onetwo"
        assert origins.dials[0].origin == ("http", "example.org", 443)
        # Each end by itself, in either order.
        client.say(one, b"", end_stream=True)
        assert await first.receive_eof() == b""
        first.send(b"last")
        first.close()
        await client.until(lambda: client.has_ended(one))
        assert client.data(one) == b"1last"
        second.close()
        await client.until(lambda: client.has_ended(two))
        client.say(two, b"dropped", end_stream=True)
        await proxy.until(lambda: not proxy.clients[0].streams)
        assert client.reset_code(one) is client.reset_code(two) is None


async def test_ten_megabytes_pass_both_ways_over_tls(tls: TLSFiles) -> None:
    content = b"".join(blocks(10_000_000))
    async with (
        echo_server() as origin,
        http2_proxy(tls.server_context, connect=to_address("127.0.0.1", origin.port)) as proxy,
        connected(proxy, tls.client_context) as client,
    ):
        stream = await client.tunnel()
        sent = 0
        while sent < len(content):
            await client.until(lambda: client.room(stream) > 0)
            size = client.room(stream)
            client.say(stream, content[sent : sent + size])
            sent += size
        client.say(stream, b"", end_stream=True)
        await client.until(lambda: client.has_ended(stream))
        assert client.data(stream) == content
        assert proxy.url == f"https://localhost:{proxy.port}"


async def test_upload_is_credited_as_the_origin_takes_it() -> None:
    async with (
        MemoryConnector(capacity=1000) as origins,
        HTTP2Proxy(connect=to_connector(origins)) as proxy,
        linked(proxy) as client,
    ):
        stream = await client.tunnel()
        origin = await origins.accept()
        origin.pause()
        sent = 0
        for _ in range(50):
            size = min(client.http.local_flow_control_window(stream), 16_384)
            if size:
                client.say(stream, bytes(size))
                sent += size
            await asyncio.sleep(0)
        assert client.http.local_flow_control_window(stream) == 0
        assert sent < 300_000
        origin.resume()
        assert await origin.receive(sent) == bytes(sent)
        await client.until(lambda: client.http.local_flow_control_window(stream) > 0)


async def test_download_waits_for_the_clients_windows_and_holds_up_the_origin() -> None:
    async with (
        MemoryConnector(capacity=1000) as origins,
        HTTP2Proxy(connect=to_connector(origins)) as proxy,
        linked(proxy, {SettingCodes.INITIAL_WINDOW_SIZE: 10_000}) as client,
    ):
        client.auto_credit = False
        stream = await client.tunnel()
        origin = await origins.accept()
        sent = 0
        while not origin.writing_paused:
            origin.send(bytes(1000))
            sent += 1000
            await asyncio.sleep(0)
            assert sent < 1_000_000
        assert client.data(stream) == bytes(10_000)
        assert len(proxy.opened[0].waiting) >= 65_536
        client.auto_credit = True
        client.http.acknowledge_received_data(10_000, stream)
        client.flush()
        await client.until(lambda: len(client.data(stream)) == sent)


async def test_credentials_are_required_and_checked() -> None:
    async with HTTP2Proxy(connect=to_protocol(Echo), auth=("user", "pass")) as proxy, linked(proxy) as client:
        stream = client.ask(CONNECT)
        await client.until(lambda: client.has_ended(stream))
        assert client.headers(stream) == [(b":status", b"407"), (b"proxy-authenticate", b'Basic realm="tests"')]
        assert client.data(stream) == b"authenticate\n"
        stream = client.ask([*CONNECT, (b"proxy-authorization", b"Basic " + base64.b64encode(b"user:pass"))])
        await client.until(lambda: client.status(stream))
        assert client.status(stream) == b"200"
        assert [request.credentials for request in proxy.requests] == [None, ("user", "pass")]


async def test_answer_may_refuse_with_status_headers_and_a_body_of_any_length() -> None:
    answer = StreamAnswer(403, [(b"x-why", b"no")], bytes(200_000))
    async with answering(answer) as proxy, linked(proxy) as client:
        stream = client.ask(CONNECT)
        client.say(stream, b"early")
        await client.until(lambda: client.has_ended(stream))
        assert client.headers(stream) == [(b":status", b"403"), (b"x-why", b"no")]
        assert client.data(stream) == bytes(200_000)
        client.say(stream, b"", end_stream=True)
        await proxy.until(lambda: not proxy.clients[0].streams)
        assert proxy.tunnels == 0


async def test_answer_may_leave_the_stream_open() -> None:
    async with answering(StreamAnswer(502, body=b"begun", end_stream=False)) as proxy, linked(proxy) as client:
        stream = client.ask(CONNECT)
        await client.until(lambda: client.data(stream) == b"begun")
        assert not client.has_ended(stream)
        proxy.opened[0].send(b" on")
        proxy.opened[0].send_end([(b"trailer", b"1")])
        await client.until(lambda: client.has_ended(stream))
        assert client.data(stream) == b"begun on"


async def test_tunnel_opens_behind_a_response_of_any_kind() -> None:
    answer = StreamAnswer(299, [(b"content-length", b"9")], b"extra", proceed=True)
    async with answering(answer) as proxy, linked(proxy) as client:
        stream = client.ask(CONNECT)
        client.say(stream, b"echo")
        await client.until(lambda: len(client.data(stream)) == 9)
        assert client.data(stream) == b"extraecho"
        assert client.status(stream) == b"299"


@pytest.mark.parametrize("status", [None, 200])
async def test_answer_may_reset_the_stream_and_leave_the_others(status: int | None) -> None:
    answers = [StreamAnswer(status, end_stream=False, reset=ErrorCodes.REFUSED_STREAM), None]
    async with (
        HTTP2Proxy(connect=to_protocol(Echo), answer=lambda request: answers.pop(0)) as proxy,
        linked(proxy) as client,
    ):
        stream = client.ask(CONNECT)
        await client.until(lambda: client.reset_code(stream) is not None)
        assert client.reset_code(stream) == ErrorCodes.REFUSED_STREAM
        assert client.status(stream) == (b"200" if status else None)
        await client.tunnel()


async def test_answer_may_say_goaway() -> None:
    async with answering(StreamAnswer(goaway=ErrorCodes.NO_ERROR, last_stream_id=0)) as proxy, linked(proxy) as client:
        client.ask(CONNECT)
        await client.until(lambda: any(isinstance(e, h2.events.ConnectionTerminated) for e in client.events))
        event = client.events[-1]
        assert isinstance(event, h2.events.ConnectionTerminated)
        assert (event.last_stream_id, event.error_code) == (0, ErrorCodes.NO_ERROR)
        assert client.connected


@pytest.mark.parametrize("then", [Then.CLOSE, Then.RESET, Then.EOF])
@pytest.mark.parametrize("data", [b"", b"\0\0\4\1"])
async def test_answer_may_end_the_connection_within_a_frame(then: Then, data: bytes) -> None:
    async with (
        answering(StreamAnswer(end=Answer(data, then))) as proxy,
        proxy.listening(None),
        connected(proxy) as client,
    ):
        # A close with bytes unread would be a reset.
        await proxy.until(lambda: bool(proxy.received) and SETTINGS_ACK in proxy.received[0].received)
        client.ask(CONNECT)
        assert isinstance(await client.closed(), ConnectionResetError) == (then is Then.RESET)
        assert client.received.endswith(data)


async def test_proxy_that_hangs_on_a_stream_notices_that_the_client_gives_up() -> None:
    async with answering(HANGING_STREAM) as proxy, linked(proxy) as client:
        stream = client.ask(CONNECT)
        await proxy.until(lambda: bool(proxy.requests))
        client.http.reset_stream(stream, ErrorCodes.CANCEL)
        client.flush()
        await proxy.until(lambda: not proxy.clients[0].streams)
        assert client.status(stream) is None


@pytest.mark.parametrize("answer", [HANG, Answer(b"HTTP/1.1 400 No\r\n\r\n", Then.CLOSE), Answer(b"", Then.RESET)])
async def test_connection_ends_or_hangs_on_accept(answer: Answer) -> None:
    async with http2_proxy(on_accept=answer) as proxy, dialed(proxy.port) as client:
        if answer is HANG:
            client.send(b"PRI * HTTP/2.0")
            await proxy.until(lambda: bool(proxy.received) and bool(proxy.received[0].received))
        else:
            assert isinstance(await client.closed(), ConnectionResetError) == (answer.then is Then.RESET)
        assert client.received == answer.data


async def test_stream_that_is_reset_during_the_dial_ends_the_dial() -> None:
    async with (
        MemoryConnector() as origins,
        HTTP2Proxy(connect=to_connector(origins)) as proxy,
        linked(proxy) as client,
    ):
        origins.hold()
        stream, other = client.ask(CONNECT), client.ask(CONNECT)
        await origins.dialed(2)
        client.http.reset_stream(stream, ErrorCodes.CANCEL)
        client.flush()
        await proxy.until(lambda: len(proxy.clients[0].streams) == 1)
        proxy.opened[1].reset(ErrorCodes.CANCEL)
        await client.until(lambda: client.reset_code(other) is not None)
        origins.release()
        await (await origins.accept()).receive_eof()
        assert len(origins.peers) == 1
        assert proxy.tunnels == 0


async def test_reset_of_either_end_reaches_the_other() -> None:
    async with (
        MemoryConnector() as origins,
        HTTP2Proxy(connect=to_connector(origins)) as proxy,
        linked(proxy) as client,
    ):
        stream = await client.tunnel()
        client.http.reset_stream(stream, ErrorCodes.CANCEL)
        client.flush()
        assert await (await origins.accept()).receive_eof() == b""
        stream = await client.tunnel()
        (await origins.accept()).abort()
        await client.until(lambda: client.reset_code(stream) is not None)
        assert client.reset_code(stream) == ErrorCodes.CONNECT_ERROR
        await client.tunnel()
        client.close()
        await (await origins.accept()).receive_eof()


async def test_origin_that_cannot_be_reached_is_a_502_and_an_authority_without_a_port_a_400() -> None:
    async with (
        MemoryConnector() as origins,
        HTTP2Proxy(connect=to_connector(origins)) as proxy,
        linked(proxy) as client,
    ):
        origins.fail_next(ConnectionRefusedError())
        stream = client.ask(CONNECT)
        await client.until(lambda: client.has_ended(stream))
        assert client.status(stream) == b"502"
        stream = client.ask([CONNECT[0], (b":authority", b"example.org")])
        await client.until(lambda: client.has_ended(stream))
        assert client.status(stream) == b"400"


async def test_origin_that_speaks_first_and_goes_is_relayed_behind_the_answer() -> None:
    class Greeter(ScriptedPeer):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.send(b"220 hello")
            self.close()

    async with HTTP2Proxy(connect=to_protocol(Greeter)) as proxy, linked(proxy) as client:
        stream = client.ask(CONNECT)
        await client.until(lambda: client.has_ended(stream))
        assert (client.status(stream), client.data(stream)) == (b"200", b"220 hello")


async def test_settings_are_the_tests() -> None:
    settings = {SettingCodes.MAX_CONCURRENT_STREAMS: 1, SettingCodes.INITIAL_WINDOW_SIZE: 5}
    async with HTTP2Proxy(connect=to_protocol(Echo), settings=settings) as proxy, linked(proxy) as client:
        stream = await client.tunnel()
        assert client.http.remote_settings.max_concurrent_streams == 1
        assert client.http.local_flow_control_window(stream) == 5


async def test_client_that_breaks_the_protocol_gets_goaway() -> None:
    async with HTTP2Proxy() as proxy, linked(proxy) as client:
        client.send(b"\0\0\0\0\0\0\0\0\0")
        await client.closed()
        assert isinstance(client.events[-1], h2.events.ConnectionTerminated)
        assert proxy.requests == []


async def test_client_that_does_not_offer_http2_is_not_served(tls: TLSFiles) -> None:
    async with http2_proxy(tls.server_context) as proxy:
        client = ScriptedPeer(close_on_eof=True)
        loop = asyncio.get_running_loop()
        await loop.create_connection(
            lambda: client, "127.0.0.1", proxy.port, ssl=tls.client_context, server_hostname="localhost"
        )
        await client.closed()
        assert (client.received, proxy.clients) == (b"", [])


async def test_goaway_of_the_client_closes_the_connection() -> None:
    async with HTTP2Proxy(connect=to_protocol(Echo)) as proxy, linked(proxy) as client:
        await client.tunnel()
        client.http.close_connection()
        client.flush()
        await client.closed()


async def test_error_in_a_script_ends_the_connections_and_is_raised_at_the_end() -> None:
    def answer(request: ProxyRequest) -> StreamAnswer:
        raise LookupError(request.target)

    with pytest.raises(LookupError, match=r"example\.org:443"):
        async with HTTP2Proxy(answer=answer) as proxy, linked(proxy) as client:
            client.ask(CONNECT)
            await client.closed()


# Forwarding


async def test_requests_are_forwarded_over_http11() -> None:
    async with (
        MemoryConnector() as origins,
        HTTP2Proxy(connect=to_connector(origins)) as proxy,
        linked(proxy) as client,
    ):
        fields = [(b"cookie", b"a=1"), (b"cookie", b"b=2"), (b"proxy-authorization", b"Basic eDp5")]
        stream = client.ask([*POST, *fields])
        origin = await origins.accept()
        assert await origin.receive_until(b"\r\n\r\n") == (
            b"POST /path HTTP/1.1\r\nhost: example.org\r\ncookie: a=1; b=2\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        client.say(stream, b"abc")
        assert await origin.receive_until(b"abc\r\n") == b"3\r\nabc\r\n"
        client.http.send_headers(stream, [(b"sum", b"1")], end_stream=True)
        client.flush()
        assert await origin.receive_until(b"\r\n\r\n") == b"0\r\nsum: 1\r\n\r\n"
        origin.send(
            b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n"
        )
        origin.send(b"2\r\nok\r\n0\r\nsum: 2\r\n\r\n")
        await client.until(lambda: client.has_ended(stream))
        assert client.headers(stream) == [(b":status", b"200"), (b"x", b"y")]
        assert client.data(stream) == b"ok"
        trailers = [event for event in client.events if isinstance(event, h2.events.TrailersReceived)]
        assert list(trailers[0].headers) == [(b"sum", b"2")]
        interim = [e for e in client.events if isinstance(e, h2.events.InformationalResponseReceived)]
        assert list(interim[0].headers) == [(b":status", b"103"), (b"link", b"x")]
        assert proxy.requests[0].target == b"http://example.org/path"
        await proxy.until(lambda: not proxy.clients[0].streams)


async def test_responses_without_content_and_early_ones_are_forwarded() -> None:
    async with HTTP2Proxy(connect=to_protocol(H11Server)) as proxy, linked(proxy) as client:
        head = client.ask([(b":method", b"HEAD"), *GET[1:]], end_stream=True)
        get = client.ask(GET, end_stream=True)
        await client.until(lambda: client.has_ended(head) and client.has_ended(get))
        assert client.headers(head) == client.headers(get) == [(b":status", b"200"), (b"content-length", b"5")]
        assert (client.data(head), client.data(get)) == (b"", b"hello")
        await proxy.until(lambda: not proxy.clients[0].streams)


async def test_origin_that_fails_is_a_502_or_a_reset() -> None:
    async with (
        MemoryConnector() as origins,
        HTTP2Proxy(connect=to_connector(origins)) as proxy,
        linked(proxy) as client,
    ):
        origins.fail_next(OSError())
        one, two, three = (client.ask(GET, end_stream=True) for _ in range(3))
        first, second = await origins.accept(), await origins.accept()
        first.abort()
        await second.receive_until(b"\r\n\r\n")
        second.send(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab")
        second.close()
        await client.until(lambda: client.reset_code(three) is not None)
        await client.until(lambda: client.has_ended(one) and client.has_ended(two))
        assert (client.status(one), client.status(two), client.status(three)) == (b"502", b"502", b"200")
        stream = client.ask([(b":method", b"GET"), (b":scheme", b"https"), *GET[2:]], end_stream=True)
        await client.until(lambda: client.has_ended(stream))
        assert client.status(stream) == b"400"

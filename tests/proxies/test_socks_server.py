"""`SOCKSServer` by itself: every version and kind of address, authentication, scripted replies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from httpcore.testing import MemoryConnector, ScriptedPeer
from tests.content import blocks
from tests.proxies.clients import Echo, connected, dialed, echo_server, in_memory
from tests.proxies.script import HANG, Answer, Endless, Then, one_by_one
from tests.proxies.socks_server import SOCKSRequest, SOCKSServer, Step, reply4, reply5, socks_server
from tests.proxies.ways import to_connector, to_protocol

GREETING = b"\x05\x01\x00"
TO_NAME = b"\x05\x01\x00\x03\x0bexample.org\x01\xbb"
TO_NAME_4A = b"\x04\x01\x01\xbb\x00\x00\x00\x01me\x00example.org\x00"
AUTH_GREETING = b"\x05\x02\x00\x02"
CREDENTIALS = b"\x01\x04user\x05p\xc3\xa4ss"


def scripted(step: Step, answer: Answer | bytes | Callable[[bytes], Answer]) -> SOCKSServer:
    """A server that does as told at one step."""

    def script(at: Step, ordinary: bytes) -> Answer | bytes | None:
        if at != step:
            return None
        return answer(ordinary) if callable(answer) else answer

    return SOCKSServer(connect=to_protocol(Echo), answer=script)


@pytest.mark.parametrize("segment", [None, 1])
@pytest.mark.parametrize(
    ("address", "request_"),
    [
        (b"\x03\x0bexample.org\x01\xbb", SOCKSRequest("5", "example.org", 443, True, None, None)),
        (b"\x01\x7f\x00\x00\x01\x00\x50", SOCKSRequest("5", "127.0.0.1", 80, False, None, None)),
        (b"\x04" + bytes(15) + b"\x01\xff\xff", SOCKSRequest("5", "::1", 65535, False, None, None)),
    ],
)
async def test_socks5_tunnels_to_every_kind_of_address(
    address: bytes, request_: SOCKSRequest, segment: int | None
) -> None:
    async with (
        MemoryConnector() as origins,
        SOCKSServer(connect=to_connector(origins)) as server,
        in_memory(server.accept(), segment=segment) as client,
    ):
        client.send(GREETING)
        assert await client.receive(2) == b"\x05\x00"
        client.send(b"\x05\x01\x00" + address)
        assert await client.receive(10) == reply5() == b"\x05\x00\x00\x01" + bytes(6)
        client.send(b"to")
        origin = await origins.accept()
        assert await origin.receive(2) == b"to"
        origin.send(b"from")
        assert await client.receive(4) == b"from"
        assert origins.dials[0].origin[1:] == (request_.host, request_.port)
        assert server.requests == [request_]
        assert server.methods == [b"\x00"]
        assert server.received[0].heads == [GREETING, b"\x05\x01\x00" + address]
        assert server.received[0].tunnelled == b"to"
        assert server.tunnels == 1


@pytest.mark.parametrize("segment", [None, 1])
@pytest.mark.parametrize(
    ("message", "request_"),
    [
        (TO_NAME_4A, SOCKSRequest("4a", "example.org", 443, True, "me", None)),
        (b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00", SOCKSRequest("4", "127.0.0.1", 80, False, "", None)),
    ],
)
async def test_socks4_tunnels_to_names_and_addresses(
    message: bytes, request_: SOCKSRequest, segment: int | None
) -> None:
    async with (
        SOCKSServer(connect=to_protocol(Echo)) as server,
        in_memory(server.accept(), segment=segment) as client,
    ):
        client.send(message + b"echo")
        assert await client.receive(12) == reply4() + b"echo"
        assert reply4() == b"\x00\x5a" + bytes(6)
        assert server.requests == [request_]
        assert server.received[0].heads == [message]


async def test_user_and_password_are_required_and_checked() -> None:
    async with SOCKSServer(connect=to_protocol(Echo), auth=("user", "päs")) as server:
        async with in_memory(server.accept()) as client:
            client.send(GREETING)
            assert await client.receive_eof() == b"\x05\xff"
        for password, verdict in ((b"wrong", 1), ("päs".encode(), 0)):
            async with in_memory(server.accept()) as client:
                client.send(AUTH_GREETING)
                assert await client.receive(2) == b"\x05\x02"
                client.send(b"\x01\x04user" + bytes([len(password)]) + password + TO_NAME)
                assert await client.receive(2) == bytes([1, verdict])
                if verdict:
                    assert await client.receive_eof() == b""
                else:
                    assert await client.receive(10) == reply5()
        for user, reply in ((b"me", reply4(91)), (b"user", reply4())):
            async with in_memory(server.accept()) as client:
                client.send(TO_NAME_4A.replace(b"me", user))
                assert await client.receive(8) == reply
        assert server.methods == [b"\x00", b"\x00\x02", b"\x00\x02"]
        assert [(request.user, request.password) for request in server.requests] == [
            ("user", "päs"),
            ("me", None),
            ("user", None),
        ]


async def test_origin_that_cannot_be_reached_is_refused_with_the_reason() -> None:
    async with MemoryConnector() as origins, SOCKSServer(connect=to_connector(origins)) as server:
        for error, code in ((ConnectionRefusedError(), 5), (OSError(), 4)):
            origins.fail_next(error)
            async with in_memory(server.accept()) as client:
                client.send(GREETING + TO_NAME)
                assert await client.receive_eof() == b"\x05\x00" + reply5(code)
        origins.fail_next(OSError())
        async with in_memory(server.accept()) as client:
            client.send(TO_NAME_4A)
            assert await client.receive_eof() == reply4(91)


@pytest.mark.parametrize("message", [GREETING + b"\x05\x02" + TO_NAME[2:], b"\x04\x02" + TO_NAME_4A[2:]])
async def test_other_commands_than_connect_are_refused(message: bytes) -> None:
    async with SOCKSServer() as server, in_memory(server.accept()) as client:
        client.send(message)
        assert (await client.receive_eof()).endswith(reply4(91) if message[0] == 4 else reply5(7))


@pytest.mark.parametrize(
    "message",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        GREETING + b"\x04",
        GREETING + b"\x05\x01\x01\x03\x01a\x00\x50",
        GREETING + b"\x05\x01\x00\x02\x01a\x00\x50",
        GREETING + b"\x05\x01\x00\x03\x01\xff\x00\x50",
        TO_NAME_4A.replace(b"me", b"\xff"),
    ],
)
async def test_malformed_message_closes_the_connection(message: bytes) -> None:
    async with SOCKSServer() as server, in_memory(server.accept()) as client:
        client.send(message)
        assert await client.receive_eof() in (b"", b"\x05\x00")
        assert server.requests == []


@pytest.mark.parametrize("step", ["method", "auth", "reply"])
@pytest.mark.parametrize("then", [Then.EOF, Then.CLOSE, Then.RESET, Then.STAY])
@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("pieces", [True, False])
async def test_connection_ends_or_hangs_at_any_byte_of_any_step(
    step: Step, then: Then, count: int, pieces: bool
) -> None:
    def answer(ordinary: bytes) -> Answer:
        return Answer(one_by_one(ordinary[:count]) if pieces else ordinary[:count], then)

    async with scripted(step, answer) as server:
        server.auth = ("user", "päss")
        before = {"method": b"", "auth": b"\x05\x02", "reply": b"\x05\x02\x01\x00"}[step]
        ordinary = {"method": b"\x05\x02", "auth": b"\x01\x00", "reply": reply5()}[step]
        async with server.listening(None), dialed(server.port) as client:
            for message, reply in ((AUTH_GREETING, b"\x05\x02"), (CREDENTIALS, b"\x01\x00"), (TO_NAME, b"")):
                client.send(message)
                if client.received == before:
                    break
                await client.receive(len(reply))
            if then is Then.STAY:
                await client.receive(count)
            else:
                assert isinstance(await client.closed(), ConnectionResetError) == (then is Then.RESET)
            assert client.received == before + ordinary[:count]
        assert server.tunnels == 0


@pytest.mark.parametrize("code", [*range(1, 10), 0xFF])
async def test_scripted_replies_have_any_code(code: int) -> None:
    async with scripted("reply", Answer(reply5(code), Then.CLOSE)) as server, in_memory(server.accept()) as client:
        client.send(GREETING + TO_NAME)
        assert await client.receive_eof() == b"\x05\x00" + reply5(code)


@pytest.mark.parametrize(
    ("host", "reply"),
    [
        ("192.0.2.1", b"\x05\x00\x00\x01\xc0\x00\x02\x01\x01\xbb"),
        ("::1", b"\x05\x00\x00\x04" + bytes(15) + b"\x01\x01\xbb"),
        ("bound", b"\x05\x00\x00\x03\x05bound\x01\xbb"),
    ],
)
async def test_tunnel_opens_behind_a_reply_with_any_address_and_bytes_behind_it(host: str, reply: bytes) -> None:
    assert reply5(0, host, 443) == reply
    async with (
        scripted("reply", Answer(one_by_one(reply + b"behind"), Then.PROCEED)) as server,
        in_memory(server.accept()) as client,
    ):
        client.send(GREETING + TO_NAME + b"echo")
        expected = b"\x05\x00" + reply + b"behind" + b"echo"
        assert await client.receive(len(expected)) == expected


async def test_raw_bytes_in_place_of_a_step_leave_the_connection_open() -> None:
    # A method that was not offered; the client may send user and password all the same.
    async with scripted("method", b"\x05\x02") as server, in_memory(server.accept()) as client:
        client.send(GREETING)
        assert await client.receive(2) == b"\x05\x02"
        client.send(CREDENTIALS + TO_NAME)
        assert await client.receive(12) == b"\x01\x00" + reply5()
        assert server.requests == [SOCKSRequest("5", "example.org", 443, True, "user", "päss")]


async def test_reply_may_be_endless() -> None:
    async with scripted("reply", Answer(Endless(b"\x05", bytes(1000)))) as server, in_memory(server.accept()) as client:
        client.send(GREETING + TO_NAME)
        assert len(await client.receive(1_000_000)) == 1_000_000


@pytest.mark.parametrize("answer", [HANG, Answer(b"", Then.RESET), Answer(b"HTTP/1.1 400 No\r\n\r\n", Then.CLOSE)])
async def test_connection_ends_or_hangs_on_accept(answer: Answer) -> None:
    async with socks_server(on_accept=answer) as server, dialed(server.port) as client:
        if answer is HANG:
            client.send(GREETING)
            await server.until(lambda: bool(server.received) and server.received[0].received == GREETING)
        else:
            assert isinstance(await client.closed(), ConnectionResetError) == (answer.then is Then.RESET)
        assert client.received == answer.data
        assert server.methods == []


async def test_script_may_wait_and_the_client_go_meanwhile() -> None:
    asked = asyncio.Event()

    async def script(step: Step, ordinary: bytes) -> Answer | bytes | None:
        asked.set()
        await asyncio.Event().wait()
        return None

    async with SOCKSServer(answer=script) as server, in_memory(server.accept()) as client:
        client.send(GREETING)
        await asked.wait()
        client.close()
        await server.until(lambda: server.received[0].lost)


async def test_ten_megabytes_pass_both_ways() -> None:
    content = b"".join(blocks(10_000_000))
    async with echo_server() as origin, socks_server() as server, connected(server.port) as client:
        assert server.url == f"socks5h://127.0.0.1:{server.port}"
        assert await client.ask_exactly(GREETING, 2) == b"\x05\x00"
        to_origin = b"\x05\x01\x00\x01\x7f\x00\x00\x01" + origin.port.to_bytes(2)
        assert await client.ask_exactly(to_origin, 10) == reply5()
        assert await client.transfer(content) == content


async def test_end_of_a_tunnel_is_relayed() -> None:
    async with (
        MemoryConnector() as origins,
        SOCKSServer(connect=to_connector(origins)) as server,
        in_memory(server.accept()) as client,
    ):
        client.send(TO_NAME_4A)
        await client.receive(8)
        origin: ScriptedPeer = await origins.accept()
        client.send_eof()
        assert await origin.receive_eof() == b""
        origin.close()
        assert await client.receive_eof() == b""

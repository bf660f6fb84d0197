"""Who has the connection: dispatching on it, closing it, aborting it, and hearing of what becomes of it."""

from __future__ import annotations

import pytest

from httpcore.exceptions import LocalProtocolError, RemoteProtocolError, ResponseClosed, WriteError
from httpcore.protocols.states import ConnectionState
from httpcore.request import Request
from tests.protocols.recording import URL, Recorder, response

GET = Request("GET", URL)
HEAD = Request("HEAD", URL)
CL2, TE = b"Content-Length: 2", b"Transfer-Encoding: chunked"
CHUNKS = b"2\r\nok\r\n0\r\n\r\n"


async def test_close_while_idle_closes_at_once(client):
    client.protocol.close("no longer needed")
    assert client.protocol.closing
    assert client.protocol.available == 0
    client.protocol.close("again")
    await client.peer.closed()
    assert client.protocol.close_reason == "no longer needed"
    assert client.protocol.closed
    client.protocol.close("too late")


async def test_close_while_active_closes_after_the_response(client):
    recorder = client.dispatch()
    client.protocol.close("no longer needed")
    assert not client.protocol.closing
    client.peer.send(response(CL2, body=b"ok"))
    await recorder.end()
    assert recorder.names[-1] == "complete"
    await client.peer.closed()
    assert client.protocol.close_reason == "no longer needed"


async def test_abort_while_idle(client):
    client.protocol.abort(RemoteProtocolError("enough"))
    assert client.protocol.closing
    client.protocol.abort(RemoteProtocolError("again"))
    await client.peer.closed()
    client.protocol.abort(RemoteProtocolError("too late"))
    assert client.protocol.close_reason == "enough"


async def test_abort_while_active_fails_the_exchange(client):
    recorder = client.dispatch()
    error = RemoteProtocolError("enough")
    client.protocol.abort(error)
    assert recorder.error is error
    await client.peer.closed()


async def test_bytes_that_come_while_closing_are_dropped(connect):
    client = await connect(capacity=1000)
    client.peer.pause()
    recorder = await client.answer_early(Request("POST", URL, {"Connection": "close"}, bytes(50_000)))
    assert client.protocol.state == ConnectionState.CLOSING
    client.protocol.data_received(b"late")
    client.protocol.eof_received()
    assert recorder.names[-1] == "complete"


@pytest.mark.parametrize("fields", [{"Connection": "close"}, {}], ids=["close", "keep-alive"])
async def test_close_does_not_wait_for_ever_for_a_peer_that_takes_nothing(connect, clock, fields):
    client = await connect(capacity=1000)
    client.peer.pause()
    await client.answer_early(Request("POST", URL, fields, bytes(50_000)))
    client.protocol.close("no longer needed")
    began = clock.now
    await client.protocol.wait_closed()
    assert client.protocol.closed
    assert clock.now > began


async def test_close_gives_a_slow_peer_time_to_take_what_was_sent(connect):
    client = await connect(capacity=1000)
    client.peer.pause()
    await client.answer_early(Request("POST", URL, {"Connection": "close"}, bytes(50_000)))
    client.peer.resume()
    assert (await client.peer.receive_eof()).endswith(bytes(50_000))
    await client.protocol.wait_closed()


@pytest.mark.parametrize("request_", [GET, Request("POST", URL, body=b"content")], ids=["write", "writelines"])
async def test_transport_that_raises_when_written_to_fails_the_exchange(client, monkeypatch, request_):
    refusal = ValueError("no more")

    def refuse(*_: object) -> None:
        raise refusal

    monkeypatch.setattr(client.transport, "write", refuse)
    monkeypatch.setattr(client.transport, "writelines", refuse)
    recorder = client.dispatch(request_)
    assert isinstance(recorder.error, WriteError)
    assert recorder.error.__cause__ is refusal
    await client.protocol.wait_closed()


async def test_dispatch_on_a_busy_connection_is_refused_and_harms_nothing(client):
    recorder = client.dispatch()
    refused = Recorder()
    with pytest.raises(LocalProtocolError, match=r"can take no exchange: <HTTP11Protocol .* 1 in flight>"):
        client.protocol.dispatch(GET, refused, timeout=5)
    assert refused.names == []
    client.peer.send(response(CL2, body=b"ok"))
    await recorder.end()
    assert recorder.names[-1] == "complete"


async def test_dispatch_on_a_closing_transport_is_refused(client):
    client.transport.close()
    with pytest.raises(LocalProtocolError, match="can take no exchange"):
        client.protocol.dispatch(GET, Recorder())


async def test_next_exchange_may_start_in_the_callback_that_ends_the_last(cut_client):
    following: list[Recorder] = []

    def dispatch_next() -> None:
        if len(following) < 3:
            recorder = Recorder().on("complete", dispatch_next)
            following.append(recorder)
            cut_client.dispatch(None, recorder)

    dispatch_next()
    for _ in range(3):
        await cut_client.peer.receive_until(b"\r\n\r\n")
        cut_client.peer.send(response(CL2, body=b"ok"))
    for recorder in following:
        await recorder.end()
        assert recorder.body == b"ok"


async def test_owner_hears_of_the_end_before_the_handler(client):
    heard: list[tuple[str, int]] = []
    client.protocol.on_change = lambda protocol: heard.append(("owner", protocol.available))
    recorder = client.dispatch(None, Recorder().on("complete", lambda: heard.append(("handler", 1))))
    client.peer.send(response(CL2, body=b"ok"))
    await recorder.end()
    assert heard == [("owner", 1), ("handler", 1)]
    client.peer.close()
    await client.protocol.wait_closed()
    assert heard[2:] == [("owner", 0), ("owner", 0)]  # closing, closed


async def test_owner_may_abort_the_exchange_that_is_just_ending(client):
    recorder = client.dispatch()
    client.protocol.on_change = lambda protocol: recorder.exchange.abort()
    client.peer.send(response(CL2, body=b"ok"))
    await recorder.end()
    assert type(recorder.error) is ResponseClosed
    again = await client.answer(response(CL2, body=b"ok"))
    assert again.ended

"""Handlers that raise, or end their exchange, in one of their callbacks: their own stream ends and nothing else."""

from __future__ import annotations

import asyncio

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from httpcore.exceptions import ResponseClosed
from httpcore.request import PUSHED, Request
from tests.protocols.http2_script import HTTP2Client, shape
from tests.protocols.recording import URL, Recorder


@pytest.fixture
async def reported() -> list[dict[str, object]]:
    """What goes to the loop's exception handler."""
    contexts: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: contexts.append(context))
    return contexts


def raising(error: BaseException):
    def react() -> None:
        raise error

    return react


def everything(client: HTTP2Client, stream_id: int, body: bytes = b"content") -> None:
    """Sends an answer with all that there can be, and between its frames some of the connection's own."""
    peer = client.peer
    peer.ping(b"01234567")
    peer.respond(stream_id, 103, end_stream=False)
    peer.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 50})
    peer.respond(stream_id, 200, body=body, trailers=[("x-sum", "1")])
    peer.ping(b"76543210")


@pytest.mark.parametrize("error", [ValueError("from the handler"), asyncio.CancelledError("from the handler")])
@pytest.mark.parametrize("callback", ["informational", "response", "data"])
async def test_handler_that_raises_fails_its_own_stream_only(cut_http2, callback, error):
    other, _ = await cut_http2.ask()
    recorder, _ = await cut_http2.ask(None, Recorder().on(callback, raising(error)))
    everything(cut_http2, 3)
    await recorder.end()
    assert recorder.error is error
    assert recorder.names[-2:] == [callback, "failed"]
    for data in (b"01234567", b"76543210"):
        assert await cut_http2.peer.receive_ping_ack() == data
    await cut_http2.peer.receive_settings_ack()
    everything(cut_http2, 1)
    await other.end()
    assert other.names == ["started", "informational", "response", "data", "complete"]
    await cut_http2.still_works()


@pytest.mark.parametrize("callback", ["complete", "failed"])
async def test_handler_that_raises_at_the_end_is_reported_and_harms_nothing(cut_http2, reported, callback):
    error = ValueError("from the handler")
    other, _ = await cut_http2.ask()
    recorder, _ = await cut_http2.ask(None, Recorder().on(callback, raising(error)))
    if callback == "complete":
        everything(cut_http2, 3)
    else:
        cut_http2.peer.reset(3, ErrorCodes.INTERNAL_ERROR)
    await recorder.end()
    await cut_http2.settle()
    assert [context["exception"] for context in reported] == [error]
    cut_http2.peer.respond(1)
    await other.end()
    assert other.names[-1] == "complete"
    await cut_http2.still_works()


async def test_handler_that_raises_in_started_sends_nothing(http2):
    error = ValueError("from the handler")
    recorder = http2.dispatch(None, Recorder().on("started", raising(error)))
    assert recorder.error is error
    await http2.settle()
    assert shape(http2.peer) == []
    await http2.still_works()


@pytest.mark.parametrize("callback", ["pause_writing", "resume_writing"])
async def test_handler_that_raises_in_flow_control_fails_its_own_stream_only(http2, callback):
    error = ValueError("from the handler")
    http2.peer.auto_credit = False
    recorder, _ = await http2.ask(Request("POST", URL, body=PUSHED), Recorder().on(callback, raising(error)))
    recorder.exchange.write(bytes(200_000))
    if callback == "resume_writing":
        http2.peer.credit(200_000, 1)
        http2.peer.credit(200_000)
    await recorder.end()
    assert recorder.error is error
    assert await http2.peer.receive_reset(1) is ErrorCodes.CANCEL
    http2.peer.auto_credit = True
    await http2.still_works()


@pytest.mark.parametrize("callback", ["informational", "response", "data"])
async def test_abort_in_a_callback_cancels_the_stream_and_credits_the_rest(cut_http2, callback):
    recorder = Recorder()
    await cut_http2.ask(Request("POST", URL, body=PUSHED), recorder.on(callback, lambda: recorder.exchange.abort()))
    everything(cut_http2, 1, body=bytes(40_000))
    await recorder.end()
    assert type(recorder.error) is ResponseClosed
    assert recorder.names[-2:] == [callback, "failed"]
    assert await cut_http2.peer.receive_reset(1) is ErrorCodes.CANCEL
    await cut_http2.still_works()  # and no window has lost a byte, which is checked when the test ends


@pytest.mark.parametrize("callback", ["informational", "response", "data", "complete", "failed"])
async def test_next_request_from_within_a_callback(cut_http2, callback):
    recorder, again = Recorder(), Recorder()
    recorder.on(callback, lambda: again.names or cut_http2.dispatch(None, again))
    await cut_http2.ask(None, recorder)
    if callback == "failed":
        cut_http2.peer.reset(1)
    else:
        everything(cut_http2, 1)
    await recorder.end()
    assert (await cut_http2.peer.receive_request()).stream_id == 3
    cut_http2.peer.respond(3, body=b"ok")
    await again.end()
    assert again.names == ["started", "response", "data", "complete"]
    await cut_http2.still_works()


async def test_abort_of_another_exchange_in_a_callback(cut_http2):
    """Both have frames in the same piece of bytes."""
    victim, recorder = Recorder(), Recorder()
    await cut_http2.ask(None, recorder.on("data", lambda: victim.exchange.abort()))
    await cut_http2.ask(None, victim)
    for stream_id in (1, 3):
        cut_http2.peer.respond(stream_id, body=b"content", end_stream=False)
    for stream_id in (1, 3):
        cut_http2.peer.send_data(stream_id, b"more", end_stream=True)
    await recorder.end()
    assert recorder.body == b"contentmore"
    assert recorder.names[-1] == "complete"
    assert type(victim.error) is ResponseClosed
    assert await cut_http2.peer.receive_reset(3) is ErrorCodes.CANCEL
    await cut_http2.still_works()


async def test_capacity_is_there_before_the_handler_hears_of_the_end(http2):
    """Rule P4: the next request can use the place at once."""
    http2.peer.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 1})
    await http2.peer.receive_settings_ack()
    changes: list[int] = []
    http2.protocol.on_change = lambda protocol: changes.append(protocol.available)
    seen: list[tuple[list[int], int, int]] = []
    recorder = Recorder()
    recorder.on("complete", lambda: seen.append((list(changes), http2.protocol.available, http2.protocol.in_flight)))
    await http2.ask(None, recorder)
    assert http2.protocol.available == 0
    http2.peer.respond(1, body=b"ok")
    await recorder.end()
    assert seen == [([1], 1, 0)]

"""An HTTP/2 connection ends at every byte of what its server sends: each exchange ends once, as it stood."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from httpcore.exceptions import HTTPCoreError, ReadError, RemoteProtocolError, WriteError
from httpcore.request import PUSHED, Request
from tests.clock import turns
from tests.protocols.http2_wire import END_STREAM, FIRST, OK, WireClient, data, goaway, head, update, wire_client
from tests.protocols.recording import URL, Recorder

ANSWERED, HALF, UNANSWERED, UPLOADING, SLOW, EARLY = range(1, 13, 2)  # the streams, by what becomes of them
LENGTH = (b"content-length", b"6")

# What the server sends, as frames. HALF is never ended, UNANSWERED and UPLOADING hear nothing; EARLY is answered in
# part before its body was sent.
TRANSCRIPT = [
    FIRST,
    head(HALF, OK, LENGTH),
    head(ANSWERED, OK, LENGTH),
    data(HALF, b"half"),
    head(SLOW, OK),
    data(ANSWERED, b"ans"),
    data(SLOW, b"slow, "),
    head(EARLY, OK),
    data(ANSWERED, b"wer", END_STREAM),
    update(0, 1000),
    data(SLOW, b"held", END_STREAM),
    data(EARLY, b"early"),
]
BODIES = {ANSWERED: b"answer", HALF: b"half", SLOW: b"slow, held", EARLY: b"early", UNANSWERED: b"", UPLOADING: b""}


class Stood(NamedTuple):
    """What was known after some bytes of the transcript."""

    heads: frozenset[int]
    ended: frozenset[int]
    received: dict[int, bytes]


def stood(count: int) -> Stood:
    """Returns what whole frames among the first `count` bytes say."""
    heads, ended, received = set(), set(), dict.fromkeys(BODIES, b"")
    for item in TRANSCRIPT[1:]:
        count -= len(item)
        if count < len(FIRST):
            break
        kind, flags, stream_id = item[3], item[4], int.from_bytes(item[5:9])
        if kind == 1:
            heads.add(stream_id)
        elif kind == 0:
            received[stream_id] += item[9:]
            if flags & END_STREAM:
                ended.add(stream_id)
    return Stood(frozenset(heads), frozenset(ended), received)


async def ask_all(client: WireClient) -> dict[int, Recorder]:
    """Sends the six requests; nobody reads the response of SLOW, and two bodies are begun."""
    recorders = {}
    for stream_id in BODIES:
        recorder = recorders[stream_id] = Recorder()
        if stream_id == SLOW:
            recorder.on("response", lambda: recorders[SLOW].exchange.pause_reading())
    for stream_id in sorted(recorders):
        uploads = stream_id in (UPLOADING, EARLY)
        request = Request("POST", URL, body=PUSHED) if uploads else Request("GET", URL)
        client.dispatch(request, recorders[stream_id])
        assert recorders[stream_id].exchange.stream_id == stream_id
        if uploads:
            recorders[stream_id].exchange.write(b"some of it")
    await turns(2)
    return recorders


def check_failed(recorder: Recorder, error_types: type[HTTPCoreError]) -> None:
    error = recorder.error
    assert type(error) is error_types, error
    assert (error.request_sent, error.host) == (True, "example.org")
    assert error.phase is not None


@pytest.mark.parametrize("reset", [False, True], ids=["end", "reset"])
async def test_connection_that_ends_after_any_byte_ends_each_exchange_as_it_stood(clock, reset):
    sent = b"".join(TRANSCRIPT)
    assert stood(len(sent)) == Stood(frozenset({ANSWERED, HALF, SLOW, EARLY}), frozenset({ANSWERED, SLOW}), BODIES)
    for count in range(len(sent) + 1):
        async with wire_client(b"") as client:
            recorders = await ask_all(client)
            client.peer.send(sent[:count])
            await turns(4)
            if reset:
                client.peer.abort()
            else:
                client.peer.close()
            await client.protocol.wait_closed()
            known = stood(count)
            for stream_id, recorder in recorders.items():
                body = known.received[stream_id]
                if stream_id == SLOW and SLOW in known.heads:
                    assert (bytes(recorder.body), recorder.ended) == (b"", SLOW not in known.ended), count
                    recorder.exchange.resume_reading()
                    await turns(2)
                if stream_id in known.ended:
                    assert (recorder.names[-1], bytes(recorder.body)) == ("complete", BODIES[stream_id]), count
                    continue
                if stream_id == SLOW:  # what waited for its reader is no use without its end
                    body = b""
                sending = stream_id in (UPLOADING, EARLY)
                check_failed(recorder, RemoteProtocolError if not reset else WriteError if sending else ReadError)
                assert (bytes(recorder.body), "response" in recorder.names) == (body, stream_id in known.heads), count
            assert client.protocol.window.waiting == client.protocol.window._reserved == 0, count


@pytest.mark.parametrize("then", ["end", "go on"])
async def test_goaway_between_any_frames_fails_what_is_above_and_lets_the_rest_end(clock, then):
    for last in (0, *sorted(BODIES), 2**31 - 1):
        for cut in range(1, len(TRANSCRIPT) + 1):
            async with wire_client(b"") as client:
                recorders = await ask_all(client)
                before = b"".join(TRANSCRIPT[:cut])
                client.peer.send(before + goaway(last))
                await turns(4)
                known = stood(len(before))
                above = {stream_id for stream_id in recorders if stream_id > last}
                assert client.protocol.closing
                for stream_id in above - known.ended:
                    check_failed(recorders[stream_id], RemoteProtocolError)
                    assert "GOAWAY" in str(recorders[stream_id].error)
                for stream_id in recorders.keys() - above - known.ended:
                    assert not recorders[stream_id].ended
                # What it goes on to send for streams that it gave up is its own affair, and hurts nobody.
                if then == "go on":
                    client.peer.send(b"".join(TRANSCRIPT[cut:]))
                    await turns(4)
                    known = Stood(known.heads, known.ended | ({ANSWERED, SLOW} - above), known.received)
                client.peer.close()
                await client.protocol.wait_closed()
                for stream_id, recorder in recorders.items():
                    if stream_id == SLOW and "response" in recorder.names:
                        recorder.exchange.resume_reading()
                        await turns(2)
                    if stream_id in known.ended:
                        assert (recorder.names[-1], bytes(recorder.body)) == ("complete", BODIES[stream_id]), (
                            last,
                            cut,
                        )
                    else:
                        check_failed(recorder, RemoteProtocolError)
                        assert BODIES[stream_id].startswith(recorder.body)
                assert client.protocol.window.waiting == client.protocol.window._reserved == 0, (last, cut)

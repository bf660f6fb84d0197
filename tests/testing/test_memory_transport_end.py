"""The end of a link in memory, beside asyncio's own over TCP."""

from __future__ import annotations

import errno
import logging
import socket
import struct

import pytest

from httpcore.testing import MemoryTransport
from tests.testing.links import MORE_THAN_THE_KERNEL_TAKES, Recorder, turns


def reset(recorder: Recorder) -> None:
    if isinstance(recorder.transport, MemoryTransport):
        recorder.transport.reset()
    else:
        linger = struct.pack("ii", 1, 0)
        recorder.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        recorder.transport.abort()


async def test_close_sends_pending_data_before_connection_lost(linked):
    client, server = linked
    server.transport.pause_reading()
    client.transport.write(MORE_THAN_THE_KERNEL_TAKES)
    client.transport.close()
    assert client.transport.is_closing()
    assert not client.transport.is_reading()
    client.transport.write(b"still accepted")  # asyncio buffers it as long as the buffer is not empty
    await turns()
    assert client.events == ["made", "pause"]
    server.transport.resume_reading()
    await server.until("lost")
    await client.until("lost")
    assert server.received == MORE_THAN_THE_KERNEL_TAKES + b"still accepted"
    assert client.events == ["made", "pause", "resume", "lost"]
    assert client.error is server.error is None


async def test_closing_transport_receives_nothing_more(linked):
    client, server = linked
    server.transport.write(b"data")
    client.transport.close()
    await client.until("lost")
    assert client.events == ["made", "lost"]


async def test_write_after_close_goes_nowhere(linked, caplog):
    client, server = linked
    client.transport.close()
    client.transport.write(b"ignored")
    await server.until("lost")
    client.transport.write(b"ignored")
    with caplog.at_level(logging.WARNING, logger="asyncio"):
        for _ in range(2):
            client.transport.write(b"ignored")
        assert caplog.records == []
        for _ in range(5):
            client.transport.write(b"ignored")
        assert caplog.records
    assert server.events == ["made", "eof", "lost"]


async def test_abort_drops_pending_data_and_peer_sees_eof(linked):
    client, server = linked
    server.transport.pause_reading()
    client.transport.write(MORE_THAN_THE_KERNEL_TAKES)
    client.transport.abort()
    assert client.transport.get_write_buffer_size() == 0
    assert client.transport.is_closing()
    await client.until("lost")
    server.transport.resume_reading()
    await server.until("lost")
    assert 0 < len(server.received) < len(MORE_THAN_THE_KERNEL_TAKES)
    assert server.events == ["made", "data", "eof", "lost"]
    assert client.error is server.error is None


async def test_abort_while_closing_gives_up_the_pending_data(linked):
    client, server = linked
    server.transport.pause_reading()
    client.transport.write(MORE_THAN_THE_KERNEL_TAKES)
    client.transport.close()
    client.transport.abort()
    await client.until("lost")
    assert client.error is None
    assert client.events == ["made", "pause", "lost"]


@pytest.mark.parametrize("end", ["close", "abort"])
async def test_ending_with_unread_bytes_resets_the_peer(linked, end):
    client, server = linked
    client.transport.pause_reading()
    client.transport.write(b"data")
    server.transport.write(b"never read")
    await server.until("data")
    await turns()
    getattr(client.transport, end)()
    await client.until("lost")
    await server.until("lost")
    assert client.error is None
    assert server.events == ["made", "data", "lost"]
    assert isinstance(server.error, ConnectionResetError)
    assert str(server.error) == "[Errno 104] Connection reset by peer"


async def test_reset_lets_a_paused_peer_read_what_came_before_it(linked):
    client, server = linked
    server.transport.pause_reading()
    client.transport.write(b"data")
    await turns()
    reset(client)
    await client.until("lost")
    await turns()
    assert server.events == ["made"]
    server.transport.resume_reading()
    await server.until("lost")
    assert server.events == ["made", "data", "lost"]
    assert isinstance(server.error, ConnectionResetError)


async def test_reset_reaches_a_peer_with_pending_data_though_it_does_not_read(linked):
    client, server = linked
    server.transport.pause_reading()
    client.transport.pause_reading()
    server.transport.write(MORE_THAN_THE_KERNEL_TAKES)
    await turns()
    reset(client)
    await server.until("lost")
    assert isinstance(server.error, ConnectionResetError)
    assert server.transport.get_write_buffer_size() == 0


async def test_reset_of_a_peer_that_is_closing_with_pending_data_is_its_error(linked):
    client, server = linked
    client.transport.pause_reading()
    server.transport.write(MORE_THAN_THE_KERNEL_TAKES)
    server.transport.close()
    await turns()
    reset(client)
    await server.until("lost")
    assert server.events == ["made", "pause", "lost"]
    assert isinstance(server.error, ConnectionResetError)


async def test_write_after_an_unnoticed_reset_ends_with_the_reset(linked):
    client, server = linked
    server.transport.pause_reading()
    reset(client)
    await client.until("lost")
    await turns()
    server.transport.write(b"data")
    assert server.events == ["made"]
    assert server.transport.is_closing()
    await server.until("lost")
    assert isinstance(server.error, ConnectionResetError)


async def test_write_eof_after_an_unnoticed_reset_raises(linked):
    client, server = linked
    server.transport.pause_reading()
    reset(client)
    await client.until("lost")
    await turns()
    with pytest.raises(OSError, match="not connected") as caught:
        server.transport.write_eof()
    assert caught.value.errno == errno.ENOTCONN
    server.transport.abort()
    await server.until("lost")


async def test_second_write_to_a_peer_that_has_closed_is_a_broken_pipe(linked):
    client, server = linked
    server.on("eof", lambda: True)
    client.transport.close()
    await server.until("eof")
    server.transport.write(b"taken by the kernel")
    await turns()
    assert not server.transport.is_closing()
    server.transport.write(b"refused")
    await server.until("lost")
    assert server.events == ["made", "eof", "lost"]
    assert isinstance(server.error, BrokenPipeError)


async def test_reset_behind_eof_leaves_the_eof_readable(linked):
    client, server = linked
    server.transport.pause_reading()
    client.transport.write(b"data")
    client.transport.write_eof()
    await turns()
    reset(client)
    await client.until("lost")
    await turns()
    server.transport.resume_reading()
    await server.until("lost")
    assert server.events == ["made", "data", "eof", "lost"]
    assert server.error is None


async def test_reset_after_both_directions_ended_is_not_seen(linked):
    client, server = linked
    client.on("eof", lambda: True)
    server.on("eof", lambda: True)
    client.transport.write_eof()
    server.transport.write_eof()
    await client.until("eof")
    await server.until("eof")
    reset(client)
    await client.until("lost")
    await turns()
    server.transport.close()
    await server.until("lost")
    assert server.error is None


async def test_close_after_a_reset_that_nobody_noticed_is_clean(linked):
    client, server = linked
    server.transport.pause_reading()
    reset(client)
    await client.until("lost")
    server.transport.close()
    await server.until("lost")
    assert server.error is None

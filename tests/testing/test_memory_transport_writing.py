"""Writing to a transport in memory, beside asyncio's own over TCP."""

from __future__ import annotations

import struct

import pytest

from tests.testing.links import MORE_THAN_THE_KERNEL_TAKES, turns

# Writing and flow control


@pytest.mark.parametrize(
    "data", [b"data", bytearray(b"data"), memoryview(b"data"), memoryview(struct.pack("2H", 1, 2)).cast("H")]
)
async def test_write_takes_bytes_likes(linked, data):
    client, server = linked
    client.transport.write(data)
    await server.until_received(4)
    assert server.received == bytes(data)


@pytest.mark.parametrize("data", ["text", None, 1, [b"list"]])
async def test_write_of_anything_else_is_a_type_error(linked, data):
    client, _ = linked
    with pytest.raises(TypeError, match="bytes-like"):
        client.transport.write(data)


async def test_writelines_writes_all_and_empty_writes_nothing(linked):
    client, server = linked
    client.transport.write(b"")
    client.transport.writelines([b"one,", bytearray(b"two,"), b"", memoryview(b"three")])
    await server.until_received(13)
    assert server.received == b"one,two,three"


async def test_default_limits_are_64_and_16_kib(linked):
    client, _ = linked
    assert client.transport.get_write_buffer_limits() == (16 * 1024, 64 * 1024)
    assert client.transport.get_write_buffer_size() == 0


@pytest.mark.parametrize(
    ("limits", "low_and_high"),
    [
        ({"high": 400}, (100, 400)),
        ({"low": 100}, (100, 400)),
        ({"high": 300, "low": 200}, (200, 300)),
        ({"high": 0}, (0, 0)),
        ({}, (16 * 1024, 64 * 1024)),
    ],
)
async def test_limits_complete_each_other(linked, limits, low_and_high):
    client, _ = linked
    client.transport.set_write_buffer_limits(**limits)
    assert client.transport.get_write_buffer_limits() == low_and_high


@pytest.mark.parametrize("limits", [{"high": 1, "low": 2}, {"high": -1}, {"low": -1}])
async def test_impossible_limits_are_a_value_error(linked, limits):
    client, _ = linked
    with pytest.raises(ValueError, match="must be >= low"):
        client.transport.set_write_buffer_limits(**limits)


async def test_peer_that_does_not_read_pauses_writing_and_resumes_it(linked):
    client, server = linked
    server.transport.pause_reading()
    client.on("resume", lambda: sizes.append(client.transport.get_write_buffer_size()))
    sizes: list[int] = []
    client.transport.write(MORE_THAN_THE_KERNEL_TAKES)
    assert client.events == ["made", "pause"]
    assert client.transport.get_write_buffer_size() > 64 * 1024
    client.transport.write(b"more")
    await turns()
    assert client.events == ["made", "pause"]
    server.transport.resume_reading()
    await server.until_received(len(MORE_THAN_THE_KERNEL_TAKES) + 4)
    await client.until("resume")
    assert client.events == ["made", "pause", "resume"]
    assert sizes[0] <= 16 * 1024
    assert server.received == MORE_THAN_THE_KERNEL_TAKES + b"more"


async def test_writing_in_resume_writing_keeps_the_order(linked):
    client, server = linked
    client.on("resume", lambda: client.transport.write(b"last"))
    client.transport.write(MORE_THAN_THE_KERNEL_TAKES)
    await server.until_received(len(MORE_THAN_THE_KERNEL_TAKES) + 4)
    assert server.received == MORE_THAN_THE_KERNEL_TAKES + b"last"


async def test_lowering_the_limits_pauses_writing_at_once(linked):
    client, server = linked
    server.transport.pause_reading()
    client.transport.set_write_buffer_limits(high=len(MORE_THAN_THE_KERNEL_TAKES))
    client.transport.write(MORE_THAN_THE_KERNEL_TAKES)
    assert client.events == ["made"]
    client.transport.set_write_buffer_limits(high=0)
    assert client.events == ["made", "pause"]
    client.transport.set_write_buffer_limits(high=len(MORE_THAN_THE_KERNEL_TAKES))
    await turns()
    assert client.events == ["made", "pause"]


# The end of one direction


async def test_half_closed_link_still_carries_the_other_direction(linked):
    client, server = linked
    server.on("eof", lambda: True)
    assert client.transport.can_write_eof()
    client.transport.write(b"request")
    client.transport.write_eof()
    client.transport.write_eof()
    await server.until("eof")
    assert not server.transport.is_closing()
    server.transport.write(b"response")
    await client.until_received(8)
    server.transport.close()
    await client.until("lost")
    assert client.events == ["made", "data", "eof", "lost"]
    assert server.events == ["made", "data", "eof", "lost"]
    assert server.received == b"request"


async def test_eof_after_pending_data_comes_behind_it(linked):
    client, server = linked
    client.transport.write(MORE_THAN_THE_KERNEL_TAKES)
    client.transport.write_eof()
    await server.until("lost")
    assert server.received == MORE_THAN_THE_KERNEL_TAKES
    assert server.events == ["made", "data", "eof", "lost"]


async def test_write_after_write_eof_is_a_runtime_error(linked):
    client, _ = linked
    client.transport.write_eof()
    with pytest.raises(RuntimeError, match=r"Cannot call write\(\) after write_eof"):
        client.transport.write(b"data")


async def test_write_eof_after_close_does_nothing(linked):
    client, server = linked
    client.transport.close()
    client.transport.write_eof()
    await server.until("lost")
    client.transport.write_eof()
    assert client.events == ["made", "lost"]


async def test_falsy_eof_received_closes_after_sending_what_it_wrote(linked):
    client, server = linked
    server.on("eof", lambda: server.transport.write(b"goodbye"))
    client.on("eof", lambda: True)
    client.transport.write_eof()
    await client.until("eof")
    await server.until("lost")
    assert client.received == b"goodbye"
    assert server.events == ["made", "eof", "lost"]


async def test_resuming_after_eof_announces_eof_again(linked):
    client, server = linked
    server.on("eof", lambda: True)
    client.transport.write_eof()
    await server.until("eof")
    await turns()
    assert server.events == ["made", "eof"]
    assert server.transport.is_reading()
    server.transport.pause_reading()
    server.transport.resume_reading()
    await server.changes.wait_until(lambda: server.events == ["made", "eof", "eof"])

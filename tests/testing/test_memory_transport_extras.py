"""What a transport in memory has that asyncio's has not, or gets right where asyncio's does not."""

from __future__ import annotations

import asyncio
import gc

import pytest

from httpcore.testing import memory_link
from tests.testing.links import MORE_THAN_THE_KERNEL_TAKES, Recorder, turns


async def test_segment_delivers_in_pieces_each_in_a_turn_of_its_own():
    client, server = Recorder(), Recorder()
    turn = 0
    delivered: list[tuple[int, bytes]] = []
    server.on("data", lambda: delivered.append((turn, bytes(server.received[-1:]))))
    memory_link(client, server, segment=1)
    await client.until("made")
    client.transport.write(b"abc")
    client.transport.close()
    while "lost" not in server.events:
        turn += 1
        await asyncio.sleep(0)
    assert server.sizes == [1, 1, 1]
    assert [byte for _, byte in delivered] == [b"a", b"b", b"c"]
    assert len({turn for turn, _ in delivered}) == 3
    assert server.events == ["made", "data", "eof", "lost"]


async def test_segment_cuts_in_both_directions():
    client, server = Recorder(), Recorder()
    memory_link(client, server, segment=3)
    server.on("data", lambda: server.transport.write(b"12345"))
    await client.until("made")
    client.transport.write(b"abc")
    await client.until_received(5)
    assert client.sizes == [3, 2]
    client.transport.close()
    await server.until("lost")


async def test_capacity_bounds_what_the_link_takes_unread():
    client, server = Recorder(), Recorder()
    memory_link(client, server, capacity=10, segment=4)
    await server.until("made")
    server.transport.pause_reading()
    client.transport.write(b"0123456789abcdef")
    assert client.transport.get_write_buffer_size() == 6
    await turns()
    assert client.transport.get_write_buffer_size() == 6
    server.transport.resume_reading()
    await server.until_received(16)
    assert client.transport.get_write_buffer_size() == 0
    assert server.received == b"0123456789abcdef"
    client.transport.close()
    await server.until("lost")


async def test_caller_may_change_its_bytearray_after_write():
    client, server = Recorder(), Recorder()
    memory_link(client, server)
    await server.until("made")
    data = bytearray(MORE_THAN_THE_KERNEL_TAKES)
    client.transport.write(data)  # of which asyncio keeps a view, from Python 3.12 on
    data[:] = bytes(len(data))
    client.transport.close()
    await server.until("lost")
    assert server.received == MORE_THAN_THE_KERNEL_TAKES


async def test_writelines_after_the_end_goes_nowhere():
    client, server = Recorder(), Recorder()
    memory_link(client, server)
    await server.until("made")
    client.transport.close()
    await server.until("lost")
    client.transport.writelines([b"ignored"] * 2)  # where asyncio of Python 3.12 raises TypeError
    assert server.events == ["made", "eof", "lost"]


@pytest.mark.parametrize("limits", [{"capacity": 0}, {"segment": 0}])
async def test_link_without_room_is_a_value_error(limits):
    with pytest.raises(ValueError, match="at least 1"):
        memory_link(Recorder(), Recorder(), **limits)


@pytest.mark.parametrize("end", ["close", "abort"])
async def test_ending_in_resume_writing_loses_the_connection_once(end):
    client, server = Recorder(), Recorder()
    memory_link(client, server)
    await server.until("made")
    client.on("resume", lambda: getattr(client.transport, end)())
    client.transport.write(MORE_THAN_THE_KERNEL_TAKES)
    await client.until("lost")
    await server.until("lost")
    await turns()
    assert client.events == ["made", "pause", "resume", "lost"]


async def test_creator_of_a_link_may_say_more_of_it():
    client, server = Recorder(), Recorder()
    ends = memory_link(client, server, client_extra={"ssl_object": "ssl"}, server_extra={"peername": ("::1", 1)})
    assert ends[0].get_extra_info("ssl_object") == "ssl"
    assert ends[0].get_extra_info("peername") == ("127.0.0.1", 80)
    assert ends[0].get_extra_info("socket", "default") is None
    assert ends[1].get_extra_info("peername") == ("::1", 1)
    ends[0].close()
    await server.until("lost")


async def test_transport_shows_its_state():
    client, server = Recorder(), Recorder()
    transport, _ = memory_link(client, server, capacity=1, client_extra={"peername": "somewhere"})
    server.on("made", lambda: server.transport.pause_reading())
    await server.until("made")
    assert repr(transport) == "<MemoryTransport open peername='somewhere' bufsize=0>"
    transport.pause_reading()
    transport.write(b"abc")
    assert repr(transport) == "<MemoryTransport paused peername='somewhere' bufsize=2>"
    transport.close()
    assert repr(transport) == "<MemoryTransport closing peername='somewhere' bufsize=2>"
    assert not transport.is_closed()
    server.transport.resume_reading()
    await client.until("lost")
    assert repr(transport) == "<MemoryTransport closed peername='somewhere' bufsize=0>"
    assert transport.is_closed()
    await server.until("lost")


async def test_on_closed_is_called_after_connection_lost():
    client, server = Recorder(), Recorder()
    transport, _ = memory_link(client, server)
    transport.on_closed = lambda: client.events.append("closed")
    transport.close()
    await server.until("lost")
    assert client.events == ["made", "lost", "closed"]


def test_link_left_behind_by_its_loop_warns_and_nothing_else():
    client, server = Recorder(), Recorder()
    with asyncio.Runner() as runner:
        memory_link(client, server, loop=runner.get_loop())
        runner.run(server.until("made"))
    with pytest.warns(ResourceWarning, match="unclosed transport <MemoryTransport open") as warned:
        del client, server
        gc.collect()
    assert len(warned) == 2


def test_link_outside_of_a_loop_needs_to_be_given_one():
    with pytest.raises(RuntimeError, match="no running event loop"):
        memory_link(Recorder(), Recorder())

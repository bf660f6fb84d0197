"""A transport in memory behaves as asyncio's own over TCP: each test runs over both."""

from __future__ import annotations

import contextvars
import gc
import warnings

import pytest

from tests.testing.links import MORE_THAN_THE_KERNEL_TAKES, Recorder, turns

# The order of callbacks


async def test_whole_life_of_a_connection_calls_back_in_order(link):
    client, server = Recorder(), Recorder()
    server.on("made", lambda: server.transport.write(b"hello"))
    await link(client, server)
    await client.until_received(5)
    server.transport.close()
    await client.until("lost")
    await server.until("lost")
    assert client.events == ["made", "data", "eof", "lost"]
    assert server.events == ["made", "lost"]
    assert client.error is server.error is None


async def test_write_in_connection_made_reaches_a_peer_that_is_connected_later(link):
    client, server = Recorder(), Recorder()
    client.on("made", lambda: client.transport.write(b"early"))
    await link(client, server)
    await server.until_received(5)
    assert server.events == ["made", "data"]


@pytest.mark.parametrize("end", ["close", "abort"])
async def test_ending_calls_connection_lost_once_and_not_synchronously(linked, end):
    client, server = linked
    client.transport.write(b"data")
    getattr(client.transport, end)()
    client.transport.close()
    client.transport.abort()
    assert client.events == ["made"]
    await client.until("lost")
    await server.until("lost")
    await turns()
    assert client.events == ["made", "lost"]
    assert server.events == ["made", "data", "eof", "lost"]
    assert client.error is server.error is None


async def test_ending_before_connection_made_still_calls_both(link):
    client, server = Recorder(), Recorder()
    client.on("made", lambda: client.transport.close())
    await link(client, server)
    await client.until("lost")
    await server.until("eof")
    assert client.events == ["made", "lost"]


async def test_write_delivers_nothing_synchronously(linked):
    client, server = linked
    client.transport.write(b"data")
    assert server.events == ["made"]
    await server.until_received(4)


async def test_callbacks_run_in_the_context_of_the_connection_not_of_the_writer(link):
    variable = contextvars.ContextVar("variable", default="of the connection")
    seen = []
    client, server = Recorder(), Recorder()
    server.on("data", lambda: seen.append(variable.get()))
    server.on("eof", lambda: seen.append(variable.get()))
    await link(client, server)
    variable.set("of the writer")
    client.transport.write(b"data")
    await server.until("data")
    client.transport.close()
    await server.until("lost")
    assert seen == ["of the connection"] * 2


# Data and pausing


async def test_large_data_comes_whole_in_pieces_of_at_most_256_kib(linked):
    client, server = linked
    client.transport.write(MORE_THAN_THE_KERNEL_TAKES)
    await server.until_received(len(MORE_THAN_THE_KERNEL_TAKES))
    assert server.received == MORE_THAN_THE_KERNEL_TAKES
    assert max(server.sizes) <= 256 * 1024
    assert client.transport.get_write_buffer_size() == 0


async def test_both_directions_flow_at_the_same_time(linked):
    client, server = linked
    client.transport.write(MORE_THAN_THE_KERNEL_TAKES)
    server.transport.write(MORE_THAN_THE_KERNEL_TAKES)
    await server.until_received(len(MORE_THAN_THE_KERNEL_TAKES))
    await client.until_received(len(MORE_THAN_THE_KERNEL_TAKES))
    assert client.received == server.received == MORE_THAN_THE_KERNEL_TAKES


async def test_paused_reading_delivers_nothing_until_resumed(linked):
    client, server = linked
    server.transport.pause_reading()
    server.transport.pause_reading()
    assert not server.transport.is_reading()
    client.transport.write(b"data")
    client.transport.write_eof()
    await turns()
    assert server.events == ["made"]
    server.transport.resume_reading()
    server.transport.resume_reading()
    assert server.transport.is_reading()
    assert server.events == ["made"]
    await server.until("lost")
    assert server.events == ["made", "data", "eof", "lost"]


async def test_pausing_in_connection_made_holds_back_the_first_byte(link):
    client, server = Recorder(), Recorder()
    server.on("made", lambda: server.transport.pause_reading())
    client.on("made", lambda: client.transport.write(b"data"))
    await link(client, server)
    await turns()
    assert server.events == ["made"]
    server.transport.resume_reading()
    await server.until_received(4)


async def test_pausing_in_data_received_holds_back_the_rest(linked):
    client, server = linked
    server.on("data", lambda: server.transport.pause_reading())
    client.transport.write(MORE_THAN_THE_KERNEL_TAKES)
    await server.until("data")
    await turns()
    assert len(server.sizes) == 1
    del server.reactions["data"]
    server.transport.resume_reading()
    await server.until_received(len(MORE_THAN_THE_KERNEL_TAKES))


async def test_pausing_when_data_is_about_to_be_delivered_stops_it(linked):
    client, server = linked
    client.on("data", lambda: server.transport.pause_reading())
    server.transport.write(b"a")
    client.transport.write(b"b")
    await client.until("data")
    already = len(server.received)
    client.transport.write(b"c")
    await turns()
    assert len(server.received) == already


async def test_pausing_and_resuming_after_the_end_does_nothing(linked):
    client, server = linked
    client.transport.pause_reading()
    client.transport.close()
    client.transport.resume_reading()
    assert not client.transport.is_reading()
    await client.until("lost")
    client.transport.resume_reading()
    client.transport.pause_reading()
    assert not client.transport.is_reading()
    await server.until("lost")


async def test_new_protocol_set_in_data_received_gets_what_follows(linked):
    client, server = linked
    second = Recorder()
    server.on("data", lambda: server.transport.set_protocol(second))
    assert server.transport.get_protocol() is server
    client.transport.write(b"one")
    await server.until("data")
    assert server.transport.get_protocol() is second
    second.events.append("set")
    client.transport.write(b"two")
    await second.until_received(3)
    client.transport.close()
    await second.until("lost")
    assert server.events == ["made", "data"]
    assert second.events == ["set", "data", "eof", "lost"]
    assert second.received == b"two"


# Facts and leaks


async def test_extra_info_names_both_ends(linked):
    client, server = linked
    assert client.transport.get_extra_info("peername") == server.transport.get_extra_info("sockname")
    assert client.transport.get_extra_info("sockname") == server.transport.get_extra_info("peername")
    assert client.transport.get_extra_info("peername")[0] == "127.0.0.1"
    assert client.transport.get_extra_info("unknown", "default") == "default"


async def test_transport_lets_go_of_its_protocol_in_the_end(linked):
    client, server = linked
    client.transport.close()
    await client.until("lost")
    await server.until("lost")
    await turns()
    assert client.transport.get_protocol() is None


async def test_lost_transport_warns_and_ends_the_link(link_protocols):
    client, server = Recorder(), Recorder()
    await link_protocols(client, server)
    client.transport.pause_reading()  # the loop holds a transport that reads
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del client
        gc.collect()
    assert any(str(warning.message).startswith("unclosed transport <") for warning in caught)
    await server.until("lost")
    assert server.events == ["made", "eof", "lost"]

"""Exceptions in a protocol's callbacks, on a transport in memory and on asyncio's own over TCP."""

from __future__ import annotations

import asyncio

import pytest

from tests.testing.links import MORE_THAN_THE_KERNEL_TAKES, Recorder, link_in_memory, link_over_tcp


@pytest.mark.parametrize("callback", ["data", "eof"])
async def test_exception_while_receiving_is_reported_and_ends_the_link(linked, reported, callback):
    client, server = linked
    error = ValueError("a bug")
    server.on(callback, lambda: throw(error))
    client.transport.write(b"data")
    await server.until("data")
    client.transport.write_eof()
    await server.until("lost")
    transport = server.transport
    assert server.error is error
    assert reported == [
        {
            "message": f"Fatal error: protocol.{callback}_received() call failed.",
            "exception": error,
            "transport": transport,
            "protocol": server,
        }
    ]


async def test_os_error_while_receiving_ends_the_link_unreported(linked, reported):
    client, server = linked
    error = OSError("perhaps of a file it writes to")
    server.on("data", lambda: throw(error))
    client.transport.write(b"data")
    await server.until("lost")
    assert server.error is error
    assert reported == []


async def test_exception_in_connection_made_leaves_the_link_open(link, reported):
    client, server = Recorder(), Recorder()
    error = ValueError("a bug")
    server.on("made", lambda: throw(error))
    await link(client, server)
    client.transport.write(b"data")
    await server.until_received(4)
    assert [context["exception"] for context in reported] == [error]


@pytest.mark.parametrize("pending", [b"", MORE_THAN_THE_KERNEL_TAKES])
async def test_exception_in_connection_lost_does_not_keep_the_link_open(linked, reported, pending):
    client, server = linked
    error = ValueError("a bug")
    client.on("lost", lambda: throw(error))
    client.transport.write(pending)
    client.transport.close()
    await server.until("lost")
    assert server.error is None
    assert [context["exception"] for context in reported] == [error]


@pytest.mark.parametrize("callback", ["pause", "resume"])
async def test_exception_in_flow_control_is_only_reported(linked, reported, callback):
    client, server = linked
    error = ValueError("a bug")
    client.on(callback, lambda: throw(error))
    client.transport.write(MORE_THAN_THE_KERNEL_TAKES)
    await server.until_received(len(MORE_THAN_THE_KERNEL_TAKES))
    await client.until("resume")
    assert reported == [
        {
            "message": f"protocol.{callback}_writing() failed",
            "exception": error,
            "transport": client.transport,
            "protocol": client,
        }
    ]


@pytest.mark.parametrize(
    "link_protocols",
    [
        pytest.param(link_in_memory, id="memory"),
        pytest.param(
            link_over_tcp, id="tcp", marks=pytest.mark.asyncio_only("uvloop's transports report it and go on")
        ),
    ],
)
@pytest.mark.parametrize("callback", ["data", "pause"])
def test_system_exit_in_a_callback_leaves_the_loop(link_protocols, callback):
    client, server = Recorder(), Recorder()
    client.on("pause", lambda: throw(SystemExit()) if callback == "pause" else None)
    server.on("data", lambda: throw(SystemExit()) if callback == "data" else None)

    async def write() -> None:
        await link_protocols(client, server)
        client.transport.write(MORE_THAN_THE_KERNEL_TAKES)
        await server.until_received(len(MORE_THAN_THE_KERNEL_TAKES))

    async def end() -> None:
        client.transport.abort()
        server.transport.abort()
        await client.until("lost")
        await server.until("lost")

    with asyncio.Runner() as runner:
        with pytest.raises(SystemExit):
            runner.run(write())
        client.reactions.clear()
        server.reactions.clear()
        runner.run(end())


def throw(error: BaseException) -> None:
    raise error

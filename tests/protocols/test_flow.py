"""ReadGate and WriteGate, on a link in memory."""

from __future__ import annotations

import asyncio

import pytest

from httpcore.protocols.flow import ReadGate, WriteGate
from httpcore.testing import ScriptedPeer, memory_link


@pytest.fixture
async def ends():
    one, other = ScriptedPeer(), ScriptedPeer()
    memory_link(one, other, capacity=1000)
    await asyncio.sleep(0)
    yield one, other
    for end in (one, other):
        end.transport.abort()
    for end in (one, other):
        await end.closed()


async def test_read_gate_calls_the_transport_only_on_a_change(ends):
    transport = ends[0].transport
    gate = ReadGate(transport)
    gate.pause()
    gate.pause()
    assert gate.paused
    assert not transport.is_reading()
    gate.resume()
    gate.resume()
    assert not gate.paused
    assert transport.is_reading()


async def test_read_gate_of_a_closing_transport_leaves_it_alone(ends):
    transport = ends[0].transport
    gate = ReadGate(transport)
    gate.pause()
    transport.close()
    gate.resume()
    assert not gate.paused
    gate.pause()
    assert not gate.paused
    assert not transport.is_reading()


async def test_write_gate_sees_whether_the_peer_takes_anything(ends):
    one, other = ends
    gate = WriteGate(one.transport)
    assert not gate.paused
    other.pause()
    one.transport.set_write_buffer_limits(high=100)
    one.send(bytes(5000))
    gate.pause()
    assert gate.paused
    assert not gate.made_progress()
    assert not gate.made_progress()
    other.resume()
    await other.receive(2000)
    assert gate.made_progress()
    gate.resume()
    assert not gate.paused

"""The tables: every pair of a state and an event either moves on as said here, or is a bug of ours."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from httpcore.protocols.states import (
    CONNECTION,
    RECEIVE,
    SEND,
    ConnectionEvent,
    ConnectionState,
    ReceiveEvent,
    ReceiveState,
    SendEvent,
    SendState,
)

# state event next, as DESIGN 5 draws it
SEND_ARROWS = """
IDLE               SEND_HEAD      SENDING_HEAD
SENDING_HEAD       AWAIT_CONTINUE AWAITING_CONTINUE
SENDING_HEAD       SEND_BODY      SENDING_BODY
SENDING_HEAD       END            DONE
AWAITING_CONTINUE  SEND_BODY      SENDING_BODY
SENDING_BODY       END            DONE
IDLE               FAIL           FAILED
SENDING_HEAD       FAIL           FAILED
AWAITING_CONTINUE  FAIL           FAILED
SENDING_BODY       FAIL           FAILED
DONE               FAIL           DONE
"""
RECEIVE_ARROWS = """
AWAITING_HEAD   HEAD  RECEIVING_BODY
RECEIVING_BODY  END   DONE
AWAITING_HEAD   FAIL  FAILED
RECEIVING_BODY  FAIL  FAILED
"""
CONNECTION_ARROWS = """
IDLE      START    ACTIVE
ACTIVE    REUSE    IDLE
ACTIVE    UPGRADE  UPGRADED
IDLE      CLOSE    CLOSING
ACTIVE    CLOSE    CLOSING
IDLE      LOST     CLOSED
ACTIVE    LOST     CLOSED
UPGRADED  LOST     CLOSED
CLOSING   LOST     CLOSED
"""
MACHINES: dict[str, tuple[Any, Any, Any, str]] = {
    "send": (SEND, SendState, SendEvent, SEND_ARROWS),
    "receive": (RECEIVE, ReceiveState, ReceiveEvent, RECEIVE_ARROWS),
    "connection": (CONNECTION, ConnectionState, ConnectionEvent, CONNECTION_ARROWS),
}
PAIRS = [
    pytest.param(name, state, event, id=f"{name}-{state.name}-{event.name}")
    for name, (_, states, events, _) in MACHINES.items()
    for state, event in itertools.product(states, events)
]


@pytest.mark.parametrize(("machine", "state", "event"), PAIRS)
def test_every_pair_moves_as_drawn_or_is_a_bug(machine, state, event):
    table, states, _, arrows = MACHINES[machine]
    expected = {tuple(line.split()[:2]): line.split()[2] for line in arrows.strip().splitlines()}
    following = expected.get((state.name, event.name))
    if following is None:
        with pytest.raises(RuntimeError, match=rf"httpcore bug: .*{event.name}.* in .*{state.name}"):
            table[state, event]
        with pytest.raises(RuntimeError, match=rf"httpcore bug: .*{event.name}.* in .*{state.name}"):
            table.on(event)[state]
    else:
        assert table[state, event] is states[following]
        assert table.on(event)[state] is states[following]


@pytest.mark.parametrize("machine", MACHINES)
def test_every_state_is_reached_from_the_first(machine):
    table, states, _, _ = MACHINES[machine]
    reached = {states(0)}
    while more := {after for (before, _), after in table.items() if before in reached} - reached:
        reached |= more
    assert reached == set(states)

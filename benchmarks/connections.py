"""What a connection takes of memory: one that is idle, and one with a response under way, at thousands of each."""

from __future__ import annotations

import resource
import statistics
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.measure import CLIENTS, run_client
from benchmarks.peers import PEERS

__all__ = ["CONNECTIONS", "WHO", "connections_table", "measure_connections"]

CONNECTIONS: Final = 5000
WHO: Final = ("httpcore", "httpcore-fast", "httpcore-fast-uvloop", "aiohttp", "aiohttp-uvloop", "bare", "bare-uvloop")
STATES: Final = {"idle": "/held/head", "active": "/held/body"}
"""What is asked for: the answers are held until all have asked, at their beginning or in the middle."""

_SPARE: Final = 200  # descriptors that a process needs besides

Found = Mapping[tuple[str, str], Sequence[float]]
"""Bytes for each connection, by the peer's key and the state."""


def _possible(count: int) -> int:
    """Returns how many connections the limit of open files allows, at most `count`; says so where they are fewer."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY or most >= count + _SPARE:
        return count
    print(f"benchmarks: `ulimit -Hn` is {most}; for {count} connections it has to be {count + _SPARE}", file=sys.stderr)
    return most - _SPARE


def measure_connections(
    who: Sequence[str], count: int, rounds: int, origin: str, core: int | None
) -> tuple[int, Found]:
    """Returns how many connections there were, and what each took.

    Args:
        who: keys of peers.
        count: how many connections.
        rounds: how often each is measured.
        origin: the beginning of the URLs of the server of fixed bytes.
        core: where the clients run.
    """
    count = _possible(count)
    found: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    peers = [peer for peer in PEERS if peer.key in who]
    for _ in range(rounds):
        for state, path in STATES.items():
            for peer in peers:
                command: list[str | Path] = [peer.python, CLIENTS / "harness_connections.py", peer.module]
                command += [origin, path, str(count), peer.loop]
                figures = run_client(command, f"{peer.name} with {count} connections", core)
                found[peer.key, state].append(figures["bytes"] / count)
    return count, found


def connections_table(count: int, found: Found) -> str:
    """Returns the Markdown table."""
    lines = [
        f"| KiB of memory for each of {count:,} | idle, median (min–max) | active, median (min–max) |",
        "|---|---:|---:|",
    ]
    for peer in PEERS:
        if (peer.key, "idle") in found:
            cells = [_cell(found[peer.key, state]) for state in STATES]
            lines.append(f"| {peer.name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(values: Sequence[float]) -> str:
    kib = [value / 1024 for value in values]
    return f"{statistics.median(kib):.1f} ({min(kib):.1f}–{max(kib):.1f})"

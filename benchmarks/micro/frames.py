"""Counts what a request, or a piece of a body, makes Python do: frames entered, and tasks, timers and locks made."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import httpcore
from benchmarks.micro.work import WORK, Pool, Work, open_pool

__all__ = ["Counts", "count_frames", "frames_by_function"]

_PACKAGE: Final = str(Path(httpcore.__file__).parent)
_NOT_COUNTED: Final = (str(Path(_PACKAGE) / "testing"), str(Path(__file__).parent))
_TIMES: Final = 50

_MAKES: Final[dict[CodeType, str]] = {
    asyncio.BaseEventLoop.create_task.__code__: "tasks",
    asyncio.BaseEventLoop.call_at.__code__: "timers",  # call_later comes here too
    **{
        kind.__init__.__code__: "locks"
        for kind in (asyncio.Lock, asyncio.Event, asyncio.Condition, asyncio.Semaphore, asyncio.Queue, asyncio.Timeout)
    },
}

Counts = dict[str, float]
"""For each request or piece: `ours`, frames of httpcore's own; `all`, with those of what it uses, also the loop's; and
how many `tasks`, `timers`, `locks` (with events, queues and the like) and `generators` (async ones) were made."""


def _profile(work: Work, codec: str) -> tuple[Counter[CodeType], int]:
    """Returns how often each function was entered while the work was done `_TIMES` times, and the async generators."""
    entered: Counter[CodeType] = Counter()
    generators = 0

    def see(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            entered[frame.f_code] += 1

    def see_generator(generator: Any) -> None:
        nonlocal generators
        generators += 1

    async def several(pool: Pool) -> None:
        for _ in range(_TIMES):
            await work(pool)

    async def main() -> None:
        async with open_pool(codec) as pool:
            await several(pool)  # a connection is open then, and caches are full
            hooks = sys.get_asyncgen_hooks()
            sys.set_asyncgen_hooks(firstiter=see_generator)
            sys.setprofile(see)
            await several(pool)
            sys.setprofile(None)
            sys.set_asyncgen_hooks(*hooks)

    gc.disable()
    try:
        asyncio.run(main())
    finally:
        gc.enable()
    return entered, generators


def count_frames(name: str, codec: str) -> Counts:
    """Returns the figures of a piece of `WORK`. A coroutine that is resumed is entered once more, as its frame is."""
    work, pieces = WORK[name]
    entered, generators = _profile(work, codec)
    counted = {code: number for code, number in entered.items() if not code.co_filename.startswith(_NOT_COUNTED)}
    totals = Counter({"all": sum(counted.values()), "generators": generators})
    for code, number in counted.items():
        if code.co_filename.startswith(_PACKAGE):
            totals["ours"] += number
        elif code in _MAKES:
            totals[_MAKES[code]] += number
    kinds = ("ours", "all", "tasks", "timers", "locks", "generators")
    return {kind: round(totals[kind] / (_TIMES * pieces), 2) for kind in kinds}


def frames_by_function(name: str, codec: str) -> list[tuple[float, str]]:
    """Returns how often each function is entered for each request or piece, the most often first."""
    work, pieces = WORK[name]
    entered, _ = _profile(work, codec)
    units = _TIMES * pieces
    found = [(number / units, f"{Path(code.co_filename).name}: {code.co_qualname}") for code, number in entered.items()]
    return sorted((pair for pair in found if pair[0] >= 0.01), reverse=True)

"""Tests that run on every event loop there is."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine

import pytest
import uvloop

__all__ = ["on_every_loop"]

_FACTORIES = {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}


async def _whole(test: Coroutine[object, object, None]) -> None:
    """Runs a test, after which no task may be left; and nothing may have been reported to the loop."""
    loop = asyncio.get_running_loop()
    reported: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _loop, context: reported.append(context))
    await test
    for _ in range(200):
        if len(asyncio.all_tasks()) == 1:
            break
        await asyncio.sleep(0.01)
    else:
        raise AssertionError(f"the test left {asyncio.all_tasks()!r}")
    if reported:
        raise AssertionError(f"the loop was told of {reported!r}")


def on_every_loop(test: Callable[..., Coroutine[object, object, None]]) -> Callable[..., None]:
    """Decorates a coroutine function."""

    @functools.wraps(test)
    def wrapper(*, loop_factory: Callable[[], asyncio.AbstractEventLoop], **fixtures: object) -> None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(_whole(test(**fixtures)))

    signature = inspect.signature(test)
    more = inspect.Parameter("loop_factory", inspect.Parameter.KEYWORD_ONLY)
    wrapper.__signature__ = signature.replace(parameters=[*signature.parameters.values(), more])  # type: ignore[attr-defined]
    decorated: Callable[..., None] = pytest.mark.parametrize("loop_factory", _FACTORIES.values(), ids=_FACTORIES)(
        wrapper
    )
    return decorated

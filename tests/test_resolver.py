"""Resolution and CachingResolver: what an answer is, how long it is remembered, and one look-up for all who wait."""

from __future__ import annotations

import asyncio
import gc
import math
import socket
import weakref
from collections.abc import Awaitable, Callable, Sequence

import pytest

from httpcore import CachingResolver, ConnectError, Resolution
from tests.clock import Clock, clock, turns

__all__ = ["clock"]

A, B = "192.0.2.1", "192.0.2.2"


class Names:
    """A resolver that is told what to answer, and when."""

    def __init__(self, answer: Resolution | Sequence[str] | Exception = (A,), *, held: bool = False) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self.cancelled = 0
        self.released = asyncio.Event()
        if not held:
            self.released.set()

    async def __call__(self, host: str) -> Resolution | Sequence[str]:
        self.asked.append(host)
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


# Resolution


@pytest.mark.parametrize(
    "answer, expected",
    [
        ([A], Resolution((A,))),
        ((A, B), Resolution((A, B))),
        ([A, B, A], Resolution((A, B))),
        ([], Resolution(())),
        (Resolution((A,), 5), Resolution((A,), 5)),
        (Resolution((A,), 0), Resolution((A,), 0)),
        (Resolution((A,), math.inf), Resolution((A,), math.inf)),
        (["::1", "0:0::1", "FE80::1%eth0"], Resolution(("::1", "fe80::1%eth0"))),
    ],
)
def test_answer_of_a_resolver_is_made_a_resolution(answer: Resolution | Sequence[str], expected: Resolution) -> None:
    assert Resolution.of(answer) == expected


@pytest.mark.parametrize(
    "answer, error, text",
    [
        ("192.0.2.1", TypeError, "a Resolution or a sequence of str, not str"),
        (b"192.0.2.1", TypeError, "a sequence of str, not bytes"),
        (None, TypeError, "a sequence of str, not NoneType"),
        ({A: B}, TypeError, "a sequence of str, not dict"),
        (Resolution("192.0.2.1"), TypeError, "a sequence of str, not str"),  # type: ignore[arg-type]
        ([1], TypeError, "addresses as str, not int"),
        ([b"\x7f\0\0\1"], TypeError, "addresses as str, not bytes"),
        (["example.org"], ValueError, "the resolver's answer 'example.org' is no IP address"),
        (["127.1"], ValueError, "'127.1' is no IP address"),
        (["[::1]"], ValueError, "is no IP address"),
        (["192.0.2.1\n"], ValueError, r"the resolver's answer '192\.0\.2\.1\\n' is no IP address"),
        (["x" * 500], ValueError, r"answer 'x{120}'\.\.\. is no"),
        (Resolution((A,), -1), ValueError, "ttl must not be below zero, and is -1"),
        (Resolution((A,), math.nan), ValueError, "ttl must not be below zero, and is nan"),
        (Resolution((A,), "5"), TypeError, "ttl takes seconds or None, not str"),  # type: ignore[arg-type]
        (Resolution((A,), True), TypeError, "ttl takes seconds or None, not bool"),
    ],
)
def test_answer_that_is_none_is_refused(answer: Sequence[str], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        Resolution.of(answer)


# CachingResolver: its arguments


@pytest.mark.parametrize(
    "make, error, text",
    [
        (lambda: CachingResolver("1.1.1.1"), TypeError, "resolver takes a function, not str"),  # type: ignore[arg-type]
        (lambda: CachingResolver(ttl="1"), TypeError, "ttl takes seconds or None, not str"),  # type: ignore[arg-type]
        (lambda: CachingResolver(ttl=-0.5), ValueError, "ttl must not be below zero, and is -0.5"),
        (lambda: CachingResolver(max_size=1.5), TypeError, "max_size takes a whole number"),  # type: ignore[arg-type]
        (lambda: CachingResolver(max_size=True), TypeError, "max_size takes a whole number, not bool"),
        (lambda: CachingResolver(max_size=0), ValueError, "max_size must be at least 1, not 0"),
    ],
)
def test_argument_that_makes_no_sense_is_refused(make: Callable[[], object], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()


# How long


async def test_answer_is_remembered_for_ten_seconds_where_nothing_is_said(clock: Clock) -> None:
    names = Names((A, B))
    cache = CachingResolver(names)
    assert await cache("a") == Resolution((A, B))
    await clock.advance(9.5)
    assert await cache("a") == Resolution((A, B), 0.5)
    assert names.asked == ["a"]
    await clock.advance(0.5)
    names.answer = [B]
    assert await cache("a") == Resolution((B,))
    assert names.asked == ["a", "a"]


@pytest.mark.parametrize("own", [0, 1, None])
@pytest.mark.parametrize("said", [3, 100.5])
async def test_ttl_of_the_answer_goes_before_ones_own(own: float | None, said: float, clock: Clock) -> None:
    names = Names(Resolution((A,), said))
    cache = CachingResolver(names, ttl=own)
    assert await cache("a") == Resolution((A,), said)
    await clock.advance(said - 1)
    assert (await cache("a")).ttl == pytest.approx(1)
    assert names.asked == ["a"]
    await clock.advance(1.001)
    await cache("a")
    assert names.asked == ["a", "a"]


@pytest.mark.parametrize("answer, own", [(Resolution((A,), 0), 10), ((A,), 0), (Resolution((A,), 0), None)])
async def test_ttl_of_zero_is_not_remembered(answer: Sequence[str], own: float | None) -> None:
    names = Names(answer)
    cache = CachingResolver(names, ttl=own)
    await cache("a")
    await cache("a")
    assert names.asked == ["a", "a"]


async def test_ttl_of_none_remembers_for_ever(clock: Clock) -> None:
    names = Names()
    cache = CachingResolver(names, ttl=None)
    await cache("a")
    await clock.advance(1e9)
    assert await cache("a") == Resolution((A,), math.inf)
    assert names.asked == ["a"]


async def test_failure_is_not_remembered() -> None:
    names = Names(socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    cache = CachingResolver(names)
    with pytest.raises(socket.gaierror):
        await cache("a")
    names.answer = (A,)
    assert (await cache("a")).addresses == (A,)
    assert names.asked == ["a", "a"]


async def test_answer_without_an_address_is_not_remembered() -> None:
    names = Names(())
    cache = CachingResolver(names)
    assert await cache("a") == Resolution(())
    names.answer = (A,)
    assert await cache("a") == Resolution((A,))


async def test_answer_that_is_none_is_an_error_and_not_remembered() -> None:
    names = Names(["localhost"])
    cache = CachingResolver(names)
    for _ in range(2):
        with pytest.raises(ValueError, match="'localhost' is no IP address"):
            await cache("a")
    assert names.asked == ["a", "a"]


async def test_cleared_answers_are_asked_for_again() -> None:
    names = Names()
    cache = CachingResolver(names)
    await cache("a")
    cache.clear()
    await cache("a")
    assert names.asked == ["a", "a"]


# How many


async def test_answer_unused_for_longest_is_forgotten_first() -> None:
    names = Names()
    cache = CachingResolver(names, max_size=2)
    for host in ["a", "b", "a", "c"]:  # c takes the place of b
        await cache(host)
    assert names.asked == ["a", "b", "c"]
    await cache("a")
    await cache("c")
    assert names.asked == ["a", "b", "c"]
    await cache("b")  # takes the place of a
    assert names.asked == ["a", "b", "c", "b"]
    await cache("c")
    await cache("a")
    assert names.asked == ["a", "b", "c", "b", "a"]


async def test_expired_answer_leaves_when_its_name_is_asked_for(clock: Clock) -> None:
    names = Names(Resolution((A,), 1))
    cache = CachingResolver(names, max_size=2)
    await cache("a")
    await clock.advance(1)
    names.answer = Resolution((A,), 100)
    for host in ["b", "a", "b"]:
        await cache(host)
    assert names.asked == ["a", "b", "a"]


# One for all


async def start(count: int, cache: CachingResolver, host: str = "a") -> list[asyncio.Task[Resolution]]:
    tasks = [asyncio.ensure_future(cache(host)) for _ in range(count)]
    await turns()
    return tasks


async def test_all_who_ask_at_one_time_share_a_look_up() -> None:
    names = Names(held=True)
    cache = CachingResolver(names, ttl=0)
    asking = [*await start(5, cache), *await start(2, cache, "b")]
    assert names.asked == ["a", "b"]
    names.released.set()
    assert [answer.addresses for answer in await asyncio.gather(*asking)] == [(A,)] * 7
    await cache("a")  # not remembered
    assert names.asked == ["a", "b", "a"]


@pytest.mark.parametrize("left", range(3))
async def test_look_up_goes_on_for_who_is_left(left: int) -> None:
    names = Names(held=True)
    cache = CachingResolver(names)
    asking = await start(3, cache)
    for number, task in enumerate(asking):
        if number != left:
            task.cancel()
    await turns()
    assert [task.cancelled() for task in asking] == [number != left for number in range(3)]
    names.released.set()
    assert await asking[left] == Resolution((A,))
    assert (names.asked, names.cancelled) == (["a"], 0)
    await cache("a")
    assert names.asked == ["a"]


async def test_look_up_that_nobody_waits_for_is_cancelled() -> None:
    names = Names(held=True)
    cache = CachingResolver(names)
    asking = await start(3, cache)
    for task in asking:
        task.cancel()
    await asyncio.wait(asking)
    assert names.cancelled == 1
    assert all(task.cancelled() for task in asking)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    names.released.set()
    assert await cache("a") == Resolution((A,))
    assert names.asked == ["a", "a"]


async def test_who_asks_while_a_look_up_is_cancelled_gets_one_of_its_own() -> None:
    let_go = asyncio.Event()
    asked: list[str] = []

    async def slow_to_end(host: str) -> Sequence[str]:
        asked.append(host)
        if len(asked) > 1:
            return [B]
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await let_go.wait()
        return [A]

    cache = CachingResolver(slow_to_end)
    (first,) = await start(1, cache)
    first.cancel()
    await turns()
    assert not first.done()  # it ends with what it asked for
    assert await cache("a") == Resolution((B,))
    let_go.set()
    await asyncio.wait([first])
    assert first.cancelled()
    assert (await cache("a")).addresses == (B,)
    assert asked == ["a", "a"]


async def test_second_cancellation_does_not_wait_for_the_look_up() -> None:
    let_go = asyncio.Event()

    async def slow_to_end(host: str) -> Sequence[str]:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await let_go.wait()
        return [A]

    (first,) = await start(1, CachingResolver(slow_to_end))
    first.cancel()
    await turns()
    first.cancel()
    await turns()
    assert first.cancelled()
    let_go.set()


async def test_error_of_a_look_up_that_was_cancelled_is_nobodys() -> None:
    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))

    async def fails_to_end(host: str) -> Sequence[str]:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            raise OSError("while cancelled")
        return [A]

    (first,) = await start(1, CachingResolver(fails_to_end))
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled()
    gc.collect()
    await turns()
    assert complaints == []


async def test_all_who_wait_get_the_error() -> None:
    names = Names(OSError("no network"), held=True)
    asking = await start(3, CachingResolver(names))
    names.released.set()
    assert [str(error) for error in await asyncio.gather(*asking, return_exceptions=True)] == ["no network"] * 3
    assert names.asked == ["a"]


async def test_error_of_ours_is_everybodys_own() -> None:
    cause = OSError("why")
    error = ConnectError("refused")
    error.__cause__ = cause
    names = Names(error, held=True)
    asking = await start(2, CachingResolver(names))
    names.released.set()
    first, second = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(first, ConnectError) and isinstance(second, ConnectError)
    assert first is not second and first is not error
    assert str(first) == str(second) == "refused"
    assert first.__cause__ is second.__cause__ is cause


@pytest.mark.parametrize("count", [1, 2])
async def test_look_up_cancelled_at_every_turn_leaves_nothing(count: int) -> None:
    names = Names()
    finished = False
    turn = 0
    while not finished:
        cache = CachingResolver(names)
        asking = [asyncio.ensure_future(cache("a")) for _ in range(count)]
        await turns(turn)
        finished = all(task.done() for task in asking)
        for task in asking:
            task.cancel()
        await asyncio.wait(asking)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert (await cache("a")).addresses == (A,)
        turn += 1
    assert turn > 3


# The system


async def test_without_a_resolver_the_system_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    asked: list[str] = []

    async def getaddrinfo(host: str, port: int, **options: object) -> list[tuple[object, ...]]:
        asked.append(host)
        assert options == {"type": socket.SOCK_STREAM}
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 0, 0, 0)),
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1", 0, 0, 3)),
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::2%4", 0, 0, 4)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (A, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (A, 0)),
        ]

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    cache = CachingResolver()
    for _ in range(2):
        assert (await cache("example.org")).addresses == ("2001:db8::1", "fe80::1%3", "fe80::2%4", A)
    assert asked == ["example.org"]


async def test_system_knows_localhost() -> None:
    assert {"127.0.0.1", "::1"} & set((await CachingResolver()("localhost")).addresses)


# Loops


def test_each_loop_has_a_memory_of_its_own() -> None:
    asked: list[str] = []

    async def names(host: str) -> Sequence[str]:
        asked.append(host)
        return [A]

    cache = CachingResolver(names)

    async def ask_twice() -> Resolution:
        await cache("a")
        return await cache("a")

    for _ in range(3):
        assert asyncio.run(ask_twice()).addresses == (A,)
    assert asked == ["a"] * 3


def test_loops_that_take_turns_keep_their_memories() -> None:
    names: list[str] = []

    async def resolver(host: str) -> Sequence[str]:
        names.append(host)
        return [A]

    cache = CachingResolver(resolver)
    with asyncio.Runner() as first, asyncio.Runner() as second:
        for _ in range(3):
            first.run(cache("a"))
            second.run(cache("a"))
    assert names == ["a", "a"]


def test_loop_that_ended_in_the_middle_of_a_look_up_is_let_go() -> None:
    waiting: list[asyncio.Future[Sequence[str]]] = []

    def never(host: str) -> Awaitable[Sequence[str]]:
        waiting.append(asyncio.get_running_loop().create_future())
        return waiting[-1]

    cache = CachingResolver(never)
    asking: list[asyncio.Task[Resolution]] = []

    async def begin() -> None:
        asking.append(asyncio.ensure_future(cache("a")))
        await turns()

    asyncio.run(begin())
    assert waiting.pop().cancelled()

    # And one that nobody tidied up: its tasks are as dead as it is.
    loop = asyncio.new_event_loop()
    loop.run_until_complete(begin())
    tasks = asyncio.all_tasks(loop)
    waiting.clear()
    loop.close()
    for task in tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # what this test is about
    gone = weakref.ref(loop)
    del loop, task
    tasks.clear()
    asking.clear()

    async def begin_again() -> None:
        await begin()
        waiting[0].set_result([B])
        assert (await asking[0]).addresses == (B,)

    asyncio.run(begin_again())
    gc.collect()
    assert gone() is None

"""`ASGIConnector`: the lifespan of an app."""

from __future__ import annotations

import asyncio

import pytest

import httpcore
from httpcore.testing import ASGIConnector
from tests.origin_app import Message, Receive, Send
from tests.testing.apps import URL, Gate, answer


class Lively:
    """An app with a lifespan, in which it does what it is told."""

    def __init__(self, startup: str = "complete", shutdown: str = "complete") -> None:
        self.startup = startup
        self.shutdown = shutdown
        self.events: list[str] = []
        self.seen: list[object] = []
        self.asked = Gate()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.events.append("request")
            self.seen.append(scope.get("state"))
            if "state" in scope:
                scope["state"]["more"] = True
                scope["state"]["shared"].append(1)
            await answer(send, b"answer")
            return
        assert scope["asgi"] == {"version": "3.0", "spec_version": "2.0"}
        scope["state"]["shared"] = []
        for phase, what in (("startup", self.startup), ("shutdown", self.shutdown)):
            assert await receive() == {"type": f"lifespan.{phase}"}
            self.asked.add()
            self.events.append(phase)
            if what == "raise":
                raise ValueError(phase)
            if what == "return":
                return
            if what == "wait":
                await asyncio.Future()
            failed = what.startswith("failed")
            message = {"message": "no database"} if failed else {}
            await send({"type": f"lifespan.{phase}.{what.split()[0]}", **message})
            if what == "failed raise":
                raise ValueError(phase)
            if what == "failed wait":
                await asyncio.Future()


async def _request(connector: ASGIConnector) -> bytes:
    async with httpcore.ConnectionPool(connector=connector) as http:
        return (await http.request("GET", URL)).body


async def test_app_starts_before_the_first_request_and_shuts_down_after_the_last():
    app = Lively()
    async with ASGIConnector(app) as connector:
        assert app.events == ["startup"]
        assert await _request(connector) == await _request(connector) == b"answer"
    assert app.events == ["startup", "request", "request", "shutdown"]


async def test_each_request_has_a_shallow_copy_of_the_state():
    app = Lively()
    async with ASGIConnector(app) as connector:
        await _request(connector)
        await _request(connector)
    assert app.seen == [{"shared": [1, 1], "more": True}] * 2
    assert app.seen[0] is not app.seen[1]


async def test_lifespan_can_run_again():
    app = Lively()
    connector = ASGIConnector(app)
    for _ in range(2):
        async with connector:
            await _request(connector)
    assert app.events == ["startup", "request", "shutdown"] * 2


@pytest.mark.parametrize("entered", [True, False])
async def test_app_runs_without_a_lifespan(entered: bool):
    app = Lively()
    connector = ASGIConnector(app, lifespan=False)
    if entered:
        async with connector:
            assert await _request(connector) == b"answer"
    else:
        assert await _request(connector) == b"answer"
    assert app.events == ["request"]
    assert app.seen == [None]


@pytest.mark.parametrize("how", ["raise", "return", "send", "cancel"])
async def test_app_may_know_no_lifespan(how: str):
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" and how == "raise":
            raise ValueError("unknown scope")
        if scope["type"] == "lifespan" and how == "cancel":
            raise asyncio.CancelledError
        if scope["type"] == "http" or how == "send":
            await answer(send, b"answer")

    async with ASGIConnector(app) as connector:
        assert await _request(connector) == b"answer"


async def test_failed_startup_is_raised_with_its_message():
    app = Lively(startup="failed")
    for how in ("failed", "failed wait"):
        app.startup = how
        with pytest.raises(RuntimeError, match=r"lifespan\.startup\.failed: no database"):
            await ASGIConnector(app).__aenter__()


@pytest.mark.parametrize("how", ["raise", "failed raise"])
async def test_error_of_the_startup_is_raised_as_it_is(how: str):
    with pytest.raises(ValueError, match="startup"):
        await ASGIConnector(Lively(startup=how)).__aenter__()


async def test_startup_that_ends_without_a_word_is_an_error():
    with pytest.raises(RuntimeError, match="before its startup was complete"):
        await ASGIConnector(Lively(startup="return")).__aenter__()


async def test_connector_whose_startup_failed_can_be_tried_again():
    app = Lively(startup="raise")
    connector = ASGIConnector(app)
    with pytest.raises(ValueError, match="startup"):
        await connector.__aenter__()
    app.startup = "complete"
    async with connector:
        assert await _request(connector) == b"answer"


@pytest.mark.parametrize("how, error", [("failed", RuntimeError), ("raise", ValueError), ("failed raise", ValueError)])
async def test_failed_shutdown_is_raised(how: str, error: type[Exception]):
    app = Lively(shutdown=how)
    with pytest.raises(error):
        async with ASGIConnector(app) as connector:
            await _request(connector)
    assert app.events == ["startup", "request", "shutdown"]


async def test_shutdown_may_end_without_a_word():
    async with ASGIConnector(Lively(shutdown="return")):
        pass


async def test_lifespan_that_ended_early_fails_the_shutdown():
    error = ValueError("meanwhile")

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        raise error

    with pytest.raises(ValueError, match="meanwhile") as caught:
        async with ASGIConnector(app):
            pass
    assert caught.value is error


async def test_app_shuts_down_when_the_block_fails():
    app = Lively()
    with pytest.raises(KeyError):
        async with ASGIConnector(app):
            raise KeyError
    assert app.events == ["startup", "shutdown"]


@pytest.mark.parametrize("phase", ["startup", "shutdown"])
async def test_cancelled_lifespan_is_ended(phase: str):
    app = Lively(**{phase: "wait"})

    async def use() -> None:
        async with ASGIConnector(app):
            pass

    using = asyncio.ensure_future(use())
    await app.asked.reached(["startup", "shutdown"].index(phase) + 1)
    using.cancel()
    with pytest.raises(asyncio.CancelledError):
        await using


def test_lifespan_runs_under_a_blocking_pool():
    app = Lively()
    with ASGIConnector(app) as connector, httpcore.SyncConnectionPool(connector=connector) as http:
        assert http.request("GET", URL).body == b"answer"
    assert app.events == ["startup", "request", "shutdown"]
    with pytest.raises(ValueError, match="startup"):
        ASGIConnector(Lively(startup="raise")).__enter__()

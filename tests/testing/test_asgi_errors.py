"""`ASGIConnector`: what becomes of the errors of an app, and of its calls when the connector is closed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

import httpcore
from httpcore.testing import ASGIConnector
from tests.origin_app import Message, Receive, Send
from tests.testing.apps import URL, Disconnects, Gate, answer, read_body, running
from tests.testing.links import turns

both_versions = pytest.mark.parametrize("http1", [True, False], ids=["HTTP/1.1", "HTTP/2"])


class Failing:
    """An app that raises, at a place that the path says."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        place = scope["path"][1:]
        if place == "":
            return await answer(send, await read_body(receive))
        if place == "start":
            raise self.error
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        if place == "middle":
            await turns()
            raise self.error
        await send({"type": "http.response.body", "body": b"ended"})
        if place == "end":  # as frameworks do, which answer with a 500 and pass the error on
            raise self.error
        await turns()
        raise self.error


@both_versions
@pytest.mark.parametrize("place", ["start", "middle", "end"])
async def test_error_of_the_app_is_raised_to_who_made_the_request(http1: bool, place: str):
    error = ValueError("a bug")
    async with running(Failing(error), http1) as http:
        for _ in range(2):
            with pytest.raises(ValueError, match="a bug") as caught:
                await http.request("GET", f"{URL}/{place}")
            assert caught.value is error
            assert (await http.request("POST", URL, body=b"still there")).body == b"still there"


@both_versions
async def test_error_of_the_app_is_raised_to_who_reads_the_response(http1: bool):
    error = ValueError("a bug")
    async with running(Failing(error), http1) as http:
        response = await http.request("GET", f"{URL}/middle", stream=True)
        with pytest.raises(ValueError, match="a bug") as caught:
            await response.read()
        assert caught.value is error


@both_versions
async def test_error_of_the_app_ends_only_its_own_exchange(http1: bool):
    async with running(Failing(ValueError("a bug")), http1) as http:
        paths = ["middle", "", "start", "", "end", ""]
        asked = [http.request("POST", f"{URL}/{path}", body=b"echo") for path in paths]
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ValueError, httpcore.Response] * 3


@both_versions
async def test_error_after_a_response_that_was_read_is_raised_on_leaving(http1: bool):
    error = ValueError("a bug")
    with pytest.raises(ValueError, match="a bug") as caught:
        async with running(Failing(error), http1) as http:
            assert (await http.request("GET", f"{URL}/after")).body == b"begunended"
    assert caught.value is error


@both_versions
async def test_error_after_a_response_does_not_touch_the_next_exchange(http1: bool):
    release = Gate()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        if scope["path"] == "/first":
            await answer(send, headers=[(b"content-length", b"0")])
            await release.reached(1)
            raise ValueError("a bug")
        release.add()
        await turns()
        await answer(send, b"second")

    with pytest.raises(ValueError, match="a bug"):
        async with running(app, http1) as http:
            await http.request("GET", f"{URL}/first")
            assert (await http.request("GET", URL)).body == b"second"


async def test_several_errors_that_nobody_was_told_are_a_group():
    with pytest.raises(ExceptionGroup) as caught:
        async with running(Failing(ValueError("a bug"))) as http:
            for _ in range(2):
                await http.request("GET", f"{URL}/after")
    assert [type(error) for error in caught.value.exceptions] == [ValueError] * 2


async def test_error_that_nobody_was_told_does_not_hide_that_of_the_block(caplog: pytest.LogCaptureFixture):
    with pytest.raises(KeyError):
        async with running(Failing(ValueError("a bug"))) as http:
            await http.request("GET", f"{URL}/after")
            raise KeyError
    assert "a bug" in caplog.text


async def test_error_that_nobody_was_told_and_nobody_will_ask_for_is_logged(caplog: pytest.LogCaptureFixture):
    connector = ASGIConnector(Failing(ValueError("a bug")))
    async with httpcore.ConnectionPool(connector=connector) as http:
        await http.request("GET", f"{URL}/after")
    await connector.aclose()
    assert "a bug" in caplog.text


@both_versions
async def test_bug_that_shows_when_the_client_has_left_is_raised_on_leaving(http1: bool):
    called = Gate()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        called.add()
        await receive()
        try:
            (await receive())["body"]
        except KeyError as exc:
            raise RuntimeError("no body") from exc

    with pytest.raises(RuntimeError, match="no body"):
        async with running(app, http1) as http:
            asking = asyncio.ensure_future(http.request("GET", URL))
            await called.reached(1)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking


@both_versions
@pytest.mark.parametrize("place", ["start", "middle"])
async def test_error_is_raised_while_the_request_is_still_sent(http1: bool, place: str):
    async def body() -> AsyncIterator[bytes]:
        while True:
            yield bytes(16 * 1024)
            await asyncio.sleep(0)

    async with running(Failing(ValueError("a bug")), http1) as http:
        with pytest.raises(ValueError, match="a bug"):
            await http.request("POST", f"{URL}/{place}", body=body)


async def test_failed_assertion_of_the_test_framework_reaches_the_test():
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        pytest.fail("not like this")

    async with running(app) as http:
        with pytest.raises(pytest.fail.Exception, match="not like this"):
            await http.request("GET", URL)


@both_versions
@pytest.mark.parametrize("started", [False, True])
async def test_app_that_returns_too_early_has_failed(http1: bool, started: bool):
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        if started:
            await send({"type": "http.response.start", "status": 200, "headers": []})

    async with running(app, http1) as http:
        with pytest.raises(RuntimeError, match="returned without the end" if started else "returned without a resp"):
            await http.request("GET", URL)


async def test_app_that_cancels_itself_has_failed():
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        raise asyncio.CancelledError

    async with running(app) as http:
        with pytest.raises(RuntimeError, match="cancelled itself") as caught:
            await http.request("GET", URL)
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)


def test_interrupted_app_ends_the_program():
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        raise KeyboardInterrupt

    async def main() -> None:
        async with running(app) as http:
            await http.request("GET", URL)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())


# As servers do it


@both_versions
async def test_app_that_fails_before_its_response_gives_500(http1: bool, caplog: pytest.LogCaptureFixture):
    async with running(Failing(ValueError("a bug")), http1, raise_app_exceptions=False) as http:
        for method in ("GET", "HEAD"):
            response = await http.request(method, f"{URL}/start")
            assert response.status_code == 500
            assert response.body == (b"Internal Server Error" if method == "GET" else b"")
        assert http.num_connections == 1
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    assert "a bug" in caplog.text


@both_versions
async def test_app_that_fails_in_its_response_cuts_it_off(http1: bool, caplog: pytest.LogCaptureFixture):
    async with running(Failing(ValueError("a bug")), http1, raise_app_exceptions=False) as http:
        response = await http.request("GET", f"{URL}/middle", stream=True)
        stream = response.stream()
        assert await anext(stream) == b"begun"
        with pytest.raises(httpcore.RemoteProtocolError):
            await anext(stream)
    assert "a bug" in caplog.text


@both_versions
@pytest.mark.parametrize("place", ["end", "after"])
async def test_app_that_fails_after_its_response_leaves_it_as_it_is(
    http1: bool, place: str, caplog: pytest.LogCaptureFixture
):
    async with running(Failing(ValueError("a bug")), http1, raise_app_exceptions=False) as http:
        response = await http.request("GET", f"{URL}/{place}")
        assert (response.status_code, response.body) == (500, b"begunended")
    assert "a bug" in caplog.text


@both_versions
async def test_app_that_fails_on_a_malformed_response_gives_500_where_it_can(
    http1: bool, caplog: pytest.LogCaptureFixture
):
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await answer(send, b"", 200, [(b":bad name", b"\n")])

    async with running(app, http1, raise_app_exceptions=False) as http:
        if http1:
            assert (await http.request("GET", URL)).status_code == 500
            assert "LocalProtocolError" in caplog.text
        else:  # h2 has begun to send it by then
            with pytest.raises(httpcore.RemoteProtocolError):
                await http.request("GET", URL)


@both_versions
async def test_nothing_is_logged_when_the_client_leaves(http1: bool, caplog: pytest.LogCaptureFixture):
    app = Disconnects()
    async with running(app, http1, raise_app_exceptions=False) as http:
        response = await http.request("GET", f"{URL}/started", stream=True)
        await response.close()
        await app.left()
    assert not caplog.records


# Closing


@both_versions
async def test_closing_tells_apps_that_their_clients_are_gone_and_waits_for_them(http1: bool):
    app = Disconnects()
    cleaned = False

    async def slow(scope: Message, receive: Receive, send: Send) -> None:
        nonlocal cleaned
        await app(scope, receive, send)
        await turns()
        cleaned = True

    async with ASGIConnector(slow, lifespan=False) as connector:
        http = httpcore.ConnectionPool(connector=connector, http1=http1)
        asking = asyncio.ensure_future(http.request("GET", f"{URL}/started"))
        await app.called()
    assert cleaned
    with pytest.raises(httpcore.HTTPCoreError):
        await asking
    await http.close()


@both_versions
@pytest.mark.parametrize("path", ["/", "/stubborn"])
async def test_closing_cancels_apps_that_do_not_listen(http1: bool, path: str):
    called, cancelled = Gate(), Gate()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        called.add()
        try:
            await asyncio.Future()
        finally:
            cancelled.add()
            if path == "/stubborn":
                await turns()

    async with ASGIConnector(app, lifespan=False, shutdown_timeout=0.01) as connector:
        http = httpcore.ConnectionPool(connector=connector, http1=http1)
        asking = asyncio.ensure_future(http.request("GET", URL + path))
        await called.reached(1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await http.close()
        assert cancelled.count == 0
    assert cancelled.count == 1


async def test_connector_can_be_used_again_after_closing():
    connector = ASGIConnector(Failing(ValueError("a bug")), lifespan=False)
    for _ in range(2):
        async with connector, httpcore.ConnectionPool(connector=connector) as http:
            assert (await http.request("POST", URL, body=b"echo")).body == b"echo"


def test_program_that_ends_with_the_app_still_running_ends_it():
    ended = Gate()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        try:
            await asyncio.Future()
        finally:
            ended.add()

    async def main() -> None:
        http = httpcore.ConnectionPool(connector=ASGIConnector(app))
        with pytest.raises(httpcore.ReadTimeout):
            await http.request("GET", URL, timeout=0.01)
        await http.close()

    asyncio.run(main())
    assert ended.count == 1

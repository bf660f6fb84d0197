"""Many threads, one pool; and one response in several threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

import httpcore
from tests.asgi_server import asgi_server
from tests.origin_app import Message, Receive, Send, app
from tests.sync.conftest import Background

Pool = httpcore.SyncConnectionPool


def _in_threads(count: int, work: Callable[[int], None]) -> list[BaseException]:
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


@pytest.mark.parametrize("limit", [1, 7, 64])
def test_64_threads_get_their_own_answers(url: str, limit: int):
    def work(number: int) -> None:
        for turn in range(8):
            size = 1000 * number + turn
            if turn % 2:
                assert len(http.request("GET", f"{url}/bytes/{size}").body) == size
            else:
                with http.request("GET", f"{url}/chunked/{size}", stream=True) as response:
                    assert sum(map(len, response.stream())) == size

    limits = httpcore.PoolLimits(hard_limit=limit)
    with Pool(limits=limits, timeout=httpcore.TimeoutConfig(pool_timeout=100.0)) as http:
        assert _in_threads(64, work) == []
        assert http.num_connections <= limit


def test_threads_start_the_pool_at_once_and_share_it(url: str):
    barrier = threading.Barrier(16)

    def work(number: int) -> None:
        barrier.wait()
        assert http.request("GET", url + "/hello").status_code == 200

    with Pool(limits=httpcore.PoolLimits(hard_limit=2)) as http:
        assert _in_threads(16, work) == []
        assert http.num_connections <= 2


def test_large_contents_above_the_water_mark_lose_no_wake_up(url: str):
    # Each byte over the mark pauses, and each piece read resumes: as many turns of the two threads as can be.
    def work(number: int) -> None:
        for turn in range(4):
            response = http.request("GET", f"{url}/chunked/500000", stream=bool(turn % 2))
            with response:
                assert len(response.read()) == 500_000

    with Pool(high_water=1, low_water=0) as http:
        assert _in_threads(8, work) == []


def test_response_is_read_in_another_thread_than_asked_for_it(url: str):
    with Pool() as http, http.request("GET", url + "/bytes/1000000", stream=True) as response:
        assert _in_threads(1, lambda _: [response.read()].clear()) == []
        assert len(response.body) == 1_000_000


def test_body_goes_on_in_the_thread_that_reads(url: str):
    threads = []

    def body() -> Iterator[bytes]:
        for number in range(3):
            threads.append(threading.current_thread())
            yield b"%d" % number

    def read(_: int) -> None:
        assert b"".join(response.stream()) == b"012"

    with Pool() as http, http.request("POST", url + "/echo", body=body(), stream=True) as response:
        asked_in = len(threads)
        assert _in_threads(1, read) == []
    assert set(threads[:asked_in]) <= {threading.current_thread()}
    assert threading.current_thread() not in threads[asked_in + 1 :]


def test_second_thread_that_reads_a_response_gets_an_error(url: str):
    reading = threading.Event()
    results: list[bytes] = []

    def read() -> None:
        with pytest.raises(httpcore.ResponseClosed):
            for part in response.stream():
                results.append(part)
                reading.set()

    with Pool() as http, http.request("GET", url + "/stall", stream=True) as response:
        thread = threading.Thread(target=read)
        thread.start()
        reading.wait()
        while not response._reading.locked():
            pass
        with pytest.raises(RuntimeError, match="another thread is reading"):
            response.read()
        response.close()  # which ends the other
        thread.join()
    assert results == [b"begun"]


def test_close_in_one_thread_wakes_a_reader_in_another(url: str):
    errors: list[BaseException] = []

    def read() -> None:
        try:
            response.read()
        except httpcore.HTTPCoreError as exc:
            errors.append(exc)

    with Pool() as http, http.request("GET", url + "/stall", stream=True) as response:
        thread = threading.Thread(target=read)
        thread.start()
        while not response._reading.locked():
            pass
        response.close()
        thread.join()
    assert [type(error) for error in errors] == [httpcore.ResponseClosed]


def test_close_while_another_thread_is_in_the_body_closes_the_body_there(url: str):
    in_body, go_on = threading.Event(), threading.Event()
    closed_in: list[threading.Thread] = []

    def body() -> Iterator[bytes]:
        try:
            while True:
                yield b"0"
                if threading.current_thread() is not threading.main_thread():  # which asks, and gets the head
                    in_body.set()
                    go_on.wait()
        finally:
            closed_in.append(threading.current_thread())

    def read() -> None:
        with pytest.raises(httpcore.ResponseClosed):
            list(response.stream())

    with Pool() as http, http.request("POST", url + "/echo", body=body(), stream=True) as response:
        thread = threading.Thread(target=read)
        thread.start()
        in_body.wait()
        response.close()
        assert closed_in == []
        go_on.set()
        thread.join()
    assert closed_in == [thread]


def test_body_that_calls_the_pool_itself(url: str):
    def body() -> Iterator[bytes]:
        yield http.request("GET", url + "/hello").body

    with Pool() as http:
        assert b'"size": 12' in http.request("POST", url + "/upload", body=body()).body


def test_replay_calls_the_callable_anew(servers: Background):
    # The second request finds its connection closed by the server, is sent again, and its body with it.
    opened: list[list[bytes]] = []
    closed: list[int] = []

    def body() -> Iterator[bytes]:
        opened.append([])
        try:
            for piece in (b"one", b"two"):
                opened[-1].append(piece)
                yield piece
        finally:
            closed.append(len(opened))

    calls: list[str] = []

    async def answer(scope: Message, receive: Receive, send: Send) -> None:
        calls.append(scope["path"])
        if calls.count("/upload") == 1 and scope["path"] == "/upload":
            await receive()  # or the body may not have been opened yet
            raise ConnectionResetError
        await app(scope, receive, send)

    with servers.opened(asgi_server(answer)) as origin, Pool() as http:
        http.request("GET", origin.url + "/hello")
        response = http.request("PUT", origin.url + "/upload", body=body)
        assert b'"size": 6' in response.body
    assert calls == ["/hello", "/upload", "/upload"]
    assert len(opened) == 2
    assert opened[1] == [b"one", b"two"]
    assert len(closed) == 2


def _raises_stop_iteration() -> Iterator[bytes]:
    return next(iter(()))


def _raises_stop_async_iteration() -> Iterator[bytes]:
    yield b"x"
    raise StopAsyncIteration


@pytest.mark.parametrize("body", [_raises_stop_iteration, _raises_stop_async_iteration])
def test_stray_end_of_an_iteration_is_an_error_of_the_body(url: str, body: Callable[[], Iterator[bytes]]):
    with Pool() as http:
        with pytest.raises(RuntimeError, match="a request's body raised Stop"):
            http.request("POST", url + "/upload", body=body)
        assert http.request("GET", url + "/hello").status_code == 200


def test_body_that_raises_when_it_is_closed_does_not_cost_the_answer(url: str, caplog: pytest.LogCaptureFixture):
    def body() -> Iterator[bytes]:
        try:
            while True:
                yield bytes(50_000)
        finally:
            raise KeyError("mine")

    with Pool() as http:
        assert http.request("POST", url + "/refuse-late", body=body()).status_code == 413
        assert http.request("GET", url + "/hello").status_code == 200
    assert "a request's body raised when it was closed" in caplog.text


def test_callable_may_give_text(url: str):
    with Pool() as http:
        assert http.request("POST", url + "/echo", body=lambda: "grüße").body == "grüße".encode()


def test_callable_that_gives_no_body_is_refused(url: str):
    with Pool() as http:
        with pytest.raises(TypeError, match="the body's callable returned int, which is no body"):
            http.request("POST", url + "/upload", body=lambda: 5)  # type: ignore[arg-type,return-value]
        assert http.request("GET", url + "/hello").status_code == 200

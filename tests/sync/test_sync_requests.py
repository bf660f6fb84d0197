"""What of a request is the blocking pool's own; the rest is in tests/behaviours, which run through it as well."""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import httpcore
from httpcore.request import BodyTypes
from tests.behaviours.ways import Server
from tests.content import blocks, sha256


def test_response_says_what_the_async_one_does(http: httpcore.SyncConnectionPool, server: Server):
    response = http.request("GET", server.url + "/hello")
    assert response.read() == b"Hello, world"
    assert list(response.stream()) == [b"Hello, world"]
    assert response.request is not None
    assert response.request.method == b"GET"
    exchange = response.exchange
    assert exchange is not None
    assert exchange.ended
    assert exchange.connection_info is not None
    assert (exchange.stream_id is not None) == (server.http_version == b"HTTP/2")
    assert exchange.timings.ended is not None
    assert repr(response) == "<SyncResponse 200>"


def test_content_that_was_not_read_is_no_body(http: httpcore.SyncConnectionPool, server: Server):
    with http.request("GET", server.url + "/bytes/3000000", stream=True) as response:
        with pytest.raises(httpcore.ResponseNotRead):
            _ = response.body
        assert hashlib.sha256(response.read()).hexdigest() == sha256(3_000_000)
        assert len(response.body) == 3_000_000


@pytest.mark.parametrize(
    "body",
    [
        bytearray(b"some content"),
        [b"some ", b"", b"content"],
        iter((b"some ", b"content")),
        lambda: b"some content",
        lambda: io.BytesIO(b"some content"),
    ],
    ids=["bytearray", "list", "iterator", "gives bytes", "gives a file"],
)
def test_body_of_other_kinds(url: str, body: BodyTypes):
    with httpcore.SyncConnectionPool() as http:
        report = json.loads(http.request("POST", url + "/upload", body=body).body)
    assert (report["size"], report["sha256"]) == (12, hashlib.sha256(b"some content").hexdigest())


def test_generator_is_gone_on_with_in_the_thread_of_the_call(http: httpcore.SyncConnectionPool, server: Server):
    threads = set()

    def body() -> Iterator[bytes]:
        for block in blocks(2_000_000):
            threads.add(threading.current_thread())
            yield block

    report = json.loads(http.request("POST", server.url + "/upload", body=body()).body)
    assert (report["size"], report["sha256"]) == (2_000_000, sha256(2_000_000))
    assert threads == {threading.current_thread()}


def test_file_can_be_sent_twice_and_is_left_open(http: httpcore.SyncConnectionPool, server: Server, tmp_path: Path):
    size = 700_001
    with (tmp_path / "file").open("wb") as file:
        file.writelines(blocks(size))
    with (tmp_path / "file").open("rb") as file:
        for _ in range(2):
            file.seek(0)
            report = json.loads(http.request("PUT", server.url + "/upload", body=file).body)
            assert dict(report["headers"])["content-length"] == str(size)
            assert (report["size"], report["sha256"]) == (size, sha256(size))
        assert not file.closed


@pytest.mark.parametrize("path", ["/refuse", "/refuse-late"])
@pytest.mark.parametrize("stream", [False, True])
def test_early_response_closes_the_body_in_the_thread_of_the_call(
    http: httpcore.SyncConnectionPool, server: Server, path: str, stream: bool
):
    started_in, closed_in = [], []

    def body() -> Iterator[bytes]:
        started_in.append(threading.current_thread())
        try:
            while True:
                yield bytes(50_000)
        finally:
            closed_in.append(threading.current_thread())

    with http.request("POST", server.url + path, body=body(), stream=stream) as response:
        assert (response.status_code, response.read()) == (413, b"too large")
    assert closed_in == started_in
    assert started_in == [threading.current_thread()] or path == "/refuse"  # which may come before the first piece
    assert http.request("GET", server.url + "/hello").body == b"Hello, world"


def test_iterator_raises_once_its_response_was_closed(http: httpcore.SyncConnectionPool, server: Server):
    with http.request("GET", server.url + "/bytes/3000000", stream=True) as response:
        parts = response.stream()
        assert next(parts)
    with pytest.raises(httpcore.ResponseClosed):
        next(parts)
    response.close()
    assert http.request("GET", server.url + "/hello").status_code == 200


def test_request_object_is_sent(http: httpcore.SyncConnectionPool, server: Server):
    request = httpcore.Request("POST", server.url + "/upload", {"x-mine": "1"}, b"content")
    response = http.send(request)
    assert json.loads(response.body)["size"] == 7
    with http.send(request, stream=True) as response:
        assert json.loads(response.read())["size"] == 7


def test_32_threads_share_one_pool(server: Server):
    errors: list[BaseException] = []
    limits = httpcore.PoolLimits(hard_limit=8)

    def work() -> None:
        try:
            for _ in range(5):
                assert pool.request("GET", server.url + "/hello").body == b"Hello, world"
                with pool.request("GET", server.url + "/bytes/200000", stream=True) as response:
                    assert sum(map(len, response.stream())) == 200_000
                body = (bytes(1000) for _ in range(20))
                assert json.loads(pool.request("POST", server.url + "/upload", body=body).body)["size"] == 20_000
        except BaseException as exc:
            errors.append(exc)

    timeout = httpcore.TimeoutConfig(pool_timeout=60.0)
    with httpcore.SyncConnectionPool(**server.pool_arguments, limits=limits, timeout=timeout) as pool:
        threads = [threading.Thread(target=work) for _ in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert pool.num_connections <= 8
    assert errors == []

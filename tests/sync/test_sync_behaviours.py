"""What a blocking pool does over each way to a server: the main behaviours of tests/behaviours, without `await`."""

from __future__ import annotations

import gzip
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
from tests.origin_app import TEXT


def test_get(http: httpcore.SyncConnectionPool, server: Server):
    response = http.request("GET", server.url + "/hello")
    assert (response.status_code, response.body) == (200, b"Hello, world")
    assert response.http_version == server.http_version
    assert response.headers["content-type"] == "text/plain"
    assert response.read() == b"Hello, world"
    assert list(response.stream()) == [b"Hello, world"]
    assert response.trailers == []
    assert response.request is not None
    assert response.request.method == b"GET"
    exchange = response.exchange
    assert exchange is not None
    assert exchange.ended
    assert exchange.connection_info is not None
    assert (exchange.stream_id is not None) == (server.http_version == b"HTTP/2")
    assert exchange.timings.ended is not None
    assert repr(response) == "<SyncResponse 200>"


def test_head_has_no_content(http: httpcore.SyncConnectionPool, server: Server):
    response = http.request("HEAD", server.url + "/hello")
    assert (response.body, response.headers["content-length"]) == (b"", "12")


def _chunks() -> Iterator[bytes]:
    yield from (b"some ", b"content")


@pytest.mark.parametrize(
    "body",
    [
        b"some content",
        bytearray(b"some content"),
        "some content",
        [b"some ", b"", b"content"],
        _chunks,
        lambda: b"some content",
        lambda: io.BytesIO(b"some content"),
        io.BytesIO(b"some content"),
    ],
    ids=["bytes", "bytearray", "str", "list", "generator function", "gives bytes", "gives a file", "BytesIO"],
)
def test_post_with_every_kind_of_body(http: httpcore.SyncConnectionPool, server: Server, body: BodyTypes):
    report = json.loads(http.request("POST", server.url + "/upload", body=body).body)
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


def test_file_is_sent_with_its_length(http: httpcore.SyncConnectionPool, server: Server, tmp_path: Path):
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


def test_get_with_an_empty_iterator_sends_no_body(http: httpcore.SyncConnectionPool, server: Server):
    empty: Iterator[bytes] = iter(())
    report = json.loads(http.request("GET", server.url + "/upload", body=empty).body)
    fields = {name for name, _ in report["headers"]}
    assert report["size"] == 0
    assert not fields & {"transfer-encoding", "content-length"}


@pytest.mark.parametrize("path", ["bytes", "chunked"])
def test_large_content_is_streamed(http: httpcore.SyncConnectionPool, server: Server, path: str):
    size, digest, longest = 0, hashlib.sha256(), 0
    with http.request("GET", f"{server.url}/{path}/3000000", stream=True) as response:
        for part in response.stream():
            size, longest = size + len(part), max(longest, len(part))
            digest.update(part)
    assert (size, digest.hexdigest()) == (3_000_000, sha256(3_000_000))


def test_large_content_is_read_whole(http: httpcore.SyncConnectionPool, server: Server):
    response = http.request("GET", server.url + "/bytes/3000000")
    assert hashlib.sha256(response.body).hexdigest() == sha256(3_000_000)
    with http.request("GET", server.url + "/bytes/3000000", stream=True) as response:
        with pytest.raises(httpcore.ResponseNotRead):
            _ = response.body
        assert hashlib.sha256(response.read()).hexdigest() == sha256(3_000_000)


def test_content_codings_are_undone_or_left(http: httpcore.SyncConnectionPool, server: Server):
    assert http.request("GET", server.url + "/gzip").body == TEXT
    with http.request("GET", server.url + "/gzip/always", stream=True) as response:
        assert b"".join(response.stream()) == TEXT
    with http.request("GET", server.url + "/gzip/always", stream=True) as response:
        assert gzip.decompress(b"".join(response.raw())) == TEXT


def test_trailers_come_behind_the_content(http: httpcore.SyncConnectionPool, server: Server):
    with http.request("GET", server.url + "/trailers", stream=True) as response:
        assert response.read() == TEXT
        assert response.trailers == [(b"content-sha256", hashlib.sha256(TEXT).hexdigest().encode())]


def test_trailers_are_sent(http: httpcore.SyncConnectionPool, server: Server):
    response = http.request("POST", server.url + "/upload", body=_chunks, trailers=lambda: [("x-last", "1")])
    assert json.loads(response.body)["trailers"] == [["x-last", "1"]]


def test_echo_goes_both_ways_at_once(http: httpcore.SyncConnectionPool, server: Server):
    # More than all buffers in between hold: neither half ends before the other goes on, and both are of one thread.
    sent_before_the_end = received = 0

    def body() -> Iterator[bytes]:
        nonlocal sent_before_the_end
        for _ in range(600):
            sent_before_the_end = received
            yield bytes(50_000)

    with http.request("POST", server.url + "/echo", body=body(), stream=True) as response:
        for part in response.stream():
            received += len(part)
    assert received == 30_000_000
    assert sent_before_the_end > 0


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


def test_error_of_the_body_comes_out_of_the_call(http: httpcore.SyncConnectionPool, server: Server):
    def body() -> Iterator[bytes]:
        yield b"some"
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        http.request("POST", server.url + "/upload", body=body())
    assert http.request("GET", server.url + "/hello").status_code == 200


def test_read_timeout_ends_the_call(http: httpcore.SyncConnectionPool, server: Server):
    with pytest.raises(httpcore.ReadTimeout) as caught:
        http.request("GET", server.url + "/hang", timeout=httpcore.TimeoutConfig(read_timeout=0.05))
    assert caught.value.request_sent
    assert http.request("GET", server.url + "/hello").status_code == 200


def test_total_timeout_ends_a_stalled_stream(http: httpcore.SyncConnectionPool, server: Server):
    timeout = httpcore.TimeoutConfig(total_timeout=0.3)
    with http.request("GET", server.url + "/stall", stream=True, timeout=timeout) as response:
        parts = response.stream()
        assert next(parts) == b"begun"
        with pytest.raises(httpcore.TotalTimeout):
            next(parts)


def test_response_cut_off_raises(http: httpcore.SyncConnectionPool, server: Server):
    with pytest.raises((httpcore.RemoteProtocolError, httpcore.ReadError)):
        http.request("GET", server.url + "/break")


def test_stream_left_early_leaves_the_pool_usable(http: httpcore.SyncConnectionPool, server: Server):
    with http.request("GET", server.url + "/bytes/3000000", stream=True) as response:
        parts = response.stream()
        assert next(parts)
    with pytest.raises(httpcore.ResponseClosed):
        next(parts)
    response.close()
    assert http.request("GET", server.url + "/hello").status_code == 200


def test_content_over_the_limit_raises(http: httpcore.SyncConnectionPool, server: Server):
    with pytest.raises(httpcore.ResponseTooLarge):
        http.request("GET", server.url + "/bytes/3000000", max_body_size=1_000_000)
    assert http.request("GET", server.url + "/hello", max_body_size=12).body == b"Hello, world"


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

"""The adapter for requests: its own sessions and responses, against real servers, as its users know them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import http.client
import io
import json
import os
import pickle
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3
from requests.auth import HTTPDigestAuth
from requests.exceptions import (
    ChunkedEncodingError,
    ContentDecodingError,
    InvalidHeader,
    InvalidProxyURL,
    InvalidSchema,
    InvalidURL,
    MissingSchema,
    ProxyError,
    RequestException,
    SSLError,
    TooManyRedirects,
)

import httpcore
from httpcore.adapters.requests import HTTPAdapter, RawResponse, RequestWriteTimeout
from tests.adapters.requests_app import CREDENTIALS, DECODED, App, Thread, coded
from tests.asgi_server import asgi_server
from tests.asgi_server_h2 import asgi_server_h2
from tests.conftest import TLSFiles
from tests.content import blocks, sha256
from tests.proxies.http_proxy import HTTPProxy, http_proxy
from tests.servers import Nginx, Origin, serving
from tests.servers_proxies import PASSWORD, USERNAME, ProxyServer, Squid

WAYS = {"http": 11, "https": 11, "h2": 20}
GIGABYTE = 1024**3
MEMORY = 200  # MiB that a process may take which moves a gigabyte; it begins with some 60 MB
_ROOT = Path(__file__).parents[2]


@pytest.fixture
def thread() -> Iterator[Thread]:
    with Thread().running() as thread:
        yield thread


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def session(tls: TLSFiles) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.mount("https://", HTTPAdapter())
        session.mount("http://", HTTPAdapter())
        session.verify = str(tls.ca_path)
        yield session


class Server:
    """A server of `App`."""

    def __init__(self, thread: Thread, way: str, tls: TLSFiles) -> None:
        self.app = App()
        self.way = way
        self._thread = thread
        if way == "h2":
            self.origin: Origin = thread.enter(asgi_server_h2(self.app, tls.server_context))
        else:
            self.origin = thread.enter(asgi_server(self.app, tls.server_context if way == "https" else None))
        self.url = self.origin.url

    def event(self, data: bytes) -> None:
        """Lets `/events` send that; b"" ends it."""
        self._thread.call(lambda: self.app.events.put_nowait(data))


@pytest.fixture(params=list(WAYS))
def server(request: pytest.FixtureRequest, thread: Thread, tls: TLSFiles) -> Server:
    return Server(thread, request.param, tls)


@pytest.fixture
def plain(thread: Thread, tls: TLSFiles) -> Server:
    return Server(thread, "http", tls)


@pytest.fixture
def secure(thread: Thread, tls: TLSFiles) -> Server:
    return Server(thread, "https", tls)


def answering(thread: Thread, answer: bytes, *, wait: bool = False) -> str:
    """Returns the URL of a server that answers each connection's first request with these bytes, and closes it, or
    waits for its end."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        if wait:
            await reader.read()

    return thread.enter(serving(serve)).url


@contextlib.contextmanager
def raises(kind: type[Exception], url: str) -> Iterator[pytest.ExceptionInfo[Exception]]:
    """Expects an error of just that kind, which knows its request."""
    with pytest.raises(kind) as info:
        yield info
    assert type(info.value) is kind
    assert isinstance(info.value, RequestException)
    assert info.value.request is not None
    assert info.value.request.url == url


# -- Responses


def test_mounting_it_is_all_it_takes(server: Server, session: requests.Session):
    response = session.get(server.url + "/hello")
    assert (response.status_code, response.content) == (200, b"Hello, world")
    assert response.reason == ("OK" if server.way == "h2" else "")  # the other server gives none
    assert (response.url, response.ok, response.encoding) == (server.url + "/hello", True, "ISO-8859-1")
    assert response.headers["Content-Type"] == "text/plain"
    assert response.request.method == "GET"
    assert isinstance(response.connection, HTTPAdapter)
    assert response.raw.version == WAYS[server.way]
    assert response.raw.status == 200
    assert response.raw.isclosed() and response.raw.closed
    assert response.elapsed.total_seconds() > 0


def test_connection_is_used_again(server: Server, session: requests.Session):
    for _ in range(5):
        assert session.get(server.url + "/bytes/100000").content == b"".join(blocks(100_000))
    assert server.origin.connections == 1


def test_without_a_session_of_ours_http2_is_spoken_with_those_who_offer_it(nginx: Nginx, tls: TLSFiles):
    with requests.Session() as session:
        session.mount("https://", HTTPAdapter(ssl=httpcore.SSLConfig(verify=tls.ca_path)))
        response = session.get(nginx.h2_url)
        assert (response.raw.version, response.raw.version_string, response.text) == (20, "HTTP/2", "Hello, world")
        assert session.get(nginx.h2_url + "/missing").reason == "Not Found"
        assert response.raw.exchange.stream_id == 1
        assert session.get(nginx.tls_url).raw.version == 11


@pytest.mark.parametrize("path", ["/bytes/300000", "/chunked/300000"])
def test_content_is_the_same_in_every_way_to_read_it(path: str, server: Server, session: requests.Session):
    content = b"".join(blocks(300_000))
    url = server.url + path
    assert session.get(url).content == content
    for size in (1000, 65536, 1_000_000, None):
        with session.get(url, stream=True) as response:
            pieces = list(response.iter_content(size))
        assert b"".join(pieces) == content
        if size is not None:
            assert max(map(len, pieces)) <= size
            if "bytes" in path:
                assert {len(piece) for piece in pieces[:-1]} <= {size}
    with session.get(url, stream=True) as response:
        assert b"".join(iter(lambda: response.raw.read(7777), b"")) == content
        assert response.raw.tell() == len(content)
    with session.get(url, stream=True) as response:
        assert response.raw.read(0) + response.raw.read1(0) == b""
        assert response.raw.read(10) + response.raw.read1(10) + response.raw.read() == content
    with session.get(url, stream=True) as response:
        assert b"".join(response.raw.read_chunked(10_000)) == content
    with session.get(url, stream=True) as response:
        assert response.raw.data == content
    assert b"".join(session.get(url).iter_lines(delimiter=b"\n")) == content.replace(b"\n", b"")


@pytest.mark.parametrize("path", ["/status/204", "/status/304", "/hello"])
def test_no_content_is_empty(path: str, server: Server, session: requests.Session):
    response = session.request("HEAD" if path == "/hello" else "GET", server.url + path)
    assert (response.content, response.raw.read()) == (b"", b"")
    assert session.get(server.url + "/hello").text == "Hello, world"
    assert server.origin.connections == 1


@pytest.mark.parametrize("path", ["/events", "/events/gzip"])
@pytest.mark.parametrize("size", [1, 512, None])
def test_each_event_of_a_stream_is_given_as_it_comes(size: Any, path: str, server: Server, session: requests.Session):
    with session.get(server.url + path, stream=True) as response:
        lines = response.iter_lines(size)
        for number in range(3):
            server.event(b"data: %d\n" % number)
            server.event(b"\n")
            assert [next(lines), next(lines)] == [b"data: %d" % number, b""]
        server.event(b"")
        assert list(lines) == []


def test_text_and_json_are_decoded(server: Server, session: requests.Session):
    assert session.get(server.url + "/latin").text == "café"
    assert session.get(server.url + "/headers", headers={"x-test": "yes"}).json()["x-test"] == "yes"
    response = session.get(server.url + "/latin", stream=True)
    assert list(response.iter_content(2, decode_unicode=True)) == ["ca", "fé"]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_content_codings_are_undone_and_raw_content_is_left_alone(
    coding: str, server: Server, session: requests.Session
):
    url = f"{server.url}/coded/{coding}"
    assert coding in session.headers["accept-encoding"]
    response = session.get(url)
    assert response.content == DECODED
    assert response.headers["content-encoding"] == coding
    assert response.headers["content-length"] == str(len(coded(coding)))
    with session.get(url, stream=True) as response:
        assert response.raw.read() == coded(coding)
    with session.get(url, stream=True) as response:
        assert response.raw.read(decode_content=True) == DECODED
    with session.get(url, stream=True) as response:
        assert b"".join(response.iter_content(100)) == DECODED


def test_fields_of_one_name_are_joined_and_kept(server: Server, session: requests.Session):
    response = session.get(server.url + "/many")
    assert response.headers["X-Many"] == "one, two"
    assert response.raw.headers.getlist("x-many") == ["one", "two"]
    assert response.headers["x-latin"] == "café"


def test_response_that_is_left_unread_ends_its_connection(secure: Server, session: requests.Session):
    with session.get(secure.url + "/stall", stream=True) as response:
        assert response.raw.read1() == b"begun"
    assert response.raw.closed
    assert response.raw.read() == b""
    assert session.get(secure.url + "/hello").text == "Hello, world"
    assert secure.origin.connections == 2


def test_response_that_is_dropped_unread_warns_and_is_aborted(thread: Thread, session: requests.Session):
    over = threading.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nbegun")
        with contextlib.suppress(ConnectionError):
            await reader.read()
        over.set()

    response: requests.Response | None = session.get(thread.enter(serving(serve)).url, stream=True)
    assert response is not None and response.status_code == 200
    with pytest.warns(ResourceWarning, match="unclosed <Response 200>"):
        response = None
        gc.collect()
    assert over.wait(10)


def test_upgraded_connection_is_handed_out_or_closed(thread: Thread, session: requests.Session):
    over = threading.Semaphore(0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
        while data := await reader.read(100):
            writer.write(data)
        over.release()

    url = thread.enter(serving(serve)).url
    fields = {"connection": "upgrade", "upgrade": "echo"}
    with session.get(url, headers=fields, stream=True) as response:
        assert response.status_code == 101
        stream = response.raw.upgraded
    stream.write(b"hello")
    assert stream.read() == b"hello"
    stream.close()
    assert over.acquire(timeout=10)
    assert session.get(url, headers=fields).content == b""
    assert over.acquire(timeout=10)


# -- Requests


BODIES: dict[str, Callable[[Path], Any]] = {
    "bytes": lambda path: b"content",
    "text": lambda path: "content",
    "file": lambda path: path.open("rb"),
    "text file": lambda path: io.StringIO("content"),
    "memory": lambda path: io.BytesIO(b"content"),
    "generator": lambda path: (part for part in (b"con", b"", b"tent")),
    "generator of text": lambda path: (part for part in ("con", "tent")),
}


@pytest.mark.parametrize("kind", BODIES)
def test_body_of_every_kind_is_sent(kind: str, server: Server, session: requests.Session, tmp_path: Path):
    (tmp_path / "file").write_bytes(b"content")
    body = BODIES[kind](tmp_path / "file")
    report = session.put(server.url + "/upload?a=b", data=body).json()
    headers = dict(report["headers"])
    assert (report["method"], report["target"], report["size"]) == ("PUT", "/upload?a=b", 7)
    if not kind.startswith("generator"):
        assert headers["content-length"] == "7"
    elif server.way != "h2":
        assert headers["transfer-encoding"] == "chunked"
    if hasattr(body, "close"):
        body.close()


def test_file_is_sent_from_where_it_is(server: Server, session: requests.Session):
    body = io.BytesIO(b"some content")
    body.seek(5)
    report = session.post(server.url + "/upload", data=body).json()
    assert (report["size"], dict(report["headers"])["content-length"]) == (7, "7")


def test_form_json_and_files_are_coded_by_requests(server: Server, session: requests.Session):
    url = server.url + "/echo"
    assert session.post(url, data={"a": "b c"}).text == "a=b+c"
    assert session.post(url, json={"a": 1}).json() == {"a": 1}
    assert b'filename="name"' in session.post(url, files={"file": ("name", b"content")}).content
    assert session.post(url).content == b""
    assert session.get(url, params={"a": ["b", "c"]}).url == url + "?a=b&a=c"


def test_body_is_sent_while_the_response_comes(plain: Server, session: requests.Session):
    """What is sent back is read by the code that sends: the generator waits for each piece before it gives the next."""
    sent: list[bytes] = []

    def parts() -> Iterator[bytes]:
        for block in blocks(1_000_000):
            sent.append(block)
            yield block

    with session.post(plain.url + "/echo", data=parts(), stream=True) as response:
        content = response.content
    assert content == b"".join(sent)


def test_error_of_the_body_arrives_as_it_is(plain: Server, session: requests.Session):
    def parts() -> Iterator[bytes]:
        yield b"content"
        raise LookupError("no more of it")

    with pytest.raises(LookupError, match="no more of it"):
        session.post(plain.url + "/upload", data=parts())
    assert session.get(plain.url + "/hello").ok


def test_fields_are_sent_in_the_order_and_case_of_requests(thread: Thread, session: requests.Session):
    received: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    url = thread.enter(serving(serve)).url
    session.headers = {"X-First": "1", "User-Agent": urllib3.util.SKIP_HEADER, "X-Latin": "caf\xe9", "Host": "other"}  # type: ignore[assignment]
    session.get(url + "/path?query", headers={"X-Bytes": b"\xff"})
    assert received == [
        b"GET /path?query HTTP/1.1\r\nX-First: 1\r\nX-Latin: caf\xe9\r\nHost: other\r\nX-Bytes: \xff\r\n\r\n"
    ]


def test_many_bodies_go_up_and_come_back_whole(server: Server, session: requests.Session):
    size = 3_000_000
    report = session.post(server.url + "/upload", data=blocks(size)).json()
    assert (report["size"], report["sha256"]) == (size, sha256(size))


# -- Sessions


def test_cookies_are_kept_and_sent(server: Server, session: requests.Session):
    response = session.get(server.url + "/cookies?a=1&b=2")
    assert dict(response.cookies) == {"a": "1", "b": "2"}
    assert session.get(server.url + "/cookies").text == "a=1; b=2"
    message = response.raw._original_response.msg
    assert isinstance(message, http.client.HTTPMessage)
    assert message.get_all("set-cookie") == ["a=1; Path=/", "b=2; Path=/"]


def test_redirects_are_followed_with_their_cookies(server: Server, session: requests.Session):
    response = session.get(server.url + "/redirect/302?to=/cookies&cookie=yes")
    assert (response.url, response.text) == (server.url + "/cookies", "redirected=yes")
    assert [each.status_code for each in response.history] == [302]
    assert session.post(server.url + "/redirect/303?to=/upload", data=b"body").json()["method"] == "GET"
    assert session.post(server.url + "/redirect/307?to=/upload", data=b"body").json()["size"] == 4
    assert session.get(server.url + "/redirect/301?to=/hello", allow_redirects=False).status_code == 301
    with pytest.raises(TooManyRedirects):
        session.get(server.url + "/loop")
    assert server.origin.connections == 1


def test_file_is_rewound_for_a_redirect(server: Server, session: requests.Session):
    response = session.post(server.url + "/redirect/308?to=/upload", data=io.BytesIO(b"content"))
    assert response.json()["size"] == 7


def test_credentials_are_sent(server: Server, session: requests.Session):
    assert session.get(server.url + "/secret").status_code == 401
    assert session.get(server.url + "/secret", auth=CREDENTIALS).text == "secret"
    response = session.get(server.url + "/secret/digest", auth=HTTPDigestAuth(*CREDENTIALS))
    assert (response.text, [each.status_code for each in response.history]) == ("secret", [401])
    url = server.url.replace("://", "://{}:{}@".format(*CREDENTIALS)) + "/secret"
    assert session.get(url).text == "secret"
    assert session.get(url, auth=lambda request: request).status_code == 401
    assert server.origin.connections == 1


def test_sixteen_threads_share_a_session(server: Server, session: requests.Session):
    def work(number: int) -> list[int]:
        return [
            session.post(server.url + "/echo", data=b"%d" % number * 1000).content == b"%d" % number * 1000
            for _ in range(10)
        ]

    with ThreadPoolExecutor(16) as executor:
        results = list(executor.map(work, range(16)))
    assert results == [[True] * 10] * 16
    if server.way == "h2":
        assert server.origin.connections == 1


def test_there_is_no_limit_to_connections_of_responses_that_wait_to_be_read(plain: Server, session: requests.Session):
    with contextlib.ExitStack() as stack:
        for _ in range(110):  # a pool's own limit is 100
            stack.enter_context(session.get(plain.url + "/stall", stream=True))
        assert plain.origin.connections == 110


def test_session_that_was_closed_can_be_used_again(plain: Server, session: requests.Session):
    assert session.get(plain.url + "/hello").ok
    session.close()
    assert session.get(plain.url + "/hello").ok
    assert plain.origin.connections == 2


def test_given_pool_is_shared_and_closed_for_good(plain: Server):
    url = plain.url + "/hello"
    with httpcore.SyncConnectionPool() as pool:
        session = requests.Session()
        session.mount("http://", HTTPAdapter(pool))
        session.mount("http://localhost", HTTPAdapter(pool))
        assert session.get(url).content == pool.request("GET", url).body
        assert plain.origin.connections == pool.num_connections == 1
        session.close()
        with raises(requests.ConnectionError, url) as info:
            session.get(url)
        assert isinstance(info.value.__cause__, httpcore.PoolClosed)


def test_session_is_pickled_with_the_arguments_of_its_adapter(plain: Server):
    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(limits=httpcore.PoolLimits(hard_limit=1)))
        assert session.get(plain.url + "/hello").ok
        copy = pickle.loads(pickle.dumps(session))
    with copy:
        assert copy.get(plain.url + "/hello").ok
        with copy.get(plain.url + "/stall", stream=True), raises(requests.ConnectTimeout, plain.url + "/hello"):
            copy.get(plain.url + "/hello", timeout=httpcore.TimeoutConfig(pool_timeout=0.05))


def test_impossible_arguments_are_refused_at_once():
    with pytest.raises(TypeError, match="not both"), httpcore.SyncConnectionPool() as pool:
        HTTPAdapter(pool, http2=False)
    with pytest.raises(TypeError, match="max_retries"):
        HTTPAdapter(max_retries=3)  # type: ignore[call-arg]  # what requests' own takes
    with pytest.raises(TypeError, match="takes a SyncConnectionPool, not ConnectionPool"):
        HTTPAdapter(httpcore.ConnectionPool())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="cannot be pickled"), httpcore.SyncConnectionPool() as pool:
        pickle.dumps(HTTPAdapter(pool))


# -- TLS


def test_unknown_authority_is_an_ssl_error_and_verify_false_takes_it(
    server: Server, session: requests.Session, recwarn: pytest.WarningsRecorder
):
    url = server.url + "/hello"
    if server.way == "http":
        assert session.get(url, verify=True).ok
        return
    with raises(SSLError, url) as info:
        session.get(url, verify=True)
    assert "certificate was refused" in str(info.value)
    assert session.get(url, verify=False).ok
    assert session.get(url).ok
    assert server.origin.connections >= 2
    session.verify = True
    session.close()
    session.mount("https://", HTTPAdapter(ssl=httpcore.SSLConfig(verify=False)))
    assert session.get(url).ok


def test_context_of_the_adapter_is_used_unless_the_request_says_otherwise(
    secure: Server, session: requests.Session, tls: TLSFiles
):
    session.mount("https://", HTTPAdapter(ssl=tls.client_context))
    url = secure.url + "/hello"
    assert session.get(url, verify=True).ok
    assert session.get(url, verify=False).ok
    session.close()
    session.mount("https://", HTTPAdapter(ssl=ssl.create_default_context()))
    assert session.get(url).ok
    with raises(SSLError, url):
        session.get(url, verify=True)


def test_name_that_is_not_the_servers_is_an_ssl_error(secure: Server, session: requests.Session):
    session.mount("https://", HTTPAdapter(network=httpcore.NetworkConfig(connect_to={"other.test": "127.0.0.1"})))
    url = secure.url.replace("localhost", "other.test") + "/hello"
    with raises(SSLError, url):
        session.get(url)


def test_folder_and_environment_name_the_authorities(
    secure: Server, session: requests.Session, tls: TLSFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "ca.pem").write_bytes(tls.ca_path.read_bytes())
    subprocess.run(["openssl", "rehash", str(tmp_path)], check=True)
    assert session.get(secure.url + "/hello", verify=str(tmp_path)).ok
    session.verify = True
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls.ca_path))
    assert session.get(secure.url + "/hello").ok


@pytest.mark.parametrize("where", ["verify", "certificate", "key"])
def test_file_that_is_missing_is_an_os_error(where: str, secure: Server, session: requests.Session, tls: TLSFiles):
    missing = "/nowhere/file.pem"
    verify = missing if where == "verify" else str(tls.ca_path)
    cert = (missing, str(tls.key_path)) if where == "certificate" else (str(tls.cert_path), missing)
    with pytest.raises(OSError, match=f"there is nothing at '{missing}'"):
        session.get(secure.url, verify=verify, cert=None if where == "verify" else cert)


@pytest.mark.parametrize("form", ["pair", "one file"])
def test_client_certificate_is_sent(
    form: str, thread: Thread, session: requests.Session, tls: TLSFiles, tmp_path: Path
):
    context = tls.server_context
    context.load_verify_locations(tls.ca_path)
    context.verify_mode = ssl.CERT_REQUIRED
    url = thread.enter(asgi_server(App(), context)).url + "/hello"
    (tmp_path / "both.pem").write_bytes(tls.cert_path.read_bytes() + tls.key_path.read_bytes())
    cert: Any = (str(tls.cert_path), str(tls.key_path)) if form == "pair" else str(tmp_path / "both.pem")
    assert session.get(url, cert=cert).text == "Hello, world"
    with pytest.raises(requests.ConnectionError):
        session.get(url)
    session.cert = cert
    assert session.get(url).ok
    session.verify = True
    session.close()
    session.mount("https://", HTTPAdapter(ssl=httpcore.SSLConfig(verify=tls.ca_path)))
    assert session.get(url).ok


# -- Proxies


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("port", ["open", "auth", "tls"])
def test_squid_leads_there(port: str, way: str, squid: Squid, thread: Thread, session: requests.Session, tls: TLSFiles):
    server = Server(thread, way, tls)
    proxy: ProxyServer = getattr(squid, port)
    proxies = {"http": proxy.url_with_credentials, "https": proxy.url_with_credentials}
    response = session.get(server.url + "/hello", proxies=proxies)
    assert (response.text, response.raw.version) == ("Hello, world", WAYS[way])
    if port == "auth":
        proxies = {"http": proxy.url, "https": proxy.url}
        if way == "http":
            assert session.get(server.url, proxies=proxies).status_code == 407
        else:
            with raises(ProxyError, server.url + "/"):
                session.get(server.url, proxies=proxies)


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks4"])
def test_socks_leads_there(scheme: str, danted: ProxyServer, server: Server, session: requests.Session):
    proxies = {"all": danted.url_as(scheme)}
    assert session.get(server.url + "/hello", proxies=proxies).text == "Hello, world"


def test_credentials_of_a_socks_proxy_are_those_of_its_url(
    microsocks_auth: ProxyServer, server: Server, session: requests.Session
):
    url = server.url + "/hello"
    assert session.get(url, proxies={"all": microsocks_auth.url_with_credentials}).ok
    with raises(ProxyError, url):
        session.get(url, proxies={"all": microsocks_auth.url_as("socks5")})


@pytest.fixture
def proxy(thread: Thread) -> HTTPProxy:
    return thread.enter(http_proxy(auth=(USERNAME, PASSWORD)))


def test_proxies_are_chosen_by_scheme_and_host(proxy: HTTPProxy, server: Server, session: requests.Session):
    scheme, _, host = server.url.rpartition(":")[0].partition("://")
    url = proxy.url.replace("://", f"://{USERNAME}:{PASSWORD}@")
    session.proxies = {f"{scheme}://{host}": url, scheme: "http://nowhere.invalid"}
    assert session.get(server.url + "/hello").ok
    assert [request.method for request in proxy.requests] == [b"GET" if scheme == "http" else b"CONNECT"]
    assert proxy.requests[0].credentials == (USERNAME, PASSWORD)


def test_proxies_come_from_the_environment_but_not_for_no_proxy(
    proxy: HTTPProxy, server: Server, session: requests.Session, monkeypatch: pytest.MonkeyPatch
):
    for scheme in ("http", "https"):
        monkeypatch.setenv(f"{scheme}_proxy", proxy.url.replace("://", f"://{USERNAME}:{PASSWORD}@"))
    assert session.get(server.url + "/hello").ok
    assert len(proxy.requests) == 1
    monkeypatch.setenv("no_proxy", "localhost,127.0.0.1")
    assert session.get(server.url + "/hello").ok
    assert len(proxy.requests) == 1


def test_proxy_without_a_scheme_is_an_http_proxy(thread: Thread, server: Server, session: requests.Session):
    proxy = thread.enter(http_proxy())
    assert session.get(server.url + "/hello", proxies={"all": f"127.0.0.1:{proxy.port}"}).ok
    assert len(proxy.requests) == 1


def test_redirects_go_through_the_proxy(proxy: HTTPProxy, plain: Server, session: requests.Session):
    session.proxies = {"http": proxy.url.replace("://", f"://{USERNAME}:{PASSWORD}@")}
    assert session.get(plain.url + "/redirect/302?to=/hello").text == "Hello, world"
    assert [request.credentials for request in proxy.requests] == [(USERNAME, PASSWORD)] * 2


def test_verify_is_for_the_proxy_too(thread: Thread, secure: Server, session: requests.Session, tls: TLSFiles):
    proxy = thread.enter(http_proxy(tls.server_context, host="localhost"))
    url, proxies = secure.url + "/hello", {"https": f"https://localhost:{proxy.port}"}
    assert session.get(url, proxies=proxies).ok
    assert session.get(url, proxies=proxies, verify=False).ok
    with raises(ProxyError, url) as info:
        session.get(url, proxies=proxies, verify=True)
    assert "certificate was refused" in str(info.value)


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_proxy_that_is_not_there_is_a_proxy_error(scheme: str, server: Server, session: requests.Session):
    with raises(ProxyError, server.url + "/hello"):
        session.get(server.url + "/hello", proxies={"all": f"{scheme}://127.0.0.1:{closed_port()}"})


@pytest.mark.parametrize("proxy_url", ["http://", "http:///path", "ftp://127.0.0.1", "http://127.0.0.1/path"])
def test_proxy_that_makes_no_sense_is_an_invalid_proxy_url(proxy_url: str, plain: Server, session: requests.Session):
    with raises(InvalidProxyURL, plain.url + "/hello"):
        session.get(plain.url + "/hello", proxies={"http": proxy_url})


# -- Timeouts and errors


@pytest.mark.parametrize("timeout", [5, (5, None), (None, 5), None, urllib3.Timeout(5), urllib3.Timeout(total=5)])
def test_timeout_that_is_not_over_changes_nothing(timeout: Any, server: Server, session: requests.Session):
    assert session.get(server.url + "/hello", timeout=timeout).ok


@pytest.mark.parametrize(
    "timeout",
    [
        0.05,
        (None, 0.05),
        urllib3.Timeout(read=0.05),
        urllib3.Timeout(total=0.05),
        httpcore.TimeoutConfig(read_timeout=0.05),
        httpcore.TimeoutConfig(total_timeout=0.05),
    ],
    ids=["number", "pair", "read", "total", "TimeoutConfig", "total_timeout"],
)
def test_server_that_does_not_answer_is_a_read_timeout(timeout: Any, thread: Thread, session: requests.Session):
    url = answering(thread, b"", wait=True) + "/"
    with raises(requests.ReadTimeout, url):
        session.get(url, timeout=timeout)


@pytest.mark.parametrize("timeout", [0.05, (0.05, None), urllib3.Timeout(connect=0.05)], ids=["number", "pair", "own"])
def test_tls_that_does_not_come_is_a_connect_timeout(timeout: Any, session: requests.Session):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        with raises(requests.ConnectTimeout, url):
            session.get(url, timeout=timeout)


def test_server_that_takes_nothing_is_a_write_timeout(session: requests.Session):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with raises(RequestWriteTimeout, url) as info:
            session.post(url, data=blocks(20_000_000), timeout=(None, 0.05))
    assert isinstance(info.value, requests.Timeout) and isinstance(info.value, requests.ConnectionError)


def test_content_that_stops_coming_is_a_read_timeout_inside_a_connection_error(
    plain: Server, session: requests.Session
):
    with session.get(plain.url + "/stall", stream=True, timeout=0.05) as response:
        content = response.iter_content(5)
        assert next(content) == b"begun"
        with pytest.raises(requests.ConnectionError) as info:
            next(content)
    assert isinstance(info.value.args[0], urllib3.exceptions.ReadTimeoutError)
    response = session.get(plain.url + "/stall", stream=True, timeout=0.05)
    with response, pytest.raises(urllib3.exceptions.ReadTimeoutError):
        response.raw.read()


@pytest.mark.parametrize("timeout", [0, (1, 2, 3), (0, 1), -1])
def test_impossible_timeout_is_a_value_error(timeout: Any, plain: Server, session: requests.Session):
    with pytest.raises(ValueError, match="timeout"):
        session.get(plain.url, timeout=timeout)


def test_nobody_listens_is_a_connection_error(session: requests.Session):
    url = f"http://127.0.0.1:{closed_port()}/"
    with raises(requests.ConnectionError, url) as info:
        session.get(url)
    assert isinstance(info.value.__cause__, httpcore.ConnectError)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 ", b"SSH-2.0-OpenSSH\r\n\r\n"], ids=["none", "half", "another"])
def test_answer_that_is_none_is_a_connection_error(answer: bytes, thread: Thread, session: requests.Session):
    url = answering(thread, answer) + "/"
    with raises(requests.ConnectionError, url):
        session.get(url)


@pytest.mark.parametrize(
    "framing",
    [b"content-length: 10\r\n\r\nbegun", b"transfer-encoding: chunked\r\n\r\n5\r\nbegun\r\n"],
    ids=["length", "chunked"],
)
def test_content_that_is_cut_off_is_a_chunked_encoding_error(framing: bytes, thread: Thread, session: requests.Session):
    url = answering(thread, b"HTTP/1.1 200 OK\r\n" + framing)
    with pytest.raises(ChunkedEncodingError):
        session.get(url)
    with session.get(url, stream=True) as response, pytest.raises(urllib3.exceptions.ProtocolError):
        response.raw.read()
    assert response.raw.closed


def test_tls_that_breaks_in_the_content_is_an_ssl_error(thread: Thread, session: requests.Session, tls: TLSFiles):
    begun = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nbegun")
        await begun.wait()
        os.write(writer.get_extra_info("socket").fileno(), b"this is no record of TLS")
        with pytest.raises(ssl.SSLError, match=r"(?i)alert"):  # the client says what is wrong
            await reader.read()

    with session.get(thread.enter(serving(serve, tls.server_context)).url, stream=True) as response:
        content = response.iter_content(5)
        assert next(content) == b"begun"
        thread.call(begun.set)
        with pytest.raises(SSLError):
            next(content)


def test_coded_content_that_is_broken_is_a_content_decoding_error(server: Server, session: requests.Session):
    with pytest.raises(ContentDecodingError):
        session.get(server.url + "/broken")


def test_what_cannot_be_sent_is_refused(plain: Server, session: requests.Session):
    adapter = session.get_adapter("http://")

    def send(url: str = plain.url, headers: Any = None, data: Any = None, change: Callable[[Any], object] = id) -> None:
        request = session.prepare_request(requests.Request("POST", url, headers=headers, data=data))
        change(request)
        adapter.send(request)

    with pytest.raises(InvalidURL):
        send(change=lambda request: setattr(request, "url", "http://127.0.0.1:99999/"))
    with pytest.raises(InvalidSchema):
        send(change=lambda request: setattr(request, "url", "ftp://127.0.0.1/"))
    with pytest.raises(InvalidHeader):
        send(change=lambda request: request.headers.update({"x-bad": "line\r\nbreak"}))
    with pytest.raises(InvalidHeader):
        send(change=lambda request: request.headers.update({"x-bad": "\u20ac"}))
    with pytest.raises(InvalidHeader):
        send(data=b"content", change=lambda request: request.headers.update({"content-length": "5"}))
    with pytest.raises(MissingSchema):
        adapter.send(requests.PreparedRequest())
    with pytest.raises(RequestException) as info:
        send(url=plain.url + "/upload", data=iter([b"content"]), change=_say_five_bytes)
    assert isinstance(info.value.__cause__, httpcore.LocalProtocolError)
    assert session.get(plain.url + "/hello").ok


def _say_five_bytes(request: requests.PreparedRequest) -> None:
    del request.headers["transfer-encoding"]
    request.headers["content-length"] = "5"


# -- A gigabyte


_CLIENT = """
import json, sys, requests
from scripts.show import peak_memory
from httpcore.adapters.requests import HTTPAdapter
url, size, kind = sys.argv[1], int(sys.argv[2]), sys.argv[3]
block = bytes(1024 * 1024)
session = requests.Session()
session.mount("http://", HTTPAdapter())
with session:
    if kind == "download":
        with session.get(url, stream=True) as response:
            moved = sum(map(len, response.iter_content(1024 * 1024)))
    else:
        if kind == "generator":
            body = (block for _ in range(size // len(block)))
        else:
            body = open(sys.argv[4], "rb")
        moved = int(session.post(url, data=body).text)
        getattr(body, "close")()
print(json.dumps([moved, peak_memory()]))
"""


def run_client(url: str, kind: str, *arguments: object) -> tuple[int, float]:
    """Moves a gigabyte in a process of its own; returns how much came, and how many MiB of memory it took at most."""
    command = [sys.executable, "-W", "error", "-c", _CLIENT, url, str(GIGABYTE), kind, *map(str, arguments)]
    result = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    moved, memory = json.loads(result.stdout)
    return moved, memory


@pytest.fixture
def gigabyte(nginx: Nginx) -> Iterator[Path]:
    """A file of so many zeros, which nginx serves and no disk holds."""
    path = nginx.root / "gigabyte.bin"
    with path.open("wb") as file:
        file.truncate(GIGABYTE)
    yield path
    path.unlink()


def test_gigabyte_comes_down_in_bounded_memory(nginx: Nginx, gigabyte: Path):
    moved, memory = run_client(f"{nginx.url}/{gigabyte.name}", "download")
    assert moved == GIGABYTE
    assert memory < MEMORY


def sink(listener: socket.socket) -> None:
    """Takes one upload, and answers with how many bytes its content had."""
    connection, _ = listener.accept()
    with connection, connection.makefile("rb", buffering=1024 * 1024) as file:
        fields = http.client.parse_headers(io.BytesIO(b"".join(iter(file.readline, b"\r\n")).partition(b"\r\n")[2]))
        size = 0
        if "content-length" in fields:
            while part := file.read(min(1024 * 1024, int(fields["content-length"]) - size)):
                size += len(part)
        else:
            while length := int(file.readline(), 16):
                size += len(file.read(length + 2)) - 2
            file.readline()
        body = str(size).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))


@pytest.mark.parametrize("kind", ["file", "generator"])
def test_gigabyte_goes_up_in_bounded_memory(kind: str, gigabyte: Path):
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as executor:
        sunk = executor.submit(sink, listener)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        moved, memory = run_client(url, kind, gigabyte)
        sunk.result()
    assert moved == GIGABYTE
    assert memory < MEMORY


def test_raw_response_is_urllib3s(plain: Server, session: requests.Session):
    response = session.get(plain.url + "/hello", stream=True)
    assert isinstance(response.raw, RawResponse) and isinstance(response.raw, urllib3.HTTPResponse)
    assert response.raw.geturl() == plain.url + "/hello"
    assert io.BufferedReader(response.raw).read() == b"Hello, world"

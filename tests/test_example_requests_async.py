"""examples/requests_async.py: cookies, redirects, credentials and streams, over both versions of HTTP."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import httpcore
from examples.requests_async import HTTPError, Session, TooManyRedirects
from tests.adapters.requests_app import CREDENTIALS, DECODED, App
from tests.asgi_server import asgi_server
from tests.asgi_server_h2 import asgi_server_h2
from tests.conftest import TLSFiles
from tests.content import blocks, sha256
from tests.servers import Origin

_EXAMPLE = Path(__file__).parents[1] / "examples" / "requests_async.py"
REDIRECTS = [301, 302, 303, 307, 308]


@asynccontextmanager
async def serving(version: str, tls: TLSFiles) -> AsyncIterator[tuple[Origin, Session]]:
    """A server of `App` with a session for it."""
    pool = httpcore.ConnectionPool(httpcore.SSLConfig(verify=tls.ca_path))
    serve = asgi_server_h2 if version == "HTTP/2" else asgi_server
    async with serve(App(), tls.server_context) as origin, Session(pool) as session:
        yield origin, session


@pytest.fixture(params=["HTTP/1.1", "HTTP/2"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_answer_says_what_came(version: str, tls: TLSFiles):
    async with serving(version, tls) as (origin, session):
        response = await session.get(origin.url + "/latin")
        assert (response.status_code, response.url, response.history) == (200, origin.url + "/latin", [])
        assert (response.content, response.text) == ("café".encode("latin-1"), "café")
        assert response.headers["content-type"] == "text/plain; charset=latin-1"
        assert (await session.head(origin.url + "/latin")).content == b""
        assert (await session.get(origin.url + "/coded/gzip")).content == DECODED
        assert origin.connections == 1


async def test_bodies_fields_and_params_are_sent(version: str, tls: TLSFiles):
    async with serving(version, tls) as (origin, session):
        session.headers["X-Session"] = "kept"
        url = origin.url + "/upload"
        report = (await session.put(url + "?a=b#end", params={"c": "d e"}, data=b"1234", headers={"x-own": "1"})).json()
        fields = dict(report["headers"])
        assert (report["method"], report["target"], report["size"]) == ("PUT", "/upload?a=b&c=d+e", 4)
        assert (fields["x-session"], fields["x-own"]) == ("kept", "1")
        echo = origin.url + "/echo"
        assert (await session.post(echo, json={"a": [1]})).json() == {"a": [1]}
        assert (await session.post(echo, data={"a": "b c"})).text == "a=b+c"
        assert dict((await session.post(url, data={})).json()["headers"])["content-type"].endswith("urlencoded")
        assert (await session.get(url, params={"a": "b"})).json()["target"] == "/upload?a=b"


async def test_status_of_an_error_is_raised_on_demand(version: str, tls: TLSFiles):
    async with serving(version, tls) as (origin, session):
        (await session.get(origin.url + "/hello")).raise_for_status()
        response = await session.get(origin.url + "/status/404")
        with pytest.raises(HTTPError, match=f"404 for {origin.url}/status/404") as info:
            response.raise_for_status()
        assert info.value.response is response


async def test_cookies_are_kept_and_sent_to_those_who_set_them(version: str, tls: TLSFiles):
    async with serving(version, tls) as (origin, session):
        await session.get(origin.url + "/cookies?a=1&b=2")
        assert sorted(cookie.name for cookie in session.cookies) == ["a", "b"]
        assert (await session.get(origin.url + "/cookies")).text == "a=1; b=2"
        assert (await session.get(origin.url + "/cookies", headers={"Cookie": "own=3"})).text == "own=3"
        elsewhere = origin.url.replace("localhost", "127.0.0.1")
        assert (await session.get(elsewhere + "/cookies")).text == ""
        session.cookies.clear()
        assert (await session.get(origin.url + "/cookies")).text == ""


async def test_redirect_is_followed_with_the_cookie_that_it_set(version: str, tls: TLSFiles):
    async with serving(version, tls) as (origin, session):
        response = await session.get(origin.url + "/redirect/302?to=/cookies&cookie=yes#part")
        assert (response.text, response.url) == ("redirected=yes", origin.url + "/cookies#part")
        assert [(each.status_code, each.text) for each in response.history] == [(302, "moved")]
        response = await session.get(origin.url + "/redirect/302?to=/hello", follow_redirects=False)
        assert (response.status_code, response.history) == (302, [])
        assert origin.connections == 1


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT"])
@pytest.mark.parametrize("status", REDIRECTS)
async def test_method_and_body_after_a_redirect(status: int, method: str, tls: TLSFiles):
    async with serving("HTTP/1.1", tls) as (origin, session):
        body = b"content" if method in ("POST", "PUT") else None
        url = f"{origin.url}/redirect/{status}?to=/upload"
        response = await session.request(method, url, data=body, headers={"Content-Type": "text/plain"})
        assert [each.status_code for each in response.history] == [status]
        if method == "HEAD":
            assert (response.status_code, response.content) == (200, b"")
            return
        report = response.json()
        fields = dict(report["headers"])
        becomes_get = status == 303 or (method == "POST" and status in (301, 302))
        if becomes_get:
            assert (report["method"], report["size"]) == ("GET", 0)
            assert not any(name.startswith("content-") for name in fields)
        else:
            assert (report["method"], report["size"]) == (method, len(body or b""))
            assert fields["content-type"] == "text/plain"


@pytest.mark.parametrize("again", [True, False], ids=["callable", "generator"])
async def test_stream_is_sent_again_only_if_it_can(again: bool, version: str, tls: TLSFiles):
    async def parts() -> AsyncIterator[bytes]:
        for block in blocks(300_000):
            yield block

    async with serving(version, tls) as (origin, session):
        url = origin.url + "/redirect/307?to=/upload"
        response = await session.put(url, data=parts if again else parts())
        if again:
            assert response.json()["sha256"] == sha256(300_000)
        else:
            assert (response.status_code, response.headers["location"]) == (307, "/upload")


async def test_endless_redirects_are_an_error(version: str, tls: TLSFiles):
    async with serving(version, tls) as (origin, session):
        session.max_redirects = 3
        with pytest.raises(TooManyRedirects, match=f"more than 3 redirects from {origin.url}/loop"):
            await session.get(origin.url + "/loop")
        assert origin.connections == 1


async def test_credentials_stay_with_their_origin(version: str, tls: TLSFiles):
    async with serving(version, tls) as (origin, session), serving(version, tls) as (other, _):
        assert (await session.get(origin.url + "/secret")).status_code == 401
        assert (await session.get(origin.url + "/secret", auth=CREDENTIALS)).text == "secret"
        session.auth = CREDENTIALS
        redirect = origin.url + "/redirect/302"
        own = {"X-Own": "yes", "Cookie": "own=1"}
        fields = (await session.get(redirect, params={"to": "/headers"}, headers=own)).json()
        assert fields["authorization"].startswith("Basic ")
        assert (fields["x-own"], fields["cookie"]) == ("yes", "own=1")
        fields = (await session.get(redirect, params={"to": other.url + "/headers"}, headers=own)).json()
        assert "authorization" not in fields
        assert "cookie" not in fields
        assert fields["x-own"] == "yes"


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("../upload", "/upload"),
        ("/upload?a=b", "/upload?a=b"),
        ("//{host}/upload", "/upload"),
        ("https://{host}/upload", "/upload"),
        ("/upload?a b", "/upload?a%20b"),
        ("/upload?café", "/upload?caf%C3%A9"),
    ],
)
async def test_location_of_every_form_is_understood(location: str, target: str, tls: TLSFiles):
    async with serving("HTTP/1.1", tls) as (origin, session):
        # The server sends it as latin-1, and what is to be sent is UTF-8.
        to = location.format(host=origin.url.removeprefix("https://")).encode().decode("latin-1")
        response = await session.get(origin.url + "/redirect/302", params={"to": to})
        assert response.json()["target"] == target


async def test_redirect_to_another_scheme_is_refused(tls: TLSFiles):
    async with serving("HTTP/1.1", tls) as (origin, session):
        with pytest.raises(httpcore.UnsupportedProtocol):
            await session.get(origin.url + "/redirect/302", params={"to": "ftp://localhost/"})


async def test_stream_is_read_piece_by_piece(version: str, tls: TLSFiles):
    async with serving(version, tls) as (origin, session):
        async with await session.get(origin.url + "/redirect/302?to=/chunked/1000000", stream=True) as response:
            assert not hasattr(response, "content")
            content = b"".join([part async for part in response.stream()])
        assert content == b"".join(blocks(1_000_000))
        async with await session.get(origin.url + "/bytes/1000", stream=True) as response:
            assert len(await response.read()) == len(response.content) == 1000
        assert origin.connections == 1


async def test_timeout_is_of_one_request(version: str, tls: TLSFiles):
    async with serving(version, tls) as (origin, session):
        with pytest.raises(httpcore.ReadTimeout):
            await session.get(origin.url + "/hang", timeout=0.05)
        assert (await session.get(origin.url + "/hello")).text == "Hello, world"


async def _run(*arguments: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-X", "dev", str(_EXAMPLE), *arguments),
        env={"PYTHONPATH": str(_EXAMPLE.parents[1])},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_program_prints_where_a_url_leads():
    async with asgi_server(App()) as origin:
        url = f"{origin.url}/redirect/302?to=/hello"
        assert await _run(url) == (0, f"302 {url}\n200 {origin.url}/hello\nHello, world\n", "")


def test_example_is_small():
    assert len(_EXAMPLE.read_text().splitlines()) <= 200

"""Every kind of route, to origins and through proxies that others have written; the table is tests/route_kinds.py.

The last test prints what was covered.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import httpcore
from tests.conftest import TLSFiles
from tests.content import blocks, sha256
from tests.route_kinds import KINDS, SIZE, Cell, Kind, Scheme, Site, Version, Way
from tests.servers import Nginx
from tests.servers_proxies import USERNAME, ProxyServer, Squid

_AT_ONCE = 20
_SCHEMES: tuple[Scheme, ...] = ("http", "https")
_VERSIONS: tuple[Version, ...] = ("HTTP/1.1", "HTTP/2")


def _possible(kind: Kind, cell: Cell, origin: str) -> bool:
    # To be spoken to in HTTP/1.1, such origins must not be offered HTTP/2; nor would the proxy be then.
    over_http2 = kind.name == "nghttpx, CONNECT over HTTP/2"
    return not (over_http2 and cell == ("https", "HTTP/1.1") and origin in ("hypercorn", "lighttpd"))


_CASES = [
    (kind, cell, origin)
    for kind in KINDS
    for cell in kind.cells
    for origin in kind.origins
    if _possible(kind, cell, origin)
]
_outcomes: dict[tuple[str, Cell, str], str] = {}  # of those that have run


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Iterator[tuple[Kind, Cell, Site, Way]]:
    """A cell of the table, with servers that run."""
    kind, cell, origin = request.param
    key = kind.name, cell, origin
    _outcomes[key] = "failed"
    try:
        site = kind.site(request.getfixturevalue, cell, origin)
        way = kind.open(request.getfixturevalue, site)
    except pytest.skip.Exception:
        _outcomes[key] = "skipped"
        raise
    failed_before = request.session.testsfailed
    yield kind, cell, site, way
    if request.session.testsfailed == failed_before:
        _outcomes[key] = "passed"


def _pool(kind: Kind, cell: Cell, site: Site, way: Way, tls: TLSFiles) -> httpcore.ConnectionPool:
    arguments: dict[str, Any] = {"ssl": httpcore.SSLConfig(verify=tls.ca_path)}
    if cell == ("http", "HTTP/2") and not kind.forwards:
        arguments["http1"] = False  # without TLS nothing but prior knowledge leads to HTTP/2
    if cell == ("https", "HTTP/1.1") and site.picks:
        arguments["http2"] = False
    return httpcore.ConnectionPool(**{**arguments, **way.pool_arguments})


def _connection_of(response: httpcore.Response) -> int:
    return _info_of(response).connection_id


def _info_of(response: httpcore.Response) -> httpcore.ConnectionInfo:
    assert response.exchange is not None
    assert response.exchange.connection_info is not None
    return response.exchange.connection_info


@pytest.mark.parametrize(
    "case", _CASES, indirect=True, ids=[f"{kind.name}-{'-'.join(cell)}-{origin}" for kind, cell, origin in _CASES]
)
async def test_route(case: tuple[Kind, Cell, Site, Way], tls: TLSFiles):
    kind, cell, site, way = case
    hello = way.url + site.hello
    async with _pool(*case, tls) as http:
        # One after another, on one connection.
        first = await http.request("GET", hello)
        assert (first.status_code, first.body[: len(site.text)]) == (200, site.text)
        assert first.http_version == cell[1].encode()
        info = _info_of(first)
        forwarder = way.pool_arguments["proxy"].scheme if kind.forwards else None
        assert (info.tls is not None) == ("https" in (cell[0], forwarder))
        if way.port is not None:
            assert info.peer_address is not None
            assert info.peer_address[1] == way.port
        second = await http.request("GET", hello)
        assert second.body == first.body
        assert (_connection_of(second) == _connection_of(first)) == way.kept
        head = await http.request("HEAD", hello)
        assert (head.status_code, head.body) == (200, b"")

        # Large content.
        if site.download is not None:
            response = await http.request("GET", way.url + site.download)
            assert (len(response.body), hashlib.sha256(response.body).hexdigest()) == (SIZE, sha256(SIZE))
        if site.upload is not None:
            response = await http.request("POST", way.url + site.upload, body=lambda: blocks(SIZE))
            assert json.loads(response.body)["sha256"] == sha256(SIZE)
        last = await http.request("GET", hello)
        assert (_connection_of(last) == _connection_of(first)) == way.kept

        # At once.
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(http.request("GET", hello)) for _ in range(_AT_ONCE)]
        assert {task.result().body for task in tasks} == {first.body}
        if cell[1] == "HTTP/2" and site.streams >= _AT_ONCE:
            assert {_connection_of(task.result()) for task in tasks} == {_connection_of(first)}
    assert http.num_connections == 0


# What goes wrong


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port that nobody listens on, nor will."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield unused.getsockname()[1]


@contextlib.asynccontextmanager
async def _one_place(
    proxy: httpcore.Proxy | None, tls: TLSFiles, nginx: Nginx
) -> AsyncIterator[httpcore.ConnectionPool]:
    """A pool with place for one connection; at the end it has to be free, for a request to whom it can reach."""
    ssl = httpcore.SSLConfig(verify=tls.ca_path)
    async with httpcore.ConnectionPool(ssl, proxy=proxy, limits=httpcore.PoolLimits(hard_limit=1)) as http:
        yield http
        response = await http.request("GET", nginx.tls_url + "/", proxy=httpcore.DIRECT)
        assert response.body == b"Hello, world"
    assert http.num_connections == 0


def _proxy_server(request: pytest.FixtureRequest, name: str) -> ProxyServer:
    if name == "squid":
        squid: Squid = request.getfixturevalue(name)
        return squid.auth
    server = request.getfixturevalue(name)
    assert isinstance(server, ProxyServer)
    return server


# tinyproxy says 401 to credentials that are wrong, with a challenge that is not for proxies.
refusing = pytest.mark.parametrize(
    ("name", "auth", "status"),
    [
        ("squid", None, 407),
        ("squid", (USERNAME, "wrong"), 407),
        ("tinyproxy", None, 407),
        ("tinyproxy", (USERNAME, "wrong"), 401),
    ],
    ids=["squid-none", "squid-wrong", "tinyproxy-none", "tinyproxy-wrong"],
)
Auth = tuple[str, str] | None


@refusing
@pytest.mark.parametrize("scheme", _SCHEMES)
async def test_tunnel_without_the_right_password_is_a_proxy_error_with_the_challenge(
    request: pytest.FixtureRequest, name: str, auth: Auth, status: int, scheme: Scheme, tls: TLSFiles, nginx: Nginx
):
    proxy = httpcore.Proxy(_proxy_server(request, name).url, auth=auth, tunnel=True)
    url = nginx.url if scheme == "http" else nginx.tls_url
    async with _one_place(proxy, tls, nginx) as http:
        with pytest.raises(httpcore.ProxyError, match=f"refused a tunnel to .* with {status} ") as caught:
            await http.request("GET", url + "/")
        assert caught.value.status_code == status
        assert caught.value.body
        assert "wrong" not in str(caught.value)
        if status == 407:
            challenge = httpcore.Headers(caught.value.headers)["proxy-authenticate"]
            assert challenge.startswith("Basic ")
            assert f"asks for credentials: {challenge!r}" in str(caught.value)


@refusing
async def test_forwarded_request_without_the_right_password_gets_the_proxys_response(
    request: pytest.FixtureRequest, name: str, auth: Auth, status: int, tls: TLSFiles, nginx: Nginx
):
    proxy = httpcore.Proxy(_proxy_server(request, name).url, auth=auth)
    async with _one_place(proxy, tls, nginx) as http:
        response = await http.request("GET", nginx.url + "/")
        assert response.status_code == status
        challenge = "proxy-authenticate" if status == 407 else "www-authenticate"
        assert response.headers[challenge].startswith("Basic ")


@pytest.mark.parametrize("auth", [(USERNAME, "wrong"), None], ids=["wrong", "none"])
async def test_wrong_or_no_password_for_socks_is_a_proxy_error(
    auth: Auth, microsocks_auth: ProxyServer, tls: TLSFiles, nginx: Nginx
):
    proxy = httpcore.Proxy(microsocks_auth.url, auth=auth)
    async with _one_place(proxy, tls, nginx) as http:
        with pytest.raises(httpcore.ProxyError) as caught:
            await http.request("GET", nginx.url + "/")
        assert caught.value.status_code is None
        assert "wrong" not in str(caught.value)


_PROXIES = [kind.name for kind in KINDS if kind.name.startswith(("squid", "tinyproxy", "nghttpx", "micro", "danted"))]


@pytest.mark.parametrize("name", _PROXIES)
async def test_target_that_a_proxy_cannot_reach_leaves_the_place_free(
    request: pytest.FixtureRequest, name: str, unused_port: int, tls: TLSFiles, nginx: Nginx
):
    kind = next(kind for kind in KINDS if kind.name == name)
    way = kind.open(request.getfixturevalue, kind.site(request.getfixturevalue, kind.cells[0], "nginx"))
    proxy: httpcore.Proxy = way.pool_arguments["proxy"]
    async with _one_place(proxy, tls, nginx) as http:
        if kind.forwards:
            response = await http.request("GET", f"http://127.0.0.1:{unused_port}/")
            assert response.status_code in (500, 502, 503)
        else:
            for scheme in _SCHEMES:
                with pytest.raises(httpcore.ProxyError) as caught:
                    await http.request("GET", f"{scheme}://127.0.0.1:{unused_port}/")
                assert caught.value.status_code in ((None,) if proxy.is_socks else (500, 502, 503))
                assert str(unused_port) in str(caught.value)


@pytest.mark.parametrize("scheme", _SCHEMES)
async def test_target_that_nobody_can_reach_leaves_the_place_free(
    scheme: str, unused_port: int, tls: TLSFiles, nginx: Nginx
):
    async with _one_place(None, tls, nginx) as http:
        with pytest.raises(httpcore.ConnectError):
            await http.request("GET", f"{scheme}://127.0.0.1:{unused_port}/")


@pytest.mark.parametrize("scheme", ["http", "https", "socks5", "socks4"])
async def test_proxy_that_nobody_can_reach_leaves_the_place_free(
    scheme: str, unused_port: int, tls: TLSFiles, nginx: Nginx
):
    proxy = httpcore.Proxy(f"{scheme}://127.0.0.1:{unused_port}")
    async with _one_place(proxy, tls, nginx) as http:
        for url in nginx.url, nginx.tls_url:
            with pytest.raises(httpcore.ConnectError):
                await http.request("GET", url + "/")


# What was covered


def _table() -> str:
    columns: list[Cell] = [(scheme, version) for scheme in _SCHEMES for version in _VERSIONS]
    rows = [["", *(f"{scheme} {version}" for scheme, version in columns)]]
    for kind in KINDS:
        row = [kind.name]
        for cell in columns:
            found = {origin: _outcomes.get((kind.name, cell, origin)) for origin in kind.origins}
            names = [origin if how == "passed" else f"{origin} {how}" for origin, how in found.items() if how]
            row.append(", ".join(names) or ("not run" if cell in kind.cells else "-"))
        rows.append(row)
    widths = [max(len(row[index]) for row in rows) for index in range(len(columns) + 1)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    reasons = [f"{kind.name}: {kind.why_not}" for kind in KINDS if kind.why_not]
    return "\n".join(["", "Routes:", "", *lines, "", "Empty cells:", "", *reasons])


def test_every_route_that_is_possible_was_covered(
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
    record_testsuite_property: Callable[[str, object], None],
):
    for kind in KINDS:
        empty = len(_SCHEMES) * len(_VERSIONS) - len(kind.cells)
        assert (empty > 0) == bool(kind.why_not), f"{kind.name} has {empty} empty cells: {kind.why_not or 'why?'}"
    table = _table()
    record_testsuite_property("routes", table)
    with capsys.disabled():
        print(table)
    # Of those that were asked for, which may be a few, none is missing; where there are no servers some are skipped.
    asked_for = {item.callspec.id for item in request.session.items if item.name.startswith("test_route[")}  # type: ignore[attr-defined]  # pytest's
    for kind, cell, origin in _CASES:
        if f"{kind.name}-{'-'.join(cell)}-{origin}" in asked_for:
            assert _outcomes.get((kind.name, cell, origin)) in ("passed", "skipped"), (kind.name, cell, origin)

"""Every kind of route, to origins and through proxies that others have written; the table is tests/route_kinds.py.

The last test prints what was covered.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import socket
from collections.abc import Callable, Iterator

import pytest

import httpcore
from tests.conftest import TLSFiles
from tests.content import blocks, sha256
from tests.route_kinds import KINDS, ORIGINS, SIZE, Cell, Kind, Scheme, Site, Version, Way, proxy_of
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
def case(request: pytest.FixtureRequest) -> Iterator[tuple[Way, Site, Cell]]:
    kind, cell, origin = request.param
    key = kind.name, cell, origin
    _outcomes[key] = "failed"
    try:
        site = ORIGINS[origin](request.getfixturevalue, *cell)
        way = kind.open(request.getfixturevalue, site)
    except pytest.skip.Exception:
        _outcomes[key] = "skipped"
        raise
    failed_before = request.session.testsfailed
    yield way, site, cell
    if request.session.testsfailed == failed_before:
        _outcomes[key] = "passed"


def _pool(way: Way, site: Site, cell: Cell, tls: TLSFiles) -> httpcore.ConnectionPool:
    arguments: dict[str, object] = {"ssl": httpcore.SSLConfig(verify=tls.ca_path)}
    if cell == ("http", "HTTP/2") and way.url.startswith("http:") and not _forwards(way):
        arguments["http1"] = False
    if cell == ("https", "HTTP/1.1") and site.picks:
        arguments["http2"] = False
    return httpcore.ConnectionPool(**{**arguments, **way.pool_arguments})  # type: ignore[arg-type]  # of many types


def _forwards(way: Way) -> bool:
    proxy = way.pool_arguments.get("proxy")
    return isinstance(proxy, httpcore.Proxy) and not proxy.is_socks and not proxy.tunnel


def _connection_of(response: httpcore.Response) -> int:
    return _info_of(response).connection_id


def _info_of(response: httpcore.Response) -> httpcore.ConnectionInfo:
    assert response.exchange is not None
    assert response.exchange.connection_info is not None
    return response.exchange.connection_info


@pytest.mark.parametrize(
    "case", _CASES, indirect=True, ids=[f"{kind.name}-{'-'.join(cell)}-{origin}" for kind, cell, origin in _CASES]
)
async def test_route(case: tuple[Way, Site, Cell], tls: TLSFiles):
    way, site, cell = case
    hello = way.url + site.hello
    async with _pool(way, site, cell, tls) as http:
        # One after another, on one connection.
        first = await http.request("GET", hello)
        assert (first.status_code, first.body[: len(site.text)]) == (200, site.text)
        assert first.http_version == cell[1].encode()
        info = _info_of(first)
        assert (info.tls is not None) == (cell[0] == "https" or _tls_to_forwarder(way))
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
        if cell[1] == "HTTP/2":
            assert {_connection_of(task.result()) for task in tasks} == {_connection_of(first)}
    assert http.num_connections == 0


def _tls_to_forwarder(way: Way) -> bool:
    return _forwards(way) and way.pool_arguments["proxy"].scheme == "https"


# What goes wrong


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port that nobody listens on, nor will."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield unused.getsockname()[1]


@contextlib.asynccontextmanager
async def _one_place(proxy: httpcore.Proxy | None, tls: TLSFiles, nginx: Nginx):
    """A pool with place for one connection; at the end it has to be free, for a request to whom it can reach."""
    ssl = httpcore.SSLConfig(verify=tls.ca_path)
    async with httpcore.ConnectionPool(ssl, proxy=proxy, limits=httpcore.PoolLimits(hard_limit=1)) as http:
        yield http
        response = await http.request("GET", nginx.tls_url + "/", proxy=httpcore.DIRECT)
        assert response.body == b"Hello, world"
    assert http.num_connections == 0


Find = Callable[[pytest.FixtureRequest], ProxyServer]


def _squid_auth(request: pytest.FixtureRequest) -> ProxyServer:
    squid: Squid = request.getfixturevalue("squid")
    return squid.auth


def _tinyproxy(request: pytest.FixtureRequest) -> ProxyServer:
    server = request.getfixturevalue("tinyproxy")
    assert isinstance(server, ProxyServer)
    return server


@pytest.mark.parametrize("find", [_squid_auth, _tinyproxy], ids=["squid", "tinyproxy"])
@pytest.mark.parametrize("scheme", _SCHEMES)
async def test_wrong_password_for_a_tunnel_is_a_proxy_error_with_the_challenge(
    request: pytest.FixtureRequest, find: Find, scheme: Scheme, tls: TLSFiles, nginx: Nginx
):
    proxy = proxy_of(find(request), tls, tunnel=True, auth=(USERNAME, "wrong"))
    url = nginx.url if scheme == "http" else nginx.tls_url
    async with _one_place(proxy, tls, nginx) as http:
        with pytest.raises(httpcore.ProxyError, match="asks for credentials: Basic") as caught:
            await http.request("GET", url + "/")
        assert caught.value.status_code == 407
        assert caught.value.headers["proxy-authenticate"].startswith("Basic ")
        assert "wrong" not in str(caught.value)


@pytest.mark.parametrize("find", [_squid_auth, _tinyproxy], ids=["squid", "tinyproxy"])
async def test_wrong_password_for_a_forwarded_request_is_a_407(
    request: pytest.FixtureRequest, find: Find, tls: TLSFiles, nginx: Nginx
):
    proxy = proxy_of(find(request), tls, auth=(USERNAME, "wrong"))
    async with _one_place(proxy, tls, nginx) as http:
        response = await http.request("GET", nginx.url + "/")
        assert response.status_code == 407
        assert response.headers["proxy-authenticate"].startswith("Basic ")


@pytest.mark.parametrize("auth", [(USERNAME, "wrong"), None], ids=["wrong", "none"])
async def test_wrong_or_no_password_for_socks_is_a_proxy_error(
    auth: tuple[str, str] | None, microsocks_auth: ProxyServer, tls: TLSFiles, nginx: Nginx
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
    site = ORIGINS["nginx"](request.getfixturevalue, "http", "HTTP/1.1")
    way = kind.open(request.getfixturevalue, site)
    proxy: httpcore.Proxy = way.pool_arguments["proxy"]
    async with _one_place(proxy, tls, nginx) as http:
        if _forwards(way):
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

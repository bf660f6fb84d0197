"""The names of httpcore 1.x in this package: which there are, which of two a call means, what importing them costs."""

from __future__ import annotations

import copy
import inspect
import pickle
import subprocess
import sys
from typing import Any

import httpx
import pytest

import httpcore
from httpcore import compat
from httpcore.namesakes import share_name

EXCEPTIONS = [
    "ConnectError",
    "ConnectTimeout",
    "LocalProtocolError",
    "NetworkError",
    "PoolTimeout",
    "ProtocolError",
    "ProxyError",
    "ReadError",
    "ReadTimeout",
    "RemoteProtocolError",
    "TimeoutException",
    "UnsupportedProtocol",
    "WriteError",
    "WriteTimeout",
]
LAZY = ["AsyncConnectionPool", "AsyncHTTPProxy", "AsyncSOCKSProxy", "HTTPProxy", "SOCKSProxy"]
SHARED = ["ConnectionPool", "Request", "URL"]
POOL_KEYWORDS: dict[str, Any] = {
    "ssl_context": None,
    "max_connections": 10,
    "max_keepalive_connections": 5,
    "keepalive_expiry": 5.0,
    "retries": 0,
    "local_address": None,
    "uds": None,
    "socket_options": None,
    "network_backend": None,
}


def test_all_twenty_two_names_are_there() -> None:
    names = EXCEPTIONS + LAZY + SHARED
    assert len(names) == 22
    assert [name for name in names if not isinstance(getattr(httpcore, name), type)] == []


@pytest.mark.parametrize("name", LAZY)
def test_name_is_the_one_of_compat(name: str) -> None:
    assert getattr(httpcore, name) is getattr(compat, name)


def test_name_that_there_is_not_is_an_error() -> None:
    with pytest.raises(AttributeError, match="module 'httpcore' has no attribute 'AnyIOBackend'"):
        assert httpcore.AnyIOBackend  # type: ignore[attr-defined]


def test_importing_the_package_imports_none_of_it() -> None:
    code = (
        "import sys, httpcore; httpcore.ConnectionPool(); httpcore.URL('http://a/'); httpcore.Request('GET', 'http://a');"
        "sys.exit(any(name.startswith(('httpcore.compat', 'httpcore.adapters', 'httpx')) for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_compat_does_without_httpx() -> None:
    code = "import sys, httpcore; httpcore.AsyncConnectionPool(); sys.exit('httpx' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_exception_is_the_clients_of_the_same_name(name: str) -> None:
    from httpx._transports.default import map_httpcore_exceptions

    with pytest.raises(httpx.TransportError) as caught, map_httpcore_exceptions():
        raise getattr(httpcore, name)("what went wrong")
    assert type(caught.value) is getattr(httpx, name)
    assert str(caught.value) == "what went wrong"


@pytest.mark.parametrize("keyword", POOL_KEYWORDS)
def test_pool_with_a_keyword_of_httpcore_1_is_blocking(keyword: str) -> None:
    pool: Any = httpcore.ConnectionPool(**{keyword: POOL_KEYWORDS[keyword]})
    assert type(pool) is compat.ConnectionPool


def test_pool_keywords_are_the_ones_that_ours_does_not_know() -> None:
    known = set(inspect.signature(httpcore.ConnectionPool).parameters)
    ours = {*compat.pools.PoolKeywords.__annotations__, "ssl_context"} - known
    assert ours == POOL_KEYWORDS.keys()


@pytest.mark.parametrize("arguments", [{}, {"http1": True, "http2": False}, {"proxy": None}, {"limits": None}])
def test_pool_with_keywords_of_its_own_is_async(arguments: dict[str, Any]) -> None:
    assert type(httpcore.ConnectionPool(**arguments)) is httpcore.ConnectionPool


def test_unknown_keyword_is_refused_by_who_is_meant() -> None:
    with pytest.raises(TypeError, match=r"ConnectionPool.__init__\(\) got an unexpected keyword argument 'max_conns'"):
        httpcore.ConnectionPool(max_conns=10)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'limits'"):
        httpcore.ConnectionPool(max_connections=10, limits=None)  # type: ignore[call-arg]


def test_subclass_takes_what_keywords_it_likes() -> None:
    class Pool(httpcore.ConnectionPool):
        def __init__(self, max_connections: int) -> None:
            super().__init__(limits=httpcore.PoolLimits(hard_limit=max_connections))

    assert type(Pool(max_connections=3)) is Pool


def test_url_of_parts_is_the_one_of_httpcore_1() -> None:
    url: Any = httpcore.URL(scheme=b"https", host=b"example.org", port=None, target=b"*")  # type: ignore[call-arg]
    assert url == compat.URL(scheme="https", host="example.org", target="*")
    assert type(httpcore.URL("https://example.org")) is httpcore.URL
    assert type(httpcore.URL(url="https://example.org")) is httpcore.URL


def test_request_with_content_or_extensions_is_the_one_of_httpcore_1() -> None:
    for keyword in ("content", "extensions"):
        request: Any = httpcore.Request("GET", "http://example.org", **{keyword: None})  # type: ignore[arg-type]
        assert type(request) is compat.Request
    assert type(httpcore.Request("GET", "http://example.org", headers={}, body=b"", target=b"/")) is httpcore.Request


def test_classes_look_as_without_a_namesake() -> None:
    parameters = inspect.signature(httpcore.ConnectionPool).parameters
    assert list(parameters)[:3] == ["ssl", "timeout", "limits"]
    assert list(inspect.signature(httpcore.URL).parameters) == ["url"]
    url = httpcore.URL("http://user:secret@example.org/")
    assert copy.copy(url) == pickle.loads(pickle.dumps(url)) == url
    assert httpcore.Request.__new__.__qualname__ == "Request.__new__"


def test_namesake_is_looked_up_once() -> None:
    class Fraction:
        pass

    share_name(Fraction, "fractions", {"numerator"})
    assert type(Fraction()) is Fraction
    made: Any = Fraction(numerator=3)  # type: ignore[call-arg]
    assert made == 3
    assert type(made) is not Fraction

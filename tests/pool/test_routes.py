"""Routes and their options: what follows from a request, and from what the pool and the request say of the way."""

from __future__ import annotations

import itertools
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from httpcore import (
    DIRECT,
    ConnectError,
    ConnectionPool,
    InvalidURL,
    LocalProtocolError,
    NetworkConfig,
    Origin,
    PoolTimeout,
    Proxy,
    ProxyProtocol,
    Request,
    SSLConfig,
    UnsupportedProtocol,
)
from httpcore.pool.routes import NO_OPTIONS, Route, RouteOptions
from httpcore.protocols.handshake import Versions
from httpcore.proxies import ProxyChooser

BOTH, HTTP1, HTTP2 = Versions.of(True, True), Versions.of(True, False), Versions.of(False, True)
HTTP, HTTPS = Origin("http", "a", 80), Origin("https", "a", 443)
PLAIN = Proxy("http://proxy:3128")
SECURE = Proxy("https://proxy:3129", ssl=SSLConfig(verify=False))
SOCKS = Proxy("socks5h://proxy")
WEBSOCKET = {"Connection": "Upgrade", "Upgrade": "websocket"}
NETWORK = NetworkConfig(connect_to={"elsewhere": "b"})
HEADER = ProxyProtocol()


def options_of(
    ssl: SSLConfig | None = None,
    proxy: Proxy | ProxyChooser | None = None,
    network: NetworkConfig | None = None,
    proxy_protocol: ProxyProtocol | None = None,
) -> RouteOptions:
    return NO_OPTIONS.override(ssl, proxy, network, proxy_protocol)


# What a caller says.


def test_nothing_is_the_default_of_everything() -> None:
    assert RouteOptions(SSLConfig(), None, None, None) == NO_OPTIONS
    assert NO_OPTIONS.override() is NO_OPTIONS
    assert ConnectionPool()._options is NO_OPTIONS


OTHERS: dict[str, tuple[Any, Any]] = {
    "ssl": (SSLConfig(), SSLConfig(verify=False)),
    "proxy": (PLAIN, SOCKS),
    "network": (NETWORK, NetworkConfig(uds="/socket")),
    "proxy_protocol": (HEADER, ProxyProtocol(version=1)),
}


@pytest.mark.parametrize("name", RouteOptions._fields)
def test_one_that_is_given_takes_the_place_of_its_own_and_of_no_other(name: str) -> None:
    pool = NO_OPTIONS.override(**{field: values[0] for field, values in OTHERS.items()})
    assert pool == tuple(values[0] for values in OTHERS.values())
    value = OTHERS[name][1]
    assert pool.override(**{name: value}) == pool._replace(**{name: value})
    assert pool.override(**{name: None}) == pool


def test_urls_and_contexts_become_what_they_stand_for(tls) -> None:
    context = tls.client_context
    options = NO_OPTIONS.override(context, "http://user:password@proxy:3128")
    assert options.ssl == SSLConfig(verify=context)
    assert options.proxy == Proxy("http://proxy:3128", auth=("user", "password"))
    assert NO_OPTIONS.override(proxy=b"socks5://proxy").proxy == Proxy("socks5://proxy")


def test_direct_takes_the_pools_proxy_away() -> None:
    for proxied in (options_of(proxy=PLAIN), options_of(proxy=lambda origin: PLAIN)):
        assert proxied.override(proxy=DIRECT) == NO_OPTIONS
        assert proxied.override(proxy=None) == proxied
        assert proxied.override(proxy=SOCKS).proxy is SOCKS


def test_default_network_is_none_and_takes_the_pools_away() -> None:
    assert NO_OPTIONS.override(network=NetworkConfig()) == NO_OPTIONS
    assert options_of(network=NETWORK).override(network=NetworkConfig()) == NO_OPTIONS
    assert NO_OPTIONS.override(network=NetworkConfig(socket_options=[], connect_to={})) == NO_OPTIONS


@pytest.mark.parametrize(
    "given, complaint",
    [
        ({"ssl": True}, "ssl takes an SSLConfig or an ssl.SSLContext, not bool"),
        ({"proxy": 5}, "a proxy must be a URL"),
        ({"proxy": ("proxy", 80)}, "a proxy must be a URL"),
        ({"network": "10.0.0.1"}, "network takes a NetworkConfig, not str"),
        ({"network": {"uds": "/socket"}}, "network takes a NetworkConfig, not dict"),
        ({"proxy_protocol": 2}, "proxy_protocol takes a ProxyProtocol, not int"),
        ({"proxy_protocol": True}, "proxy_protocol takes a ProxyProtocol, not bool"),
    ],
)
def test_another_type_is_refused(given: dict[str, object], complaint: str) -> None:
    with pytest.raises(TypeError, match=complaint):
        NO_OPTIONS.override(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url, error",
    [("proxy:3128", UnsupportedProtocol), ("ftp://proxy", UnsupportedProtocol), ("http://proxy/x", InvalidURL)],
)
def test_malformed_url_of_a_proxy_is_refused(url: str, error: type[Exception]) -> None:
    with pytest.raises(error, match="the proxy's URL"):
        NO_OPTIONS.override(proxy=url)


# Choosing a proxy.


def test_proxy_that_is_given_is_chosen_for_every_origin() -> None:
    assert NO_OPTIONS.choose_proxy(HTTP) is None
    assert options_of(proxy=PLAIN).choose_proxy(HTTP) is options_of(proxy=PLAIN).choose_proxy(HTTPS) is PLAIN


def test_chooser_is_asked_for_each_origin_and_may_answer_in_every_form() -> None:
    asked: list[Origin] = []
    answers = iter([PLAIN, "socks5h://proxy", b"http://proxy:3128", None, DIRECT])

    def choose(origin: Origin):
        asked.append(origin)
        return next(answers)

    options = options_of(proxy=choose)
    origins = [HTTP, HTTPS, HTTP, Origin("https", "::1", 8443), Origin("http", "a.", 80)]
    assert [options.choose_proxy(origin) for origin in origins] == [PLAIN, SOCKS, PLAIN, None, None]
    assert asked == origins


def raising(error: BaseException) -> ProxyChooser:
    def choose(origin: Origin) -> Proxy | None:
        raise error

    return choose


@pytest.mark.parametrize("failure", [ValueError("hunter2"), OSError(), TypeError(), KeyError("hunter2")])
def test_chooser_that_raises_is_a_connect_error_that_quotes_nothing(failure: Exception) -> None:
    with pytest.raises(ConnectError, match=f"the chooser failed with {type(failure).__name__}$") as caught:
        options_of(proxy=raising(failure)).choose_proxy(HTTP)
    assert caught.value.__cause__ is failure
    assert "hunter2" not in str(caught.value)


def test_chooser_may_refuse_an_origin_with_an_error_of_the_librarys() -> None:
    refusal = PoolTimeout("not there")
    with pytest.raises(PoolTimeout) as caught:
        options_of(proxy=raising(refusal)).choose_proxy(HTTP)
    assert caught.value is refusal


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), SystemExit()])
def test_what_ends_the_program_passes_through_the_chooser(failure: BaseException) -> None:
    with pytest.raises(type(failure)):
        options_of(proxy=raising(failure)).choose_proxy(HTTP)


@pytest.mark.parametrize("answer, name", [(5, "TypeError"), (True, "TypeError"), (("proxy", 80), "TypeError")])
def test_chooser_that_answers_something_else_is_a_connect_error(answer: object, name: str) -> None:
    with pytest.raises(ConnectError, match=f"the chooser failed with {name}"):
        options_of(proxy=cast(ProxyChooser, lambda origin: answer)).choose_proxy(HTTP)


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_chooser_that_is_async_is_a_connect_error() -> None:
    async def choose(origin: Origin) -> Proxy | None:
        return None

    with pytest.raises(ConnectError, match="the chooser failed with TypeError"):
        options_of(proxy=cast(ProxyChooser, choose)).choose_proxy(HTTP)


@pytest.mark.parametrize(
    "answer, error", [("http://user:hunter2@proxy/path", InvalidURL), ("hunter2@proxy", UnsupportedProtocol)]
)
def test_chooser_that_answers_a_malformed_url_gets_its_fault_without_the_url(
    answer: str, error: type[Exception]
) -> None:
    with pytest.raises(error, match="the proxy's URL") as caught:
        options_of(proxy=lambda origin: answer).choose_proxy(HTTP)
    assert "hunter2" not in str(caught.value)


# Where a route leads.


def test_without_a_proxy_it_leads_to_the_origin() -> None:
    assert Route.to(HTTP, NO_OPTIONS, BOTH) == Route(HTTP, None, False)
    assert Route.to(HTTPS, NO_OPTIONS, BOTH) == Route(HTTPS, SSLConfig(), True)
    options = options_of(SSLConfig(verify=False), None, NETWORK, HEADER)
    assert Route.to(HTTPS, options, BOTH) == Route(HTTPS, SSLConfig(verify=False), True, None, False, NETWORK, HEADER)
    assert Route.to(HTTP, options, BOTH) == Route(HTTP, None, False, None, False, NETWORK, HEADER)


FORWARDED = [
    # the proxy, versions, whether HTTP/2 may be spoken to it
    (PLAIN, BOTH, False),
    (PLAIN, HTTP1, False),
    (SECURE, BOTH, True),
    (SECURE, HTTP1, False),
]


@pytest.mark.parametrize("proxy, versions, http2", FORWARDED)
def test_http_through_an_http_proxy_leads_to_the_proxy(proxy: Proxy, versions: Versions, http2: bool) -> None:
    expected = Route(proxy.origin, proxy.ssl, http2, proxy, False, NETWORK, HEADER)
    for origin in (HTTP, Origin("http", "b", 8080)):
        assert Route.to(origin, options_of(SSLConfig(), proxy, NETWORK, HEADER), versions) == expected


TUNNELLED = [
    # the proxy, the origin, versions, whether it may be forwarded
    *itertools.product([PLAIN, SECURE, SOCKS], [HTTPS], [BOTH, HTTP1, HTTP2], [True, False]),
    *itertools.product([SOCKS], [HTTP], [BOTH, HTTP1, HTTP2], [True, False]),
    *itertools.product([PLAIN, SECURE], [HTTP], [BOTH, HTTP1], [False]),  # to be upgraded, or a CONNECT
    *itertools.product([PLAIN, SECURE], [HTTP], [HTTP2], [True, False]),  # a proxy forwards HTTP/1.1
    (Proxy("http://proxy", tunnel=True), HTTP, BOTH, True),
    (Proxy("https://proxy", tunnel=True), HTTP, BOTH, True),
]


@pytest.mark.parametrize("proxy, origin, versions, forward", TUNNELLED)
def test_all_else_through_a_proxy_leads_to_the_origin_by_a_tunnel(
    proxy: Proxy, origin: Origin, versions: Versions, forward: bool
) -> None:
    config = SSLConfig(server_hostname="b")
    route = Route.to(origin, options_of(config, proxy, NETWORK, HEADER), versions, forward=forward)
    tls = origin.scheme == "https"
    http2 = versions.http2 is not None and (tls or not versions.http1)
    assert route == Route(origin, config if tls else None, http2, proxy, True, NETWORK, HEADER)


@pytest.mark.parametrize("proxy, versions, http2", [*FORWARDED, (PLAIN, HTTP2, False), (SECURE, HTTP2, True)])
def test_hop_of_a_tunnel_leads_to_the_proxy_in_its_own_way(proxy: Proxy, versions: Versions, http2: bool) -> None:
    options = options_of(SSLConfig(server_hostname="b"), proxy, NETWORK, HEADER)
    hop = Route.to(HTTPS, options, versions).hop(versions)
    assert hop == Route(proxy.origin, proxy.ssl, http2, proxy, False, NETWORK, HEADER)


def test_hop_does_not_know_for_whom_it_is() -> None:
    hops = {
        Route.to(origin, options_of(config, SECURE), BOTH).hop(BOTH)
        for origin in (HTTPS, Origin("https", "b", 443))
        for config in (SSLConfig(), SSLConfig(verify=False))
    }
    assert len(hops) == 1


@pytest.mark.parametrize("proxy", [Proxy("socks5://p"), Proxy("socks4://p"), Proxy("socks4a://p"), SOCKS])
def test_socks_proxy_is_no_hop_of_its_own(proxy: Proxy) -> None:
    with pytest.raises(AssertionError):
        Route.to(HTTPS, options_of(proxy=proxy), BOTH).hop(BOTH)


@pytest.mark.parametrize(
    "url, config, expected",
    [
        ("http://a/", SSLConfig(server_hostname="b"), None),
        ("https://a/", SSLConfig(), "a"),
        ("https://A./", SSLConfig(), "a"),
        ("https://a/", SSLConfig(server_hostname="B"), "b"),
        ("https://a./", SSLConfig(server_hostname="b"), "b"),
        ("https://[::1]/", SSLConfig(), "::1"),
        ("https://127.0.0.1/", SSLConfig(), "127.0.0.1"),
    ],
)
def test_name_that_is_verified(url: str, config: SSLConfig, expected: str | None) -> None:
    assert Route.of(Request("GET", url), options_of(config), BOTH).server_hostname == expected


def test_name_that_is_verified_of_a_proxy_is_its_own() -> None:
    options = options_of(SSLConfig(server_hostname="b"), Proxy("https://proxy.", ssl=SSLConfig(server_hostname="c")))
    route = Route.of(Request("GET", "https://a/"), options, BOTH)
    assert (route.server_hostname, route.hop(BOTH).server_hostname) == ("b", "c")
    assert Route.of(Request("GET", "http://a/"), options, BOTH).server_hostname == "c"
    options = options_of(proxy=Proxy("https://proxy."))
    assert Route.of(Request("GET", "http://a/"), options, BOTH).server_hostname == "proxy"


# Requests.


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "TRACE", "HEAD", "PURGE"])
def test_requests_for_http_are_forwarded(method: str) -> None:
    route = Route.of(Request(method, "http://a/"), options_of(proxy=PLAIN), BOTH)
    assert route == Route(PLAIN.origin, None, False, PLAIN, False)


@pytest.mark.parametrize("proxy", [PLAIN, SECURE, SOCKS])
@pytest.mark.parametrize("headers, method", [(WEBSOCKET, "GET"), ((), "CONNECT")])
def test_upgrades_and_connects_are_never_forwarded(proxy: Proxy, headers: dict[str, str], method: str) -> None:
    route = Route.of(Request(method, "http://a/", headers), options_of(proxy=proxy), BOTH)
    assert (route.origin, route.tunnel, route.http2) == (HTTP, True, False)


def test_upgrade_for_https_through_a_proxy_has_a_tunnel_of_its_own() -> None:
    options = options_of(proxy=SECURE)
    plain, upgrading = (Route.of(Request("GET", "https://a/", h), options, BOTH) for h in ((), WEBSOCKET))
    assert upgrading == plain._replace(http2=False)
    assert plain.hop(BOTH) == upgrading.hop(BOTH)  # to the proxy HTTP/2 may be spoken all the same


@pytest.mark.parametrize("name", ["Proxy-Authorization", "proxy-authorization", b"PROXY-AUTHORIZATION"])
@pytest.mark.parametrize(
    "url, proxy, headers",
    [
        ("https://a/", PLAIN, {}),
        ("https://a/", SECURE, {}),
        ("https://a/", SOCKS, {}),
        ("http://a/", SOCKS, {}),
        ("http://a/", PLAIN, WEBSOCKET),
        ("http://a/", Proxy("http://proxy", tunnel=True), {}),
    ],
)
def test_credentials_for_a_proxy_that_would_go_through_its_tunnel_are_refused(
    name: str, url: str, proxy: Proxy, headers: dict[str, str]
) -> None:
    request = Request("GET", url, {**headers, name: "hunter2"})
    with pytest.raises(
        LocalProtocolError, match=r"would go to the origin, and not to a proxy: use Proxy\(auth=\)"
    ) as e:
        Route.of(request, options_of(proxy=proxy), BOTH)
    assert "hunter2" not in str(e.value)


@pytest.mark.parametrize("url, proxy", [("http://a/", None), ("https://a/", None), ("http://a/", PLAIN)])
def test_credentials_for_a_proxy_are_the_callers_affair_where_there_is_no_tunnel(url: str, proxy: Proxy | None) -> None:
    options = options_of(proxy=proxy)
    request = Request("GET", url, {"proxy-authorization": "x"})
    assert Route.of(request, options, BOTH) == Route.of(Request("GET", url), options, BOTH)


# Every combination: two routes are equal if what they were made of is, and if not, never.

_CHOICES: dict[str, list[Any]] = {
    "origin": [HTTPS, Origin("https", "b", 443), Origin("https", "a", 8443), Origin("https", "a.", 443)],
    "ssl": [SSLConfig(), SSLConfig(verify=False), SSLConfig(server_hostname="b"), SSLConfig(cert="/cert.pem")],
    "proxy": [None, PLAIN, SECURE, SOCKS, Proxy("http://u:p@proxy:3128"), Proxy("http://proxy:3128", {"x": "1"})],
    "network": [None, NETWORK, NetworkConfig(local_address="127.0.0.1")],
    "proxy_protocol": [None, HEADER, ProxyProtocol(tlvs=((2, b"a"),))],
    "upgrade": [False, True],
}
_Picks = st.fixed_dictionaries({name: st.integers(0, len(values) - 1) for name, values in _CHOICES.items()})


def _route(picks: dict[str, int]) -> Route:
    chosen = {name: values[picks[name]] for name, values in _CHOICES.items()}
    origin = chosen.pop("origin")
    headers = WEBSOCKET if chosen.pop("upgrade") else {}
    return Route.of(Request("GET", str(origin), headers), NO_OPTIONS.override(**chosen), BOTH)


@given(_Picks, _Picks)
def test_routes_are_equal_only_if_all_that_they_are_made_of_is(one: dict[str, int], other: dict[str, int]) -> None:
    first, second = _route(one), _route(other)
    assert (first == second) == (one == other)
    assert hash(_route(one)) == hash(first)
    assert _route(one) == first

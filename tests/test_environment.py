"""Proxies from the environment: which variable counts, what no_proxy covers, and that passwords never show."""

from __future__ import annotations

import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from httpcore.environment import EnvironmentProxies, NoProxy, proxies_from_environment
from httpcore.exceptions import InvalidURL, UnsupportedProtocol
from httpcore.proxies import Proxy
from httpcore.urls import URL, Origin

HTTP, HTTPS = Origin("http", "example.org", 80), Origin("https", "example.org", 443)


def chosen(environ: dict[str, str]) -> tuple[str | None, str | None]:
    """Returns the proxies for http and https origins as text."""
    proxies = proxies_from_environment(environ)
    http, https = (None if proxy is None else str(proxy) for proxy in (proxies(HTTP), proxies(HTTPS)))
    return http, https


# Which variable counts.


@pytest.mark.parametrize(
    ("environ", "http", "https"),
    [
        ({}, None, None),
        ({"no_proxy": "*"}, None, None),
        ({"http_proxy": "http://a:1"}, "http://a:1", None),
        ({"https_proxy": "http://a:1"}, None, "http://a:1"),
        ({"all_proxy": "http://a:1"}, "http://a:1", "http://a:1"),
        ({"HTTP_PROXY": "http://a:1"}, "http://a:1", None),
        ({"HTTPS_PROXY": "http://a:1"}, None, "http://a:1"),
        ({"ALL_PROXY": "http://a:1"}, "http://a:1", "http://a:1"),
        ({"Http_Proxy": "http://a:1", "proxy": "http://b:2"}, None, None),
        ({"http_proxy": "http://a:1", "https_proxy": "http://b:2"}, "http://a:1", "http://b:2"),
        ({"http_proxy": "http://a:1", "all_proxy": "http://b:2"}, "http://a:1", "http://b:2"),
        ({"ALL_PROXY": "http://a:1", "all_proxy": "http://b:2"}, "http://b:2", "http://b:2"),
        ({"HTTP_PROXY": "http://a:1", "http_proxy": "http://b:2"}, "http://b:2", None),
        ({"HTTPS_PROXY": "http://a:1", "https_proxy": "http://b:2"}, None, "http://b:2"),
        ({"HTTP_PROXY": "http://a:1", "all_proxy": "http://b:2"}, "http://a:1", "http://b:2"),
        # Empty ones.
        ({"http_proxy": ""}, None, None),
        ({"http_proxy": " \t"}, None, None),
        ({"HTTP_PROXY": "http://a:1", "http_proxy": ""}, None, None),
        ({"HTTPS_PROXY": "http://a:1", "https_proxy": " "}, None, None),
        ({"ALL_PROXY": "http://a:1", "all_proxy": ""}, None, None),
        ({"HTTP_PROXY": "http://a:1", "http_proxy": "", "all_proxy": "http://b:2"}, "http://b:2", "http://b:2"),
        ({"HTTP_PROXY": "", "http_proxy": "http://a:1"}, "http://a:1", None),
        # CGI.
        ({"REQUEST_METHOD": "GET", "HTTP_PROXY": "http://a:1"}, None, None),
        ({"REQUEST_METHOD": "", "HTTP_PROXY": "http://a:1"}, None, None),
        ({"REQUEST_METHOD": "GET", "HTTP_PROXY": "not a proxy"}, None, None),
        ({"REQUEST_METHOD": "GET", "http_proxy": "http://a:1"}, "http://a:1", None),
        ({"REQUEST_METHOD": "GET", "HTTP_PROXY": "http://a:1", "http_proxy": "http://b:2"}, "http://b:2", None),
        ({"REQUEST_METHOD": "GET", "HTTP_PROXY": "http://a:1", "ALL_PROXY": "http://b:2"}, "http://b:2", "http://b:2"),
        ({"REQUEST_METHOD": "GET", "HTTPS_PROXY": "http://a:1"}, None, "http://a:1"),
        # Values.
        ({"http_proxy": "a"}, "http://a:80", None),
        ({"http_proxy": " a:1\n"}, "http://a:1", None),
        ({"https_proxy": "a:1"}, None, "http://a:1"),
        ({"https_proxy": "[::1]:1"}, None, "http://[::1]:1"),
        ({"https_proxy": "https://a"}, None, "https://a:443"),
        ({"https_proxy": "HTTPS://A/"}, None, "https://a:443"),
        ({"all_proxy": "socks5h://a"}, "socks5h://a:1080", "socks5h://a:1080"),
        # A variable that decides nothing may hold anything: desktops set this one beside the two others.
        ({"http_proxy": "a:1", "https_proxy": "b:2", "all_proxy": "socks://c:3"}, "http://a:1", "http://b:2"),
    ],
)
def test_environment_names_the_proxies(environ: dict[str, str], http: str | None, https: str | None) -> None:
    assert chosen(environ) == (http, https)


def test_variables_of_the_process_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://b:2")
    monkeypatch.setenv("https_proxy", "http://a:1")
    proxies = proxies_from_environment()
    monkeypatch.setenv("https_proxy", "http://c:3")
    monkeypatch.setenv("no_proxy", "*")
    assert proxies(HTTPS) == Proxy("http://a:1")
    assert proxies(HTTP) is None


def test_credentials_with_or_without_a_scheme_are_the_proxys() -> None:
    proxies = proxies_from_environment({"http_proxy": "us%40er:p:w@a:1", "all_proxy": "socks5://user:pw@b:2"})
    assert proxies(HTTP) == Proxy("http://a:1", auth=("us@er", "p:w"))
    assert proxies(HTTPS) == Proxy("socks5://b:2", auth=("user", "pw"))


def test_same_proxy_object_is_given_each_time() -> None:
    proxies = proxies_from_environment({"all_proxy": "http://user:pw@a:1"})
    assert proxies(HTTP) is proxies(HTTP)


@pytest.mark.parametrize(
    ("environ", "name", "error"),
    [
        ({"http_proxy": "http://user:hunter2@"}, "http_proxy", InvalidURL),
        ({"HTTP_PROXY": "http://user:hunter2@a/hunter2"}, "HTTP_PROXY", InvalidURL),
        ({"HTTPS_PROXY": "user:hunter2@a:b"}, "HTTPS_PROXY", InvalidURL),
        ({"https_proxy": "user:hunter2/@a:1"}, "https_proxy", InvalidURL),
        ({"https_proxy": "user:80#hunter2@a:1"}, "https_proxy", InvalidURL),
        ({"https_proxy": "user:hunter2"}, "https_proxy", InvalidURL),
        ({"https_proxy": "us er:hunter2@a:1"}, "https_proxy", InvalidURL),
        ({"all_proxy": "hunter2@a b"}, "all_proxy", InvalidURL),
        ({"all_proxy": "user:hunter2\udcff@a"}, "all_proxy", InvalidURL),
        ({"ALL_PROXY": "socks5://hunter2@a"}, "ALL_PROXY", InvalidURL),
        ({"ALL_PROXY": "socks4://user:hunter2@a"}, "ALL_PROXY", InvalidURL),
        ({"ALL_PROXY": "http://us%3aer:hunter2@a"}, "ALL_PROXY", InvalidURL),
        ({"ALL_PROXY": "socks://user:hunter2@a"}, "ALL_PROXY", UnsupportedProtocol),
        ({"http_proxy": "hunter2://@a"}, "http_proxy", UnsupportedProtocol),
        ({"http_proxy": "user://hunter2"}, "http_proxy", UnsupportedProtocol),
        ({"http_proxy": "", "HTTP_PROXY": "a:1", "ALL_PROXY": "://hunter2@a"}, "ALL_PROXY", UnsupportedProtocol),
    ],
)
def test_malformed_value_is_refused_at_once_and_the_variable_named(
    environ: dict[str, str], name: str, error: type[ValueError]
) -> None:
    with pytest.raises(error, match=f"the environment variable {name} holds no usable proxy") as caught:
        proxies_from_environment(environ)
    assert isinstance(caught.value, ValueError)
    # Without the frames of the traceback, which quote this file.
    assert "hunter2" not in "".join(traceback.format_exception_only(caught.value))
    assert caught.value.__cause__ is None


@given(st.text(max_size=30), st.sampled_from(["", "http://", "socks5://user:", "http://user:"]))
def test_any_value_is_taken_or_refused_with_the_documented_errors(text: str, prefix: str) -> None:
    try:
        proxies = proxies_from_environment({"http_proxy": prefix + text})
    except (InvalidURL, UnsupportedProtocol):
        return
    assert (proxies(HTTP) is None) == (not (prefix + text).strip())


# no_proxy.


def covers(no_proxy: str, url: str) -> bool:
    return NoProxy(no_proxy).covers(URL(url).origin)


@pytest.mark.parametrize(
    ("no_proxy", "url"),
    [
        ("*", "http://example.org"),
        ("*", "http://[::1]"),
        ("other.example, *", "http://example.org"),
        # Names.
        ("example.org", "http://example.org"),
        ("example.org", "https://example.org:8443"),
        ("example.org", "http://www.example.org"),
        ("example.org", "http://a.b.example.org"),
        ("EXAMPLE.org", "http://Example.ORG"),
        ("example.org.", "http://example.org"),
        ("example.org", "http://www.example.org."),
        (".example.org.", "http://www.example.org"),
        (".example.org", "http://www.example.org"),
        (".example.org", "http://a.b.example.org"),
        ("*.example.org", "http://www.example.org"),
        ("org", "http://example.org"),
        ("localhost", "http://localhost:8000"),
        ("my_service", "http://my_service"),
        ("bücher.example", "http://www.xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "http://BÜCHER.example"),
        (".bücher.example", "http://www.bücher.example"),
        # Ports.
        ("example.org:80", "http://example.org"),
        ("example.org:443", "https://www.example.org"),
        ("example.org:8080", "http://example.org:8080"),
        ("example.org:", "http://example.org:8080"),
        (".example.org:8080", "http://www.example.org:8080"),
        ("*.example.org:8080", "http://www.example.org:8080"),
        ("example.org:1,example.org:2", "http://example.org:2"),
        # Addresses.
        ("192.0.2.1", "http://192.0.2.1"),
        ("192.0.2.1", "https://192.0.2.1:8443"),
        ("192.0.2.1:8080", "http://192.0.2.1:8080"),
        ("192.0.2.1:80", "http://192.0.2.1"),
        ("::1", "http://[::1]"),
        ("[::1]", "http://[::1]:8080"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("2001:DB8:0:0::1", "http://[2001:db8::1]"),
        ("[2001:db8::0001]", "http://[2001:DB8:0:0:0:0:0:1]"),
        ("192.0.2.1", "http://[::ffff:192.0.2.1]"),
        ("192.0.2.1", "http://[::ffff:c000:201]"),
        ("192.0.2.1:8080", "http://[::ffff:192.0.2.1]:8080"),
        ("::ffff:192.0.2.1", "http://[::ffff:192.0.2.1]"),
        ("::ffff:192.0.2.1", "http://192.0.2.1"),
        ("[::ffff:192.0.2.1]:8080", "http://192.0.2.1:8080"),
        # Networks.
        ("192.0.2.0/24", "http://192.0.2.255"),
        ("192.0.2.77/24", "http://192.0.2.1"),
        ("192.0.2.1/32", "http://192.0.2.1"),
        ("0.0.0.0/0", "http://192.0.2.1"),
        ("10.0.0.0/8", "https://10.255.255.255:8443"),
        ("127.0.0.0/8", "http://127.8.9.10"),
        ("2001:db8::/32", "http://[2001:db8:ffff::1]"),
        ("2001:DB8::5/32", "http://[2001:db8:ffff::1]"),
        ("::/0", "http://[2001:db8::1]"),
        ("::/0", "http://[::ffff:192.0.2.1]"),
        ("192.0.2.0/24", "http://[::ffff:192.0.2.9]"),
        ("::ffff:192.0.2.0/120", "http://192.0.2.9"),
        ("::ffff:192.0.2.0/120", "http://[::ffff:192.0.2.9]"),
        # Lists.
        ("a.example,example.org", "http://example.org"),
        ("a.example example.org", "http://example.org"),
        (" , a.example\t,,\n example.org , ", "http://example.org"),
        ("[nonsense, 300.0.0.0/8, example.org", "http://example.org"),
    ],
)
def test_no_proxy_covers(no_proxy: str, url: str) -> None:
    assert covers(no_proxy, url)


@pytest.mark.parametrize(
    ("no_proxy", "url"),
    [
        ("", "http://example.org"),
        (" , ", "http://example.org"),
        # Nothing but the variable decides.
        ("", "http://localhost"),
        ("", "http://127.0.0.1"),
        ("", "http://[::1]"),
        # Names.
        ("example.org", "http://example.com"),
        ("example.org", "http://notexample.org"),
        ("example.org", "http://example.org.evil.example"),
        ("www.example.org", "http://example.org"),
        (".example.org", "http://example.org"),
        (".example.org", "http://notexample.org"),
        ("*.example.org", "http://example.org"),
        ("*.example.org", "http://notexample.org"),
        ("localhost", "http://127.0.0.1"),
        # Ports.
        ("example.org:80", "https://example.org"),
        ("example.org:443", "http://example.org"),
        ("example.org:8080", "http://www.example.org:8081"),
        (".example.org:8080", "http://www.example.org"),
        # Addresses.
        ("192.0.2.1", "http://192.0.2.10"),
        ("192.0.2.1", "http://192.0.2.1.example"),
        ("2.1", "http://192.0.2.1"),
        (".2.1", "http://192.0.2.1"),
        (".192.0.2.1", "http://192.0.2.1"),
        ("*.192.0.2.1", "http://192.0.2.1"),
        ("192.0.2.1:80", "http://192.0.2.1:8080"),
        ("[::1]:80", "http://[::1]:8080"),
        ("::1", "http://[::2]"),
        ("::192.0.2.1", "http://192.0.2.1"),
        ("0x7f.1", "http://127.0.0.1"),
        ("127.1", "http://127.0.0.1"),
        # Networks.
        ("192.0.2.0/24", "http://192.0.3.1"),
        ("192.0.2.0/24", "http://example.org"),
        ("0.0.0.0/0", "http://[::1]"),
        ("0.0.0.0/0", "http://example.org"),
        ("::/0", "http://192.0.2.1"),
        ("2001:db8::/32", "http://[2001:db9::1]"),
        # Malformed ones.
        ("**", "http://example.org"),
        ("*:80", "http://example.org"),
        ("*example.org", "http://www.example.org"),
        ("exam*.org", "http://example.org"),
        ("..example.org", "http://www.example.org"),
        ("*..example.org", "http://www.example.org"),
        ("*.*.example.org", "http://a.b.example.org"),
        (".", "http://example.org"),
        ("*.", "http://example.org"),
        (":80", "http://example.org"),
        ("http://example.org", "http://example.org"),
        ("example.org/", "http://example.org"),
        ("example.org/24", "http://example.org"),
        ("user@example.org", "http://example.org"),
        ("example.org?", "http://example.org"),
        ("example.org#", "http://example.org"),
        ("example.org:port", "http://example.org"),
        ("example.org:99999", "http://example.org"),
        ("example.org:80:80", "http://example.org"),
        ("192.0.2.1/", "http://192.0.2.1"),
        ("192.0.2.0/33", "http://192.0.2.1"),
        ("192.0.2.0/-1", "http://192.0.2.1"),
        ("192.0.2.0/255.255.255.0", "http://192.0.2.1"),
        ("192.0.2.0/24:80", "http://192.0.2.1"),
        ("192.0.2/24", "http://192.0.2.1"),
        ("2001:db8::/129", "http://[2001:db8::]"),
        ("[2001:db8::/32", "http://[2001:db8::]"),
        ("[::1", "http://[::1]"),
        ("::1]", "http://[::1]"),
        ("fe80::1%eth0", "http://[fe80::1]"),
        ("fe80::%1/64", "http://[fe80::1]"),
        ("\ud800.example", "http://example"),
    ],
)
def test_no_proxy_does_not_cover(no_proxy: str, url: str) -> None:
    assert not covers(no_proxy, url)


@given(st.text(alphabet=st.sampled_from("*.:/[]%@#? ,0129afxe\u0660üä\ud800"), max_size=25))
def test_any_no_proxy_is_read_and_asked_without_an_error(text: str) -> None:
    no_proxy = NoProxy(text)
    for url in ("http://example.org", "http://192.0.2.1", "http://[::1]"):
        assert no_proxy.covers(URL(url).origin) in (True, False)


@given(st.ip_addresses(), st.integers(0, 128))
def test_address_is_covered_by_each_network_it_is_in(address: object, length: int) -> None:
    prefix = min(length, 32) if "." in str(address) else length
    host = str(address) if "." in str(address) else f"[{address}]"
    assert covers(f"{address}/{prefix}", f"http://{host}")
    assert covers(f"{address}", f"http://{host}")


def test_host_of_a_handmade_origin_is_matched_in_any_case() -> None:
    assert NoProxy("example.org").covers(Origin("http", "WWW.Example.Org.", 80))


def test_no_proxy_is_asked_before_a_proxy_is_given() -> None:
    proxies = proxies_from_environment({"all_proxy": "a:1", "no_proxy": "example.org:80,10.0.0.0/8"})
    assert proxies(HTTP) is None
    assert proxies(HTTPS) == Proxy("http://a:1")
    assert proxies(Origin("https", "10.1.2.3", 443)) is None
    assert proxies(Origin("https", "11.1.2.3", 443)) == Proxy("http://a:1")


@pytest.mark.parametrize(
    ("environ", "covered"),
    [
        ({"NO_PROXY": "example.org"}, True),
        ({"no_proxy": "example.org"}, True),
        ({"no_proxy": "example.org", "NO_PROXY": "other.example"}, True),
        ({"no_proxy": "other.example", "NO_PROXY": "example.org"}, False),
        ({"no_proxy": "", "NO_PROXY": "example.org"}, False),
        ({"NO_PROXY": "example.org", "REQUEST_METHOD": "GET"}, True),
    ],
)
def test_no_proxy_in_lower_case_wins(environ: dict[str, str], covered: bool) -> None:
    proxies = proxies_from_environment({"all_proxy": "a:1", **environ})
    assert proxies(HTTP) == (None if covered else Proxy("http://a:1"))


# What is shown, and that nothing changes.


def test_repr_shows_the_proxies_and_the_entries_that_were_understood_and_no_secret() -> None:
    proxies = proxies_from_environment(
        {"http_proxy": "user:hunter2@a:1", "no_proxy": "Example.org, .b:80  10.0.0.0/8 user:hunter2@c .1.2.3.4"}
    )
    assert repr(proxies) == (
        "EnvironmentProxies(http=Proxy('http://[secret]@a:1'), https=None, "
        "no_proxy=NoProxy('Example.org,.b:80,10.0.0.0/8'))"
    )
    assert repr(NoProxy("*")) == "NoProxy('*')"


@pytest.mark.parametrize("name", ["http", "https", "no_proxy", "new"])
def test_proxies_cannot_be_changed(name: str) -> None:
    proxies = EnvironmentProxies(http=Proxy("http://a:1"))
    with pytest.raises(AttributeError):
        setattr(proxies, name, None)
    assert proxies(HTTP) == Proxy("http://a:1")

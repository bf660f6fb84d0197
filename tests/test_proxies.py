"""Proxy: what is taken for one, what is refused, what it says to the proxy, and that its secrets never show."""

from __future__ import annotations

import base64
import copy
import functools
import queue
import ssl
import traceback
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from httpcore.config import SSLConfig
from httpcore.exceptions import ConnectError, InvalidURL, LocalProtocolError, UnsupportedProtocol
from httpcore.headers import HeaderTypes
from httpcore.proxies import DIRECT, Proxy
from httpcore.urls import URL, Origin

SECRET = "hunter2"


def shown(error: BaseException) -> str:
    """What a log shows of an error and its cause, without the frames: those quote this file."""
    return "".join(traceback.format_exception_only(error)) + repr(error.__cause__)


# Where it is.


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port"),
    [
        ("http://proxy.example", "http", "proxy.example", 80),
        ("https://proxy.example", "https", "proxy.example", 443),
        ("socks5://proxy.example", "socks5", "proxy.example", 1080),
        ("socks5h://proxy.example", "socks5h", "proxy.example", 1080),
        ("socks4://proxy.example", "socks4", "proxy.example", 1080),
        ("socks4a://proxy.example", "socks4a", "proxy.example", 1080),
        ("http://proxy.example/", "http", "proxy.example", 80),
        ("socks5://proxy.example/", "socks5", "proxy.example", 1080),
        ("http://proxy.example:3128", "http", "proxy.example", 3128),
        ("https://proxy.example:3128/", "https", "proxy.example", 3128),
        ("socks5://proxy.example:1081", "socks5", "proxy.example", 1081),
        ("socks5://proxy.example:80", "socks5", "proxy.example", 80),
        ("socks5://proxy.example:443", "socks5", "proxy.example", 443),
        ("socks4a://proxy.example:", "socks4a", "proxy.example", 1080),
        ("SOCKS5H://Proxy.EXAMPLE", "socks5h", "proxy.example", 1080),
        ("http://192.0.2.1:3128", "http", "192.0.2.1", 3128),
        ("socks5://[2001:DB8::1]", "socks5", "2001:db8::1", 1080),
        ("https://[2001:db8::1]:8443", "https", "2001:db8::1", 8443),
        ("socks5h://bücher.example", "socks5h", "xn--bcher-kva.example", 1080),
    ],
)
def test_url_says_where_the_proxy_is(url: str, scheme: str, host: str, port: int) -> None:
    proxy = Proxy(url)
    assert (proxy.scheme, proxy.host, proxy.port) == (scheme, host, port)
    assert proxy.origin == Origin(scheme, host, port)
    assert (proxy.auth, proxy.headers, proxy.tunnel) == (None, (), False)
    assert str(proxy) == str(proxy.origin)
    if url.isascii():
        assert Proxy(url.encode()) == proxy
    if scheme in ("http", "https"):
        assert Proxy(URL(url)) == proxy


@pytest.mark.parametrize(
    ("scheme", "is_socks", "resolves_names"),
    [
        ("http", False, True),
        ("https", False, True),
        ("socks5", True, False),
        ("socks5h", True, True),
        ("socks4", True, False),
        ("socks4a", True, True),
    ],
)
def test_scheme_says_who_looks_up_names(scheme: str, is_socks: bool, resolves_names: bool) -> None:
    proxy = Proxy(f"{scheme}://proxy.example")
    assert (proxy.is_socks, proxy.resolves_names) == (is_socks, resolves_names)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "proxy.example",
        "proxy.example:3128",
        "//proxy.example",
        "http:proxy.example",
        " http://proxy.example",
        "ftp://proxy.example",
        "socks://proxy.example",
        "socks6://proxy.example",
        "https+socks5://proxy.example",
        "hunter2://@proxy.example",
        b"proxy.example:3128",
    ],
)
def test_url_with_another_scheme_or_none_is_refused_and_the_schemes_are_listed(url: str | bytes) -> None:
    with pytest.raises(UnsupportedProtocol, match="http, https, socks5, socks5h, socks4 or socks4a") as caught:
        Proxy(url)
    assert SECRET not in shown(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "socks5://",
        "socks5://:1080",
        "http://user:hunter2@",
        "http://proxy.example/path",
        "http://proxy.example//",
        "socks5h://proxy.example/hunter2",
        "http://proxy.example?hunter2",
        "http://proxy.example/?",
        "http://proxy.example#hunter2",
        "http://proxy.example/#",
        "http://user:1080#hunter2@proxy.example",
        "http://user:1080/hunter2@proxy.example",
        "socks5://user:1080?hunter2@proxy.example",
        "http://user:hunter2/@proxy.example",
        "socks5://user:hunter2@proxy.example:port",
        "socks5://user:hunter2@proxy.example:65536",
        "socks5://user:hunter2@proxy@example",
        "socks5://user:hunter2 @proxy.example",
        "socks5://user:hunter2\udc80@proxy.example",
        "socks5://user:hunter2@proxy example",
        "socks5://user:hunter2@127.1",
        "socks5://user:hunter2@[::1",
        "socks5://user:hunter2@[fe80::1%25eth0]",
        "socks5://user:hunter2@proxy.example\r\n",
        "http://proxy.example\n",
        b"socks5://user:hunter2\xff@proxy.example",
        b"http://pr\xc3\xb6xy.example",
    ],
)
def test_malformed_url_is_refused_without_showing_a_password(url: str | bytes) -> None:
    with pytest.raises(InvalidURL) as caught:
        Proxy(url)
    assert isinstance(caught.value, ValueError)
    assert SECRET not in shown(caught.value)


def test_url_object_with_a_path_is_refused() -> None:
    with pytest.raises(InvalidURL, match="path"):
        Proxy(URL("http://proxy.example/path"))


@pytest.mark.parametrize("url", [None, 3128, ("http", "proxy.example"), bytearray(b"http://proxy.example"), DIRECT])
def test_url_of_another_type_is_refused(url: object) -> None:
    with pytest.raises(TypeError, match="proxy"):
        Proxy(url)  # type: ignore[arg-type]


def test_proxy_of_a_proxy_is_the_same() -> None:
    proxy = Proxy("http://proxy.example", headers={"X-Token": "1"})
    assert Proxy.of(proxy) is proxy


@pytest.mark.parametrize("value", ["http://proxy.example", b"http://proxy.example", URL("http://proxy.example")])
def test_proxy_of_a_url_is_the_proxy_there(value: str | bytes | URL) -> None:
    assert Proxy.of(value) == Proxy("http://proxy.example")


# Credentials.


@pytest.mark.parametrize(
    ("url", "auth", "expected"),
    [
        ("http://proxy.example", None, None),
        ("http://@proxy.example", None, None),
        ("http://:@proxy.example", None, None),
        ("http://user:secret@proxy.example", None, (b"user", b"secret")),
        ("http://user@proxy.example", None, (b"user", b"")),
        ("http://:secret@proxy.example", None, (b"", b"secret")),
        ("http://us%65r:p%40ss%3A%2F@proxy.example", None, (b"user", b"p@ss:/")),
        ("http://user:pass:word@proxy.example", None, (b"user", b"pass:word")),
        ("socks5://user:p%C3%A4ss@proxy.example", None, (b"user", "päss".encode())),
        ("http://user:secret@proxy.example", ("other", "word"), (b"other", b"word")),
        ("http://proxy.example", ("usér", "wörd"), ("usér".encode(), "wörd".encode())),
        ("http://proxy.example", (b"us\xe9r", b"w\xf6rd:"), (b"us\xe9r", b"w\xf6rd:")),
        ("http://proxy.example", ("", ""), (b"", b"")),
        ("socks5://proxy.example", ("u" * 255, "p" * 255), (b"u" * 255, b"p" * 255)),
        ("socks5h://proxy.example", ("a:b", "c\0d"), (b"a:b", b"c\0d")),
        ("socks4://user@proxy.example", None, (b"user", b"")),
        ("socks4a://proxy.example", ("a:b", ""), (b"a:b", b"")),
    ],
)
def test_credentials_come_from_auth_and_else_from_the_url(
    url: str, auth: tuple[str | bytes, str | bytes] | None, expected: tuple[bytes, bytes] | None
) -> None:
    assert Proxy(url, auth=auth).auth == expected


@pytest.mark.parametrize(
    ("url", "auth", "message"),
    [
        ("http://us%3Aer:hunter2@proxy.example", None, "colon"),
        ("https://proxy.example", ("us:er", "hunter2"), "colon"),
        ("socks5://user@proxy.example", None, "password has 0 bytes"),
        ("socks5://:hunter2@proxy.example", None, "user has 0 bytes"),
        ("socks5h://proxy.example", ("", ""), "user has 0 bytes"),
        ("socks5h://proxy.example", ("hunter2" * 40, "p"), "user has 280 bytes"),
        ("socks5://proxy.example", ("u", "é" * 128), "password has 256 bytes"),
        ("socks4://user:hunter2@proxy.example", None, "no passwords"),
        ("socks4a://proxy.example", ("user", "hunter2"), "no passwords"),
        ("socks4a://hunter2%00@proxy.example", None, "NUL"),
        ("http://proxy.example", ("user", "hunter2\udc80"), "surrogate"),
    ],
)
def test_credentials_that_the_protocol_cannot_express_are_refused(
    url: str, auth: tuple[str, str] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Proxy(url, auth=auth)
    assert SECRET not in shown(caught.value)


@pytest.mark.parametrize(
    "auth", ["user:hunter2", ("user",), ("user", "hunter2", ""), ("user", None), (1, "hunter2"), 5]
)
def test_auth_of_another_type_is_refused(auth: object) -> None:
    with pytest.raises(TypeError, match="user and password") as caught:
        Proxy("http://proxy.example", auth=auth)  # type: ignore[arg-type]
    assert SECRET not in shown(caught.value)


# TLS, tunnel and header fields.


def test_tls_is_for_https_proxies_and_they_always_have_it() -> None:
    assert Proxy("https://proxy.example").ssl == SSLConfig()
    config = SSLConfig(verify=False)
    assert Proxy("https://proxy.example", ssl=config).ssl is config
    context = ssl.create_default_context()
    assert Proxy("https://proxy.example", ssl=context).ssl == SSLConfig(verify=context)


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h", "socks4", "socks4a"])
def test_other_proxies_have_no_tls_and_refuse_its_settings(scheme: str) -> None:
    assert Proxy(f"{scheme}://proxy.example").ssl is None
    with pytest.raises(ValueError, match="https proxies"):
        Proxy(f"{scheme}://proxy.example", ssl=SSLConfig())


def test_ssl_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match="SSLConfig"):
        Proxy("https://proxy.example", ssl=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks4", "socks4a"])
def test_socks_proxy_with_headers_or_tunnel_is_refused(scheme: str) -> None:
    url = f"{scheme}://proxy.example"
    with pytest.raises(ValueError, match="headers"):
        Proxy(url, headers={"X-Token": "1"})
    with pytest.raises(ValueError, match="headers"):
        Proxy(url, headers=dict)
    with pytest.raises(ValueError, match="tunnel"):
        Proxy(url, tunnel=True)
    assert Proxy(url, headers={}, tunnel=False).fields() == []


def test_tunnel_of_another_type_is_refused() -> None:
    assert Proxy("http://proxy.example", tunnel=True).tunnel is True
    with pytest.raises(TypeError, match="bool"):
        Proxy("http://proxy.example", tunnel="no")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Token": "1", "User-Agent": b"me"},
        [("X-Token", " 1 "), (b"User-Agent", "me")],
        [[b"X-Token", b"1"], [b"User-Agent", b"me"]],
    ],
)
def test_headers_are_normalised_and_kept_in_order(headers: HeaderTypes) -> None:
    pairs = [(b"X-Token", b"1"), (b"User-Agent", b"me")]
    proxy = Proxy("http://proxy.example", headers=headers)
    assert proxy.headers == tuple(pairs)
    assert proxy.fields() == pairs


def test_headers_changed_afterwards_change_nothing() -> None:
    given_headers = [("X-Token", "1")]
    proxy = Proxy("http://proxy.example", headers=given_headers)
    given_headers.append(("X-More", "2"))
    proxy.fields().append((b"X-More", b"2"))
    assert proxy.fields() == [(b"X-Token", b"1")]


REFUSED = [
    "Host",
    "content-length",
    "Transfer-Encoding",
    "Connection",
    "Keep-Alive",
    "Proxy-Connection",
    "TE",
    "Trailer",
    "Upgrade",
    "Expect",
    "Proxy-Authenticate",
    ":authority",
    "X Token",
    "",
]


@pytest.mark.parametrize("name", REFUSED)
def test_header_that_is_not_the_proxys_to_be_told_is_refused(name: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        Proxy("http://proxy.example", headers=[(name, SECRET)])
    assert SECRET not in shown(caught.value)


@pytest.mark.parametrize("value", ["hunter2\r\nX: y", "hunter2\0", "hunter2é"])
def test_header_value_that_cannot_be_sent_is_refused(value: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        Proxy("http://proxy.example", headers={"X-Token": value})
    assert SECRET not in shown(caught.value)


@pytest.mark.parametrize("headers", ["X-Token: 1", 5, None, [("X-Token", 1)], ["ab"]])
def test_headers_of_another_type_are_refused(headers: object) -> None:
    with pytest.raises(TypeError):
        Proxy("http://proxy.example", headers=headers)  # type: ignore[arg-type]


def test_coroutine_function_for_headers_is_refused() -> None:
    async def headers() -> dict[str, str]:
        return {}

    with pytest.raises(TypeError, match="coroutine function"):
        Proxy("http://proxy.example", headers=headers)  # type: ignore[arg-type]


# What goes to the proxy.


@pytest.mark.parametrize("scheme", ["http", "https"])
@given(user=st.binary(max_size=80).map(lambda user: user.replace(b":", b"")), password=st.binary(max_size=80))
def test_basic_credentials_are_what_rfc_7617_says(scheme: str, user: bytes, password: bytes) -> None:
    [(name, value)] = Proxy(f"{scheme}://proxy.example", auth=(user, password)).fields()
    assert name == b"Proxy-Authorization"
    assert value.startswith(b"Basic ")
    assert base64.b64decode(value.removeprefix(b"Basic "), validate=True) == user + b":" + password


def test_basic_credentials_match_the_example_of_the_rfc() -> None:
    proxy = Proxy("http://Aladdin:open%20sesame@proxy.example")
    assert proxy.fields() == [(b"Proxy-Authorization", b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")]


def test_proxy_authorization_of_the_headers_wins_over_auth() -> None:
    proxy = Proxy("http://user:secret@proxy.example", headers={"proxy-authorization": "Bearer 1"})
    assert proxy.fields() == [(b"proxy-authorization", b"Bearer 1")]


def test_proxy_authorization_of_the_callable_wins_over_auth() -> None:
    proxy = Proxy("http://user:secret@proxy.example", headers=lambda: {"Proxy-Authorization": "Bearer 1"})
    assert proxy.fields() == [(b"Proxy-Authorization", b"Bearer 1")]


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_credentials_of_a_socks_proxy_are_no_header(scheme: str) -> None:
    assert Proxy(f"{scheme}://user:secret@proxy.example").fields() == []


def test_callable_is_asked_each_time_and_not_before() -> None:
    tokens = iter(["1", "2"])
    proxy = Proxy("http://user:@proxy.example", headers=lambda: {"X-Token": next(tokens)})
    basic = (b"Proxy-Authorization", b"Basic dXNlcjo=")
    assert proxy.fields() == [(b"X-Token", b"1"), basic]
    assert proxy.fields() == [(b"X-Token", b"2"), basic]


def failing_generator() -> Iterator[tuple[str, str]]:
    yield "X-Token", "1"
    raise OSError("the token's file is gone")


def raising(error: Exception) -> Callable[[], HeaderTypes]:
    def headers() -> HeaderTypes:
        raise error

    return headers


@pytest.mark.parametrize(
    ("headers", "cause"),
    [
        (raising(KeyError("token")), KeyError),
        (raising(TimeoutError()), TimeoutError),
        (failing_generator, OSError),
        (lambda: None, TypeError),
        (lambda: "X-Token: 1", TypeError),
        (lambda: {"X-Token": 1}, TypeError),
        (lambda: {"X-Token": "a\r\nb"}, LocalProtocolError),
        (lambda: {"Host": "proxy.example"}, LocalProtocolError),
        (lambda required: {}, TypeError),
    ],
)
def test_callable_that_fails_or_gives_what_cannot_be_sent_is_a_connect_error(
    headers: Callable[[], HeaderTypes], cause: type[Exception]
) -> None:
    proxy = Proxy("http://proxy.example", headers=headers)
    with pytest.raises(ConnectError, match="the proxy's headers could not be had") as caught:
        proxy.fields()
    assert isinstance(caught.value.__cause__, cause)


def test_interrupt_while_the_callable_runs_is_not_swallowed() -> None:
    def headers() -> HeaderTypes:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Proxy("http://proxy.example", headers=headers).fields()


# Equality.


class Tokens:
    """Gives header fields; equal to everything, and not hashable."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return True

    def __call__(self) -> HeaderTypes:
        return {}

    def method(self) -> HeaderTypes:
        return {}


tokens, other_tokens = Tokens(), Tokens()
pushed: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()

ALL_DIFFERENT = [
    Proxy("http://proxy.example"),
    Proxy("http://proxy.example:81"),
    Proxy("http://other.example"),
    Proxy("https://proxy.example"),
    Proxy("https://proxy.example:80"),
    Proxy("https://proxy.example", ssl=SSLConfig(verify=False)),
    Proxy("https://proxy.example", ssl=SSLConfig(cert="client.pem")),
    Proxy("socks5://proxy.example"),
    Proxy("socks5h://proxy.example"),
    Proxy("socks4://proxy.example"),
    Proxy("socks4a://proxy.example"),
    Proxy("socks5://proxy.example", auth=("user", "1")),
    Proxy("http://proxy.example", auth=("user", "1")),
    Proxy("http://proxy.example", auth=("user", "2")),
    Proxy("http://proxy.example", auth=("other", "1")),
    Proxy("http://proxy.example", auth=("user", "")),
    Proxy("http://proxy.example", tunnel=True),
    Proxy("http://proxy.example", headers={"X-Token": "1"}),
    Proxy("http://proxy.example", headers={"X-Token": "2"}),
    Proxy("http://proxy.example", headers={"X-Other": "1"}),
    Proxy("http://proxy.example", headers=[("X-Token", "1"), ("X-Token", "2")]),
    Proxy("http://proxy.example", headers=[("X-Token", "2"), ("X-Token", "1")]),
    Proxy("http://proxy.example", headers=lambda: {"X-Token": "1"}),
    Proxy("http://proxy.example", headers=lambda: {"X-Token": "1"}),
    Proxy("http://proxy.example", headers=tokens),
    Proxy("http://proxy.example", headers=other_tokens),
    Proxy("http://proxy.example", headers=tokens.method),
    Proxy("http://proxy.example", headers=other_tokens.method),
    Proxy("http://proxy.example", headers=pushed.get_nowait),
]


def test_proxies_that_differ_in_anything_are_different_keys() -> None:
    assert [[a == b for b in ALL_DIFFERENT] for a in ALL_DIFFERENT] == [
        [a is b for b in ALL_DIFFERENT] for a in ALL_DIFFERENT
    ]
    assert len(set(ALL_DIFFERENT)) == len(ALL_DIFFERENT)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Proxy("http://user:1@proxy.example", headers={"X-Token": "1"}, tunnel=True),
        lambda: Proxy("https://proxy.example", ssl=SSLConfig(verify=False)),
        lambda: Proxy("socks5h://user:1@proxy.example"),
        lambda: Proxy("http://proxy.example", headers=tokens),
        lambda: Proxy("http://proxy.example", headers=tokens.method),
        lambda: Proxy("http://proxy.example", headers=pushed.get_nowait),
    ],
)
def test_proxies_made_of_the_same_are_the_same_key(make: Callable[[], Proxy]) -> None:
    assert make() == make()
    assert hash(make()) == hash(make())


def test_however_it_is_written_the_proxy_is_the_same() -> None:
    proxy = Proxy("HTTP://us%65r:secret@Proxy.Example:80/", headers={"X-Token": "1"})
    same = Proxy(b"http://proxy.example", [(b"X-Token", b"1")], auth=("user", "secret"))
    assert proxy == same
    assert hash(proxy) == hash(same)


def test_proxy_equals_nothing_else() -> None:
    assert Proxy("http://proxy.example") != "http://proxy.example:80"
    assert Proxy("http://proxy.example") != URL("http://proxy.example")


@pytest.mark.parametrize("name", ["scheme", "host", "port", "origin", "headers", "ssl", "auth", "tunnel", "new"])
def test_proxy_cannot_be_changed(name: str) -> None:
    proxy = Proxy("http://proxy.example")
    with pytest.raises(AttributeError):
        setattr(proxy, name, None)
    with pytest.raises(AttributeError):
        delattr(proxy, name)


@pytest.mark.parametrize("proxy", [ALL_DIFFERENT[0], ALL_DIFFERENT[5], ALL_DIFFERENT[12], ALL_DIFFERENT[17]])
def test_copy_is_equal(proxy: Proxy) -> None:
    assert copy.copy(proxy) == proxy
    assert copy.deepcopy(proxy) == proxy


# What is shown.


@pytest.mark.parametrize(
    ("proxy", "text", "representation"),
    [
        (Proxy("http://proxy.example"), "http://proxy.example:80", "Proxy('http://proxy.example:80')"),
        (
            Proxy("https://hunter2@proxy.example"),
            "https://proxy.example:443",
            "Proxy('https://[secret]@proxy.example:443')",
        ),
        (
            Proxy("socks5h://hunter2:hunter2@[::1]"),
            "socks5h://[::1]:1080",
            "Proxy('socks5h://[secret]@[::1]:1080')",
        ),
        (
            Proxy("http://proxy.example", auth=("hunter2", "hunter2"), tunnel=True),
            "http://proxy.example:80",
            "Proxy('http://[secret]@proxy.example:80', tunnel=True)",
        ),
        (
            Proxy("http://proxy.example", headers={"X-Token": "hunter2"}),
            "http://proxy.example:80",
            "Proxy('http://proxy.example:80', headers=[(b'X-Token', '[secret]')])",
        ),
        (
            Proxy("http://proxy.example", headers=functools.partial(dict, {"X-Token": "hunter2"})),
            "http://proxy.example:80",
            "Proxy('http://proxy.example:80', headers=<callable>)",
        ),
        (
            Proxy("https://proxy.example", ssl=SSLConfig(cert=("a.pem", "b.pem", "hunter2"))),
            "https://proxy.example:443",
            f"Proxy('https://proxy.example:443', ssl={SSLConfig(cert=('a.pem', 'b.pem', 'hunter2'))!r})",
        ),
    ],
)
def test_str_and_repr_show_the_proxy_and_none_of_its_secrets(proxy: Proxy, text: str, representation: str) -> None:
    assert str(proxy) == text
    assert repr(proxy) == representation
    assert SECRET not in f"{proxy} {proxy!r}"


def test_direct_is_one_thing_with_a_name() -> None:
    assert repr(DIRECT) == "httpcore.DIRECT"
    assert copy.deepcopy(DIRECT) is DIRECT

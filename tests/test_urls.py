"""The URL parser: what it makes of good URLs, what it refuses, and that credentials never show."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from httpcore.exceptions import InvalidURL, LocalProtocolError, UnsupportedProtocol
from httpcore.urls import URL, Origin, authority_form, check_target, parse_url

LABEL_63 = "a" * 63
HOST_253 = ".".join([LABEL_63, LABEL_63, LABEL_63, "a" * 61])


# What a good URL is taken for.


@pytest.mark.parametrize(
    ("text", "scheme", "host", "port", "target", "host_header"),
    [
        ("http://example.org", "http", "example.org", 80, b"/", b"example.org"),
        ("https://example.org/", "https", "example.org", 443, b"/", b"example.org"),
        ("HTTPS://EXAMPLE.org/A", "https", "example.org", 443, b"/A", b"example.org"),
        ("http://example.org:80/", "http", "example.org", 80, b"/", b"example.org"),
        ("http://example.org:443/", "http", "example.org", 443, b"/", b"example.org:443"),
        ("https://example.org:8443/", "https", "example.org", 8443, b"/", b"example.org:8443"),
        ("http://example.org:/", "http", "example.org", 80, b"/", b"example.org"),
        ("http://example.org:0/", "http", "example.org", 0, b"/", b"example.org:0"),
        ("http://example.org:00080/", "http", "example.org", 80, b"/", b"example.org"),
        ("http://example.org:65535/", "http", "example.org", 65535, b"/", b"example.org:65535"),
        ("http://example.org?a=b", "http", "example.org", 80, b"/?a=b", b"example.org"),
        ("http://example.org?", "http", "example.org", 80, b"/?", b"example.org"),
        ("http://example.org#frag", "http", "example.org", 80, b"/", b"example.org"),
        ("http://example.org/a?b#c?d#e", "http", "example.org", 80, b"/a?b", b"example.org"),
        ("http://example.org/a?b?c/d", "http", "example.org", 80, b"/a?b?c/d", b"example.org"),
        ("http://example.org//a/../b/./", "http", "example.org", 80, b"//a/../b/./", b"example.org"),
        ("http://example.org/@a:b", "http", "example.org", 80, b"/@a:b", b"example.org"),
        ("http://example.org./", "http", "example.org.", 80, b"/", b"example.org."),
        ("http://my_service/", "http", "my_service", 80, b"/", b"my_service"),
        ("http://-a-.example.org/", "http", "-a-.example.org", 80, b"/", b"-a-.example.org"),
        ("http://127.0.0.1:8000/", "http", "127.0.0.1", 8000, b"/", b"127.0.0.1:8000"),
        ("http://255.249.199.10/", "http", "255.249.199.10", 80, b"/", b"255.249.199.10"),
        ("http://1.2.3.4.example/", "http", "1.2.3.4.example", 80, b"/", b"1.2.3.4.example"),
        ("http://0xg/", "http", "0xg", 80, b"/", b"0xg"),
        ("http://[::1]/", "http", "::1", 80, b"/", b"[::1]"),
        ("http://[2001:DB8::A]:8080/x", "http", "2001:db8::a", 8080, b"/x", b"[2001:db8::a]:8080"),
        ("https://[::ffff:1.2.3.4]:443", "https", "::ffff:1.2.3.4", 443, b"/", b"[::ffff:1.2.3.4]"),
        ("http://[::1]:?q", "http", "::1", 80, b"/?q", b"[::1]"),
        ("http://faß.de/", "http", "xn--fa-hia.de", 80, b"/", b"xn--fa-hia.de"),
        ("http://BÜCHER.example:81/", "http", "xn--bcher-kva.example", 81, b"/", b"xn--bcher-kva.example:81"),
        ("http://ü.de。", "http", "xn--tda.de.", 80, b"/", b"xn--tda.de."),
        ("http://\uff11\uff12\uff17.0.0.1/", "http", "127.0.0.1", 80, b"/", b"127.0.0.1"),
        ("http://xn--tda.de/", "http", "xn--tda.de", 80, b"/", b"xn--tda.de"),
        (f"http://{LABEL_63}/", "http", LABEL_63, 80, b"/", LABEL_63.encode()),
        (f"http://{HOST_253}/", "http", HOST_253, 80, b"/", HOST_253.encode()),
        (f"http://{HOST_253}./", "http", HOST_253 + ".", 80, b"/", HOST_253.encode() + b"."),
    ],
)
def test_good_url_is_split_into_its_parts(
    text: str, scheme: str, host: str, port: int, target: bytes, host_header: bytes
) -> None:
    url = URL(text)
    assert (url.scheme, url.host, url.port) == (scheme, host, port)
    assert url.origin == Origin(scheme, host, port)
    assert (url.target, url.host_header, url.userinfo) == (target, host_header, None)
    assert str(url) == f"{scheme}://{host_header.decode()}{target.decode()}"
    assert URL(str(url)) == url
    if text.isascii():
        assert URL(text.encode("ascii")) == url


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/a b", b"/a%20b"),
        ("/?a b", b"/?a%20b"),
        ("/%41%c3%BC%2F", b"/%41%c3%BC%2F"),
        ("/%", b"/%25"),
        ("/%4", b"/%254"),
        ("/%4g", b"/%254g"),
        ("/%%41", b"/%25%41"),
        ("/%zz %41", b"/%25zz%20%41"),
        ("/ü?ü", b"/%C3%BC?%C3%BC"),
        ("/\u20ac\U0001f600", b"/%E2%82%AC%F0%9F%98%80"),
        ("/\u00a0\u2028.", b"/%C2%A0%E2%80%A8."),
        ('/"<>\\^`{|}', b"/%22%3C%3E%5C%5E%60%7B%7C%7D"),
        ("/?f[a]=1", b"/?f%5Ba%5D=1"),
        ("/-._~!$&'()*+,;=:@/?", b"/-._~!$&'()*+,;=:@/?"),
    ],
)
def test_target_keeps_percent_encoding_and_completes_it(path: str, target: bytes) -> None:
    assert URL("http://h" + path).target == target


@pytest.mark.parametrize(
    ("userinfo", "expected"),
    [
        ("user:pass@", (b"user", b"pass")),
        ("user@", (b"user", b"")),
        ("user:@", (b"user", b"")),
        (":pass@", (b"", b"pass")),
        ("@", None),
        (":@", None),
        ("a%40b:c%3Ad%2F%25@", (b"a@b", b"c:d/%")),
        ("u:p:q@", (b"u", b"p:q")),
        ("ü:%zz@", ("ü".encode(), b"%zz")),
        ("%0D%0A:[x]@", (b"\r\n", b"[x]")),
    ],
)
def test_userinfo_is_decoded(userinfo: str, expected: tuple[bytes, bytes] | None) -> None:
    url = URL(f"http://{userinfo}example.org:8080/")
    assert url.userinfo == expected
    assert (url.host, url.port) == ("example.org", 8080)
    assert str(url) == "http://example.org:8080/"


# What is refused.


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no scheme"),
        ("example.org", "has no scheme"),
        ("/path", "has no scheme"),
        ("//example.org/", "has no scheme"),
        ("://example.org/", "has no scheme"),
        ("1http://example.org/", "has no scheme"),
        ("http", "has no scheme"),
        ("ht\u212ap://h/", "has no scheme"),
        ("ftp://example.org/", "'ftp'"),
        ("WS://example.org/", "'ws'"),
        ("http+unix://example.org/", r"'http\+unix'"),
        ("mailto:a@example.org", "'mailto'"),
        ("localhost:8080/", "'localhost'"),
        ("javascript:alert(1)", "'javascript'"),
    ],
)
def test_other_scheme_is_unsupported_and_named(text: str, message: str) -> None:
    with pytest.raises(UnsupportedProtocol, match=message):
        URL(text)


REFUSED = [
    # control characters, anywhere
    *[(f"http://h/{chr(code)}x", "control character") for code in (*range(0x20), *range(0x7F, 0xA0))],
    ("http://h\r\nx/", "control character '\\\\r'"),
    ("http://h:8\t0/", "control character"),
    ("http://u\x00@h/", "control character"),
    ("http://h/#\n", "control character"),
    ("\x00http://h/", "control character"),
    # whitespace
    (" http://h/", "begins or ends with whitespace"),
    ("http://h/ ", "begins or ends with whitespace"),
    ("http://h/\u3000", "begins or ends with whitespace"),
    ("http://h/#a ", "begins or ends with whitespace"),
    ("http://a b/", "'a b' contains ' '"),
    ("http:// h/", "contains ' '"),
    ("http://h :80/", "contains ' '"),
    ("http://h: 80/", "not a number"),
    ("http://u v@h/", "' ' before its host"),
    ("http://u\u00a0v@h/", "before its host"),
    ("http://a\u3000b/", "not a valid internationalised name"),
    # authority
    ("http:", "must be followed by '//'"),
    ("http:/h", "must be followed by '//'"),
    ("http:\\\\h", "must be followed by '//'"),
    ("http://", "has no host"),
    ("http:///path", "has no host"),
    ("http://?q", "has no host"),
    ("http://:80/", "has no host"),
    ("http://u@/", "has no host"),
    ("http://a.b\\@c.d/", "before its host"),
    ("http://a.b\\c.d/", "contains '\\\\\\\\'"),
    ("http://a@b@c/", "more than one '@'"),
    # ports
    ("http://h:x/", "not a number"),
    ("http://h:-1/", "not a number"),
    ("http://h:+80/", "not a number"),
    ("http://h:8_0/", "not a number"),
    ("http://h:0x50/", "not a number"),
    ("http://h:\uff18\uff10/", "not a number in ASCII digits"),
    ("http://h:²/", "not a number in ASCII digits"),
    ("http://h:65536/", "above 65535"),
    ("http://h:100000/", "above 65535"),
    ("http://h:" + "9" * 10_000 + "/", "above 65535"),
    ("http://h:80:80/", "several ports"),
    # IPv6
    ("http://::1/", "without brackets"),
    ("http://2001:db8::1/", "without brackets"),
    ("http://[::1/", "never closed"),
    ("http://[::1/]", "never closed"),
    ("http://[::1]x/", "other than a port"),
    ("http://[::1].example.org/", "other than a port"),
    ("http://[::1]]/", "other than a port"),
    ("http://[::1]:x/", "not a number"),
    ("http://[]/", "not a valid IPv6"),
    ("http://[:]/", "not a valid IPv6"),
    ("http://[::1::]/", "not a valid IPv6"),
    ("http://[1:2:3:4:5:6:7:8:9]/", "not a valid IPv6"),
    ("http://[12345::]/", "not a valid IPv6"),
    ("http://[::g]/", "not a valid IPv6"),
    ("http://[::\uff11]/", "not a valid IPv6"),
    ("http://[::127.1]/", "not a valid IPv6"),
    ("http://[127.0.0.1]/", "not a valid IPv6"),
    ("http://[v1.x]/", "not a valid IPv6"),
    ("http://[example.org]/", "not a valid IPv6"),
    ("http://[fe80::1%eth0]/", "zone"),
    ("http://[fe80::1%25eth0]/", "zone"),
    # characters of a host
    ("http://a%2Fb/", "contains '%'"),
    ("http://a%00/", "contains '%'"),
    ("http://a[b]/", "contains '\\['"),
    ("http://a,b/", "contains ','"),
    ("http://a$b/", "contains '\\$'"),
    ("http://a*b/", "contains '\\*'"),
    ("http://a|b/", "contains '\\|'"),
    # labels
    ("http://./", "empty label"),
    ("http://../", "empty label"),
    ("http://.a/", "empty label"),
    ("http://a..b/", "empty label"),
    ("http://a../", "empty label"),
    (f"http://{LABEL_63}a/", "more than 63"),
    (f"http://{HOST_253}a/", "longer than 253"),
    ("http://" + "a." * 5000 + "/", "longer than 253"),
    ("http://" + "ü" * 5000 + "/", "longer than 253"),
    # internationalised names
    ("http://ü..de/", "internationalised"),
    ("http://a\uff0fb.de/", "internationalised"),
    ("http://a\uff20b/", "internationalised"),
    ("http://\uff0541/", "internationalised"),
    ("http://xn--zz.ü/", "internationalised"),
    ("http://\u00ad/", "internationalised"),
    ("http://" + "ü" * 100 + "/", "internationalised"),
    ("http://\ud800/", "internationalised"),
    # what some take for an IPv4 address
    *[
        (f"http://{host}/", "ends in a number")
        for host in (
            "0",
            "2130706433",
            "127.1",
            "127.0.1",
            "0x7f.1",
            "0x7f000001",
            "0X7F.0.0.0x1",
            "0x",
            "foo.0x",
            "0177.0.0.1",
            "127.0.0.01",
            "256.0.0.1",
            "1.2.3.4.5",
            "127.0.0.1.",
            "example.1",
            "example.09.",
            "\uff11\uff12\uff17.1",
            "0x\uff17f.1",
            "\uff11\uff12\uff13",
            "⑫.1",
        )
    ],
    # no bytes to encode
    ("http://h/\ud800", "lone surrogate"),
    ("http://u\ud800:p@h/", "lone surrogate"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_malformed_or_ambiguous_url_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(InvalidURL, match=message):
        URL(text)


def test_host_that_only_its_trailing_dot_makes_254_long_differs_from_one_of_254() -> None:
    with pytest.raises(InvalidURL, match="longer than 253"):
        URL(f"http://{HOST_253[:-1]}aa/")
    assert URL(f"http://{HOST_253}./").host == HOST_253 + "."


def test_non_ascii_bytes_are_refused() -> None:
    for make in (URL, parse_url):
        with pytest.raises(InvalidURL, match="non-ASCII bytes"):
            make("http://h/ü".encode())


@pytest.mark.parametrize("value", [None, 1, bytearray(b"http://h/"), ["http://h/"]])
def test_other_type_is_a_type_error_that_names_it(value: object) -> None:
    for make in (URL, parse_url):
        with pytest.raises(TypeError, match=type(value).__name__):
            make(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "http://h/" + "%" * 500_000,
        "http://h/" + "%41" * 200_000 + "\\",
        "http://h/" + "a" * 500_000 + "\\",
        "http://h:" + "0" * 500_000 + "x/",
        "http://" + "@" * 500_000 + "/",
        "http://" + "a." * 250_000 + "1/",
        "http://" + "0." * 126 + "0/",
        "http://" + "[" * 500_000 + "/",
        "a" * 500_000,
        "http://u" + ":%4" * 100_000 + "@h/",
    ],
)
def test_long_hostile_url_is_parsed_or_refused(text: str) -> None:
    # Quadratic work on any of these runs into the suite's time limit.
    try:
        outcome = str(URL(text))
    except (InvalidURL, UnsupportedProtocol) as error:
        outcome = str(error)
    assert outcome.isascii()
    assert outcome.startswith("http://") or len(outcome) < 300


# Credentials.


@pytest.mark.parametrize("text", ["http://user:hunter2@h/", "http://hunter2@h/", "http://:hunter2@h/"])
def test_repr_and_str_hide_userinfo(text: str) -> None:
    url = URL(text)
    assert repr(url) == "URL('http://[secret]@h/')"
    assert str(url) == "http://h/"


def test_repr_without_userinfo_is_the_url() -> None:
    assert repr(URL("http://h/a b#c")) == "URL('http://h/a%20b')"


@pytest.mark.parametrize(
    "text",
    [
        "http://user:hunter2@h%/",
        "http://user:hunter2@ü/\ud800",
        "http://user:hunter2@h@h/",
        "http://user:hunter2 @h/",
        "http://user:hunter2\\@h/",
        "http://user:hunter2\ud800@h/",
        "http://user:hunter2@h:x/",
        "http://user:hunter2@[x]/",
        "http://user:hunter2/x@h/",
        "http://user:hunter2?x@h/",
        "http://user:hunter2#x@h/",
        "http://hunter2%2F/x@h/",
        "http://hunter2%#x@h/",
        "http://hunter2ä~/x@h/",
        "http://[hunter2]/x@h/",
        "http://[hunter2/x@h/",
        "http://user:hunter2@h/\n",
        "ftp://user:hunter2@h/",
    ],
)
def test_error_shows_no_credentials_even_in_its_causes(text: str) -> None:
    with pytest.raises((InvalidURL, UnsupportedProtocol)) as caught:
        URL(text)
    error = traceback.TracebackException.from_exception(caught.value)
    shown: list[str] = []
    while error is not None:
        shown += error.format_exception_only()
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)  # type: ignore[assignment]
    assert "hunter2" not in "".join(shown)


def test_idna_error_is_chained_where_it_cannot_hold_credentials() -> None:
    with pytest.raises(InvalidURL, match=r"'a_\\xfc'") as caught:
        URL("http://a_ü/")
    assert isinstance(caught.value.__cause__, UnicodeError)


# The object.


def test_equality_and_hash_go_by_origin_target_and_userinfo() -> None:
    url = URL("http://example.org/a")
    same = URL("HTTP://EXAMPLE.ORG:80/a#fragment")
    assert url == same
    assert hash(url) == hash(same)
    others = {URL("https://example.org/a"), URL("http://example.org/b"), URL("http://u@example.org/a")}
    assert url not in others
    assert len(others) == 3
    assert url != "http://example.org/a"


@pytest.mark.parametrize("name", ["host", "target", "unknown"])
def test_url_is_immutable(name: str) -> None:
    url = URL("http://example.org/")
    with pytest.raises(AttributeError, match="immutable"):
        setattr(url, name, "x")
    with pytest.raises(AttributeError, match="immutable"):
        delattr(url, name)
    assert not hasattr(url, "__dict__")


@pytest.mark.parametrize("text", ["http://[::1]:81/%41?b", "https://u%40:p%3A%2F%FF@example.org/"])
def test_url_survives_copy_and_pickle(text: str) -> None:
    url = URL(text)
    assert copy.copy(url) == copy.deepcopy(url) == pickle.loads(pickle.dumps(url)) == url


def test_origin_is_hashable_and_shows_brackets_and_port() -> None:
    assert str(URL("http://example.org").origin) == "http://example.org:80"
    assert str(Origin("https", "::1", 443)) == "https://[::1]:443"
    assert {Origin("http", "a", 1): 1}[URL("http://a:1/x").origin] == 1


# parse_url


def test_parse_url_returns_a_url_as_it_is() -> None:
    url = URL("http://example.org/")
    assert parse_url(url) is url


def test_parse_url_remembers_plain_urls() -> None:
    assert parse_url("http://example.org/cached") is parse_url(b"http://example.org/cached")


@pytest.mark.parametrize("text", ["http://user:hunter2@h/", "http://h/" + "a" * 2048])
def test_parse_url_does_not_remember_credentials_or_long_urls(text: str) -> None:
    assert parse_url(text) is not parse_url(text)
    assert parse_url(text) == URL(text)


def test_parse_url_takes_a_str_subclass() -> None:
    class Text(str):
        __slots__ = ()

    url = parse_url(Text("http://example.org/x"))
    assert url.host == "example.org"
    assert type(url.host) is str


def test_parse_url_does_not_remember_failures() -> None:
    for _ in range(2):
        with pytest.raises(InvalidURL):
            parse_url("http://h:x/")


def test_ascii_url_does_not_import_idna() -> None:
    code = (
        "import sys; from httpcore.urls import URL; URL('http://example.org/ü'); "
        "assert 'idna' not in sys.modules; assert URL('http://ü/').host == 'xn--tda'"
    )
    subprocess.run([sys.executable, "-X", "utf8", "-c", code], check=True)


# Request targets.


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (Origin("https", "example.org", 443), b"example.org:443"),
        (Origin("http", "127.0.0.1", 80), b"127.0.0.1:80"),
        (Origin("http", "::1", 8080), b"[::1]:8080"),
    ],
)
def test_authority_form_always_has_the_port(origin: Origin, expected: bytes) -> None:
    assert authority_form(origin) == expected


@pytest.mark.parametrize("target", [b"/", b"*", b"example.org:443", b"http://h/?%zz", bytes(range(0x21, 0x7F))])
def test_target_of_visible_ascii_passes_unchanged(target: bytes) -> None:
    assert check_target(target) is target


@pytest.mark.parametrize("code", [*range(0x21), *range(0x7F, 0x100)])
def test_target_with_any_other_byte_is_refused_and_the_byte_named(code: int) -> None:
    for target, position in ((bytes([code]), 0), (b"/a" + bytes([code]) + b"b", 2), (b"/" + bytes([code]), 1)):
        with pytest.raises(LocalProtocolError, match=f"0x{code:02x} at position {position}"):
            check_target(target)


def test_empty_target_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="empty"):
        check_target(b"")


def test_target_of_other_type_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="str"):
        check_target("/")  # type: ignore[arg-type]


# Properties.

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()))
URL_LIKE = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["http://", "https://", "HTTP://", "ftp://", "http:", ""]),
        st.sampled_from(["", "u@", "u:p@", "ü:%2", "@@"]),
        st.one_of(
            st.sampled_from(["h", "example.org", "[::1]", "[", "1.2.3.4", "faß.de", "\uff11.1"]),
            ANY_TEXT,
            st.text("aü\uff100x.-_:[]%@\\\u3000"),
        ),
        st.sampled_from(["", ":", ":80", ":99999", ":\uff18"]),
        st.sampled_from(["", "/", "?", "/%", "#"]),
        ANY_TEXT,
    ),
)


@given(st.one_of(URL_LIKE, ANY_TEXT))
def test_any_text_is_a_safe_url_or_a_documented_error(text: str) -> None:
    try:
        url = URL(text)
    except (InvalidURL, UnsupportedProtocol):
        return
    for wire in (url.target, url.host_header):
        assert check_target(wire) == wire
    assert url.target.startswith(b"/")
    assert URL(str(url)).origin == url.origin
    assert URL(str(url)).target == url.target
    assert pickle.loads(pickle.dumps(url)) == url


@given(st.binary())
def test_any_bytes_are_a_url_or_a_documented_error(data: bytes) -> None:
    try:
        url = URL(b"http://" + data)
    except InvalidURL:
        return
    assert check_target(url.target) == url.target

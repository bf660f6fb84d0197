"""Headers as a list and as a look-up, and the checks on what a caller gives."""

from __future__ import annotations

import copy
import enum
import pickle
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from httpcore.exceptions import LocalProtocolError
from httpcore.headers import (
    HOP_BY_HOP,
    Headers,
    HeaderTypes,
    check_method,
    check_trailers,
    normalize_headers,
    without_hop_by_hop,
)

PAIRS = [
    (b"Content-Type", b"text/plain"),
    (b"accept", b"a"),
    (b"set-cookie", b"a=1"),
    (b"Accept", b"b"),
    (b"Set-Cookie", b"b=2"),
    (b"x-latin", b"\xfc"),
]
TOKEN_BYTES = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
NOT_TOKEN_BYTES = [bytes([code]) for code in range(256) if code not in TOKEN_BYTES]
FORBIDDEN_IN_VALUES = [*range(0x09), *range(0x0A, 0x20), 0x7F]


class Name(enum.StrEnum):
    HOST = "host"


class TaggedBytes(bytes):
    pass


# The list.


def test_headers_is_the_list_it_was_made_from() -> None:
    headers = Headers(PAIRS)
    assert headers == PAIRS
    assert list(headers) == PAIRS
    assert isinstance(headers, list)
    assert not hasattr(headers, "__dict__")
    assert headers[0] == PAIRS[0]
    assert headers[-1] == PAIRS[-1]
    assert headers[1:3] == PAIRS[1:3]
    assert PAIRS[0] in headers
    assert (b"content-type", b"text/plain") not in headers
    assert None not in headers
    with pytest.raises(IndexError):
        headers[99]


def test_headers_can_be_changed_as_a_list() -> None:
    headers = Headers()
    headers.append((b"a", b"1"))
    headers += [(b"b", b"2")]
    headers[0] = (b"c", b"3")
    del headers[1]
    assert headers == [(b"c", b"3")]
    assert headers["C"] == "3"
    assert "a" not in headers


def test_copies_can_be_looked_up_and_are_independent() -> None:
    headers = Headers(PAIRS)
    for duplicate in (headers.copy(), copy.copy(headers), copy.deepcopy(headers), pickle.loads(pickle.dumps(headers))):
        assert duplicate == headers
        assert duplicate["content-type"] == "text/plain"
        duplicate.clear()
    assert headers == PAIRS


# The look-up.


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("content-type", "text/plain"),
        ("CONTENT-TYPE", "text/plain"),
        (b"content-Type", "text/plain"),
        ("accept", "a, b"),
        ("set-cookie", "a=1"),
        (b"SET-COOKIE", "a=1"),
        ("x-latin", "\xfc"),
    ],
)
def test_lookup_by_name_ignores_case_and_joins_lines(name: str | bytes, value: str) -> None:
    headers = Headers(PAIRS)
    assert headers[name] == value
    assert headers.get(name) == value
    assert headers.get(name, "default") == value
    assert name in headers


@pytest.mark.parametrize("name", ["missing", b"missing", "", "content", "content-type ", "\u212aeep", "x-latin\xfc"])
def test_lookup_of_a_missing_name_is_a_key_error_or_the_default(name: str | bytes) -> None:
    headers = Headers([*PAIRS, (b"keep", b"x")])
    with pytest.raises(KeyError, match=r"missing|''|content|eep|latin"):
        headers[name]
    assert headers.get(name) is None
    assert headers.get(name, "default") == "default"
    assert headers.get(name, 0) == 0
    assert headers.get_list(name) == []
    assert name not in headers


def test_get_list_has_every_line_in_order_unsplit() -> None:
    headers = Headers([*PAIRS, (b"ACCEPT", b"c, d")])
    assert headers.get_list("Accept") == ["a", "b", "c, d"]
    assert headers.get_list(b"set-cookie") == ["a=1", "b=2"]


def test_lists_as_pairs_can_be_looked_up() -> None:
    scope: list[list[bytes]] = [[b"host", b"h"]]
    headers = Headers(scope)  # type: ignore[arg-type]
    assert headers["Host"] == "h"
    assert "host" in headers


@pytest.mark.parametrize("name", [b"Authorization", b"proxy-authorization", b"COOKIE", b"Set-Cookie"])
def test_repr_hides_secrets(name: bytes) -> None:
    headers = Headers([(b"host", b"h"), (name, b"hunter2")])
    assert repr(headers) == f"Headers([(b'host', b'h'), ({name!r}, b'[secret]')])"
    assert str(headers) == repr(headers)
    assert headers[1] == (name, b"hunter2")


# What a caller gives.


def pairs_as_generator() -> Iterator[tuple[str, bytes]]:
    yield "Host", b"h"


@pytest.mark.parametrize(
    ("given_headers", "expected"),
    [
        ((), []),
        ({}, []),
        ([(b"Host", b"h"), (b"a", b"1"), (b"a", b"2")], [(b"Host", b"h"), (b"a", b"1"), (b"a", b"2")]),
        ([("Host", "h")], [(b"Host", b"h")]),
        ((("Host", b"h"), (b"A", "1")), [(b"Host", b"h"), (b"A", b"1")]),
        ({"Host": "h", "a": b"1"}, [(b"Host", b"h"), (b"a", b"1")]),
        ({b"Host": b"h"}, [(b"Host", b"h")]),
        ([[b"host", b"h"]], [(b"host", b"h")]),
        ([["host", "h"]], [(b"host", b"h")]),
        (pairs_as_generator(), [(b"Host", b"h")]),
        (Headers([(b"a", b"b")]), [(b"a", b"b")]),
        ({Name.HOST: TaggedBytes(b"h")}, [(b"host", b"h")]),
        ([(TaggedBytes(b"host"), "h")], [(b"host", b"h")]),
        ([(b"a", b" \t b\tc \t")], [(b"a", b"b\tc")]),
        ([(b"a", b" b")], [(b"a", b"b")]),
        ([(b"a", b"b\t")], [(b"a", b"b")]),
        ([("a", "\t b ")], [(b"a", b"b")]),
        ([(b"a", b""), (b"b", b" \t"), ("c", "")], [(b"a", b""), (b"b", b""), (b"c", b"")]),
        ([(b"a", bytes(range(0x80, 0x100)))], [(b"a", bytes(range(0x80, 0x100)))]),
        ([(b"a", bytes(range(0x20, 0x7F)))], [(b"a", bytes(range(0x21, 0x7F)))]),
        ([(TOKEN_BYTES, b"")], [(TOKEN_BYTES, b"")]),
        ([(TOKEN_BYTES.decode(), "")], [(TOKEN_BYTES, b"")]),
    ],
)
def test_good_headers_become_byte_pairs(given_headers: HeaderTypes, expected: list[tuple[bytes, bytes]]) -> None:
    headers = normalize_headers(given_headers)
    assert type(headers) is Headers
    assert headers == expected
    assert all(type(pair) is tuple for pair in headers)


def test_types_that_callers_hold_are_accepted_by_the_type_checker() -> None:
    str_dict: dict[str, str] = {"a": "b"}
    bytes_dict: dict[bytes, bytes] = {b"a": b"b"}
    mixed_dict: dict[str | bytes, str | bytes] = {"a": b"b"}
    str_pairs: list[tuple[str, str]] = [("a", "b")]
    bytes_pairs: list[tuple[bytes, bytes]] = [(b"a", b"b")]
    asgi: list[list[bytes]] = [[b"a", b"b"]]
    shapes: list[HeaderTypes] = [str_dict, bytes_dict, mixed_dict, str_pairs, bytes_pairs, tuple(str_pairs), asgi]
    assert [normalize_headers(shape) for shape in shapes] == [[(b"a", b"b")]] * 7


def test_result_is_another_list_than_the_given_one() -> None:
    headers = Headers([(b"a", b"b")])
    normalize_headers(headers).append((b"c", b"d"))
    assert headers == [(b"a", b"b")]


@pytest.mark.parametrize("bad", NOT_TOKEN_BYTES)
def test_name_with_a_byte_that_no_token_has_is_refused(bad: bytes) -> None:
    for name in (bad, b"x-a" + bad, bad + b"x-a", b"x-a" + bad + b"b"):
        with pytest.raises(LocalProtocolError, match="not a token"):
            normalize_headers([(name, b"v")])
        with pytest.raises(LocalProtocolError, match="not a token"):
            normalize_headers([(name.decode("latin-1"), "v")])


@pytest.mark.parametrize("name", ["", b""])
def test_empty_name_is_refused(name: str | bytes) -> None:
    with pytest.raises(LocalProtocolError, match="name is empty"):
        normalize_headers([(name, b"v")])


def test_bad_name_is_quoted_up_to_its_fault_only() -> None:
    with pytest.raises(LocalProtocolError, match=r"'Authorization'.*':' at position 13") as caught:
        normalize_headers([("Authorization: Basic hunter2", "")])
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("code", FORBIDDEN_IN_VALUES)
def test_value_with_a_control_character_is_refused_unquoted(code: int) -> None:
    bad = bytes([code])
    for value in (bad, b"hunter2" + bad, bad + b"hunter2", b"hunter2" + bad + b"x: y"):
        for given_value in (value, value.decode("ascii")):
            with pytest.raises(LocalProtocolError, match="'x-key' has a control character") as caught:
                normalize_headers([("x-key", given_value)])
            assert "hunter2" not in str(caught.value)


def test_non_ascii_str_value_is_refused_with_advice() -> None:
    with pytest.raises(LocalProtocolError, match=r"'x-key'.*non-ASCII.*bytes") as caught:
        normalize_headers({"x-key": "hunter2ü"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("given_headers", "message"),
    [
        (None, "not NoneType"),
        (5, "not int"),
        ("a: b", "not str"),
        (b"a: b", "not bytes"),
        (["ab"], "pair, not str"),
        ([b"ab"], "pair, not bytes"),
        ([5], "pair, not int"),
        ([("a",)], "pair, not tuple of 1"),
        ([["a", "b", "c"]], "pair, not list of 3"),
        ([("a", 5)], "'a' must be str or bytes, not int"),
        ([("a", None)], "not NoneType"),
        ([(b"a", bytearray(b"x"))], "not bytearray"),
        ([(5, "a")], "name must be str or bytes, not int"),
        ({None: "a"}, "not NoneType"),
    ],
)
def test_wrong_type_is_a_type_error_that_names_it(given_headers: HeaderTypes, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        normalize_headers(given_headers)


@given(st.lists(st.tuples(st.one_of(st.text(), st.binary()), st.one_of(st.text(), st.binary()))))
def test_any_pairs_are_safe_on_the_wire_or_refused(pairs: list[tuple[str | bytes, str | bytes]]) -> None:
    try:
        headers = normalize_headers(pairs)
    except LocalProtocolError:
        return
    for name, value in headers:
        assert name
        assert not set(name) - set(TOKEN_BYTES)
        assert not set(value) & set(FORBIDDEN_IN_VALUES)
        assert value == value.strip(b" \t")
    assert normalize_headers(headers) == headers


# Methods.


@pytest.mark.parametrize("method", ["GET", "get", "M-SEARCH", "!", TOKEN_BYTES.decode()])
def test_any_token_is_a_method_and_keeps_its_case(method: str) -> None:
    assert check_method(method) == check_method(method.encode()) == method.encode()


@pytest.mark.parametrize("bad", NOT_TOKEN_BYTES)
def test_method_with_a_byte_that_no_token_has_is_refused(bad: bytes) -> None:
    for method in (bad, b"GET" + bad, b"GET" + bad + b"/"):
        with pytest.raises(LocalProtocolError, match="not a token"):
            check_method(method)
        with pytest.raises(LocalProtocolError, match="not a token"):
            check_method(method.decode("latin-1"))


@pytest.mark.parametrize("method", ["", b""])
def test_empty_method_is_refused(method: str | bytes) -> None:
    with pytest.raises(LocalProtocolError, match="not a token"):
        check_method(method)


def test_method_of_other_type_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="NoneType"):
        check_method(None)  # type: ignore[arg-type]


# Trailers.


def test_trailers_are_checked_as_headers_are() -> None:
    assert check_trailers([("Digest", "x"), ("grpc-status", " 0 ")]) == [(b"Digest", b"x"), (b"grpc-status", b"0")]
    assert type(check_trailers(())) is Headers
    with pytest.raises(LocalProtocolError, match="control character"):
        check_trailers({"a": "b\r\n"})
    with pytest.raises(TypeError):
        check_trailers([("a", 1)])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name",
    """
    Transfer-Encoding Content-Length Connection Keep-Alive Proxy-Connection TE Trailer Upgrade Host
    Cache-Control Expect Max-Forwards Pragma Range If-Match If-None-Match If-Modified-Since If-Unmodified-Since If-Range
    Authorization Proxy-Authorization Proxy-Authenticate WWW-Authenticate Cookie Set-Cookie
    Authentication-Info Proxy-Authentication-Info
    Age Date Expires Location Retry-After Vary Warning Content-Encoding Content-Type Content-Range
    """.split(),
)
def test_field_that_must_precede_the_content_is_refused_in_trailers(name: str) -> None:
    for spelling in (name, name.lower(), name.upper()):
        with pytest.raises(LocalProtocolError, match=f"'{spelling}' is not allowed in trailers") as caught:
            check_trailers([("x-ok", "1"), (spelling, "hunter2")])
        assert "hunter2" not in str(caught.value)


# Gateways.


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP))
def test_hop_by_hop_field_is_dropped_in_any_case(name: bytes) -> None:
    for spelling in (name, name.upper(), name.title()):
        assert without_hop_by_hop([(b"a", b"1"), (spelling, b"x"), (b"a", b"2")]) == [(b"a", b"1"), (b"a", b"2")]


@pytest.mark.parametrize(
    ("connection", "kept"),
    [
        ([b"close"], [b"X-One", b"x-two", b"x-two"]),
        ([b"x-one"], [b"x-two", b"x-two"]),
        ([b" X-Two ,, close,\tx-none\t"], [b"X-One"]),
        ([b"x-one", b"X-TWO"], []),
        ([b""], [b"X-One", b"x-two", b"x-two"]),
    ],
)
def test_fields_named_in_connection_are_dropped(connection: list[bytes], kept: list[bytes]) -> None:
    fields = [(b"X-One", b"1"), *((b"Connection", value) for value in connection), (b"x-two", b"2"), (b"x-two", b"3")]
    result = without_hop_by_hop(pair for pair in fields)
    assert type(result) is Headers
    assert [name for name, _ in result] == kept


def test_end_to_end_fields_pass_a_gateway_unchanged() -> None:
    fields = [(b"Host", b"h"), (b"Trailer", b"x-sum"), (b"Content-Length", b"1"), (b"Cookie", b"a=b")]
    assert without_hop_by_hop(fields) == fields
    assert without_hop_by_hop([]) == []

"""Header fields: an ordered list of byte pairs that can be looked up, and the checks on what a caller gives.

Owns what a field name, a field value and a method may consist of (RFC 9110 5.1, 5.5, 9.1). Whatever passes here
cannot end a line early, so nothing a caller puts into a field can become another field or another request.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from typing import TYPE_CHECKING, SupportsIndex, TypeAlias, TypeVar, overload

from httpcore.exceptions import LocalProtocolError, quote_peer_text

__all__ = [
    "HOP_BY_HOP",
    "HeaderTypes",
    "Headers",
    "check_method",
    "check_protocol",
    "check_trailers",
    "normalize_headers",
    "without_hop_by_hop",
]

HeaderTypes: TypeAlias = (
    # One Mapping per type of key, since a Mapping is invariant in it.
    Mapping[str, str | bytes]
    | Mapping[bytes, str | bytes]
    | Mapping[str | bytes, str | bytes]
    | Iterable[tuple[str | bytes, str | bytes]]
    # ASGI servers and JSON give pairs as lists.
    | Iterable[list[bytes]]
    | Iterable[list[str]]
)
"""What a caller may give as header fields: a mapping, or (name, value) pairs; `str` or `bytes`."""

HOP_BY_HOP: frozenset[bytes] = frozenset(
    # Trailer is not among them: it announces fields that travel to the end (RFC 9110 6.6.2), and is only wrong where
    # a gateway drops the trailers themselves.
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Lower-case names of the fields that are meant for the next hop only (RFC 9110 7.6.1, 11.7)."""

_FORBIDDEN_IN_TRAILERS = frozenset(
    name.encode()
    for name in (
        # framing and the connection
        "connection content-length keep-alive proxy-connection te trailer transfer-encoding upgrade "
        # routing
        "host "
        # request modifiers; conditionals are told by their prefix
        "cache-control expect max-forwards pragma range "
        # authentication and state
        "authorization cookie proxy-authenticate proxy-authentication-info proxy-authorization set-cookie "
        "authentication-info www-authenticate "
        # response control data
        "age date expires location retry-after vary warning "
        # how to process the content
        "content-encoding content-range content-type"
    ).split()
)

_SECRET = frozenset({b"authorization", b"cookie", b"proxy-authorization", b"set-cookie"})

# Tokens that need no look at each byte: as gateways pass most of them on, they come by the million.
_COMMON_NAMES = frozenset(
    b"accept accept-encoding accept-language authorization cache-control content-length content-type cookie host "
    b"if-modified-since if-none-match origin range referer sec-fetch-dest sec-fetch-mode sec-fetch-site traceparent "
    b"user-agent via x-forwarded-for x-forwarded-host x-forwarded-proto x-real-ip x-request-id".split()
)

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_STRIPPED_VALUE = re.compile(rb"(?![\t ])[\t\x20-\x7e\x80-\xff]*(?<![\t ])")

_T = TypeVar("_T")


if TYPE_CHECKING:
    # Says what may stand before "in". Without it, mypy --strict takes `"name" in headers` for a mistake.
    class _ContainsNames(Container[str | bytes | tuple[bytes, bytes]]): ...
else:

    class _ContainsNames:
        __slots__ = ()


class Headers(_ContainsNames, list[tuple[bytes, bytes]]):
    """A list of (name, value) byte pairs, as ASGI has it, that can also be looked up by name.

    It **is** a list: it equals a plain list of the same pairs, keeps names and values in the order and case they were
    given, and is changed with `append`, `remove`, slices and so on, which check nothing. Look-up by name goes through
    the list, and ignores case. Values come out of it as `str`, decoded as latin-1, which loses no byte.

    `repr()` hides the values of Authorization, Proxy-Authorization, Cookie and Set-Cookie.
    """

    __slots__ = ()

    @overload
    def __getitem__(self, key: SupportsIndex, /) -> tuple[bytes, bytes]: ...
    @overload
    def __getitem__(self, key: slice, /) -> list[tuple[bytes, bytes]]: ...
    @overload
    def __getitem__(self, key: str | bytes, /) -> str: ...
    def __getitem__(
        self, key: SupportsIndex | slice | str | bytes, /
    ) -> tuple[bytes, bytes] | list[tuple[bytes, bytes]] | str:
        """Returns a field's value by name, or pairs by index or slice as any list does.

        Several lines of one name are joined with `", "` (RFC 9110 5.3), except for Set-Cookie, whose lines cannot be
        joined: there the first is returned, and `get_list` has all.

        Raises:
            KeyError: no field has this name.
            IndexError: no pair has this index.
        """
        if not isinstance(key, (str, bytes)):
            return super().__getitem__(key)
        wanted = _lookup_key(key)
        values = [value for name, value in self if name.lower() == wanted]
        if not values:
            raise KeyError(key)
        if len(values) == 1 or wanted == b"set-cookie":
            return values[0].decode("latin-1")
        return b", ".join(values).decode("latin-1")

    def __contains__(self, key: object, /) -> bool:
        """Says whether a field has this name (`str` or `bytes`), or whether this pair is in the list."""
        if not isinstance(key, (str, bytes)):
            return super().__contains__(key)
        wanted = _lookup_key(key)
        for name, _ in self:  # noqa: SIM110 - a third of what any() takes, with its generator
            if name.lower() == wanted:
                return True
        return False

    @overload
    def get(self, name: str | bytes) -> str | None: ...
    @overload
    def get(self, name: str | bytes, default: _T) -> str | _T: ...
    def get(self, name: str | bytes, default: _T | None = None) -> str | _T | None:
        """Returns what `self[name]` does, or `default` where no field has this name."""
        try:
            return self[name]
        except KeyError:
            return default

    def get_list(self, name: str | bytes) -> list[str]:
        """Returns the value of each line of this name, in order, unsplit; an empty list where there is none."""
        wanted = _lookup_key(name)
        return [value.decode("latin-1") for field_name, value in self if field_name.lower() == wanted]

    def copy(self) -> Headers:
        """Returns a shallow copy that can be looked up as well."""
        return Headers(self)

    def __repr__(self) -> str:
        shown = [(name, b"[secret]" if name.lower() in _SECRET else value) for name, value in self]
        return f"Headers({shown!r})"


def normalize_headers(headers: HeaderTypes) -> Headers:
    """Returns the checked form of the header fields a caller gives for a request.

    Order and case are kept. Space and tab around a value are removed, as a recipient would (RFC 9110 5.5).

    Args:
        headers: a mapping, or pairs (tuples or lists of two). A `str` must be ASCII; a value with other characters
            must be given as `bytes`, since HTTP does not say how to encode them.

    Raises:
        LocalProtocolError: a name is not a token (RFC 9110 5.1), or a value has a control character other than tab
            (CR, LF and NUL among them) or is a non-ASCII `str`. The message names the field, never its value.
        TypeError: `headers`, a pair, a name or a value is of the wrong type.
    """
    pairs: Iterable[object]
    if isinstance(headers, list):  # to ask an ABC takes as long as two pairs do
        pairs = headers
    elif isinstance(headers, (str, bytes)) or not isinstance(headers, Iterable):
        raise TypeError(f"headers must be a mapping or an iterable of (name, value) pairs, not {_type_name(headers)}")
    else:
        pairs = headers.items() if isinstance(headers, Mapping) else headers
    checked = Headers()
    append = checked.append
    is_token, is_stripped = _TOKEN.fullmatch, _STRIPPED_VALUE.fullmatch
    pair: object
    for pair in pairs:
        # What a gateway passes on, and most of what anyone else gives, is right as it stands.
        if type(pair) is tuple and len(pair) == 2:
            name, value = pair
            are_bytes = type(name) is bytes and type(value) is bytes
            if are_bytes and (name in _COMMON_NAMES or is_token(name)) and is_stripped(value):
                append(pair)
                continue
        append(_normalize_pair(pair))
    return checked


def check_method(method: str | bytes) -> bytes:
    """Returns a request method as bytes, its case kept (RFC 9110 9.1: methods are case-sensitive).

    Raises:
        LocalProtocolError: it is not a token.
        TypeError: it is neither `str` nor `bytes`.
    """
    return _check_token(method, "method", "RFC 9110 9.1")


def check_protocol(protocol: str | bytes) -> bytes:
    """Returns the protocol that an extended CONNECT asks for as bytes, its case kept (RFC 8441 4, RFC 9110 7.8).

    Raises:
        LocalProtocolError: it is not a token.
        TypeError: it is neither `str` nor `bytes`.
    """
    return _check_token(protocol, "protocol", "RFC 8441 4")


def check_trailers(trailers: HeaderTypes) -> Headers:
    """Returns the checked form of the trailer fields a caller gives: as `normalize_headers`, and fit for trailers.

    Raises:
        LocalProtocolError: also for a field that must come before the content: framing, routing, request modifiers,
            authentication, response control data, or how to process the content (RFC 9110 6.5.1).
        TypeError: as `normalize_headers`.
    """
    checked = normalize_headers(trailers)
    for name, _ in checked:
        lower = name.lower()
        if lower in _FORBIDDEN_IN_TRAILERS or lower.startswith(b"if-"):
            raise LocalProtocolError(f"header {quote_peer_text(name)} is not allowed in trailers (RFC 9110 6.5.1)")
    return checked


def without_hop_by_hop(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Returns the fields that a gateway forwards: all but `HOP_BY_HOP` and those that Connection names.

    A peer can have any field dropped by naming it in Connection (RFC 9110 7.6.1 demands it), so a gateway adds its
    own fields (Forwarded and the like) after this, not before.
    """
    kept = Headers()
    options: list[bytes] = []
    for name, value in headers:
        lower = name.lower()
        if lower not in HOP_BY_HOP:
            kept.append((name, value))
        elif lower == b"connection" and value not in HOP_BY_HOP:  # most often it is keep-alive, which names no other
            options += value.split(b",")
    if not options:
        return kept
    dropped = {option.strip(b" \t").lower() for option in options}
    return Headers([pair for pair in kept if pair[0].lower() not in dropped])


def _check_token(token: str | bytes, what: str, rule: str) -> bytes:
    if isinstance(token, str):
        encoded = token.encode("ascii", "backslashreplace")  # a backslash is in no token
    elif isinstance(token, bytes):
        encoded = token
    else:
        raise TypeError(f"a {what} must be str or bytes, not {_type_name(token)}")
    if not _TOKEN.fullmatch(encoded):
        raise LocalProtocolError(f"the {what} {quote_peer_text(token)} is not a token ({rule})")
    return encoded


def _normalize_pair(pair: object) -> tuple[bytes, bytes]:
    # A two-character str would unpack as well.
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise TypeError(f"a header must be a (name, value) pair, not {_describe_pair(pair)}")
    name = _encode_name(pair[0])
    if not _TOKEN.fullmatch(name):
        raise _bad_name(name)
    value = _encode_value(name, pair[1])
    if not _VALUE.fullmatch(value):
        raise LocalProtocolError(
            f"the value of header {quote_peer_text(name)} has a control character (such as CR, LF or NUL)"
        )
    return name, value.strip(b" \t")


def _lookup_key(name: str | bytes) -> bytes:
    # Encoded before it is lowered: str.lower() turns some non-ASCII letters into ASCII ones (the Kelvin sign into "k").
    # What is not ASCII becomes a backslash, which is in no name.
    return (name.encode("ascii", "backslashreplace") if isinstance(name, str) else name).lower()


def _encode_name(name: object) -> bytes:
    if isinstance(name, str):
        # Non-ASCII characters fail the check for a token, which follows.
        return name.encode("ascii", "backslashreplace")
    if isinstance(name, bytes):
        return name
    raise TypeError(f"a header's name must be str or bytes, not {_type_name(name)}")


def _encode_value(name: bytes, value: object) -> bytes:
    if isinstance(value, str):
        if not value.isascii():
            raise LocalProtocolError(
                f"the value of header {quote_peer_text(name)} is a str with non-ASCII characters: "
                "give it as bytes, in the encoding the server expects"
            )
        return value.encode("ascii")
    if isinstance(value, bytes):
        return value
    raise TypeError(f"the value of header {quote_peer_text(name)} must be str or bytes, not {_type_name(value)}")


def _bad_name(name: bytes) -> LocalProtocolError:
    if not name:
        return LocalProtocolError("a header's name is empty")
    # Only the part before the fault is quoted: behind it may be a value, as in "Authorization: Basic ...".
    valid = _TOKEN.match(name)
    position = 0 if valid is None else valid.end()
    return LocalProtocolError(
        f"the header name that begins with {quote_peer_text(name[:position])} is not a token: "
        f"it has {quote_peer_text(name[position : position + 1])} at position {position} (RFC 9110 5.1)"
    )


def _describe_pair(pair: object) -> str:
    return f"{_type_name(pair)} of {len(pair)}" if isinstance(pair, (tuple, list)) else _type_name(pair)


def _type_name(value: object) -> str:
    return type(value).__name__

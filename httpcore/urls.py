"""URLs: what is dialled, what the Host field says, and what stands in the request line.

Owns the one parse of a URL (RFC 3986, RFC 9110 4.2). Its result is the host that is looked up, verified in the
certificate and named in Host, so whatever two parsers could read in two ways is refused rather than guessed.
Also owns the forms of the request target (RFC 9112 3.2).
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import NamedTuple, NoReturn
from urllib.parse import quote, unquote_to_bytes

from httpcore.exceptions import InvalidURL, LocalProtocolError, UnsupportedProtocol, quote_peer_text

__all__ = ["URL", "Origin", "authority_form", "check_target", "parse_url"]

_DEFAULT_PORTS = {"http": 80, "https": 443}
_MAX_HOST = 253  # characters without the trailing dot: the 255 octets of RFC 1035 2.3.4 as text
_MAX_CACHED_URL = 2048  # characters: the cache must not pin down megabytes of query strings

# Every pattern is deterministic: no character can be matched in two ways, so none of them backtracks for long.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SPLIT = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):(?://([^/?#]*))?([^#]*)(?:#.*)?", re.DOTALL)
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_NOT_IN_USERINFO = re.compile(r"[\s\\@]")
_PORT = re.compile(r"0*([0-9]{1,5})")
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_NUMERIC_LABEL = r"(?:[0-9]+|0[xX][0-9A-Fa-f]*)"
# A dotted quad, or labels of which the last is not a number: inet_aton() takes "127.1", "0x7f.1" and "2130706433" for
# addresses and other resolvers take them for names.
_HOST = re.compile(
    rf"{_OCTET}(?:\.{_OCTET}){{3}}"
    rf"|(?:[A-Za-z0-9_\-]{{1,63}}\.)*(?!{_NUMERIC_LABEL}\.?\Z)[A-Za-z0-9_\-]{{1,63}}\.?"
)
_NOT_IN_HOST = re.compile(r"[^A-Za-z0-9_.\-]")
_TARGET_CHARACTERS = r"A-Za-z0-9\-._~!$&'()*+,;=:@/?"  # pchar, "/" and "?" of RFC 3986 3.3 and 3.4
_NOTHING_TO_ENCODE = re.compile(rf"[{_TARGET_CHARACTERS}]*+(?:%[0-9A-Fa-f]{{2}}[{_TARGET_CHARACTERS}]*+)*+")
_TO_ENCODE = re.compile(rf"%(?![0-9A-Fa-f]{{2}})|[^%{_TARGET_CHARACTERS}]+")
_VISIBLE_ASCII = re.compile(rb"[\x21-\x7e]+")


class Origin(NamedTuple):
    """A scheme, host and port: who answers for a URL (RFC 6454 4, RFC 9110 4.3.1).

    Attributes:
        scheme: `"http"` or `"https"`.
        host: a lower-case ASCII name, an IPv4 address, or an IPv6 address without brackets.
        port: 0 to 65535; the scheme's default where the URL gave none.
    """

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.scheme}://{_bracket(self.host)}:{self.port}"


class URL:
    """An `http` or `https` URL, parsed once and strictly. Immutable, hashable, comparable.

    Two URLs are equal when origin, target and user info are; fragments are dropped and do not count. Neither
    `str()` nor `repr()` shows the user info. `URL(scheme=, host=, port=, target=)` is that of httpcore 1.x: see
    `httpcore.compat`.

    Attributes:
        scheme: `"http"` or `"https"`.
        host: lower-case ASCII (an internationalised name as A-labels), IPv6 without brackets. A trailing dot is kept.
        port: 0 to 65535; the scheme's default where the URL gave none.
        origin: the three above.
        target: the request target in origin-form, path and query (RFC 9112 3.2.1): visible ASCII, begins with `b"/"`.
            Percent-encoding is kept as given, and added where a character is not allowed as it stands.
        host_header: the value of the Host field (RFC 9110 7.2): the port only where it is not the default.
        userinfo: user and password, percent-decoded; `None` where the URL has neither. RFC 9110 4.2.4 deprecates
            them in URLs, so what to do with them is up to who reads this.
    """

    __slots__ = ("host", "host_header", "origin", "port", "scheme", "target", "userinfo")

    scheme: str
    host: str
    port: int
    origin: Origin
    target: bytes
    host_header: bytes
    userinfo: tuple[bytes, bytes] | None

    def __init__(self, url: str | bytes) -> None:
        """Parses a URL.

        Args:
            url: an absolute URL; bytes must be ASCII, a `str` may hold an internationalised host and non-ASCII text in
                path and query, which is percent-encoded as UTF-8.

        Raises:
            UnsupportedProtocol: the scheme is missing or neither `http` nor `https`.
            InvalidURL: anything else is wrong; the message says what, and never quotes what may be a password.
            TypeError: `url` is neither `str` nor `bytes`.
        """
        if isinstance(url, bytes):
            url = _decode(url)
        elif not isinstance(url, str):
            raise TypeError(f"a URL must be str or bytes, not {type(url).__name__}")
        # For ASCII text "printable" is exactly "has no control character", and much faster to ask.
        if not (url.isascii() and url.isprintable()) and (control := _CONTROL.search(url)):
            raise InvalidURL(f"the URL contains the control character {control[0]!a}")
        if url.strip() != url:
            raise InvalidURL("the URL begins or ends with whitespace")
        parts = _SPLIT.fullmatch(url)
        if parts is None:
            raise UnsupportedProtocol("the URL has no scheme: it must begin with http:// or https://")
        scheme, authority, target = parts.groups()
        scheme = scheme.lower()
        default_port = _DEFAULT_PORTS.get(scheme)
        if default_port is None:
            raise UnsupportedProtocol(f"the URL's scheme is {quote_peer_text(scheme)}: it must be http or https")
        if authority is None:
            raise InvalidURL(f"the URL has no host: '{scheme}:' must be followed by '//'")

        userinfo = None
        if "@" in authority:
            credentials, _, authority = authority.rpartition("@")
            userinfo = _parse_userinfo(credentials)
        if authority[:1] == "[":
            host, port_text = _parse_ip_literal(authority)
            host_text = f"[{host}]"
        else:
            host, _, port_text = authority.partition(":")
            if ":" in port_text:
                raise InvalidURL("the host has several ports, or is an IPv6 address without brackets")
            if len(host) > _MAX_HOST or not _HOST.fullmatch(host):
                # With an "@" further on, what looks like the host may be credentials with a "/" in them.
                host = _parse_unusual_host(host, may_quote="@" not in url)
            host_text = host = host.lower()
        if port_text and (port := _parse_port(port_text)) != default_port:
            host_text = f"{host_text}:{port}"
        else:
            port = default_port
        if target[:1] != "/":
            target = "/" + target
        if not _NOTHING_TO_ENCODE.fullmatch(target):
            target = _encode_target(target)

        assign = object.__setattr__
        assign(self, "scheme", scheme)
        assign(self, "host", host)
        assign(self, "port", port)
        assign(self, "origin", Origin(scheme, host, port))
        assign(self, "target", target.encode("ascii"))
        assign(self, "host_header", host_text.encode("ascii"))
        assign(self, "userinfo", userinfo)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a URL is immutable: cannot set {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a URL is immutable: cannot delete {name!r}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, URL):
            return NotImplemented
        return self.origin == other.origin and self.target == other.target and self.userinfo == other.userinfo

    def __hash__(self) -> int:
        return hash((self.origin, self.target, self.userinfo))

    def __str__(self) -> str:
        return self._text("")

    def __repr__(self) -> str:
        # A user alone is hidden too: access tokens are often passed as one.
        return f"URL({self._text('' if self.userinfo is None else '[secret]@')!r})"

    def __reduce__(self) -> tuple[type[URL], tuple[str]]:
        # Copying and pickling would go through __setattr__ otherwise. A pickle must carry the user info.
        userinfo = "" if self.userinfo is None else ":".join(quote(part, safe="") for part in self.userinfo) + "@"
        return URL, (self._text(userinfo),)

    def _text(self, userinfo: str) -> str:
        return f"{self.scheme}://{userinfo}{self.host_header.decode('ascii')}{self.target.decode('ascii')}"


def parse_url(url: str | bytes | URL) -> URL:
    """Returns `url` as a `URL`; a `URL` is returned as it is.

    The last 1,024 different URLs are remembered, save long ones (over 2,048 characters) and all that contain an `@`:
    credentials must not outlive their request in a cache.

    Raises:
        UnsupportedProtocol, InvalidURL, TypeError: as `URL` does.
    """
    if type(url) is str and len(url) <= _MAX_CACHED_URL and "@" not in url:
        return _parse_cached(url)
    if isinstance(url, URL):
        return url
    return parse_url(_decode(url)) if isinstance(url, bytes) else URL(url)


def authority_form(origin: Origin) -> bytes:
    """Returns the authority-form of the request target, `host:port`, as CONNECT needs it (RFC 9112 3.2.3)."""
    return f"{_bracket(origin.host)}:{origin.port}".encode("ascii")


def check_target(target: bytes) -> bytes:
    """Returns `target` if it can stand in a request line without changing its meaning.

    For targets the caller made: absolute-form, authority-form, the `b"*"` of OPTIONS (RFC 9112 3.2), or origin-form.
    Only visible ASCII is required: what the server makes of it is between the caller and the server.

    Raises:
        LocalProtocolError: it is empty or has a byte outside of 0x21 to 0x7E (controls, space, DEL, non-ASCII).
        TypeError: it is not `bytes`.
    """
    if not isinstance(target, bytes):
        raise TypeError(f"a request target must be bytes, not {type(target).__name__}")
    if not target:
        raise LocalProtocolError("the request target is empty")
    valid = _VISIBLE_ASCII.match(target)
    if valid is None or valid.end() != len(target):
        position = 0 if valid is None else valid.end()
        raise LocalProtocolError(
            f"the request target has the byte 0x{target[position]:02x} at position {position}: "
            "only visible ASCII (0x21 to 0x7e) is allowed"
        )
    return target


@lru_cache(maxsize=1024)
def _parse_cached(url: str) -> URL:
    return URL(url)


def _bracket(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _decode(url: bytes) -> str:
    if not url.isascii():
        # Which encoding the rest is in would be a guess.
        raise InvalidURL("the URL contains non-ASCII bytes: give a str, or percent-encode it")
    return url.decode("ascii")


def _parse_userinfo(credentials: str) -> tuple[bytes, bytes] | None:
    """Returns user and password; no message of its errors quotes them."""
    if bad := _NOT_IN_USERINFO.search(credentials):
        what = "more than one '@'" if bad[0] == "@" else f"{bad[0]!a}"
        raise InvalidURL(f"the URL has {what} before its host")
    if _SURROGATE.search(credentials):  # asked, instead of caught: the error would hold the credentials
        raise InvalidURL("the URL's user info contains a lone surrogate")
    user, _, password = credentials.partition(":")
    userinfo = (unquote_to_bytes(user), unquote_to_bytes(password))
    return userinfo if any(userinfo) else None


def _parse_ip_literal(authority: str) -> tuple[str, str]:
    """Returns the host and the text of the port of an authority that begins with a bracket (RFC 3986 3.2.2)."""
    address, closing, rest = authority[1:].partition("]")
    if not closing:
        raise InvalidURL("the host has a '[' that is never closed")
    if rest and rest[0] != ":":
        raise InvalidURL("the host has something other than a port behind its ']'")
    if "%" in address:
        # A zone means something on this machine only, and is known to slip past filters.
        raise InvalidURL("the host is an IPv6 address with a zone, which is not supported")
    try:
        ipaddress.IPv6Address(address)
        valid = True
    except ValueError:
        valid = False
    if not valid:  # not raised above: that error quotes what may be a password with a "[" and a "/" in it
        raise InvalidURL("the host is in brackets but not a valid IPv6 address")
    return address.lower(), rest[1:]


def _parse_port(text: str) -> int:
    # Neither text is quoted: with a "/" in a password, the beginning of it stands where the port does.
    digits = _PORT.fullmatch(text)
    if digits is None:
        over = text.isascii() and text.isdigit()
        raise InvalidURL("the port is above 65535" if over else "the port is not a number in ASCII digits")
    port = int(digits[1])
    if port > 65535:
        raise InvalidURL("the port is above 65535")
    return port


def _parse_unusual_host(host: str, *, may_quote: bool) -> str:
    """Returns the ASCII form of a host that is not a plain ASCII name or IPv4 address, or raises `InvalidURL`."""
    shown = f"the host {quote_peer_text(host)}" if may_quote else "the host"
    if not host:
        raise InvalidURL("the URL has no host")
    if len(host) > _MAX_HOST + 1:
        # Before IDNA, whose work grows faster than its input.
        raise InvalidURL(f"{shown} is longer than {_MAX_HOST} characters")
    if not host.isascii():
        host = _encode_idna(host, shown, may_quote=may_quote)
    if bad := _NOT_IN_HOST.search(host):
        raise InvalidURL(f"{shown} contains {bad[0]!a}")
    labels = host.removesuffix(".").split(".")
    if not all(labels):
        raise InvalidURL(f"{shown} has an empty label")
    if max(map(len, labels)) > 63:
        raise InvalidURL(f"{shown} has a label of more than 63 characters")
    if len(host.removesuffix(".")) > _MAX_HOST:
        raise InvalidURL(f"{shown} is longer than {_MAX_HOST} characters")
    if not _HOST.fullmatch(host):
        raise InvalidURL(f"{shown} ends in a number but is not an IPv4 address of four decimal numbers")
    return host


def _encode_idna(host: str, shown: str, *, may_quote: bool) -> str:
    import idna  # its tables take time and memory that ASCII hosts need not pay for

    try:
        # UTS 46 maps as browsers do (case, full-width forms); the standard library's codec is IDNA 2003, which
        # takes "faß.de" for another host than browsers do.
        return idna.encode(host, uts46=True).decode("ascii")
    except UnicodeError as error:
        cause = error if may_quote else None  # it quotes the host as well
    raise InvalidURL(f"{shown} is not a valid internationalised name") from cause


def _encode_target(target: str) -> str:
    try:
        return _TO_ENCODE.sub(_percent_encode, target)
    except UnicodeEncodeError as error:
        raise InvalidURL("the URL's path or query contains a lone surrogate") from error


def _percent_encode(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8"))

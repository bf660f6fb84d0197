"""Proxy: where a proxy is, how it is spoken to, and what is said to it alone.

Owns what a caller may give as a proxy, its credentials and its header fields. Everything in a `Proxy` counts when two
are compared: a connection made with one password is never used for another.
"""

from __future__ import annotations

import binascii
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from types import BuiltinMethodType, MethodType
from typing import Final, Literal, TypeAlias

from httpcore.config import SSLConfig, SSLTypes
from httpcore.exceptions import ConnectError, InvalidURL, LocalProtocolError, UnsupportedProtocol, quote_peer_text
from httpcore.headers import HOP_BY_HOP, HeaderTypes, normalize_headers
from httpcore.urls import URL, Origin

__all__ = ["DIRECT", "Proxy", "ProxyChooser", "ProxyHeaders", "ProxyOverride", "ProxyTypes"]

_HTTP_SCHEMES = frozenset({"http", "https"})
_SOCKS5_SCHEMES = frozenset({"socks5", "socks5h"})
_SOCKS_SCHEMES = _SOCKS5_SCHEMES | {"socks4", "socks4a"}
_SCHEMES = "http, https, socks5, socks5h, socks4 or socks4a"
_SOCKS_PORT = 1080  # RFC 1928 3; for SOCKS4 by custom
_MAX_SOCKS5_CREDENTIAL = 255  # bytes: the lengths of RFC 1929 2 are one byte each

_SURROGATE = re.compile(r"[\ud800-\udfff]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://")

# What frames a message, belongs to the connection, or is the request's own: none of it is the proxy's to be told.
_REFUSED_HEADERS = (HOP_BY_HOP - {b"proxy-authorization"}) | {b"content-length", b"expect", b"host", b"trailer"}


class _Direct(Enum):
    DIRECT = "DIRECT"

    def __repr__(self) -> str:
        return "httpcore.DIRECT"


DIRECT: Final = _Direct.DIRECT
"""As a request's `proxy`: none for this request, whatever the pool has."""

ProxyHeaders: TypeAlias = HeaderTypes | Callable[[], HeaderTypes]
"""Header fields for a proxy, or what gives them for each connection anew: a token that expires, say."""


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Proxy:
    """A proxy and how it is used. Immutable, hashable, comparable.

    Two are equal when everything about them is: scheme, host, port, credentials, header fields, TLS and `tunnel`; a
    callable that gives header fields equals itself only. Neither `str()` nor `repr()` shows credentials or the values
    of header fields.

    Args:
        url: where it is; `http`, `https`, `socks5`, `socks5h`, `socks4` or `socks4a`, with 80, 443 or 1080 as the
            port where it has none. A `str` or `bytes` without a path. User and password in it are percent-decoded.
            `socks5` and `socks4` are given addresses, and names are looked up here; `socks5h` and `socks4a` are given
            names, and look them up.
        headers: fields for the proxy alone: they go with each CONNECT and each forwarded request, never into a
            tunnel. But what a proxy does not know it forwards: a secret in any field other than `proxy-authorization`
            is safe from `http` origins only with `tunnel`. A mapping or (name, value) pairs, or a callable without
            arguments that gives these and is called on the loop, once for each connection. For `http` and `https`
            proxies only.
        ssl: how TLS to an `https` proxy is made, and whom it trusts; `None` is the default `SSLConfig`. TLS to the
            origin is not affected.
        auth: user and password, a `str` as UTF-8; it counts instead of what the URL has. SOCKS4 has only a user: give
            an empty password.
        tunnel: whether `http` targets are reached by CONNECT as well, instead of being forwarded. For `http` and
            `https` proxies only: SOCKS proxies know nothing else.

    Attributes:
        scheme: as in the URL, lower-case.
        host: a lower-case ASCII name, an IPv4 address, or an IPv6 address without brackets.
        port: 0 to 65535.
        origin: the three above.
        headers: a tuple of (name, value) byte pairs, or the callable.
        ssl: an `SSLConfig` for `https` proxies, `None` for all others.
        auth: user and password as bytes, `None` where there are neither.
        tunnel: as given.

    Raises:
        UnsupportedProtocol: the URL's scheme is missing or none of these.
        InvalidURL: the URL is malformed, or has a path, a query or a fragment.
        LocalProtocolError: a header field is malformed, or one that is not the proxy's to be told: framing, `host`,
            `expect`, and what belongs to the connection (RFC 9110 7.6.1).
        ValueError: `ssl`, `headers` or `tunnel` for a proxy that has no use for them; credentials that the proxy's
            protocol cannot express: a colon in the user for Basic (RFC 7617 2), an empty user or password or one of
            over 255 bytes for SOCKS5 (RFC 1929 2), a password or a NUL byte for SOCKS4.
        TypeError: something has a type that is not listed here.
    """

    scheme: str
    host: str
    port: int
    origin: Origin
    headers: tuple[tuple[bytes, bytes], ...] | Callable[[], HeaderTypes]
    ssl: SSLConfig | None
    auth: tuple[bytes, bytes] | None
    tunnel: bool

    def __init__(
        self,
        url: str | bytes | URL,
        headers: ProxyHeaders = (),
        ssl: SSLTypes = None,
        auth: tuple[str | bytes, str | bytes] | None = None,
        tunnel: bool = False,
    ) -> None:
        origin, userinfo = _parse(url)
        if not isinstance(tunnel, bool):
            raise TypeError(f"tunnel takes a bool, not {type(tunnel).__name__}")
        if inspect.iscoroutinefunction(headers):
            raise TypeError("headers takes a callable that gives them at once, not a coroutine function")
        checked = headers if callable(headers) else _check_headers(headers)
        if origin.scheme in _SOCKS_SCHEMES and (checked != () or tunnel):
            raise ValueError(f"{'tunnel' if tunnel else 'headers'} is for http and https proxies: SOCKS has no headers")
        if origin.scheme != "https" and ssl is not None:
            raise ValueError(f"ssl is for https proxies, and there is no TLS to a {origin.scheme} proxy")
        credentials = userinfo if auth is None else _encode_auth(auth)
        if credentials is not None:
            _check_credentials(origin.scheme, *credentials)

        assign = object.__setattr__
        assign(self, "scheme", origin.scheme)
        assign(self, "host", origin.host)
        assign(self, "port", origin.port)
        assign(self, "origin", origin)
        assign(self, "headers", checked)
        assign(self, "ssl", SSLConfig.of(ssl) if origin.scheme == "https" else None)
        assign(self, "auth", credentials)
        assign(self, "tunnel", tunnel)

    @classmethod
    def of(cls, value: ProxyTypes) -> Proxy:
        """Returns `value` as a `Proxy`; a `Proxy` is returned as it is.

        Raises:
            UnsupportedProtocol, InvalidURL, ValueError, TypeError: as `Proxy` does.
        """
        return value if isinstance(value, Proxy) else cls(value)

    @property
    def is_socks(self) -> bool:
        """Whether it speaks SOCKS, of any version, rather than HTTP."""
        return self.scheme in _SOCKS_SCHEMES

    @property
    def resolves_names(self) -> bool:
        """Whether it looks up the names of its targets: all but `socks5` and `socks4`."""
        return self.scheme not in ("socks5", "socks4")

    def fields(self) -> list[tuple[bytes, bytes]]:
        """Returns the header fields for a connection's CONNECT or its forwarded requests.

        They are those of `headers`, which are got anew where it is a callable, and `Proxy-Authorization` with Basic
        credentials from `auth` unless they have one (RFC 9110 11.7.2). Without any for a SOCKS proxy.

        Raises:
            ConnectError: the callable raised, or gave what cannot be sent; `__cause__` says what.
        """
        if callable(self.headers):
            try:
                fields = list(_check_headers(self.headers()))
            except Exception as error:
                raise ConnectError("the proxy's headers could not be had") from error
        else:
            fields = list(self.headers)
        given = any(name.lower() == b"proxy-authorization" for name, _ in fields)
        if self.auth is not None and not given and not self.is_socks:
            credentials = binascii.b2a_base64(b":".join(self.auth), newline=False)
            fields.append((b"Proxy-Authorization", b"Basic " + credentials))
        return fields

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Proxy):
            return NotImplemented
        return self is other or self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __str__(self) -> str:
        return str(self.origin)

    def __repr__(self) -> str:
        at = "" if self.auth is None else "[secret]@"
        parts = [repr(str(self).replace("://", f"://{at}"))]
        if callable(self.headers):
            # Not its own repr: a functools.partial shows its arguments, which may be the token.
            parts.append("headers=<callable>")
        elif self.headers:
            parts.append(f"headers={[(name, '[secret]') for name, _ in self.headers]!r}")
        if self.ssl not in (None, SSLConfig()):
            parts.append(f"ssl={self.ssl!r}")
        if self.tunnel:
            parts.append("tunnel=True")
        return f"Proxy({', '.join(parts)})"

    def _key(self) -> tuple[object, ...]:
        headers: object = self.headers
        # A bound method is made anew each time it is looked up, but compares by the identity of its object. Any other
        # callable may compare as it likes, or not be hashable.
        if callable(headers) and not isinstance(headers, (MethodType, BuiltinMethodType)):
            headers = id(headers)
        return self.origin, self.auth, self.ssl, self.tunnel, headers


ProxyTypes: TypeAlias = Proxy | str | bytes | URL
"""What a caller may give as a proxy: a `Proxy`, or a URL."""
ProxyOverride: TypeAlias = ProxyTypes | Literal[_Direct.DIRECT]
"""What a caller may give as the proxy of one request, for which `DIRECT` is none."""
ProxyChooser: TypeAlias = Callable[[Origin], ProxyOverride | None]
"""Called on the loop for each request with the origin it is for: gives its proxy, `None` or `DIRECT` for none."""


def _parse(url: str | bytes | URL) -> tuple[Origin, tuple[bytes, bytes] | None]:
    """Returns where the proxy is, and the user and password in its URL. No message quotes what may be a password."""
    if isinstance(url, URL):
        parsed, scheme, port = url, url.scheme, url.port
    elif isinstance(url, (str, bytes)):
        if isinstance(url, bytes) and not url.isascii():
            raise InvalidURL("the proxy's URL contains non-ASCII bytes: give a str, or percent-encode it")
        text = url if isinstance(url, str) else url.decode("ascii")
        found = _SCHEME.match(text)
        if found is None:
            raise UnsupportedProtocol(f"the proxy's URL has no scheme: it must be {_SCHEMES}")
        scheme = found[1].lower()
        if scheme not in _HTTP_SCHEMES | _SOCKS_SCHEMES:
            shown = "unknown" if "@" in text else quote_peer_text(scheme)
            raise UnsupportedProtocol(f"the scheme of the proxy's URL is {shown}: it must be {_SCHEMES}")
        if "#" in text:
            # Dropping it would drop the rest of a password that has one, and take the user for the host.
            raise InvalidURL("the proxy's URL has a fragment, or a '#' that is not percent-encoded")
        parsed, port = _parse_swapped(scheme, text[found.end() :])
    else:
        raise TypeError(f"a proxy must be a URL (str or bytes) or a Proxy, not {type(url).__name__}")
    if parsed.target != b"/":
        raise InvalidURL("the proxy's URL has a path or a query, or a '/' or '?' that is not percent-encoded")
    return Origin(scheme, parsed.host, port), parsed.userinfo


def _parse_swapped(scheme: str, rest: str) -> tuple[URL, int]:
    """Parses a URL with a scheme of HTTP in the place of its own, and returns it with its port."""
    try:
        if scheme in _HTTP_SCHEMES:
            url = URL(f"{scheme}://{rest}")
            return url, url.port
        url = URL(f"http://{rest}")
        # A port that follows the scheme was not given.
        return url, url.port if url.port == URL(f"https://{rest}").port else _SOCKS_PORT
    except InvalidURL as error:
        raise InvalidURL(f"the proxy's URL is malformed: {error}") from None


def _check_headers(headers: HeaderTypes) -> tuple[tuple[bytes, bytes], ...]:
    checked = normalize_headers(headers)
    for name, _ in checked:
        if name.lower() in _REFUSED_HEADERS:
            raise LocalProtocolError(f"header {quote_peer_text(name)} is not one for a proxy's headers")
    return tuple(checked)


def _encode_auth(auth: tuple[str | bytes, str | bytes]) -> tuple[bytes, bytes]:
    if not isinstance(auth, (tuple, list)) or len(auth) != 2 or not all(isinstance(p, (str, bytes)) for p in auth):
        raise TypeError("auth takes a tuple of user and password, each str or bytes")
    # Asked, instead of caught: the error's object is the credential, and would stay in what is raised then.
    if any(isinstance(part, str) and _SURROGATE.search(part) for part in auth):
        raise ValueError("auth contains a lone surrogate")
    user, password = (part.encode() if isinstance(part, str) else part for part in auth)
    return user, password


def _check_credentials(scheme: str, user: bytes, password: bytes) -> None:
    """Refuses credentials that would mean something else, or nothing, in the proxy's protocol."""
    if scheme in _HTTP_SCHEMES:
        if b":" in user:
            raise ValueError("the proxy's user has a colon, which Basic credentials cannot express (RFC 7617 2)")
    elif scheme in _SOCKS5_SCHEMES:
        for what, value in (("user", user), ("password", password)):
            if not 1 <= len(value) <= _MAX_SOCKS5_CREDENTIAL:
                raise ValueError(f"the proxy's {what} has {len(value)} bytes, and SOCKS5 takes 1 to 255 (RFC 1929 2)")
    elif password:
        raise ValueError("SOCKS4 has no passwords: give the user alone, or use SOCKS5")
    elif b"\x00" in user:
        raise ValueError("the proxy's user has a NUL byte, which ends it in SOCKS4")

"""What a caller sets: TLS, timeouts and limits. Frozen, comparable and hashable, as some are part of the pool's key."""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from httpcore.exceptions import InvalidURL, quote_peer_text
from httpcore.pins import parse_pin
from httpcore.urls import URL

__all__ = ["HTTP2Config", "PoolLimits", "SSLConfig", "SSLTypes", "TimeoutConfig", "TimeoutTypes"]

_Path: TypeAlias = str | os.PathLike[str]


class _Unset:
    """The type of "not given", where `None` already means "no limit"."""

    def __repr__(self) -> str:
        return "<unset>"


_UNSET: Final = _Unset()


def _is_cert(value: object) -> bool:
    if not isinstance(value, tuple):
        return isinstance(value, (str, os.PathLike))
    paths, passwords = value[:2], value[2:]
    return (
        len(value) in (2, 3)
        and all(isinstance(path, (str, os.PathLike)) for path in paths)
        and all(isinstance(password, str) for password in passwords)
    )


def _parse_server_hostname(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"server_hostname takes a str or None, not {type(name).__name__}")
    shown = quote_peer_text(name)
    if "%" not in name:  # which would begin a zone
        try:
            return str(ipaddress.ip_address(name))
        except ValueError:
            pass
    # These would end the host in a URL, as which it is read next, or begin it anew.
    if any(character in name for character in "/?#@:[]\\"):
        raise ValueError(f"server_hostname is a name or an IP address and nothing more, not {shown}")
    try:
        host = URL(f"https://{name}/").host
    except InvalidURL as exc:
        raise ValueError(f"server_hostname is no host name: {exc}") from exc
    if host.endswith("."):
        raise ValueError(f"server_hostname ends in a dot: {shown}")
    return host


def _parse_pins(pins: object) -> tuple[str, ...]:
    if isinstance(pins, (str, bytes)) or not isinstance(pins, Iterable):
        raise TypeError(f"pins takes an iterable of str, not {type(pins).__name__}")
    found = set()
    for pin in pins:
        if not isinstance(pin, str):
            raise TypeError(f"a pin is a str, not {type(pin).__name__}")
        found.add(parse_pin(pin))
    return tuple(sorted(found))


def _check_truststore() -> None:
    try:
        import truststore  # noqa: F401
    except ImportError as exc:
        raise ImportError("trust_store='system' needs truststore: pip install httpcore[system-certs]") from exc


@dataclass(frozen=True)
class SSLConfig:
    """How TLS connections are made and whom they trust.

    Args:
        cert: the client's own certificate: the path of a PEM file that holds certificate and key, or a tuple
            (certificate path, key path), or a tuple (certificate path, key path, password). `None` sends none.
        verify: `True` trusts the authorities of `certifi`. A path trusts the authorities in that PEM file, or in
            that folder of hashed PEM files. `False` verifies nothing: neither the chain nor the name. An
            `ssl.SSLContext` is used as it is and never changed; it alone then says whom to trust, and which versions
            of HTTP are offered: for HTTP/2 call `context.set_alpn_protocols(["h2", "http/1.1"])` beforehand. A
            context that offers h2 where HTTP/2 may not be spoken (`http2=False`, a request with an `upgrade` field)
            is a `ConnectError` if the server chooses it.
        server_hostname: the name to ask for (SNI, RFC 6066 3) and to verify in the certificate, in place of the URL's
            host; an IP address is verified, and never asked for. Stored in lower case, internationalised names as
            A-labels. `None` is the URL's host.
        pins: digests of public keys of which the server's own certificate must have one (RFC 7469 2.4):
            `sha256/<base64>`, curl's `sha256//<base64>`, or the Base64 alone; any iterable of them is taken. They are
            checked besides what `verify` asks for, also where that is nothing. Stored as a sorted tuple of
            `sha256/<base64>`. Empty: every key will do.
        trust_store: whose authorities `verify=True` trusts: `"certifi"`, or the operating system's (`"system"`), which
            needs the extra `httpcore[system-certs]`.

    Raises:
        TypeError: an argument has another type, or an `ssl.SSLContext` was given together with `cert`, which would
            have to be loaded into it.
        ValueError: `verify` is an empty path; `server_hostname` is no host name, or ends in a dot, which names in
            certificates never do; a pin is malformed; `trust_store` is something else, or `"system"` where `verify`
            already says whom to trust.
        ImportError: `trust_store="system"` without the extra.
    """

    cert: _Path | tuple[_Path, _Path] | tuple[_Path, _Path, str] | None = None
    verify: bool | _Path | ssl.SSLContext = True
    server_hostname: str | None = field(default=None, kw_only=True)
    pins: tuple[str, ...] = field(default=(), kw_only=True)
    trust_store: Literal["certifi", "system"] = field(default="certifi", kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.verify, (bool, str, os.PathLike, ssl.SSLContext)):
            raise TypeError(f"verify takes a bool, a path or an ssl.SSLContext, not {type(self.verify).__name__}")
        if self.verify == "":
            raise ValueError("verify is an empty path")  # which OpenSSL would take for the system's authorities
        if self.cert is not None and not _is_cert(self.cert):
            raise TypeError("cert takes a path, or a tuple of certificate path, key path and password")
        if isinstance(self.verify, ssl.SSLContext) and self.cert is not None:
            raise TypeError("load the client certificate into the ssl.SSLContext that is given, instead of cert=")
        if self.server_hostname is not None:
            object.__setattr__(self, "server_hostname", _parse_server_hostname(self.server_hostname))
        object.__setattr__(self, "pins", _parse_pins(self.pins))
        if self.trust_store not in ("certifi", "system"):
            raise ValueError(f"trust_store must be 'certifi' or 'system', not {self.trust_store!r}")
        if self.trust_store == "system":
            if self.verify is not True:
                raise ValueError("trust_store='system' is for verify=True: otherwise verify says whom to trust")
            _check_truststore()

    def __repr__(self) -> str:
        cert = self.cert
        if isinstance(cert, tuple) and len(cert) == 3:
            cert = (cert[0], cert[1], "[secret]")
        more = "".join(
            f", {name}={getattr(self, name)!r}"
            for name, default in (("server_hostname", None), ("pins", ()), ("trust_store", "certifi"))
            if getattr(self, name) != default
        )
        return f"SSLConfig(cert={cert!r}, verify={self.verify!r}{more})"

    @classmethod
    def of(cls, value: SSLTypes) -> SSLConfig:
        """Returns `value` as an `SSLConfig`: `None` is the default one, an `ssl.SSLContext` is wrapped.

        Raises:
            TypeError: `value` is something else.
        """
        if value is None:
            return cls()
        if isinstance(value, ssl.SSLContext):
            return cls(verify=value)
        if isinstance(value, SSLConfig):
            return value
        raise TypeError(f"ssl takes an SSLConfig or an ssl.SSLContext, not {type(value).__name__}")


@dataclass(frozen=True, init=False)
class TimeoutConfig:
    """Deadlines in seconds; `None` sets no deadline.

    Args:
        timeout: what every timeout below but `total_timeout` is, unless it is given itself.
        connect_timeout: for a connection to be ready: name look-up, TCP and TLS together.
        read_timeout: between two pieces of progress of the response, while somebody wants to read it. Before the
            request was sent to its end it does not run.
        write_timeout: for the server to take any of the request once its buffers are full.
        pool_timeout: for a connection of the pool to become free. Making one does not count here.
        total_timeout: for the whole exchange, from `dispatch` to the last byte of the response.
        continue_timeout: how long a request with `expect: 100-continue` waits before it sends its body unasked. Not
            an error, so `timeout` does not set it, and it has to be a number.

    Raises:
        TypeError: a timeout is no number.
        ValueError: a timeout is not above zero.
    """

    connect_timeout: float | None
    read_timeout: float | None
    write_timeout: float | None
    pool_timeout: float | None
    total_timeout: float | None
    continue_timeout: float

    def __init__(
        self,
        timeout: float | None = None,
        *,
        connect_timeout: float | None | _Unset = _UNSET,
        read_timeout: float | None | _Unset = _UNSET,
        write_timeout: float | None | _Unset = _UNSET,
        pool_timeout: float | None | _Unset = _UNSET,
        total_timeout: float | None = None,
        continue_timeout: float = 1.0,
    ) -> None:
        given = {
            "connect_timeout": connect_timeout,
            "read_timeout": read_timeout,
            "write_timeout": write_timeout,
            "pool_timeout": pool_timeout,
            "total_timeout": total_timeout,
            "continue_timeout": continue_timeout,
        }
        for name, value in given.items():
            seconds = timeout if isinstance(value, _Unset) else value
            _check_seconds(name, seconds)
            object.__setattr__(self, name, seconds)
        if self.continue_timeout is None:
            raise TypeError("continue_timeout takes seconds, and None would wait for ever")

    @classmethod
    def of(cls, value: TimeoutTypes, default: TimeoutConfig) -> TimeoutConfig:
        """Returns `value` as a `TimeoutConfig`; a number is taken for all of them, `None` is `default`."""
        if value is None:
            return default
        return value if isinstance(value, TimeoutConfig) else cls(value)


def _check_seconds(name: str, seconds: float | None) -> None:
    if seconds is None:
        return
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"{name} takes seconds or None, not {type(seconds).__name__}")
    if not seconds > 0:  # refuses NaN as well
        raise ValueError(f"{name} must be above zero, not {seconds!r}")


# The smallest value of each limit with which anything works at all.
_LEAST = {"soft_limit": 0, "hard_limit": 1, "per_origin_limit": 1, "max_waiters": 0}


@dataclass(frozen=True, kw_only=True)
class PoolLimits:
    """How many connections there may be, and for how long.

    Args:
        soft_limit: how many connections may be kept alive while idle. `None` sets no limit.
        hard_limit: how many connections may exist, whatever they do. `None` sets no limit. Those on which proxies are
            asked for tunnels do not count, the tunnels do.
        per_origin_limit: how many of them may lead to one origin in one way: to a proxy that forwards, for all origins
            together. `None` sets no limit.
        keepalive_expiry: seconds after which an idle connection is closed. `None` keeps it for ever.
        max_age: seconds after which a connection takes no further request, so that changes of DNS and of load
            balancers are followed; shortened at random by up to a tenth, lest all end at once. `None` sets none.
        max_waiters: how many requests may wait because a limit forbids to make a connection; one more fails at once,
            unless it can have an idle connection's place. `None` sets no limit.

    Raises:
        TypeError: a limit is no number.
        ValueError: a limit is negative, or is zero where nothing could work then.
    """

    soft_limit: int | None = 100
    hard_limit: int | None = 100
    per_origin_limit: int | None = None
    keepalive_expiry: float | None = 60.0
    max_age: float | None = None
    max_waiters: int | None = None

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} takes a whole number or None, not {type(value).__name__}")
            if value < least:
                raise ValueError(f"{name} must be at least {least}, not {value!r}")
        _check_seconds("keepalive_expiry", self.keepalive_expiry)
        _check_seconds("max_age", self.max_age)


_MAX_WINDOW = 2**31 - 1  # bytes: RFC 9113 6.9.1
_DEFAULT_WINDOW = 65535  # bytes: what a window is before anybody says so, and less cannot be asked for a connection


@dataclass(frozen=True, kw_only=True)
class HTTP2Config:
    """How HTTP/2 connections are used: `ConnectionPool(http2=HTTP2Config(...))`.

    Args:
        stream_window: bytes of one response that may be on their way, or wait to be read, at its beginning. While a
            response is paused, that much of it may wait in memory.
        max_stream_window: bytes up to which that grows, while a response is read as fast as it comes. What divides
            it by the round-trip time is the speed that a download can reach.
        connection_window: bytes of all responses of one connection that may be on their way or wait, at its
            beginning. It grows with the streams, so that one which is not read never holds up the others.
        ping_interval: seconds in which nothing was heard from the server, after which it is asked for a sign of life
            (PING): while requests are open, and together with the first request after a longer silence. `None` never
            asks.
        ping_timeout: seconds that it has to answer, or the connection is given up. What it carries then fails, or is
            sent again.

    Raises:
        TypeError: a value is no number.
        ValueError: a window is not from 1 (`connection_window`: 65,535) to 2,147,483,647, or `max_stream_window` is
            below `stream_window`; a time is not above zero.
    """

    stream_window: int = 1024 * 1024
    max_stream_window: int = 16 * 1024 * 1024
    connection_window: int = 16 * 1024 * 1024
    ping_interval: float | None = 15.0
    ping_timeout: float = 5.0

    def __post_init__(self) -> None:
        least = {"stream_window": 1, "max_stream_window": self.stream_window, "connection_window": _DEFAULT_WINDOW}
        for name in ("stream_window", "max_stream_window", "connection_window"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} takes a whole number of bytes, not {type(value).__name__}")
            if not least[name] <= value <= _MAX_WINDOW:
                raise ValueError(f"{name} must be from {least[name]} to {_MAX_WINDOW}, not {value!r}")
        _check_seconds("ping_interval", self.ping_interval)
        if self.ping_timeout is None:
            raise TypeError("ping_timeout takes seconds, and None would wait for ever")
        _check_seconds("ping_timeout", self.ping_timeout)


SSLTypes: TypeAlias = SSLConfig | ssl.SSLContext | None
TimeoutTypes: TypeAlias = TimeoutConfig | float | None

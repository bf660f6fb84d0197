"""NetworkConfig: how sockets are made. Where they lead to, from where, and who has a say in it.

Its two hooks have modules of their own, `resolver` and `egress`; what they are made of can be imported from here too.
"""

from __future__ import annotations

import inspect
import ipaddress
import os
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import TypeAlias

from httpcore.egress import Egress, EgressCandidate, public_addresses_only
from httpcore.exceptions import InvalidURL
from httpcore.resolver import CachingResolver, Resolution, Resolver
from httpcore.urls import URL

__all__ = [
    "CachingResolver",
    "Egress",
    "EgressCandidate",
    "NetworkConfig",
    "Resolution",
    "Resolver",
    "public_addresses_only",
]

_SocketOption: TypeAlias = tuple[int, int, int | bytes]
_Place: TypeAlias = tuple[str, int | None]  # a host, and a port or all of them

_PLACE = re.compile(r"(\[[^\[\]]*\]|[^\[\]:/?#@\\]+)(?::([0-9]{1,5}))?")
_C_INT = range(-(2**31), 2**31)  # what setsockopt takes


@dataclass(frozen=True, init=False, repr=False)
class NetworkConfig:
    """How sockets are made. Part of the pool's key: connections made in another way are not shared.

    Args:
        uds: the path of a unix socket, which is connected to whatever the host and port are. `None` connects by TCP.
            The name of an abstract socket begins with a NUL. What follows does not apply to it, but for
            `socket_options`.
        local_address: the IP address to connect from, or a tuple of it and a port. `None`, or port 0, lets the system
            choose. Addresses of the other family are not connected to then.
        socket_options: (level, option, value) triples for `setsockopt`, set before the socket is bound and connected;
            a value is an `int` or `bytes`. `TCP_NODELAY` is always set.
        connect_to: where to connect to in place of other hosts and ports; as curl's `--connect-to`. What is requested
            does not change by it: the Host field, the certificate's name. Keys are `"host:port"`, or `"host"` for any
            port; values are `"host:port"`, or `"host"` for the same port. An IPv6 address with a port stands in
            brackets. A key with a port goes before one without; values are not looked up as keys again.
        resolver: finds the addresses of names; `None` for the system. IP addresses are not asked for.
        egress: is asked of every address before it is connected to, the one that stands in the URL too, and refuses it
            by `False`; see `public_addresses_only`.

    Raises:
        TypeError: an argument is of another type, or is not hashable.
        ValueError: a path, address, port or host is none, a number is too large for the system; a host stands in
            `connect_to` twice; `local_address` is given with `uds`; or the system has no unix sockets.
    """

    uds: str | None
    local_address: tuple[str, int] | None
    socket_options: tuple[_SocketOption, ...]
    connect_to: tuple[tuple[str, str], ...]
    resolver: Resolver | None
    egress: Egress | None
    _destinations: dict[_Place, _Place] = field(init=False, repr=False, compare=False)

    def __init__(
        self,
        *,
        uds: str | os.PathLike[str] | None = None,
        local_address: str | tuple[str, int] | None = None,
        socket_options: Iterable[_SocketOption] = (),
        connect_to: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        resolver: Resolver | None = None,
        egress: Egress | None = None,
    ) -> None:
        if uds is not None and local_address is not None:
            raise ValueError("a unix socket (uds) has no local_address")
        for name, hook in ("resolver", resolver), ("egress", egress):
            if hook is not None and not callable(hook):
                raise TypeError(f"{name} takes a function, not {type(hook).__name__}")
            try:
                hash(hook)
            except TypeError as exc:
                raise TypeError(f"{name} must be hashable, as it is part of the pool's key") from exc
        if inspect.iscoroutinefunction(egress):
            raise TypeError("egress takes a plain function, not an async one")
        destinations = _parse_connect_to(connect_to)
        assign = object.__setattr__
        assign(self, "uds", None if uds is None else _check_path(uds))
        assign(self, "local_address", None if local_address is None else _check_local_address(local_address))
        assign(self, "socket_options", _check_options(socket_options))
        assign(self, "connect_to", tuple(sorted((_join(*key), _join(*to)) for key, to in destinations.items())))
        assign(self, "resolver", resolver)
        assign(self, "egress", egress)
        assign(self, "_destinations", destinations)

    def __repr__(self) -> str:
        given = [(f.name, getattr(self, f.name)) for f in fields(self) if f.repr]
        return f"NetworkConfig({', '.join(f'{name}={value!r}' for name, value in given if value not in (None, ()))})"

    def destination(self, host: str, port: int) -> tuple[str, int]:
        """Returns the host and port to connect to for `host`, an IPv6 address without brackets, and `port`."""
        if self._destinations:
            name = _canonical(host)
            found = self._destinations.get((name, port)) or self._destinations.get((name, None))
            if found is not None:
                return found[0], port if found[1] is None else found[1]
        return host, port


def _canonical(host: str) -> str:
    return str(ipaddress.IPv6Address(host)) if ":" in host else host.lower().removesuffix(".")


def _join(host: str, port: int | None) -> str:
    if port is None:
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _parse_place(text: str) -> _Place:
    if not isinstance(text, str):
        raise TypeError(f"connect_to takes hosts and ports as str, not {type(text).__name__}")
    place = _PLACE.fullmatch(f"[{text}]" if text.count(":") > 1 and text[0] != "[" else text)
    if place is None or (place[2] is not None and not 0 < int(place[2]) < 65536):
        raise ValueError(f"connect_to takes 'host:port' or 'host', not {text!r}")
    try:
        host = URL(f"http://{place[1]}/").host
    except InvalidURL as exc:
        raise ValueError(f"connect_to takes 'host:port' or 'host', not {text!r}: {exc}") from exc
    return _canonical(host) if ":" in host else host, None if place[2] is None else int(place[2])


def _parse_connect_to(
    connect_to: Mapping[str, str] | Iterable[tuple[str, str]],
) -> dict[_Place, _Place]:
    parsed = {}
    if isinstance(connect_to, (str, bytes)):
        raise TypeError(f"connect_to takes a mapping, not {type(connect_to).__name__}")
    for pair in connect_to.items() if isinstance(connect_to, Mapping) else connect_to:
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise TypeError(f"connect_to takes a mapping or pairs, not {pair!r}")
        host, port = _parse_place(pair[0])
        key = _canonical(host), port
        if key in parsed:
            raise ValueError(f"{_join(*key)} stands in connect_to twice")
        parsed[key] = _parse_place(pair[1])
    return parsed


def _check_path(uds: str | os.PathLike[str]) -> str:
    if not hasattr(socket, "AF_UNIX"):
        raise ValueError("uds: this system has no unix sockets")
    path = os.fspath(uds)
    if not isinstance(path, str):
        raise TypeError(f"uds takes a path as str or os.PathLike, not {type(path).__name__}")
    if not path:
        raise ValueError("uds is an empty path")
    if path[0] != "\0" and "\0" in path:  # the system would end it there
        raise ValueError("uds is a path with a NUL in it")
    return path


def _check_local_address(local_address: str | tuple[str, int]) -> tuple[str, int]:
    pair = (local_address, 0) if isinstance(local_address, str) else local_address
    host, port = pair if isinstance(pair, tuple) and len(pair) == 2 else (None, None)
    if not isinstance(host, str) or isinstance(port, bool) or not isinstance(port, int):
        raise TypeError("local_address takes an IP address as str, or a tuple of it and a port")
    if not 0 <= port < 65536:
        raise ValueError(f"local_address has the port {port}")
    try:
        return str(ipaddress.ip_address(host)), port
    except ValueError as exc:
        raise ValueError(f"local_address takes an IP address, not {host!r}") from exc


def _check_options(options: Iterable[_SocketOption]) -> tuple[_SocketOption, ...]:
    checked: list[_SocketOption] = []
    for option in options:
        if len(option) != 3:
            raise TypeError(f"socket_options takes (level, option, value) triples, not {option!r}")
        level, name, value = option
        if not isinstance(level, int) or not isinstance(name, int) or not isinstance(value, (int, bytes)):
            raise TypeError(f"socket_options takes int, int, and int or bytes, not {option!r}")
        if any(isinstance(number, int) and number not in _C_INT for number in option):
            raise ValueError(f"socket_options has a number in it that is too large: {option!r}")
        checked.append((int(level), int(name), value if isinstance(value, bytes) else int(value)))
    return tuple(checked)

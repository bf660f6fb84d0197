"""Proxies from the environment: `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`.

Owns what these variables mean, on which programs disagree. Here: lower case counts before upper case; `no_proxy` has
the rules that Go documents, of which curl's are a part except for a leading dot; and nothing but these variables
decides, so `localhost` is reached by the proxy too unless `no_proxy` names it, as with curl.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from httpcore.exceptions import InvalidURL, UnsupportedProtocol
from httpcore.proxies import Proxy
from httpcore.urls import URL, Origin

__all__ = ["EnvironmentProxies", "NoProxy", "proxies_from_environment"]

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_SEPARATOR = re.compile(r"[\s,]+")
_CIDR = re.compile(r"[0-9A-Fa-f.:]+/[0-9]{1,3}")
_NOT_IN_ENTRY = re.compile(r"[/?#@\\%]")  # what would begin another part of a URL
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")  # IPv4 addresses in the clothes of IPv6 (RFC 4291 2.5.5.2)


class NoProxy:
    """The origins that are reached without a proxy, as the variable `no_proxy` lists them. Immutable.

    Entries are separated by commas or white space, upper and lower case are the same, and one that is malformed
    matches nothing. Each may end in `:port` to match that port only, save for networks:

    - `*` matches everything.
    - `example.org` matches that host and all its subdomains.
    - `.example.org` and `*.example.org` match the subdomains only. (curl lets the first match the host too.)
    - `192.0.2.1`, `2001:db8::1` and `[2001:db8::1]` match that address, however it is written.
    - `192.0.2.0/24` and `2001:db8::/32` match all addresses of that network.

    An entry with an address or a network matches only hosts given as addresses: no name is looked up. An IPv4 address
    mapped into IPv6 is matched by entries for either.
    """

    __slots__ = ("_entries", "_everything", "_hosts", "_networks", "_parents")

    def __init__(self, text: str = "") -> None:
        entries: list[str] = []
        hosts: set[tuple[str, int | None]] = set()
        parents: set[tuple[str, int | None]] = set()
        networks: list[tuple[_Network, int | None]] = []
        for entry in filter(None, _SEPARATOR.split(text)):
            try:
                if "/" in entry:
                    networks.append((_parse_network(entry), None))
                elif entry != "*":
                    name = entry.removeprefix("*").removeprefix(".") if entry.startswith((".", "*.")) else entry
                    host, port = _parse_host(name)
                    address = _parse_address(host)
                    if address is None:
                        parents.add((host, port))
                        if name == entry:
                            hosts.add((host, port))
                    elif name == entry:
                        networks.append((_unmapped(ipaddress.ip_network(address)), port))
                    else:
                        continue  # the subdomains of an address
            except ValueError:
                continue
            entries.append(entry)
        self._everything = "*" in entries
        self._entries = tuple(entries)
        self._hosts = frozenset(hosts)
        self._parents = frozenset(parents)
        self._networks = tuple(networks)

    def covers(self, origin: Origin) -> bool:
        """Says whether the origin is to be reached without a proxy."""
        if self._everything:
            return True
        host, port = origin.host.lower().removesuffix("."), origin.port
        address = _parse_address(host)
        if address is not None:
            return any(
                only in (None, port) and any(written in network for written in _written(address))
                for network, only in self._networks
            )
        if (host, None) in self._hosts or (host, port) in self._hosts:
            return True
        return any((name, None) in self._parents or (name, port) in self._parents for name in _parents(host))

    def __repr__(self) -> str:
        """Shows the entries that were understood."""
        return f"NoProxy({','.join(self._entries)!r})"


@dataclass(frozen=True, eq=False)
class EnvironmentProxies:
    """Chooses the proxy for an origin as the environment said it: what a pool takes as `proxy`. Immutable.

    `repr()` shows no credentials.

    Attributes:
        http: the proxy for `http` origins, `None` for none.
        https: the proxy for `https` origins, `None` for none.
        no_proxy: the origins that are reached without one.
    """

    http: Proxy | None = None
    https: Proxy | None = None
    no_proxy: NoProxy = field(default_factory=NoProxy)

    def __call__(self, origin: Origin) -> Proxy | None:
        """Returns the proxy for requests to `origin`, or `None` where there is to be none."""
        proxy = self.https if origin.scheme == "https" else self.http
        return None if proxy is None or self.no_proxy.covers(origin) else proxy


def proxies_from_environment(environ: Mapping[str, str] | None = None) -> EnvironmentProxies:
    """Returns the proxies that the environment names, to be given to a pool: `proxy=proxies_from_environment()`.

    The variables are read now, and later changes to them do not count:

    - `http_proxy` and `https_proxy` hold the proxy for origins of that scheme, `all_proxy` the one for those whose
      own variable is missing or empty. A value is a URL as `Proxy` takes it, or one without a scheme: `http` then.
    - `no_proxy` lists the origins reached without: see `NoProxy`.

    Each may be in upper case too, and counts then unless the lower-case one exists, even an empty one. In a CGI
    program, which is told by `REQUEST_METHOD`, `HTTP_PROXY` is the `Proxy` field of the request it answers, and is
    never read (CVE-2016-5385).

    Args:
        environ: the variables; `None` is `os.environ`.

    Raises:
        InvalidURL, UnsupportedProtocol: a variable that counts holds no usable proxy. The message names the variable
            and quotes no credentials of it.
    """
    # A plain dict even of os.environ, which on Windows finds HTTP_PROXY under the name http_proxy.
    variables = dict(os.environ if environ is None else environ)
    if "REQUEST_METHOD" in variables:
        variables.pop("HTTP_PROXY", None)
    return EnvironmentProxies(
        http=_read_proxy(variables, "http_proxy", "all_proxy"),
        https=_read_proxy(variables, "https_proxy", "all_proxy"),
        no_proxy=NoProxy(_read(variables, "no_proxy")[1]),
    )


def _read(variables: Mapping[str, str], name: str) -> tuple[str, str]:
    """Returns the name of the variable that counts, in lower or upper case, and its value: empty if there is none."""
    if name not in variables:
        name = name.upper()
    return name, variables.get(name, "").strip()


def _read_proxy(variables: Mapping[str, str], *names: str) -> Proxy | None:
    for name, value in (_read(variables, name) for name in names):
        if not value:
            continue
        try:
            return Proxy(value if "://" in value else f"http://{value}")
        except ValueError as error:
            kind = UnsupportedProtocol if isinstance(error, UnsupportedProtocol) else InvalidURL
            raise kind(f"the environment variable {name} holds no usable proxy: {error}") from None
    return None


def _parse_host(text: str) -> tuple[str, int | None]:
    """Returns host and port of an entry in the form that URLs have them, so that each finds the other."""
    if _NOT_IN_ENTRY.search(text):
        raise ValueError("not a host")
    if text.count(":") > 1 and text[:1] != "[":
        text = f"[{text}]"
    url = URL(f"http://{text}")
    # A port that follows the scheme was not given.
    given = url.port == URL(f"https://{text}").port
    return url.host.removesuffix("."), url.port if given else None


def _parse_network(text: str) -> _Network:
    if not _CIDR.fullmatch(text):
        raise ValueError("not a network")  # "10.0.0.0/255.0.0.0", say, which ipaddress would take
    return _unmapped(ipaddress.ip_network(text, strict=False))


def _parse_address(host: str) -> _Address | None:
    if ":" not in host and not host[-1:].isdigit():
        return None  # what most hosts are, and an exception less for each request
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _written(address: _Address) -> Iterator[_Address]:
    """Yields the address, and the IPv4 address that it means where it is one mapped into IPv6."""
    yield address
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        yield address.ipv4_mapped


def _unmapped(network: _Network) -> _Network:
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        address = int(network.network_address) & 0xFFFFFFFF
        return ipaddress.IPv4Network((address, network.prefixlen - _MAPPED.prefixlen))
    return network


def _parents(host: str) -> Iterator[str]:
    while host := host.partition(".")[2]:
        yield host

"""Egress: which addresses may be connected to.

Owns the contract of a policy, and one that keeps requests whose URLs others name out of one's own network (SSRF).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

__all__ = ["Egress", "EgressCandidate", "IPAddress", "public_addresses_only"]

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


class EgressCandidate(NamedTuple):
    """An address that is about to be connected to.

    Attributes:
        host: the name that led to it, or the address itself as it was asked for. What `NetworkConfig.connect_to` put
            in the place of another name is what was asked for.
        address: the address.
        port: the port.
        is_proxy: whether the configuration asks for it, as a proxy, and not a URL.
    """

    host: str
    address: IPAddress
    port: int
    is_proxy: bool


Egress: TypeAlias = Callable[[EgressCandidate], bool]
"""Says whether an address may be connected to; called on the loop, so it must not block. What it raises is the cause of
a `ConnectError`; an `HTTPCoreError` is raised as it is."""


# What is not of the public Internet by the IANA's registries of special-purpose addresses (RFC 6890). Python's own
# `is_global` differs between its versions, and looks into few of the IPv6 addresses that have an IPv4 one inside.
_SPECIAL_IPV4 = [
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 "
        "192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4"
    ).split()
]
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")  # all that was ever given out: RFC 4291 2.4
_SPECIAL_IPV6 = [ipaddress.IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "3fff::/20")]
_IPV4_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")  # RFC 4291 2.5.5.2
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052; 64:ff9b:1::/48 is for local use, so never public
_6TO4 = ipaddress.IPv6Network("2002::/16")  # RFC 3056
_TEREDO = ipaddress.IPv6Network("2001::/32")  # RFC 4380


def public_addresses_only(candidate: EgressCandidate) -> bool:
    """An egress policy for those who request what others name: nothing but the public Internet, and one's own proxies.

    Refuses all addresses but global unicast ones: loopback, private, link-local, shared (RFC 6598), multicast,
    unspecified, reserved and documentation ones. An IPv6 address that leads to an IPv4 one (IPv4-mapped, NAT64, 6to4,
    Teredo) is as public as that; the prefix of a NAT64 of one's own, which nobody can know here, needs a policy of
    one's own. A proxy decides itself what it connects to.
    """
    return candidate.is_proxy or _is_public(candidate.address)


def _is_public(address: IPAddress) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _SPECIAL_IPV4)
    bits = int(address)
    if address in _IPV4_MAPPED or address in _NAT64:
        return _is_public_ipv4(bits)
    if address in _6TO4:
        return _is_public_ipv4(bits >> 80)
    if address in _TEREDO:  # its server, and its client, the bits of which are inverted
        return _is_public_ipv4(bits >> 64) and _is_public_ipv4(~bits)
    return address in _GLOBAL_UNICAST and not any(address in network for network in _SPECIAL_IPV6)


def _is_public_ipv4(bits: int) -> bool:
    return _is_public(ipaddress.IPv4Address(bits & 0xFFFFFFFF))

"""The PROXY protocol: a header that tells a server whose connection this is, sent before anything else.

Versions 1 and 2 of https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt; the sender's side only.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from httpcore.exceptions import LocalProtocolError

__all__ = ["ProxyProtocol", "SocketAddress"]

SocketAddress: TypeAlias = tuple[str, int] | tuple[str, int, int, int] | str | None
"""An end of a connection as asyncio's transports tell it; a `str` is a unix socket's path."""

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_Endpoint: TypeAlias = tuple[_Address, int]

_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_LOCAL, _PROXY = 0x20, 0x21  # version 2 and the command
_UNSPEC = 0x00
_TCP = {4: 0x11, 6: 0x21}  # address family and transport
_MAX_LENGTH = 65535  # bytes behind the first 16
_MAX_ADDRESSES = 36  # bytes: two IPv6 addresses and two ports


@dataclass(frozen=True, kw_only=True)
class ProxyProtocol:
    """Sends a PROXY protocol header at the beginning of a connection. A part of what connections are shared by.

    An IPv4-mapped IPv6 address counts as the IPv4 address it stands for.

    Args:
        version: 1, a line of text, or 2, binary.
        source: the address in text and the port of the client this connection is made for. `None` is this
            connection's own local address.
        destination: the address in text and the port it had connected to. `None` is this connection's peer.
        tlvs: (type, value) pairs that version 2 carries behind the addresses, such as
            `(0x02, b"example.com")` for PP2_TYPE_AUTHORITY. They are sent as they are: a checksum (PP2_TYPE_CRC32C)
            is not computed.

    Raises:
        TypeError: something has another type.
        ValueError: the version does not exist; an address is none, or has a zone; a port or a type is out of range;
            the addresses are not of one family; version 1 was given TLVs; or the TLVs are too long together.
    """

    version: Literal[1, 2] = 2
    source: tuple[str, int] | None = None
    destination: tuple[str, int] | None = None
    tlvs: tuple[tuple[int, bytes], ...] = ()

    def __post_init__(self) -> None:
        if not _is_int(self.version):
            raise TypeError(f"version takes 1 or 2, not {type(self.version).__name__}")
        if self.version not in (1, 2):
            raise ValueError(f"version takes 1 or 2, not {self.version}")
        source = _check_endpoint("source", self.source)
        destination = _check_endpoint("destination", self.destination)
        if source and destination and source[0].version != destination[0].version:
            raise ValueError("source and destination are not of one family: one is IPv4, the other IPv6")
        self._check_tlvs()

    def _check_tlvs(self) -> None:
        if not isinstance(self.tlvs, tuple):
            raise TypeError(f"tlvs takes a tuple of (type, value) tuples, not {type(self.tlvs).__name__}")
        for tlv in self.tlvs:
            if not (isinstance(tlv, tuple) and len(tlv) == 2 and _is_int(tlv[0]) and isinstance(tlv[1], bytes)):
                raise TypeError("tlvs takes (type, value) tuples of an int and bytes")
            if not 0 <= tlv[0] <= 255:
                raise ValueError(f"the type of a TLV is 0 to 255, not {tlv[0]}")
        if self.tlvs and self.version == 1:
            raise ValueError("version 1 of the PROXY protocol has no TLVs")
        length = sum(3 + len(value) for _, value in self.tlvs)
        if length > _MAX_LENGTH - _MAX_ADDRESSES:
            raise ValueError(f"the TLVs are {length} bytes, at most {_MAX_LENGTH - _MAX_ADDRESSES} can be sent")

    def header(self, local: SocketAddress, peer: SocketAddress) -> bytes:
        """Returns what is to be sent before anything else.

        Where an end of the connection is not known, or is no IP address, and neither `source` nor `destination` was
        given, the header says that there is nothing to tell: UNKNOWN in version 1, the LOCAL command in version 2.

        Args:
            local: this end of the connection.
            peer: the other end.

        Raises:
            LocalProtocolError: one of `source` and `destination` was given, and the other one cannot be told from the
                connection. A server would take it for a connection of this machine's own instead of its client's.
        """
        source = _endpoint(local if self.source is None else self.source)
        destination = _endpoint(peer if self.destination is None else self.destination)
        given = self.source is not None or self.destination is not None
        if source is None or destination is None:
            if given:
                missing = "source" if source is None else "destination"
                raise LocalProtocolError(f"the connection has no IP address there: give ProxyProtocol {missing}= too")
            return self._unknown()
        if source[0].version != destination[0].version:
            if not given:
                return self._unknown()
            source, destination = _as_ipv6(source), _as_ipv6(destination)
        return self._text(source, destination) if self.version == 1 else self._binary(source, destination)

    def _unknown(self) -> bytes:
        return b"PROXY UNKNOWN\r\n" if self.version == 1 else self._frame(_LOCAL, _UNSPEC, b"")

    def _text(self, source: _Endpoint, destination: _Endpoint) -> bytes:
        (source_address, source_port), (destination_address, destination_port) = source, destination
        return (
            f"PROXY TCP{source_address.version} {_address_text(source_address)} {_address_text(destination_address)} "
            f"{source_port} {destination_port}\r\n"
        ).encode("ascii")

    def _binary(self, source: _Endpoint, destination: _Endpoint) -> bytes:
        (source_address, source_port), (destination_address, destination_port) = source, destination
        ports = source_port.to_bytes(2, "big") + destination_port.to_bytes(2, "big")
        addresses = source_address.packed + destination_address.packed + ports
        return self._frame(_PROXY, _TCP[source_address.version], addresses)

    def _frame(self, command: int, family: int, addresses: bytes) -> bytes:
        tlvs = b"".join(bytes((kind,)) + len(value).to_bytes(2, "big") + value for kind, value in self.tlvs)
        length = len(addresses) + len(tlvs)
        return _SIGNATURE + bytes((command, family)) + length.to_bytes(2, "big") + addresses + tlvs


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_endpoint(name: str, value: tuple[str, int] | None) -> _Endpoint | None:
    if value is None:
        return None
    if not (isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str) and _is_int(value[1])):
        raise TypeError(f"{name} takes a tuple of an IP address in text and a port")
    if "%" in value[0]:
        raise ValueError(f"{name} is an address with a zone, which means nothing to another machine")
    endpoint = _endpoint(value)
    if endpoint is None:
        raise ValueError(f"{name} takes an IP address in text and a port from 0 to 65535, not {value!r}")
    return endpoint


def _endpoint(address: SocketAddress) -> _Endpoint | None:
    """Returns the IP address and the port, `None` where there are none: own transports may tell anything."""
    if not isinstance(address, tuple) or len(address) < 2:
        return None
    host, port = address[:2]
    if not isinstance(host, str) or not _is_int(port) or not 0 <= port <= 65535:
        return None
    try:
        parsed = ipaddress.ip_address(host.partition("%")[0])  # the zone is this machine's own affair
    except ValueError:
        return None
    return (parsed.version == 6 and parsed.ipv4_mapped) or parsed, port


def _as_ipv6(endpoint: _Endpoint) -> _Endpoint:
    address, port = endpoint
    if address.version == 4:
        address = ipaddress.IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed)
    return address, port


def _address_text(address: _Address) -> str:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    # Newer Pythons write a dotted quad into such an address, and version 1 has hexadecimal groups only.
    return str(address) if mapped is None else f"::ffff:{int(mapped) >> 16:x}:{int(mapped) & 0xFFFF:x}"

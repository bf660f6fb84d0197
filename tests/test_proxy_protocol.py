"""PROXY protocol headers, read back by a decoder of the specification's own words, and refused where they cannot be."""

from __future__ import annotations

import ipaddress
import struct
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from httpcore import LocalProtocolError
from httpcore.proxy_protocol import ProxyProtocol, SocketAddress

SIGNATURE = bytes.fromhex("0D0A0D0A000D0A515549540A")
V4 = ("192.168.0.1", 56324)
V4_PEER = ("192.168.0.11", 443)
V6 = ("2001:db8::1", 56324)
V6_PEER = ("2001:db8::2", 443)
MAPPED = ("::ffff:192.168.0.1", 56324)


class Decoded(NamedTuple):
    """What a receiver understands; `family` is 0, 4 or 6."""

    proxied: bool
    family: int
    source: tuple[str, int] | None
    destination: tuple[str, int] | None
    tlvs: tuple[tuple[int, bytes], ...] = ()


def decode(header: bytes) -> Decoded:
    return decode_text(header) if header.startswith(b"PROXY") else decode_binary(header)


def decode_text(header: bytes) -> Decoded:
    assert len(header) <= 107
    assert header.endswith(b"\r\n")
    assert header.count(b"\r") == header.count(b"\n") == 1
    words = header[:-2].decode("ascii").split(" ")
    if words == ["PROXY", "UNKNOWN"]:
        return Decoded(False, 0, None, None)
    proxy, kind, *addresses, source_port, destination_port = words
    assert proxy == "PROXY"
    family = {"TCP4": 4, "TCP6": 6}[kind]
    for address in addresses:
        assert ipaddress.ip_address(address).version == family
        assert family == 4 or "." not in address  # hexadecimal groups only
    for port in (source_port, destination_port):
        assert port == str(int(port))
        assert 0 <= int(port) <= 65535
    source, destination = addresses
    return Decoded(True, family, (source, int(source_port)), (destination, int(destination_port)))


def decode_binary(header: bytes) -> Decoded:
    assert header[:12] == SIGNATURE
    version_and_command, family_and_transport, length = struct.unpack_from("!BBH", header, 12)
    rest = header[16:]
    assert len(rest) == length
    assert version_and_command >> 4 == 2
    if version_and_command & 15 == 0:
        assert family_and_transport == 0
        return Decoded(False, 0, None, None, decode_tlvs(rest))
    assert version_and_command & 15 == 1
    family = {0x11: 4, 0x21: 6}[family_and_transport]
    size = {4: 4, 6: 16}[family]
    source, destination, source_port, destination_port = struct.unpack_from(f"!{size}s{size}sHH", rest)
    return Decoded(
        True,
        family,
        (str(ipaddress.ip_address(source)), source_port),
        (str(ipaddress.ip_address(destination)), destination_port),
        decode_tlvs(rest[2 * size + 4 :]),
    )


def decode_tlvs(data: bytes) -> tuple[tuple[int, bytes], ...]:
    tlvs = []
    while data:
        kind, length = struct.unpack_from("!BH", data)
        value, data = data[3 : 3 + length], data[3 + length :]
        assert len(value) == length
        tlvs.append((kind, value))
    return tuple(tlvs)


def canonical(endpoint: tuple[str, int], family: int) -> tuple[str, int]:
    """Returns the endpoint as one of the family, with mapped addresses for IPv4's where it is 6."""
    address = ipaddress.ip_address(endpoint[0])
    if address.version == 4 and family == 6:
        address = ipaddress.ip_address(f"::ffff:{address}")
    return str(address), endpoint[1]


# Bytes, to the letter.


def test_version_1_over_ipv4_is_the_line_of_the_specification() -> None:
    header = ProxyProtocol(version=1).header(V4, V4_PEER)
    assert header == b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"


def test_version_1_over_ipv6_has_hexadecimal_groups() -> None:
    header = ProxyProtocol(version=1).header((*V6, 0, 0), (*V6_PEER, 0, 0))
    assert header == b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n"


def test_version_2_over_ipv4() -> None:
    header = ProxyProtocol().header(V4, V4_PEER)
    assert header == SIGNATURE + bytes.fromhex("21 11 000C C0A80001 C0A8000B DC04 01BB")


def test_version_2_over_ipv6() -> None:
    header = ProxyProtocol().header((*V6, 0, 0), (*V6_PEER, 0, 0))
    assert header == SIGNATURE + bytes.fromhex(
        "21 21 0024 20010DB8000000000000000000000001 20010DB8000000000000000000000002 DC04 01BB"
    )


def test_version_2_with_tlvs_counts_them_in_its_length() -> None:
    tlvs = ((0x02, b"example.com"), (0x04, b""), (0xE0, b"\0\xff"))
    header = ProxyProtocol(tlvs=tlvs).header(V4, V4_PEER)
    assert header == SIGNATURE + bytes.fromhex("21 11 0022 C0A80001 C0A8000B DC04 01BB") + (
        b"\x02\x00\x0bexample.com" + b"\x04\x00\x00" + b"\xe0\x00\x02\x00\xff"
    )


def test_longest_line_of_version_1_is_what_the_specification_allows() -> None:
    longest = (":".join(["ffff"] * 8), 65535)
    header = ProxyProtocol(version=1, source=longest, destination=longest).header(None, None)
    assert len(header) == 104
    assert decode(header) == Decoded(True, 6, longest, longest)


# Whose addresses.


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    "source, destination, expected",
    [
        (None, None, (4, V4, V4_PEER)),
        (("203.0.113.9", 1), None, (4, ("203.0.113.9", 1), V4_PEER)),
        (None, ("203.0.113.9", 2), (4, V4, ("203.0.113.9", 2))),
        (("203.0.113.9", 0), ("203.0.113.8", 65535), (4, ("203.0.113.9", 0), ("203.0.113.8", 65535))),
        (("::9", 1), ("::8", 2), (6, ("::9", 1), ("::8", 2))),
        (V6, None, (6, V6, ("::ffff:192.168.0.11", 443))),
        (None, V6, (6, ("::ffff:192.168.0.1", 56324), V6)),
        (MAPPED, None, (4, V4, V4_PEER)),
        (MAPPED, ("203.0.113.8", 2), (4, V4, ("203.0.113.8", 2))),
    ],
)
def test_given_addresses_stand_for_those_of_an_ipv4_connection(
    version: Any, source: Any, destination: Any, expected: tuple[int, tuple[str, int], tuple[str, int]]
) -> None:
    header = ProxyProtocol(version=version, source=source, destination=destination).header(V4, V4_PEER)
    family, first, second = expected
    assert decode(header) == Decoded(True, family, canonical(first, family), canonical(second, family))


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("source, destination", [(V4, None), (None, V4), (MAPPED, None)])
def test_given_ipv4_address_is_mapped_on_an_ipv6_connection(version: Any, source: Any, destination: Any) -> None:
    local, peer = (*V6, 0, 0), (*V6_PEER, 0, 0)
    header = ProxyProtocol(version=version, source=source, destination=destination).header(local, peer)
    expected = (canonical(V4, 6), V6_PEER) if source else (V6, canonical(V4, 6))
    assert decode(header) == Decoded(True, 6, *expected)


def test_version_1_writes_mapped_addresses_in_hexadecimal() -> None:
    header = ProxyProtocol(version=1, source=V6).header(V4, V4_PEER)
    assert header == b"PROXY TCP6 2001:db8::1 ::ffff:c0a8:b 56324 443\r\n"


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("local", [V4, MAPPED, (*MAPPED, 0, 0)])
@pytest.mark.parametrize("peer", [V4_PEER, ("::FFFF:c0a8:000b", 443, 0, 0)])
def test_dual_stack_connection_is_an_ipv4_connection(version: Any, local: SocketAddress, peer: SocketAddress) -> None:
    assert decode(ProxyProtocol(version=version).header(local, peer)) == Decoded(True, 4, V4, V4_PEER)


@pytest.mark.parametrize("version", [1, 2])
def test_zone_of_the_connection_is_not_told(version: Any) -> None:
    header = ProxyProtocol(version=version).header(("fe80::1%eth0", 1, 0, 2), ("fe80::2%eth0", 2, 0, 2))
    assert decode(header) == Decoded(True, 6, ("fe80::1", 1), ("fe80::2", 2))


NOT_IP: list[Any] = [
    None,
    "/run/server.sock",
    "",
    b"\0abstract",
    (),
    ("192.0.2.1",),
    ("memory", 1),
    ("", 80),
    (3221225985, 80),
    ("192.0.2.1", None),
    ("192.0.2.1", "80"),
    ("192.0.2.1", True),
    ("192.0.2.1", -1),
    ("192.0.2.1", 65536),
    ["192.0.2.1", 80],
]


@pytest.mark.parametrize(
    "local, peer",
    [*((V4, other) for other in NOT_IP), *((other, V4) for other in NOT_IP), (None, None), (V4, V6), (V6, V4)],
)
def test_connection_without_two_ip_addresses_of_one_family_has_nothing_to_tell(local: Any, peer: Any) -> None:
    assert ProxyProtocol(version=1).header(local, peer) == b"PROXY UNKNOWN\r\n"
    assert ProxyProtocol(version=2).header(local, peer) == SIGNATURE + b"\x20\x00\x00\x00"


def test_nothing_to_tell_still_carries_the_tlvs() -> None:
    tlvs = ((0x02, b"example.com"),)
    header = ProxyProtocol(tlvs=tlvs).header("", "/run/server.sock")
    assert header[12:] == b"\x20\x00\x00\x0e\x02\x00\x0bexample.com"


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("other", NOT_IP)
def test_given_address_is_never_dropped_silently(version: Any, other: Any) -> None:
    with pytest.raises(LocalProtocolError, match="give ProxyProtocol destination= too"):
        ProxyProtocol(version=version, source=V4).header(V4, other)
    with pytest.raises(LocalProtocolError, match="give ProxyProtocol source= too"):
        ProxyProtocol(version=version, destination=V4).header(other, V4)


@pytest.mark.parametrize("version", [1, 2])
def test_two_given_addresses_need_no_connection_with_addresses(version: Any) -> None:
    header = ProxyProtocol(version=version, source=V6, destination=V6_PEER).header("", "/run/server.sock")
    assert decode(header) == Decoded(True, 6, V6, V6_PEER)


ENDPOINTS = st.tuples(st.ip_addresses().map(str), st.integers(0, 65535))
TLVS = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=300)), max_size=5).map(tuple)


@given(st.sampled_from([1, 2]), st.none() | ENDPOINTS, ENDPOINTS, ENDPOINTS, TLVS)
def test_every_header_is_read_back(
    version: Any, source: Any, local: tuple[str, int], peer: tuple[str, int], tlvs: Any
) -> None:
    tlvs = tlvs if version == 2 else ()
    decoded = decode(ProxyProtocol(version=version, source=source, tlvs=tlvs).header(local, peer))
    assert decoded.tlvs == tlvs
    first, second = (unmapped(endpoint) for endpoint in (source or local, peer))
    families = {ipaddress.ip_address(address).version for address, _ in (first, second)}
    if source is None and len(families) == 2:
        assert decoded[:4] == (False, 0, None, None)
    else:
        family = max(families)
        assert decoded[:4] == (True, family, canonical(first, family), canonical(second, family))


def unmapped(endpoint: tuple[str, int]) -> tuple[str, int]:
    address = ipaddress.ip_address(endpoint[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address), endpoint[1]


# What is refused, at once.


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"version": 0}, "version takes 1 or 2, not 0"),
        ({"version": 3}, "version takes 1 or 2, not 3"),
        ({"source": ("example.com", 80)}, "source takes an IP address in text"),
        ({"source": ("", 80)}, "source takes an IP address in text"),
        ({"source": ("[::1]", 80)}, "source takes an IP address in text"),
        ({"source": ("192.0.2.01", 80)}, "source takes an IP address in text"),
        ({"source": ("192.0.2.1 ", 80)}, "source takes an IP address in text"),
        ({"source": ("192.0.2.1\r\n", 80)}, "source takes an IP address in text"),
        ({"destination": ("192.0.2.1", -1)}, "destination takes an IP address in text and a port from 0"),
        ({"destination": ("192.0.2.1", 65536)}, "destination takes an IP address in text and a port from 0"),
        ({"source": ("fe80::1%eth0", 80)}, "source is an address with a zone"),
        ({"source": ("fe80::1%", 80)}, "source is an address with a zone"),
        ({"source": V4, "destination": V6}, "not of one family"),
        ({"source": V6, "destination": V4}, "not of one family"),
        ({"source": V6, "destination": MAPPED}, "not of one family"),
        ({"version": 1, "tlvs": ((1, b"h2"),)}, "version 1 of the PROXY protocol has no TLVs"),
        ({"tlvs": ((-1, b""),)}, "the type of a TLV is 0 to 255, not -1"),
        ({"tlvs": ((256, b""),)}, "the type of a TLV is 0 to 255, not 256"),
        ({"tlvs": ((4, bytes(65_497)),)}, "the TLVs are 65500 bytes, at most 65499"),
        ({"tlvs": ((4, b""),) * 21_834}, "the TLVs are 65502 bytes, at most 65499"),
    ],
)
def test_value_that_cannot_be_sent_is_a_value_error(arguments: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        ProxyProtocol(**arguments)


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"version": "2"}, "version takes 1 or 2, not str"),
        ({"version": 2.0}, "version takes 1 or 2, not float"),
        ({"version": True}, "version takes 1 or 2, not bool"),
        ({"source": "192.0.2.1"}, "source takes a tuple"),
        ({"source": ["192.0.2.1", 80]}, "source takes a tuple"),
        ({"source": ("192.0.2.1",)}, "source takes a tuple"),
        ({"source": ("::1", 80, 0, 0)}, "source takes a tuple"),
        ({"source": (ipaddress.ip_address("192.0.2.1"), 80)}, "source takes a tuple"),
        ({"destination": ("192.0.2.1", "80")}, "destination takes a tuple"),
        ({"destination": ("192.0.2.1", True)}, "destination takes a tuple"),
        ({"tlvs": [(1, b"h2")]}, "tlvs takes a tuple"),
        ({"tlvs": None}, "tlvs takes a tuple"),
        ({"tlvs": (b"h2",)}, "tlvs takes .* tuples of an int and bytes"),
        ({"tlvs": (1, b"h2")}, "tlvs takes .* tuples of an int and bytes"),
        ({"tlvs": ((1, "h2"),)}, "tlvs takes .* tuples of an int and bytes"),
        ({"tlvs": ((1, bytearray(b"h2")),)}, "tlvs takes .* tuples of an int and bytes"),
        ({"tlvs": (("1", b"h2"),)}, "tlvs takes .* tuples of an int and bytes"),
        ({"tlvs": ((True, b"h2"),)}, "tlvs takes .* tuples of an int and bytes"),
        ({"tlvs": ((1, b"h2", b""),)}, "tlvs takes .* tuples of an int and bytes"),
    ],
)
def test_argument_of_another_type_is_a_type_error(arguments: dict[str, Any], match: str) -> None:
    with pytest.raises(TypeError, match=match):
        ProxyProtocol(**arguments)


def test_most_tlvs_that_fit_are_sent() -> None:
    tlvs = ((4, bytes(65_496)),)
    header = ProxyProtocol(source=V6, destination=V6_PEER, tlvs=tlvs).header(None, None)
    assert len(header) == 16 + 65_535
    assert decode(header) == Decoded(True, 6, V6, V6_PEER, tlvs)


def test_equal_ones_are_one_key_and_different_ones_are_not() -> None:
    variants = [
        ProxyProtocol(),
        ProxyProtocol(version=1),
        ProxyProtocol(source=V4),
        ProxyProtocol(destination=V4),
        ProxyProtocol(source=V6),
        ProxyProtocol(tlvs=((1, b"h2"),)),
        ProxyProtocol(tlvs=((2, b"h2"),)),
    ]
    assert len({*variants}) == len(variants)
    assert {*variants, ProxyProtocol(source=(V4[0], V4[1]))} == {*variants}

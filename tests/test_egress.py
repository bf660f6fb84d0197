"""public_addresses_only: a long table of what is of the public Internet and what is not, and checks on the table."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, strategies

from httpcore import EgressCandidate, public_addresses_only

PUBLIC = """
    1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 93.184.216.34 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1
    169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.0 192.0.3.0 192.31.196.1
    192.88.98.255 192.88.100.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0
    203.0.112.255 203.0.114.0 223.255.255.255
    2000:: 2001:200::1 2001:4860:4860::8888 2001:db7:ffff::1 2001:db9::1 2003::1 2606:4700:4700::1111 2620:fe::fe
    2a00:1450:4001::1 3ffe:ffff::1 3fff:1000::1
    ::ffff:8.8.8.8 64:ff9b::8.8.8.8 64:ff9b::1.1.1.1
    2002:808:808::1 2002:101:101:ffff::1
    2001:0:808:808:0:0:f7f7:f7f7
""".split()

NOT_PUBLIC = """
    0.0.0.0 0.0.0.1 0.255.255.255
    10.0.0.0 10.0.0.1 10.255.255.255
    100.64.0.0 100.100.100.200 100.127.255.255
    127.0.0.0 127.0.0.1 127.1.2.3 127.255.255.255
    169.254.0.0 169.254.169.254 169.254.255.255
    172.16.0.0 172.16.0.1 172.31.255.255
    192.0.0.0 192.0.0.1 192.0.0.8 192.0.0.170 192.0.0.255
    192.0.2.0 192.0.2.255 198.51.100.1 203.0.113.1
    192.88.99.1
    192.168.0.0 192.168.1.1 192.168.255.255
    198.18.0.0 198.19.255.255
    224.0.0.0 224.0.0.1 239.255.255.255
    240.0.0.0 250.0.0.1 255.255.255.254 255.255.255.255

    :: ::1 ::2
    ::127.0.0.1 ::10.0.0.1 ::8.8.8.8
    ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:192.168.0.1 ::ffff:0.0.0.0 ::ffff:100.64.0.1
    ::ffff:224.0.0.1 ::ffff:255.255.255.255
    ::ffff:0:127.0.0.1 ::ffff:0:8.8.8.8
    64:ff9b::127.0.0.1 64:ff9b::10.0.0.1 64:ff9b::169.254.169.254 64:ff9b::0.0.0.0
    64:ff9b:0:0:1::8.8.8.8
    64:ff9b:1:: 64:ff9b:1::8.8.8.8 64:ff9b:1::127.0.0.1 64:ff9b:1:7f00:0:100:: 64:ff9b:1:ffff:ffff:ffff:ffff:ffff
    100:: 100::1 100:0:0:1::1
    200::1 400::1 1000::1 1fff:ffff::1
    2001:: 2001::1 2001:1::1 2001:2::1 2001:3::1 2001:4:112::1 2001:10::1 2001:20::1 2001:30::1 2001:1ff:ffff::1
    2001:0:7f00:1:0:0:f7f7:f7f7 2001:0:a00:1:0:0:f7f7:f7f7 2001:0:808:808:0:0:80ff:fffe 2001:0:808:808:0:0:f5ff:fffe
    2001:db8::1 2001:db8:ffff::1 3fff::1 3fff:fff:ffff::1
    2002:7f00:1::1 2002:a00:1::1 2002:a9fe:a9fe::1 2002:c0a8:1::1 2002:: 2002:6440:1::1 2002:e000:1::1
    4000::1 5f00::1 8000::1 e000::1 f000::1
    fc00::1 fd00::1 fd12:3456:789a::1 fdff:ffff::1
    fe00::1 fe80::1 fe80::1%1 febf::1 fec0::1 feff::1
    ff00:: ff01::1 ff02::1 ff05::2 ff0e::1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff
""".split()


def candidate(address: str, *, is_proxy: bool = False) -> EgressCandidate:
    return EgressCandidate("example.org", ipaddress.ip_address(address), 443, is_proxy)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_address_is_let_out(address: str) -> None:
    assert public_addresses_only(candidate(address)) is True


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_address_that_is_not_public_is_refused(address: str) -> None:
    assert public_addresses_only(candidate(address)) is False


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_ones_own_proxy_may_be_anywhere(address: str) -> None:
    assert public_addresses_only(candidate(address, is_proxy=True)) is True


# Python's own opinion: what none of its versions calls global is refused, wherever it lies.


@given(strategies.ip_addresses())
def test_address_that_python_calls_not_global_is_refused(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if isinstance(address, ipaddress.IPv6Address) and (address.ipv4_mapped or address.sixtofour or address.teredo):
        return  # as public as what is inside, which not all versions look at
    if not address.is_global or address.is_multicast or address.is_unspecified or address.is_loopback:
        assert not public_addresses_only(candidate(str(address)))


@given(strategies.ip_addresses(v=4))
def test_ipv6_address_is_as_public_as_the_ipv4_address_inside(inside: ipaddress.IPv4Address) -> None:
    bits = int(inside)
    google = int(ipaddress.IPv4Address("8.8.8.8"))
    carriers = {
        "mapped": 0xFFFF << 32 | bits,
        "NAT64": 0x64FF9B << 96 | bits,
        "6to4": 0x2002 << 112 | bits << 80 | 1,
        "Teredo, server": 0x20010000 << 96 | bits << 64 | google ^ 0xFFFFFFFF,
        "Teredo, client": 0x20010000 << 96 | google << 64 | bits ^ 0xFFFFFFFF,
    }
    expected = public_addresses_only(candidate(str(inside)))
    found = {
        name: public_addresses_only(candidate(str(ipaddress.IPv6Address(address))))
        for name, address in carriers.items()
    }
    assert found == dict.fromkeys(carriers, expected)

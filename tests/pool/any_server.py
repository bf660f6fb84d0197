"""`AnyServer`: whatever a route leads to, a proxy of any kind or an origin. It answers with its connection's number."""

from __future__ import annotations

import asyncio
import ssl
from typing import cast

from tests.conftest import TLSFiles

__all__ = ["AnyServer", "Certified", "certificate_of"]

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"  # of version 2 of the PROXY protocol
_IPV4, _DOMAIN, _IPV6 = 1, 3, 4  # address types of SOCKS5


def certificate_of(tls: TLSFiles) -> bytes:
    """The server's own certificate, in DER."""
    pem, end, _ = tls.cert_path.read_text().partition("-----END CERTIFICATE-----")
    return ssl.PEM_cert_to_DER_cert(pem + end)


class Certified:
    """What a link in memory has in place of a TLS object: the tests' certificate, and the version that was chosen."""

    def __init__(self, tls: TLSFiles, version: str = "http/1.1") -> None:
        self._certificate = certificate_of(tls)
        self._version = version

    def getpeercert(self, binary_form: bool = False) -> bytes:
        assert binary_form
        return self._certificate

    def selected_alpn_protocol(self) -> str:
        return self._version


class AnyServer(asyncio.Protocol):
    """One connection: PROXY headers, SOCKS and CONNECT are taken as they come, and every request is answered.

    Args:
        number: the answer.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.received = b""
        self.heads: list[bytes] = []
        self.lost = False
        self._buffer = b""
        self._greeted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True

    def data_received(self, data: bytes) -> None:
        self.received += data
        self._buffer += data
        while self._buffer and (size := self._step(self._buffer)):
            self._buffer = self._buffer[size:]

    def _step(self, data: bytes) -> int:
        """Answers the message at the beginning of `data`; returns its size, 0 until it is whole."""
        if data.startswith(b"PROXY "):
            return data.find(b"\r\n") + 2
        if data.startswith(_SIGNATURE):
            return 16 + int.from_bytes(data[14:16])
        if data[0] == 5:
            return self._socks5(data)
        if data[0] == 1:
            self.transport.write(b"\x01\x00")
            return 3 + data[1] + data[2 + data[1]]
        if data[0] == 4:
            self.transport.write(b"\x00\x5a" + bytes(6))
            user = data.index(0, 8) + 1
            return user if data[4:7] != bytes(3) else data.index(0, user) + 1
        end = data.find(b"\r\n\r\n") + 4
        if end > 3:
            self.heads.append(data[:end])
            if data.startswith(b"CONNECT "):
                self.transport.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                answer = b"%d" % self.number
                self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(answer), answer))
            return end
        return 0

    def _socks5(self, data: bytes) -> int:
        if not self._greeted:
            self._greeted = True
            methods = data[2 : 2 + data[1]]
            self.transport.write(b"\x05\x02" if 2 in methods else b"\x05\x00")
            return 2 + data[1]
        self.transport.write(b"\x05\x00\x00\x01" + bytes(6))
        return 6 + {_IPV4: 4, _DOMAIN: 1 + data[4], _IPV6: 16}[data[3]]

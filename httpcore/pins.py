"""Certificate pins: the digests of public keys that a server may have, in the form of curl and of RFC 7469."""

from __future__ import annotations

import base64
import hashlib
import re
import ssl

from httpcore.exceptions import ConnectError

__all__ = ["check_pins", "parse_pin", "spki_pin"]

_PREFIX = "sha256/"
_BASE64_LENGTH = 44  # characters: of 32 bytes, padded
_BASE64 = re.compile(r"[A-Za-z0-9+/]{43}=")

# DER's tags (X.690 8.1.2) that stand before the key in a certificate.
_INTEGER = 0x02
_SEQUENCE = 0x30
_VERSION = 0xA0  # [0] EXPLICIT


def parse_pin(pin: str) -> str:
    """Returns a pin as `sha256/<base64>`.

    Args:
        pin: `sha256/<base64>` (RFC 7469 2.1.1), `sha256//<base64>` (curl), or the Base64 alone.

    Raises:
        ValueError: it is none of these.
    """
    text = pin.removeprefix(_PREFIX)
    if text != pin and len(text) > _BASE64_LENGTH:
        text = text.removeprefix("/")  # curl's second one: Base64 itself may begin with a slash, so its length decides
    if not _BASE64.fullmatch(text):
        raise ValueError(f"the pin {pin!r} is not the Base64 of a SHA-256 digest: 43 characters and '='")
    if base64.b64encode(base64.b64decode(text)).decode("ascii") != text:
        raise ValueError(f"the pin {pin!r} is no Base64: its last character has bits that stand for nothing")
    return _PREFIX + text


def spki_pin(certificate: bytes) -> str:
    """Returns the pin of a certificate: `sha256/` and the Base64 of its SubjectPublicKeyInfo's digest (RFC 7469 2.4).

    It stays the same when a certificate is renewed with the same key.

    Args:
        certificate: in DER, as `ssl_object.getpeercert(binary_form=True)` or `ssl.PEM_cert_to_DER_cert` give it.

    Raises:
        ValueError: it is no certificate.
    """
    digest = hashlib.sha256(_subject_public_key_info(certificate)).digest()
    return _PREFIX + base64.b64encode(digest).decode("ascii")


def check_pins(pins: tuple[str, ...], ssl_object: ssl.SSLObject | None) -> None:
    """Checks that the server's own certificate has one of the keys that were pinned.

    The authorities above it do not count.

    Args:
        pins: of an `SSLConfig`; empty ones let every key pass.
        ssl_object: the connection, after its handshake; `None` where it has no TLS.

    Raises:
        ConnectError: it has another key, or no certificate at all.
    """
    if not pins:
        return
    try:
        certificate = None if ssl_object is None else ssl_object.getpeercert(binary_form=True)
        if certificate is None:
            raise ConnectError("there is no certificate of the server's to be checked against the pins")
        found = spki_pin(certificate)
    except ValueError as exc:  # also if the handshake is not over
        raise ConnectError(f"the server's certificate cannot be checked against the pins: {exc}") from exc
    if found not in pins:
        raise ConnectError(f"the server's key is none of those that were pinned: its pin is {found}")


def _subject_public_key_info(der: bytes) -> bytes:
    """Returns that part of a certificate (RFC 5280 4.1), tag and length included."""
    start, end = _element(der, 0, len(der), _SEQUENCE)  # Certificate
    if end != len(der):
        raise ValueError("bytes follow the certificate")
    start, end = _element(der, start, end, _SEQUENCE)  # TBSCertificate
    if der[start : start + 1] == bytes([_VERSION]):  # which certificates of version 1 lack
        _, start = _element(der, start, end, _VERSION)
    # serialNumber, signature, issuer, validity, subject
    for tag in (_INTEGER, _SEQUENCE, _SEQUENCE, _SEQUENCE, _SEQUENCE):
        _, start = _element(der, start, end, tag)
    _, end = _element(der, start, end, _SEQUENCE)
    return der[start:end]


def _element(der: bytes, start: int, end: int, tag: int) -> tuple[int, int]:
    """Returns where the content of the element at `start` begins and ends (X.690 8.1, 10.1)."""
    if end - start < 2 or der[start] != tag:
        raise ValueError(f"it is no certificate: the tag 0x{tag:02x} was expected at byte {start}")
    length = der[start + 1]
    start += 2
    if length >= 0x80:  # the length of the length
        size = length & 0x7F
        length = int.from_bytes(der[start : start + size], "big")
        # DER has one form of each length: the shortest; 0x80 alone would be BER's "until further notice".
        if size > end - start or length < 0x80 or length.bit_length() <= 8 * (size - 1):
            raise ValueError(f"it is no certificate: the length at byte {start - 1} is malformed")
        start += size
    if length > end - start:
        raise ValueError(f"it is no certificate: the element at byte {start} is cut off")
    return start, start + length

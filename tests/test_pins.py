"""Certificate pins: their forms, what they are of, and what is refused; beside what cryptography makes of the same."""

from __future__ import annotations

import base64
import datetime
import hashlib
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from httpcore import ConnectError, ConnectionPool, SSLConfig
from httpcore.pins import check_pins, parse_pin, spki_pin
from tests.conftest import TLSFiles
from tests.h11_server import listening

Key: TypeAlias = (
    rsa.RSAPrivateKey
    | dsa.DSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
)

KEYS: dict[str, Callable[[], Key]] = {
    "RSA 2048": lambda: rsa.generate_private_key(65537, 2048),
    "RSA 3072": lambda: rsa.generate_private_key(65537, 3072),
    "DSA": lambda: dsa.generate_private_key(1024),
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "Ed448": ed448.Ed448PrivateKey.generate,
}


def certificate_of(key: Key, *, names: int = 1, serial: int | None = None) -> bytes:
    """Returns a self-signed certificate in DER."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "someone")] if names else [])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), serial or x509.random_serial_number(), now, now)
    others = [x509.DNSName(f"host{number}.example") for number in range(names)]
    builder = builder.add_extension(x509.SubjectAlternativeName(others or [x509.DNSName("x")]), critical=False)
    plain = isinstance(key, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey))
    return builder.sign(key, None if plain else hashes.SHA256()).public_bytes(Encoding.DER)


def expected_pin(certificate: bytes) -> str:
    """Returns what cryptography makes of it."""
    public = x509.load_der_x509_certificate(certificate).public_key()
    digest = hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    return "sha256/" + base64.b64encode(digest).decode("ascii")


def element(tag: int, content: bytes) -> bytes:
    """Returns an element in DER."""
    assert len(content) < 256
    return bytes([tag]) + b"\x81" * (len(content) > 127) + bytes([len(content)]) + content


@pytest.fixture(scope="module")
def sample() -> bytes:
    return certificate_of(ec.generate_private_key(ec.SECP256R1()))


# What a pin is of


@pytest.mark.parametrize("kind", KEYS)
def test_pin_is_of_the_public_key_of_every_kind(kind: str) -> None:
    certificate = certificate_of(KEYS[kind]())
    assert spki_pin(certificate) == expected_pin(certificate)


@pytest.mark.parametrize("names", [0, 1, 5, 20, 5000])  # lengths of one, two, three and four octets
def test_pin_is_found_in_certificates_of_every_size(names: int) -> None:
    certificate = certificate_of(ec.generate_private_key(ec.SECP256R1()), names=names, serial=names * 2**100 + 1)
    assert spki_pin(certificate) == expected_pin(certificate)


def test_pin_stays_when_a_certificate_is_renewed_with_the_same_key() -> None:
    key = KEYS["P-256"]()
    one, other = certificate_of(key), certificate_of(key)
    assert one != other
    assert spki_pin(one) == spki_pin(other)


def test_pin_of_a_certificate_of_version_1_which_says_no_version() -> None:
    key = element(0x30, element(0x30, b"\x06\x03\x2b\x65\x70") + element(0x03, b"\0" + bytes(32)))
    name, algorithm = element(0x30, b""), element(0x30, b"\x06\x03\x2b\x65\x70")
    time = element(0x17, b"260101000000Z")
    body = element(0x02, b"\1") + algorithm + name + element(0x30, time + time) + name + key
    certificate = element(0x30, element(0x30, body) + algorithm + element(0x03, b"\0" + bytes(64)))
    assert x509.load_der_x509_certificate(certificate).version == x509.Version.v1
    assert spki_pin(certificate) == "sha256/" + base64.b64encode(hashlib.sha256(key).digest()).decode("ascii")


@pytest.mark.parametrize(
    "certificate",
    [
        b"",
        b"\x30",
        b"\x30\x00",
        b"\x30\x80\x00\x00",
        b"\x30\x81\x05\x30\x03\x02\x01\x00",  # a length that a shorter form would do for
        b"\x30\x82\x00\x80" + bytes(128),
        b"\x30\xff" + bytes(200),
        b"\x30\x84\xff\xff\xff\xff\x30",
        b"\x31\x02\x30\x00",
        b"-----BEGIN CERTIFICATE-----",
    ],
)
def test_bytes_that_are_no_certificate_are_refused(certificate: bytes) -> None:
    with pytest.raises(ValueError, match="it is no certificate"):
        spki_pin(certificate)


def test_certificate_that_is_cut_off_anywhere_is_refused(sample: bytes) -> None:
    for end in range(len(sample)):
        with pytest.raises(ValueError, match="it is no certificate"):
            spki_pin(sample[:end])


def test_bytes_behind_a_certificate_are_refused(sample: bytes) -> None:
    with pytest.raises(ValueError, match="bytes follow the certificate"):
        spki_pin(sample + b"\0")


def test_certificate_with_any_byte_changed_has_its_own_pin_or_none(sample: bytes) -> None:
    for position in range(len(sample)):
        changed = sample[:position] + bytes([sample[position] ^ 0xFF]) + sample[position + 1 :]
        try:
            pin = spki_pin(changed)
        except ValueError:
            continue
        assert len(base64.b64decode(pin.removeprefix("sha256/"))) == 32


# Forms

DIGEST = hashlib.sha256(b"key").digest()
PIN = "sha256/" + base64.b64encode(DIGEST).decode("ascii")
SLASHED = "sha256/" + "/" * 42 + "8="  # whose Base64 begins with a slash: all bits set


@pytest.mark.parametrize("prefix", ["", "sha256/", "sha256//"])
@pytest.mark.parametrize("pin", [PIN, SLASHED])
def test_every_form_of_a_pin_means_the_same(prefix: str, pin: str) -> None:
    assert parse_pin(prefix + pin.removeprefix("sha256/")) == pin


@pytest.mark.parametrize(
    "pin, complaint",
    [
        ("", "is not the Base64"),
        ("sha256/", "is not the Base64"),
        ("sha256//", "is not the Base64"),
        (PIN + ";" + PIN, "is not the Base64"),
        (PIN.replace("sha256", "sha1"), "is not the Base64"),
        (PIN.replace("sha256/", "sha256///"), "is not the Base64"),
        (PIN.replace("sha256", "SHA256"), "is not the Base64"),
        (PIN[:-1], "is not the Base64"),
        (PIN + "\n", "is not the Base64"),
        ("/" + PIN.removeprefix("sha256/"), "is not the Base64"),
        ("ä" * 44, "is not the Base64"),
        (DIGEST.hex(), "is not the Base64"),
        (base64.b64encode(DIGEST[:20]).decode("ascii"), "is not the Base64"),
        (base64.urlsafe_b64encode(b"\xff" * 32).decode("ascii"), "is not the Base64"),
        ("A" * 42 + "B=", "its last character has bits that stand for nothing"),
    ],
)
def test_malformed_pin_is_refused(pin: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_pin(pin)
    with pytest.raises(ValueError, match=complaint):
        SSLConfig(pins=(pin,))


def test_pins_of_a_config_are_a_sorted_tuple_of_one_form_each_once() -> None:
    bare = PIN.removeprefix("sha256/")
    for pins in (
        (SLASHED, PIN),
        [PIN, SLASHED],
        {PIN, SLASHED},
        (pin for pin in (SLASHED, PIN, bare)),
        (bare, SLASHED),
    ):
        config = SSLConfig(pins=pins)  # type: ignore[arg-type]
        assert config.pins == tuple(sorted([PIN, SLASHED]))
        assert config == SSLConfig(pins=(PIN, SLASHED)) and hash(config) == hash(SSLConfig(pins=(PIN, SLASHED)))
    assert SSLConfig().pins == SSLConfig(pins=()).pins == ()
    assert SSLConfig(pins=(PIN,)) != SSLConfig() != SSLConfig(pins=(SLASHED,))
    assert repr(SSLConfig(pins=(PIN,))) == f"SSLConfig(cert=None, verify=True, pins=('{PIN}',))"


@pytest.mark.parametrize("pins", [PIN, PIN.encode(), 5, None, (None,), (DIGEST,)])
def test_pins_of_another_type_are_refused(pins: object) -> None:
    with pytest.raises(TypeError, match=r"pins takes an iterable of str, not|a pin is a str, not"):
        SSLConfig(pins=pins)  # type: ignore[arg-type]


# What is checked


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, *, rounds: int = 3) -> ssl.SSLObject:
    """Shakes hands in memory, and returns the client's side."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(incoming, outgoing, server_hostname="localhost"),
        server.wrap_bio(outgoing, incoming, server_side=True),
    ]
    for _ in range(rounds):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
    return ends[0]


def test_key_that_was_pinned_passes_and_another_one_is_named(tls: TLSFiles) -> None:
    connection = handshake(tls.server_context, tls.client_context)
    pin = expected_pin(x509.load_pem_x509_certificate(tls.cert_path.read_bytes()).public_bytes(Encoding.DER))
    check_pins((), connection)
    check_pins((PIN, pin), connection)
    with pytest.raises(ConnectError) as caught:
        check_pins((PIN, SLASHED), connection)
    assert str(caught.value) == f"the server's key is none of those that were pinned: its pin is {pin}"


def test_connection_that_has_no_certificate_yet_or_ever_is_refused(tls: TLSFiles) -> None:
    unfinished = handshake(tls.server_context, tls.client_context, rounds=0)
    for connection in (None, unfinished):
        check_pins((), connection)
        with pytest.raises(ConnectError, match=r"there is no certificate|handshake not done yet"):
            check_pins((PIN,), connection)


def test_certificate_that_cannot_be_read_is_refused(tls: TLSFiles) -> None:
    class Odd(ssl.SSLObject):
        def getpeercert(self, binary_form: bool = False) -> bytes:  # type: ignore[override]
            return b"0"

    client = tls.client_context
    client.sslobject_class = Odd
    with pytest.raises(ConnectError, match="cannot be checked against the pins: it is no certificate"):
        check_pins((PIN,), handshake(tls.server_context, client))


def test_server_that_shows_no_certificate_is_refused() -> None:
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    for context in (server, client):
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("aNULL:@SECLEVEL=0")
    connection = handshake(server, client)
    assert connection.version() == "TLSv1.2"
    with pytest.raises(ConnectError, match="there is no certificate"):
        check_pins((PIN,), connection)


# Over real sockets


def pin_of(certificate: trustme.LeafCert) -> str:
    return expected_pin(ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode("ascii")))


@pytest.mark.parametrize("verified", [True, False])
@pytest.mark.parametrize("key_type", [trustme.KeyType.ECDSA, trustme.KeyType.RSA])
async def test_request_goes_to_the_pinned_key_alone(tls: TLSFiles, verified: bool, key_type: trustme.KeyType) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate = tls.authority.issue_cert("localhost", key_type=key_type)
    certificate.configure_cert(context)
    verify: bool | Path = tls.ca_path if verified else False
    async with listening(ssl_context=context) as listener, ConnectionPool() as pool:
        url = listener.url("localhost")
        right = SSLConfig(verify=verify, pins=(PIN, pin_of(certificate)))
        assert (await pool.request("GET", url, ssl=right)).body == b"hello"
        with pytest.raises(ConnectError, match="the server's key is none of those that were pinned") as caught:
            await pool.request("GET", url, ssl=SSLConfig(verify=verify, pins=(PIN,)))
        assert f"its pin is {pin_of(certificate)}" in str(caught.value)
        assert (caught.value.host, caught.value.port) == ("localhost", listener.port)
        assert not caught.value.request_sent
        assert len(listener.asked) == 1  # of the other, not one byte of HTTP came
        assert pool.num_connections == 1


async def test_pin_of_the_authority_does_not_count(tls: TLSFiles) -> None:
    authority = ssl.PEM_cert_to_DER_cert(tls.ca_path.read_text())
    async with (
        listening(ssl_context=tls.server_context) as listener,
        ConnectionPool(SSLConfig(verify=tls.ca_path, pins=(spki_pin(authority),))) as pool,
    ):
        with pytest.raises(ConnectError, match="none of those that were pinned"):
            await pool.request("GET", listener.url("localhost"))


async def test_pins_hold_for_a_ready_context(tls: TLSFiles) -> None:
    async with (
        listening(ssl_context=tls.server_context) as listener,
        ConnectionPool(SSLConfig(verify=tls.client_context, pins=(PIN,))) as pool,
    ):
        with pytest.raises(ConnectError, match="none of those that were pinned"):
            await pool.request("GET", listener.url("localhost"))

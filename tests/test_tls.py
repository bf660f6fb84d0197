"""TLS: whom a configuration trusts, what is verified, and what is said when it fails. Over real sockets."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
from cryptography import x509

from httpcore import (
    URL,
    ConnectError,
    ConnectionPool,
    HTTPCoreError,
    ReadError,
    SSLConfig,
)
from httpcore import (
    tls as httpcore_tls,
)
from httpcore.config import SSLTypes
from httpcore.tls import ContextCache, create_context, describe_tls_error
from tests.conftest import TLSFiles
from tests.h11_server import H11Server, listening
from tests.pool.version_server import version_server

HTTP11 = ("http/1.1",)
BOTH = ("h2", "http/1.1")


async def ask(url: URL, config: SSLTypes) -> bytes:
    async with ConnectionPool(config) as pool:
        return (await pool.request("GET", url)).body


async def refusal(url: URL, config: SSLTypes) -> str:
    """Asks, is refused, and returns the message; nothing is left open."""
    async with ConnectionPool(config) as pool:
        with pytest.raises(ConnectError) as caught:
            await pool.request("GET", url)
        assert pool.num_connections == 0
    assert caught.value.host == url.host and caught.value.port == url.port
    assert not caught.value.request_sent
    assert isinstance(caught.value.__cause__, OSError)
    return str(caught.value)


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@contextmanager
def blocking_server(context: ssl.SSLContext) -> Iterator[int]:
    """Shakes hands once, in a thread, and hangs up; gives its port. asyncio's servers send no alert, this one does."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        sock, _ = listener.accept()
        with context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False) as tls_sock:
            try:
                tls_sock.do_handshake()
            except OSError:  # refused, by either side
                # Closed with bytes unread, it would reset the connection, and the alert might be lost.
                tls_sock.shutdown(socket.SHUT_WR)
                while socket.socket.recv(tls_sock, 65536):
                    pass

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        thread.join()
        listener.close()


# Whom a configuration trusts


async def test_authority_in_a_file_is_trusted(tls: TLSFiles) -> None:
    async with listening(ssl_context=tls.server_context) as listener:
        for path in (tls.ca_path, str(tls.ca_path)):
            assert await ask(listener.url("localhost"), SSLConfig(verify=path)) == b"hello"


def hashed_name(certificate: x509.Certificate) -> str:
    """Returns the name under which OpenSSL looks for an authority: X509_NAME_hash, as `openssl rehash` would."""
    canonical = b"".join(
        x509.Name([x509.NameAttribute(attribute.oid, " ".join(str(attribute.value).lower().split()))]).public_bytes()[
            2:
        ]
        for attribute in certificate.subject
    )
    # The canonical form is the sequence's content alone, each name in lower case.
    return f"{int.from_bytes(hashlib.sha1(canonical).digest()[:4], 'little'):08x}.0"


async def test_authority_in_a_hashed_folder_is_trusted(tls: TLSFiles, tmp_path: Path) -> None:
    pem = tls.ca_path.read_bytes()
    (tmp_path / hashed_name(x509.load_pem_x509_certificate(pem))).write_bytes(pem)
    async with listening(ssl_context=tls.server_context) as listener:
        assert await ask(listener.url("localhost"), SSLConfig(verify=tmp_path)) == b"hello"


async def test_empty_folder_trusts_nobody(tls: TLSFiles, tmp_path: Path) -> None:
    async with listening(ssl_context=tls.server_context) as listener:
        message = await refusal(listener.url("localhost"), SSLConfig(verify=tmp_path))
        assert "the server's certificate was refused: unable to get local issuer certificate" in message


@pytest.mark.parametrize("config", [None, SSLConfig(), SSLConfig(verify=True)])
async def test_authority_unknown_to_certifi_is_refused_by_default(tls: TLSFiles, config: SSLConfig | None) -> None:
    async with listening(ssl_context=tls.server_context) as listener:
        message = await refusal(listener.url("localhost"), config)
        assert "the server's certificate was refused: unable to get local issuer certificate" in message
        assert f"(localhost:{listener.port}, connecting)" in message


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_nothing_is_verified_with_verify_false(host: str) -> None:
    stranger = server_context(trustme.CA().issue_cert("elsewhere.example"))
    async with listening(ssl_context=stranger) as listener:
        assert await ask(listener.url(host), SSLConfig(verify=False)) == b"hello"


# Ready contexts


def observed(context: ssl.SSLContext) -> dict[str, object]:
    """Everything of a context that can be seen."""
    names = ["check_hostname", "verify_mode", "verify_flags", "options", "minimum_version", "maximum_version"]
    names += ["protocol", "security_level", "num_tickets", "post_handshake_auth", "keylog_filename", "sni_callback"]
    names += ["hostname_checks_common_name", "sslsocket_class", "sslobject_class"]
    seen: dict[str, object] = {name: getattr(context, name) for name in names}
    return {**seen, "ca": context.get_ca_certs(), "ciphers": context.get_ciphers(), "stats": context.cert_store_stats()}


def contexts(tls: TLSFiles) -> Iterator[ssl.SSLContext]:
    yield tls.client_context
    lax = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    lax.check_hostname = False
    lax.verify_mode = ssl.CERT_NONE
    lax.minimum_version = ssl.TLSVersion.TLSv1_2
    lax.maximum_version = ssl.TLSVersion.TLSv1_2
    lax.options |= ssl.OP_NO_TICKET
    yield lax


@pytest.mark.parametrize("wrapped", [False, True])
async def test_ready_context_is_used_as_it_is_and_not_changed(tls: TLSFiles, wrapped: bool) -> None:
    offering = tls.server_context
    offering.set_alpn_protocols(["http/1.1"])
    for context in contexts(tls):
        before = observed(context)
        async with listening(ssl_context=offering) as listener:
            assert await ask(listener.url("localhost"), SSLConfig(verify=context) if wrapped else context) == b"hello"
            assert isinstance(listener.protocols[0], H11Server)
            server_side = listener.protocols[0].transport.get_extra_info("ssl_object")
            assert server_side.selected_alpn_protocol() is None  # the client offered none
        assert observed(context) == before


async def test_alpn_of_a_ready_context_is_kept(tls: TLSFiles) -> None:
    offering, context = tls.server_context, tls.client_context
    offering.set_alpn_protocols(["http/1.1", "mine"])
    context.set_alpn_protocols(["mine"])
    async with listening(ssl_context=offering) as listener, ConnectionPool(context) as pool:
        response = await pool.request("GET", listener.url("localhost"))
        assert response.exchange is not None and response.exchange.connection_info is not None
        tls_object = response.exchange.connection_info.ssl_object
        assert tls_object is not None and tls_object.selected_alpn_protocol() == "mine"


@pytest.mark.parametrize("http2, selected", [(True, "h2"), (False, "http/1.1")])
async def test_context_of_our_own_offers_the_versions_that_may_be_spoken(
    tls: TLSFiles, http2: bool, selected: str
) -> None:
    async with version_server(tls, "h2", "http/1.1") as listener:
        async with ConnectionPool(SSLConfig(verify=tls.ca_path), http2=http2) as pool:
            response = await pool.request("GET", listener.url("localhost"))
        assert response.exchange is not None and response.exchange.connection_info is not None
        tls_object = response.exchange.connection_info.ssl_object
        assert tls_object is not None and tls_object.selected_alpn_protocol() == selected
        assert tls_object.server_hostname == "localhost"


# Client certificates


@pytest.fixture
def demanding(tls: TLSFiles) -> ssl.SSLContext:
    """A server's context that wants a client certificate."""
    context = tls.server_context
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(tls.ca_path)
    return context


@pytest.fixture
def client_files(tls: TLSFiles, tmp_path: Path) -> tuple[Path, Path, Path, Path]:
    """Both in one file; the certificate; its key; its key under a password."""
    from cryptography.hazmat.primitives import serialization

    certificate = tls.authority.issue_cert("client@example.org")
    both, cert, key, locked = (tmp_path / name for name in ("both.pem", "cert.pem", "key.pem", "locked.pem"))
    certificate.private_key_and_cert_chain_pem.write_to_path(str(both))
    certificate.cert_chain_pems[0].write_to_path(str(cert))
    certificate.private_key_pem.write_to_path(str(key))
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    locked.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"hunter2"),
        )
    )
    return both, cert, key, locked


async def test_client_certificate_is_sent_in_each_of_its_forms(
    tls: TLSFiles, demanding: ssl.SSLContext, client_files: tuple[Path, Path, Path, Path]
) -> None:
    both, cert, key, locked = client_files
    async with listening(ssl_context=demanding) as listener:
        for own in (
            both,
            str(both),
            (cert, key),
            (str(cert), str(key)),
            (cert, locked, "hunter2"),
            (cert, key, "unused"),
        ):
            assert await ask(listener.url("localhost"), SSLConfig(own, verify=tls.ca_path)) == b"hello"
        for protocol in listener.protocols:
            assert isinstance(protocol, H11Server)
            subject = protocol.transport.get_extra_info("peercert")["subjectAltName"]
            assert subject == (("email", "client@example.org"),)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_server_that_gets_no_client_certificate_refuses(
    tls: TLSFiles, demanding: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    demanding.maximum_version = version
    with blocking_server(demanding) as port:
        async with ConnectionPool(SSLConfig(verify=tls.ca_path)) as pool:
            with pytest.raises(HTTPCoreError) as caught:
                await pool.request("GET", f"https://localhost:{port}/")
    if version == ssl.TLSVersion.TLSv1_2:
        assert isinstance(caught.value, ConnectError)
        assert "the TLS handshake failed: " in str(caught.value)
    else:  # in TLS 1.3 the client's handshake is over before the server has looked at the certificate
        assert isinstance(caught.value, ReadError)
        assert "CERTIFICATE_REQUIRED" in str(caught.value)


async def test_wrong_password_of_a_key_is_an_error_that_does_not_show_it(
    tls: TLSFiles, client_files: tuple[Path, Path, Path, Path]
) -> None:
    _, cert, _, locked = client_files
    message = await refusal(URL("https://localhost:1/"), SSLConfig((cert, locked, "swordfish"), verify=tls.ca_path))
    assert "the TLS configuration cannot be loaded" in message
    assert "swordfish" not in message and "[secret]" in message


async def test_missing_password_of_a_key_is_an_error_and_never_asked_for(
    tls: TLSFiles, client_files: tuple[Path, Path, Path, Path]
) -> None:
    _, cert, _, locked = client_files
    message = await refusal(URL("https://localhost:1/"), SSLConfig((cert, locked), verify=tls.ca_path))
    assert "the TLS configuration cannot be loaded" in message


# What is verified


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_address_in_the_certificate_is_right(tls: TLSFiles, host: str) -> None:
    async with listening(ssl_context=tls.server_context, host=host) as listener:
        assert await ask(listener.url(host), SSLConfig(verify=tls.ca_path)) == b"hello"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_address_that_is_not_in_the_certificate_is_refused(tls: TLSFiles, host: str) -> None:
    other = server_context(tls.authority.issue_cert("localhost", "127.0.0.2"))
    async with listening(ssl_context=other, host=host) as listener:
        message = await refusal(listener.url(host), SSLConfig(verify=tls.ca_path))
        assert f"IP address mismatch, certificate is not valid for '{host}'" in message


async def test_name_that_is_not_in_the_certificate_is_refused(tls: TLSFiles) -> None:
    other = server_context(tls.authority.issue_cert("elsewhere.example", "127.0.0.1"))
    async with listening(ssl_context=other) as listener:
        message = await refusal(listener.url("localhost"), SSLConfig(verify=tls.ca_path))
        assert "Hostname mismatch, certificate is not valid for 'localhost'" in message


async def test_final_dot_is_not_part_of_the_name(tls: TLSFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    real = loop.getaddrinfo
    monkeypatch.setattr(loop, "getaddrinfo", lambda host, port, **options: real(host.rstrip("."), port, **options))
    async with listening(ssl_context=tls.server_context) as listener:
        assert await ask(listener.url("localhost."), SSLConfig(verify=tls.ca_path)) == b"hello"


async def test_certificate_that_has_expired_is_refused(tls: TLSFiles) -> None:
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    expired = tls.authority.issue_cert("localhost", not_before=yesterday - datetime.timedelta(1), not_after=yesterday)
    async with listening(ssl_context=server_context(expired)) as listener:
        message = await refusal(listener.url("localhost"), SSLConfig(verify=tls.ca_path))
        assert "the server's certificate was refused: certificate has expired" in message


async def test_certificate_that_signed_itself_is_refused(tls: TLSFiles, tmp_path: Path) -> None:
    authority = trustme.CA()
    path = tmp_path / "self.pem"
    path.write_bytes(authority.cert_pem.bytes() + authority.private_key_pem.bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    async with listening(ssl_context=context) as listener:
        message = await refusal(listener.url("localhost"), SSLConfig(verify=tls.ca_path))
        assert "the server's certificate was refused: self" in message and "signed certificate" in message


@pytest.mark.parametrize("verified", [True, False])
async def test_tls_before_1_2_is_refused(tls: TLSFiles, verified: bool) -> None:
    context = tls.server_context
    with pytest.warns(DeprecationWarning, match="TLSv1 is deprecated"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with blocking_server(context) as port:
        message = await refusal(URL(f"https://localhost:{port}/"), SSLConfig(verify=tls.ca_path if verified else False))
    assert "the TLS handshake failed: " in message and "VERSION" in message


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_1_2_and_newer_are_spoken(tls: TLSFiles, version: ssl.TLSVersion) -> None:
    context = tls.server_context
    context.minimum_version = context.maximum_version = version
    async with listening(ssl_context=context) as listener:
        assert await ask(listener.url("localhost"), SSLConfig(verify=tls.ca_path)) == b"hello"


@pytest.mark.parametrize("verify", [True, False])
def test_contexts_of_our_own_have_a_floor_and_verify_unless_told_otherwise(verify: bool) -> None:
    context = create_context(SSLConfig(verify=verify), HTTP11)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.check_hostname is verify
    assert context.verify_mode == (ssl.CERT_REQUIRED if verify else ssl.CERT_NONE)


# What else goes wrong


async def test_tls_to_a_port_that_speaks_http_is_a_connect_error() -> None:
    async with listening() as listener:
        url = URL(f"https://127.0.0.1:{listener.port}/")
        assert "the TLS handshake failed: " in await refusal(url, None)


async def test_server_that_hangs_up_in_the_handshake_is_a_connect_error() -> None:
    class Rude(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            transport.close()

    async with listening(Rude) as listener:
        url = URL(f"https://127.0.0.1:{listener.port}/")
        assert "the connection was not made" in await refusal(url, None)


@pytest.mark.parametrize("kind", ["missing", "no certificate", "no client certificate"])
async def test_file_that_cannot_be_loaded_is_named_when_a_request_is_made(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "some.pem"
    if kind != "missing":
        path.write_text("nothing of the kind")
    config = SSLConfig(path) if kind == "no client certificate" else SSLConfig(verify=path)
    pool = ConnectionPool(config)  # which says nothing yet
    await pool.close()
    message = await refusal(URL("https://localhost:1/"), config)
    assert "the TLS configuration cannot be loaded" in message
    assert str(path) in message


async def test_plain_http_needs_no_tls_configuration(tmp_path: Path) -> None:
    async with listening() as listener:
        assert await ask(listener.url(), SSLConfig(verify=tmp_path / "missing.pem")) == b"hello"


# How often, and where, contexts are made


def test_default_context_is_made_once_for_each_list_of_protocols() -> None:
    context = create_context(SSLConfig(), HTTP11)
    assert create_context(SSLConfig(), HTTP11) is create_context(SSLConfig(cert=None, verify=True), HTTP11) is context
    assert create_context(SSLConfig(), BOTH) is create_context(SSLConfig(), BOTH) is not context
    assert create_context(SSLConfig(verify=False), HTTP11) is not create_context(SSLConfig(verify=False), HTTP11)


@pytest.mark.parametrize("protocols", [HTTP11, BOTH])
def test_ready_context_is_returned_as_it_is(protocols: tuple[str, ...]) -> None:
    context = ssl.create_default_context()
    assert create_context(SSLConfig(verify=context), protocols) is context


async def test_default_context_is_shared_by_all_pools_and_other_ones_are_a_pools_own(tls: TLSFiles) -> None:
    one, other = ContextCache(), ContextCache()
    for protocols in (HTTP11, BOTH):
        shared = create_context(SSLConfig(), protocols)
        assert await one.load(SSLConfig(), protocols) is await other.load(SSLConfig(), protocols) is shared
    config = SSLConfig(verify=tls.ca_path)
    assert await one.load(config, BOTH) is await one.load(SSLConfig(verify=tls.ca_path), BOTH)
    assert await one.load(config, BOTH) is not await other.load(config, BOTH)
    assert await one.load(config, BOTH) is not await one.load(config, HTTP11)


async def test_context_that_many_ask_for_at_once_is_made_once(tls: TLSFiles) -> None:
    cache, config = ContextCache(), SSLConfig(verify=tls.ca_path)
    contexts = await asyncio.gather(*(cache.load(config, BOTH) for _ in range(8)))
    assert len(set(map(id, contexts))) == 1


async def test_context_is_made_off_the_loops_thread_and_once_for_many_requests(
    tls: TLSFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []
    real: Callable[..., ssl.SSLContext] = ssl.create_default_context

    def watched(*args: object, **options: object) -> ssl.SSLContext:
        threads.append(threading.current_thread())
        return real(*args, **options)

    monkeypatch.setattr(ssl, "create_default_context", watched)
    async with (
        listening(ssl_context=tls.server_context) as listener,
        ConnectionPool(SSLConfig(verify=tls.ca_path)) as pool,
    ):
        await asyncio.gather(*(pool.request("GET", listener.url("localhost")) for _ in range(5)))
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()


def test_default_context_is_made_once_by_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[ssl.SSLContext] = []
    httpcore_tls._default_context_once.cache_clear()
    threads = [threading.Thread(target=lambda: made.append(create_context(SSLConfig(), BOTH))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8 and len(set(map(id, made))) == 1


# Texts


@pytest.mark.parametrize(
    "error, text",
    [
        (ssl.SSLError("made by hand"), "the TLS handshake failed: ('made by hand',)"),
        (ssl.SSLError(1, "words"), "the TLS handshake failed: words"),
        (ConnectionResetError(104, "reset by peer"), "the TLS handshake failed: reset by peer"),
        (ConnectionResetError(), "the TLS handshake failed: ConnectionResetError"),
        (ssl.SSLCertVerificationError("made by hand"), "the server's certificate was refused: ('made by hand',)"),
    ],
)
def test_every_error_of_a_handshake_has_words(error: OSError, text: str) -> None:
    assert describe_tls_error(error) == text

"""What an SSLConfig says beyond certificate and authorities: the server's name, whose store; and what comes of it."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import ssl
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import trustme
import truststore
import uvloop

from httpcore import ConnectError, ConnectionPool, ReadError, Request, Response, SSLConfig
from httpcore import tls as httpcore_tls
from httpcore.handlers import TLSInfo
from httpcore.tls import ContextCache, create_context
from tests.conftest import TLSFiles
from tests.h11_server import Answer, Asked, H11Server, listening, memory_pool
from tests.protocols.recording import Recorder
from tests.test_tls import blocking_server
from tests.test_tls_sessions import run

ALPN = ("http/1.1",)
PIN = "sha256/" + "A" * 43 + "="


def negotiated(response: Response) -> TLSInfo:
    assert response.exchange is not None and response.exchange.connection_info is not None
    info = response.exchange.connection_info.tls
    assert info is not None
    return info


# The server's name: values


@pytest.mark.parametrize(
    "given, stored",
    [
        ("example.org", "example.org"),
        ("Example.ORG", "example.org"),
        ("localhost", "localhost"),
        ("_service.example.org", "_service.example.org"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("faß.de", "xn--fa-hia.de"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        (None, None),
    ],
)
def test_server_hostname_is_stored_as_urls_store_hosts(given: str | None, stored: str | None) -> None:
    config = SSLConfig(server_hostname=given)
    assert config.server_hostname == stored
    assert config == SSLConfig(server_hostname=stored) and hash(config) == hash(SSLConfig(server_hostname=stored))
    assert dataclasses.replace(config) == config


@pytest.mark.parametrize(
    "name, complaint",
    [
        ("", "the URL has no host"),
        (" ", "contains ' '"),
        ("example.org ", "contains ' '"),
        ("exam ple.org", "contains ' '"),
        ("example.org.", "ends in a dot"),
        ("例え。", "ends in a dot"),
        ("example..org", "has an empty label"),
        (".", "has an empty label|ends in a dot"),
        ("example.org:443", "a name or an IP address and nothing more"),
        ("[::1]", "a name or an IP address and nothing more"),
        ("fe80::1%eth0", "a name or an IP address and nothing more"),
        ("user@example.org", "a name or an IP address and nothing more"),
        ("example.org/path", "a name or an IP address and nothing more"),
        ("example.org?", "a name or an IP address and nothing more"),
        ("example.org#", "a name or an IP address and nothing more"),
        ("example\\.org", "a name or an IP address and nothing more"),
        ("exam%70le.org", "contains '%'"),
        ("example\0.org", "control character"),
        ("example\r\n.org", "control character"),
        ("*.example.org", r"contains '\*'"),
        ("127.1", "ends in a number"),
        ("0x7f.0.0.1", "ends in a number"),
        ("a" * 64 + ".org", "more than 63 characters"),
        ("a." * 127 + "org", "longer than 253 characters"),
        ("\ud800.org", "not a valid internationalised name"),
    ],
)
def test_server_hostname_that_is_none_is_refused(name: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        SSLConfig(server_hostname=name)
    assert str(caught.value).startswith("server_hostname")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", [b"example.org", 1, ("example.org",)])
def test_server_hostname_of_another_type_is_refused(name: object) -> None:
    with pytest.raises(TypeError, match="server_hostname takes a str or None, not"):
        SSLConfig(server_hostname=name)  # type: ignore[arg-type]


def test_what_is_new_is_given_by_name_alone() -> None:
    with pytest.raises(TypeError, match="positional"):
        SSLConfig(None, True, "example.org")  # type: ignore[call-arg]


def test_configs_that_differ_in_one_part_are_different_keys() -> None:
    configs = [
        SSLConfig(),
        SSLConfig(server_hostname="example.org"),
        SSLConfig(server_hostname="example.com"),
        SSLConfig(pins=(PIN,)),
        SSLConfig(trust_store="system"),
        SSLConfig(verify=False, pins=(PIN,)),
    ]
    assert len(set(configs)) == len(configs)


def test_repr_shows_what_was_set() -> None:
    assert repr(SSLConfig(("c", "k", "hunter2"), server_hostname="example.org", pins=(PIN,), trust_store="system")) == (
        "SSLConfig(cert=('c', 'k', '[secret]'), verify=True, server_hostname='example.org', "
        f"pins=('{PIN}',), trust_store='system')"
    )


# The server's name: over real sockets


def named(tls: TLSFiles, *names: str) -> tuple[ssl.SSLContext, list[str | None]]:
    """A server's context with a certificate for these names, and the names that clients asked for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.authority.issue_cert(*names).configure_cert(context)
    asked: list[str | None] = []
    context.sni_callback = lambda connection, name, context: asked.append(name)
    return context, asked


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_name_that_is_set_is_asked_for_and_verified_in_place_of_the_host(tls: TLSFiles, host: str) -> None:
    context, asked = named(tls, "inner.example")
    async with listening(ssl_context=context) as listener:
        config = SSLConfig(verify=tls.ca_path, server_hostname="Inner.Example")
        async with ConnectionPool(config) as pool:
            response = await pool.request("GET", listener.url(host))
        assert response.body == b"hello"
        assert asked == ["inner.example"]
        assert negotiated(response).server_hostname == "inner.example"
        # What is asked of the server over HTTP is for the URL's host.
        assert listener.asked[0].get(b"host") == listener.url(host).host_header


async def test_certificate_of_the_host_is_refused_where_another_name_is_set(tls: TLSFiles) -> None:
    async with (
        listening(ssl_context=tls.server_context) as listener,
        ConnectionPool(SSLConfig(verify=tls.ca_path, server_hostname="inner.example")) as pool,
    ):
        with pytest.raises(ConnectError, match=r"certificate is not valid for 'inner\.example'"):
            await pool.request("GET", listener.url("localhost"))


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
async def test_address_that_is_set_is_verified_and_not_asked_for(tls: TLSFiles, address: str) -> None:
    context, asked = named(tls, address)
    async with listening(ssl_context=context) as listener:
        async with ConnectionPool(SSLConfig(verify=tls.ca_path, server_hostname=address)) as pool:
            assert (await pool.request("GET", listener.url("localhost"))).body == b"hello"
        assert asked == [None]
        async with ConnectionPool(SSLConfig(verify=tls.ca_path, server_hostname="192.0.2.2")) as pool:
            with pytest.raises(ConnectError, match="IP address mismatch"):
                await pool.request("GET", listener.url("localhost"))


async def test_name_is_asked_for_where_nothing_is_verified(tls: TLSFiles) -> None:
    context, asked = named(tls, "else.example")
    async with listening(ssl_context=context) as listener:
        async with ConnectionPool(SSLConfig(verify=False, server_hostname="inner.example")) as pool:
            assert (await pool.request("GET", listener.url("localhost"))).body == b"hello"
        assert asked == ["inner.example"]


async def test_name_that_is_set_holds_for_a_ready_context(tls: TLSFiles) -> None:
    context, asked = named(tls, "inner.example")
    async with listening(ssl_context=context) as listener:
        async with ConnectionPool(SSLConfig(verify=tls.client_context, server_hostname="inner.example")) as pool:
            assert (await pool.request("GET", listener.url("localhost"))).body == b"hello"
        assert asked == ["inner.example"]


async def test_connection_verified_for_one_name_carries_no_request_for_another(tls: TLSFiles) -> None:
    context, asked = named(tls, "localhost", "one.example", "two.example")
    names = [None, "one.example", "two.example"]
    async with listening(ssl_context=context) as listener, ConnectionPool() as pool:
        for _ in range(2):
            for name in names:
                config = SSLConfig(verify=tls.ca_path, server_hostname=name)
                await pool.request("GET", listener.url("localhost"), ssl=config)
        assert asked == ["localhost", "one.example", "two.example"]
        assert len(listener.protocols) == pool.num_connections == 3


# Whose store


@pytest.mark.parametrize("verify", [False, "ca.pem", Path("ca.pem"), ssl.create_default_context()])
def test_system_store_beside_another_authority_is_refused(verify: bool | str | Path | ssl.SSLContext) -> None:
    with pytest.raises(ValueError, match="trust_store='system' is for verify=True"):
        SSLConfig(verify=verify, trust_store="system")
    assert SSLConfig(verify=verify, trust_store="certifi") == SSLConfig(verify=verify)


@pytest.mark.parametrize("store", ["System", "", None, True])
def test_store_that_is_neither_is_refused(store: object) -> None:
    with pytest.raises(ValueError, match="trust_store must be 'certifi' or 'system', not"):
        SSLConfig(trust_store=store)  # type: ignore[arg-type]


def test_system_store_without_its_extra_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "truststore", None)
    with pytest.raises(ImportError, match=r"pip install httpcore\[system-certs\]"):
        SSLConfig(trust_store="system")
    assert SSLConfig(trust_store="certifi") == SSLConfig()


@pytest.fixture(params=["OpenSSL's file", "truststore"])
def system_store(request: pytest.FixtureRequest, tls: TLSFiles, monkeypatch: pytest.MonkeyPatch) -> str:
    """A system that trusts the authority of `tls`, in the two ways there are. On Linux truststore can do both."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.ca_path))
    if request.param == "truststore":
        monkeypatch.setattr(httpcore_tls, "sys", SimpleNamespace(platform="darwin", flags=sys.flags))
    return str(request.param)


@pytest.mark.usefixtures("system_store")
async def test_system_store_is_trusted_and_certifi_s_is_not(tls: TLSFiles) -> None:
    async with (
        listening(ssl_context=tls.server_context) as listener,
        ConnectionPool(SSLConfig(trust_store="system")) as pool,
    ):
        assert (await pool.request("GET", listener.url("localhost"))).body == b"hello"
        with pytest.raises(ConnectError, match="the server's certificate was refused"):
            await pool.request("GET", listener.url("localhost"), ssl=SSLConfig(trust_store="certifi"))


@pytest.mark.usefixtures("system_store")
async def test_system_store_refuses_strangers_and_other_names(tls: TLSFiles) -> None:
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(stranger)
    other, _ = named(tls, "other.example")
    for context, complaint in (
        (stranger, "unable to get local issuer certificate"),
        (other, "certificate is not valid for 'localhost'"),
    ):
        async with (
            listening(ssl_context=context) as listener,
            ConnectionPool(SSLConfig(trust_store="system")) as pool,
        ):
            with pytest.raises(ConnectError, match=complaint):
                await pool.request("GET", listener.url("localhost"))


@pytest.mark.usefixtures("system_store")
async def test_system_store_goes_with_a_client_certificate_and_http2(tls: TLSFiles, tmp_path: Path) -> None:
    path = tmp_path / "client.pem"
    tls.authority.issue_cert("me@example.org").private_key_and_cert_chain_pem.write_to_path(str(path))
    context = tls.server_context
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(tls.ca_path)
    context.set_alpn_protocols(["http/1.1"])
    async with listening(ssl_context=context) as listener:
        async with ConnectionPool(SSLConfig(path, trust_store="system"), http2=True) as pool:
            response = await pool.request("GET", listener.url("localhost"))
        assert response.body == b"hello" and negotiated(response).alpn_protocol == "http/1.1"


def test_system_store_has_the_floor_and_verifies(system_store: str) -> None:
    context = create_context(SSLConfig(trust_store="system"), ALPN)
    assert isinstance(context, truststore.SSLContext) is (system_store == "truststore")
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.check_hostname and context.verify_mode == ssl.CERT_REQUIRED


async def test_sessions_are_resumed_only_where_openssl_itself_verifies(tls: TLSFiles, system_store: str) -> None:
    # What is resumed brings no chain of certificates, and a system that verifies by itself would have none to look at.
    def closing(asked: Asked) -> Answer:
        return Answer(headers=[(b"connection", b"close")])

    async with (
        listening(lambda: H11Server(closing), ssl_context=tls.server_context) as listener,
        ConnectionPool(SSLConfig(trust_store="system")) as pool,
    ):
        seen = [negotiated(await pool.request("GET", listener.url("localhost"))).session_reused for _ in range(2)]
    assert seen == [False, system_store != "truststore"]
    cache, config = ContextCache(), SSLConfig(trust_store="system")
    assert (await cache.load(config, ALPN, "here") is await cache.load(config, ALPN)) == (system_store == "truststore")


def test_system_whose_file_openssl_does_not_find_leaves_that_to_truststore(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = ssl.get_default_verify_paths()._replace(cafile=None)  # type: ignore[arg-type]  # typeshed leaves None out
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: nowhere)
    assert isinstance(create_context(SSLConfig(trust_store="system"), ALPN), truststore.SSLContext)


# SSLKEYLOGFILE


@pytest.mark.parametrize("kind", ["path", "no verification", "system"])
async def test_secrets_are_written_where_the_environment_says(
    tls: TLSFiles, system_store: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(path))
    config = {
        "path": SSLConfig(verify=tls.ca_path),
        "no verification": SSLConfig(verify=False),
        "system": SSLConfig(trust_store="system"),
    }[kind]
    async with listening(ssl_context=tls.server_context) as listener, ConnectionPool(config) as pool:
        await pool.request("GET", listener.url("localhost"))
    assert "CLIENT_TRAFFIC_SECRET_0" in path.read_text()


@pytest.mark.parametrize("ignored", [True, False])
def test_environment_is_ignored_where_python_ignores_it(
    ignored: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    flags = SimpleNamespace(ignore_environment=ignored)
    monkeypatch.setattr(httpcore_tls, "sys", SimpleNamespace(platform="darwin", flags=flags))
    context = create_context(SSLConfig(trust_store="system"), ALPN)
    assert context.keylog_filename == (None if ignored else str(tmp_path / "keys"))


def test_nothing_is_written_without_the_variable(system_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSLKEYLOGFILE", raising=False)
    for config in (SSLConfig(verify=False), SSLConfig(trust_store="system")):
        assert create_context(config, ALPN).keylog_filename is None
    monkeypatch.setenv("SSLKEYLOGFILE", "")
    assert create_context(SSLConfig(trust_store="system"), ALPN).keylog_filename is None


# What was negotiated


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("end", ["open", "closed", "aborted", "closed by the server"])
def test_what_was_negotiated_is_on_the_exchange_also_after_the_end(tls: TLSFiles, version, end, loop_factory) -> None:
    def answer(asked: Asked) -> Answer:
        return Answer(headers=[(b"connection", b"close")] if end == "closed by the server" else [], body=b"hello")

    async def main() -> None:
        context = tls.server_context
        context.maximum_version = version
        context.set_alpn_protocols(["http/1.1"])
        async with (
            listening(lambda: H11Server(answer), ssl_context=context) as listener,
            ConnectionPool(SSLConfig(verify=tls.ca_path)) as pool,
        ):
            response = await pool.request("GET", listener.url("localhost"))
            if end in ("closed", "aborted"):
                await pool.close(force=end == "aborted")
            if end != "open":
                server = listener.protocols[0]
                assert isinstance(server, H11Server)
                await server.lost
            info = negotiated(response)
            assert info.version == {772: "TLSv1.3", 771: "TLSv1.2"}[version]
            assert info.cipher is not None and info.cipher.endswith(("SHA384", "SHA256", "POLY1305"))
            assert info.alpn_protocol == "http/1.1"
            assert info.server_hostname == "localhost"
            first = tls.cert_path.read_text().partition("-----END")[0] + "-----END CERTIFICATE-----\n"
            assert info.certificate == ssl.PEM_cert_to_DER_cert(first)
            assert info.session_reused is False

    run(loop_factory, main)


async def test_certificate_that_was_not_verified_is_shown_as_well(tls: TLSFiles) -> None:
    certificate = trustme.CA().issue_cert("elsewhere.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    async with listening(ssl_context=context) as listener, ConnectionPool(SSLConfig(verify=False)) as pool:
        info = negotiated(await pool.request("GET", listener.url("localhost")))
    assert info.certificate == ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode("ascii"))
    assert info.alpn_protocol is None


async def test_without_tls_there_is_nothing_negotiated() -> None:
    async with memory_pool() as (pool, _):
        response = await pool.request("GET", "http://example.org/")
        assert response.exchange is not None and response.exchange.connection_info is not None
        assert response.exchange.connection_info.tls is None


@pytest.mark.parametrize("tls_object", [None, "ssl", object()])
def test_transport_whose_tls_is_not_python_s_tells_nothing(tls_object: object) -> None:
    assert TLSInfo.of(tls_object) is None


async def test_facts_outlive_a_fatal_alert(tls: TLSFiles) -> None:
    # In TLS 1.3 the client's handshake is over before the server asks in vain for its certificate.
    context = tls.server_context
    context.verify_mode = ssl.CERT_REQUIRED
    recorder = Recorder()
    with blocking_server(context) as port:
        async with ConnectionPool(SSLConfig(verify=tls.ca_path)) as pool:
            exchange = pool.dispatch(Request("GET", f"https://localhost:{port}/"), recorder)
            await recorder.end()
    assert isinstance(recorder.error, ReadError) and "CERTIFICATE_REQUIRED" in str(recorder.error)
    assert exchange.connection_info is not None and exchange.connection_info.tls is not None
    assert exchange.connection_info.tls.version == "TLSv1.3"
    assert exchange.connection_info.tls.certificate is not None


def test_certificate_is_cut_short_in_the_repr() -> None:
    info = TLSInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", "h2", "localhost", bytes(600), False)
    assert repr(info) == (
        "TLSInfo(version='TLSv1.3', cipher='TLS_AES_256_GCM_SHA384', alpn_protocol='h2', server_hostname='localhost', "
        "certificate=600 bytes, session_reused=False)"
    )
    assert "certificate=None" in repr(info._replace(certificate=None))


# The end


async def test_close_waits_no_longer_than_it_may_for_an_answer_to_close_notify(tls: TLSFiles) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        sock, _ = listener.accept()
        with tls.server_context.wrap_socket(sock, server_side=True) as server:
            server.recv(65536)
            server.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
            try:
                while socket.socket.recv(server, 65536):  # what is encrypted, and so never answered
                    pass
            except ConnectionResetError:
                pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with listener:
        async with ConnectionPool(SSLConfig(verify=tls.ca_path)) as pool:
            url = f"https://localhost:{listener.getsockname()[1]}/"
            assert (await pool.request("GET", url)).body == b"hello"
        await asyncio.to_thread(thread.join, 20)  # asyncio's own bound is 30 seconds
    assert not thread.is_alive()

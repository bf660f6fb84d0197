"""Real proxies: squid, tinyproxy, microsocks, Dante and nghttpx; and haproxy, which tells what a PROXY header said.

Each is on loopback alone, lets its clients go to any port, and asks no name server: `localhost` and addresses it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import TLSFiles
from tests.servers import Program, require

USERNAME: Final = "user"
PASSWORD: Final = "passwd"


@dataclass(frozen=True)
class ProxyServer:
    """A port of a running proxy.

    Attributes:
        scheme: `http`, `https` or `socks5`: how to talk to it.
        host: `127.0.0.1`, or `localhost` where it is TLS.
        port: its port.
        username: who may use it; `None` if everyone may.
        password: what that user has to say; `None` if everyone may use it.
    """

    scheme: str
    host: str
    port: int
    username: str | None = None
    password: str | None = None

    @property
    def url(self) -> str:
        """Its URL, without user and password."""
        return self.url_as(self.scheme)

    @property
    def url_with_credentials(self) -> str:
        """Its URL, with user and password where it asks for them."""
        credentials = "" if self.username is None else f"{self.username}:{self.password}@"
        return f"{self.scheme}://{credentials}{self.host}:{self.port}"

    def url_as(self, scheme: str) -> str:
        """Its URL with another scheme, for a port that speaks more than one protocol."""
        return f"{scheme}://{self.host}:{self.port}"


@dataclass(frozen=True)
class Squid:
    """A running squid: one process, three ports.

    Attributes:
        open: for everyone.
        auth: asks for Basic credentials (407).
        tls: over TLS, for everyone.
        log_path: the file of its access log.
    """

    open: ProxyServer
    auth: ProxyServer
    tls: ProxyServer
    log_path: Path

    @property
    def log(self) -> list[str]:
        """A line for each request that has ended: port it came to, user, method, target, status.

        A line is there once the answer has been sent, or the tunnel closed, and that may be after the client has
        seen it.
        """
        return self.log_path.read_text().splitlines() if self.log_path.exists() else []


@dataclass(frozen=True)
class HAProxy:
    """A running haproxy, that answers each request itself and takes no connection without a PROXY header.

    The content says what the header (or the connection, where the header is LOCAL or UNKNOWN) said:
    `source address:port destination address:port`, as in `192.0.2.1:40000 198.51.100.2:443`.

    Attributes:
        host: `127.0.0.1`.
        port: without TLS.
        tls_port: with TLS after the PROXY header, and HTTP/2 for those who offer it (ALPN).
    """

    host: str
    port: int
    tls_port: int

    @property
    def url(self) -> str:
        """Its URL without TLS."""
        return f"http://{self.host}:{self.port}"

    @property
    def tls_url(self) -> str:
        """Its URL with TLS, on localhost."""
        return f"https://localhost:{self.tls_port}"


@dataclass(frozen=True)
class Lighttpd:
    """A running lighttpd, that serves the files of `web_root`.

    Attributes:
        host: `127.0.0.1`.
        port: without TLS.
        tls_port: with TLS, and HTTP/2 for those who offer it (ALPN).
    """

    host: str
    port: int
    tls_port: int

    @property
    def url(self) -> str:
        """Its URL without TLS."""
        return f"http://{self.host}:{self.port}"

    @property
    def tls_url(self) -> str:
        """Its URL with TLS, on localhost."""
        return f"https://localhost:{self.tls_port}"


def _free_ports(count: int) -> list[int]:
    # None of these programs but haproxy takes a socket that listens already. Who else asks for a port meanwhile is
    # given another one, as the kernel goes round.
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in listeners]


@contextlib.contextmanager
def _running(command: Sequence[str], *ports: int) -> Iterator[Program]:
    """Runs a program that listens on those ports."""
    program = Program(command)
    try:
        for port in ports:
            program.wait_for_port(port)
        yield program
    finally:
        program.stop()


@pytest.fixture(scope="session")
def public_folder() -> Iterator[Path]:
    """A folder that a daemon which gives up its rights can read and write: pytest's own are for one user alone."""
    with tempfile.TemporaryDirectory(prefix="httpcore-") as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder


# squid

_SQUID_CONF = """
http_port 127.0.0.1:{open} name=open
http_port 127.0.0.1:{auth} name=auth
https_port 127.0.0.1:{tls} name=tls tls-cert={folder}/squid-cert.pem tls-key={folder}/squid-key.pem
auth_param basic program {helper} {folder}/squid-passwords
auth_param basic children 1 startup=1
auth_param basic realm squid
acl port_with_auth myportname auth
acl credentials proxy_auth REQUIRED
http_access allow !port_with_auth
http_access allow credentials
http_access deny all
cache deny all
cache_mem 0
logformat test %>lp %un %rm %ru %>Hs
strip_query_terms off
access_log stdio:{folder}/squid-access.log test
cache_store_log none
cache_log /dev/null
pid_filename none
coredump_dir {folder}
netdb_filename none
pinger_enable off
max_filedescriptors 1024
# It drops a client that sends so much faster than the origin takes it that this fills; by default it is 512 KB.
client_request_buffer_max_size 64 MB
visible_hostname squid.test
dns_nameservers 127.0.0.1
dns_timeout 1 second
shutdown_lifetime 0 seconds
"""


def _squid_helper() -> str:
    for folder in "/usr/lib/squid", "/usr/lib64/squid", "/usr/libexec/squid", "/usr/local/libexec/squid":
        if (helper := shutil.which("basic_ncsa_auth", path=folder)) is not None:
            return helper
    return require("basic_ncsa_auth")


@pytest.fixture(scope="session")
def squid(public_folder: Path, tls: TLSFiles) -> Iterator[Squid]:
    """squid, a forward proxy for HTTP and CONNECT, with nothing cached."""
    binary = require("squid")
    ports = _free_ports(3)
    passwords = public_folder / "squid-passwords"
    # The plainest of the hashes its helper knows; passwords of real users deserve better.
    digest = hashlib.md5(PASSWORD.encode(), usedforsecurity=False).hexdigest()
    passwords.write_text(f"{USERNAME}:{digest}\n")
    for source, name in (tls.cert_path, "squid-cert.pem"), (tls.key_path, "squid-key.pem"):
        (public_folder / name).write_bytes(source.read_bytes())
    for path in public_folder.glob("squid-*"):
        path.chmod(0o644)
    config = public_folder / "squid.conf"
    config.write_text(
        _SQUID_CONF.format(
            folder=public_folder,
            helper=_squid_helper(),
            **dict(zip(("open", "auth", "tls"), ports, strict=True)),
        )
    )
    # A service name of its own: squid lets two of one name not run at once.
    with _running([binary, "-N", "-d", "1", "-n", f"test{os.getpid()}", "-f", str(config)], *ports):
        yield Squid(
            ProxyServer("http", "127.0.0.1", ports[0]),
            ProxyServer("http", "127.0.0.1", ports[1], USERNAME, PASSWORD),
            ProxyServer("https", "localhost", ports[2]),
            public_folder / "squid-access.log",
        )


# tinyproxy

_TINYPROXY_CONF = """
Listen 127.0.0.1
Port {port}
BasicAuth {username} {password}
Timeout 600
MaxClients 100
"""


@pytest.fixture(scope="session")
def tinyproxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyServer]:
    """tinyproxy, a forward proxy for HTTP and CONNECT, with Basic credentials; it answers HTTP/1.0 and closes."""
    binary = require("tinyproxy")
    (port,) = _free_ports(1)
    config = tmp_path_factory.mktemp("tinyproxy") / "tinyproxy.conf"
    config.write_text(_TINYPROXY_CONF.format(port=port, username=USERNAME, password=PASSWORD))
    with _running([binary, "-d", "-c", str(config)], port):
        yield ProxyServer("http", "127.0.0.1", port, USERNAME, PASSWORD)


# SOCKS


@pytest.fixture(scope="session")
def microsocks() -> Iterator[ProxyServer]:
    """microsocks: SOCKS5, for everyone."""
    binary = require("microsocks")
    (port,) = _free_ports(1)
    with _running([binary, "-i", "127.0.0.1", "-p", str(port)], port):
        yield ProxyServer("socks5", "127.0.0.1", port)


@pytest.fixture(scope="session")
def microsocks_auth() -> Iterator[ProxyServer]:
    """microsocks: SOCKS5, with a user and a password (RFC 1929)."""
    binary = require("microsocks")
    (port,) = _free_ports(1)
    with _running([binary, "-i", "127.0.0.1", "-p", str(port), "-u", USERNAME, "-P", PASSWORD], port):
        yield ProxyServer("socks5", "127.0.0.1", port, USERNAME, PASSWORD)


_DANTED_CONF = """
logoutput: stderr
internal: 127.0.0.1 port = {port}
external: lo
clientmethod: none
socksmethod: none
{users}
client pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
socks pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 protocol: tcp }}
"""


@pytest.fixture(scope="session")
def danted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyServer]:
    """Dante: SOCKS5 and SOCKS4 on one port, for everyone; by SOCKS4a it goes to 0.0.0.x, whatever the name."""
    binary = require("danted")
    (port,) = _free_ports(1)
    folder = tmp_path_factory.mktemp("danted")
    config = folder / "danted.conf"
    users = "user.privileged: root\nuser.unprivileged: nobody" if os.geteuid() == 0 else ""
    config.write_text(_DANTED_CONF.format(port=port, users=users))
    with _running([binary, "-f", str(config), "-p", str(folder / "danted.pid")], port):
        yield ProxyServer("socks5", "127.0.0.1", port)


# nghttpx


@pytest.fixture(scope="session")
def nghttpx(squid: Squid, tls: TLSFiles) -> Iterator[ProxyServer]:
    """nghttpx, over TLS: a forward proxy for HTTP and CONNECT over HTTP/2 or HTTP/1.1 (ALPN), by way of squid."""
    binary = require("nghttpx")
    (port,) = _free_ports(1)
    options = ["--conf=/dev/null", "--http2-proxy", "--workers=1", "--single-process", "--no-ocsp"]
    ends = [f"--frontend=127.0.0.1,{port}", f"--backend={squid.open.host},{squid.open.port}"]
    with _running([binary, *options, *ends, str(tls.key_path), str(tls.cert_path)], port):
        yield ProxyServer("https", "localhost", port)


# haproxy

_HAPROXY_CONF = """
defaults
    mode http
    timeout client 60s
frontend told
    bind fd@{descriptors[0]} accept-proxy
    bind fd@{descriptors[1]} accept-proxy ssl crt {pem} alpn h2,http/1.1
    http-request return status 200 content-type text/plain lf-string "%[src]:%[src_port] %[dst]:%[dst_port]"
"""


@pytest.fixture(scope="session")
def haproxy(tmp_path_factory: pytest.TempPathFactory, tls: TLSFiles) -> Iterator[HAProxy]:
    """haproxy, that tells each client which addresses the PROXY header named."""
    binary = require("haproxy")
    folder = tmp_path_factory.mktemp("haproxy")
    pem = folder / "both.pem"
    pem.write_bytes(tls.key_path.read_bytes() + tls.cert_path.read_bytes())
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    descriptors = [listener.fileno() for listener in listeners]
    config = folder / "haproxy.cfg"
    config.write_text(_HAPROXY_CONF.format(descriptors=descriptors, pem=pem))
    program = Program([binary, "-db", "-f", str(config)], pass_fds=descriptors)
    port, tls_port = (listener.getsockname()[1] for listener in listeners)
    for listener in listeners:
        listener.close()
    yield HAProxy("127.0.0.1", port, tls_port)
    program.stop()


# lighttpd

_LIGHTTPD_CONF = """
server.modules = ("mod_openssl")
server.document-root = "{root}"
server.bind = "127.0.0.1"
server.port = {port}
server.max-keep-alive-requests = 1000000
mimetype.assign = (".txt" => "text/plain", ".json" => "application/json", "" => "application/octet-stream")
$SERVER["socket"] == "127.0.0.1:{tls_port}" {{
    ssl.engine = "enable"
    ssl.pemfile = "{cert}"
    ssl.privkey = "{key}"
}}
"""


@pytest.fixture(scope="session")
def lighttpd(tmp_path_factory: pytest.TempPathFactory, tls: TLSFiles, web_root: Path) -> Iterator[Lighttpd]:
    """lighttpd, an origin with the files of `web_root`."""
    binary = require("lighttpd")
    port, tls_port = _free_ports(2)
    config = tmp_path_factory.mktemp("lighttpd") / "lighttpd.conf"
    config.write_text(
        _LIGHTTPD_CONF.format(root=web_root, port=port, tls_port=tls_port, cert=tls.cert_path, key=tls.key_path)
    )
    with _running([binary, "-D", "-f", str(config)], port, tls_port):
        yield Lighttpd("127.0.0.1", port, tls_port)

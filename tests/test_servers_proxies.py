"""The proxies of tests/servers_proxies.py do what the tests that use them take for granted. No httpcore in here."""

from __future__ import annotations

import base64
import socket
import ssl
import struct

import h2.connection
import h2.events
import pytest

from tests.conftest import TLSFiles
from tests.servers import Nginx
from tests.servers_proxies import PASSWORD, USERNAME, HAProxy, Lighttpd, ProxyServer, Squid

CREDENTIALS = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
AUTHORIZATION = f"Proxy-Authorization: Basic {CREDENTIALS}\r\n"


@pytest.fixture
def origin(nginx: Nginx) -> tuple[str, int]:
    """Where nginx answers `/` with "Hello, world", without TLS."""
    host, port = nginx.url.removeprefix("http://").split(":")
    return host, int(port)


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def connect_tls(port: int, tls: TLSFiles, *alpn: str, preface: bytes = b"") -> ssl.SSLSocket:
    """A TLS connection to localhost; `preface` goes before the handshake."""
    context = tls.client_context
    if alpn:
        context.set_alpn_protocols(alpn)
    raw = connect(port)
    raw.sendall(preface)
    return context.wrap_socket(raw, server_hostname="localhost")


def converse(sock: socket.socket, *requests: bytes | str) -> bytes:
    """Sends all of it, and returns what comes until the peer closes."""
    for data in requests:
        sock.sendall(data.encode() if isinstance(data, str) else data)
    received = b""
    while data := sock.recv(65536):
        received += data
    return received


def exactly(sock: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count:
        data = sock.recv(count - len(received))
        assert data, f"closed after {received!r}"
        received += data
    return received


def head(sock: socket.socket) -> bytes:
    received = b""
    while not received.endswith(b"\r\n\r\n"):
        received += exactly(sock, 1)
    return received


def get(target: str, fields: str = "") -> str:
    return f"GET {target} HTTP/1.1\r\nHost: origin\r\n{fields}Connection: close\r\n\r\n"


def open_tunnel(sock: socket.socket, origin: tuple[str, int], fields: str = "") -> bytes:
    target = f"{origin[0]}:{origin[1]}"
    sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{fields}\r\n".encode())
    return head(sock)


# squid and tinyproxy


def test_squid_forwards_and_tunnels(squid: Squid, origin: tuple[str, int]) -> None:
    with connect(squid.open.port) as sock:
        answer = converse(sock, get(f"http://{origin[0]}:{origin[1]}/"))
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"Hello, world")
    with connect(squid.open.port) as sock:
        assert open_tunnel(sock, origin).startswith(b"HTTP/1.1 200 ")
        assert converse(sock, get("/")).endswith(b"Hello, world")


def test_squid_asks_for_credentials_on_one_port(squid: Squid, origin: tuple[str, int]) -> None:
    with connect(squid.auth.port) as sock:
        answer = converse(sock, get(f"http://{origin[0]}:{origin[1]}/"))
        assert answer.startswith(b"HTTP/1.1 407 ")
        assert b"\r\nProxy-Authenticate: Basic " in answer
    with connect(squid.auth.port) as sock:
        assert open_tunnel(sock, origin).startswith(b"HTTP/1.1 407 ")
    with connect(squid.auth.port) as sock:
        wrong = base64.b64encode(f"{USERNAME}:wrong".encode()).decode()
        answer = open_tunnel(sock, origin, f"Proxy-Authorization: Basic {wrong}\r\n")
        assert answer.startswith(b"HTTP/1.1 407 ")
    with connect(squid.auth.port) as sock:
        answer = converse(sock, get(f"http://{origin[0]}:{origin[1]}/", AUTHORIZATION))
        assert answer.endswith(b"Hello, world")
    with connect(squid.auth.port) as sock:
        assert open_tunnel(sock, origin, AUTHORIZATION).startswith(b"HTTP/1.1 200 ")
        assert converse(sock, get("/")).endswith(b"Hello, world")


def test_squid_over_tls_forwards_and_tunnels(squid: Squid, tls: TLSFiles, origin: tuple[str, int]) -> None:
    with connect_tls(squid.tls.port, tls) as sock:
        assert converse(sock, get(f"http://{origin[0]}:{origin[1]}/")).endswith(b"Hello, world")
    with connect_tls(squid.tls.port, tls) as sock:
        assert open_tunnel(sock, origin).startswith(b"HTTP/1.1 200 ")
        assert converse(sock, get("/")).endswith(b"Hello, world")


def test_squid_answers_503_where_nothing_listens(squid: Squid) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with connect(squid.open.port) as sock:
            assert open_tunnel(sock, unused.getsockname()).startswith(b"HTTP/1.1 503 ")


def test_squid_logs_port_user_method_and_target(squid: Squid, origin: tuple[str, int]) -> None:
    target = f"http://{origin[0]}:{origin[1]}/?logged"
    with connect(squid.auth.port) as sock:
        converse(sock, get(target, AUTHORIZATION))
    # The line is written before squid, which has one thread, takes the next request.
    with connect(squid.open.port) as sock:
        converse(sock, get(target))
    assert f"{squid.auth.port} {USERNAME} GET {target} 200" in squid.log


def test_tinyproxy_forwards_and_tunnels_with_credentials(tinyproxy: ProxyServer, origin: tuple[str, int]) -> None:
    with connect(tinyproxy.port) as sock:
        answer = converse(sock, get(f"http://{origin[0]}:{origin[1]}/", AUTHORIZATION))
        assert answer.endswith(b"Hello, world")
    with connect(tinyproxy.port) as sock:
        assert open_tunnel(sock, origin, AUTHORIZATION).split()[1] == b"200"
        assert converse(sock, get("/")).endswith(b"Hello, world")
    with connect(tinyproxy.port) as sock:
        assert open_tunnel(sock, origin).split()[1] == b"407"


# SOCKS


def socks5_address(origin: tuple[str, int]) -> bytes:
    return b"\x05\x01\x00\x01" + socket.inet_aton(origin[0]) + struct.pack("!H", origin[1])


@pytest.mark.parametrize("name", ["microsocks", "danted"])
def test_socks5_tunnels_to_address_and_name(name: str, request: pytest.FixtureRequest, origin: tuple[str, int]) -> None:
    proxy: ProxyServer = request.getfixturevalue(name)
    by_name = b"\x05\x01\x00\x03\x09localhost" + struct.pack("!H", origin[1])
    for command in socks5_address(origin), by_name:
        with connect(proxy.port) as sock:
            sock.sendall(b"\x05\x01\x00")
            assert exactly(sock, 2) == b"\x05\x00"
            sock.sendall(command)
            assert exactly(sock, 10)[:4] == b"\x05\x00\x00\x01"
            assert converse(sock, get("/")).endswith(b"Hello, world")


def test_microsocks_with_user_takes_right_password_alone(microsocks_auth: ProxyServer, origin: tuple[str, int]) -> None:
    with connect(microsocks_auth.port) as sock:
        sock.sendall(b"\x05\x01\x02")
        assert exactly(sock, 2) == b"\x05\x02"
        sock.sendall(b"\x01\x04user\x06passwd")
        assert exactly(sock, 2) == b"\x01\x00"
        sock.sendall(socks5_address(origin))
        assert exactly(sock, 10)[1] == 0
        assert converse(sock, get("/")).endswith(b"Hello, world")
    with connect(microsocks_auth.port) as sock:
        sock.sendall(b"\x05\x01\x02")
        assert exactly(sock, 2) == b"\x05\x02"
        sock.sendall(b"\x01\x04user\x05wrong")
        assert exactly(sock, 2)[1] != 0
    with connect(microsocks_auth.port) as sock:
        sock.sendall(b"\x05\x01\x00")
        assert exactly(sock, 2) == b"\x05\xff"


def test_danted_takes_socks4(danted: ProxyServer, origin: tuple[str, int]) -> None:
    command = b"\x04\x01" + struct.pack("!H", origin[1]) + socket.inet_aton(origin[0]) + b"\x00"
    with connect(danted.port) as sock:
        sock.sendall(command)
        assert exactly(sock, 8)[:2] == b"\x00\x5a"
        assert converse(sock, get("/")).endswith(b"Hello, world")


# nghttpx


class H2Client:
    """As much of an HTTP/2 client as these tests need: one stream at a time."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        assert sock.selected_alpn_protocol() == "h2"
        self.sock = sock
        self.h2 = h2.connection.H2Connection()
        self.h2.initiate_connection()
        self.stream_id = 0

    def request(self, headers: list[tuple[str, str]], *, end_stream: bool) -> None:
        self.stream_id = self.h2.get_next_available_stream_id()
        self.h2.send_headers(self.stream_id, headers, end_stream=end_stream)

    def send(self, data: str) -> None:
        self.h2.send_data(self.stream_id, data.encode())

    def receive(self, wanted: type[h2.events.Event]) -> tuple[dict[bytes, bytes], bytes]:
        """Reads up to the first event of that type; returns the fields and the content that came."""
        fields: dict[bytes, bytes] = {}
        content = b""
        while True:
            self.sock.sendall(self.h2.data_to_send())
            data = self.sock.recv(65536)
            assert data, f"closed after {fields}, {content!r}"
            events = self.h2.receive_data(data)
            for event in events:
                if isinstance(event, h2.events.ResponseReceived):
                    fields = dict(event.headers)
                elif isinstance(event, h2.events.DataReceived):
                    content += event.data
            if any(isinstance(event, wanted) for event in events):
                return fields, content


def test_nghttpx_tunnels_and_forwards_over_http2(nghttpx: ProxyServer, tls: TLSFiles, origin: tuple[str, int]) -> None:
    authority = f"{origin[0]}:{origin[1]}"
    with connect_tls(nghttpx.port, tls, "h2", "http/1.1") as sock:
        client = H2Client(sock)
        client.request([(":method", "CONNECT"), (":authority", authority)], end_stream=False)
        fields, _ = client.receive(h2.events.ResponseReceived)
        assert fields[b":status"] == b"200"
        client.send(get("/"))
        assert client.receive(h2.events.StreamEnded)[1].endswith(b"Hello, world")
        pseudo = [(":method", "GET"), (":scheme", "http"), (":authority", authority), (":path", "/")]
        client.request(pseudo, end_stream=True)
        fields, content = client.receive(h2.events.StreamEnded)
        assert (fields[b":status"], content) == (b"200", b"Hello, world")


def test_nghttpx_tunnels_over_http11(nghttpx: ProxyServer, tls: TLSFiles, origin: tuple[str, int]) -> None:
    with connect_tls(nghttpx.port, tls, "http/1.1") as sock:
        assert open_tunnel(sock, origin).split()[1] == b"200"
        assert converse(sock, get("/")).endswith(b"Hello, world")


# haproxy

PROXY_V1 = b"PROXY TCP4 192.0.2.1 198.51.100.2 40000 443\r\n"
PROXY_V2_IPV6 = (
    b"\r\n\r\n\x00\r\nQUIT\n\x21\x21\x00\x24"
    + socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + socket.inet_pton(socket.AF_INET6, "2001:db8::2")
    + struct.pack("!HH", 40000, 443)
)
TOLD = b"192.0.2.1:40000 198.51.100.2:443"


def test_haproxy_tells_addresses_of_proxy_header(haproxy: HAProxy) -> None:
    with connect(haproxy.port) as sock:
        assert converse(sock, PROXY_V1, get("/")).endswith(TOLD)
    with connect(haproxy.port) as sock:
        assert converse(sock, PROXY_V2_IPV6, get("/")).endswith(b"2001:db8::1:40000 2001:db8::2:443")


def test_haproxy_takes_no_connection_without_proxy_header(haproxy: HAProxy) -> None:
    with connect(haproxy.port) as sock:
        try:
            assert converse(sock, get("/")) == b""
        except ConnectionResetError:
            return  # what it had not read yet makes the kernel say so


def test_haproxy_takes_proxy_header_before_tls(haproxy: HAProxy, tls: TLSFiles) -> None:
    with connect_tls(haproxy.tls_port, tls, "http/1.1", preface=PROXY_V1) as sock:
        assert converse(sock, get("/")).endswith(TOLD)
    with connect_tls(haproxy.tls_port, tls, "h2", "http/1.1", preface=PROXY_V1) as sock:
        client = H2Client(sock)
        pseudo = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/")]
        client.request(pseudo, end_stream=True)
        assert client.receive(h2.events.StreamEnded)[1] == TOLD


# lighttpd


def test_lighttpd_serves_files_with_and_without_tls(lighttpd: Lighttpd, tls: TLSFiles) -> None:
    with connect(lighttpd.port) as sock:
        assert converse(sock, get("/hello.txt")).endswith(b"Hello, world!")
    with connect_tls(lighttpd.tls_port, tls, "http/1.1") as sock:
        assert converse(sock, get("/hello.txt")).endswith(b"Hello, world!")
    with connect_tls(lighttpd.tls_port, tls, "h2", "http/1.1") as sock:
        client = H2Client(sock)
        pseudo = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/hello.txt")]
        client.request(pseudo, end_stream=True)
        assert client.receive(h2.events.StreamEnded)[1] == b"Hello, world!"

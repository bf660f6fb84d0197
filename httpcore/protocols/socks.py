"""The handshake with a SOCKS proxy: SOCKS5 (RFC 1928, RFC 1929), SOCKS4 and SOCKS4a. Owns the bytes, and does no I/O.

The table has the order of messages. What is received between two transitions is one message of at most 262 bytes, and
whatever is no part of it ends the handshake, so nothing is ever stored beyond that.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Literal, NoReturn

from httpcore.exceptions import LocalProtocolError, ProxyError, quote_peer_text
from httpcore.protocols.states import Transitions

__all__ = ["SOCKS", "SocksEvent", "SocksHandshake", "SocksState"]

_MAX_FIELD = 255  # bytes: a length is one byte

_NAME = re.compile(r"[A-Za-z0-9_.\-]+")
_NOT_SOCKS = {  # what a server that is no SOCKS proxy begins its answer with
    b"HTTP/": "this looks like an HTTP server",
    b"\x15\x03": "this looks like a TLS server",
    b"SSH-": "this looks like an SSH server",
}
_OTHER_VERSIONS = {(5, 0): "this looks like a SOCKS4 proxy", (4, 5): "this looks like a SOCKS5 proxy"}

_NO_AUTHENTICATION = 0x00
_USER_PASSWORD = 0x02
_NONE_ACCEPTABLE = 0xFF
_METHODS = {_NO_AUTHENTICATION: "no authentication", 0x01: "GSSAPI", _USER_PASSWORD: "user and password"}

_CONNECT = 0x01
_IPV4, _DOMAIN, _IPV6 = 0x01, 0x03, 0x04  # address types

_SUCCEEDED = {4: 90, 5: 0}
_REFUSALS = {
    4: {
        91: "request rejected or failed",
        92: "request rejected, as the proxy cannot reach identd on the client",
        93: "request rejected, as the client's identd reports another user",
    },
    5: {
        1: "general failure",
        2: "connection not allowed by the ruleset",
        3: "network unreachable",
        4: "host unreachable",
        5: "connection refused",
        6: "TTL expired",
        7: "command not supported",
        8: "address type not supported",
    },
}


class SocksState(IntEnum):
    """The handshake, from the client's side."""

    START = 0  # nothing was sent
    AWAITING_METHOD = 1  # SOCKS5: the methods of authentication were offered, and the proxy chooses
    AWAITING_VERDICT = 2  # SOCKS5: user and password were sent
    AWAITING_REPLY = 3  # the request to connect was sent
    DONE = 4  # the bytes that follow are the target's
    FAILED = 5


class SocksEvent(IntEnum):
    """What moves it."""

    OFFER = 0
    AUTHENTICATE = 1
    REQUEST = 2
    GRANTED = 3
    FAIL = 4


SOCKS: Transitions[SocksState, SocksEvent] = Transitions(
    {
        (SocksState.START, SocksEvent.OFFER): SocksState.AWAITING_METHOD,
        (SocksState.START, SocksEvent.REQUEST): SocksState.AWAITING_REPLY,  # SOCKS4 has nothing before it
        (SocksState.AWAITING_METHOD, SocksEvent.AUTHENTICATE): SocksState.AWAITING_VERDICT,
        (SocksState.AWAITING_METHOD, SocksEvent.REQUEST): SocksState.AWAITING_REPLY,
        (SocksState.AWAITING_VERDICT, SocksEvent.REQUEST): SocksState.AWAITING_REPLY,
        (SocksState.AWAITING_REPLY, SocksEvent.GRANTED): SocksState.DONE,
        (SocksState.START, SocksEvent.FAIL): SocksState.FAILED,
        (SocksState.AWAITING_METHOD, SocksEvent.FAIL): SocksState.FAILED,
        (SocksState.AWAITING_VERDICT, SocksEvent.FAIL): SocksState.FAILED,
        (SocksState.AWAITING_REPLY, SocksEvent.FAIL): SocksState.FAILED,
    }
)

_AWAITED = {
    SocksState.START: "before the handshake began",
    SocksState.AWAITING_METHOD: "instead of choosing a method of authentication",
    SocksState.AWAITING_VERDICT: "instead of answering to user and password",
    SocksState.AWAITING_REPLY: "instead of answering to the request to connect",
}


class SocksHandshake:
    """Asks a SOCKS proxy for a connection to a target: bytes in, bytes out.

    `begin` once, then `receive` with whatever comes until `done`. After an error the connection is of no more use.

    Args:
        version: 5; or 4, which is SOCKS4a where the host is a name.
        host: the target: a name, which the proxy resolves, or an IPv4 or IPv6 address in text, without brackets.
        port: its port.
        auth: user and password as bytes (RFC 1929), each 255 bytes at most. They are offered beside "no
            authentication", and the proxy chooses. For SOCKS4 the user is sent as the user id, and the password has
            to be empty, as it has none. `None` offers no authentication only, and no user id.

    Attributes:
        done: whether the proxy connected to the target.
        leftover: what came behind the proxy's last reply: the target's first bytes. Empty until `done`.

    Raises:
        LocalProtocolError: SOCKS cannot carry the host, the port or the credentials. Nothing was sent.
    """

    def __init__(self, version: Literal[4, 5], host: str, port: int, auth: tuple[bytes, bytes] | None = None) -> None:
        if version not in (4, 5):
            raise LocalProtocolError("SOCKS has the versions 4 and 5")
        if not 0 <= port <= 65535:
            raise LocalProtocolError(f"the port {port} does not exist")
        self.leftover = b""
        self._version = version
        self._state = SocksState.START
        self._received = b""  # of the message that is awaited
        self._may_quote = True  # until credentials are sent, which a hostile proxy may send back
        # Made beforehand, so that whatever cannot be sent is known before anything is.
        self._credentials: bytes | None = None
        if version == 5:
            self._request = b"\x05" + bytes((_CONNECT, 0)) + _socks5_address(host) + port.to_bytes(2, "big")
            if auth is not None:
                self._credentials = b"\x01" + _counted("user", auth[0]) + _counted("password", auth[1])
        else:
            self._request = _socks4_request(host, port, auth)
            self._may_quote = auth is None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} SOCKS{self._version} {self._state.name}>"

    @property
    def done(self) -> bool:
        """Whether the proxy connected to the target: from now on the connection carries the target's bytes."""
        return self._state is SocksState.DONE

    def begin(self) -> bytes:
        """Returns what is to be sent first."""
        if self._version == 4:
            return self._send(SocksEvent.REQUEST, self._request)
        methods = [_NO_AUTHENTICATION] if self._credentials is None else [_NO_AUTHENTICATION, _USER_PASSWORD]
        return self._send(SocksEvent.OFFER, bytes((5, len(methods), *methods)))

    def receive(self, data: bytes) -> bytes:
        """Takes what came, in any pieces, and returns what is to be sent now, which may be nothing.

        Not to be called before `begin`, nor when it is `done` or has failed.

        Raises:
            ProxyError: the proxy refused, or does not speak SOCKS as it should; `reply_code` is the code of its reply
                to the request, if it gave one.
        """
        parse = _PARSERS.get(self._state)
        if parse is None:
            raise RuntimeError(f"httpcore bug: bytes cannot be received in {self._state!r}")
        self._received += data
        return parse(self) if self._received else b""

    def eof(self) -> NoReturn:
        """The proxy closed the connection, and is not `done`.

        Raises:
            ProxyError: always; it says at which step.
        """
        count = len(self._received)
        partly = f", {count} bytes into its answer" if count else ""
        self._fail(f"closed the connection {_AWAITED.get(self._state)}{partly}")

    # One parser for each state in which something is awaited. What is wrong with a message is told as soon as its
    # first bytes show it: some proxies cut a refusal short and close.

    def _receive_method(self) -> bytes:
        received = self._received
        self._check_version(5)
        if len(received) < 2:
            return b""
        method = received[1]
        offered = "no authentication" if self._credentials is None else "no authentication, and user and password"
        if method == _NONE_ACCEPTABLE:
            self._fail(f"accepts none of the methods of authentication that were offered: {offered}")
        if method != _NO_AUTHENTICATION and (method != _USER_PASSWORD or self._credentials is None):
            name = _METHODS.get(method, "unknown")
            self._fail(f"chose the method of authentication {method:#04x} ({name}), but was offered {offered}")
        self._check_end(2)
        if method == _NO_AUTHENTICATION:
            return self._send(SocksEvent.REQUEST, self._request)
        assert self._credentials is not None
        self._may_quote = False
        return self._send(SocksEvent.AUTHENTICATE, self._credentials)

    def _receive_verdict(self) -> bytes:
        received = self._received
        self._check_version(1)
        if len(received) < 2:
            return b""
        if received[1] != 0:
            self._fail(f"refused user and password (status {received[1]})")
        self._check_end(2)
        return self._send(SocksEvent.REQUEST, self._request)

    def _receive_reply(self) -> bytes:
        received = self._received
        self._check_version(0 if self._version == 4 else 5)
        if len(received) < 2:
            return b""
        code = received[1]
        if code != _SUCCEEDED[self._version]:
            meaning = _REFUSALS[self._version].get(code, "a reply that is not assigned")
            self._fail(f"refused: {meaning} (reply code {code})", code)
        size = 8 if self._version == 4 else self._reply_size()
        if len(received) < size:
            return b""
        # The address the proxy connects from is of no use to us.
        self.leftover = received[size:]
        return self._send(SocksEvent.GRANTED, b"")

    def _reply_size(self) -> int:
        """Returns the size in bytes of a SOCKS5 reply, as far as what came of it tells."""
        received = self._received
        if len(received) > 2 and received[2] != 0:
            self._fail(f"sent a malformed reply: its reserved byte is {received[2]:#04x}, not 0x00")
        if len(received) < 5:  # also the shortest, with an empty name, is longer
            if len(received) == 4:
                self._address_size(received[3], 0)
            return 7
        return 4 + self._address_size(received[3], received[4]) + 2

    def _address_size(self, address_type: int, first: int) -> int:
        sizes = {_IPV4: 4, _IPV6: 16, _DOMAIN: 1 + first}
        if address_type not in sizes:
            self._fail(f"sent a malformed reply: its address type is {address_type:#04x}, which does not exist")
        return sizes[address_type]

    def _check_version(self, expected: int) -> None:
        received = self._received
        if received[0] == expected:
            return
        # The first byte alone may have come by now.
        hints = (hint for start, hint in _NOT_SOCKS.items() if start.startswith(received[: len(start)]))
        hint = next(hints, _OTHER_VERSIONS.get((self._version, received[0])))
        message = quote_peer_text(received) if self._may_quote else "its answer"
        suffix = f": {hint}" if hint else ""
        self._fail(f"sent the version byte {received[0]:#04x}, not {expected:#04x}, in {message}{suffix}")

    def _check_end(self, size: int) -> None:
        surplus = len(self._received) - size
        if surplus:
            # It would answer what was not sent yet.
            self._fail(f"sent {surplus} bytes too many, before they were asked for")

    def _send(self, event: SocksEvent, message: bytes) -> bytes:
        self._state = SOCKS[self._state, event]
        self._received = b""
        return message

    def _fail(self, what: str, reply_code: int | None = None) -> NoReturn:
        self._state = SOCKS[self._state, SocksEvent.FAIL]
        self._received = b""
        raise ProxyError(f"the SOCKS{self._version} proxy {what}", reply_code=reply_code)


_PARSERS: dict[SocksState, Callable[[SocksHandshake], bytes]] = {
    SocksState.AWAITING_METHOD: SocksHandshake._receive_method,
    SocksState.AWAITING_VERDICT: SocksHandshake._receive_verdict,
    SocksState.AWAITING_REPLY: SocksHandshake._receive_reply,
}


def _socks5_address(host: str) -> bytes:
    """Returns the target's address type and address (RFC 1928 5)."""
    address = _parse_address(host)
    if address is None:
        return bytes((_DOMAIN,)) + _counted("host name", _name(host))
    return bytes((_IPV4 if address.version == 4 else _IPV6,)) + address.packed


def _socks4_request(host: str, port: int, auth: tuple[bytes, bytes] | None) -> bytes:
    """Returns the request of SOCKS4, or of its extension 4a where the host is a name."""
    user, password = auth or (b"", b"")
    if password:
        raise LocalProtocolError("SOCKS4 has no passwords: give a user alone, or use SOCKS5")
    if b"\0" in user:
        raise LocalProtocolError("a SOCKS4 user id must not have a NUL in it, which would end it")
    _counted("user", user)
    address, name = _parse_address(host), b""
    if address is None:
        packed = b"\0\0\0\1"  # an address that cannot be: the name follows
        name = _name(host) + b"\0"
    elif address.version == 6:
        raise LocalProtocolError("SOCKS4 cannot carry an IPv6 address: use SOCKS5")
    else:
        packed = address.packed
        if packed[:3] == b"\0\0\0" and packed[3]:
            raise LocalProtocolError("SOCKS4 cannot carry this address: 0.0.0.x announces a name in SOCKS4a")
    return bytes((4, _CONNECT)) + port.to_bytes(2, "big") + packed + user + b"\0" + name


def _parse_address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise LocalProtocolError("SOCKS cannot carry an IPv6 address with a zone, which is this machine's own")
    return address


def _name(host: str) -> bytes:
    # Never cut or resolved here instead (CVE-2023-38545). Not quoted: it may be a whole URL with credentials.
    if not _NAME.fullmatch(host):
        raise LocalProtocolError("the host is neither an IP address nor a name that SOCKS can carry")
    if len(host) > _MAX_FIELD:
        raise LocalProtocolError(f"the host name has {len(host)} bytes, and SOCKS carries {_MAX_FIELD}")
    return host.encode("ascii")


def _counted(what: str, field: bytes) -> bytes:
    # An empty user or password is against the letter of RFC 1929, but some proxies take a token as one of the two.
    if len(field) > _MAX_FIELD:
        raise LocalProtocolError(f"the {what} has {len(field)} bytes, and SOCKS carries {_MAX_FIELD}")
    return bytes((len(field),)) + field

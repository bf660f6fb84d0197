"""`SOCKSServer`: SOCKS5 (RFC 1928, 1929), SOCKS4 and 4a in the test's own process; or what a test says in its place."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Literal, NamedTuple, TypeAlias

from tests.proxies.relay import ClientEnd, Proxy
from tests.proxies.script import Answer, Then, resolved
from tests.proxies.ways import Connect, dial

Step: TypeAlias = Literal["method", "auth", "reply"]

# RFC 1928 3 and 6, and SOCKS4's replies.
NO_AUTH, USER_PASSWORD, NO_METHOD = 0, 2, 0xFF
SUCCEEDED, HOST_UNREACHABLE, CONNECTION_REFUSED, COMMAND_NOT_SUPPORTED = 0, 4, 5, 7
GRANTED_4, REJECTED_4 = 90, 91

_IPV4, _DOMAIN, _IPV6 = 1, 3, 4
_CONNECT = 1


class SOCKSRequest(NamedTuple):
    """What a client asked for.

    Attributes:
        version: `"4"`, `"4a"` or `"5"`.
        host: the name, or the address as text.
        port: the port.
        is_name: whether it was sent as a name, for the server to resolve.
        user: with SOCKS4 its user id; `None` without authentication.
        password: `None` without authentication.
    """

    version: Literal["4", "4a", "5"]
    host: str
    port: int
    is_name: bool
    user: str | None
    password: str | None


Script: TypeAlias = Callable[[Step, bytes], Answer | bytes | None | Awaitable[Answer | bytes | None]]


def reply5(code: int = SUCCEEDED, host: str = "0.0.0.0", port: int = 0) -> bytes:
    """Returns a reply of SOCKS5. The bound address is as `host` says: an address of either kind, or a name."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        bound = bytes([_DOMAIN, len(host)]) + host.encode()
    else:
        bound = bytes([_IPV4 if address.version == 4 else _IPV6]) + address.packed
    return bytes([5, code, 0]) + bound + port.to_bytes(2)


def reply4(code: int = GRANTED_4, host: str = "0.0.0.0", port: int = 0) -> bytes:
    """Returns a reply of SOCKS4."""
    return bytes([0, code]) + port.to_bytes(2) + ipaddress.IPv4Address(host).packed


class SOCKSServer(Proxy):
    """A SOCKS server; more of it in `Proxy`. `heads` of a record are the client's messages, each by itself.

    Args:
        connect: the way to origins.
        auth: user and password: SOCKS5 is required to offer them, SOCKS4 to send the user; `None`: none.
        answer: looks at each step with the bytes that would be sent, `"method"` and `"auth"` of SOCKS5, `"reply"` of
            both, and returns what is sent in their place: raw bytes, after which the server waits, or an `Answer`, with
            which it may proceed; or `None`. Also as a coroutine, which may wait. `"reply"` is asked before the origin
            is connected to: with anything but PROCEED, it is not.
        on_accept: what is done with each connection at once.

    Attributes:
        requests: what was asked, in order.
        methods: which methods of authentication each client of SOCKS5 offered.
    """

    def __init__(
        self,
        *,
        connect: Connect = dial,
        auth: tuple[str, str] | None = None,
        answer: Script | None = None,
        on_accept: Answer | None = None,
    ) -> None:
        super().__init__(connect, on_accept)
        self.auth = auth
        self.answer = answer
        self.requests: list[SOCKSRequest] = []
        self.methods: list[bytes] = []

    def accept(self) -> asyncio.Protocol:
        return _SOCKSClientEnd(self)

    async def answer_to(self, step: Step, ordinary: Answer) -> Answer:
        """Returns the script's answer, or else the ordinary one."""
        assert isinstance(ordinary.data, bytes)
        answer = await resolved(self.answer(step, ordinary.data)) if self.answer is not None else None
        if answer is None:
            return ordinary
        return Answer(answer) if isinstance(answer, bytes) else answer


class _Incomplete(Exception):
    """More of the message has to come."""


class _SOCKSClientEnd(ClientEnd):
    proxy: SOCKSServer

    def __init__(self, proxy: SOCKSServer) -> None:
        super().__init__(proxy)
        self._step: Step = "method"
        self._user: str | None = None
        self._password: str | None = None
        self._read = 0  # how much of `buffer` has been parsed

    def received(self) -> None:
        self._read = 0
        try:
            step = self._parse()
        except _Incomplete:
            return
        except ValueError:
            self.transport.close()
            return
        self.record.heads.append(bytes(self.buffer[: self._read]))
        del self.buffer[: self._read]
        step()

    # Parsing

    def _parse(self) -> Callable[[], None]:
        """Returns what is to be done about the message in `buffer`.

        Raises:
            _Incomplete: its end has not come.
            ValueError: it is malformed.
        """
        if self._step == "auth":
            self._expect(1)
            user, password = (self._take(self._take_byte()).decode() for _ in range(2))
            return lambda: self.start(self._authenticate(user, password))
        version = self._take_byte()
        if self._step == "method" and version == 4:
            return self._parse_request4()
        if version != 5:
            raise ValueError(f"version {version}")
        if self._step == "method":
            methods = self._take(self._take_byte())
            return lambda: self.start(self._choose(methods))
        return self._parse_request5()

    def _parse_request4(self) -> Callable[[], None]:
        command, port, address = self._take_byte(), int.from_bytes(self._take(2)), self._take(4)
        user = self._take_string()
        is_name = address[:3] == bytes(3) and address[3] != 0
        host = self._take_string() if is_name else str(ipaddress.IPv4Address(address))
        request = SOCKSRequest("4a" if is_name else "4", host, port, is_name, user, None)
        return lambda: self.start(self._tunnel(request, command))

    def _parse_request5(self) -> Callable[[], None]:
        command = self._take_byte()
        self._expect(0)
        kind = self._take_byte()
        if kind == _DOMAIN:
            host = self._take(self._take_byte()).decode()
        elif kind in (_IPV4, _IPV6):
            host = str(ipaddress.ip_address(self._take(4 if kind == _IPV4 else 16)))
        else:
            raise ValueError(f"address type {kind}")
        request = SOCKSRequest("5", host, int.from_bytes(self._take(2)), kind == _DOMAIN, self._user, self._password)
        return lambda: self.start(self._tunnel(request, command))

    def _take(self, count: int) -> bytes:
        if len(self.buffer) < self._read + count:
            raise _Incomplete
        self._read += count
        return bytes(self.buffer[self._read - count : self._read])

    def _take_byte(self) -> int:
        return self._take(1)[0]

    def _take_string(self) -> str:
        end = self.buffer.find(b"\0", self._read)
        if end < 0:
            raise _Incomplete
        return self._take(end + 1 - self._read)[:-1].decode()

    def _expect(self, value: int) -> None:
        if (found := self._take_byte()) != value:
            raise ValueError(f"{found} where {value} has to be")

    # Answering

    async def _choose(self, methods: bytes) -> None:
        self.proxy.methods.append(methods)
        wanted = NO_AUTH if self.proxy.auth is None else USER_PASSWORD
        if wanted in methods:
            ordinary = Answer(bytes([5, wanted]), Then.PROCEED)
        else:
            ordinary = Answer(bytes([5, NO_METHOD]), Then.CLOSE)
        answer = await self.proxy.answer_to("method", ordinary)
        chosen = answer.data[1:2] if isinstance(answer.data, bytes) else bytes([wanted])
        self._step = "auth" if chosen == bytes([USER_PASSWORD]) else "reply"
        await self.answer(answer)

    async def _authenticate(self, user: str, password: str) -> None:
        self._user, self._password = user, password
        if self.proxy.auth in (None, (user, password)):
            ordinary = Answer(b"\1\0", Then.PROCEED)
        else:
            ordinary = Answer(b"\1\1", Then.CLOSE)
        self._step = "reply"
        await self.answer(await self.proxy.answer_to("auth", ordinary))

    async def _tunnel(self, request: SOCKSRequest, command: int) -> None:
        self.proxy.requests.append(request)
        self.proxy.changes.notify()
        is5 = request.version == "5"
        if command != _CONNECT:
            ordinary = Answer(reply5(COMMAND_NOT_SUPPORTED) if is5 else reply4(REJECTED_4), Then.CLOSE)
        elif not is5 and self.proxy.auth is not None and request.user != self.proxy.auth[0]:
            ordinary = Answer(reply4(REJECTED_4), Then.CLOSE)
        else:
            ordinary = Answer(reply5() if is5 else reply4(), Then.PROCEED)
        answer = await self.proxy.answer_to("reply", ordinary)

        def failed(error: OSError) -> Answer:
            code = CONNECTION_REFUSED if isinstance(error, ConnectionRefusedError) else HOST_UNREACHABLE
            return Answer(reply5(code) if is5 else reply4(REJECTED_4), Then.CLOSE)

        await self.tunnel(request.host, request.port, answer, failed)


@contextlib.asynccontextmanager
async def socks_server(
    *,
    connect: Connect = dial,
    auth: tuple[str, str] | None = None,
    answer: Script | None = None,
    on_accept: Answer | None = None,
    host: str = "127.0.0.1",
) -> AsyncIterator[SOCKSServer]:
    """A `SOCKSServer` on a free port of `host`. Its `url` is of scheme socks5h."""
    async with (
        SOCKSServer(connect=connect, auth=auth, answer=answer, on_accept=on_accept) as server,
        server.listening(None, host),
    ):
        server.url = server.url.replace("http:", "socks5h:")
        yield server

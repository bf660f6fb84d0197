"""TLS sessions: resumed with the same server, by the same way, under the same configuration, and nowhere else."""

from __future__ import annotations

import asyncio
import gc
import itertools
import socket
import ssl
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import trustme
import uvloop

from httpcore import ConnectError, ConnectionPool, Request, Response, SSLConfig, tls_sessions
from httpcore.handlers import TLSInfo
from httpcore.tls import ContextCache, create_context
from httpcore.tls_sessions import ResumableObject, SessionCache
from tests.conftest import TLSFiles, _left_behind
from tests.h11_server import Answer, Asked, H11Server, listening
from tests.pool.version_server import version_server
from tests.test_pins import expected_pin

ALPN = ("http/1.1",)
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]

every_version = pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)


def serving(tls: TLSFiles, version: ssl.TLSVersion, certificate: trustme.LeafCert | None = None) -> ssl.SSLContext:
    """A server's context, for this version alone."""
    context = tls.server_context
    if certificate is not None:
        certificate.configure_cert(context)
    context.minimum_version = context.maximum_version = version
    return context


# In memory: one handshake after the other, without a loop


class Link:
    """A client's connection to a server, both in memory. The handshake is over, and what follows it was read."""

    def __init__(
        self, client: ssl.SSLContext, server: ssl.SSLContext, name: str = "localhost", rounds: int = 3
    ) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.incoming = incoming
        self.client = client.wrap_bio(incoming, outgoing, server_hostname=name)
        self.server = server.wrap_bio(outgoing, incoming, server_side=True)
        if rounds:
            self.finish(rounds)

    def finish(self, rounds: int = 3) -> None:
        """Shakes hands."""
        for _ in range(rounds):
            for end in (self.client, self.server):
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    pass
        self.talk()

    def talk(self) -> None:
        """Sends a byte from the server to the client, which reads the server's tickets as well."""
        self.server.write(b".")
        assert self.client.read(2) == b"."

    @property
    def resumed(self) -> bool:
        assert self.client.session_reused == self.server.session_reused
        return bool(self.client.session_reused)

    def close(self) -> Link:
        try:
            self.client.unwrap()
        except ssl.SSLWantReadError:
            pass  # the other end says nothing
        return self


class Dialler:
    """What a pool asks for handshakes, without the loop."""

    def __init__(self, tls: TLSFiles, sessions: SessionCache | None = None) -> None:
        self.sessions = SessionCache() if sessions is None else sessions
        self.context = create_context(SSLConfig(verify=tls.ca_path), ALPN)

    def dial(self, server: ssl.SSLContext, key: Hashable = "here", name: str = "localhost", rounds: int = 3) -> Link:
        return Link(self.sessions.context(key, self.context), server, name, rounds)


@every_version
def test_session_of_a_closed_connection_is_resumed_by_every_next_one(tls: TLSFiles, version: ssl.TLSVersion) -> None:
    server, dialler = serving(tls, version), Dialler(tls)
    assert [dialler.dial(server).close().resumed for _ in range(5)] == [False, True, True, True, True]


@every_version
def test_session_of_an_open_connection_is_resumed(tls: TLSFiles, version: ssl.TLSVersion) -> None:
    server, dialler = serving(tls, version), Dialler(tls)
    links = [dialler.dial(server) for _ in range(4)]
    assert [link.resumed for link in links] == [False, True, True, True]
    for link in links:
        link.talk()


def test_ticket_of_tls_1_3_is_offered_once(tls: TLSFiles) -> None:
    server, dialler = serving(tls, ssl.TLSVersion.TLSv1_3), Dialler(tls)
    first = dialler.dial(server)
    started = [dialler.dial(server, rounds=0) for _ in range(2)]  # both before either has a ticket of its own
    first.close()  # which hands nothing in again
    last = dialler.dial(server)
    offered = [link.client.session for link in started]
    assert offered[0] is not None and offered[0] == first.client.session
    assert offered[1] is None or offered[1].id != offered[0].id
    assert not last.resumed


def test_every_ticket_of_tls_1_3_is_another_one(tls: TLSFiles) -> None:
    server, dialler = serving(tls, ssl.TLSVersion.TLSv1_3), Dialler(tls)
    server.num_tickets = 1
    offered = []
    for _ in range(6):
        link = dialler.dial(server, rounds=0)
        if link.client.session is not None:
            offered.append(link.client.session.id)
        dialler.dial(server).close()
    assert len(offered) == len(set(offered)) == 5


def test_connection_that_got_no_ticket_has_nothing_to_resume(tls: TLSFiles) -> None:
    server, dialler = serving(tls, ssl.TLSVersion.TLSv1_3), Dialler(tls)
    server.num_tickets = 0
    assert [dialler.dial(server).close().resumed for _ in range(3)] == [False, False, False]


def test_server_of_tls_1_2_without_tickets_and_ids_is_not_resumed(tls: TLSFiles) -> None:
    server, dialler = serving(tls, ssl.TLSVersion.TLSv1_2), Dialler(tls)
    server.options |= ssl.OP_NO_TICKET
    links = [dialler.dial(server).close() for _ in range(3)]
    # OpenSSL's server keeps sessions by their ids, but in a context's own memory: it resumes what it has.
    assert [link.client.session.has_ticket for link in links if link.client.session is not None] == [False] * 3
    assert not links[0].resumed


@every_version
def test_session_is_not_offered_again_after_a_handshake_that_never_ended(
    tls: TLSFiles, version: ssl.TLSVersion
) -> None:
    server, dialler = serving(tls, version), Dialler(tls)
    dialler.dial(server).close()
    dialler.dial(server, rounds=0)  # it was offered, and for all we know the server hung up for it
    gc.collect()
    assert not dialler.dial(server).close().resumed
    assert dialler.dial(server).resumed


def test_session_that_was_resumed_is_offered_by_many_at_once_below_tls_1_3(tls: TLSFiles) -> None:
    server, dialler = serving(tls, ssl.TLSVersion.TLSv1_2), Dialler(tls)
    dialler.dial(server).close()
    proving = dialler.dial(server, rounds=0)
    assert dialler.dial(server, rounds=0).client.session is None  # not before it was: the server may fail to
    proving.finish()
    links = [dialler.dial(server, rounds=0) for _ in range(3)]
    for link in links:
        link.finish()
    assert proving.resumed and all(link.resumed for link in links)


def test_session_that_many_offer_is_offered_no_more_after_one_of_them_failed(tls: TLSFiles) -> None:
    server, dialler = serving(tls, ssl.TLSVersion.TLSv1_2), Dialler(tls)
    dialler.dial(server).close()
    going_on = [dialler.dial(server).close(), dialler.dial(server, rounds=0)][1]
    failing = dialler.dial(server, rounds=0)
    assert going_on.client.session is not None and failing.client.session is not None
    assert isinstance(failing.client, ResumableObject)
    failing.client.give_up()
    assert dialler.dial(server, rounds=0).client.session is None
    going_on.finish()  # the others are not concerned, and prove it anew
    assert going_on.resumed
    assert dialler.dial(server).resumed


def test_session_that_the_server_forgot_is_offered_no_more(tls: TLSFiles) -> None:
    dialler, server = Dialler(tls), serving(tls, ssl.TLSVersion.TLSv1_2)
    assert [dialler.dial(server).close().resumed for _ in range(3)] == [False, True, True]
    assert not dialler.dial(serving(tls, ssl.TLSVersion.TLSv1_2), rounds=3).resumed
    assert dialler.dial(server, rounds=0).client.session is None


def test_connections_are_not_asked_for_sessions_that_nobody_resumes(
    tls: TLSFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowance = iter(range(100))
    monkeypatch.setattr(tls_sessions, "_allowance", allowance)
    dialler = Dialler(tls)
    for number in range(5):
        dialler.dial(serving(tls, ssl.TLSVersion.TLSv1_3), f"server {number}").close()
    assert next(allowance) == 0
    server = serving(tls, ssl.TLSVersion.TLSv1_2)
    assert [dialler.dial(server).close().resumed for _ in range(5)] == [False, True, True, True, True]
    assert next(allowance) == 2  # one that is resumed is the same one each time


@every_version
def test_no_session_is_asked_for_when_too_many_copies_were_lost(
    tls: TLSFiles, version: ssl.TLSVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_sessions, "_allowance", iter(range(1)))
    server, dialler = serving(tls, version), Dialler(tls)
    assert dialler.dial(server).close() and dialler.dial(server).close().resumed
    assert not dialler.dial(server, "there").close().resumed
    assert not dialler.dial(server, "there").close().resumed


@every_version
def test_closed_connections_are_few_but_their_sessions_are_all_kept(
    tls: TLSFiles, version: ssl.TLSVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_sessions, "_LINGERING", 2)
    server, dialler = serving(tls, version), Dialler(tls)
    closed = [weakref.ref(dialler.dial(server, number).close().client) for number in range(5)]
    assert [reference() is None for reference in closed] == [True, True, True, False, False]
    assert all(dialler.dial(server, number).close().resumed for number in range(5))


def test_closed_connection_is_not_kept_where_a_session_is(tls: TLSFiles) -> None:
    server, dialler = serving(tls, ssl.TLSVersion.TLSv1_2), Dialler(tls)
    links = [dialler.dial(server, rounds=0) for _ in range(2)]
    for link in links:
        link.finish()
    assert dialler.dial(server).resumed  # with the session of the second
    closed = [weakref.ref(link.close().client) for link in links]
    del link, links
    assert [reference() for reference in closed] == [None, None]


def test_closed_connection_to_a_forgotten_server_takes_no_place(tls: TLSFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_sessions, "_LINGERING", 2)
    server = serving(tls, ssl.TLSVersion.TLSv1_3)
    dialler = Dialler(tls, SessionCache(size=2))
    for name in ("forgotten", "first", "second"):
        dialler.dial(server, name).close()
    assert dialler.dial(server, "first").close().resumed
    assert dialler.dial(server, "second").close().resumed


def test_connection_that_was_closed_is_freed_with_the_cache(tls: TLSFiles) -> None:
    dialler = Dialler(tls)
    closed = weakref.ref(dialler.dial(serving(tls, ssl.TLSVersion.TLSv1_3)).close().client)
    gc.disable()  # nothing may be left to it
    try:
        assert closed() is not None
        del dialler
        assert closed() is None
    finally:
        gc.enable()


@every_version
def test_half_a_session_of_a_handshake_that_goes_on_is_not_offered(tls: TLSFiles, version: ssl.TLSVersion) -> None:
    server, dialler = serving(tls, version), Dialler(tls)
    going_on = dialler.dial(server, rounds=0)
    with pytest.raises(ssl.SSLWantReadError):
        going_on.client.do_handshake()
    assert not dialler.dial(server).close().resumed
    assert dialler.dial(server).resumed


@every_version
def test_session_of_a_connection_that_a_fatal_error_ended_is_not_resumed(
    tls: TLSFiles, version: ssl.TLSVersion
) -> None:
    server, dialler = serving(tls, version), Dialler(tls)
    link = dialler.dial(server)
    link.incoming.write(b"\x17\x03\x03\x00\x40" + bytes(64))  # which nobody has encrypted
    with pytest.raises(ssl.SSLError, match=r"BAD_RECORD_MAC|DECRYPTION_FAILED"):
        link.client.read(1)
    assert not dialler.dial(server).resumed


@every_version
def test_server_that_forgot_the_session_is_verified_anew(tls: TLSFiles, version: ssl.TLSVersion) -> None:
    dialler = Dialler(tls)
    dialler.dial(serving(tls, version)).close()
    assert not dialler.dial(serving(tls, version)).close().resumed
    stranger = serving(tls, version, trustme.CA().issue_cert("localhost"))
    with pytest.raises(ssl.SSLCertVerificationError):
        dialler.dial(stranger)
    # Nor has that left anything to resume.
    assert not dialler.dial(serving(tls, version)).resumed


@every_version
def test_session_of_one_name_is_never_resumed_for_another(tls: TLSFiles, version: ssl.TLSVersion) -> None:
    certificate = tls.authority.issue_cert("localhost", "other.example")
    server, dialler = serving(tls, version, certificate), Dialler(tls)
    dialler.dial(server).close()
    assert not dialler.dial(server, name="other.example").close().resumed
    assert dialler.dial(server, name="other.example").close().resumed
    assert not dialler.dial(server, name="localhost").resumed


@every_version
def test_sessions_of_different_keys_are_kept_apart(tls: TLSFiles, version: ssl.TLSVersion) -> None:
    server, dialler = serving(tls, version), Dialler(tls)
    assert not dialler.dial(server, "origin").close().resumed
    assert not dialler.dial(server, "proxy").close().resumed
    assert dialler.dial(server, "origin").close().resumed
    assert dialler.dial(server, "proxy").close().resumed


def test_session_is_resumed_by_one_cache_alone(tls: TLSFiles) -> None:
    server = serving(tls, ssl.TLSVersion.TLSv1_3)
    Dialler(tls).dial(server).close()
    assert not Dialler(tls).dial(server).resumed


@every_version
def test_server_dialled_longest_ago_is_forgotten_when_there_are_too_many(
    tls: TLSFiles, version: ssl.TLSVersion
) -> None:
    server, dialler = serving(tls, version), Dialler(tls, SessionCache(size=2))
    for key in ("one", "two", "one", "three"):
        dialler.dial(server, key).close()
    assert dialler.dial(server, "one").close().resumed
    assert dialler.dial(server, "three").close().resumed
    assert not dialler.dial(server, "two").close().resumed


@every_version
def test_certificate_is_verified_again_after_a_day_however_often_the_session_was_renewed(
    tls: TLSFiles, version: ssl.TLSVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours = itertools.count()
    now = 0.0
    monkeypatch.setattr(tls_sessions, "time", SimpleNamespace(monotonic=lambda: now))
    server, dialler = serving(tls, version), Dialler(tls)
    resumed = []
    for hour in itertools.islice(hours, 50):
        now = hour * 3600.0
        resumed.append(dialler.dial(server).close().resumed)
    assert resumed == [hour % 24 != 0 for hour in range(50)]


def test_full_handshake_counts_anew_where_the_server_did_not_resume(
    tls: TLSFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(tls_sessions, "time", SimpleNamespace(monotonic=lambda: now))
    dialler = Dialler(tls)
    dialler.dial(serving(tls, ssl.TLSVersion.TLSv1_3)).close()
    server = serving(tls, ssl.TLSVersion.TLSv1_3)
    now = 23 * 3600.0
    assert not dialler.dial(server).close().resumed
    now = 46 * 3600.0
    assert dialler.dial(server).close().resumed


def test_connection_is_not_kept_alive_for_its_session(tls: TLSFiles) -> None:
    server, dialler = serving(tls, ssl.TLSVersion.TLSv1_3), Dialler(tls)
    link = dialler.dial(server)
    client = weakref.ref(link.client)
    del link
    assert client() is None


def test_session_that_the_caller_gives_goes_before_our_own(tls: TLSFiles) -> None:
    server, dialler = serving(tls, ssl.TLSVersion.TLSv1_2), Dialler(tls)
    session = dialler.dial(server).close().client.session
    assert session is not None
    client = dialler.sessions.context("elsewhere", dialler.context).wrap_bio(
        ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="localhost", session=session
    )
    assert client.session == session


def test_context_that_makes_no_resumable_connections_makes_its_own(tls: TLSFiles) -> None:
    server, sessions, context = serving(tls, ssl.TLSVersion.TLSv1_3), SessionCache(), tls.client_context
    assert [Link(sessions.context("here", context), server).close().resumed for _ in range(2)] == [False, False]


def test_blocking_sockets_work_with_it(tls: TLSFiles) -> None:
    context = Dialler(tls).sessions.context("here", create_context(SSLConfig(verify=tls.ca_path), ALPN))
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with serving(tls, ssl.TLSVersion.TLSv1_3).wrap_socket(theirs, server_side=True) as sock:
            sock.sendall(b"hello")

    thread = threading.Thread(target=serve)
    thread.start()
    with context.wrap_socket(ours, server_hostname="localhost") as sock:
        assert sock.recv(5) == b"hello"
    thread.join()


# On event loops, over real sockets


class Client(asyncio.Protocol):
    """Sends nothing; `greeted` when the server's first byte came."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.greeted: asyncio.Future[bytes] = loop.create_future()
        self.lost: asyncio.Future[Exception | None] = loop.create_future()

    def data_received(self, data: bytes) -> None:
        if not self.greeted.done():
            self.greeted.set_result(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


class Greeter(asyncio.Protocol):
    """Says a byte; closes at once if it is to."""

    closes = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(b".")  # type: ignore[attr-defined]
        if self.closes:
            transport.close()


class ClosingGreeter(Greeter):
    closes = True


Connect = Callable[..., Awaitable[tuple[ssl.SSLObject, asyncio.Transport, Client]]]


@asynccontextmanager
async def greeting(
    tls: TLSFiles, version: ssl.TLSVersion, make: Callable[[], asyncio.Protocol] = Greeter
) -> AsyncIterator[Connect]:
    """A server, and a function that connects to it and waits for its greeting."""
    cache, config = ContextCache(), SSLConfig(verify=tls.ca_path)
    async with listening(make, ssl_context=serving(tls, version)) as listener:

        async def connect(where: Hashable = "here", *, upgrade: bool = False, close: bool = False):
            loop, (host, port) = asyncio.get_running_loop(), listener.address
            context = await cache.load(config, ALPN, where)
            if upgrade:
                plain, client = await loop.create_connection(Client, host, port)
                transport = await loop.start_tls(plain, client, context, server_hostname="localhost")
                assert transport is not None
            else:
                transport, client = await loop.create_connection(
                    Client, host, port, ssl=context, server_hostname="localhost"
                )
            await client.greeted
            tls_object = transport.get_extra_info("ssl_object")
            if close:
                transport.close()
                await client.lost
            return tls_object, transport, client

        yield connect


def run(loop_factory: Callable[[], asyncio.AbstractEventLoop], main: Callable[[], Awaitable[None]]) -> None:
    """Runs `main` on such a loop, which is closed only when the transports are."""

    async def settled() -> None:
        await main()
        loop = asyncio.get_running_loop()
        for attempt in range(220):
            if attempt >= 20 and not _left_behind(loop):
                return
            await asyncio.sleep(0 if attempt < 20 else 0.01)
        raise AssertionError(_left_behind(loop))

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(settled())


every_loop = pytest.mark.parametrize("loop_factory", LOOPS, ids=["asyncio", "uvloop"])


@every_version
@every_loop
@pytest.mark.parametrize("upgrade", [False, True])
def test_loop_resumes_after_the_client_closed(
    tls: TLSFiles, version: ssl.TLSVersion, loop_factory: Callable[[], asyncio.AbstractEventLoop], upgrade: bool
) -> None:
    async def main() -> None:
        async with greeting(tls, version) as connect:
            seen = [(await connect(upgrade=upgrade, close=True))[0].session_reused for _ in range(4)]
            assert seen == [False, True, True, True]

    run(loop_factory, main)


@every_version
@every_loop
def test_loop_resumes_while_the_first_connection_is_open(
    tls: TLSFiles, version: ssl.TLSVersion, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def main() -> None:
        async with greeting(tls, version) as connect:
            opened = [await connect() for _ in range(3)]
            assert [tls_object.session_reused for tls_object, _, _ in opened] == [False, True, True]
            for _, transport, client in opened:
                transport.close()
                await client.lost

    run(loop_factory, main)


@every_version
@every_loop
def test_loop_resumes_after_the_server_closed(
    tls: TLSFiles, version: ssl.TLSVersion, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def main() -> None:
        async with greeting(tls, version, ClosingGreeter) as connect:
            seen = []
            for _ in range(3):
                tls_object, _, client = await connect()
                await client.lost
                seen.append(tls_object.session_reused)
                del tls_object, client  # so that nothing but what was handed in can be resumed
            assert seen == [False, True, True]

    run(loop_factory, main)


# Configurations


async def test_nothing_is_resumed_where_no_place_is_given(tls: TLSFiles) -> None:
    async with greeting(tls, ssl.TLSVersion.TLSv1_3) as connect:
        for _ in range(2):
            assert not (await connect(None, close=True))[0].session_reused


async def test_what_is_loaded_for_a_place_is_for_its_handshakes_alone(tls: TLSFiles, tmp_path: Path) -> None:
    client_certificate = tmp_path / "client.pem"
    tls.authority.issue_cert("me@example.org").private_key_and_cert_chain_pem.write_to_path(str(client_certificate))
    cache, config = ContextCache(), SSLConfig(verify=tls.ca_path)
    plain = await cache.load(config, ALPN)
    here, there = await cache.load(config, ALPN, "here"), await cache.load(config, ALPN, "there")
    assert len({id(plain), id(here), id(there)}) == 3
    assert isinstance(here, ssl.SSLContext)
    assert await cache.load(config, ALPN, "here") is here
    variants = [
        config,
        SSLConfig(verify=False),
        SSLConfig(verify=str(tls.ca_path)),
        SSLConfig(client_certificate, verify=tls.ca_path),
        SSLConfig(verify=tls.ca_path, server_hostname="localhost"),
        SSLConfig(verify=tls.ca_path, pins=("A" * 43 + "=",)),
    ]
    loaded = [await cache.load(variant, ALPN, "here") for variant in variants]
    loaded.append(await cache.load(config, ("h2", "http/1.1"), "here"))
    assert len(set(map(id, loaded))) == len(loaded)


async def test_context_is_made_once_for_all_names_and_pins(tls: TLSFiles) -> None:
    cache, config = ContextCache(), SSLConfig(verify=tls.ca_path)
    context = await cache.load(config, ALPN)
    named = SSLConfig(verify=tls.ca_path, server_hostname="localhost")
    pinned = SSLConfig(verify=tls.ca_path, pins=("A" * 43 + "=",))
    assert await cache.load(named, ALPN) is await cache.load(pinned, ALPN) is context
    assert await cache.load(SSLConfig(pins=pinned.pins), ALPN) is create_context(SSLConfig(), ALPN)


async def test_ready_context_is_never_wrapped(tls: TLSFiles) -> None:
    context = tls.client_context
    assert await ContextCache().load(SSLConfig(verify=context), ALPN, "here") is context


# Through a pool


def closing(asked: Asked) -> Answer:
    return Answer(headers=[(b"connection", b"close")], body=b"hello")


def negotiated(response: Response) -> TLSInfo:
    assert response.exchange is not None and response.exchange.connection_info is not None
    info = response.exchange.connection_info.tls
    assert info is not None
    return info


@every_version
async def test_pool_resumes_and_says_so(tls: TLSFiles, version: ssl.TLSVersion) -> None:
    config = SSLConfig(verify=tls.ca_path)
    async with (
        listening(lambda: H11Server(closing), ssl_context=serving(tls, version)) as listener,
        ConnectionPool(config) as pool,
    ):
        seen = []
        for _ in range(3):
            response = await pool.request("GET", listener.url("localhost"))
            assert response.body == b"hello"
            seen.append(negotiated(response).session_reused)
            del response
        assert seen == [False, True, True]
        assert len(listener.protocols) == 3


async def test_pool_resumes_with_http2(tls: TLSFiles) -> None:
    async with version_server(tls, "h2") as listener, ConnectionPool(SSLConfig(verify=tls.ca_path), http2=True) as pool:
        first = await pool.request("GET", listener.url("localhost"))
        for protocol in listener.protocols:
            protocol.protocol.transport.close()  # type: ignore[attr-defined]
            await protocol.lost  # type: ignore[attr-defined]
        second = await pool.request("GET", listener.url("localhost"))
        assert first.body == second.body == b"over HTTP/2"
        assert [negotiated(first).session_reused, negotiated(second).session_reused] == [False, True]
        assert negotiated(second).alpn_protocol == "h2"


async def test_pool_resumes_nothing_for_another_port_or_name(tls: TLSFiles) -> None:
    context = serving(tls, ssl.TLSVersion.TLSv1_3)
    async with (
        listening(lambda: H11Server(closing), ssl_context=context) as one,
        listening(lambda: H11Server(closing), ssl_context=context) as other,  # which would take the other's tickets
        ConnectionPool(SSLConfig(verify=tls.ca_path)) as pool,
    ):
        for url in (one.url("localhost"), other.url("localhost"), one.url("127.0.0.1")):
            assert not negotiated(await pool.request("GET", url)).session_reused
        for url in (one.url("localhost"), other.url("localhost"), one.url("127.0.0.1")):
            assert negotiated(await pool.request("GET", url)).session_reused


@every_version
async def test_session_of_one_client_certificate_is_never_resumed_by_another_client(
    tls: TLSFiles, version: ssl.TLSVersion, tmp_path: Path
) -> None:
    server = serving(tls, version)
    server.verify_mode = ssl.CERT_OPTIONAL
    server.load_verify_locations(tls.ca_path)
    configs = [SSLConfig(verify=tls.ca_path)]
    for name in ("one", "two"):
        path = tmp_path / name
        tls.authority.issue_cert(f"{name}@example.org").private_key_and_cert_chain_pem.write_to_path(str(path))
        configs.append(SSLConfig(path, verify=tls.ca_path))
    async with (
        listening(lambda: H11Server(closing), ssl_context=server) as listener,
        ConnectionPool() as pool,
    ):
        for resumed in (False, True):
            for config in configs:
                response = await pool.send(Request("GET", listener.url("localhost")), ssl=config)
                assert negotiated(response).session_reused is resumed
        clients = []
        for protocol in listener.protocols:
            assert isinstance(protocol, H11Server)
            certificate = protocol.transport.get_extra_info("ssl_object").getpeercert()
            clients.append(certificate and certificate["subjectAltName"][0][1])
        assert clients == [None, "one@example.org", "two@example.org"] * 2


@every_version
async def test_what_was_not_verified_is_never_resumed_where_it_has_to_be(
    tls: TLSFiles, version: ssl.TLSVersion
) -> None:
    stranger = serving(tls, version, trustme.CA().issue_cert("localhost"))
    async with (
        listening(lambda: H11Server(closing), ssl_context=stranger) as listener,
        ConnectionPool() as pool,
    ):
        url = listener.url("localhost")
        for resumed in (False, True):
            response = await pool.request("GET", url, ssl=SSLConfig(verify=False))
            assert negotiated(response).session_reused is resumed
        with pytest.raises(ConnectError, match="the server's certificate was refused"):
            await pool.request("GET", url, ssl=SSLConfig(verify=tls.ca_path))


@every_version
async def test_pins_and_facts_are_there_on_a_resumed_connection(tls: TLSFiles, version: ssl.TLSVersion) -> None:
    certificate = tls.authority.issue_cert("localhost")
    der = ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode("ascii"))
    config = SSLConfig(verify=tls.ca_path, pins=(expected_pin(der),))
    async with (
        listening(lambda: H11Server(closing), ssl_context=serving(tls, version, certificate)) as listener,
        ConnectionPool(config) as pool,
    ):
        first, second = [negotiated(await pool.request("GET", listener.url("localhost"))) for _ in range(2)]
        assert first == second._replace(session_reused=False)
        assert second.session_reused and second.certificate == der and second.server_hostname == "localhost"
        with pytest.raises(ConnectError, match="none of those that were pinned"):
            await pool.request(
                "GET", listener.url("localhost"), ssl=SSLConfig(verify=tls.ca_path, pins=("A" * 43 + "=",))
            )

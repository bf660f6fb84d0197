"""TLS sessions: kept when a connection has one to resume, and offered to the same server by the next connection.

Event loops make their TLS objects with `ssl_context.wrap_bio()`, and say nothing of sessions. So what a dial gets is a
`ResumingContext`, which stands for the real one: it adds a session to the call, and gets a new one from the
`ResumableObject` that the call made. Everything here runs on the loop's thread.

To ask a connection for its session takes a third as long as a whole handshake on Pythons that copy it, and these never
free the copy (https://github.com/python/cpython/issues/116810). So it is asked once, when the next one is about to
begin: a server that is never dialled again costs nothing.
"""

from __future__ import annotations

import itertools
import socket
import ssl
import sys
import time
import weakref
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import NamedTuple, TypeAlias

__all__ = ["ResumableObject", "ResumingContext", "SessionCache"]

_SIZE = 256  # servers
_LIFETIME = (
    24 * 3600.0
)  # seconds; a server may renew its sessions for ever, and its certificate would never be looked at
_LINGERING = 32  # connections that were closed, and not asked for their sessions yet; each takes 30 KiB or more
_LEAKS = sys.version_info < (3, 12, 8) or (3, 13) <= sys.version_info < (3, 13, 1)

# Gives an item for each session that may still be asked for in this process. A copy that is lost is about 6 KiB.
_allowance: Iterator[object] = iter(range(2000)) if _LEAKS else itertools.repeat(None)


class _Kept(NamedTuple):
    """A session that may be resumed.

    Attributes:
        session: it.
        server_hostname: the name that was verified when it began; a resumed one brings no certificate to verify.
        verified_at: when that was, on the monotonic clock.
        proven: whether it may be offered by many at once: the server has resumed it, and it is older than TLS 1.3.
    """

    session: ssl.SSLSession
    server_hostname: str | None
    verified_at: float
    proven: bool = False


class ResumableObject(ssl.SSLObject):
    """A TLS connection that gives its session to the next one.

    To be asked for by a context's `sslobject_class`; does nothing more until a `ResumingContext` has made it.
    """

    _keeper: ResumingContext | None = None  # until it is closed
    _began_at = 0.0
    _offered: _Kept | None = None
    _given = False

    def _attend(self, keeper: ResumingContext, offered: _Kept | None) -> None:
        self._keeper = keeper
        self._began_at = time.monotonic()
        self._offered = offered

    def _give(self) -> _Kept | None:
        """Returns its session: once, and when there is one."""
        # None before the handshake is over, and after a fatal alert.
        if self._given or (version := self.version()) is None:
            return None
        if next(_allowance, self) is self or (session := self.session) is None:
            return None
        offered = self._offered
        # In TLS 1.3 tickets come after the handshake, until then there is no id; and none is used twice: who watches
        # the network would see that both connections are the same client's (RFC 8446 C.4).
        if version == "TLSv1.3" and session.id == (b"" if offered is None else offered.session.id):
            return None
        self._given = True
        verified_at = offered.verified_at if offered is not None and self.session_reused else self._began_at
        return _Kept(session, self.server_hostname, verified_at)

    def do_handshake(self) -> None:
        """Begins the connection, as in `ssl.SSLObject`."""
        super().do_handshake()
        if self._offered is not None and self._keeper is not None:
            if not self.session_reused:
                self._keeper._drop(self._offered)
            elif self.version() != "TLSv1.3":
                self._given = True
                self._keeper._keep(self._offered)

    def give_up(self) -> None:
        """The handshake will not be finished: perhaps because of the session that was offered."""
        if self._offered is not None and self._keeper is not None:
            self._keeper._drop(self._offered)

    def unwrap(self) -> None:
        """Closes the connection, as in `ssl.SSLObject`."""
        keeper, self._keeper = self._keeper, None  # with which it would be a cycle from now on
        if keeper is not None and not self._given:
            keeper._linger(self)
        super().unwrap()


class ResumingContext(ssl.SSLContext):
    """Stands for a context in all handshakes with one server. Only what makes connections of it is for use.

    It keeps one session alone, which no two offer at once: until the connection has another, or below TLS 1.3 until the
    server has resumed it. With a server that fails to, the next handshake begins anew.
    """

    def __new__(cls, context: ssl.SSLContext, lifetime: float, lingering: _Lingering) -> ResumingContext:
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self, context: ssl.SSLContext, lifetime: float, lingering: _Lingering) -> None:
        self._context = context
        self._lifetime = lifetime
        self._lingering = lingering
        self._kept: _Kept | None = None
        self._newest: weakref.ref[ResumableObject] | None = None
        self._closed: ResumableObject | None = None  # has a session, perhaps

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Makes a connection with the context that this one stands for, and resumes a session that is kept."""
        if session is not None:
            return self._context.wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        offered = self._take(server_hostname)
        session = None if offered is None else offered.session
        tls = self._context.wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        if isinstance(tls, ResumableObject):
            tls._attend(self, offered)
            self._newest = weakref.ref(tls)
        return tls

    def wrap_socket(
        self,
        sock: socket.socket,
        server_side: bool = False,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = True,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLSocket:
        """Makes a connection with the context that this one stands for."""
        return self._context.wrap_socket(
            sock, server_side, do_handshake_on_connect, suppress_ragged_eofs, server_hostname, session
        )

    def _keep(self, kept: _Kept) -> None:
        self._kept = kept._replace(proven=True)
        self._forget_closed()

    def _drop(self, offered: _Kept) -> None:
        if self._kept is not None and self._kept.session is offered.session:
            self._kept = None

    def _linger(self, tls: ResumableObject) -> None:
        if self._kept is not None and self._is_fresh(self._kept):
            return
        self._closed = tls
        lingering, reference = self._lingering, weakref.ref(self)
        lingering[reference] = None
        lingering.move_to_end(reference)
        if len(lingering) > _LINGERING:
            oldest = lingering.popitem(last=False)[0]()
            if oldest is not None:  # and so it has one: whoever has none is not here
                assert oldest._closed is not None
                oldest._kept = oldest._closed._give()
                oldest._closed = None

    def _forget_closed(self) -> None:
        self._closed = None
        self._lingering.pop(weakref.ref(self), None)

    def _is_fresh(self, kept: _Kept) -> bool:
        return time.monotonic() - kept.verified_at < self._lifetime

    def _take(self, server_hostname: str | bytes | None) -> _Kept | None:
        kept, self._kept = self._kept, None
        if kept is None:
            newest = None if self._newest is None else self._newest()
            if newest is not None:  # still open, perhaps, and its session can be resumed all the same
                kept = newest._give()
            if kept is None and self._closed is not None:
                kept = self._closed._give()
                self._forget_closed()
        if kept is None or kept.server_hostname != server_hostname or not self._is_fresh(kept):
            return None
        if kept.proven:
            self._kept = kept
        return kept


_Lingering: TypeAlias = OrderedDict[weakref.ref[ResumingContext], None]
"""Those who have a connection that was closed and not asked for its session, the one of longest ago first."""


class SessionCache:
    """The sessions of one pool: those of the servers that were dialled last.

    Args:
        size: with how many servers sessions are kept.
        lifetime: seconds after which a server's certificate is to be verified again, however often its session was
            renewed since then.
    """

    def __init__(self, size: int = _SIZE, lifetime: float = _LIFETIME) -> None:
        self._size = size
        self._lifetime = lifetime
        self._contexts: OrderedDict[Hashable, ResumingContext] = OrderedDict()
        self._lingering: _Lingering = OrderedDict()

    def context(self, key: Hashable, context: ssl.SSLContext) -> ssl.SSLContext:
        """Returns what stands for `context` in a handshake.

        Args:
            key: everything that must be equal for a session to be resumed: the server, the way there, whom to trust
                and as whom to appear (CVE-2016-5419, CVE-2021-22890).
            context: makes `ResumableObject`s; the same one each time for the same key.
        """
        resuming = self._contexts.get(key)
        if resuming is None:
            resuming = self._contexts[key] = ResumingContext(context, self._lifetime, self._lingering)
            if len(self._contexts) > self._size:
                self._contexts.popitem(last=False)
        else:
            self._contexts.move_to_end(key)
        return resuming

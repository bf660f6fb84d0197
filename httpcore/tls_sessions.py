"""TLS sessions: kept when a connection has one to resume, and offered to the same server by the next connection.

Event loops make their TLS objects with `ssl_context.wrap_bio()`, and say nothing of sessions. So what a dial gets is a
`ResumingContext`, which stands for the real one: it adds a session to the call, and gets a new one from the
`ResumableObject` that the call made. Everything here runs on the loop's thread.
"""

from __future__ import annotations

import socket
import ssl
import time
import weakref
from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple

__all__ = ["ResumableObject", "ResumingContext", "SessionCache"]

_SIZE = 256  # servers
_LIFETIME = (
    24 * 3600.0
)  # seconds; a server may renew its sessions for ever, and its certificate would never be looked at


class _Kept(NamedTuple):
    """A session that may be resumed.

    Attributes:
        session: it.
        server_hostname: the name that was verified when it began; a resumed one brings no certificate to verify.
        verified_at: when that was, on the monotonic clock.
    """

    session: ssl.SSLSession
    server_hostname: str | None
    verified_at: float


class ResumableObject(ssl.SSLObject):
    """A TLS connection that hands in its session: when it is closed, and when it is asked to.

    To be asked for by a context's `sslobject_class`; does nothing more until a `ResumingContext` has made it.
    """

    _keeper: ResumingContext | None = None
    _began_at = 0.0
    _offered: _Kept | None = None
    _seen: bytes = b""  # the id of the last session that was offered to the server, or handed in

    def _attend(self, keeper: ResumingContext, offered: _Kept | None) -> None:
        self._keeper = keeper
        self._began_at = time.monotonic()
        if offered is not None:
            self._offered = offered
            self._seen = offered.session.id

    def _hand_in(self) -> None:
        if self._keeper is None:
            return
        try:
            version, session = self.version(), self.session
        except ValueError:  # the handshake has begun, and there is half a session
            return
        if version is None or session is None:  # the handshake is not over, or a fatal alert has ended everything
            return
        # In TLS 1.3 tickets come after the handshake, until then there is no id; and none is used twice: who watches
        # the network would see that both connections are the same client's (RFC 8446 C.4).
        if version == "TLSv1.3" and session.id == self._seen:
            return
        self._seen = session.id
        verified_at = self._offered.verified_at if self._offered is not None and self.session_reused else self._began_at
        self._keeper._keep(_Kept(session, self.server_hostname, verified_at))

    def unwrap(self) -> None:
        """Closes the connection, as in `ssl.SSLObject`."""
        self._hand_in()
        super().unwrap()


class ResumingContext(ssl.SSLContext):
    """Stands for a context in all handshakes with one server. Only what makes connections of it is for use.

    It keeps the newest session alone. One that is offered is kept no more, until the connection hands in another, or
    below TLS 1.3 the same: with a server that fails to resume, the next handshake begins anew.
    """

    def __new__(cls, context: ssl.SSLContext, lifetime: float) -> ResumingContext:
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self, context: ssl.SSLContext, lifetime: float) -> None:
        self._context = context
        self._lifetime = lifetime
        self._kept: _Kept | None = None
        self._newest: weakref.ref[ResumableObject] | None = None

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
        self._kept = kept

    def _take(self, server_hostname: str | bytes | None) -> _Kept | None:
        newest = None if self._newest is None else self._newest()
        if newest is not None:  # still open, perhaps, and its session can be resumed all the same
            newest._hand_in()
        kept, self._kept = self._kept, None
        if (
            kept is None
            or kept.server_hostname != server_hostname
            or time.monotonic() - kept.verified_at >= self._lifetime
        ):
            return None
        return kept


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

    def context(self, key: Hashable, context: ssl.SSLContext) -> ssl.SSLContext:
        """Returns what stands for `context` in a handshake.

        Args:
            key: everything that must be equal for a session to be resumed: the server, the way there, whom to trust
                and as whom to appear (CVE-2016-5419, CVE-2021-22890).
            context: makes `ResumableObject`s; the same one each time for the same key.
        """
        resuming = self._contexts.get(key)
        if resuming is None:
            resuming = self._contexts[key] = ResumingContext(context, self._lifetime)
            if len(self._contexts) > self._size:
                self._contexts.popitem(last=False)
        else:
            self._contexts.move_to_end(key)
        return resuming

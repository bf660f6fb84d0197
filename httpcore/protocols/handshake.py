"""Negotiation: which version of HTTP a new connection speaks. Owns the transport until that is known (rule W2)."""

from __future__ import annotations

import asyncio
import ssl
from typing import NamedTuple, cast

from httpcore.config import HTTP2Config
from httpcore.exceptions import ConnectError, ReadError
from httpcore.pins import check_pins
from httpcore.protocols.base import HTTPProtocol
from httpcore.protocols.codecs import CodecName, check_codec_name, codec_named
from httpcore.protocols.http11 import HTTP11Protocol
from httpcore.tls_begin import start_tls
from httpcore.trace import TLSEstablished, TraceHook, emit
from httpcore.upgraded import UpgradedStream

__all__ = ["Negotiation", "Versions"]


class Versions(NamedTuple):
    """The versions of HTTP that may be spoken.

    Attributes:
        http1: whether HTTP/1.1 may be.
        http2: how HTTP/2 is; `None` if it may not be.
        http1_codec: what reads and writes HTTP/1.1.
    """

    http1: bool
    http2: HTTP2Config | None
    http1_codec: CodecName = "auto"

    @classmethod
    def of(cls, http1: bool, http2: bool | HTTP2Config, http1_codec: CodecName = "auto") -> Versions:
        """Returns what a caller asks for; `http2=True` is a default `HTTP2Config`.

        Raises:
            TypeError: one of them is something else.
            ValueError: both versions are `False`, or there is no such codec.
            ImportError: the codec needs an extra.
        """
        if not isinstance(http1, bool):
            raise TypeError(f"http1 takes a bool, not {type(http1).__name__}")
        if not isinstance(http2, (bool, HTTP2Config)):
            raise TypeError(f"http2 takes a bool or an HTTP2Config, not {type(http2).__name__}")
        if http1 is http2 is False:
            raise ValueError("http1 and http2 are both False: there is nothing left to speak")
        config = http2 if isinstance(http2, HTTP2Config) else HTTP2Config() if http2 else None
        name = check_codec_name(http1_codec)
        if http1:
            codec_named(name)  # imports it, which would hold up all connections if the first one did
        return cls(http1, config, name)

    @property
    def alpn_protocols(self) -> tuple[str, ...]:
        """What is offered to a server over TLS, the preferred one first (RFC 7301)."""
        return ("h2",) * (self.http2 is not None) + ("http/1.1",) * self.http1


class Negotiation(asyncio.Protocol):
    """Stands on a new transport until it knows the version, and then puts the protocol that speaks it there.

    Over TLS the server has chosen by ALPN by then; without, HTTP/2 is spoken only where nothing else may be, as it
    cannot be known beforehand whether a server understands it ("prior knowledge", RFC 9113 3.3).

    Args:
        versions: what may be spoken.
        pins: of `SSLConfig`: the certificates that may be met.
    """

    def __init__(self, versions: Versions, pins: tuple[str, ...] = ()) -> None:
        self._versions = versions
        self._pins = pins
        self._protocol: HTTPProtocol | None = None
        self._early = b""  # what came before connection_made, which is late where TLS begins on a transport
        self._early_eof = False
        self._early_loss = False
        self._plain = False  # whether the server has no part in what TLS there is: it is an https proxy's, around us
        self._refusal = "the connector gave a protocol whose connection_made was not called"
        self._cause: Exception | None = None

    async def begin(
        self,
        stream: UpgradedStream,
        context: ssl.SSLContext | None,
        server_hostname: str | None,
        trace: TraceHook | None,
    ) -> None:
        """Takes the transport of `stream`, which ends that, and begins on it: with TLS, if there is a `context`.

        Args:
            stream: the bytes from and to the server.
            context: for TLS; `None` without.
            server_hostname: the name to ask for and to verify; `None` without TLS.
            trace: a hook, `None` without one.

        Raises:
            ConnectError, ConnectTimeout: TLS failed, or the connection is gone.
        """
        try:
            transport, unread = stream.detach()
        except ReadError as exc:
            raise ConnectError(f"the connection was closed as soon as it was made: {exc}") from exc
        transport.set_protocol(self)  # at once: whom the transport had before was told that it is gone
        self._plain = context is None
        if context is not None and unread:
            transport.abort()
            raise ConnectError("the server sent something before TLS began")
        if context is not None:
            transport = await start_tls(transport, self, context, server_hostname)
            if trace is not None:
                loop, tls = asyncio.get_running_loop(), transport.get_extra_info("ssl_object")
                emit(trace, TLSEstablished(loop.time(), tls.version(), tls.selected_alpn_protocol()), loop)
        self.connection_made(transport)
        if unread:
            self.data_received(unread)

    def abandon(self) -> None:
        """Closes the connection now, if there is one: nobody will ask for the result."""
        if self._protocol is not None:
            self._protocol.abort(ConnectError("nobody wants the connection"))

    def result(self) -> HTTPProtocol:
        """Returns the protocol, whose `connection_made` was called. To be asked after this one's was.

        Raises:
            ConnectError: the server chose a version that may not be spoken, or the transport takes no other protocol.
                It was aborted.
        """
        if self._protocol is None:
            raise ConnectError(self._refusal) from self._cause
        return self._protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there, and over TLS the version is known."""
        transport = cast("asyncio.Transport", transport)  # uvloop's do not derive from it
        if self._early_loss:  # nobody would tell a protocol of it
            self._refusal = "the connection was lost as soon as it was made"
            return
        try:
            protocol = self._choose(transport)
            if protocol is not None:
                transport.set_protocol(protocol)
                protocol.connection_made(transport)
                if self._plain:  # who asks for its TLS asks whether the origin was verified, and its bytes are safe
                    protocol.info = protocol.info._replace(ssl_object=None, tls=None)
                self._protocol = protocol
                if self._early:
                    protocol.data_received(self._early)
                if self._early_eof and not protocol.eof_received():
                    transport.close()
                return
        except ConnectError as exc:
            self._refusal = str(exc)
        except Exception as exc:  # transports of others may raise anything
            self._refusal = f"the transport cannot be used: {exc!r}"
            self._cause = exc
        transport.abort()

    def _choose(self, transport: asyncio.Transport) -> HTTPProtocol | None:
        http1, http2, http1_codec = self._versions
        tls = None if self._plain else transport.get_extra_info("ssl_object")
        if self._pins:
            check_pins(self._pins, tls)  # first: a connector whose own TLS shows no certificate passes no pin
        if tls is None:
            use_http2 = not http1
        else:
            selected = tls.selected_alpn_protocol()
            use_http2 = selected == "h2"
            if use_http2 and http2 is None:
                self._refusal = (
                    "the server selected h2 by ALPN, but HTTP/2 may not be spoken here: http2=False, or the request "
                    "has an upgrade field. The ssl.SSLContext that was given must not offer h2 then"
                )
                return None
            if not use_http2 and not http1:
                self._refusal = (
                    f"the server selected {selected or 'nothing'} by ALPN, not h2, and http1=False forbids to speak "
                    "HTTP/1.1. An ssl.SSLContext of your own has to offer h2: context.set_alpn_protocols(['h2'])"
                )
                return None
        if use_http2:
            from httpcore.protocols.http2 import HTTP2Protocol  # not before a server is known to speak it

            assert http2 is not None
            return HTTP2Protocol(http2)
        return HTTP11Protocol(codec_named(http1_codec))

    # Nothing is lost on a transport that goes on calling the first protocol, or calls it early.

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._protocol is not None:
            self._protocol.data_received(data)
        else:
            self._early += data

    def eof_received(self) -> bool | None:
        """The peer sends no more."""
        if self._protocol is not None:
            return self._protocol.eof_received()
        self._early_eof = True
        return None

    def pause_writing(self) -> None:
        """The transport's buffer is full."""
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """It has room again."""
        if self._protocol is not None:
            self._protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        if self._protocol is not None:
            self._protocol.connection_lost(exc)
        else:
            self._early_loss = True

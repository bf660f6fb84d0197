"""TLS contexts: made from an `SSLConfig`, off the loop's thread; the default ones once per process."""

from __future__ import annotations

import asyncio
import functools
import os
import ssl
import sys
import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import replace

from httpcore.config import SSLConfig
from httpcore.exceptions import ConnectError
from httpcore.tls_sessions import ResumableObject, SessionCache

__all__ = ["ContextCache", "create_context", "describe_tls_error"]

_SIZE = 128  # contexts, each of which may have a file of authorities parsed in it
_OWN_VERIFIERS = ("darwin", "win32")  # systems that verify by themselves, which truststore asks to do so

_default_lock = threading.Lock()  # two loops in two threads may ask for the default context at once


def create_context(config: SSLConfig, alpn_protocols: tuple[str, ...]) -> ssl.SSLContext:
    """Returns a context for `config`: TLS 1.2 or newer.

    Reads files, and takes tens of milliseconds to parse the authorities: call it off the loop's thread. A context
    that the caller brought is returned as it is, whatever it offers.

    Args:
        config: whom to trust, and as whom.
        alpn_protocols: what is offered to the server, the preferred one first (RFC 7301).

    Raises:
        ConnectError: a file is missing, unreadable or holds something else; the cause is chained.
    """
    if isinstance(config.verify, ssl.SSLContext):
        return config.verify
    try:
        return _default_context(alpn_protocols) if config == SSLConfig() else _build(config, alpn_protocols)
    except (OSError, ssl.SSLError, ValueError) as exc:
        raise ConnectError(f"the TLS configuration cannot be loaded: {exc} ({config!r})") from exc


@functools.cache
def _default_context_once(alpn_protocols: tuple[str, ...]) -> ssl.SSLContext:
    return _build(SSLConfig(), alpn_protocols)


def _default_context(alpn_protocols: tuple[str, ...]) -> ssl.SSLContext:
    with _default_lock:
        return _default_context_once(alpn_protocols)


def _build(config: SSLConfig, alpn_protocols: tuple[str, ...]) -> ssl.SSLContext:
    # create_default_context also honours SSLKEYLOGFILE, which a bare SSLContext does not.
    if config.trust_store == "system":
        context = _system_context()
    elif config.verify is True:
        import certifi  # not for programs that never speak TLS, or with authorities of their own

        context = ssl.create_default_context(cafile=certifi.where())
    elif config.verify is False:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        assert not isinstance(config.verify, (bool, ssl.SSLContext))
        path = os.fspath(config.verify)
        is_folder = os.path.isdir(path)
        context = ssl.create_default_context(cafile=None if is_folder else path, capath=path if is_folder else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(alpn_protocols)
    if config.cert is not None:
        parts = config.cert if isinstance(config.cert, tuple) else (config.cert,)
        # A password that is given is always used, and one that is missing must never be asked for on a terminal.
        password = parts[2] if len(parts) == 3 else ""
        context.load_cert_chain(parts[0], parts[1] if len(parts) > 1 else None, password=lambda: password)
    if type(context) is ssl.SSLContext:
        context.sslobject_class = ResumableObject
    return context


def _system_context() -> ssl.SSLContext:
    # Where the authorities are a file that OpenSSL finds by itself, truststore would read it for each connection, and
    # on the loop's thread: 18 ms each time.
    if sys.platform not in _OWN_VERIFIERS and ssl.get_default_verify_paths().cafile is not None:
        return ssl.create_default_context()
    import truststore

    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    keylog = os.environ.get("SSLKEYLOGFILE")
    if keylog and not sys.flags.ignore_environment:
        context.keylog_filename = keylog
    return context


class ContextCache:
    """The contexts of one pool, each made once and off the loop's thread, and the sessions that can be resumed.

    Args:
        size: how many contexts are kept: those used last.
    """

    def __init__(self, size: int = _SIZE) -> None:
        self._size = size
        self._contexts: OrderedDict[tuple[SSLConfig, tuple[str, ...]], ssl.SSLContext] = OrderedDict()
        self._lock = threading.Lock()  # a hundred first requests at once must not make a hundred contexts
        self._sessions = SessionCache()

    async def load(self, config: SSLConfig, alpn_protocols: tuple[str, ...], where: Hashable = None) -> ssl.SSLContext:
        """Returns the context for `config` that offers `alpn_protocols`.

        Args:
            config: whom to trust, and as whom.
            alpn_protocols: as for `create_context`.
            where: the server, and the way there. What is returned then is for handshakes with that server alone: it
                resumes the sessions of earlier ones, if they had an equal `config` and `alpn_protocols`. `None`
                resumes none. A context that the caller brought, and one that the operating system verifies for, never
                does: they are returned as they are.

        Raises:
            ConnectError: as for `create_context`.
        """
        if isinstance(config.verify, ssl.SSLContext):
            return config.verify
        # Names and pins are not the context's, and to make one takes long.
        general = replace(config, server_hostname=None, pins=()) if config.server_hostname or config.pins else config
        key = general, alpn_protocols
        context = self._contexts.pop(key, None)
        if context is None:
            context = await asyncio.get_running_loop().run_in_executor(None, self._create, key)
        self._contexts[key] = context  # at the end, as the one used last
        if len(self._contexts) > self._size:
            self._contexts.popitem(last=False)
        if where is None or context.sslobject_class is not ResumableObject:
            return context
        return self._sessions.context((where, config, alpn_protocols), context)

    def _create(self, key: tuple[SSLConfig, tuple[str, ...]]) -> ssl.SSLContext:
        with self._lock:
            context = self._contexts.get(key)
            if context is None:
                context = self._contexts[key] = create_context(*key)
            return context


def describe_tls_error(exc: Exception) -> str:
    """Returns in words why a handshake failed: the certificate's fault where there is one."""
    # Errors that the ssl module's C code did not raise lack its attributes, and some of asyncio's lack words.
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"the server's certificate was refused: {getattr(exc, 'verify_message', exc)}"
    words = getattr(exc, "reason", None) or getattr(exc, "strerror", None)
    return f"the TLS handshake failed: {words or str(exc) or type(exc).__name__}"

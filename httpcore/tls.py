"""TLS contexts: made from an `SSLConfig`, off the loop's thread, and the default one once per process."""

from __future__ import annotations

import asyncio
import functools
import os
import ssl
import threading

import certifi

from httpcore.config import SSLConfig
from httpcore.exceptions import ConnectError

__all__ = ["ContextCache", "create_context", "describe_tls_error"]

_ALPN_PROTOCOLS = ["http/1.1"]
_default_lock = threading.Lock()  # two loops in two threads may ask for the default context at once


def create_context(config: SSLConfig) -> ssl.SSLContext:
    """Returns a context for `config`: TLS 1.2 or newer, ALPN `http/1.1`.

    Reads files, and takes tens of milliseconds to parse the authorities: call it off the loop's thread. A context
    that the caller brought is returned as it is.

    Raises:
        ConnectError: a file is missing, unreadable or holds something else; the cause is chained.
    """
    if isinstance(config.verify, ssl.SSLContext):
        return config.verify
    try:
        return _default_context() if config == SSLConfig() else _build(config)
    except (OSError, ssl.SSLError, ValueError) as exc:
        raise ConnectError(f"the TLS configuration cannot be loaded: {exc} ({config!r})") from exc


@functools.cache
def _default_context_once() -> ssl.SSLContext:
    return _build(SSLConfig())


def _default_context() -> ssl.SSLContext:
    with _default_lock:
        return _default_context_once()


def _build(config: SSLConfig) -> ssl.SSLContext:
    # create_default_context also honours SSLKEYLOGFILE, which a bare SSLContext does not.
    if config.verify is True:
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
    context.set_alpn_protocols(_ALPN_PROTOCOLS)
    if config.cert is not None:
        parts = config.cert if isinstance(config.cert, tuple) else (config.cert,)
        # A password that is given is always used, and one that is missing must never be asked for on a terminal.
        password = parts[2] if len(parts) == 3 else ""
        context.load_cert_chain(parts[0], parts[1] if len(parts) > 1 else None, password=lambda: password)
    return context


class ContextCache:
    """The contexts of one pool, each made once and off the loop's thread."""

    def __init__(self) -> None:
        self._contexts: dict[SSLConfig, ssl.SSLContext] = {}
        self._lock = threading.Lock()  # a hundred first requests at once must not make a hundred contexts

    async def load(self, config: SSLConfig) -> ssl.SSLContext:
        """Returns the context for `config`.

        Raises:
            ConnectError: as for `create_context`.
        """
        context = self._contexts.get(config)
        if context is None:
            context = await asyncio.get_running_loop().run_in_executor(None, self._create, config)
        return context

    def _create(self, config: SSLConfig) -> ssl.SSLContext:
        with self._lock:
            if config not in self._contexts:
                self._contexts[config] = create_context(config)
            return self._contexts[config]


def describe_tls_error(exc: OSError) -> str:
    """Returns in words why a handshake failed: the certificate's fault where there is one."""
    # Errors that the ssl module's C code did not raise lack its attributes, and some of asyncio's lack words.
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"the server's certificate was refused: {getattr(exc, 'verify_message', exc)}"
    return f"the TLS handshake failed: {getattr(exc, 'reason', None) or exc.strerror or str(exc) or type(exc).__name__}"

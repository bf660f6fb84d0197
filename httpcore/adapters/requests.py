"""The adapter for requests: its sessions, on our blocking pool.

    session = requests.Session()
    session.mount("https://", HTTPAdapter())
    session.mount("http://", HTTPAdapter())

Everything else stays as it is, and HTTP/2 is spoken with servers that offer it. Needs requests 2.32 or later, and
urllib3 2.1, which comes with it: `response.raw` is a response of urllib3's, as users of requests know it, and decodes
content; only where its bytes come from is ours.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import os
import ssl
import threading
from collections.abc import Iterable
from typing import TypeAlias, Unpack, cast

import requests.adapters
from requests import exceptions
from requests.cookies import extract_cookies_to_jar
from requests.models import PreparedRequest, Response
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers, prepend_scheme_if_needed, select_proxy, urldefragauth
from urllib3.exceptions import LocationParseError
from urllib3.util import SKIP_HEADER, Timeout, parse_url

from httpcore.adapters._options import PoolOptions
from httpcore.adapters._requests_response import RawResponse, is_tls_error
from httpcore.config import PoolLimits, SSLConfig, TimeoutConfig
from httpcore.exceptions import (
    ConnectError,
    ConnectTimeout,
    HTTPCoreError,
    InvalidURL,
    LocalProtocolError,
    NetworkError,
    PoolTimeout,
    ProxyError,
    ReadTimeout,
    TotalTimeout,
    UnsupportedProtocol,
    WriteTimeout,
)
from httpcore.proxies import Proxy
from httpcore.request import BodyTypes, Request
from httpcore.sync import SyncConnectionPool, SyncResponse

__all__ = ["HTTPAdapter", "RawResponse", "RequestWriteTimeout"]

_Path: TypeAlias = str | os.PathLike[str]
_Cert: TypeAlias = _Path | tuple[_Path, _Path]
_Timeout: TypeAlias = float | tuple[float | None, float | None] | Timeout | TimeoutConfig | None

_TEXT_CHUNK = 64 * 1024  # characters of a text file that are read and encoded at a time


class RequestWriteTimeout(exceptions.ConnectionError, exceptions.Timeout):
    """The server took none of the request in time. requests has no name of its own for it."""


class HTTPAdapter(requests.adapters.BaseAdapter):
    """Sends a session's requests over a `SyncConnectionPool`.

    May be mounted for several prefixes and used from any number of threads. As with requests' own adapter, there may
    be as many connections as there are requests at once, and some more that were begun for requests that got another
    sooner, unless `limits` says otherwise; nothing is timed out, unless a request's `timeout` says so; and a session
    that was closed can be used again, if the pool is the adapter's own.

    A request's `verify`, `cert` and proxies count for that request. Where they say nothing (`verify=True`, no `cert`,
    no proxy) the pool's own `ssl` and `proxy` do. Proxies may be `http`, `https`, `socks5`, `socks5h`, `socks4` and
    `socks4a`; `verify` is for the TLS to an `https` proxy, too.

    `timeout` is what requests takes (seconds, a pair for connecting and reading, urllib3's `Timeout`, `None`), or a
    `TimeoutConfig`. The seconds for reading are for each piece, and for writing as well. urllib3's `total` is the
    most that either of the two may be.

    `response.raw` is a `RawResponse`.

    Args:
        pool: the pool. It is closed with the adapter, and then for good. `None` makes one.
        options: the arguments of that one: see `ConnectionPool`.

    Raises:
        TypeError: there are both a pool and arguments for one, or an argument is something else.
        ValueError: an argument is impossible.
    """

    def __init__(self, pool: SyncConnectionPool | None = None, **options: Unpack[PoolOptions]) -> None:
        super().__init__()
        if pool is not None and options:
            raise TypeError("give a pool or the arguments of one, not both")
        if pool is not None and not isinstance(pool, SyncConnectionPool):
            raise TypeError(f"pool takes a SyncConnectionPool, not {type(pool).__name__}")
        self._set_up(pool, options)

    def _set_up(self, pool: SyncConnectionPool | None, options: PoolOptions) -> None:
        self._options = options
        self._ssl = SSLConfig.of(options.get("ssl"))
        self._lock = threading.Lock()
        self._given = pool is not None
        self._pool: SyncConnectionPool | None = self._make_pool() if pool is None else pool

    def _make_pool(self) -> SyncConnectionPool:
        options: PoolOptions = {"limits": PoolLimits(hard_limit=None), **self._options}
        pool: SyncConnectionPool = SyncConnectionPool(**options)
        return pool

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,
        timeout: _Timeout = None,
        verify: bool | _Path | None = True,
        cert: _Cert | None = None,
        proxies: dict[str, str] | None = None,
    ) -> Response:
        """Sends a prepared request and returns the response once its head came: `Session.send` reads the content.

        Args:
            request: the request.
            stream: of no account here.
            timeout: see the class.
            verify: whether the server's certificate is verified, or the file or folder of the authorities for that.
            cert: the client's certificate: the path of a PEM file, or a pair with the path of the key.
            proxies: the URLs of proxies by scheme, or by scheme and host.

        Raises:
            requests.ConnectTimeout, requests.ReadTimeout, RequestWriteTimeout: it took too long.
            requests.exceptions.SSLError: TLS failed, most often over a certificate.
            requests.exceptions.ProxyError: the proxy was not reached, or refused.
            requests.ConnectionError: there is no connection, or it broke.
            InvalidURL, InvalidSchema, InvalidHeader, InvalidProxyURL: of `requests.exceptions`; it cannot be sent.
            requests.RequestException: it broke a rule of HTTP only on its way, as with a body of another length than
                its header says.
            OSError: there are no files where `verify` or `cert` lead.
            ValueError: a timeout is impossible.
        """
        prepared = _prepare(request)
        seconds = _timeouts(timeout)
        tls = _ssl_of(self._ssl, verify, cert)
        proxy = self._choose_proxy(request, verify, proxies)
        try:
            response = self._open_pool().send(prepared, True, timeout=seconds, decode=False, ssl=tls, proxy=proxy)
        except HTTPCoreError as exc:
            raise _translate(exc, request) from exc
        return self._build_response(request, response)

    def close(self) -> None:
        """Closes the pool, also one that was given: its idle connections, and the others once their responses end.

        The next request makes a new one, unless it was given.
        """
        with self._lock:
            pool = self._pool
            if not self._given:
                self._pool = None
        if pool is not None:
            pool.close()

    def _open_pool(self) -> SyncConnectionPool:
        pool = self._pool
        if pool is None:
            with self._lock:
                pool = self._pool = self._pool or self._make_pool()
        return pool

    def _choose_proxy(
        self, request: PreparedRequest, verify: bool | _Path | None, proxies: dict[str, str] | None
    ) -> Proxy | None:
        url = select_proxy(cast(str, request.url), proxies) if proxies else None
        if not url:
            return None
        try:
            url = prepend_scheme_if_needed(url, "http")
            if not parse_url(url).host:
                raise exceptions.InvalidProxyURL("the proxy's URL is malformed, and may have no host", request=request)
            return _make_proxy(url, _ssl_of(SSLConfig(), verify, None))
        except (InvalidURL, UnsupportedProtocol, LocationParseError) as exc:
            raise exceptions.InvalidProxyURL(exc, request=request) from exc

    def _build_response(self, request: PreparedRequest, received: SyncResponse) -> Response:
        raw = RawResponse(received, cast(str, request.url))
        response = Response()
        response.status_code = raw.status
        response.headers = CaseInsensitiveDict(raw.headers)
        response.encoding = get_encoding_from_headers(response.headers)
        response.raw = raw
        response.reason = raw.reason or ""
        response.url = cast(str, request.url)
        response.request = request
        response.connection = self  # type: ignore[assignment]  # any adapter will do
        extract_cookies_to_jar(response.cookies, request, raw)
        return response

    def __getstate__(self) -> dict[str, object]:
        if self._given:
            raise TypeError("an adapter whose pool was given cannot be pickled: let it make one")
        return {"options": self._options}

    def __setstate__(self, state: dict[str, PoolOptions]) -> None:
        self._set_up(None, state["options"])


def _prepare(prepared: PreparedRequest) -> Request:
    url = prepared.url
    if not url or not prepared.method:
        raise exceptions.MissingSchema("the request has no URL or no method: it was not prepared", request=prepared)
    if "@" in url:
        url = urldefragauth(url)  # requests has made a header field of it, or was told not to
    try:
        fields = [
            (name, value.encode("latin-1") if isinstance(value, str) else value)
            for name, value in prepared.headers.items()
            if value != SKIP_HEADER
        ]
        return Request(prepared.method, url, fields, _body(prepared.body))
    except InvalidURL as exc:
        raise exceptions.InvalidURL(exc, request=prepared) from exc
    except UnsupportedProtocol as exc:
        raise exceptions.InvalidSchema(exc, request=prepared) from exc
    except (LocalProtocolError, UnicodeEncodeError) as exc:
        raise exceptions.InvalidHeader(exc, request=prepared) from exc


def _body(body: object) -> BodyTypes:
    """Returns a body as we take it: text is UTF-8, as urllib3 has it."""
    if isinstance(body, io.TextIOBase):
        return iter(lambda: body.read(_TEXT_CHUNK).encode(), b"")
    if body is None or isinstance(body, (str, bytes, bytearray, memoryview)) or hasattr(body, "read"):
        return cast(BodyTypes, body)
    return map(_encode, cast(Iterable[str | bytes], body))


def _encode(chunk: str | bytes) -> bytes:
    return chunk.encode() if isinstance(chunk, str) else chunk


def _timeouts(timeout: _Timeout) -> TimeoutConfig:
    if isinstance(timeout, TimeoutConfig):
        return timeout
    if isinstance(timeout, Timeout):
        started = timeout.clone()
        started.start_connect()  # it gives no read timeout before
        resolve = Timeout.resolve_default_timeout
        return _timeout_config(resolve(started.connect_timeout), resolve(started.read_timeout))
    if isinstance(timeout, tuple):
        if len(timeout) != 2:
            raise ValueError(f"timeout takes seconds, or a pair for connecting and reading, not {timeout!r}")
        return _timeout_config(*timeout)
    return _timeout_config(timeout, timeout)


@functools.lru_cache(maxsize=64, typed=True)  # typed: True is no number of seconds, though it equals 1
def _timeout_config(connect: float | None, read: float | None) -> TimeoutConfig:
    return TimeoutConfig(connect_timeout=connect, read_timeout=read, write_timeout=read)


def _ssl_of(base: SSLConfig, verify: bool | _Path | None, cert: _Cert | None) -> SSLConfig | None:
    """Returns `base` with what a request says in the place of its own; `None` where it says nothing."""
    if (verify is True or verify is None) and not cert:
        return None
    files = [cert] if isinstance(cert, (str, os.PathLike)) else cert or []
    trusted = verify if isinstance(verify, bool) or verify is None else os.fspath(verify)
    return _ssl_config(base, trusted, tuple(os.fspath(file) for file in files if file))


@functools.lru_cache(maxsize=64)
def _ssl_config(base: SSLConfig, verify: bool | str | None, cert: tuple[str, ...]) -> SSLConfig:
    for path in (verify, *cert):
        if isinstance(path, str) and not os.path.exists(path):
            what = "the client's certificate or key" if path in cert else "the authorities to verify with"
            raise OSError(f"{what} cannot be found: there is nothing at {path!r}")
    if isinstance(base.verify, ssl.SSLContext):
        # It is used as it is: what is asked for cannot be loaded into it.
        base = dataclasses.replace(base, verify=True)
    if verify is not True and verify is not None:
        base = dataclasses.replace(base, verify=verify, trust_store="certifi")
    if not cert:
        return base
    return dataclasses.replace(base, cert=cert[0] if len(cert) == 1 else (cert[0], cert[1]))


@functools.lru_cache(maxsize=64)
def _make_proxy(url: str, tls: SSLConfig | None) -> Proxy:
    return Proxy(url, ssl=tls if url.lower().startswith("https:") else None)


def _translate(error: HTTPCoreError, request: PreparedRequest) -> exceptions.RequestException:
    return _kind(error)(error, request=request)


def _kind(error: HTTPCoreError) -> type[exceptions.RequestException]:
    if isinstance(error, (ConnectTimeout, PoolTimeout)):
        return exceptions.ConnectTimeout
    if isinstance(error, (ReadTimeout, TotalTimeout)):
        return exceptions.ReadTimeout
    if isinstance(error, WriteTimeout):
        return RequestWriteTimeout
    # Of a connection to a proxy, what is told is that there is none; why is the cause.
    if isinstance(error, ProxyError) or isinstance(error.__cause__, ConnectError):
        return exceptions.ProxyError
    if isinstance(error, NetworkError) and is_tls_error(error):
        return exceptions.SSLError
    return exceptions.RequestException if isinstance(error, LocalProtocolError) else exceptions.ConnectionError

"""httpcore: a low-level asyncio HTTP client, built the way asyncio itself is built."""

import importlib
import typing

from httpcore.config import HTTP2Config, PoolLimits, SSLConfig, TimeoutConfig
from httpcore.exceptions import (
    BadResponse,
    ConnectError,
    ConnectTimeout,
    DecodingError,
    HTTPCoreError,
    InvalidURL,
    LocalProtocolError,
    NetworkError,
    Phase,
    PoolClosed,
    PoolTimeout,
    ProtocolError,
    ProxyError,
    ReadError,
    ReadTimeout,
    RemoteProtocolError,
    ResponseClosed,
    ResponseNotRead,
    ResponseTooLarge,
    StreamConsumed,
    Timeout,
    TimeoutException,
    TotalTimeout,
    UnsupportedProtocol,
    WriteError,
    WriteTimeout,
)
from httpcore.handlers import ConnectionInfo, Exchange, ResponseHandler, ResponseHead, Timings, TLSInfo
from httpcore.headers import HOP_BY_HOP, Headers, without_hop_by_hop
from httpcore.namesakes import share_name as _share_name
from httpcore.network import (
    CachingResolver,
    EgressCandidate,
    NetworkConfig,
    Resolution,
    public_addresses_only,
)
from httpcore.pool import ClientConnection, ConnectionPool, Connector, TCPConnector
from httpcore.protocols import HTTP11Protocol
from httpcore.proxies import DIRECT, Proxy
from httpcore.proxy_protocol import ProxyProtocol
from httpcore.request import PUSHED, Request
from httpcore.response import Response
from httpcore.tls_begin import start_tls
from httpcore.trace import TraceEvent
from httpcore.upgraded import UpgradedStream
from httpcore.urls import URL, Origin

__version__ = "1.100.0"

# What many programs never use is imported when its name is first asked for. The names of `httpcore.compat` are those of
# httpcore 1.x that httpx 0.28 uses.
if typing.TYPE_CHECKING:
    from httpcore.compat import AsyncConnectionPool as AsyncConnectionPool
    from httpcore.compat import AsyncHTTPProxy as AsyncHTTPProxy
    from httpcore.compat import AsyncSOCKSProxy as AsyncSOCKSProxy
    from httpcore.compat import HTTPProxy as HTTPProxy
    from httpcore.compat import SOCKSProxy as SOCKSProxy
    from httpcore.environment import proxies_from_environment
    from httpcore.protocols import HTTP2Protocol
    from httpcore.sync import SyncConnectionPool, SyncResponse, SyncUpgradedStream
else:
    _LATER = {
        "AsyncConnectionPool": "httpcore.compat",
        "AsyncHTTPProxy": "httpcore.compat",
        "AsyncSOCKSProxy": "httpcore.compat",
        "HTTP2Protocol": "httpcore.protocols",
        "HTTPProxy": "httpcore.compat",
        "SOCKSProxy": "httpcore.compat",
        "SyncConnectionPool": "httpcore.sync",
        "SyncResponse": "httpcore.sync",
        "SyncUpgradedStream": "httpcore.sync",
        "proxies_from_environment": "httpcore.environment",
    }

    def __getattr__(name: str) -> object:
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(_LATER[name]), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


_share_name(URL, "httpcore.compat", {"scheme", "host", "port", "target"})
_share_name(Request, "httpcore.compat", {"content", "extensions"})
_share_name(
    ConnectionPool,
    "httpcore.compat",
    {
        "keepalive_expiry",
        "local_address",
        "max_connections",
        "max_keepalive_connections",
        "network_backend",
        "retries",
        "socket_options",
        "ssl_context",
        "uds",
    },
)

__all__ = [
    "DIRECT",
    "HOP_BY_HOP",
    "PUSHED",
    "URL",
    "BadResponse",
    "CachingResolver",
    "ClientConnection",
    "ConnectError",
    "ConnectTimeout",
    "ConnectionInfo",
    "ConnectionPool",
    "Connector",
    "DecodingError",
    "EgressCandidate",
    "Exchange",
    "HTTP2Config",
    "HTTP2Protocol",
    "HTTP11Protocol",
    "HTTPCoreError",
    "Headers",
    "InvalidURL",
    "LocalProtocolError",
    "NetworkConfig",
    "NetworkError",
    "Origin",
    "Phase",
    "PoolClosed",
    "PoolLimits",
    "PoolTimeout",
    "ProtocolError",
    "Proxy",
    "ProxyError",
    "ProxyProtocol",
    "ReadError",
    "ReadTimeout",
    "RemoteProtocolError",
    "Request",
    "Resolution",
    "Response",
    "ResponseClosed",
    "ResponseHandler",
    "ResponseHead",
    "ResponseNotRead",
    "ResponseTooLarge",
    "SSLConfig",
    "StreamConsumed",
    "SyncConnectionPool",
    "SyncResponse",
    "SyncUpgradedStream",
    "TCPConnector",
    "TLSInfo",
    "Timeout",
    "TimeoutConfig",
    "TimeoutException",
    "Timings",
    "TotalTimeout",
    "TraceEvent",
    "UnsupportedProtocol",
    "UpgradedStream",
    "WriteError",
    "WriteTimeout",
    "__version__",
    "proxies_from_environment",
    "public_addresses_only",
    "start_tls",
    "without_hop_by_hop",
]

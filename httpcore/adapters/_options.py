"""The arguments of a pool, as all adapters take them for the one that they make."""

from __future__ import annotations

from typing import TypedDict

from httpcore.config import HTTP2Config, PoolLimits, SSLTypes, TimeoutTypes
from httpcore.network import NetworkConfig
from httpcore.pool import Connector
from httpcore.protocols.codecs import CodecName
from httpcore.proxies import ProxyChooser, ProxyOverride
from httpcore.proxy_protocol import ProxyProtocol
from httpcore.trace import TraceHook

__all__ = ["PoolOptions"]


class PoolOptions(TypedDict, total=False):
    """The arguments of `ConnectionPool`."""

    ssl: SSLTypes
    timeout: TimeoutTypes
    limits: PoolLimits | None
    http1: bool
    http2: bool | HTTP2Config
    http1_codec: CodecName
    trace: TraceHook | None
    max_body_size: int | None
    high_water: int
    low_water: int
    proxy: ProxyOverride | ProxyChooser | None
    network: NetworkConfig | None
    proxy_protocol: ProxyProtocol | None
    connector: Connector | None

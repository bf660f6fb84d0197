"""The names of httpcore 1.x that httpx 0.28 uses, over this core: `httpx.Client()` and `httpx.AsyncClient()` run on it.

They are names of the package, too, and what is here is imported when one of them is first used::

    httpcore.AsyncConnectionPool    httpcore.AsyncHTTPProxy    httpcore.AsyncSOCKSProxy
                                    httpcore.HTTPProxy         httpcore.SOCKSProxy

Three names mean something of this library's own. There the keywords tell: with one that only httpcore 1.x knows, what
is made is the one from here::

    httpcore.ConnectionPool(max_connections=10)                          # blocking
    httpcore.URL(scheme=b"https", host=b"example.org", port=None, target=b"/")
    httpcore.Request("GET", url, content=b"", extensions={"timeout": {"read": 5.0}})

The exceptions are this library's. What else httpcore 1.x has (connections, network backends, `httpcore.request()`) is
not here; and async pools need an asyncio loop.
"""

from httpcore.compat.models import URL, ByteStream, Request, Response
from httpcore.compat.pools import AsyncConnectionPool, ConnectionPool
from httpcore.compat.proxies import AsyncHTTPProxy, AsyncSOCKSProxy, HTTPProxy, SOCKSProxy

__all__ = [
    "URL",
    "AsyncConnectionPool",
    "AsyncHTTPProxy",
    "AsyncSOCKSProxy",
    "ByteStream",
    "ConnectionPool",
    "HTTPProxy",
    "Request",
    "Response",
    "SOCKSProxy",
]

"""An http origin behind a tunnel of an https proxy: the TLS that there is belongs to the proxy alone."""

from __future__ import annotations

import pytest

import httpcore
from tests import origin_app
from tests.asgi_server import asgi_server
from tests.asgi_server_h2 import asgi_server_h2
from tests.conftest import TLSFiles
from tests.proxies.http_proxy import http_proxy


@pytest.mark.parametrize("version", ["1.1", "2"])
async def test_version_of_a_plain_origin_is_not_what_the_proxy_selected_by_alpn(tls: TLSFiles, version: str):
    config = httpcore.SSLConfig(verify=str(tls.ca_path))
    server = asgi_server(origin_app.app) if version == "1.1" else asgi_server_h2(origin_app.app)
    async with server as origin, http_proxy(tls.server_context) as proxy:
        route = httpcore.Proxy(proxy.url, ssl=config, tunnel=True)
        async with httpcore.ConnectionPool(http1=version == "1.1", proxy=route) as pool:
            response = await pool.request("GET", origin.url + "/hello")
    assert (response.http_version, response.body) == (f"HTTP/{version}".encode(), b"Hello, world")
    assert response.exchange is not None and response.exchange.connection_info is not None
    info = response.exchange.connection_info
    assert info.ssl_object is None and info.tls is None  # it is not the origin that was verified

"""Route: everything that must be equal for two requests to share a connection, and so the pool's key (rule P5)."""

from __future__ import annotations

from typing import NamedTuple

from httpcore.config import SSLConfig
from httpcore.urls import Origin

__all__ = ["Route"]


class Route(NamedTuple):
    """The way to a server.

    Attributes:
        origin: scheme, host and port.
        ssl: how TLS is made and whom it trusts; `None` without TLS.
    """

    origin: Origin
    ssl: SSLConfig | None

    @property
    def server_hostname(self) -> str | None:
        """The name that is asked for (SNI) and verified; `None` without TLS. A final dot is not part of it."""
        return None if self.ssl is None else self.origin.host.removesuffix(".")

"""The blocking API: a light shim over the async one."""

from httpcore.sync.pool import SyncConnectionPool
from httpcore.sync.response import SyncResponse, SyncUpgradedStream

__all__ = ["SyncConnectionPool", "SyncResponse", "SyncUpgradedStream"]

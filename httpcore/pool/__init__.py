"""Who gets which connection. Nothing in here touches bytes."""

from httpcore.pool.client_connection import ClientConnection
from httpcore.pool.connection_pool import ConnectionPool
from httpcore.pool.connector import Connector
from httpcore.pool.tcp_connector import TCPConnector

__all__ = ["ClientConnection", "ConnectionPool", "Connector", "TCPConnector"]

"""How h2 is set up: what it leaves to us, and the settings that are announced (RFC 9113 6.5.2)."""

from __future__ import annotations

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes, Settings

from httpcore.config import HTTP2Config
from httpcore.protocols.codec import MAX_HEAD_SIZE
from httpcore.protocols.http2_fields import FieldDecoder

__all__ = ["MAX_ENCODER_TABLE", "make_h2"]

MAX_ENCODER_TABLE = 64 * 1024  # bytes of our memory that a server may ask us to spend on compression


def make_h2(config: HTTP2Config) -> tuple[H2Connection, FieldDecoder]:
    """Returns a connection in the client's role, with its preface ready to be sent, and its decoder."""
    h2 = H2Connection(
        # Fields are looked at in http2_fields.py, where a breach of their rules ends a stream and not the connection.
        H2Configuration(
            validate_inbound_headers=False,
            normalize_inbound_headers=False,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
    )
    decoder = h2.decoder = FieldDecoder()
    decoder.max_header_list_size = MAX_HEAD_SIZE
    h2.local_settings = Settings(
        client=True,
        initial_values={
            SettingCodes.ENABLE_PUSH: 0,
            SettingCodes.INITIAL_WINDOW_SIZE: config.stream_window,
            SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEAD_SIZE,
            SettingCodes.MAX_CONCURRENT_STREAMS: 100,  # means nothing without push; h2 wants to count, though
        },
    )
    h2.initiate_connection()
    return h2, decoder

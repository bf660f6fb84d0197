"""ServerH2: h2 in the server's role, without its faults that a server which changes its settings would meet."""

from __future__ import annotations

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import Event
from h2.settings import SettingCodes
from hyperframe.frame import DataFrame, Frame

__all__ = ["ServerH2"]


class ServerH2(H2Connection):
    """The state of one connection. Credit is to be given by `increment_flow_control_window` alone.

    `acknowledge_received_data` keeps what it was told to give back if the windows have changed meanwhile.
    """

    def __init__(self) -> None:
        super().__init__(H2Configuration(client_side=False, header_encoding=None))
        self._changes: list[tuple[SettingCodes, int]] = []  # that are to be sent
        self._changing = True  # SETTINGS are on their way: the first are sent by initiate_connection

    def change(self, code: SettingCodes, value: int) -> None:
        """Changes a setting, once those before it are acknowledged: h2 takes one acknowledgement for that of all."""
        self._changes.append((code, value))
        if not self._changing:
            self.change_next()

    def change_next(self) -> None:
        """To be called when SETTINGS were acknowledged."""
        self._changing = bool(self._changes)
        if self._changes:
            self.update_settings(dict([self._changes.pop(0)]))

    def _receive_data_frame(self, frame: DataFrame) -> tuple[list[Frame], list[Event]]:
        # An empty frame may come while the window is below zero (RFC 9113 6.9.1).
        stream = self.streams.get(frame.stream_id)
        missing = 0
        if stream is not None and not frame.flow_controlled_length:
            missing = max(0, -stream._inbound_window_manager.current_window_size)
            stream._inbound_window_manager.current_window_size += missing
        result = super()._receive_data_frame(frame)
        if stream is not None:
            stream._inbound_window_manager.current_window_size -= missing
        return result

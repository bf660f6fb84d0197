"""HTTP through the stdin and stdout of a command, such as an ssh that leads to hosts only its gateway can reach.

    python examples/stdio_pipe.py http://intranet/ --command "ssh gateway -W {host}:{port}"
    python examples/stdio_pipe.py https://example.org/

Without a command, a small relay does it, which is at the end of this file. `PipeConnector` is what a pool is given,
`PipeTransport` makes an `asyncio.Transport` of a command. With https, TLS begins inside of the pipe, and finds out
whether HTTP/2 is spoken, as ever.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shlex
import socket
import ssl
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import httpcore

LINGER = 5.0  # seconds in which a command may end by itself, once its stdin is closed
RELAY = (sys.executable, __file__, "--relay", "{host}", "{port}")

P = TypeVar("P", bound=asyncio.Protocol)


class PipeConnector:
    """Starts a command for each connection.

    Args:
        command: its arguments, in which `{host}` and `{port}` stand for where to.
    """

    def __init__(self, command: Sequence[str] = RELAY) -> None:
        self.command = command

    async def connect(
        self,
        protocol_factory: Callable[[], P],
        origin: httpcore.Origin,
        *,
        ssl_context: ssl.SSLContext | None,
        server_hostname: str | None,
        trace: Callable[[httpcore.TraceEvent], object] | None,
    ) -> P:
        loop = asyncio.get_running_loop()
        command = [part.replace("{host}", origin.host).replace("{port}", str(origin.port)) for part in self.command]
        try:
            # Cancelled here, it ends the process. What a command has to say about itself goes to our stderr.
            _, pipe = await loop.subprocess_exec(PipeTransport, *command, stderr=None)
            if pipe.is_closing():
                raise ConnectionResetError("it has ended already")
            protocol = protocol_factory()
            if ssl_context is None:
                pipe.set_protocol(protocol)
                protocol.connection_made(pipe)
                pipe.resume_reading()
            else:
                protocol.connection_made(await httpcore.start_tls(pipe, protocol, ssl_context, server_hostname))
        except OSError as exc:
            raise httpcore.ConnectError(f"no connection through {command[0]}: {exc}") from exc
        return protocol


class PipeTransport(asyncio.Transport, asyncio.SubprocessProtocol):
    """A running command as a transport. It starts with reading paused, until it has a protocol.

    The end of its stdout may mean that the server closed the connection, or that the command broke. HTTP has to know
    which, as a response may end there; so the protocol is told once there is an exit status: 0 is an end, all else an
    error.
    """

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._protocol = asyncio.Protocol()
        self._received: deque[bytes] = deque()  # not delivered yet; b"" is the end
        self._paused = True
        self._eof = False  # stdout has ended
        self._closing = False
        self._ended = False  # the process has, and both pipes
        self._error: Exception | None = None
        self._linger: asyncio.TimerHandle | None = None

    # What the loop calls: asyncio.SubprocessProtocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._process = cast(asyncio.SubprocessTransport, transport)
        self._stdin = cast(asyncio.WriteTransport, self._process.get_pipe_transport(0))
        self._stdout = cast(asyncio.ReadTransport, self._process.get_pipe_transport(1))

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._received.append(data)  # it may have been on its way when reading was paused
        self._deliver()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 1:
            self._eof = True
            self._close_stdin()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        if self._linger is not None:
            self._linger.cancel()
        status = self._process.get_returncode()
        if status and not self._closing:
            self._error = ConnectionResetError(f"the command ended with status {status}")
            self._closing = True
        self._received.append(b"")
        self._deliver()

    def pause_writing(self) -> None:  # stdin is full
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()

    def _deliver(self) -> None:
        while self._received and (self._closing or not self._paused):
            data = self._received.popleft()
            if self._closing:
                pass  # it is read to the end all the same: a command that cannot write would not end
            elif not data:
                self._closing = not self._protocol.eof_received()
            else:
                self._protocol.data_received(data)
        if self._ended and self._closing:
            self._ended = False  # once is enough
            self._process.close()
            self._protocol.connection_lost(self._error)

    # What the protocol calls: asyncio.Transport.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._stdin.is_closing():
            self._stdin.write(data)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._stdin.close()  # behind what was written

    def get_write_buffer_size(self) -> int:
        return self._stdin.get_write_buffer_size()

    def pause_reading(self) -> None:
        if not self._paused and not self._closing:
            self._paused = True
            if not self._eof:
                self._stdout.pause_reading()

    def resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            if not self._eof:
                self._stdout.resume_reading()
            self._loop.call_soon(self._deliver)

    def is_reading(self) -> bool:
        return not self._paused and not self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._close_stdin()
            self.resume_reading()
            self._loop.call_soon(self._deliver)

    def _close_stdin(self) -> None:
        self._stdin.close()
        if self._linger is None:
            self._linger = self._loop.call_later(LINGER, self.abort)

    def abort(self) -> None:
        self.close()
        if self.get_write_buffer_size():  # else it is closed already
            self._stdin.abort()
        self._stdout.close()
        with contextlib.suppress(ProcessLookupError):  # it has ended
            self._process.kill()

    def is_closing(self) -> bool:
        return self._closing or (self._eof and not self._paused)

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self._process.get_pid() if name == "pid" else default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = cast(asyncio.Protocol, protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol


def relay(host: str, port: int) -> None:
    """Connects stdin and stdout with a server: what `ssh -W` does, from here."""
    with socket.create_connection((host, port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what is small is not to wait for more

        def upload() -> None:
            with contextlib.suppress(OSError):  # the download says so too
                while data := os.read(0, 65536):
                    sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)

        threading.Thread(target=upload, daemon=True).start()
        while data := sock.recv(65536):
            os.write(1, data)


async def main(url: str, command: Sequence[str], ca_path: str | None) -> None:
    config = httpcore.SSLConfig(verify=ca_path or True)
    async with httpcore.ConnectionPool(config, connector=PipeConnector(command)) as http:
        response = await http.request("GET", url)
    print(response.http_version.decode(), response.status_code)
    print(response.body.decode(errors="replace"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("url", nargs="?")
    parser.add_argument("--command", help="such as 'ssh gateway -W {host}:{port}'")
    parser.add_argument("--ca", help="a file with the authorities to trust")
    parser.add_argument("--relay", nargs=2, metavar=("HOST", "PORT"))
    options = parser.parse_args()
    if options.relay:
        try:
            relay(options.relay[0], int(options.relay[1]))
        except OSError as exc:
            sys.exit(f"the relay: {exc}")
    else:
        asyncio.run(main(options.url, shlex.split(options.command) if options.command else RELAY, options.ca))

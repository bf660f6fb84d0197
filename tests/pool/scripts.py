"""Scripts that a test runs in an interpreter of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import httpcore

__all__ = ["run_script", "url_of"]

ROOT = Path(httpcore.__file__).parent.parent


def url_of(server: asyncio.Server) -> str:
    return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


def run_script(script: str, *arguments: str) -> str:
    """Runs a script with every warning an error, in an interpreter of its own; returns what it printed."""
    prelude = """
        import asyncio, gc, logging, os, socket, sys, threading
        import httpcore
        from httpcore import ConnectionPool, PoolClosed, PoolLimits, Request
        from tests.pool.peers import AutoPeer, RecordingHandler, auto_connector

        # What else asyncio's debug mode finds is kept; how long a step took says how busy the machine is.
        logging.getLogger("asyncio").addFilter(lambda record: not record.msg.startswith("Executing "))
        unraisable = []
        sys.unraisablehook = lambda args: (unraisable.append(args), print("unraisable:", args, file=sys.stderr))

        async def serve():
            server = await asyncio.get_running_loop().create_server(AutoPeer, "127.0.0.1", 0)
            return server, "http://127.0.0.1:%d/" % server.sockets[0].getsockname()[1]

        def serve_in_thread():
            started, address = threading.Event(), []
            def run():
                async def main():
                    server, url = await serve()
                    address.append(url)
                    started.set()
                    await asyncio.sleep(3600)
                asyncio.run(main())
            threading.Thread(target=run, daemon=True).start()
            assert started.wait(10)
            return address[0]
    """
    code = textwrap.dedent(prelude) + textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout

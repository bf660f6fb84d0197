"""Pools on several loops, in several threads, and in forked processes."""

from __future__ import annotations

import asyncio
import gc
import os
import textwrap
import threading
from collections.abc import AsyncIterator

import pytest

from httpcore import (
    ConnectionPool,
    PoolClosed,
    Request,
)
from tests.clock import turns, until
from tests.pool.peers import AutoPeer, RecordingHandler, auto_connector
from tests.pool.scripts import run_script, url_of


def test_a_pool_of_the_module_works_in_one_loop_after_the_other() -> None:
    out = run_script("""
        url = serve_in_thread()
        pool = ConnectionPool()
        async def main():
            for _ in range(2):
                response = await pool.request("GET", url)
            await asyncio.gather(*(pool.request("GET", url) for _ in range(3)))
            print(response.body, pool.num_connections)
        asyncio.run(main())
        asyncio.run(main())
        asyncio.run(main())
        asyncio.run(pool.close())
        gc.collect()
    """)
    assert out == "b'ok' 3\n" * 3


def test_a_loop_that_ends_takes_everything_with_it() -> None:
    # Idle connections, responses that are being read, dials, waiting requests.
    out = run_script("""
        listener = socket.create_server(("127.0.0.1", 0))
        silent = "http://127.0.0.1:%d/" % listener.getsockname()[1]
        url = serve_in_thread()
        pool = ConnectionPool(limits=PoolLimits(hard_limit=3))
        handlers = []
        async def main():
            await pool.request("GET", url)
            for target in (silent, url, silent, silent, url, silent):
                handlers.append(RecordingHandler())
                pool.dispatch(Request("GET", target), handlers[-1])
                await asyncio.sleep(0)
            tasks = [asyncio.create_task(pool.request("GET", silent)) for _ in range(3)]
            await handlers[0].until_started()
        asyncio.run(main())
        print(all(handler.ended for handler in handlers), pool.num_connections, pool.num_waiting_requests)
        asyncio.run(main())
        listener.close()
        del pool
        gc.collect()
    """)
    assert out == "True 0 0\n"


def test_a_loop_that_ends_with_a_dial_that_was_just_begun() -> None:
    run_script("""
        url = serve_in_thread()
        pool = ConnectionPool(limits=PoolLimits(hard_limit=2))
        async def main():
            for _ in range(4):
                pool.dispatch(Request("GET", url), RecordingHandler())
        for turns in range(6):
            async def some_turns():
                await main()
                for _ in range(turns):
                    await asyncio.sleep(0)
            asyncio.run(some_turns())
        gc.collect()
    """)


def test_a_request_while_the_loop_ends_is_refused() -> None:
    pool = ConnectionPool(connector=auto_connector())
    handler = RecordingHandler()

    async def late() -> AsyncIterator[None]:
        try:
            yield
        finally:
            await turns()
            pool.dispatch(Request("GET", "http://a/"), handler)

    async def main() -> object:
        await pool.request("GET", "http://a/")
        generator = late()
        await anext(generator)
        return generator  # which asyncio.run ends, at the same time as it does the pool's connections

    asyncio.run(main())
    assert isinstance(handler.error, PoolClosed)
    assert not handler.error.request_sent


def test_a_pool_dropped_after_its_loop_ended_says_nothing() -> None:
    run_script("""
        url = serve_in_thread()
        pool = ConnectionPool()
        asyncio.run(pool.request("GET", url))
        del pool
        gc.collect()
    """)


def test_a_pool_that_is_never_closed_is_no_trouble_at_exit() -> None:
    run_script("""
        url = serve_in_thread()
        pool = ConnectionPool()
        asyncio.run(pool.request("GET", url))
    """)


class OtherLoop:
    """A loop in another thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(10)

    def end(self) -> None:
        self.run(self.loop.shutdown_asyncgens())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


@pytest.fixture
def other_loop():
    other = OtherLoop()
    yield other
    other.end()


async def test_a_pool_used_on_a_second_loop_leaves_the_first_whose_connections_close(
    other_loop: OtherLoop,
) -> None:
    pool = ConnectionPool()
    served: list[AutoPeer] = []

    def make() -> AutoPeer:
        served.append(AutoPeer())
        return served[-1]

    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    url = url_of(server)
    assert (await pool.request("GET", url)).body == b"ok"
    first = pool._slots
    assert first is not None
    handler = RecordingHandler()  # in flight on this loop while the other takes the pool over
    served[0].respond = lambda peer: None
    pool.dispatch(Request("GET", url), handler)
    await handler.until_started()

    async def use() -> bytes:
        return (await pool.request("GET", url)).body

    in_thread = asyncio.get_running_loop().run_in_executor(None, other_loop.run, use())
    assert await in_thread == b"ok"
    assert pool._slots is not first
    assert first.closed
    await turns()
    served[0].answer()
    await handler.until_ended()
    assert handler.completed
    await until(lambda: first.count == 0)
    # And back again.
    assert (await pool.request("GET", url)).body == b"ok"
    await pool.close()
    server.close()


async def test_close_from_another_loop_closes_the_connections_where_they_are(other_loop: OtherLoop) -> None:
    pool = ConnectionPool()
    server = await asyncio.get_running_loop().create_server(AutoPeer, "127.0.0.1", 0)
    await pool.request("GET", url_of(server))
    slots = pool._slots
    assert slots is not None
    await asyncio.get_running_loop().run_in_executor(None, other_loop.run, pool.close())
    await until(lambda: slots.count == 0)
    with pytest.raises(PoolClosed):
        await pool.request("GET", url_of(server))
    server.close()


@pytest.mark.parametrize("how", ["request", "close", "drop"])
async def test_a_forked_process_does_nothing_to_the_loop_of_its_parent(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    connector = auto_connector()
    pool = ConnectionPool(connector=connector)
    await pool.request("GET", "http://a/")
    slots = pool._slots
    assert slots is not None

    def child() -> None:
        nonlocal pool
        if how == "drop":
            del pool
            gc.collect()
        elif how == "close":
            asyncio.run(pool.close())
        else:
            asyncio.run(pool.request("GET", "http://a/"))

    pid = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: pid + 1)
    await asyncio.to_thread(child)
    monkeypatch.undo()
    await turns()
    assert (slots.count, slots.closed) == (1, False)
    slots.close(force=True)
    await connector.all_closed()


async def test_close_on_a_loop_when_the_pools_own_is_closed_does_nothing() -> None:
    pool = ConnectionPool(connector=auto_connector())

    def use() -> None:
        asyncio.run(pool.request("GET", "http://a/"))

    thread = threading.Thread(target=use)
    thread.start()
    await asyncio.get_running_loop().run_in_executor(None, thread.join)
    await pool.close()
    assert pool.num_connections == 0


FORK = """
    listener = socket.create_server(("127.0.0.1", 0))
    url = "http://127.0.0.1:%d/" % listener.getsockname()[1]
    received = []  # per connection

    def serve():
        while True:
            sock, _ = listener.accept()
            received.append([])
            threading.Thread(target=talk, args=(sock, received[-1]), daemon=True).start()

    def talk(sock, parts):
        with sock:
            while data := sock.recv(65536):
                parts.append(data)
                sock.sendall(b"HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\n\\r\\nok")

    pool = ConnectionPool(limits=PoolLimits(hard_limit=1))
"""


def test_a_forked_child_gets_connections_of_its_own_and_leaves_the_parents_alone() -> None:
    script = textwrap.dedent(FORK) + textwrap.dedent("""
        threading.Thread(target=serve, daemon=True).start()

        def child(how):
            if how == "request":
                response = asyncio.run(pool.request("GET", url, [("from", "child")]))
                assert response.body == b"ok"
                assert pool.num_connections == 0
            elif how == "close":
                asyncio.run(pool.close())
            else:
                globals().pop("pool")
                gc.collect()

        async def main():
            await pool.request("GET", url, [("from", "parent")])
            for how in ("request", "close", "drop"):
                pid = os.fork()
                if not pid:
                    try:
                        child(how)
                        os._exit(0)
                    except BaseException as exc:
                        print("in the child:", how, repr(exc), flush=True)
                        os._exit(1)
                assert os.waitpid(pid, 0)[1] == 0
                response = await pool.request("GET", url, [("from", "parent")])
                assert response.body == b"ok"
            await pool.close()
        asyncio.run(main())
        connections = [b"".join(parts) for parts in received]
        print([(text.count(b"from: parent"), text.count(b"from: child")) for text in connections])
    """)
    assert run_script(script) == "[(4, 0), (0, 1)]\n"

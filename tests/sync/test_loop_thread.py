"""The background loop's thread: when it starts, how it ends, what becomes of it in a fork.

Each test runs a program of its own, which has to end well, and to say nothing that it was not told to.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run_program(program: str, *arguments: str, options: tuple[str, ...] = ("-X", "dev", "-W", "error")) -> str:
    """Runs a program, which has to end well and to say nothing but what it prints. Returns that."""
    completed = subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(program), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (completed.returncode, completed.stderr) == (0, "")
    return completed.stdout


def test_import_starts_nothing():
    program = """
        import threading, httpcore, httpcore.sync
        pool = httpcore.SyncConnectionPool()
        repr(pool), pool.num_connections
        pool.close()
        print(threading.active_count())
    """
    assert run_program(program) == "1\n"


def test_one_daemon_thread_serves_all_pools(origin_app_url: str):
    program = """
        import sys, threading, httpcore
        with httpcore.SyncConnectionPool() as one, httpcore.SyncConnectionPool() as two:
            for pool in (one, two, one):
                assert pool.request("GET", sys.argv[1] + "/hello").status_code == 200
            print([(thread.name, thread.daemon) for thread in threading.enumerate()][1:])
    """
    assert run_program(program, origin_app_url) == "[('httpcore', True)]\n"


@pytest.mark.parametrize(
    "ending",
    [
        "pool.request('GET', url + '/hello')",
        "response = pool.request('GET', url + '/stall', stream=True)",
        "parts = pool.request('GET', url + '/bytes/3000000', stream=True).stream(); next(parts)",
        "threading.Thread(target=hang, daemon=True).start(); in_use()",
        "response = pool.request('POST', url + '/echo', body=endless(), stream=True); next(response.stream())",
    ],
    ids=["pool left open", "stream left open", "stream in the middle", "another thread's request", "upload"],
)
def test_program_ends_with_what_is_left_open(origin_app_url: str, ending: str):
    program = f"""
        import sys, threading, httpcore
        url = sys.argv[1]
        pool = httpcore.SyncConnectionPool()
        def in_use():
            while not pool.num_active_connections:
                pass
        def hang():
            try:
                pool.request("GET", url + "/hang")
            except httpcore.HTTPCoreError:
                pass
        def endless():
            while True:
                yield bytes(1000)
        {ending}
        print("end")
    """
    # What is left open is found when the interpreter ends. That it was is to be warned of, but no more than that.
    options = ("-X", "dev", "-W", "ignore::ResourceWarning")
    assert run_program(program, origin_app_url, options=options) == "end\n"


def test_program_ends_by_an_exception_in_the_middle_of_a_stream(origin_app_url: str):
    program = """
        import sys, httpcore
        pool = httpcore.SyncConnectionPool()
        with pool.request("GET", sys.argv[1] + "/bytes/3000000", stream=True) as response:
            next(response.stream())
            sys.exit(0)
    """
    assert run_program(program, origin_app_url) == ""


def test_ctrl_c_ends_a_program_that_waits(origin_app_url: str):
    program = """
        import signal, sys, threading, httpcore
        pool = httpcore.SyncConnectionPool()
        def interrupt():
            while not pool.num_active_connections:
                pass
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        threading.Thread(target=interrupt).start()
        try:
            pool.request("GET", sys.argv[1] + "/hang")
        except KeyboardInterrupt:
            print("interrupted", pool.request("GET", sys.argv[1] + "/hello").status_code)
        pool.close()
    """
    assert run_program(program, origin_app_url) == "interrupted 200\n"


def test_pool_serves_what_runs_at_exit(origin_app_url: str):
    program = """
        import atexit, sys
        atexit.register(lambda: before())  # and so after the loop was stopped
        import httpcore
        pool = httpcore.SyncConnectionPool()
        def before():
            with httpcore.SyncConnectionPool() as other:
                print("early", other.request("GET", sys.argv[1] + "/hello").status_code)
        @atexit.register
        def after():
            print("late", pool.request("GET", sys.argv[1] + "/hello").status_code)
            pool.close()
        pool.request("GET", sys.argv[1] + "/hello")
    """
    assert run_program(program, origin_app_url) == "late 200\nearly 200\n"


_FORKING = """
    import os, sys, threading, httpcore
    url = sys.argv[1]
    pool = httpcore.SyncConnectionPool()
    def ask():
        return pool.request("GET", url + "/hello").status_code
"""


@pytest.mark.parametrize("used_before", [True, False])
def test_child_and_parent_go_on_after_fork(origin_app_url: str, used_before: bool):
    program = _FORKING + (
        "    ask()" * used_before
        + """
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        assert [ask(), ask()] == [200, 200]
        assert pool.num_connections == 1
        pool.close()
        print("child")
        sys.exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    print("parent", ask(), pool.num_connections)
    pool.close()
    """
    )
    assert run_program(program, origin_app_url) == "child\nparent 200 1\n"


def test_child_that_uses_nothing_leaves_the_parents_connections_alone(origin_app_url: str):
    program = (
        _FORKING
        + """
    ask()
    with pool.request("GET", url + "/bytes/3000000", stream=True) as response:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        print(len(response.read()), pool.num_connections)
    pool.close()
    """
    )
    assert run_program(program, origin_app_url) == "3000000 1\n"


def test_child_is_refused_what_the_parent_has_begun(origin_app_url: str):
    program = (
        _FORKING
        + """
    with pool.request("GET", url + "/bytes/3000000", stream=True) as response:
        pid = os.fork()
        if pid == 0:
            try:
                response.read()
            except RuntimeError as exc:
                assert "forked" in str(exc)
                response.close()
                os._exit(ask() != 200)
            os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0
        print(len(response.read()), pool.num_connections)
    pool.close()
    """
    )
    assert run_program(program, origin_app_url) == "3000000 1\n"


def test_child_of_a_fork_while_other_threads_ask(origin_app_url: str):
    program = (
        _FORKING
        + """
    def work():
        for _ in range(50):
            ask()
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        pid = os.fork()
        if pid == 0:
            os._exit(0 if ask() == 200 else 1)
        assert os.waitpid(pid, 0)[1] == 0
    for thread in threads:
        thread.join()
    print(ask())
    pool.close()
    """
    )
    # Python 3.12 and later warn of any fork in a program with threads.
    options = ("-X", "dev", "-W", "error", "-W", "ignore::DeprecationWarning")
    assert run_program(program, origin_app_url, options=options) == "200\n"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_worker_processes(origin_app_url: str, method: str, tmp_path: Path):
    script = tmp_path / "workers.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import multiprocessing, sys, httpcore

            pool = httpcore.SyncConnectionPool()

            def ask(url):
                return pool.request("GET", url + "/hello").status_code

            if __name__ == "__main__":
                ask(sys.argv[1])
                with multiprocessing.get_context({method!r}).Pool(2) as workers:
                    print(workers.map(ask, [sys.argv[1]] * 6))
                    workers.close()
                    workers.join()
                print(ask(sys.argv[1]))
                pool.close()
            """
        )
    )
    command = [sys.executable, str(script), origin_app_url]
    completed = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60, check=False
    )
    assert (completed.returncode, completed.stderr) == (0, "")
    assert completed.stdout == "[200, 200, 200, 200, 200, 200]\n200\n"


def test_loop_of_a_policy_is_taken(origin_app_url: str):
    program = """
        import asyncio, sys, uvloop, httpcore
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        from httpcore.sync.loop_thread import background_loop
        with httpcore.SyncConnectionPool() as pool:
            assert pool.request("GET", sys.argv[1] + "/hello").status_code == 200
            body = (bytes(1000) for _ in range(100))
            assert b'"size": 100000' in pool.request("POST", sys.argv[1] + "/upload", body=body).body
            with pool.request("GET", sys.argv[1] + "/bytes/3000000", stream=True) as response:
                print(len(response.read()))
        assert isinstance(background_loop(), uvloop.Loop)
    """
    options = ("-X", "dev", "-W", "error", "-W", "ignore::DeprecationWarning")  # policies, from Python 3.14 on
    assert run_program(program, origin_app_url, options=options) == "3000000\n"

"""Runs one client's blocking calls in threads: what harness.py is for coroutines, with the same words and figures.

A client that takes part has a context manager `open_blocking_client(connections)` and a function
`blocking_small(client, url)`, which returns how many bytes of content the response had. The threads share what the
first gives.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import resource
import threading
import time

WARM_UP_SECONDS = 10.0  # at most: by then the slowest client has its connections


class Meter:
    """Counts requests of all threads, and looks at the clocks when the warm-up and the measurement end."""

    def __init__(self, warm_up: int, count: int, seconds: float) -> None:
        self.done = False
        self._lock = threading.Lock()
        self._seconds = seconds
        self._left = warm_up
        self._count = count
        self._measuring = False
        self._until = time.perf_counter() + WARM_UP_SECONDS
        self._wall = self._cpu = 0.0
        self._faults = 0
        self.figures: dict[str, float] = {}

    def tick(self) -> None:
        """One request is through."""
        with self._lock:
            self._left -= 1
            now = time.perf_counter()
            if self._left > 0 and now < self._until:
                return
            if not self._measuring:
                gc.collect()  # what the warm-up left is nobody's fault
                self._measuring = True
                self._left = self._count
                self._faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
                self._wall, self._cpu = time.perf_counter(), time.process_time()
                self._until = self._wall + self._seconds
            elif not self.done:
                self.figures = {
                    "requests": self._count - self._left,
                    "cpu_seconds": time.process_time() - self._cpu,  # user and system, of all threads
                    "wall_seconds": now - self._wall,
                    "page_faults": resource.getrusage(resource.RUSAGE_SELF).ru_minflt - self._faults,
                }
                self.done = True


def run(options: argparse.Namespace) -> dict[str, float]:
    """Runs the case; returns requests, seconds of CPU and of the clock, and page faults."""
    module = importlib.import_module(options.client)
    meter = Meter(options.warm_up, options.count, options.seconds)
    errors: list[str] = []

    def keep_asking() -> None:
        try:
            while not meter.done and not errors:
                received = module.blocking_small(client, options.url)
                if received != options.expect:
                    raise ValueError(f"the response had {received} bytes of content")
                meter.tick()
        except Exception as exc:
            errors.append(f"{options.client}: {exc!r}")

    with module.open_blocking_client(options.connections) as client:
        threads = [threading.Thread(target=keep_asking) for _ in range(options.concurrency)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if errors:
        raise SystemExit(errors[0])
    return meter.figures


def main() -> None:
    """Reads the arguments, runs, prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("client")
    parser.add_argument("url")
    parser.add_argument("concurrency", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("what", choices=["blocking_small"])
    parser.add_argument("--expect", type=int, required=True, help="bytes of content that each response must have")
    parser.add_argument("--upload", type=int, default=0, help="as for harness.py; nothing here")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--warm-up", type=int, default=500, help="requests")
    parser.add_argument("--connections", type=int, default=100)
    print(json.dumps(run(parser.parse_args())))


if __name__ == "__main__":
    main()

"""Measures every peer on every case, in interleaved rounds. Run by scripts/benchmark, which makes the environments."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from benchmarks.cores import pinned, server_and_client
from benchmarks.nginx import SMALL, Nginx, running_nginx
from benchmarks.plan import CASES, CONNECTIONS, PEERS, Case, Peer
from benchmarks.report import RESULTS, Sample, facts, markdown, write

_CLIENTS = Path(__file__).parent / "clients"


def measure(peer: Peer, case: Case, server: Nginx, seconds: float, core: int | None) -> Sample:
    """Runs one client on one case, in a process of its own."""
    origin = server.tls_origin if case.http2 else server.origin
    harness = _CLIENTS / ("harness_threads.py" if case.blocking else "harness.py")
    command: list[str | Path] = [peer.python, harness, peer.module, origin + case.path]
    command += [str(case.concurrency), str(case.count), case.what]
    command += ["--expect", str(case.size if case.what == "download" else len(SMALL)), "--upload", str(case.size)]
    command += ["--seconds", str(seconds)]
    command += ["--warm-up", str(case.warm_up), "--connections", str(CONNECTIONS)]
    if case.http2:
        command += ["--authority", server.authority]
    with pinned(core):
        result = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True, timeout=120)
    if result.returncode != 0:
        raise SystemExit(f"benchmarks: {peer.name} failed on {case.name}")
    return Sample(**json.loads(result.stdout))


def main() -> None:
    """Reads the arguments, measures, prints and writes."""
    parser = argparse.ArgumentParser(prog="scripts/benchmark", description="Puts httpcore beside its peers.")
    parser.add_argument("--quick", action="store_true", help="two short rounds, under two minutes; nothing is written")
    parser.add_argument("--rounds", type=int, help="how often each client runs each case (5)")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="cases and clients whose key has WORD")
    parser.add_argument("--results", type=Path, help="the folder to write to (benchmarks/results; none with --only)")
    parser.epilog = "Cases: " + ", ".join(case.key for case in CASES)
    parser.epilog += ". Clients: " + ", ".join(peer.key for peer in PEERS) + ". --memory measures memory instead."
    options = parser.parse_args()

    cases = [case for case in CASES if any(word in case.key for word in options.only)] or list(CASES)
    peers = [peer for peer in PEERS if any(word in peer.key for word in options.only)] or list(PEERS)
    peers = [peer for peer in peers if any(peer.takes_part(case) for case in cases)]
    rounds = options.rounds or (2 if options.quick else 5)
    seconds = 0.5 if options.quick else 2.0
    server_core, client_core = server_and_client()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("benchmarks: ended"))  # and nginx with it
    samples: defaultdict[tuple[str, str], list[Sample]] = defaultdict(list)
    with running_nginx(server_core) as server:
        for number in range(rounds):
            for case in cases:
                print(f"round {number + 1} of {rounds}: {case.name}", file=sys.stderr)
                for peer in peers:
                    if not peer.takes_part(case) or (options.quick and case.concurrency > peer.quick_up_to):
                        continue
                    samples[case.key, peer.key].append(measure(peer, case, server, seconds, client_core))

    about = facts(peers, rounds)
    table = markdown(cases, peers, samples, about)
    print(table)
    folder = options.results or (None if options.only or options.quick else RESULTS)
    if folder is not None:
        write(cases, peers, samples, about, table, folder)


if __name__ == "__main__":
    main()

"""Measures every peer on every case, in interleaved rounds. Run by scripts/benchmark, which makes the environments."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.connections import CONNECTIONS, WHO, measure_connections
from benchmarks.cores import server_and_client
from benchmarks.imports import IMPORTS, Import, measure_imports
from benchmarks.measure import Sample, measure, running_servers
from benchmarks.peers import PEERS, Peer
from benchmarks.picture import write_picture
from benchmarks.plan import CASES, Case
from benchmarks.raw_server import running_raw_server
from benchmarks.report import RESULTS, Report, Samples, facts

__all__ = ["Choice", "choose", "measure_cases"]

_WHOLE = ("connections", "imports")
"""What is measured besides the cases, as `--only` knows it."""


def measure_cases(
    cases: Sequence[Case], peers: Sequence[Peer], rounds: int, seconds: float, cores: tuple[int | None, int | None]
) -> Samples:
    """Measures all that takes part, round by round, so that a slow minute of the machine meets everybody."""
    samples: defaultdict[tuple[str, str], list[Sample]] = defaultdict(list)
    server_core, client_core = cores
    with running_servers(server_core) as servers:
        for number in range(rounds):
            for case in cases:
                print(f"round {number + 1} of {rounds}: {case.name}", file=sys.stderr)
                for peer in peers:
                    if peer.takes_part(case):
                        samples[case.key, peer.key].append(measure(peer, case, servers, seconds, client_core))
    return samples


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/benchmark", description="Puts httpcore beside its peers.")
    parser.add_argument(
        "--quick", action="store_true", help="some cases and peers, two short rounds, under two minutes"
    )
    parser.add_argument("--rounds", type=int, help="how often each client runs each case (5)")
    parser.add_argument("--seconds", type=float, help="how long each sample is (0.6)")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="cases and clients whose key has WORD")
    parser.add_argument("--results", type=Path, help="the folder to write to (benchmarks/results; none with --only)")
    parser.epilog = "Cases: " + ", ".join([*(case.key for case in CASES), *_WHOLE])
    parser.epilog += ". Clients: " + ", ".join(peer.key for peer in PEERS)
    parser.epilog += ". --memory and --micro measure memory and frames instead."
    return parser.parse_args()


@dataclass(frozen=True)
class Choice:
    """What is measured, by the arguments.

    Attributes:
        cases: the cases.
        peers: who takes part in at least one of them.
        connections: whether the memory of connections is measured.
        imports: whether imports are.
    """

    cases: Sequence[Case]
    peers: Sequence[Peer]
    connections: bool
    imports: bool


def choose(words: Sequence[str], quick: bool) -> Choice:
    """Returns what `--only` and `--quick` choose. A word that is a part of a case's key chooses cases, else clients."""
    keys = [*(case.key for case in CASES), *_WHOLE]
    of_cases = [word for word in words if any(word in key for key in keys)]
    of_peers = [word for word in words if word not in of_cases]

    def chosen(key: str) -> bool:
        return any(word in key for word in of_cases) if of_cases else not of_peers or key not in _WHOLE

    cases = [case for case in CASES if chosen(case.key) and (of_cases or case.quick or not quick)]
    peers = [peer for peer in PEERS if any(word in peer.key for word in of_peers) or not of_peers]
    if quick and not of_peers:
        peers = [peer for peer in peers if peer.quick]
    peers = [peer for peer in peers if any(peer.takes_part(case) for case in cases)]
    return Choice(cases, peers, chosen("connections"), chosen("imports"))


def main() -> None:
    """Reads the arguments, measures, prints and writes."""
    options = _arguments()
    started = time.monotonic()
    quick: bool = options.quick
    choice = choose(options.only, quick)
    rounds = options.rounds or (2 if quick else 5)
    seconds = options.seconds or (0.3 if quick else 0.6)
    cores = server_and_client()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("benchmarks: ended"))  # and the servers with it

    samples = measure_cases(choice.cases, choice.peers, rounds, seconds, cores) if choice.cases else {}
    connections = None
    if choice.connections:
        print("memory of connections", file=sys.stderr)
        who = [key for key in WHO if not quick or not key.endswith("uvloop")]
        count, times = (1000, 1) if quick else (CONNECTIONS, min(rounds, 3))
        with running_raw_server(cores[0]) as origin:
            connections = measure_connections(who, count, times, origin, cores[1])
    imports: Mapping[str, Sequence[Import]] = {}
    if choice.imports:
        print("imports", file=sys.stderr)
        imports = measure_imports(list(IMPORTS), rounds, cores[1])

    report = Report(samples, facts(choice.peers, rounds), imports, connections)
    print(report.markdown())
    print(f"It took {time.monotonic() - started:.0f} seconds.", file=sys.stderr)
    folder = options.results or (None if options.only or quick else RESULTS)
    if folder is not None:
        report.write(folder)
        write_picture(report, folder)


if __name__ == "__main__":
    main()

"""Figures out of samples: medians with their extremes, ratios, the Markdown tables and the JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from itertools import groupby
from pathlib import Path
from typing import TypeAlias

from benchmarks.connections import Found, connections_table
from benchmarks.imports import Import, imports_table
from benchmarks.measure import Sample
from benchmarks.peers import PEERS, ROOT, Peer
from benchmarks.plan import CASES, GROWTH_FROM, GROWTH_TO, Case, Group

__all__ = ["RESULTS", "Report", "Samples", "facts"]

RESULTS = Path(__file__).parent / "results"

Samples: TypeAlias = Mapping[tuple[str, str], Sequence[Sample]]
"""By keys of case and peer, in the order of the rounds."""

_TITLES: dict[Group, str] = {
    "http1": "HTTP/1.1",
    "http2": "HTTP/2",
    "blocking": "Blocking calls",
    "gateway": "Gateway",
}


def cpu(sample: Sample) -> float:
    """Returns microseconds of CPU for each request."""
    return sample.cpu_seconds / sample.requests * 1e6


def rate(sample: Sample) -> float:
    """Returns requests per second."""
    return sample.requests / sample.wall_seconds


@dataclass(frozen=True)
class Report:
    """What was measured.

    Attributes:
        samples: of the cases.
        about: what they were made on, and with.
        imports: by the names of `benchmarks.imports`; empty if they were not measured.
        connections: how many there were, and what they took; `None` if that was not measured.
    """

    samples: Samples
    about: Mapping[str, str]
    imports: Mapping[str, Sequence[Import]]
    connections: tuple[int, Found] | None

    def rows(self, case: Case) -> list[Peer]:
        """Returns who was measured on `case`."""
        return [peer for peer in PEERS if (case.key, peer.key) in self.samples]

    def median(self, case: Case, key: str, figure: Callable[[Sample], float] = cpu) -> float:
        """Returns the median of a figure of the peer with this key."""
        return statistics.median(map(figure, self.samples[case.key, key]))

    def ratio(self, case: Case, peer: Peer, other: str | None) -> float | None:
        """Returns the CPU of `peer` as a multiple of that of another one, on the same loop where that was measured."""
        if other is None:
            return None
        there = [key for key in (f"{other}-{peer.loop}", other) if (case.key, key) in self.samples]
        return self.median(case, peer.key) / self.median(case, there[0]) if there else None

    def markdown(self) -> str:
        """Returns all tables."""
        lines = [", ".join(f"{name} {value}" for name, value in self.about.items()) + "."]
        for group, cases in groupby(CASES, lambda case: case.group):
            rows = [self._row(case, peer) for case in cases for peer in self.rows(case)]
            if rows:
                lines += ["", f"## {_TITLES[group]}", "", *_header(group), *rows]
        growth = [text for peer in PEERS if (text := self._growth(peer)) is not None]
        if growth:
            lines += ["", "CPU per small GET with 2,000 at a time, 50 at a time being 1: " + ", ".join(growth) + "."]
        text = "\n".join(lines) + "\n"
        if self.connections is not None:
            text += "\n## Memory of a connection\n\n" + connections_table(*self.connections)
        if self.imports:
            text += "\n## Import\n\n" + imports_table(self.imports)
        return text

    def _row(self, case: Case, peer: Peer) -> str:
        samples = self.samples[case.key, peer.key]
        ratios = [self.ratio(case, peer, other) for other in (case.baseline, case.limit)]
        cells = ["–" if ratio is None else f"{ratio:.2f}" for ratio in ratios]
        if case.size:
            megabytes = case.size / 1e6
            work = _spread(samples, lambda sample: megabytes * sample.requests / sample.cpu_seconds, "MB per CPU-s")
            speed = _spread(samples, lambda sample: megabytes * rate(sample), "MB/s")
        else:
            work = _spread(samples, cpu, "µs CPU each")
            speed = _spread(samples, rate, "per s")
        memory = statistics.median(sample.peak_bytes for sample in samples) / 1e6
        return f"| {case.name} | {peer.name} | {work} | {' | '.join(cells)} | {speed} | {memory:.0f} MB |"

    def _growth(self, peer: Peer) -> str | None:
        few, many = (self.samples.get((key, peer.key)) for key in (GROWTH_FROM, GROWTH_TO))
        if not few or not many:
            return None
        return f"{peer.name} {statistics.median(map(cpu, many)) / statistics.median(map(cpu, few)):.2f}"

    def document(self) -> dict[str, object]:
        """Returns everything, for the JSON."""
        results = [
            {
                "case": case.key,
                "client": peer.key,
                "bytes": case.size,
                "cpu_us_per_request": round(self.median(case, peer.key), 2),
                "requests_per_second": round(self.median(case, peer.key, rate), 2),
                "cpu_of_baseline": self.ratio(case, peer, case.baseline),
                "cpu_of_limit": self.ratio(case, peer, case.limit),
                "samples": [[round(value, 4) for value in astuple(each)] for each in self.samples[case.key, peer.key]],
            }
            for case in CASES
            for peer in self.rows(case)
        ]
        document: dict[str, object] = {
            "about": self.about,
            "sample_fields": [field.name for field in fields(Sample)],
            "results": results,
            "imports": {name: [vars(sample) for sample in samples] for name, samples in self.imports.items()},
        }
        if self.connections is not None:
            count, found = self.connections
            each = [{"client": key, "state": state, "bytes": values} for (key, state), values in found.items()]
            document["connections"] = {"count": count, "results": each}
        return document

    def write(self, folder: Path) -> None:
        """Writes the tables as `latest.md`, and all as `latest.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "latest.md").write_text(self.markdown())
        (folder / "latest.json").write_text(json.dumps(self.document(), indent=1) + "\n")


def _header(group: Group) -> list[str]:
    case = next(case for case in CASES if case.group == group)
    names = {peer.key: peer.name for peer in PEERS}
    baseline, limit = names[case.baseline], "limit" if case.limit is None else names[case.limit]
    ratios = f"CPU, {baseline} = 1 | CPU, {limit} = 1"
    return [
        f"| work | client | median (min–max) | {ratios} | median (min–max) | peak memory |",
        "|---|---" + "|---:" * 5 + "|",
    ]


def _spread(samples: Sequence[Sample], figure: Callable[[Sample], float], unit: str) -> str:
    """Returns the median, and in parentheses the least and the most."""
    values = [figure(sample) for sample in samples]
    low, middle, high = (_short(value) for value in (min(values), statistics.median(values), max(values)))
    return f"{middle} {unit} ({low}–{high})"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def facts(peers: Sequence[Peer], rounds: int) -> dict[str, str]:
    """Returns what a reader must know to compare: versions and kind of machine, nothing that tells which one."""
    found = {}
    for peer in peers:
        if peer.distribution is not None:
            found[peer.distribution if peer.loop == "uvloop" else peer.name] = _version(peer)
    found["Python"] = platform.python_version()
    found["Linux" if platform.system() == "Linux" else platform.system()] = platform.machine()
    found["cores"] = str(os.cpu_count())
    found["rounds"] = str(rounds)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    if commit.returncode == 0:
        found["commit"] = commit.stdout.strip()
    return found


def _version(peer: Peer) -> str:
    code = f"import importlib.metadata as m; print(m.version({peer.distribution!r}))"
    return subprocess.run([peer.python, "-I", "-c", code], check=True, capture_output=True, text=True).stdout.strip()

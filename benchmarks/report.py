"""Figures out of samples: medians with their extremes, ratios, the Markdown table and the JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TypeAlias

from benchmarks.plan import GROWTH_FROM, GROWTH_TO, Case, Peer

__all__ = ["Sample", "Samples", "markdown", "write"]

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Sample:
    """One client on one case, once.

    Attributes:
        requests: how many were measured.
        cpu_seconds: user and system time of the client's process.
        wall_seconds: how long it took.
        page_faults: minor ones; two for each request is malloc's doing, see README.md.
    """

    requests: int
    cpu_seconds: float
    wall_seconds: float
    page_faults: int


Samples: TypeAlias = Mapping[tuple[str, str], Sequence[Sample]]
"""By keys of case and peer, in the order of the rounds."""


def _cpu(sample: Sample) -> float:
    return sample.cpu_seconds / sample.requests * 1e6


def _rate(sample: Sample) -> float:
    return sample.requests / sample.wall_seconds


def _median(samples: Sequence[Sample], figure: Callable[[Sample], float]) -> float:
    return statistics.median(map(figure, samples))


def _spread(samples: Sequence[Sample], figure: Callable[[Sample], float], unit: str) -> str:
    """The median, and in parentheses the least and the most."""
    values = [figure(sample) for sample in samples]
    low, middle, high = (_short(value) for value in (min(values), statistics.median(values), max(values)))
    return f"{middle} {unit} ({low}–{high})"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _row(case: Case, peer: Peer, samples: Samples) -> str:
    mine = samples[case.key, peer.key]
    baseline = samples.get((case.key, case.baseline))
    ratio = f"{_median(mine, _cpu) / _median(baseline, _cpu):.2f}" if baseline else "–"
    if case.size:
        megabytes = case.size / 1e6
        cpu = _spread(mine, lambda sample: megabytes * sample.requests / sample.cpu_seconds, "MB per CPU-s")
        rate = _spread(mine, lambda sample: megabytes * _rate(sample), "MB/s")
    else:
        cpu = _spread(mine, _cpu, "µs CPU each")
        rate = _spread(mine, _rate, "per s")
    return f"| {case.name} | {peer.name} | {cpu} | {ratio} | {rate} |"


def _growth(peer: Peer, samples: Samples) -> str | None:
    few, many = samples.get((GROWTH_FROM, peer.key)), samples.get((GROWTH_TO, peer.key))
    return f"{peer.name} {_median(many, _cpu) / _median(few, _cpu):.2f}" if few and many else None


def markdown(cases: Sequence[Case], peers: Sequence[Peer], samples: Samples, facts: Mapping[str, str]) -> str:
    """Returns a table for each baseline, with what they were made on above them."""
    lines = [", ".join(f"{name} {value}" for name, value in facts.items()) + "."]
    for baseline, group in groupby(cases, lambda case: case.baseline):
        rows = [_row(case, peer, samples) for case in group for peer in peers if (case.key, peer.key) in samples]
        if rows:
            lines += ["", f"| work | client | median (min–max) | CPU, {baseline} = 1 | median (min–max) |"]
            lines += ["|---|---|---:|---:|---:|", *rows]
    growth = [text for peer in peers if (text := _growth(peer, samples)) is not None]
    if growth:
        lines += ["", "CPU per small GET with 2,000 at a time, 50 at a time being 1: " + ", ".join(growth) + "."]
    return "\n".join(lines) + "\n"


def facts(peers: Sequence[Peer], rounds: int) -> dict[str, str]:
    """Returns what a reader must know to compare: versions and kind of machine, nothing that tells which one."""
    found = {peer.name: _version(peer) for peer in peers}
    found["Python"] = platform.python_version()
    found["Linux" if platform.system() == "Linux" else platform.system()] = platform.machine()
    found["cores"] = str(os.cpu_count())
    found["rounds"] = str(rounds)
    return found


def _version(peer: Peer) -> str:
    code = f"import importlib.metadata as m; print(m.version({peer.distribution!r}))"
    return subprocess.run([peer.python, "-I", "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def write(
    cases: Sequence[Case], peers: Sequence[Peer], samples: Samples, about: Mapping[str, str], table: str, folder: Path
) -> None:
    """Writes the table and every sample as `latest.md` and `latest.json`."""
    entries = [
        {
            "case": case.key,
            "client": peer.key,
            "bytes": case.size,
            "cpu_us_per_request": round(_median(samples[case.key, peer.key], _cpu), 2),
            "requests_per_second": round(_median(samples[case.key, peer.key], _rate), 2),
            "samples": [
                [sample.requests, round(sample.cpu_seconds, 4), round(sample.wall_seconds, 4), sample.page_faults]
                for sample in samples[case.key, peer.key]
            ],
        }
        for case in cases
        for peer in peers
        if (case.key, peer.key) in samples
    ]
    fields = ["requests", "cpu_seconds", "wall_seconds", "page_faults"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "latest.md").write_text(table)
    document = {"about": about, "sample_fields": fields, "results": entries}
    (folder / "latest.json").write_text(json.dumps(document, indent=1) + "\n")

"""How long each client takes to be imported, how many modules that loads, and the memory they take."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.measure import run_client
from benchmarks.peers import environment_python

__all__ = ["IMPORTS", "Import", "imports_table", "measure_imports"]


@dataclass(frozen=True)
class Import:
    """One import in a fresh process.

    Attributes:
        seconds: of CPU, besides those of Python itself.
        modules: how many there are then, besides Python's own.
        resident_bytes: by how much the process grew.
    """

    seconds: float
    modules: int
    resident_bytes: int


IMPORTS: Final = {
    "asyncio alone": ("bare", "asyncio"),
    "httpcore": ("httpcore", "httpcore"),
    "httpcore[fast]": ("httpcore-fast", "httpcore"),
    "aiohttp": ("aiohttp", "aiohttp"),
    "httpx": ("httpx", "httpx"),
    "httpx2": ("httpx2", "httpx2"),
    "niquests": ("niquests", "niquests"),
    "httpcore (PyPI)": ("pypi-httpcore", "httpcore"),
    "pyreqwest": ("pyreqwest", "pyreqwest.client"),
    "urllib3": ("urllib3", "urllib3"),
    "requests": ("requests", "requests"),
    "pycurl": ("pycurl", "pycurl"),
}
"""Environment and module, by the name that the table shows."""

# The clock starts before anything that Python does not load by itself.
_CODE: Final = """
import sys, time
modules = len(sys.modules)
pages = lambda: int(open("/proc/self/statm").read().split()[1])
before, start = pages(), time.process_time()
import {module}
seconds = time.process_time() - start
print('{{"seconds": %r, "modules": %d, "resident_bytes": %d}}' % (
    seconds, len(sys.modules) - modules, (pages() - before) * 4096))
"""


def measure_imports(names: Sequence[str], rounds: int, core: int | None) -> Mapping[str, Sequence[Import]]:
    """Returns what each of `names` took in each round; a first import, which may have to compile, is not counted."""
    found: defaultdict[str, list[Import]] = defaultdict(list)
    for number in range(rounds + 1):
        for name in names:
            environment, module = IMPORTS[name]
            command: list[str | Path] = [environment_python(environment), "-I", "-c", _CODE.format(module=module)]
            sample = Import(**run_client(command, f"the import of {name}", core))
            if number:
                found[name].append(sample)
    return found


def imports_table(found: Mapping[str, Sequence[Import]]) -> str:
    """Returns the Markdown table."""
    lines = ["| import | CPU, median (min–max) | modules | memory |", "|---|---:|---:|---:|"]
    for name, samples in found.items():
        times = [sample.seconds * 1e3 for sample in samples]
        time = f"{statistics.median(times):.0f} ms ({min(times):.0f}–{max(times):.0f})"
        memory = statistics.median(sample.resident_bytes for sample in samples) / 1e6
        lines.append(f"| {name} | {time} | {samples[0].modules} | {memory:.1f} MB |")
    return "\n".join(lines) + "\n"

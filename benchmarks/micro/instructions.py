"""Counts the instructions of one request, or of one piece of a body, under valgrind; where that is installed."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.micro.work import WORK, open_pool

__all__ = ["INSTRUCTED", "count_instructions", "valgrind"]

INSTRUCTED = ("request", "piece, pushed to a handler", "chunk, many in a segment")
"""The work that is counted: under valgrind Python takes many seconds to start, twice for each."""

_FEW, _MANY = 20, 220  # pieces are 100 each: a tenth of these then
_COLLECTED = re.compile(r"Collected : (\d+)")


def valgrind() -> str | None:
    """Returns its path; `None` where it is not installed."""
    return shutil.which("valgrind")


def count_instructions(name: str, codec: str) -> int:
    """Returns the instructions for each request or piece: what more of them cost, so that start and end are left out.

    Raises:
        RuntimeError: valgrind failed.
    """
    _, pieces = WORK[name]
    few, many = (_FEW, _MANY) if pieces == 1 else (_FEW // 10, _MANY // 10)
    difference = _total(name, codec, many) - _total(name, codec, few)
    return round(difference / (many - few) / pieces)


def _total(name: str, codec: str, times: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        command = [str(valgrind()), "--tool=callgrind", f"--callgrind-out-file={folder}/out", sys.executable]
        command += ["-m", "benchmarks.micro.instructions", name, codec, str(times)]
        # The order of sets and dicts of str changes with the seed, and what they cost with it.
        environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
        root = Path(__file__).parent.parent.parent
        result = subprocess.run(command, cwd=root, env=environment, check=False, capture_output=True, text=True)
    found = _COLLECTED.search(result.stderr)
    if result.returncode != 0 or found is None:
        raise RuntimeError(f"valgrind failed\n{result.stderr}")
    return int(found[1])


async def _run(name: str, codec: str, times: int) -> None:
    work, _ = WORK[name]
    async with open_pool(codec) as pool:
        for _ in range(times):
            await work(pool)


if __name__ == "__main__":
    asyncio.run(_run(sys.argv[1], sys.argv[2], int(sys.argv[3])))

"""What each request and piece may cost at most: `budget.json`, and what of a measurement is over it."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.micro.frames import Counts, count_frames
from benchmarks.micro.work import CODECS, WORK

__all__ = ["FILE", "Budget", "available_codecs", "measured_frames", "python_version"]

FILE: Final = Path(__file__).parent / "budget.json"

_EVERYWHERE: Final = frozenset({"ours", "tasks", "timers", "locks", "generators"})
_TOLERANCE: Final = 1.03  # of instructions: memory lies elsewhere in every run, and so do hash tables of objects


def python_version() -> str:
    """Returns the version that frames of the standard library, and instructions, are to be compared on."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def available_codecs() -> list[str]:
    """Returns the codecs that can be measured here."""
    return [codec for codec in CODECS if codec != "llhttp" or importlib.util.find_spec("httptools") is not None]


def measured_frames() -> dict[str, Counts]:
    """Returns the counts of all work on each codec that is available, by "codec: work"."""
    return {f"{codec}: {name}": count_frames(name, codec) for codec in available_codecs() for name in WORK}


@dataclass(frozen=True)
class Budget:
    """What is in the file.

    Attributes:
        python: the version it was made on.
        frames: the counts, by "codec: work".
        instructions: those, by the same.
    """

    python: str
    frames: Mapping[str, Counts]
    instructions: Mapping[str, int]

    @classmethod
    def load(cls) -> Budget:
        """Reads the file."""
        return cls(**json.loads(FILE.read_text()))

    def save(self) -> None:
        """Writes the file."""
        FILE.write_text(json.dumps(vars(self), indent=1) + "\n")

    def frames_over(self, measured: Mapping[str, Counts]) -> list[str]:
        """Returns a line for each count that is over, or was never set.

        Frames of the standard library count on the Python that the file was made on alone.
        """
        same = self.python == python_version()
        lines = []
        for key, counts in measured.items():
            for kind, number in counts.items():
                limit = self.frames.get(key, {}).get(kind, -1.0)
                if number > limit and (same or kind in _EVERYWHERE):
                    lines.append(f"{key}: {number:g} {kind}, the budget is {limit:g}")
        return lines

    def instructions_over(self, measured: Mapping[str, int]) -> list[str]:
        """Returns a line for each number of instructions that is over; none on another Python."""
        if self.python != python_version():
            return []
        return [
            f"{key}: {number:,} instructions, the budget is {self.instructions[key]:,}"
            for key, number in measured.items()
            if key in self.instructions and number > self.instructions[key] * _TOLERANCE
        ]

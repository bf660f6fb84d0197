"""Counts, and compares with the budget. Run by scripts/benchmark --micro."""

from __future__ import annotations

import argparse
import dataclasses
import sys

from benchmarks.micro.budget import FILE, Budget, available_codecs, measured_frames, python_version
from benchmarks.micro.frames import frames_by_function
from benchmarks.micro.instructions import INSTRUCTED, count_instructions, valgrind
from benchmarks.micro.work import CODECS, WORK


def main() -> int:
    """Reads the arguments; returns 1 where something is over its budget."""
    parser = argparse.ArgumentParser(prog="scripts/benchmark --micro", description="Frames and instructions.")
    parser.add_argument("--instructions", action="store_true", help="count these too, by valgrind: some minutes")
    parser.add_argument("--update", action="store_true", help="make what was measured the budget")
    parser.add_argument("--show", nargs=2, metavar=("CODEC", "WORK"), help="which functions are entered how often")
    parser.epilog = f"Codecs: {', '.join(CODECS)}. Work: {'; '.join(WORK)}."
    options = parser.parse_args()
    if options.show is not None:
        codec, name = options.show
        for number, function in frames_by_function(name, codec):
            print(f"{number:8.2f}  {function}")
        return 0

    budget = Budget.load() if FILE.exists() else Budget(python_version(), {}, {})
    frames = measured_frames()
    instructions: dict[str, int] = {}
    if options.instructions:
        if valgrind() is None:
            raise SystemExit("benchmarks: there is no valgrind here")
        for codec in available_codecs():
            for name in INSTRUCTED:
                print(f"{codec}: {name}", file=sys.stderr)
                instructions[f"{codec}: {name}"] = count_instructions(name, codec)

    kinds = ["ours", "all", "tasks", "timers", "locks", "generators"]
    print(f"| for each | {' | '.join(kinds)} | instructions |")
    print("|---" + "|---:" * (len(kinds) + 1) + "|")
    for key, counts in frames.items():
        cell = f"{instructions[key]:,}" if key in instructions else "–"
        print(f"| {key} | {' | '.join(f'{counts[kind]:g}' for kind in kinds)} | {cell} |")

    if options.update:
        dataclasses.replace(
            budget,
            python=python_version(),
            frames={**budget.frames, **frames},
            instructions={**budget.instructions, **instructions},
        ).save()
        return 0
    over = budget.frames_over(frames) + budget.instructions_over(instructions)
    for line in over:
        print(line, file=sys.stderr)
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())

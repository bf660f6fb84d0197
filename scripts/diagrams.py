"""Writes the state machines of docs/architecture.md from the tables in the source: scripts/diagrams [--check]."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any

from httpcore.pool.slot import SLOT
from httpcore.protocols.socks import SOCKS
from httpcore.protocols.states import CONNECTION, HTTP2_CONNECTION, RECEIVE, SEND

PAGE = Path(__file__).resolve().parent.parent / "docs" / "architecture.md"

Table = Mapping[Any, Any]  # (state, event) -> state; a Mapping is invariant in its key
TABLES: dict[str, Table] = {
    "SEND": SEND,
    "RECEIVE": RECEIVE,
    "CONNECTION": CONNECTION,
    "HTTP2_CONNECTION": HTTP2_CONNECTION,
    "SOCKS": SOCKS,
    "SLOT": SLOT,
}


def draw(table: Table) -> str:
    """Returns a Mermaid diagram of the table, and the table itself."""
    states: list[IntEnum] = sorted({state for state, _ in table} | set(table.values()))
    events: list[IntEnum] = sorted({event for _, event in table})
    arrows: dict[tuple[IntEnum, IntEnum], list[str]] = {}
    for (state, event), target in sorted(table.items()):
        arrows.setdefault((state, target), []).append(event.name)
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {states[0].name}"]
    lines += [f"    {start.name} --> {end.name}: {' / '.join(names)}" for (start, end), names in arrows.items()]
    finals = [state for state in states if not any(start == state != end for start, end in arrows)]
    lines += [f"    {state.name} --> [*]" for state in finals]
    lines += ["```", "", f"| | {' | '.join(event.name for event in events)} |", "|---" * (len(events) + 1) + "|"]
    for state in states:
        cells = [table[state, event].name if (state, event) in table else "" for event in events]
        lines.append(f"| **{state.name}** | {' | '.join(cells)} |".replace("|  ", "| "))
    return "\n".join(lines)


def rewrite(page: str) -> str:
    """Returns the page with everything between its markers drawn anew."""

    def replace(match: re.Match[str]) -> str:
        name = match[1]
        return f"<!-- table {name}: written by scripts/diagrams -->\n\n{draw(TABLES[name])}\n\n<!-- end {name} -->"

    drawn, count = re.subn(r"<!-- table (\w+): .*?-->.*?<!-- end \1 -->", replace, page, flags=re.DOTALL)
    missing = [name for name in TABLES if f"<!-- table {name}: " not in drawn]
    if missing or count != len(TABLES):
        raise SystemExit(f"{PAGE} has {count} markers for {len(TABLES)} tables; missing: {missing}")
    return drawn


def main() -> None:
    """Rewrites the page, or with --check says whether it is up to date."""
    page = PAGE.read_text(encoding="utf-8")
    drawn = rewrite(page)
    if "--check" in sys.argv[1:]:
        sys.exit("docs/architecture.md is not up to date: run scripts/diagrams" if drawn != page else 0)
    PAGE.write_text(drawn, encoding="utf-8")


if __name__ == "__main__":
    main()

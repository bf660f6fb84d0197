"""The picture of the README: bars of CPU time, drawn as SVG by hand. It suits light and dark pages alike."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Final

from benchmarks.peers import Peer
from benchmarks.plan import CASES, Case
from benchmarks.report import Report

__all__ = ["draw", "write_picture"]

_PANELS: Final = ("get-50", "tls-get-50", "download", "upload", "http2-get-50", "gateway-50")
_WIDTH, _COLUMN, _NAME, _BAR, _LINE, _GAP = 920, 460, 170, 180, 20, 54
_CUT: Final = 2.0
"""Bars longer than so many times the baseline's are cut, or those of httpx would leave nothing of the others."""

_STYLE: Final = """
text { font: 12px system-ui, sans-serif; fill: #57606a }
.title { font-weight: 600; fill: #1f2328 }
.ours { fill: #2f81f7 } .other { fill: #8c959f } .limit { fill: #d0d7de }
.cut { stroke: #ffffff; stroke-width: 3 }
@media (prefers-color-scheme: dark) {
text { fill: #9198a1 } .title { fill: #e6edf3 } .limit { fill: #3d444d } .cut { stroke: #0d1117 }
}
"""


def draw(report: Report) -> str:
    """Returns the picture: a panel for each case, the least CPU on top. Less is better in all of them."""
    cases = [case for case in CASES if case.key in _PANELS and report.rows(case)]
    parts: list[str] = []
    tops = [10, 10]
    for number, case in enumerate(cases):
        column = number % 2
        parts += _panel(report, case, column * _COLUMN, tops[column])
        tops[column] += _GAP + _LINE * len(report.rows(case))
    height = max(tops) + 24
    note = "CPU time of the client's process (of the gateway's), medians; shorter is better. Cut bars are longer."
    start = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    )
    start += ' role="img" aria-label="CPU time of HTTP clients for the same work">'
    return "\n".join([start, f"<style>{_STYLE}</style>", *parts, _text(4, height - 8, note), "</svg>\n"])


def _panel(report: Report, case: Case, left: int, top: int) -> list[str]:
    peers = sorted(report.rows(case), key=lambda peer: report.median(case, peer.key))
    values = {peer.key: report.median(case, peer.key) for peer in peers}
    longest = min(max(values.values()), _CUT * values.get(case.baseline, max(values.values())))
    lines = [_text(left + 4, top + 16, f"{case.name}, {_unit(case)}", "title")]
    for number, peer in enumerate(peers):
        y = top + 26 + number * _LINE
        width = max(2, round(_BAR * min(1.0, values[peer.key] / longest)))
        lines.append(_text(left + 4, y + 12, peer.name))
        lines.append(f'<rect class="{_class(peer)}" x="{left + _NAME}" y="{y}" width="{width}" height="15" rx="2"/>')
        if values[peer.key] > longest:
            x = left + _NAME + _BAR - 24
            lines.append(f'<path class="cut" d="M{x} {y + 17}L{x + 8} {y - 2}"/>')
        lines.append(_text(left + _NAME + width + 6, y + 12, _value(case, values[peer.key])))
    return lines


def _class(peer: Peer) -> str:
    if peer.environment in {"httpcore", "httpcore-fast"}:
        return "ours"
    return "limit" if peer.environment in {"bare", ""} else "other"


def _unit(case: Case) -> str:
    return "ms of CPU per 100 MB" if case.size else "µs of CPU"


def _value(case: Case, microseconds: float) -> str:
    if case.size:
        return f"{microseconds / 1e3 / (case.size / 1e8):,.0f}"
    return f"{microseconds:,.0f}"


def _text(x: int, y: int, text: str, name: str = "") -> str:
    named = f' class="{name}"' if name else ""
    return f'<text{named} x="{x}" y="{y}">{escape(text)}</text>'


def write_picture(report: Report, folder: Path) -> None:
    """Writes it as `latest.svg`."""
    (folder / "latest.svg").write_text(draw(report))

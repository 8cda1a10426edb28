"""HTML: tables and small paths, everything in them escaped."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

MOST_ROWS = 60
STYLE = "border-collapse:collapse;font-variant-numeric:tabular-nums"
RIGHT = "text-align:right;padding:2px 10px"
LEFT = "text-align:left;padding:2px 10px"


def block(title: str, *parts: str) -> str:
    """A title and what stands below it; parts are HTML already."""
    return f"<div><p style='margin:4px 0'><b>{escape(title)}</b></p>{''.join(parts)}</div>"


def line(text: str) -> str:
    """A line of plain text."""
    return f"<p style='margin:4px 0'>{escape(text)}</p>" if text else ""


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table, of whose many rows the first are shown; numbers stand on the right."""
    rows = [[*row] for row in rows]
    head = "".join(f"<th style='{LEFT}'>{escape(name)}</th>" for name in header)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows[:MOST_ROWS])
    more = line(f"and {len(rows) - MOST_ROWS} more") if len(rows) > MOST_ROWS else ""
    return f"<table style='{STYLE}'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def path(values: Sequence[float], label: str, width: int = 320, height: int = 60) -> str:
    """A polyline of finite numbers against their position, as inline SVG in the colour of the text."""
    shown = [(index, value) for index, value in enumerate(values) if math.isfinite(value)]
    if len(shown) < 2:
        return ""
    low, high = min(value for _, value in shown), max(value for _, value in shown)
    across, up = (width - 4) / max(len(values) - 1, 1), (height - 4) / ((high - low) or 1.0)
    points = " ".join(f"{2 + index * across:.1f},{height - 2 - (value - low) * up:.1f}" for index, value in shown)
    return (
        f"<svg width='{width}' height='{height}' role='img' aria-label='{escape(label, quote=True)}'>"
        f"<polyline points='{points}' fill='none' stroke='currentColor'/></svg>"
    )


def number(value: object) -> str:
    """Four significant digits; what is missing is a dash."""
    return "–" if value is None or math.isnan(float(value)) else f"{float(value):.4g}"  # type: ignore[arg-type]


def size(nbytes: float) -> str:
    """Bytes in a unit that can be read."""
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 1000:
            return f"{nbytes:.3g} {unit}"
        nbytes /= 1000
    return f"{nbytes:.3g} TB"


def _cell(value: object) -> str:
    text = value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else number(value)
    numeric = not isinstance(value, str) or text[:1].isdigit() or text[:1] in "-–"
    return f"<td style='{RIGHT if numeric else LEFT}'>{escape(text)}</td>"

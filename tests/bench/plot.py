"""Bars as SVG, which every browser shows."""

from collections.abc import Mapping
from html import escape
from pathlib import Path

ROW, LEFT, WIDTH = 22, 300, 900


def draw(values: Mapping[str, float], file: Path) -> None:
    """One bar for each value, in their order, with its name and number beside it."""
    most = max(values.values())
    bars = []
    for row, (name, value) in enumerate(values.items()):
        y, length = row * ROW + 4, (WIDTH - LEFT - 100) * value / most
        bars.append(
            f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{ROW - 6}" fill="#3b6ea5"/>'
            f'<text x="{LEFT + length + 6:.1f}" y="{y + 13}">{value:,.0f}</text>'
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{len(values) * ROW + 8}" '
        f'font-family="sans-serif" font-size="12">{"".join(bars)}</svg>\n'
    )

"""A bar chart as SVG, written by hand: one panel per field, bars for medians, a line from the least to the most."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Protocol
from xml.sax.saxutils import escape

_WIDTH, _LABELS, _FIGURES = 860, 300, 70
_BAR, _GAP, _TITLE = 18, 8, 34
#: Readable on white and on dark paper alike, and told apart without colours by the labels.
_OURS, _OTHERS, _INK = "#2f7ed8", "#9aa5b1", "#6b7280"
_STYLE = "text{font:13px system-ui,sans-serif;fill:#6b7280}.t{font-weight:600;font-size:14px}"


class Field(Protocol):
    """What one panel shows: values by round of everything that was measured."""

    @property
    def title(self) -> str: ...

    @property
    def measures(self) -> Mapping[str, Any]: ...

    def rates(self, sender: str, /) -> Sequence[float]: ...


def draw(fields: Sequence[Field], caption: str) -> str:
    """Return the chart of these fields."""
    top = _TITLE
    pieces = [f'<text class="t" x="0" y="18">{escape(caption)}</text>']
    for field in fields:
        panel, height = _panel(field, top)
        pieces += panel
        top += height
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" role="img">'
    return "\n".join([head, f"<title>{escape(caption)}</title>", f"<style>{_STYLE}</style>", *pieces, "</svg>", ""])


def _panel(field: Field, top: int) -> tuple[list[str], int]:
    """Return the elements of one field, each with a scale of its own, and its height."""
    most = max(max(field.rates(sender)) for sender in field.measures)
    scale = (_WIDTH - _LABELS - _FIGURES) / most
    pieces = [f'<text class="t" x="0" y="{top + 16}">{escape(field.title)}</text>']
    y = top + 28
    for sender in field.measures:
        pieces += _bar(sender, field.rates(sender), y, scale)
        y += _BAR + _GAP
    return pieces, y - top + _GAP


def _bar(sender: str, rates: Sequence[float], y: int, scale: float) -> list[str]:
    middle = median(rates)
    colour = _OURS if sender.startswith("Postroom") else _OTHERS
    line = y + _BAR / 2
    start, end = (_LABELS + value * scale for value in (min(rates), max(rates)))
    return [
        f'<text x="{_LABELS - 10}" y="{y + 14}" text-anchor="end">{escape(sender)}</text>',
        f'<rect x="{_LABELS}" y="{y}" width="{middle * scale:.1f}" height="{_BAR}" rx="2" fill="{colour}"/>',
        f'<line x1="{start:.1f}" y1="{line}" x2="{end:.1f}" y2="{line}" stroke="{_INK}" stroke-width="2"/>',
        f'<text x="{end + 8:.1f}" y="{y + 14}">{middle:,.0f}</text>',
    ]

"""Bar charts as SVG, by hand: small files that every page shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from bench.figures import in_words

_LEFT, _WIDTH, _RIGHT = 260, 420, 90  # px: labels, bars, figures
_BAR, _STEP, _TOP = 14, 22, 46
_OWN, _OTHER, _TEXT, _GRID = "#1a6dd0", "#9aa5b1", "#5b6570", "#8884"


@dataclass(frozen=True)
class Bar:
    """A bar.

    Attributes:
        label: what it stands for.
        value: how long it is, over 0.
        own: whether it is drawn as ours.
    """

    label: str
    value: float
    own: bool = False


def chart(title: str, unit: str, bars: Sequence[Bar]) -> str:
    """Horizontal bars on a logarithmic axis, the shortest first, readable on light and dark pages.

    Raises:
        ValueError: there are no bars, or a value isn't over 0.
    """
    if not bars or min(bar.value for bar in bars) <= 0:
        raise ValueError("a chart needs values over 0")
    bars = sorted(bars, key=lambda bar: bar.value)
    low = math.floor(math.log10(bars[0].value / 1.5))
    high = math.ceil(math.log10(bars[-1].value))

    def at(value: float) -> float:
        return _LEFT + _WIDTH * (math.log10(value) - low) / (high - low)

    height = _TOP + _STEP * len(bars) + 24
    bottom = _TOP + _STEP * len(bars)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + _RIGHT}" '
        f'height="{height}" font-family="sans-serif" font-size="12" fill="{_TEXT}">',
        f'<text x="8" y="20" font-size="14" font-weight="bold">{escape(title)}</text>',
        f'<text x="{_LEFT}" y="38">{escape(unit)}, logarithmic; less is better</text>',
    ]
    for power in range(low, high + 1):
        x = at(10.0**power)
        lines += [
            f'<path d="M{x:.1f} {_TOP}V{bottom}" stroke="{_GRID}"/>',
            f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{10.0**power:g}</text>',
        ]
    for number, bar in enumerate(bars):
        y, end = _TOP + _STEP * number + 4, at(bar.value)
        weight = ' font-weight="bold"' if bar.own else ""
        color = _OWN if bar.own else _OTHER
        lines += [
            f'<text x="{_LEFT - 8}" y="{y + 11}" text-anchor="end"{weight}>'
            f"{escape(bar.label)}</text>",
            f'<rect x="{_LEFT}" y="{y}" width="{end - _LEFT:.1f}" height="{_BAR}" fill="{color}"/>',
            f'<text x="{end + 6:.1f}" y="{y + 11}"{weight}>{in_words(bar.value)}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])

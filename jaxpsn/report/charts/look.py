"""Colours and line styles: for a light and a dark page, and one of each for every arm."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

COLORS: dict[str, tuple[str, str]] = {
    "blue": ("#0072b2", "#4aa8e0"), "vermilion": ("#d55e00", "#ff8a3d"), "green": ("#009e73", "#2fce9e"),
    "purple": ("#b8579a", "#e391c8"), "orange": ("#d08f00", "#f0b93a"), "sky": ("#3a9ad9", "#8fd0f7"),
    "wine": ("#882255", "#d9739f"), "olive": ("#7a7a1f", "#bcbc55"), "indigo": ("#4a3fb0", "#9a92ee"),
    "rust": ("#9c3d1a", "#d98462"), "teal": ("#0f7b83", "#4cc3cb"), "lime": ("#5f9e1e", "#a0d95b"),
    "pink": ("#d6336c", "#ff85ad"), "brown": ("#7a5230", "#c49a74"), "violet": ("#8338b8", "#c590ec"),
    "slate": ("#52708c", "#9db8d1"), "ink": ("#1c2733", "#e8eef4"), "soft": ("#5b6b7b", "#9dadbd"),
    "line": ("#d5dde5", "#37444f"), "card": ("#ffffff", "#1a222b"),
}  # fmt: skip
"""Colour -> how it is drawn on white and on a dark page, at last that page. The first eight differ to any eye."""
DASHES: dict[str, tuple[float, ...]] = {"solid": (), "dashed": (5, 2), "dotted": (1.5, 1.8), "dashdot": (6, 2, 1.5, 2)}
"""Line style -> lengths of dashes and gaps, in widths of the line."""
_ARMS = tuple(COLORS)[:16]


class Look(NamedTuple):
    """Colour and line style of an arm; names of COLORS and DASHES."""

    color: str
    dash: str = "solid"


def looks(labels: Sequence[str]) -> Mapping[str, Look]:
    """Label -> look: up to 16 arms have a colour of their own, and as many as 64 differ in colour or line style."""
    styles, count = tuple(DASHES), len(_ARMS)
    return {
        label: Look(_ARMS[index % count], styles[(index + index // count) % len(styles)])
        for index, label in enumerate(labels)
    }


def css(dark: str = "") -> str:
    """The colours as CSS variables; dark where the reader's system is, or where the selector ``dark`` says so."""
    day, night = ("".join(f"--{name}:{pair[side]};" for name, pair in COLORS.items()) for side in (0, 1))
    night = f"{dark}{{{night}}}" if dark else f"@media(prefers-color-scheme:dark){{:root{{{night}}}}}"
    return f":root{{{day}}}{night}"

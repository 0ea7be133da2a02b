"""A chart as data: panels of layers over two axes. :mod:`svg` and :mod:`picture` draw it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from jaxpsn.core import text

Number = float | int


def _percent(value: Number) -> str:
    return f"{text.tick(round(100 * value, 9))} %"


def _points(value: Number) -> str:
    return text.share(100 * value, 1, signed=True).removesuffix(".0")


UNITS: dict[str, Callable[[Number], str]] = {
    "number": text.tick, "percent": _percent, "count": text.count, "points": _points,
}  # fmt: skip
"""How the numbers of an axis are written."""


class Axis(NamedTuple):
    """One axis: its label, scale and unit; limits that are not given are those of the data."""

    label: str = ""
    scale: str = "linear"
    """linear or log."""
    unit: str = "number"
    """A name of UNITS."""
    low: Number | None = None
    high: Number | None = None
    ticks: tuple[tuple[Number, str], ...] = ()
    """Places and their names, in place of numbers."""
    zero: bool = False
    """Whether the axis begins at zero, or at the lowest value that is below it."""


@dataclass(frozen=True)
class Line:
    """A curve y over x, in a band from low to high."""

    x: Any
    y: Any
    color: str
    label: str = ""
    low: Any = None
    high: Any = None
    dash: str = "solid"
    width: Number = 1.7
    alpha: Number = 1.0
    shade: float = 0.15
    stairs: bool = False
    marker: bool = False


@dataclass(frozen=True)
class Area:
    """What lies between low and high over x."""

    x: Any
    low: Any
    high: Any
    color: str
    label: str = ""
    alpha: Number = 0.25


@dataclass(frozen=True)
class Dots:
    """Points, each with what is said of it on hover."""

    x: Any
    y: Any
    color: str
    label: str = ""
    tips: Sequence[str] = ()
    size: Number = 3.0
    alpha: Number = 0.6
    shape: str = "dot"
    """dot, ring or tick (an upright stroke)."""


@dataclass(frozen=True)
class Box:
    """A rectangle (x0, x1, y0, y1); an end that is None is the panel's."""

    box: tuple[Number | None, Number | None, Number | None, Number | None]
    color: str
    alpha: Number = 0.6
    label: str = ""
    tip: str = ""


@dataclass(frozen=True)
class Text:
    """Words at a place; ``anchor`` is start, middle or end."""

    x: Number
    y: Number
    words: str
    color: str = "ink"
    anchor: str = "middle"
    bold: bool = False
    small: bool = False
    """Whether a narrow chart leaves it out."""


@dataclass(frozen=True)
class Rule:
    """A straight line across the panel at a value of one axis."""

    at: Number
    upright: bool = False
    label: str = ""
    color: str = "soft"
    dash: str = "dashed"


Layer = Line | Area | Dots | Box | Text | Rule


@dataclass(frozen=True)
class Panel:
    """Layers over two axes, the first lowest; ``height`` in inches of the picture."""

    layers: Sequence[Layer]
    x: Axis = field(default_factory=Axis)
    y: Axis = field(default_factory=Axis)
    title: str = ""
    color: str = "soft"
    height: Number = 2.4
    rows: bool = False
    """Whether y counts rows from the top, which have names."""


@dataclass(frozen=True)
class Chart:
    """Panels in columns, with what they show in one sentence, and how they are read."""

    name: str
    finding: str
    caption: str
    panels: Sequence[Panel | None]
    """None leaves a place empty."""
    columns: int = 1
    alike: str = ""
    """Which panels share their y axis: none, those of a row, or all."""

    @property
    def shown(self) -> list[Panel]:
        """The panels that are there."""
        return [panel for panel in self.panels if panel is not None]


def keys(chart: Chart) -> dict[str, Layer]:
    """What the legend names, each label once, what lies on top first."""
    found: dict[str, Layer] = {}
    for panel in chart.shown:
        for layer in panel.layers[::-1]:
            label = getattr(layer, "label", "")
            if label and not isinstance(layer, Rule):
                found.setdefault(label, layer)
    return found

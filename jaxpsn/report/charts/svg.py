"""A chart as SVG that follows the theme of its page, wide and narrow, with what a script needs to tell its values.

Colours are the page's CSS variables (:func:`look.css`), text is the page's. What belongs to an arm carries its name in
``data-arm``, so that the legend can hide it; a panel carries its limits, and the chart the numbers of its lines.
"""

import html
import json
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxpsn.core import text
from jaxpsn.report.charts.look import DASHES
from jaxpsn.report.charts.scales import Scale, scales
from jaxpsn.report.charts.spec import Area, Box, Chart, Dots, Layer, Line, Number, Panel, Rule, Text

WIDE = 940
"""Width of a chart on a wide page, in units of about a pixel."""
SIZE = 12.5
"""Of text."""
LETTER = 0.58
"""Width of a letter over the size of its text."""
_NARROW = 360
_INCH = 74.0  # units of height for an inch of the picture
_GAP = 18.0  # between columns
_DIGITS = 5  # of a number that is told


class Frame(NamedTuple):
    """Where the field of a panel lies, in units from its upper left corner."""

    left: Number
    top: Number
    right: Number
    bottom: Number


def drawings(chart: Chart) -> list[str]:
    """The chart for a wide and for a narrow page, of the classes wide and narrow."""
    limits = scales(chart)
    wide, narrow = ("wide", WIDE, chart.columns), ("narrow", _NARROW, 1)
    return [_svg(chart, limits, *about) for about in (wide, narrow)]


def values(chart: Chart) -> str:
    """The numbers of the lines of every panel, as JSON: what is told on hover."""
    limits = scales(chart)
    panels = []
    for panel, pair in zip(chart.panels, limits, strict=True):
        if panel is None or pair is None:
            continue
        lines = [layer for layer in panel.layers if isinstance(layer, Line | Area) and layer.label]
        panels.append({
            "unit": panel.y.unit, "across": panel.x.unit, "name": panel.x.label,
            "lines": [] if panel.rows else [_told(line) for line in lines],
        })  # fmt: skip
    return json.dumps(panels, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _told(line: Line | Area) -> dict[str, Any]:
    about = {"arm": text.visible(line.label), "color": line.color, "x": _numbers(line.x)}
    if isinstance(line, Area):  # a part of a stack: its own height
        return about | {"y": _numbers(np.asarray(line.high) - np.asarray(line.low))}
    band = {} if line.low is None else {"low": _numbers(line.low), "high": _numbers(line.high)}
    return about | {"y": _numbers(line.y)} | band


def _numbers(found: Any) -> list[float | None]:
    return [float(f"{value:.{_DIGITS}g}") if np.isfinite(value) else None for value in np.asarray(found, float)]


def sample(layer: Layer) -> str:
    """The line of a legend's entry, or its square."""
    color = f"var(--{getattr(layer, 'color', 'ink')})"
    if isinstance(layer, Line):
        shape = f'<path d="M1 6H25" stroke="{color}" stroke-width="2.4" {_dashes(layer.dash, 2.4)}/>'
    else:
        shape = f'<rect x="6" y="1" width="13" height="10" rx="2" fill="{color}" opacity="{max(0.4, layer.alpha)}"/>'
    return f'<svg width="26" height="12" viewBox="0 0 26 12" aria-hidden="true">{shape}</svg>'


def _svg(chart: Chart, limits: Sequence[tuple[Scale, Scale] | None], kind: str, width: Number, columns: int) -> str:
    """Panel below panel, or beside each other; places that are empty are kept in a wide chart alone."""
    parts, height = body(chart, limits, width, columns)
    head = f'<svg class="{kind}" viewBox="0 0 {width} {_at(height)}" role="img" aria-label="{escape(chart.finding)}">'
    return f"{head}{parts}</svg>"


def body(chart: Chart, limits: Sequence[tuple[Scale, Scale] | None], width: Number, columns: int) -> tuple[str, float]:
    """The panels of a chart, ``columns`` beside each other in a ``width`` in units, and their height."""
    places = [(index, panel) for index, panel in enumerate(chart.panels) if panel is not None or columns > 1]
    parts, top, known = [], 0.0, {id(panel): number for number, panel in enumerate(chart.shown)}
    each = (width - _GAP * (columns - 1)) / columns
    for start in range(0, len(places), columns):
        row = places[start : start + columns]
        height = max(_height(panel, each) for _, panel in row if panel is not None)
        for column, (index, panel) in enumerate(row):
            pair = limits[index]
            if panel is not None and pair is not None:
                inner = "".join(_panel(panel, *pair, each, height, known[id(panel)]))
                parts.append(f'<g transform="translate({_at(column * (each + _GAP))} {_at(top)})">{inner}</g>')
        top += height
    return "".join(parts), top


def _height(panel: Panel, width: Number) -> Number:
    return panel.height * _INCH + 52 + 16 * (len(_titles(panel, width)) - 1)


def _titles(panel: Panel, width: Number) -> list[str]:
    """Title and the label of the y axis, as lines above the panel."""
    shown = panel.title if not panel.y.label else f"{panel.title}: {panel.y.label}" if panel.title else panel.y.label
    return textwrap.wrap(text.visible(shown), max(12, int(width / (LETTER * SIZE)))) or [""]


def _panel(panel: Panel, x: Scale, y: Scale, width: Number, height: Number, number: int) -> Iterator[str]:
    titles = _titles(panel, width)
    names = [_short(name, width) for _, name in y.ticks]
    left = max([0.0, *(len(name) * LETTER * SIZE for name in names)]) + 10
    frame = Frame(left, 6 + 16 * len(titles), width - 12, height - 36)  # left, top, right, bottom
    for line, words in enumerate(titles):
        yield f'<text x="0" y="{14 + 16 * line}" fill="var(--{panel.color})" class="title">{escape(words)}</text>'
    yield from _grid(panel, x, y, names, frame)
    ends = json.dumps([*map(_at, frame), x.low, x.high, y.low, y.high, x.log, y.log])
    yield f'<g class="panel" data-panel="{number}" data-ends="{ends}">'
    # The rectangle takes the pointer where nothing is drawn.
    yield f'<rect class="field" {_rect(frame[0], frame[1], frame[2], frame[3])}/>'
    for layer in panel.layers:
        name = getattr(layer, "label", "")
        mark = f' data-arm="{escape(name)}"' if name and not isinstance(layer, Rule) else ""
        yield f"<g{mark}>{''.join(_layer(layer, x, y, frame))}</g>"
    yield f'<path class="cursor" d="M0 {_at(frame[1])}V{_at(frame[3])}"/></g>'


def _grid(panel: Panel, x: Scale, y: Scale, names: Sequence[str], frame: Frame) -> Iterator[str]:
    left, top, right, bottom = frame
    for (value, whole), name in zip(y.ticks, names, strict=True):
        at = _y(y, value, frame)
        lines = "" if panel.rows else f'<path class="grid" d="M{_at(left)} {_at(at)}H{_at(right)}"/>'
        tip = f"<title>{escape(whole)}</title>" if name != whole else ""
        kind = "row" if panel.rows else "tick"
        yield f'{lines}<text class="{kind}" x="{_at(left - 7)}" y="{_at(at + 4.2)}">{tip}{escape(name)}</text>'
    last = -1e9
    for value, name in x.ticks:
        at, half = left + float(x.place(value)) * (right - left), len(name) * LETTER * SIZE / 2
        yield f'<path class="grid" d="M{_at(at)} {_at(top)}V{_at(bottom)}"/>'
        if at - half > last:  # a name that would touch the one before is left out
            shown = min(at, right + 12 - half)
            yield f'<text class="tick middle" x="{_at(shown)}" y="{_at(bottom + 16)}">{escape(name)}</text>'
            last = at + half + 5
    yield f'<path class="axis" d="M{_at(left)} {_at(bottom)}H{_at(right)}"/>'
    if panel.x.label:
        yield f'<text class="tick end" x="{_at(right)}" y="{_at(bottom + 31)}">{escape(panel.x.label)}</text>'


def _layer(layer: Layer, x: Scale, y: Scale, frame: Frame) -> Iterator[str]:
    left, top, right, bottom = frame
    color = f"var(--{layer.color})"
    if isinstance(layer, Rule):
        at = left + float(x.place(layer.at)) * (right - left) if layer.upright else _y(y, layer.at, frame)
        inside = left - 1 <= at <= right + 1 if layer.upright else top - 1 <= at <= bottom + 1
        if inside:
            way = f"M{_at(at)} {_at(top)}V{_at(bottom)}" if layer.upright else f"M{_at(left)} {_at(at)}H{_at(right)}"
            yield f'<path d="{way}" stroke="{color}" stroke-width="1" {_dashes(layer.dash, 1)}/>'
            place = (at + 4, top + 11) if layer.upright else (left + 4, at - 4)
            yield f'<text class="note" x="{_at(place[0])}" y="{_at(place[1])}">{escape(layer.label)}</text>'
    elif isinstance(layer, Line):
        yield from _line(layer, x, y, frame)
    elif isinstance(layer, Area):
        yield f'<path d="{_shade(layer, x, y, frame)}" fill="{color}" opacity="{layer.alpha}" stroke="none"/>'
    elif isinstance(layer, Box):
        yield _box(layer, x, y, frame)
    elif isinstance(layer, Text):
        at, up = left + float(x.place(layer.x)) * (right - left), _y(y, layer.y, frame)
        kind = f'class="words {layer.anchor}{" bold" * layer.bold}{" small" * layer.small}" style="fill:{color}"'
        yield f'<text {kind} x="{_at(at)}" y="{_at(up + 4.2)}">{escape(layer.words)}</text>'
    else:
        yield from _dots(layer, x, y, frame)


def _line(line: Line, x: Scale, y: Scale, frame: Frame) -> Iterator[str]:
    color = f"var(--{line.color})"
    if line.low is not None and np.isfinite(np.asarray(line.low, float)).any():
        band = Area(line.x, line.low, line.high, line.color)
        yield (
            f'<path d="{_shade(band, x, y, frame, line.stairs)}" fill="{color}" opacity="{line.shade:.3g}"'
            ' stroke="none"/>'
        )
    points = _points(line.x, line.y, x, y, frame)
    way = "".join(_path(run, line.stairs) for run in _runs(points))
    look = f'stroke="{color}" stroke-width="{line.width}" opacity="{line.alpha}" {_dashes(line.dash, line.width)}'
    yield f'<path d="{way}" {look}/>'
    if line.marker or len(points) == 1:
        for at, up in points[np.isfinite(points).all(axis=1)]:
            yield f'<circle cx="{_at(at)}" cy="{_at(up)}" r="2.6" fill="{color}"/>'


def _dots(dots: Dots, x: Scale, y: Scale, frame: Frame) -> Iterator[str]:
    color = f"var(--{dots.color})"
    for index, (at, up) in enumerate(_points(dots.x, dots.y, x, y, frame)):
        if not np.isfinite((at, up)).all():
            continue
        tip = f' data-tip="{escape(dots.tips[index])}"' if len(dots.tips) > index else ""
        if dots.shape == "tick":
            yield f'<path d="M{_at(at)} {_at(up - 4)}v8" stroke="{color}" stroke-width="1.2"{tip}/>'
            continue
        fill = f'fill="none" stroke="{color}"' if dots.shape == "ring" else f'fill="{color}"'
        place = f'cx="{_at(at)}" cy="{_at(up)}" r="{dots.size}"'
        yield f'<circle {place} {fill} opacity="{dots.alpha}"{tip}/>'


def _box(box: Box, x: Scale, y: Scale, frame: Frame) -> str:
    left, top, right, bottom = frame
    x0, x1, y0, y1 = box.box
    ends = [left if x0 is None else left + float(x.place(x0)) * (right - left),
            right if x1 is None else left + float(x.place(x1)) * (right - left),
            top if y1 is None else _y(y, y1, frame), bottom if y0 is None else _y(y, y0, frame)]  # fmt: skip
    tip = f' data-tip="{escape(box.tip)}"' if box.tip else ""
    place = _rect(min(ends[:2]), min(ends[2:]), max(ends[:2]), max(ends[2:]))
    return f'<rect {place} fill="var(--{box.color})" opacity="{box.alpha:.3g}"{tip}/>'


def _shade(area: Area, x: Scale, y: Scale, frame: Frame, stairs: bool = False) -> str:
    low, high = (_points(area.x, end, x, y, frame) for end in (area.low, area.high))
    known = np.isfinite(low).all(axis=1) & np.isfinite(high).all(axis=1)
    ways = []
    for run in np.split(np.arange(len(low)), np.flatnonzero(~known)):
        run = run[known[run]]
        if len(run):
            there, back = (_corners(one[run]) if stairs else one[run] for one in (high, low))
            ways.append(f"M{_joined(there)}L{_joined(back[::-1])}Z")
    return "".join(ways)


def _points(across: Any, up: Any, x: Scale, y: Scale, frame: Frame) -> np.ndarray:
    left, top, right, bottom = frame
    across, up = np.broadcast_arrays(np.atleast_1d(x.place(across)), np.atleast_1d(y.place(up)))
    return np.stack([left + across * (right - left), bottom - up * (bottom - top)], axis=-1)


def _runs(points: np.ndarray) -> Iterator[np.ndarray]:
    """Stretches without a gap; a point that is not known is passed over, as a seed is not always evaluated."""
    known = points[np.isfinite(points).all(axis=1)]
    if len(known):
        yield known


def _path(points: np.ndarray, stairs: bool) -> str:
    return f"M{_joined(_corners(points) if stairs else points)}"


def _corners(points: np.ndarray) -> np.ndarray:
    """The same as stairs: a value holds until the next."""
    corners = np.repeat(points, 2, axis=0)[1:]
    corners[:, 1] = np.repeat(points[:, 1], 2)[:-1]
    return corners


def _joined(points: np.ndarray) -> str:
    return "L".join(f"{a:.1f} {b:.1f}" for a, b in points.tolist())


def _y(y: Scale, value: Number, frame: Frame) -> float:
    return frame[3] - float(y.place(value)) * (frame[3] - frame[1])


def _rect(left: Number, top: Number, right: Number, bottom: Number) -> str:
    size = f'width="{_at(max(0.0, right - left))}" height="{_at(max(0.0, bottom - top))}"'
    return f'x="{_at(left)}" y="{_at(top)}" {size}'


def _dashes(name: str, width: Number) -> str:
    parts = " ".join(f"{part * max(width, 1):.3g}" for part in DASHES[name])
    return f'stroke-dasharray="{parts}"' if parts else ""


def _short(name: str, width: Number) -> str:
    most = int(0.5 * width / (LETTER * SIZE))
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _at(value: Number) -> Number:
    rounded = round(float(value), 1)
    return int(rounded) if rounded == int(rounded) else rounded


def escape(words: Any) -> str:
    """Words as they stand in the source of a page."""
    return html.escape(text.visible(words), quote=True)

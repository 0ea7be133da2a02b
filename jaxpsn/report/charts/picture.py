"""A chart as an SVG file of its own: its finding, its legend and its panels, in the theme of whoever shows it."""

import importlib.resources
import textwrap
from collections.abc import Iterable
from pathlib import Path

from jaxpsn.core import files
from jaxpsn.report.charts import look, svg
from jaxpsn.report.charts.scales import scales
from jaxpsn.report.charts.spec import Chart, keys

_EDGE = 16.0  # around all
_TITLE = 15.5  # size of the finding
_ROW = 20.0  # height of a line of it, and of the legend


def write(charts: Iterable[Chart | None], folder: str | Path, stem: str = "") -> dict[str, Chart]:
    """Write charts to ``folder`` as SVG, by their names or as ``stem``, leaving out None; returns name -> chart."""
    folder = files.make_folder(Path(folder))
    found = {chart.name: chart for chart in charts if chart is not None}
    for chart in found.values():
        files.write_atomically(folder / f"{stem or chart.name}.svg", draw(chart))
    return found


def draw(chart: Chart) -> str:
    """The source of the file; its colours follow the reader's system."""
    lines = textwrap.wrap(chart.finding, int(svg.WIDE / (svg.LETTER * _TITLE)))
    parts = [f'<text class="head" y="{_ROW * at + 15}">{svg.escape(line)}</text>' for at, line in enumerate(lines)]
    legend, top = _legend(chart, _ROW * len(lines) + 8)
    panels, height = svg.body(chart, scales(chart), svg.WIDE, chart.columns)
    parts += [*legend, f'<g transform="translate(0 {top:g})">{panels}</g>']
    size = f"{svg.WIDE + 2 * _EDGE:g}", f"{top + height + 2 * _EDGE:g}"
    box = f"{-_EDGE:g} {-_EDGE:g} {size[0]} {size[1]}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" width="{size[0]}" height="{size[1]}" viewBox="{box}"'
        f' role="img" aria-label="{svg.escape(chart.finding)}"><style>{look.css()}{css()}</style>'
        f'<rect class="ground" x="{-_EDGE:g}" y="{-_EDGE:g}" width="{size[0]}" height="{size[1]}"/>'
        f"{''.join(parts)}</svg>\n"
    )


def css() -> str:
    """How the parts of a chart look, but for the colours that :func:`look.css` names."""
    template = importlib.resources.files("jaxpsn.report") / "templates" / "chart.css"
    return "".join(template.read_text(encoding="utf-8").splitlines())


def _legend(chart: Chart, top: float) -> tuple[list[str], float]:
    """The names of what is drawn, in rows, where there are several; and where the panels begin."""
    found, parts, left = keys(chart), [], 0.0
    if len(found) < 2:
        return [], top
    for name, layer in found.items():
        width = 34 + svg.LETTER * svg.SIZE * len(name) + 18
        if left and left + width > svg.WIDE:
            left, top = 0.0, top + _ROW
        parts.append(f'<g transform="translate({left:.1f} {top:g})">{svg.sample(layer)}'
                     f'<text x="32" y="10.5">{svg.escape(name)}</text></g>')  # fmt: skip
        left += width
    return parts, top + _ROW + 6

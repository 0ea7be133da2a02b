"""A chart of the ladder of like choices."""

from typing import Any

from jaxpsn.report.charts.spec import Axis, Chart, Line, Panel, Rule

_ARMS = (("temperature", "vermilion"), ("redrawn", "blue"))


def ladder(told: dict[str, Any]) -> Chart:
    """Success of noise held for the answer over that of its rivals, by the number of like choices; log-log."""
    rows = told["rows"]
    x = [row["choices"] for row in rows]
    layers: list[Any] = [Rule(1.0)]
    for arm, color in _ARMS:
        y, low, high = ([row[f"over_{arm}{end}"] for row in rows] for end in ("", "_low", "_high"))
        low, high = (None, None) if None in low else (low, high)
        layers.append(Line(x, y, color, f"over {arm}", low=low, high=high, marker=True))
    layers.append(Line(x, [row["formula"] for row in rows], "ink", "formula, over temperature", dash="dashed"))
    layers.append(
        Line(x, [row["formula_coherent"] for row in rows], "soft", "the same, measured coherence", dash="dotted")
    )
    axis = Axis("like choices in an answer", "log", ticks=tuple((one, str(one)) for one in x))
    by_choices = {row["choices"]: row["over_temperature"] for row in rows}
    finding = f"Held noise over temperature: {by_choices[4]:.2g} at 4 choices, {by_choices[8]:.2g} at 8"
    caption = f"Probability of the right answer at {told['options']['kl']:g} nats a choice, {rows[0]['seeds']} bases."
    caption += " Bands: 95 % intervals over bases."
    panel = Panel(layers, axis, Axis("ratio of success", "log"), "", height=3.2)
    return Chart("ladder", finding, caption, [panel])

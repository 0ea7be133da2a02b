"""A chart of how the measures of Variant II respond to the scale of the noise."""

from typing import Any

from jaxpsn.report.charts.spec import Axis, Chart, Layer, Line, Panel, Rule

_COLORS = {
    "ngram": "blue", "equal": "green", "hidden": "orange", "hidden raw": "orange", "bert": "vermilion",
    "bert raw": "vermilion", "certainty": "sky", "certainty batch": "sky", "confidence": "ink",
}  # fmt: skip


def response(rows: list[dict[str, Any]]) -> Chart:
    """The drop of every measure below the clean policy's, alone and in multiples of a step's spread, over sigma."""
    names = [name for name in dict.fromkeys(row["name"] for row in rows) if " + " not in name]
    drops: list[Layer] = [Rule(0.0, color="ink", dash="solid")]
    multiples: list[Layer] = [*drops]
    for name in names:
        of = sorted((row for row in rows if row["name"] == name and row["sigma"] > 0), key=lambda row: row["sigma"])
        told = [row["drop"] / row["spread"] if row["spread"] else float("nan") for row in of]
        dash = "dashed" if name.split()[-1] in ("raw", "batch") else "solid"
        for layers, values in ((drops, [row["drop"] for row in of]), (multiples, told)):
            layers.append(Line([row["sigma"] for row in of], values, _COLORS.get(name, "soft"), name, dash=dash,
                               width=1.4, marker=True))  # fmt: skip
    x = Axis("sigma", "log")
    panels = [
        Panel(layers, x, Axis(), title, height=2.8)
        for layers, title in ((drops, "drop below the clean policy"), (multiples, "drop / spread of one step"))
    ]
    caption = "Noisy and clean answers to the same problems with the same random numbers, means over steps' problems."
    return Chart("response", _finding(rows), caption, panels, columns=2)


def _finding(rows: list[dict[str, Any]]) -> str:
    """From which sigma on each kind of measure is seen in a single step, at twice its spread."""
    seen = {}
    for name in ("ngram", "certainty"):
        of = sorted((row for row in rows if row["name"] == name), key=lambda row: row["sigma"])
        clear = [row["sigma"] for row in of if row["drop"] > 2.0 * row["spread"]]
        seen[name] = f"from sigma {clear[0]:g} on" if clear else "nowhere here"
    return f"A single step sees the drop in similarity of texts {seen['ngram']}, in certainty {seen['certainty']}"

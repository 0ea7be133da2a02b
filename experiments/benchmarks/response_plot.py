"""A plot of how the measures of Variant II respond to the scale of the noise."""

from typing import Any

from jaxpsn.report import figures
from jaxpsn.report.figures import BLUE, GREEN, INK, ORANGE, SKY, SOFT, VERMILION, Plot

_COLORS = {
    "ngram": BLUE, "equal": GREEN, "hidden": ORANGE, "hidden raw": ORANGE, "bert": VERMILION, "bert raw": VERMILION,
    "certainty": SKY, "certainty batch": SKY, "confidence": INK,
}  # fmt: skip


def response(rows: list[dict[str, Any]]) -> Plot:
    """The drop of every measure below the clean policy's, alone and in multiples of a step's spread, over sigma."""
    names = [name for name in dict.fromkeys(row["name"] for row in rows) if " + " not in name]
    finding = _finding(rows)
    with figures.style():
        figure, axes = figures.figure(finding, [2.8], columns=2)
        for name in names:
            of = sorted((row for row in rows if row["name"] == name and row["sigma"] > 0), key=lambda row: row["sigma"])
            look = {"color": _COLORS.get(name, SOFT), "ls": "--" if name.split()[-1] in ("raw", "batch") else "-"}
            sigmas = [row["sigma"] for row in of]
            axes[0].plot(sigmas, [row["drop"] for row in of], marker="o", ms=2.6, lw=1.4, label=name, **look)
            told = [row["drop"] / row["spread"] if row["spread"] else float("nan") for row in of]
            axes[1].plot(sigmas, told, marker="o", ms=2.6, lw=1.4, **look)
        for each, title in zip(axes, ("drop below the clean policy", "drop / spread of one step"), strict=True):
            each.set_xscale("log")
            each.axhline(0.0, color=INK, lw=0.8)
            each.set_title(title)
            each.set_xlabel("sigma")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8)
    caption = "Noisy and clean answers to the same problems with the same random numbers, means over steps' problems."
    return Plot("response", figure, finding, caption)


def _finding(rows: list[dict[str, Any]]) -> str:
    """From which sigma on each kind of measure is seen in a single step, at twice its spread."""
    seen = {}
    for name in ("ngram", "certainty"):
        of = sorted((row for row in rows if row["name"] == name), key=lambda row: row["sigma"])
        clear = [row["sigma"] for row in of if row["drop"] > 2.0 * row["spread"]]
        seen[name] = f"from sigma {clear[0]:g} on" if clear else "nowhere here"
    return f"A single step sees the drop in similarity of texts {seen['ngram']}, in certainty {seen['certainty']}"

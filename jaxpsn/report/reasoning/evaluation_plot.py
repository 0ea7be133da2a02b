"""The plot of a run's evaluations: pass@k over k, and the paired difference of the last policy and the first."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from jaxpsn.core import text
from jaxpsn.report import figures
from jaxpsn.report.figures import BLUE, GREEN, INK, ORANGE, SOFT, Plot
from jaxpsn.report.reasoning.folder import Judged
from jaxpsn.stats.comparison import Comparison
from jaxpsn.stats.evaluations import Evaluation
from jaxpsn.stats.pass_at_k import Curve

NAME = "pass_at_k"


def pass_at_k(judged: Judged) -> Plot | None:
    """pass@k of every evaluated policy over k, and below it the paired difference of the last and the first."""
    if not judged.evaluations:
        return None
    compared = judged.comparison
    curves = [(one, one.curve) for one in judged.evaluations]
    with figures.style():
        finding = _pass_finding(judged, curves)
        figure, panels = figures.figure(finding, [3.6, 1.9] if compared else [3.9])
        _pass_curves(panels[0], curves, compared)
        if compared:
            axes, ours, theirs = panels[1], compared.ours.label, compared.theirs.label
            axes.axhline(0, color=INK, lw=1.0)
            _band(axes, compared.difference, GREEN, f"{ours} - {theirs}", markers=True)
            axes.set_ylabel("difference")
            axes.set_title(f"{ours} minus {theirs}, paired by problem")
            figures.plain(axes)
        ks = max((curve.ks for _, curve in curves), key=len)
        for axes in panels:
            axes.set_xscale("log", base=2)
            axes.set_xticks(ks, [str(k) for k in ks])
            axes.minorticks_off()
        panels[-1].set_xlabel("k: answers to each problem")
    problems = len(judged.evaluations[0].ids)
    caption = f"Chance that at least one of k answers is right, mean of {problems} problems. Bands: 95 % bootstrap"
    return Plot(NAME, figure, finding, f"{caption} intervals over problems.")


def _pass_curves(axes: Axes, curves: Sequence[tuple[Evaluation, Curve]], compared: Comparison | None) -> None:
    """The two that are compared with their bands; those between and the noisy ones as thin lines."""
    chief = {compared.theirs.label: ORANGE, compared.ours.label: BLUE} if compared else {curves[0][0].label: BLUE}
    between = [one.label for one, _ in curves if one.label not in chief]
    for evaluation, curve in curves:
        label = evaluation.label + (" (noisy)" if evaluation.noisy and "noisy" not in evaluation.label else "")
        if evaluation.label in chief:
            below = compared is not None and evaluation.label == compared.theirs.label
            _band(axes, curve, chief[evaluation.label], label, markers=True, wide=below)
        else:
            grey = 0.35 + 0.6 * (between.index(evaluation.label) + 1) / len(between)
            style = (0, (4, 3)) if evaluation.noisy else "-"
            axes.plot(curve.ks, curve.band.value, color=SOFT, lw=1.2, alpha=grey, ls=style, label=label)
    axes.set_ylabel("pass@k")
    low, high = axes.get_ylim()
    axes.set_ylim(max(0.0, low) if low > 0.3 else 0.0, min(1.02, high))
    figures.plain(axes)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], loc="best")


def _band(axes: Axes, curve: Curve, color: str, label: str, *, markers: bool = False, wide: bool = False) -> None:
    """A curve in its interval; ``wide`` shows it at the edges of one that lies upon it."""
    if np.isfinite(curve.band.low).all():
        axes.fill_between(curve.ks, curve.band.low, curve.band.high, color=color, alpha=0.18, lw=0)
    style = {"marker": "o", "ms": 5.5 if wide else 4, "mec": "white", "mew": 0.6} if markers else {}
    style |= {"lw": 3.5, "alpha": 0.9} if wide else {}
    axes.plot(curve.ks, curve.band.value, color=color, label=label, **style)


def _pass_finding(judged: Judged, curves: Sequence[tuple[Evaluation, Curve]]) -> str:
    """pass@1 and pass@k at the largest k, from the first policy to the last."""
    if judged.comparison is None:
        evaluation, curve = curves[0]
        shown = [f"pass@{curve.ks[i]} {text.share(curve.band.value[i])}" for i in sorted({0, len(curve.ks) - 1})]
        return f"{evaluation.label[:1].upper()}{evaluation.label[1:]} policy: {', '.join(shown)}"
    rows = judged.comparison.rows()
    ends = [rows[0], *rows[1:][-1:]]
    shown = [f"pass@{row['k']} {text.share(row['theirs'])} → {text.share(row['ours'])}" for row in ends]
    return f"{', '.join(shown)} over {len(judged.comparison.ours.ids)} problems"

"""The chart of a run's evaluations: pass@k over k, and the paired difference of the last policy and the first."""

from collections.abc import Sequence

import numpy as np

from jaxpsn.core import text
from jaxpsn.report.charts.spec import Axis, Chart, Layer, Line, Panel, Rule
from jaxpsn.report.reasoning.folder import Judged
from jaxpsn.stats.comparison import Comparison
from jaxpsn.stats.evaluations import Evaluation
from jaxpsn.stats.pass_at_k import Curve

NAME = "pass_at_k"


def pass_at_k(judged: Judged) -> Chart | None:
    """pass@k of every evaluated policy over k, and below it the paired difference of the last and the first."""
    if not judged.evaluations:
        return None
    compared, curves = judged.comparison, [(one, one.curve) for one in judged.evaluations]
    x = over_k(max((curve.ks for _, curve in curves), key=len))
    panels = [_passed(curves, compared, x, 3.6 if compared else 3.9)]
    if compared:
        ours, theirs = compared.ours.label, compared.theirs.label
        layers = [Rule(0, color="ink", dash="solid"), _band(compared.difference, "green", f"{ours} - {theirs}")]
        title = f"{ours} minus {theirs}, paired by problem"
        panels.append(Panel(layers, x, Axis("difference"), title, height=1.9))
    caption = f"Chance that at least one of k answers is right, mean of {len(judged.evaluations[0].ids)} problems."
    finding = _pass_finding(judged, curves)
    return Chart(NAME, finding, f"{caption} Bands: 95 % bootstrap intervals over problems.", panels)


def over_k(ks: Sequence[int], label: str = "k: answers to each problem") -> Axis:
    """An x axis of powers of two."""
    room = 1.12 if len(ks) > 1 else 2.0
    return Axis(label, "log", low=ks[0] / room, high=ks[-1] * room, ticks=tuple((float(k), str(k)) for k in ks))


def _passed(curves: Sequence[tuple[Evaluation, Curve]], compared: Comparison | None, x: Axis, height: float) -> Panel:
    """The two that are compared with their bands; those between and the noisy ones as thin lines."""
    first = curves[0][0].label
    chief = {compared.theirs.label: "orange", compared.ours.label: "blue"} if compared else {first: "blue"}
    between = [one.label for one, _ in curves if one.label not in chief]
    layers: list[Layer] = []
    for one, curve in curves:
        label = one.label + (" (noisy)" if one.noisy and "noisy" not in one.label else "")
        if one.label in chief:
            below = compared is not None and one.label == compared.theirs.label
            layers.append(_band(curve, chief[one.label], label, wide=below))
        else:
            alpha = 0.35 + 0.6 * (between.index(one.label) + 1) / len(between)
            dash = "dashed" if one.noisy else "solid"
            layers.append(Line(curve.ks, curve.band.value, "soft", label, dash=dash, width=1.2, alpha=alpha))
    least = min(curve.band.value.min() for _, curve in curves)
    return Panel(layers, x, Axis("pass@k", low=None if least > 0.3 else 0.0), height=height)


def _band(curve: Curve, color: str, label: str, *, wide: bool = False) -> Line:
    """A curve in its interval; ``wide`` shows it at the edges of one that lies upon it."""
    known = np.isfinite(curve.band.low).all()
    low, high = (curve.band.low, curve.band.high) if known else (None, None)
    return Line(curve.ks, curve.band.value, color, label, low, high, width=3.5 if wide else 2.0, shade=0.18,
                marker=True)  # fmt: skip


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

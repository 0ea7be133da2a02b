"""Plots of a study's final numbers: seed by seed, as profiles, pair by pair, and how the scales were chosen."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colors
from matplotlib.axes import Axes

from jaxpsn.core import text
from jaxpsn.report import figures
from jaxpsn.report.figures import BLUE, INK, SOFT, VERMILION, Plot
from jaxpsn.report.study import curves
from jaxpsn.report.study import look as study_look
from jaxpsn.report.study.folder import Arm, Tuning
from jaxpsn.report.study.look import Look
from jaxpsn.report.study.scores import LAST, Results, Row
from jaxpsn.stats import statistics
from jaxpsn.stats.statistics import Estimate

_AXIS = colors.LinearSegmentedColormap.from_list("loses-wins", [VERMILION, "#ffffff", BLUE])


def write(results: Results, folder: str | Path) -> figures.Written:
    """Write every plot that the study has data for to ``folder`` as PNG; returns name -> (path, plot)."""
    makers = (
        curves.learning, finals, curves.events, improvement, profile, curves.behaviour,
        curves.coverage, curves.distance, curves.noise, curves.seeds, tuning,
    )  # fmt: skip
    return figures.write((make(results) for make in makers), folder)


def _scored(results: Results) -> list[tuple[Row, np.ndarray]]:
    """The arms with final returns, without the seeds that have none."""
    found = []
    for row in results.rows:
        if row.scores is not None and row.scores.final is not None and row.final is not None:
            found.append((row, row.scores.final[np.isfinite(row.scores.final)]))
    return found


def finals(results: Results) -> Plot | None:
    """The final return of every seed, with the interquartile mean of each arm in its interval."""
    found, looks = _scored(results), study_look.looks(results.study)
    if not found:
        return None
    with figures.style():
        finding = _spread_finding(found)
        figure, (axes,) = figures.figure(finding, [0.9 + 0.42 * len(found)])
        for place, (row, values) in enumerate(found):
            look = looks[row.arm.label]
            shift = 0.16 * np.sin(2.4 * np.arange(len(values)))  # equal returns lie side by side
            axes.plot(values, place + shift, "o", color=look.color, alpha=0.55, ms=5, mec="white", mew=0.5)
            _estimate(axes, row.final, place, look)
        axes.set_yticks(range(len(found)), [_named(row.arm) for row, _ in found])
        axes.tick_params(axis="y", labelcolor=INK, length=0)
        axes.set_ylim(len(found) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(f"final return of a seed (mean of its last {LAST} evaluations)")
        axes.xaxis.set_major_formatter(lambda x, _: text.tick(x))
        study_look.threshold(axes, results.study.threshold, upright=True)
    caption = "Dots: seeds. Bar: interquartile mean over seeds; line: its 95 % bootstrap interval."
    return Plot("finals", figure, finding, caption)


def _named(arm: Arm) -> str:
    return arm.label if arm.finished else f"{arm.label}*"


def _estimate(axes: Axes, found: Estimate | None, place: int, look: Look) -> None:
    if found is None:
        return
    axes.plot([found.value] * 2, [place - 0.32, place + 0.32], color=look.color, lw=3, solid_capstyle="butt")
    if found.low is not None and found.high is not None:
        axes.plot([found.low, found.high], [place] * 2, color=look.color, lw=1.6)


def _spread_finding(found: Sequence[tuple[Row, np.ndarray]]) -> str:
    """The arm whose seeds differ most."""
    label, values = max(((row.arm.label, values) for row, values in found), key=lambda one: np.ptp(one[1]))
    if all(len(values) == 1 for _, values in found):
        return "Final returns, one seed of each arm"
    if not np.ptp(values):
        return "Every arm's seeds end at equal returns"
    return f"Seeds differ most in {label}: from {text.number(values.min())} to {text.number(values.max())}"


def profile(results: Results) -> Plot | None:
    """Performance profiles: the share of seeds whose final return is above each value."""
    found, looks = _scored(results), study_look.looks(results.study)
    pooled = np.concatenate([values for _, values in found]) if found else np.zeros(0)
    if pooled.size < 2 or not np.ptp(pooled):
        return None
    room = 0.03 * np.ptp(pooled)
    at = np.unique([*np.linspace(pooled.min() - room, pooled.max() + room, 200), *pooled])
    with figures.style():
        finding = _profile_finding(found, results.study.threshold)
        figure, (axes,) = figures.figure(finding, [3.4])
        for row, values in found[::-1]:
            band, lead = statistics.performance_profile(values, at), row.arm is results.study.arms[0]
            study_look.band(axes, at, band, looks[row.arm.label], lead=lead, stairs=True, crowd=len(found))
        for row, _ in found:
            look = looks[row.arm.label]
            axes.plot([], [], color=look.color, ls=look.dashes, label=_named(row.arm))
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), handlelength=1.6)
        axes.set_xlim(at[0], at[-1])
        axes.set_ylim(-0.03, 1.1)
        axes.set_xlabel("final return")
        axes.set_ylabel("seeds above it")
        axes.xaxis.set_major_formatter(lambda x, _: text.tick(x))
        figures.percent(axes)
        study_look.threshold(axes, results.study.threshold, upright=True)
    caption = "Share of seeds that end above each return; further to the right is better. Bands: 95 % bootstrap."
    return Plot("profile", figure, finding, caption)


def _profile_finding(found: Sequence[tuple[Row, np.ndarray]], threshold: float | None) -> str:
    level = np.median(np.concatenate([values for _, values in found])) if threshold is None else threshold
    what = "the median of all seeds" if threshold is None else "the threshold"
    shares = sorted((((values >= level).mean(), row.arm.label) for row, values in found), reverse=True)
    shown = [f"{label} {100 * share:.0f}\u00a0%" for share, label in shares[:3]]
    return f"Seeds that end at {what} ({text.tick(level)}) or above: {', '.join(shown)}"


def improvement(results: Results) -> Plot | None:
    """The matrix of probabilities that a run of one arm ends above a run of another."""
    labels = [row.arm.label for row in results.rows if any(pair.ours == row.arm.label for pair in results.pairs)]
    pairs = {(pair.ours, pair.theirs): pair.estimate for pair in results.pairs if pair.of == "final return"}
    if len(labels) < 2 or not pairs:
        return None
    count = len(labels)
    values = np.array([[pairs[a, b].value if (a, b) in pairs else np.nan for b in labels] for a in labels])
    with figures.style():
        order = [row.arm.label for row in results.ranked if row.arm.label in labels]
        finding = _matrix_finding(order, pairs)
        figure, (axes,) = figures.figure(finding, [1.0 + 0.5 * count])
        axes.imshow(values, cmap=_AXIS, vmin=-0.15, vmax=1.15, aspect="auto")
        for i, ours in enumerate(labels):
            for j, theirs in enumerate(labels):
                if (ours, theirs) in pairs:
                    _cell(axes, pairs[ours, theirs], j, i, 9 if count < 9 else 7)
        axes.set_xticks(range(count), labels, rotation=0 if count < 7 else 30, ha="center" if count < 7 else "left")
        axes.set_yticks(range(count), labels)
        axes.xaxis.tick_top()
        axes.tick_params(length=0, labelcolor=INK)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.set_xticks(np.arange(1, count) - 0.5, minor=True)
        axes.set_yticks(np.arange(1, count) - 0.5, minor=True)
        axes.grid(which="minor", color="white", lw=2)
        axes.tick_params(which="minor", length=0)
    caption = (
        "Probability that a run of the row's arm ends above a run of the column's; a tie counts one half. Below it the"
        " 95 % interval, where there is room; bold where that excludes 0.5. Finished arms only."
    )
    return Plot("improvement", figure, finding, caption)


def _cell(axes: Axes, found: Estimate, x: int, y: int, size: int) -> None:
    weight = "bold" if decided(found) else "normal"
    shown = {"ha": "center", "color": INK}
    known = found.low is not None and found.high is not None
    axes.text(
        x, y - 0.12 * known, text.share(found.value, 2), va="center", fontsize=size + 1, fontweight=weight, **shown
    )
    if known:
        ends = f"{text.share(found.low, 2)} to {text.share(found.high, 2)}"
        axes.text(x, y + 0.24, ends, va="center", fontsize=size - 2, **shown)


def decided(found: Estimate) -> bool:
    """Whether the interval of a probability of improvement excludes one half."""
    return found.low is not None and found.high is not None and (found.low > 0.5 or found.high < 0.5)


def _matrix_finding(labels: Sequence[str], pairs: dict[tuple[str, str], Estimate]) -> str:
    wins = {label: sum(decided(one) and one.value > 0.5 for (ours, _), one in pairs.items() if ours == label)
            for label in labels}  # fmt: skip
    best = max(labels, key=lambda label: wins[label])
    if not wins[best]:
        return "No arm is above another beyond its interval"
    return f"{best} ends above {wins[best]} of {len(labels) - 1} other arms, with an interval that excludes one half"


def tuning(results: Results) -> Plot | None:
    """The score of every scale that was tried, one panel for each arm that was tuned; the chosen one is marked."""
    found = [(arm, arm.tuning) for arm in results.study.arms if arm.tuning is not None]
    if not found:
        return None
    looks, columns = study_look.looks(results.study), len(found) if len(found) < 3 else 2 if len(found) == 4 else 3
    rows, alike = -(-len(found) // columns), len({criterion(one)[0] for _, one in found}) == 1
    with figures.style():
        finding = "Chosen: " + ", ".join(f"{arm.label} {text.tick(one.chosen)}" for arm, one in found)
        figure, panels = figures.figure(finding, [2.1] * rows, columns, share=False)
        for number, (axes, (arm, one)) in enumerate(zip(panels, found, strict=False)):
            _tried(axes, one, looks[arm.label])
            axes.set_title(arm.label, color=looks[arm.label].color)
            if number % columns == 0 or not alike:
                axes.set_ylabel(criterion(one)[0])
        for axes in panels[len(found) :]:
            axes.set_axis_off()
        if alike:  # then arms can be compared
            limits = [axes.get_ylim() for axes in panels[: len(found)]]
            for axes in panels[: len(found)]:
                axes.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
    caption = (
        "Every scale that was tried, on seeds that are not reported. Dots: seeds; line: their interquartile mean (of"
        " times: the median); hollow: never. The band marks the scale that was chosen."
    )
    return Plot("tuning", figure, finding, caption)


def criterion(one: Tuning) -> tuple[str, np.ndarray]:
    """What a scale was chosen by: its name and the scores [v, s]."""
    known = {"first reward": one.first_reward, "coverage": one.coverage}
    name = next((name for name in known if one.by.startswith(name) and np.isfinite(known[name]).any()), "final return")
    return name, known.get(name, one.final)


def _tried(axes: Axes, one: Tuning, look: Look) -> None:
    name, scores = criterion(one)
    middle = np.array([_middle(row, name) for row in scores])
    study_look.tried(axes, one.values, scores, middle, one.chosen, look.color)
    axes.set_xlabel(one.field, color=SOFT)
    figures.plain(axes)


def _middle(scores: np.ndarray, name: str) -> float:
    """The value that stands for one scale: the median of times, the interquartile mean of all else."""
    known = scores[~np.isnan(scores)]
    if not known.size:
        return float("nan")
    value = statistics.median_time(known, resamples=1).value if name == "first reward" else statistics.iqm(known)
    return float(value) if np.isfinite(value) else float("nan")

"""Charts of a study's final numbers: seed by seed, as profiles, pair by pair, and how the scales were chosen."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from jaxpsn.core import text
from jaxpsn.report.charts import look as looks
from jaxpsn.report.charts.spec import Axis, Box, Chart, Dots, Layer, Line, Panel, Text
from jaxpsn.report.control.study import curves
from jaxpsn.report.control.study.scores import LAST, Results, Row
from jaxpsn.report.study import plots as shared
from jaxpsn.report.study.folder import Choice
from jaxpsn.stats import statistics
from jaxpsn.stats.statistics import Estimate


def charts(results: Results) -> Iterator[Chart | None]:
    """Every chart that the study has data for."""
    makers = (
        curves.learning, finals, curves.events, improvement, profile, curves.behaviour,
        curves.coverage, curves.distance, curves.noise, curves.seeds, tuning,
    )  # fmt: skip
    return (make(results) for make in makers)


def _scored(results: Results) -> list[tuple[Row, np.ndarray]]:
    """The arms with final returns, without the seeds that have none."""
    found = []
    for row in results.rows:
        if row.scores is not None and row.scores.final is not None and row.final is not None:
            found.append((row, row.scores.final[np.isfinite(row.scores.final)]))
    return found


def finals(results: Results) -> Chart | None:
    """The final return of every seed, with the interquartile mean of each arm in its interval."""
    found, colors = _scored(results), looks.looks(results.study.labels)
    if not found:
        return None
    layers: list[Layer] = [*curves.threshold(results.study, upright=True)]
    for place, (row, values) in enumerate(found):
        color = colors[row.arm.label].color
        tips = [f"{row.arm.label}: {text.number(value)}" for value in values]
        layers.append(Dots(values, place + shared.spread(len(values), 0.16), color, tips=tips, alpha=0.55))
        layers += shared.estimate(row.final, place, color)
    names = tuple((place, curves.named(row.arm)) for place, (row, _) in enumerate(found))
    x = Axis(f"final return of a seed (mean of its last {LAST} evaluations)")
    panel = shared.rows(layers, x, names, 0.9 + 0.42 * len(found))
    caption = "Dots: seeds. Bar: interquartile mean over seeds; line: its 95 % bootstrap interval."
    return Chart("finals", _spread_finding(found), caption, [panel])


def _spread_finding(found: Sequence[tuple[Row, np.ndarray]]) -> str:
    """The arm whose seeds differ most."""
    label, values = max(((row.arm.label, values) for row, values in found), key=lambda one: np.ptp(one[1]))
    if all(len(values) == 1 for _, values in found):
        return "Final returns, one seed of each arm"
    if not np.ptp(values):
        return "Every arm's seeds end at equal returns"
    return f"Seeds differ most in {label}: from {text.number(values.min())} to {text.number(values.max())}"


def profile(results: Results) -> Chart | None:
    """Performance profiles: the share of seeds whose final return is above each value."""
    found, colors = _scored(results), looks.looks(results.study.labels)
    pooled = np.concatenate([values for _, values in found]) if found else np.zeros(0)
    if pooled.size < 2 or not np.ptp(pooled):
        return None
    room = 0.03 * np.ptp(pooled)
    at = np.unique([*np.linspace(pooled.min() - room, pooled.max() + room, 200), *pooled])
    layers: list[Layer] = [*curves.threshold(results.study, upright=True)]
    for row, values in found[::-1]:
        band, look = statistics.performance_profile(values, at), colors[row.arm.label]
        width = 2.4 if row.arm is results.study.arms[0] else 1.7
        layers.append(Line(at, band.value, look.color, curves.named(row.arm), band.low, band.high, look.dash, width,
                           shade=min(0.15, 0.75 / len(found)), stairs=True))  # fmt: skip
    x, y = Axis("final return", low=at[0], high=at[-1]), Axis("seeds above it", unit="percent", low=-0.03, high=1.1)
    caption = "Share of seeds that end above each return; further to the right is better. Bands: 95 % bootstrap."
    return Chart("profile", _profile_finding(found), caption, [Panel(layers, x, y, height=3.4)])


def _profile_finding(found: Sequence[tuple[Row, np.ndarray]]) -> str:
    level = np.median(np.concatenate([values for _, values in found]))
    shares = sorted((((values >= level).mean(), row.arm.label) for row, values in found), reverse=True)
    shown = [f"{label} {100 * share:.0f}\u00a0%" for share, label in shares[:3]]
    return f"Seeds that end at the median of all seeds ({text.number(level)}) or above: {', '.join(shown)}"


def improvement(results: Results) -> Chart | None:
    """The matrix of probabilities that a run of one arm ends above a run of another."""
    labels = [row.arm.label for row in results.rows if any(pair.ours == row.arm.label for pair in results.pairs)]
    pairs = {(pair.ours, pair.theirs): pair.estimate for pair in results.pairs if pair.of == "final return"}
    if len(labels) < 2 or not pairs:
        return None
    layers: list[Layer] = []
    for row, ours in enumerate(labels):
        for column, theirs in enumerate(labels):
            if (ours, theirs) in pairs:
                layers += _odds(pairs[ours, theirs], column, row, f"{ours} over {theirs}", len(labels) < 7)
    places = tuple(enumerate(labels))
    x = Axis("column", low=-0.5, high=len(labels) - 0.5, ticks=places)
    panel = shared.rows(layers, x, places, 1.0 + 0.5 * len(labels))
    order = [row.arm.label for row in results.ranked if row.arm.label in labels]
    caption = (
        "Probability that a run of the row's arm ends above a run of the column's; a tie counts one half. Below it the"
        " 95 % interval, where there is room; bold where that excludes 0.5. Finished arms only."
    )
    return Chart("improvement", _matrix_finding(order, pairs), caption, [panel])


def _odds(found: Estimate, x: int, y: int, who: str, roomy: bool) -> list[Layer]:
    """One cell of the matrix: blue above one half, red below, the stronger the further."""
    color, alpha = "blue" if found.value >= 0.5 else "vermilion", 0.7 * abs(2 * found.value - 1)
    value, known = text.share(found.value, 2), found.low is not None and found.high is not None
    ends = f"{text.share(found.low, 2)} to {text.share(found.high, 2)}" if known else "one seed"
    box = (x - 0.48, x + 0.48, y - 0.46, y + 0.46)
    layers: list[Layer] = [Box(box, color, alpha, tip=f"{who}: {value}, {ends}")]
    layers.append(Text(x, y - 0.14 * roomy, value, bold=decided(found), small=not roomy))
    return [*layers, Text(x, y + 0.24, ends, small=True)] if roomy and known else layers


def decided(found: Estimate) -> bool:
    """Whether the interval of a probability of improvement excludes one half."""
    return found.low is not None and found.high is not None and (found.low > 0.5 or found.high < 0.5)


def _matrix_finding(labels: Sequence[str], pairs: Mapping[tuple[str, str], Estimate]) -> str:
    wins = {label: sum(decided(one) and one.value > 0.5 for (ours, _), one in pairs.items() if ours == label)
            for label in labels}  # fmt: skip
    best = max(labels, key=lambda label: wins[label])
    if not wins[best]:
        return "No arm is above another beyond its interval"
    return f"{best} ends above {wins[best]} of {len(labels) - 1} other arms, with an interval that excludes one half"


def tuning(results: Results) -> Chart | None:
    """The score of every scale that was tried, one panel for each arm that was tuned; the chosen one is marked."""
    found = [(arm, arm.tuning) for arm in results.study.arms if arm.tuning is not None]
    if not found:
        return None
    alike, colors = len({criterion(one)[0] for _, one in found}) == 1, looks.looks(results.study.labels)
    panels = []
    for arm, one in found:
        name, scores = criterion(one)
        middle = np.array([_middle(row, name) for row in scores])
        panels.append(shared.tried(one, scores, middle, arm.label, colors[arm.label].color, Axis(name), 2.1))
    caption = (
        "Every scale that was tried, on seeds that are not reported. Dots: seeds; line: their interquartile mean (of"
        " times: the median); hollow: never. The band marks the scale that was chosen."
    )
    finding = "Chosen: " + ", ".join(f"{arm.label} {text.tick(one.chosen)}" for arm, one in found)
    columns = len(found) if len(found) < 3 else 2 if len(found) == 4 else 3
    return Chart("tuning", finding, caption, panels, columns, "all" if alike else "")


def criterion(one: Choice) -> tuple[str, np.ndarray]:
    """What a scale was chosen by: its name and the scores [v, s]."""
    known = {"first reward": one.scores["first_reward"], "coverage": one.scores["coverage"]}
    name = next((name for name in known if one.by.startswith(name) and np.isfinite(known[name]).any()), "final return")
    return name, known.get(name, one.scores["final"])


def _middle(scores: np.ndarray, name: str) -> float:
    """The value that stands for one scale: the median of times, the interquartile mean of all else."""
    known = scores[~np.isnan(scores)]
    if not known.size:
        return float("nan")
    value = statistics.median_time(known, resamples=1).value if name == "first reward" else statistics.iqm(known)
    return float(value) if np.isfinite(value) else float("nan")

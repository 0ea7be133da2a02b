"""What a reasoning run's folder holds beyond a control run's: the names of its columns, and its evaluations."""

import re
from dataclasses import dataclass
from pathlib import Path

from jaxpsn.core import errors
from jaxpsn.report import runs
from jaxpsn.report.runs import Run, Series
from jaxpsn.stats import comparison, evaluations
from jaxpsn.stats.comparison import Comparison
from jaxpsn.stats.evaluations import Evaluation

SAMPLES = "samples.jsonl"

COLUMNS: dict[str, tuple[str, ...]] = {
    "reward": ("reward",),
    "clean reward": ("clean_reward",),
    "noisy reward": ("noisy_reward",),
    "sigma": ("sigma",),
    "kl": ("noise_kl_k1", "kl"),
    "kl k3": ("noise_kl_k3", "kl_k3"),
    "indicator": ("indicator",),
    "similarity": ("similarity",),
    "certainty": ("certainty",),
    "target": ("target",),
    "ratio min": ("ratio_min",),
    "ratio mean": ("ratio_mean",),
    "ratio max": ("ratio_max",),
    "sequence ratio min": ("sequence_ratio_min",),
    "sequence ratio mean": ("sequence_ratio_mean",),
    "sequence ratio max": ("sequence_ratio_max",),
    "clamped": ("weight_clamped",),
    "truncated": ("truncated_share", "truncated"),
    "effective": ("weight_ess", "effective_sample_size"),
    "entropy": ("entropy",),
    "sampler entropy": ("sampler_entropy",),
    "grad norm": ("grad_norm",),
    "reference kl": ("reference_kl",),
    "clip low": ("clip_low",),
    "clip high": ("clip_high",),
    "clip dual": ("clip_dual",),
    "spread of members": ("reward_members_std",),
    "length": ("length",),
    "clipped length": ("clipped_length",),
    "all correct": ("groups_all_correct",),
    "all wrong": ("groups_all_wrong",),
    "zero advantage": ("groups_zero_advantage",),
    "rescued": ("groups_rescued",),
    "lost": ("groups_lost",),
    "seconds sample": ("seconds_sample",),
    "seconds verify": ("seconds_verify",),
    "seconds update": ("seconds_update",),
    "seconds step": ("seconds_step",),
    "seconds probe": ("seconds_probe",),
    "tokens per second": ("tokens_per_second",),
}
"""Columns of metrics.csv by what they mean; of several names the first that has values counts."""
EVALUATION = re.compile(r"eval_pass_at_(\d+)")
"""Columns of the short evaluations on the way."""


def series(run: Run, meaning: str) -> Series | None:
    """The metric of that ``meaning`` (a key of COLUMNS), or None."""
    return next((found for name in COLUMNS[meaning] if (found := run.series(name)) is not None), None)


def named(run: Run, *wanted: tuple[str, str, str]) -> list[tuple[Series, str, str]]:
    """Those of (meaning, color, label) that the run has values of, as (series, color, label)."""
    return [(found, *rest) for name, *rest in wanted if (found := series(run, name)) is not None]


def pass_at(run: Run) -> dict[int, Series]:
    """pass@k of the short evaluations over steps, by k."""
    found = {int(match[1]): run.series(name) for name in run.columns if (match := EVALUATION.fullmatch(name))}
    return {k: series for k, series in sorted(found.items()) if series is not None}


def recognises(run: Run) -> bool:
    """Whether a run is one of reasoning: by what it has written, or by its config."""
    written = (run.path / evaluations.FOLDER).is_dir() or (run.path / SAMPLES).is_file()
    return written or all(runs.setting(run.config, name) is not None for name in ("rollout.samples", "noise"))


@dataclass(frozen=True)
class Judged:
    """The evaluations of a run: all of them, the comparison of the last clean policy with the first, and ``problems``.

    ``problems`` are lines that say which files cannot be read, or why there is no comparison.
    """

    evaluations: tuple[Evaluation, ...]
    comparison: Comparison | None
    problems: tuple[str, ...]


def judged(folder: str | Path) -> Judged:
    """The evaluations of a run folder; what is broken is told, not raised."""
    found, problems = evaluations.read_all(folder)
    clean, compared = [one for one in found if not one.noisy], None
    if len(clean) > 1:
        try:
            compared = comparison.compare(clean[-1], clean[0])
        except errors.UserError as error:
            problems.append(f"No paired comparison: {error}")
    return Judged(tuple(found), compared, tuple(problems))

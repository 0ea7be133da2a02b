"""Which measures of Variant II respond to the scale of the noise, and over which range: a table for one's own model."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.options import Response
from benchmarks.timing import machine
from jaxpsn.core import errors
from jaxpsn.rlvr import response, setup
from jaxpsn.rlvr.config import RlvrConfig
from jaxpsn.rlvr.exploration.noises import Psn
from jaxpsn.rlvr.exploration.rules import Composite
from jaxpsn.rlvr.presets import PRESETS
from jaxpsn.run import cache, startup


def run(options: Response) -> None:
    """Measure, print and write."""
    cache.enable()
    found = table(options)
    show(found.rows)
    tables.write(options, found)


def config(options: Response) -> RlvrConfig:
    """The experiment whose starting policy is probed."""
    if options.preset not in PRESETS:
        errors.refuse("preset", options.preset, errors.nearest(options.preset, PRESETS))
    base = PRESETS[options.preset]
    if not isinstance(base.noise, Psn):
        errors.refuse("preset", options.preset, "one with noise, as its noisy policy is probed")
    kept = base.probed or Composite(initial=base.sigma.start)
    rule = replace(
        kept, probe_policy="noisy", probes=options.probes, reuse_probes=False, drop=kept.drop or 0.03, target=None
    )
    given = {name: getattr(options, name) for name in ("model", "data", "task") if getattr(options, name) is not None}
    return replace(base, noise=replace(base.noise, sigma=rule), **given)


def table(options: Response) -> tables.Table:
    """A row for each measure and sigma (:func:`jaxpsn.rlvr.response.table`)."""

    def quiet(done: int, total: int, shown: dict[str, float]) -> None:
        if done % 100 == 0:
            startup.speak(f"{done}/{total} {shown}")

    encode = None
    if options.bert is not None:
        from jaxpsn.lm import bert

        encode = bert.load(Path(options.bert))
    asked = config(options)
    with setup.reasoner(asked, 0, 1, cache.home() / "bases", startup.speak, quiet) as program:
        rows = response.table(program, options.sigmas, options.looks, encode, _say)
    return tables.Table(rows, machine())


def _say(sigma: float) -> None:
    startup.speak(f"sigma {sigma:g}")


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print the drop of every measure below the clean policy's, and a step's spread, sigma by sigma."""
    sigmas = sorted({row["sigma"] for row in rows})
    print(f"{'drop below clean (spread of a step)':36}" + "".join(f"{sigma:>16g}" for sigma in sigmas))
    kls = {row["sigma"]: row["noise_kl"] for row in rows}
    print(f"{'KL(noisy || clean), nats a token':36}" + "".join(f"{kls[sigma]:>16.4f}" for sigma in sigmas))
    for name in dict.fromkeys(row["name"] for row in rows):
        of = {row["sigma"]: row for row in rows if row["name"] == name}
        cells = (f"{of[sigma]['drop']:+.3f} ({of[sigma]['spread']:.3f})" for sigma in sigmas)
        print(f"{name:36}" + "".join(f"{cell:>16}" for cell in cells))

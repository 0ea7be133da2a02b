"""A thicket probe: perturbations of a policy, each judged as a policy of its own on the same problems."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxpsn.core.components import spec_of
from jaxpsn.noise import Structure
from jaxpsn.noise.structures import STRUCTURES
from jaxpsn.rlvr import sizes
from jaxpsn.rlvr.exploration import perturbation
from jaxpsn.rlvr.exploration.noises import Psn
from jaxpsn.rlvr.placement import Placement
from jaxpsn.rlvr.program import evaluation_key
from jaxpsn.run import progress
from jaxpsn.run.reasoning import judging
from jaxpsn.run.reasoning.evaluate_job import EvaluateJob
from jaxpsn.run.reasoning.judging import Candidate, Questions
from jaxpsn.stats.thickets import CLEAN, Patch, Thickets

CONTROL = 0x4C55434B
"""Folded into the key of an evaluation: the control's answers are others than those it is compared with."""


def probe(
    one: Candidate, asked: Questions, wanted: EvaluateJob, grade: Callable[..., Sequence[float]], label: Any,
    show: progress.Progress,
) -> Thickets:  # fmt: skip
    """``wanted.samples`` perturbations of every structure at every sigma, one answer of each to every problem.

    Member m of all of them, and answer m of the policy itself, share their random numbers.
    """
    place, dtype = Placement(wanted.mesh), wanted.dtype or one.config.dtype
    found = judging.weights(one, place, dtype, show)
    judge, key = judging.judge_of(one, asked, wanted, grade, place, dtype), evaluation_key(wanted.seed)
    name = label(found.step)

    def right(what: str, key: Any, noise: Any = None, sigma: Any = None) -> Any:
        show.say(f"judging {name}: {what}, {wanted.samples} answers to each of {len(asked.problems)} problems")
        told = progress.teller(show, "answers")
        given = found.params, asked.problems, wanted.samples, key, noise, sigma
        return judge.right(*given, lambda done, total: told(done, total, {}))

    base = right("the policy itself", key)
    patches = [Patch(CLEAN, 0.0, right("the control", jax.random.fold_in(key, CONTROL)))]
    for structure in _structures(one, wanted):
        noise = _noise(one, structure)
        for sigma in wanted.thickets:
            marks = right(f"{spec_of(structure)} at sigma {sigma:g}", key, noise, jnp.float32(sigma))
            patches.append(Patch(spec_of(structure), sigma, marks))
    return Thickets(name, asked.task.name, one.form.decoder.parameters, base, patches)


def _own(one: Candidate) -> Any:
    """The noise of the policy's run, or the default where it has none."""
    asked = one.config.noise
    return asked if one.origin.config is not None and asked.members(1) else Psn()


def _structures(one: Candidate, wanted: EvaluateJob) -> list[Structure]:
    given = [STRUCTURES.make(text, "structures") for text in wanted.structures] or [_own(one).structure]
    # Pairs of opposite sign serve training; here every perturbation stands for itself.
    return [dataclasses.replace(structure, antithetic=False) for structure in given]


def _noise(one: Candidate, structure: Structure) -> perturbation.Perturbation | None:
    asked = dataclasses.replace(_own(one), structure=structure)
    return perturbation.plan(asked, one.form.decoder, sizes.weights(one.form.decoder), 1, 1)

"""Which weights of the sampler are perturbed, by what, and for which answers of a group."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxpsn import noise
from jaxpsn.core import errors
from jaxpsn.core.components import called, spec_of
from jaxpsn.lm import model, policies
from jaxpsn.lm.config import DecoderConfig
from jaxpsn.noise import posterior
from jaxpsn.noise.hold_rules import HoldRule
from jaxpsn.noise.lazy import units
from jaxpsn.rlvr.exploration.noises import SELECTIONS

PURPOSE = 0x4E4F4953
"""Folded into a run's key: perturbations share no randomness with anything else."""


class Perturbation(NamedTuple):
    """The perturbation of one step: ``members`` distinct policies, each for ``answers`` samples of every prompt.

    Noise is a function of (run key, step, member, parameter path) alone, so it can be drawn again at any time.
    """

    spec: noise.Spec
    kind: noise.Structure
    members: int
    answers: int
    purpose: int = PURPOSE
    """Probes have a stream of their own, so that they share no perturbation with the rollouts."""
    hold: HoldRule | None = None
    """By which the noise is redrawn within an answer; None: never."""
    learnt: Any = None
    """The component whose optimiser learns a scale of each weight; None where sigma alone scales the noise."""

    def draw(self, key: PRNGKeyArray, step: Any) -> "noise.Draw | Drawn":
        """The perturbations of ``step``; ``key`` is that of the run."""
        key = jax.random.fold_in(jax.random.fold_in(key, self.purpose), step)
        return self._drawn(key, self.members)

    def _drawn(self, key: PRNGKeyArray, members: Any) -> "noise.Draw | Drawn":
        first = self.kind.init(key, self.spec, members)
        return first if self.hold is None else Drawn(first, key)

    def dense(self) -> tuple[int, int]:
        """Matrices that a structure other than dense perturbs densely all the same, and matrices in all."""
        matrices = [leaf for leaf in self.spec.leaves if not leaf.is_vector]
        if isinstance(self.kind, noise.Dense):
            return 0, len(matrices)
        whole = [leaf for leaf in matrices if self.kind.state_numbers(leaf) >= math.prod(leaf.shape)]
        return len(whole), len(matrices)

    def told(self, asked: Any) -> list[str]:
        """What a user is told of it, whose component is ``asked``."""
        entries = sum(math.prod(leaf.shape) for leaf in self.spec.leaves)
        lines = [f"{self.members} perturbations a step of {entries:,} weights ({asked.select})"]
        small, matrices = self.dense()
        if small:
            structure = spec_of(asked.structure)
            lines.append(
                f"{small} of {matrices} matrices are too small for {structure} noise to save anything: dense there"
            )
        return lines

    def some(self, key: PRNGKeyArray, members: Int[Array, " some"]) -> tuple["Perturbation", "noise.Draw | Drawn"]:
        """The members of these numbers out of endlessly many, one answer each: the same in whatever company."""
        return self._replace(members=members.shape[0], answers=1), self._drawn(key, members)

    def weights(self, params: Any, opt_state: Any) -> Any:
        """What policies are made of: ``params``, or where their scales are learnt both, as a noise.Posterior."""
        return params if self.learnt is None else noise.Posterior(params, self.learnt.scales(opt_state, self.spec))

    def policy(self, params: Any, draw: "noise.Draw | Drawn", sigma: Any) -> policies.Policy:
        """All members as one policy of the sampler, of :meth:`weights`; ``sigma`` is a scalar or ``[members]``."""
        if isinstance(params, noise.Posterior):
            params, draw = params.mean, posterior.scaled(draw, params.scale)
        if self.hold is None:
            return policies.perturbed(params, draw, sigma)
        return policies.Redrawn(params, draw.first, sigma, draw.key, self.hold, units(params, self.spec))


class Drawn(NamedTuple):
    """The perturbations of a step that are drawn anew within its answers."""

    first: noise.Draw
    """Those that answers begin with."""
    key: PRNGKeyArray
    """Of which all later ones are a function."""


def selection(name: str) -> noise.Selection:
    """The selection that ``psn.select`` names."""
    if name.startswith("re:"):
        return noise.matching(name[3:])
    if name in SELECTIONS:
        return noise.matching(SELECTIONS[name])
    return {"norms": noise.norms, "all": noise.everything}[name]


def plan(asked: Any, decoder: DecoderConfig, params: Any, members: int, answers: int) -> Perturbation | None:
    """The perturbation that is ``asked`` for, None for none; ``answers`` are a member's samples of each prompt.

    Raises UserError if ``asked.select`` matches no weight, or noise of one's own does not say what is drawn.
    """
    if members == 0:
        return None
    lacking = [name for name in ("structure", "select", "relative") if not hasattr(asked, name)]
    if lacking:
        errors.refuse("noise", called(type(asked)), f"noise that says its {', '.join(lacking)}, as it has members")

    def full(params: Any, tokens: Array) -> Float[Array, "batch length vocab"]:
        start = jnp.zeros((tokens.shape[0],), jnp.int32)
        return model.logits(decoder, params, model.hidden_states(decoder, params, tokens, start)[0])

    example = jax.ShapeDtypeStruct((1, 2), jnp.int32)
    spec = noise.plan(full, params, example, select=selection(asked.select), relative=asked.relative)
    kind = asked.structure if asked.within is None else asked.within.form(asked.structure)
    learnt = asked if asked.learnt else None
    return Perturbation(spec, kind, members, answers, hold=asked.within, learnt=learnt)

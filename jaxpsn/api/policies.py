"""A trained control policy: a function of raw observations, with its weights and its noise at hand."""

from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxpsn.api import rollouts
from jaxpsn.api.rollouts import Rollout
from jaxpsn.control import members as crews
from jaxpsn.control import record
from jaxpsn.core import errors
from jaxpsn.envs import ActionSpace


class Policy:
    """The clean policy of one seed of a control run: ``policy(obs[..., O]) -> action[..., A]`` in [-1, 1], float32.

    Of a task with discrete actions it gives choices ``[...]``, int32; :attr:`space` says which it is. Observations are
    raw: they are normalised here, as in training. Compiled once for each shape.
    """

    def __init__(self, program: Any, actor: Any, statistics: Any, explore: Any, step: int, seed: int):
        """``program``: of :mod:`jaxpsn.control.program`; the rest are parts of its state, of one seed."""
        self.program = program
        self.step, self.seed = step, seed
        self.learnt = (actor, statistics, explore)
        """Weights of the actor, statistics of observations, and state of the exploration."""

    def __repr__(self) -> str:
        config = self.program.config
        return f"Policy({config.env.name}, step {self.step:,}, seed {self.seed})"

    @property
    def config(self) -> Any:
        """The config that it was trained with."""
        return self.program.config

    @property
    def env(self) -> Any:
        """Its task, a ``brax.envs.Env``."""
        return self.program.env

    @property
    def observation_size(self) -> int:
        """Length of an observation."""
        return self.program.episodes.observation_size

    @property
    def action_size(self) -> int:
        """Length of an action, or the number of choices."""
        return self.program.episodes.action_size

    @property
    def space(self) -> ActionSpace:
        """What actions are: :class:`jaxpsn.envs.Box` or :class:`jaxpsn.envs.Discrete`."""
        return self.program.episodes.space

    @property
    def module(self) -> nn.Module:
        """Its network, a plain Flax Linen module (:class:`jaxpsn.networks.Actor`).

        ``policy.module.apply(policy.params, policy.normalise(obs))`` equals ``policy(obs)``.
        """
        return self.program.agent.policy.actor

    @property
    def params(self) -> dict[str, Any]:
        """The clean weights as Flax variables ``{"params": ...}``, for :attr:`module` or one built like it."""
        return {"params": self.learnt[0]["params"]}

    def normalise(self, obs: Any) -> jax.Array:
        """Observations [..., O] as the network sees them."""
        return self._normalise(self.learnt[1], self._observation(obs))

    def __call__(self, obs: Any) -> jax.Array:
        """The actions [..., A], or choices [...], of the clean policy on raw observations [..., O]."""
        return self._act(self.learnt[:2], self._observation(obs))

    def explore(self, obs: Any, seed: int = 0) -> jax.Array:
        """The actions [N, A], or choices [N], of the N perturbed members as training left them, action noise included.

        ``obs`` is one raw observation [O] for all of them, or one for each, [N, O]; ``seed`` draws the action noise.
        Member i acts in environment i of the training, so N is its ``num_envs``.
        """
        count = self.config.env.num_envs
        obs = self._observation(obs)
        if obs.shape not in ((self.observation_size,), (count, self.observation_size)):
            errors.refuse("obs", obs.shape, f"[{self.observation_size}] or [{count}, {self.observation_size}]")
        return self._explore(jax.random.key(seed), self.learnt, jnp.broadcast_to(obs, (count, self.observation_size)))

    def rollout(
        self, members: int = 0, *, seed: int = 0, steps: int | None = None, explore: Any = None,
        sigmas: Sequence[float] = (),
    ) -> Rollout:  # fmt: skip
        """One episode of the clean policy, and beside it one of each of ``members`` perturbed policies.

        All start alike; each member has a perturbation of its own, with the structure, hold rule and present scale of
        the run. ``seed``: of the start and of the noise. ``steps``: environment steps at most. ``explore``: another
        rule in place of the run's, such as ``"gaussian(std=0.2)"``. ``sigmas``: values of its sigma (std), one after
        the other with the same draws, in place of one; the page then has a slider. Raises
        :class:`jaxpsn.UserError`, also for a task without bodies.
        """
        crew = crews.cast(self.program, self.learnt[2], members, explore, tuple(sigmas))
        return Rollout(record.record(self.program, crew, *self.learnt[:2], jax.random.key(seed), steps))

    def render(self, path: str | Path, members: int = 0, **asked: Any) -> Path:
        """Write :meth:`rollout` as a page that plays offline (.html), or as .json, .gif or .mp4; returns its path."""
        target = rollouts.checked(path)
        return self.rollout(members, **asked).save(target)

    def _observation(self, obs: Any) -> jax.Array:
        obs = jnp.asarray(np.asarray(obs) if isinstance(obs, list | tuple) else obs).astype(jnp.float32)
        if not obs.ndim or obs.shape[-1] != self.observation_size:
            errors.refuse("obs", obs.shape, f"raw observations [..., {self.observation_size}]")
        return obs

    @cached_property
    def _normalise(self) -> Any:
        return jax.jit(self.program.normalise)

    @cached_property
    def _act(self) -> Any:
        return jax.jit(partial(act, self.program))

    @cached_property
    def _explore(self) -> Any:
        def explore(key: Any, learnt: Any, obs: Any) -> jax.Array:
            actor, statistics, state = learnt
            return self.program.explorer.act(key, actor, state, self.program.normalise(statistics, obs))[0]

        return jax.jit(explore)


def act(program: Any, learnt: Any, obs: jax.Array) -> jax.Array:
    """The clean action [..., A], or choice [...], on raw observations [..., O]; ``learnt``: actor and statistics."""
    actor, statistics = learnt[:2]
    return program.agent.policy(actor, program.normalise(statistics, obs))


def of_state(program: Any, state: Any, step: int, seed: int) -> Policy:
    """The policy of the state of one seed."""
    return Policy(program, state.learner.actor, state.statistics, state.explore, step, seed)

"""A trained control policy: a function of raw observations, with its weights and its noise at hand."""

from functools import cached_property, partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxpsn.core import errors, files


class Policy:
    """The clean policy of one seed of a control run: ``policy(obs[..., O]) -> action[..., A]`` in [-1, 1], float32.

    Observations are raw: they are normalised here, as in training. Compiled once for each shape.
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
        """Length of an action."""
        return self.program.episodes.action_size

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
        """The actions [..., A] of the clean policy on raw observations [..., O]."""
        return self._act(self.learnt[:2], self._observation(obs))

    def explore(self, obs: Any, seed: int = 0) -> jax.Array:
        """The actions [N, A] of the N perturbed members as training left them, action noise included.

        ``obs`` is one raw observation [O] for all of them, or one for each, [N, O]; ``seed`` draws the action noise.
        Member i acts in environment i of the training, so N is its ``num_envs``.
        """
        count = self.config.env.num_envs
        obs = self._observation(obs)
        if obs.shape not in ((self.observation_size,), (count, self.observation_size)):
            errors.refuse("obs", obs.shape, f"[{self.observation_size}] or [{count}, {self.observation_size}]")
        return self._explore(jax.random.key(seed), self.learnt, jnp.broadcast_to(obs, (count, self.observation_size)))

    def rollout(self, seed: int = 0, steps: int | None = None) -> dict[str, Any]:
        """One episode of the clean policy, of ``steps`` environment steps at most: what ``rollout.json`` holds."""
        from jaxpsn.control import record

        return record.play(self.program, self.learnt[0], self.learnt[1], jax.random.key(seed), steps)

    def render(self, path: str | Path, seed: int = 0, steps: int | None = None) -> Path:
        """Write one episode as a page of HTML that plays offline; returns its path. Raises UserError without bodies."""
        from jaxpsn.report import viewer

        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomically(target, viewer.render_html(self.rollout(seed, steps)))
        return target

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
    """The clean action [..., A] on raw observations [..., O]; ``learnt``: actor and statistics."""
    actor, statistics = learnt[:2]
    return program.agent.policy(actor, program.normalise(statistics, obs))


def of_state(program: Any, state: Any, step: int, seed: int) -> Policy:
    """The policy of the state of one seed."""
    return Policy(program, state.learner.actor, state.statistics, state.explore, step, seed)

"""Stochastic policy: a Gaussian that is squashed by tanh."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpsn.networks.actor import Policy, added
from jaxpsn.noise import distances


@dataclass(frozen=True, eq=False)
class Gaussian(Policy):
    """``a = tanh(m(s) + std(s) xi)`` on an actor with 2 A outputs: means, then what makes standard deviations.

    ``policy(params, obs)`` is the action of the mean; ``raw`` the *moments* ``[..., 2 A]``, mean and log standard
    deviation before squashing. The log lies between ``low`` and ``high``, in the middle where the actor gives 0, and
    so does that of a perturbed actor.
    """

    low: float = -5.0
    high: float = 2.0
    behaviour: str = "sample"
    """What :meth:`act` does: ``sample``, ``mean``, or ``driven``, a sample whose xi is the exploration's noise."""

    def raw(self, params: Any, obs: Float[Array, "*batch o"]) -> Float[Array, "*batch k"]:
        """The moments."""
        return self.told(params, self.features(params, obs))

    def told(self, params: Any, features: Float[Array, "*batch h"]) -> Float[Array, "*batch k"]:
        """The moments, of the last hidden layer."""
        mean, told = jnp.split(super().outputs(params, features), 2, axis=-1)
        log_std = self.low + 0.5 * (self.high - self.low) * (1.0 + jnp.tanh(told))
        return jnp.concatenate([mean, log_std], axis=-1)

    def outputs(self, params: Any, features: Float[Array, "*batch h"]) -> Float[Array, "*batch a"]:
        """The mean, before it is squashed."""
        return jnp.split(super().outputs(params, features), 2, axis=-1)[0]

    def __call__(self, params: Any, obs: Float[Array, "*batch o"]) -> Float[Array, "*batch a"]:
        """The action of the mean."""
        return jnp.tanh(self.outputs(params, self.features(params, obs)))

    def act(
        self, key: PRNGKeyArray, moments: Float[Array, "*batch k"], noises: Sequence[Float[Array, "*batch a"]]
    ) -> Float[Array, "*batch a"]:
        """Actions of ``moments``, which may be those of perturbed weights, and of the noises of the exploration.

        Noise is added to actions, not yet clipped; if ``driven`` it takes the place of white noise before squashing, in
        units of the policy's own standard deviation (Eberhard et al. 2023, ICLR, section 3).
        """
        mean, log_std = jnp.split(moments, 2, axis=-1)
        if self.behaviour == "driven":
            return jnp.tanh(mean + jnp.exp(log_std) * sum(noises[1:], start=noises[0]))
        action = mode(moments) if self.behaviour == "mean" else sample(key, moments)[0]
        return added(key, action, noises)

    @property
    def distances(self) -> dict[str, Callable[..., Array]]:
        """``action``: of the actions of the means; ``kl``: of the Gaussians before squashing."""

        def action(clean: Array, noisy: Array, axis: Any = None) -> Array:
            return distances.rms_action(mode(clean), mode(noisy), axis)

        def kl(clean: Array, noisy: Array, axis: Any = None) -> Array:
            return distances.kl_gaussian(*_parts(clean), *_parts(noisy), axis)

        return {"action": action, "kl": kl}


def _parts(moments: Float[Array, "*batch k"]) -> tuple[Array, Array]:
    mean, log_std = jnp.split(moments, 2, axis=-1)
    return mean, jnp.exp(log_std)


def mode(moments: Float[Array, "*batch k"]) -> Float[Array, "*batch a"]:
    """The action of the mean."""
    return jnp.tanh(jnp.split(moments, 2, axis=-1)[0])


def sample(
    key: PRNGKeyArray, moments: Float[Array, "*batch k"]
) -> tuple[Float[Array, "*batch a"], Float[Array, "*batch"]]:
    """A reparametrised action and the log of its density."""
    mean, log_std = jnp.split(moments, 2, axis=-1)
    xi = jax.random.normal(key, mean.shape, mean.dtype)
    before = mean + jnp.exp(log_std) * xi
    return jnp.tanh(before), log_density(xi, log_std, before)


def log_density(
    xi: Float[Array, "*batch a"], log_std: Float[Array, "*batch a"], before: Float[Array, "*batch a"]
) -> Float[Array, "*batch"]:
    """Log density of ``tanh(before)``, ``before = mean + std xi``, summed over action dimensions.

    ``sum log N(xi; 0, 1) - log std - log(1 - tanh(before)^2)`` (Haarnoja et al. 2018, arXiv 1812.05905, appendix C),
    the last term as ``2 (log 2 - before - softplus(-2 before))``, which does not lose it where tanh is 1.
    """
    gaussian = -0.5 * jnp.square(xi) - log_std - 0.5 * math.log(2.0 * math.pi)
    slope = 2.0 * (math.log(2.0) - before - jax.nn.softplus(-2.0 * before))
    return jnp.sum(gaussian - slope, axis=-1)

"""Held weight noise in the acting of Brax's own PPO and SAC networks, whose training stays as it is.

::

    noisy = brax_networks.perturbed(networks, (params[0], params[1]), obs[0])  # of make_ppo_networks, make_sac_networks
    draw = noisy.init(key, num_envs)
    policy = ppo_networks.make_inference_fn(noisy.networks(draw, sigma))(params)
    actions, extras = policy(obs, key)               # each environment by perturbed weights of its own
    draw = noisy.redraw(key, draw, where=done)

Brax's own functions sample the actions and give ``log_prob``, which is then that of the perturbed policy.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpsn import noise
from jaxpsn.core import compat, errors

left_alone = noise.all_but_norms & noise.matching("^1/") & ~noise.matching("(?i)std")
"""What is perturbed if nothing else is said: the policy's weights but norms and free standard deviations."""


@dataclass(frozen=True, eq=False)
class PerturbedNetworks:
    """Brax networks whose policy acts with held perturbations, P of them. Made by :func:`perturbed`."""

    clean: Any
    """The networks as they were."""
    spec: noise.Spec
    structure: noise.Structure

    def init(self, key: PRNGKeyArray, members: int) -> noise.Draw:
        """First perturbations; ``key`` is typed (``jax.random.key``), and the same at every redraw."""
        return self.structure.init(key, self.spec, members)

    def redraw(self, key: PRNGKeyArray, draw: noise.Draw, where: Any) -> noise.Draw:
        """New perturbations for the members in ``where``, booleans or a ``done`` of Brax [P]."""
        return self.structure.redraw(key, draw, where)

    def networks(self, draw: noise.Draw, sigma: Any) -> Any:
        """The networks with a policy that takes ``[P * E, ...]`` observations: E rows in a row share a perturbation.

        ``sigma``: a number, or one for each of P. Everything of Brax that takes networks takes these.
        """
        policy = self.clean.policy_network
        apply = noise.fused(_applied(policy), self.spec, self.structure)

        def perturbed(processor_params: Any, policy_params: Any, obs: Any) -> Any:
            rows, members = jax.tree.leaves(obs)[0].shape[0], draw.members
            if rows % members:
                errors.refuse("obs", rows, f"a multiple of the {members} perturbations")
            seen = jax.tree.map(lambda leaf: leaf.reshape(members, rows // members, *leaf.shape[1:]), obs)
            told = apply((processor_params, policy_params), draw, sigma, seen)
            return jax.tree.map(lambda leaf: leaf.reshape(rows, *leaf.shape[2:]), told)

        return self.clean.replace(policy_network=type(policy)(init=policy.init, apply=perturbed))

    def divergence(self, params: tuple[Any, Any], draw: noise.Draw, sigma: Any, obs: Any) -> Float[Array, ""]:
        """Mean KL(clean || perturbed) on these observations, before squashing, in nats: what sigma may follow.

        ``params``: those of the observations' normaliser and of the policy.
        """
        made = self.clean.parametric_action_distribution.create_dist
        told = (one.policy_network.apply(*params, obs) for one in (self.clean, self.networks(draw, sigma)))
        with compat.foreign():
            clean, noisy = map(made, told)
        return noise.kl_gaussian(clean.loc, clean.scale, noisy.loc, noisy.scale)


def perturbed(
    networks: Any,
    params: tuple[Any, Any],
    example: Any,
    structure: noise.Structure | None = None,
    select: Any = left_alone,
) -> PerturbedNetworks:
    """Plan weight noise for the policy of Brax's ``PPONetworks`` or ``SACNetworks``.

    ``params``: those of the observations' normaliser and of the policy, as Brax keeps them (shapes do). ``example``:
    the observation of one environment. ``structure``: Flipout if left out. ``select``: which leaves, by their path,
    which begins with 0 for the normaliser's and 1 for the policy's. Raises UserError for networks without a policy.
    """
    policy = getattr(networks, "policy_network", None)
    if policy is None:
        errors.refuse("networks", type(networks).__name__, "networks with a policy_network, as make_ppo_networks gives")
    shapes, row = jax.eval_shape(lambda *trees: trees, tuple(params), example)
    row = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((1, *leaf.shape), leaf.dtype), row)
    spec = noise.plan(_applied(policy), shapes, row, select=select)
    return PerturbedNetworks(networks, spec, noise.Flipout() if structure is None else structure)


def _applied(policy: Any) -> Callable[[Any, Any], Any]:
    """The policy as a function of (normaliser, weights), and of observations; a plain Gaussian's are two arrays."""

    def apply(params: tuple[Any, Any], obs: Any) -> Any:
        with compat.foreign():
            return policy.apply(*params, obs)

    return apply

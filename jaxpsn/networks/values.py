"""Values of a few actions, and the policy that takes the best of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxpsn.networks.actor import Policy
from jaxpsn.networks.critic import ensemble_init
from jaxpsn.networks.layers import Hidden, uniform
from jaxpsn.noise import distances


class Values(nn.Module):
    """Observation ``[..., O]`` to a number for each action ``[..., A]``, or to ``[..., A, outputs]``, float32.

    ``duelling``: the last hidden layer is there twice, for a stream of the state's value and one of advantages, and
    ``Q = V + A - mean_a A`` (Wang et al. 2016, arXiv 1511.06581, equation 9). ``torso``: layers before the hidden ones.
    ``dtype`` is that of the activations; parameters stay float32.
    """

    actions: int
    hidden: tuple[int, ...] = (128, 128)
    nonlinearity: str = "relu"
    layer_norm: bool = True
    duelling: bool = False
    outputs: int | None = None
    head_scale: float = 3e-3
    torso: nn.Module | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, obs: Float[Array, "*batch o"]) -> Float[Array, "*out"]:
        shared = self.hidden[:-1] if self.duelling else self.hidden
        x = obs if self.torso is None else self.torso(obs)
        for i, width in enumerate(shared):
            x = self._layer(width, f"hidden_{i}")(x)
        if not self.duelling:
            return self._out(x, self.actions, "head")
        value, advantage = (
            self._out(self._layer(self.hidden[-1], f"hidden_{name}")(x), count, f"head_{name}")
            for name, count in (("value", 1), ("advantage", self.actions))
        )
        return duel(value, advantage, axis=-1 if self.outputs is None else -2)

    def at(self, dtype: Any) -> "Values":
        """The same with activations of ``dtype``."""
        return self.clone(dtype=dtype, torso=None if self.torso is None else self.torso.clone(dtype=dtype))

    def _layer(self, width: int, name: str) -> Hidden:
        return Hidden(width, self.nonlinearity, self.layer_norm, self.dtype, name=name)

    def _out(self, x: Float[Array, "*batch h"], actions: int, name: str) -> Float[Array, "*out"]:
        init = uniform(self.head_scale)
        size = actions * (self.outputs or 1)
        out = nn.Dense(size, dtype=self.dtype, kernel_init=init, bias_init=init, name=name)(x).astype(jnp.float32)
        return out if self.outputs is None else out.reshape(*out.shape[:-1], actions, self.outputs)


def duel(value: Float[Array, "*v"], advantage: Float[Array, "*a"], axis: int = -1) -> Float[Array, "*a"]:
    """``V + A - mean_a A`` along ``axis``, where ``value`` has length 1 (arXiv 1511.06581, equation 9)."""
    return value + (advantage - jnp.mean(advantage, axis=axis, keepdims=True))


def best(scores: Float[Array, "*batch a"]) -> Int[Array, "*batch"]:
    """The action with the greatest score, the first of equals."""
    return jnp.argmax(scores, axis=-1).astype(jnp.int32)


_BONUS = "bonus"


def curious(params: Any, paid: Any, weight: Float[Array, ""]) -> dict[str, Any]:
    """``params`` with the weights ``paid`` of a bonus's values, which count ``weight`` times in what explores."""
    # What stands where the scale of a norm does is left alone by weight noise.
    return {**params, _BONUS: {"params": paid["params"], "norm": {"scale": weight}}}


def incurious(params: Any) -> dict[str, Any]:
    """``params`` without what :func:`curious` added."""
    return {name: tree for name, tree in params.items() if name != _BONUS}


@dataclass(frozen=True, eq=False)
class Greedy(Policy):
    """``argmax_a score(s, a)``: ``policy(params, obs[..., O]) -> action[...]``, int32.

    ``raw`` is the scores ``[..., A]``, on which weight noise acts: values, or the logits of a policy head. ``actor``
    says them (:class:`Values`); ``value(out[..., A, K]) -> [..., A]`` makes one number of what it says of an action.
    Where weights hold a collection ``bonus`` (:func:`curious`), ``raw`` has the values of a bonus too, and so has what
    explores; the clean policy is for the task alone.
    """

    actor: nn.Module
    value: Callable[[Array], Array] = lambda out: out

    def __call__(self, params: Any, obs: Float[Array, "*batch o"]) -> Int[Array, "*batch"]:
        """The action."""
        return best(self.scores(params, obs))

    def scores(self, params: Any, obs: Float[Array, "*batch o"]) -> Float[Array, "*batch a"]:
        """The scores for the task."""
        return self.value(self.actor.apply(params, obs))

    def raw(self, params: Any, obs: Float[Array, "*batch o"]) -> Float[Array, "*batch a"]:
        """The scores, with those of a bonus if there are any."""
        scores, own = self.scores(params, obs), params.get(_BONUS)
        return scores if own is None else scores + own["norm"]["scale"] * self.scores({"params": own["params"]}, obs)

    def act(
        self, key: PRNGKeyArray, scores: Float[Array, "*batch a"], noises: Sequence[Int[Array, "*batch"]]
    ) -> Int[Array, "*batch"]:
        """The best actions, or those that noises put in their place: a noise is an action, or -1 where it has none."""
        action = best(scores)
        for noise in noises:
            action = jnp.where(noise >= 0, noise, action)
        return action

    @property
    def distances(self) -> dict[str, Callable[..., Array]]:
        """Kind -> distance of perturbed scores from clean ones, as the epsilon of the epsilon-greedy policy that is as
        far away: see :func:`epsilon_of_disagreement` and :func:`epsilon_of_kl`."""
        return {"action": epsilon_of_disagreement, "kl": epsilon_of_kl}


@dataclass(frozen=True, eq=False)
class Voting(Greedy):
    """Several value functions, the majority of which decides (Osband et al. 2016, arXiv 1602.04621).

    ``params``: ``{"params": ..., "prior": ...}``, leaves with a leading axis of heads. A head is a network ``actor``
    plus one of form ``prior`` whose weights are never learnt (Osband et al. 2018, arXiv 1806.03335); None: plus none.
    """

    prior: nn.Module | None = None

    def init(self, key: PRNGKeyArray, heads: int, scale: float, obs: Float[Array, " o"]) -> dict[str, Any]:
        """Independent weights of so many heads; ``scale``: the factor of priors."""
        own, fixed = jax.random.split(key)
        params = {"params": ensemble_init(self.actor, own, heads, obs)["params"]}
        if self.prior is None:
            return params
        last = ensemble_init(self.prior, fixed, heads, obs)["params"]
        # Last layers are linear, so their weights take the factor.
        return params | {
            "prior": {k: jax.tree.map(lambda x: scale * x, v) if k.startswith("head") else v for k, v in last.items()}
        }

    def member(self, apply: Callable[..., Array], params: Any, obs: Float[Array, "*batch o"]) -> Array:
        """What one head says, of its own weights; ``apply``: the actor's, in the precision that is wanted."""
        out = apply({"params": params["params"]}, obs)
        if self.prior is None:
            return out
        return out + jax.lax.stop_gradient(self.prior.apply({"params": params["prior"]}, obs))

    def heads(self, params: Any, obs: Float[Array, "*batch o"]) -> Float[Array, "*batch h a"]:
        """The scores of every head."""
        every = jax.vmap(lambda own: self.value(self.member(self.actor.apply, own, obs)))(params)
        return jnp.moveaxis(every, 0, -2)

    def scores(self, params: Any, obs: Float[Array, "*batch o"]) -> Float[Array, "*batch a"]:
        """The share of heads that call an action the best."""
        votes = jax.nn.one_hot(best(self.heads(params, obs)), self.actor.actions, dtype=jnp.float32)
        return jnp.mean(votes, axis=-2)


def epsilon_of_disagreement(
    clean: Float[Array, "*batch a"], noisy: Float[Array, "*batch a"], axis: Any = None
) -> Float[Array, "..."]:
    """Share of states with another greedy action, over ``1 - 1 / A``: epsilon-greedy has ``epsilon (1 - 1 / A)``."""
    return distances.argmax_disagreement(clean, noisy, axis) / (1.0 - 1.0 / clean.shape[-1])


def epsilon_of_kl(
    clean: Float[Array, "*batch a"], noisy: Float[Array, "*batch a"], axis: Any = None
) -> Float[Array, "..."]:
    """The epsilon at which epsilon-greedy is as far from greedy as the softmax policies of these scores are.

    The inverse of ``KL = -log(1 - epsilon + epsilon / A)``: a rule that compares it with epsilon compares the mean KL
    with that bound (Plappert et al. 2018, arXiv 1706.01905, section 3). Softmax is at temperature 1, so that the KL
    depends on the scale of rewards.
    """
    return -jnp.expm1(-distances.kl_softmax(clean, noisy, axis)) / (1.0 - 1.0 / clean.shape[-1])

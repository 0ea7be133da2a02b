"""What bonuses of distillation share: random networks, and a predictor that learns what they say."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpsn.control import statistics
from jaxpsn.control.agents import learner
from jaxpsn.control.bonus.novelty import CLIP, Novelty

_PREDICTOR, _TARGETS = range(2)
_ADAM = learner.optimizer(0.0)


class Embedding(nn.Module):
    """Observation ``[..., O]`` to features ``[..., F]``: ReLU layers with kernels of variance 2 / inputs.

    The release's are orthogonal, of the same variance. Their QR decompositions, several in one program, were seen to
    lock XLA's threads on a CPU.
    """

    hidden: tuple[int, ...]
    features: int

    @nn.compact
    def __call__(self, obs: Float[Array, "*batch o"]) -> Float[Array, "*batch f"]:
        x, init = obs, nn.initializers.he_normal()
        for width in self.hidden:
            x = nn.relu(nn.Dense(width, kernel_init=init)(x))
        return nn.Dense(self.features, kernel_init=init)(x)


@struct.dataclass
class Distilled:
    """What was seen, and how far the predictor has learnt what the random networks say of it."""

    seen: Any  # Statistics of observations, its own
    targets: Any  # leading axis: random networks, never learnt
    predictor: Any
    optimizer: Any
    rate: Any  # [] float32


def distilled(
    shape: tuple[int, tuple[int, ...], int, int],
    error: Callable[..., Float[Array, " n"]],
    measure: Callable[..., Float[Array, "*batch"]],
) -> Novelty:
    """The novelty ``measure(said[..., F], targets[T, ..., F]) -> [...]`` of whitened observations.

    ``shape``: size of the observations, hidden widths, features F and random networks T; the predictor takes one Adam
    step on the mean of ``error(key, said[N, F], targets[T, N, F]) -> [N]`` whenever it learns. Observations are
    whitened by statistics of their own and clipped to +-5.
    """
    size, hidden, features, count = shape
    network, example = Embedding(hidden, features), jnp.zeros((size,), jnp.float32)

    def init(key: PRNGKeyArray, hyper: Any) -> Distilled:
        keys = jax.random.split(jax.random.fold_in(key, _TARGETS), count)
        targets = jax.vmap(lambda one: network.init(one, example))(keys)
        predictor = network.init(jax.random.fold_in(key, _PREDICTOR), example)
        return Distilled(statistics.init(size), targets, predictor, _ADAM.init(predictor), hyper["lr"])

    def say(targets: Any, white: Float[Array, "*batch o"]) -> Float[Array, "t *batch f"]:
        return jax.vmap(lambda one: network.apply(one, white))(targets)

    def learn(key: PRNGKeyArray, learnt: Distilled, obs: Float[Array, "n o"]) -> tuple[Distilled, dict[str, Any]]:
        seen = statistics.update(learnt.seen, obs)
        white = statistics.normalise(seen, obs, CLIP)
        targets = say(learnt.targets, white)

        def loss(predictor: Any) -> Float[Array, ""]:
            return jnp.mean(error(key, network.apply(predictor, white), targets))

        value, gradient = jax.value_and_grad(loss)(learnt.predictor)
        predictor, optimizer = learner.descend(_ADAM, learnt.predictor, learnt.optimizer, gradient, learnt.rate)
        after = learnt.replace(seen=seen, predictor=predictor, optimizer=optimizer)
        return after, {"predictor_loss": value}

    def novelty(learnt: Distilled, obs: Float[Array, "*batch o"]) -> Float[Array, "*batch"]:
        white = statistics.normalise(learnt.seen, obs, CLIP)
        return measure(network.apply(learnt.predictor, white), say(learnt.targets, white))

    return Novelty(init, learn, novelty)

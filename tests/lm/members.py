"""A tiny decoder with sharp preferences, and every kind of policy over it."""

from functools import lru_cache

import jax
import jax.numpy as jnp

from jaxpsn import noise
from jaxpsn.lm import model
from jaxpsn.lm.config import tiny
from jaxpsn.lm.policies import Clean, Fused, Single, Stacked
from jaxpsn.lm.prompts import pack
from jaxpsn.lm.sampler import Sampling, sample

CONFIG = tiny(11, 32, 2, 4)
# Weights three times as large as at the start, so that contexts matter and answers differ in length.
PARAMS = jax.tree.map(lambda x: 3 * x if x.ndim > 1 else x, model.init(CONFIG, jax.random.key(0)))
PROMPTS = pack([[3, 4, 5], [6, 7], [8, 9, 10, 2, 3]])
MEMBERS = 4
SIGMA = 0.5
KEY = jax.random.key(7)
SAMPLING = Sampling(12, (1, 5), 0, indicators=True)
_sample = jax.jit(sample, static_argnums=(0, 6))


def full_logits(params, tokens, start=None):
    """Logits of an uncached pass over ``tokens[rows, length]``."""
    start = jnp.zeros(tokens.shape[:1], jnp.int32) if start is None else start
    return model.logits(CONFIG, params, model.hidden_states(CONFIG, params, tokens, start)[0])


def planned(select=None):
    """The noise plan of the decoder; MLP weights by default."""
    select = noise.matching(r"/mlp/") if select is None else select
    return noise.plan(full_logits, PARAMS, jnp.zeros((2, 4), jnp.int32), select=select, relative=True)


@lru_cache
def drawn(kind, select=None):
    """Perturbations of every member."""
    return kind.init(jax.random.key(1), planned(select), MEMBERS)


@lru_cache
def copies(kind):
    """Whole weights of every member, stacked, and as a list."""
    draw = drawn(kind)
    each = [kind.materialise(PARAMS, draw, SIGMA, member) for member in range(MEMBERS)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each), each


def policy_of(name):
    """The policy of this name, and the weights of each of its members."""
    if name == "clean":
        return Clean(PARAMS, MEMBERS), [PARAMS] * MEMBERS
    if name in KINDS:
        return Fused(PARAMS, drawn(KINDS[name]), jnp.float32(SIGMA)), copies(KINDS[name])[1]
    stacked, each = copies(noise.Dense())
    return (Stacked(stacked), each) if name == "stacked" else (Single(each[0]), each[:1])


KINDS = {"low rank": noise.LowRank(1), "flipout": noise.Flipout()}
NAMES = ("clean", "low rank", "flipout", "stacked", "single")


def rows_of(policy, prompts=PROMPTS):
    """Row ids 0, 1, ... as [members, prompts]."""
    count = prompts.tokens.shape[0]
    return jnp.arange(policy.members * count, dtype=jnp.int32).reshape(policy.members, count)


def sampled(policy, prompts=PROMPTS, rows=None, temperature=0.9, sampling=SAMPLING):
    """One call of the sampler, compiled once for all tests that ask for the same shapes."""
    rows = rows_of(policy, prompts) if rows is None else jnp.asarray(rows, jnp.int32)
    return _sample(CONFIG, policy, prompts, rows, KEY, jnp.float32(temperature), sampling)

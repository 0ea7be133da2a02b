"""Every plain setting of the algorithm changes the update, or has a test that shows what it does to a step."""

import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from jaxpsn.core.components import Component
from jaxpsn.lm.sampler import Prompts
from jaxpsn.rlvr import learner
from jaxpsn.rlvr.config import AlgorithmConfig
from jaxpsn.rlvr.placement import Placement
from jaxpsn.rlvr.rollout import Answers

KL = {"kl_coefficient": 0.1}
BONUS = {"entropy_coefficient": 0.1}
OTHERS = {
    "estimator": ("pooled", {"correction": "none"}),
    "kl_coefficient": (0.1, {}),
    "kl_estimator": ("k1", KL),
    "kl_weight": ("ratio", KL),
    "entropy_coefficient": (0.1, {}),
    "entropy_target": (0.3, BONUS),
    "top_entropy": (0.2, {}),
    "overlong": ("mask", {}),
    "learning_rate": (0.03, {}),
    "warmup": (7, {}),
    "weight_decay": (0.2, {}),
    "grad_clip": (0.3, {}),
    "micro_batches": (2, {}),
    "token_budget": (64, {}),
}
"""Another value, and what it needs beside it."""
ELSEWHERE = {
    "epochs": "test_program.py test_the_anchor_is_from_before_the_first_update",
    "mini_batches": "test_program.py test_the_anchor_is_from_before_the_first_update",
    "overlong_buffer": "test_gathering.py test_fines_for_length_lower_the_reward_and_not_the_score",
}
"""What the host acts on, and the test that shows it."""


@functools.cache
def update(small, **settings):
    """The whole update as text."""
    config = small.config(algorithm=settings)
    noise, _ = small.program.perturbations(config, small.DECODER, small.BASE.params)
    made = learner.make(config, small.DECODER, small.LIMIT, small.WORDS.vocab_size, Placement(None), noise)
    shape = (small.SAMPLES, small.PROMPTS)
    floats = jnp.zeros((*shape, small.LIMIT), jnp.float32)
    tokens = jnp.zeros((*shape, small.LIMIT), jnp.int32)
    lengths, ended = jnp.ones(shape, jnp.int32), jnp.ones(shape, bool)
    member, sigma = jnp.arange(small.SAMPLES, dtype=jnp.int32), jnp.ones((small.SAMPLES,), jnp.float32)
    answers = Answers(tokens=tokens, log_probs=floats, lengths=lengths, ended=ended, member=member, sigma=sigma)
    prompts = Prompts(jnp.zeros((small.PROMPTS, 4), jnp.int32), jnp.full((small.PROMPTS,), 4, jnp.int32))
    reference = floats if settings.get("kl_coefficient") else None
    seed = (jax.random.key(0), jnp.int32(0))
    batch = learner.Batch(prompts, answers, jnp.ones(shape, jnp.float32), None, reference, seed)
    opt_state = jax.eval_shape(made.optimiser.init, small.BASE.params)
    return str(jax.make_jaxpr(made.update)(small.BASE.params, opt_state, batch))


def test_the_walk_sees_every_plain_setting():
    made = AlgorithmConfig()
    plain = {one.name for one in dataclasses.fields(made) if not isinstance(getattr(made, one.name), Component)}
    assert plain == OTHERS.keys() | ELSEWHERE.keys()
    for place in ELSEWHERE.values():
        file, test = place.split()
        assert f"def {test}(" in (Path(__file__).parent / file).read_text()


@pytest.mark.parametrize("name", OTHERS)
def test_every_plain_setting_changes_the_update(small, name):
    value, beside = OTHERS[name]
    assert update(small, **beside) != update(small, **beside, **{name: value})

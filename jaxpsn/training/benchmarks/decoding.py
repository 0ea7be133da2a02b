"""The price of distinct policies in one decode batch: the clean sampler, and the same with noise of each form."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxpsn.lm import model, policies, sampler
from jaxpsn.lm.config import DecoderConfig
from jaxpsn.rlvr import perturbation
from jaxpsn.rlvr.config import NoiseConfig

FORMS: dict[str, NoiseConfig] = {
    "low rank 1, per sample": NoiseConfig(),
    "low rank 4, per sample": NoiseConfig(rank=4),
    "flipout, per sample": NoiseConfig(structure="flipout"),
    "dense, one draw": NoiseConfig(structure="dense", per="step"),
}


def decoding_contenders(
    decoder: DecoderConfig, members: int, prompts: int, width: int, tokens: int, dtype: str
) -> dict[str, Callable[[], Any]]:
    """Name -> ``tokens`` tokens for each of ``members * prompts`` rows, the clean sampler first.

    Prompts are ``width`` random tokens; no token ends an answer, so every row is decoded to the limit. The noise is
    drawn in every call, as in every training step.
    """
    params = model.init(decoder, jax.random.key(0), jnp.dtype(dtype))
    ids = np.random.default_rng(0).integers(0, decoder.vocab_size, (prompts, width), np.int32)
    given = sampler.Prompts(jnp.asarray(ids), jnp.full((prompts,), width, jnp.int32))
    rows = jnp.arange(members * prompts, dtype=jnp.int32).reshape(members, prompts)
    sampling = sampler.Sampling(max_tokens=tokens, ends=())
    contenders: dict[str, Callable[[], Any]] = {}
    for name, config in {"clean": NoiseConfig(structure="none"), **FORMS}.items():
        count = 1 if config.per == "step" else members
        noise = perturbation.plan(config, decoder, params, count, members // count)
        run = jax.jit(partial(_decode, decoder, noise, members, sampling))
        contenders[name] = partial(run, params, given, rows, jnp.float32(0.1))
    return contenders


def _decode(
    decoder: DecoderConfig,
    noise: perturbation.Perturbation | None,
    members: int,
    sampling: sampler.Sampling,
    params: Any,
    prompts: sampler.Prompts,
    rows: Array,
    sigma: Array,
) -> Array:
    key, policy = jax.random.key(1), policies.Clean(params, members)
    if noise is not None:
        policy = noise.policy(params, noise.draw(key, 0), sigma)
        # One draw for all is one copy of the weights that all samples share.
        policy = policies.Clean(policy.params, members) if isinstance(policy, policies.Single) else policy
    return sampler.sample(decoder, policy, prompts, rows, key, 1.0, sampling).tokens

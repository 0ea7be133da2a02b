"""The price of distinct policies in one decode batch: the clean sampler, and the same with noise of each form."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from benchmarks.options import Decoding
from benchmarks.tables import Table
from benchmarks.timing import interleaved, machine
from jaxpsn.lm import decoding, model, policies, sampler
from jaxpsn.lm.config import DecoderConfig, tiny
from jaxpsn.rlvr.exploration import perturbation
from jaxpsn.rlvr.exploration.noises import NoNoise, Psn

FORMS: dict[str, Psn] = {
    "low rank 1, per sample": Psn(),
    "low rank 4, per sample": Psn("lowrank(rank=4)"),
    "flipout, per sample": Psn("flipout"),
    "dense, one draw": Psn("dense", per="step"),
}


Contenders = dict[str, Callable[[], Any]]


def table(options: Decoding) -> Table:
    """Rows of the two tables of :func:`decoding_contenders`, with tokens per second."""
    decoder = tiny(options.vocab, options.hidden_size, options.layers, max(4, options.hidden_size // 64))
    tables = decoding_contenders(decoder, options.members, options.prompts, 16, options.tokens, options.dtype)
    rows = []
    # The first token of an answer belongs to the reading of its prompt.
    for part, tokens, contenders in zip(("token", "whole"), (options.tokens - 1, options.tokens), tables, strict=True):
        for timing in interleaved(contenders, options.rounds):
            count = options.members * options.prompts * tokens
            row = timing._asdict() | {"tokens_per_second": count / timing.seconds, "parameters": decoder.parameters}
            rows.append(row | {"name": f"{part}: {timing.name}"})
    return Table(rows, machine())


def decoding_contenders(
    decoder: DecoderConfig, members: int, prompts: int, width: int, tokens: int, dtype: str
) -> tuple[Contenders, Contenders]:
    """Name -> ``tokens`` tokens for each of ``members * prompts`` rows, the clean sampler first; in two tables.

    The first continues answers that were begun: what a token costs. The second is a whole rollout: the noise is drawn,
    prompts are read (by each distinct policy; the clean one reads each prompt once), and the answers written. Prompts
    are ``width`` random tokens; no token ends an answer, so every row is decoded to the limit.
    """
    params = model.init(decoder, jax.random.key(0), jnp.dtype(dtype))
    ids = np.random.default_rng(0).integers(0, decoder.vocab_size, (prompts, width), np.int32)
    given = sampler.Prompts(jnp.asarray(ids), jnp.full((prompts,), width, jnp.int32))
    rows = jnp.arange(members * prompts, dtype=jnp.int32).reshape(members, prompts)
    sampling = sampler.Sampling(max_tokens=tokens, ends=())
    sigma, token, whole = jnp.float32(0.1), {}, {}
    for name, asked in {"clean": NoNoise(), **FORMS}.items():
        count = asked.members(members)
        noise = perturbation.plan(asked, decoder, params, count, members // max(count, 1))
        policy = jax.jit(partial(_policy, noise, members))(params, sigma)
        begun = jax.jit(partial(_begin, decoder, sampling))(policy, given, rows)
        token[name] = partial(jax.jit(partial(_continue, decoder, sampling)), policy, begun)
        whole[name] = partial(jax.jit(partial(_decode, decoder, noise, members, sampling)), params, given, rows, sigma)
    return token, whole


def _policy(noise: perturbation.Perturbation | None, members: int, params: Any, sigma: Array) -> policies.Policy:
    if noise is None:
        return policies.Clean(params, members)
    policy = noise.policy(params, noise.draw(jax.random.key(1), 0), sigma)
    # One draw for all is one copy of the weights that all samples share.
    return policies.Clean(policy.params, members) if isinstance(policy, policies.Single) else policy


def _begin(decoder: DecoderConfig, sampling: sampler.Sampling, policy: Any, prompts: Any, rows: Array) -> Any:
    return decoding.begin(decoder, policy, prompts, rows, jax.random.key(1), jnp.float32(1.0), sampling)


def _continue(decoder: DecoderConfig, sampling: sampler.Sampling, policy: Any, state: decoding.State) -> Array:
    stop = jnp.int32(sampling.max_tokens)
    return decoding.advance(decoder, policy, state, jax.random.key(1), jnp.float32(1.0), sampling, stop).tokens


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
    policy = _policy(noise, members, params, sigma)
    return sampler.sample(decoder, policy, prompts, rows, jax.random.key(1), 1.0, sampling).tokens

"""How a policy explores at each of several scales of its noise, as arrays for notebooks; nothing is trained."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxpsn.core import checks
from jaxpsn.core.components import spec_of
from jaxpsn.core.errors import refuse
from jaxpsn.lm import distribution, model, policies, sampler, tokenizer
from jaxpsn.lm.config import DecoderConfig
from jaxpsn.rlvr import gathering, rollout, setup
from jaxpsn.rlvr.config import RlvrConfig
from jaxpsn.rlvr.exploration import similarity
from jaxpsn.rlvr.exploration.perturbation import Perturbation
from jaxpsn.rlvr.objective import correction
from jaxpsn.rlvr.objective.corrections import CORRECTIONS
from jaxpsn.rlvr.objective.tokens import masked_mean, token_mask
from jaxpsn.rlvr.placement import Placement


class Ground(NamedTuple):
    """What a sweep holds fixed: a clean policy, and problems that it was never trained on."""

    decoder: DecoderConfig
    params: Any
    words: Any
    """``lm.tokenizer.Tokenizer``."""
    task: Any
    problems: tuple[Any, ...]
    prompts: sampler.Prompts
    sampling: sampler.Sampling


class Explored(NamedTuple):
    """Answers at V scales, by M perturbations; groups are what is compared with one another.

    With one answer of each member to a problem all of these are one group; with several, those of a member are.
    Problems and scales share their random numbers, so differences between scales, structures and targets are paired.
    """

    scales: Float[np.ndarray, "V"]
    """Sigmas or temperatures."""
    samples: int
    """Answers to a problem in each group."""
    right: Int[np.ndarray, "V groups P"]
    """Right answers of a group."""
    solutions: Int[np.ndarray, "V groups P"]
    """Different solutions among them."""
    different: Float[np.ndarray, "V groups P"]
    """Different texts in a group, as a share of its answers."""
    ngram: Float[np.ndarray, "V groups P"]
    """Mean pairwise cosine of the answers' trigrams; NaN where it cannot be measured."""
    hidden: Float[np.ndarray, "V groups P"]
    """The same of their hidden states in the clean policy (Variant II's similarity)."""
    kl: Float[np.ndarray, "V M"]
    """KL(sampler || clean policy) in nats a token, over the whole vocabulary at the sampler's own contexts."""
    k1: Float[np.ndarray, "V M"]
    """Its estimate from the drawn tokens alone, as Variant I has it."""
    k3: Float[np.ndarray, "V M"]
    """Likewise by k3."""
    entropy: Float[np.ndarray, "V M"]
    """Of the sampler, nats a token."""
    certainty: Float[np.ndarray, "V M"]
    """The sampler's self-certainty KL(U || p), nats a token."""
    length: Float[np.ndarray, "V M"]
    """Tokens of an answer."""
    ratios: dict[str, Float[np.ndarray, "V"]]
    """Importance weights by token and by answer (sequence): ``token_ess`` of the raw ratios, ``token_truncated`` the
    share above the cap, ``token_mean`` and ``token_used_ess`` of the truncated weights; ``sequence_...`` likewise."""


def ground(config: RlvrConfig, base: Any, task: Any, problems: int) -> Ground:
    """The policy ``base`` (a ``rlvr.base.Base``) of ``config``, and the first ``problems`` of ``task`` to judge by.

    Raises UserError for whatever of task and config does not fit.
    """
    width, most = setup.limits(config, base, task, generated=True)
    chosen = tuple(task.distinct("test", setup.TEST_SEED, problems))
    prompts = tokenizer.pack([base.words.prompt(problem.prompt) for problem in chosen], length=width)
    sampling = sampler.Sampling(most, tuple(base.words.ends), base.words.pad, vocab=base.words.vocab_size)
    return Ground(base.decoder, base.params, base.words, task, chosen, prompts, sampling)


def perturbed(
    ground: Ground, noise: Perturbation, sigmas: Sequence[float], *, seed: int = 0, rows: int = 2048
) -> Explored:
    """Answers of the perturbed policies of ``noise`` at each of ``sigmas``, at temperature 1.

    ``rows``: answers decoded at once, to bound memory; they are the same whatever it is. Compiled once.
    """
    if noise.hold is not None:
        refuse("noise.hold", spec_of(noise.hold), "episode, as a curve shows one policy for an answer")
    return _explored(ground, noise, noise.members * noise.answers, [(sigma, 1.0) for sigma in sigmas], 0, seed, rows)


def heated(ground: Ground, samples: int, temperatures: Sequence[float], *, seed: int = 0, rows: int = 2048) -> Explored:
    """``samples`` answers of the clean policy at each of ``temperatures``: noise on actions in place of weights.

    KL and ratios are those against the clean policy at temperature 1.
    """
    checks.whole("samples", samples, 1)
    return _explored(ground, None, samples, [(0.0, temperature) for temperature in temperatures], 1, seed, rows)


class _Seen(NamedTuple):
    """What is read off answers in the layout [samples, problems, ...]."""

    tokens: Any  # [S, P, T] int32
    lengths: Any  # [S, P] int32
    noisy: Any  # [S, P, T] log-prob under the sampler
    clean: Any  # [S, P, T] under the clean policy at temperature 1
    kl: Any  # [S, P, T] KL(sampler || clean) of the next token
    entropy: Any  # [S, P, T] of the sampler
    certainty: Any  # [S, P, T] KL(U || sampler)
    pooled: Any  # [S, P, d] mean hidden state in the clean policy


def _explored(ground, noise, samples, points, column, seed, rows) -> Explored:
    """``points``: pairs of sigma and temperature, of which ``column`` is the one that is swept."""
    found = [_point(ground, noise, samples, *point, seed, rows) for point in points]
    stacked = {name: np.stack([one[name] for one in found]) for name in found[0] if name != "ratios"}
    ratios = {name: np.array([float(one["ratios"][name]) for one in found]) for name in found[0]["ratios"]}
    shared = noise is not None and noise.answers > 1
    scales = np.array([point[column] for point in points], float)
    return Explored(scales=scales, samples=noise.answers if shared else samples, ratios=ratios, **stacked)


def _point(ground, noise, samples, sigma, temperature, seed, rows) -> dict[str, Any]:
    """One scale: the fields of :class:`Explored` without their leading axis."""
    total = len(ground.problems)
    size, parts = gathering.block(total, samples, rows, 1), []
    scale = (jnp.float32(sigma), jnp.float32(temperature))
    for begin in range(0, total, size):
        some = jax.tree.map(lambda leaf, begin=begin: leaf[begin : begin + size], ground.prompts)
        still = (ground.decoder, ground.sampling, noise, samples, total)
        parts.append(jax.device_get(_block(still, ground.params, some, jax.random.key(seed), scale, np.int32(begin))))
    seen = jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=1), *parts)
    members = 1 if noise is None else noise.members
    groups = members if noise is not None and noise.answers > 1 else 1
    told, ratios = jax.device_get(_summary(members, seen))
    return told | {"ratios": ratios} | _diversity(ground, seen, groups)


@partial(jax.jit, static_argnums=0)
def _block(still: Any, params: Any, prompts: Any, key: Any, scale: Any, begin: Any) -> _Seen:
    """Answers to a block of problems, and both policies' view of them."""
    decoder, sampling, noise, samples, total = still
    sigma, temperature = scale
    ids, stream = rollout.Ids(0, begin, total), jax.random.fold_in(key, gathering.SAMPLE)
    params = Placement(None).working(decoder, params, "float32")
    if noise is None:
        policy: Any = policies.Clean(params, samples)
        answers = rollout.clean(decoder, params, prompts, ids, samples, stream, temperature, sampling)
    else:
        draw = noise.draw(key, 0)
        policy = noise.policy(params, draw, sigma)
        answers = rollout.noisy(decoder, noise, params, draw, sigma, prompts, ids, stream, temperature, sampling)
    return _views(decoder, policy, params, prompts, answers, temperature, sampling.vocab)


def _views(decoder, policy, params, prompts, answers, temperature, vocab) -> _Seen:
    samples, problems, time = answers.tokens.shape
    members, width = policy.members, prompts.tokens.shape[1]
    tokens, lengths = (leaf.reshape(members, -1, *leaf.shape[2:]) for leaf in (answers.tokens, answers.lengths))
    repeats = tokens.shape[1] // problems
    start = jnp.broadcast_to(jnp.tile(width - jnp.asarray(prompts.lengths), repeats)[None], lengths.shape)
    prompt = jnp.broadcast_to(jnp.tile(jnp.asarray(prompts.tokens), (repeats, 1))[None], (*lengths.shape, width))

    def read(params: Any, x: Any) -> tuple[Array, Array]:
        hidden, _ = model.hidden_states(decoder, params, x["text"], x["start"])
        return model.logits(decoder, params, hidden[:, width - 1 : -1])[..., :vocab], hidden[:, width:]

    x = {"text": jnp.concatenate([prompt, tokens], axis=2), "start": start}
    noisy = distribution.tempered(policy.apply(read, x)[0], temperature)
    clean, hidden = policies.Clean(params, members).apply(read, x)
    ours, theirs = jax.nn.log_softmax(noisy), jax.nn.log_softmax(clean)
    here = token_mask(lengths, time)
    flat = (
        distribution.log_prob(clean, tokens),
        jnp.sum(jnp.exp(ours) * (ours - theirs), axis=-1),
        distribution.entropy(noisy),
        distribution.certainty(noisy),
    )
    wide = (jnp.where(here, leaf, 0.0).reshape(samples, problems, time) for leaf in flat)
    count = jnp.maximum(lengths, 1).astype(jnp.float32)[..., None]
    pooled = jnp.sum(jnp.where(here[..., None], hidden, 0.0), axis=2) / count
    return _Seen(
        answers.tokens, answers.lengths, answers.log_probs, *wide, pooled.reshape(samples, problems, pooled.shape[-1])
    )


@partial(jax.jit, static_argnums=0)
def _summary(members: int, seen: Any) -> tuple[dict[str, Array], dict[str, Array]]:
    """Means over the tokens of each member, and the importance weights over all of them."""
    time = seen.noisy.shape[-1]
    mask = token_mask(jnp.asarray(seen.lengths), time)
    clean, noisy = jnp.asarray(seen.clean), jnp.asarray(seen.noisy)

    def by_member(leaf: Any) -> Array:
        return jnp.asarray(leaf).reshape(members, -1, time)

    def mean(leaf: Any) -> Array:
        return masked_mean(by_member(leaf), by_member(mask), axis=(1, 2))

    k1, k3 = correction.noise_kl(by_member(clean), by_member(noisy), by_member(mask), axis=(1, 2))
    told = {"kl": mean(seen.kl), "k1": k1, "k3": k3, "entropy": mean(seen.entropy), "certainty": mean(seen.certainty)}
    told["length"] = jnp.mean(jnp.asarray(seen.lengths).reshape(members, -1).astype(jnp.float32), axis=1)
    return told, _ratios("token", clean, noisy, mask) | _ratios("sequence", clean, noisy, mask)


def _ratios(level: str, clean: Array, noisy: Array, mask: Bool[Array, "S P T"]) -> dict[str, Array]:
    columns = correction.diagnostics(CORRECTIONS.make(level), clean, noisy, mask)
    raw = "ratio_ess" if level == "token" else "sequence_ratio_ess"
    names = {"ess": raw, "truncated": "truncated_share", "mean": "weight_mean", "used_ess": "weight_ess"}
    return {f"{level}_{name}": columns[column] for name, column in names.items()}


_alike = jax.jit(similarity.pooled_cosine)


def _diversity(ground: Ground, seen: _Seen, groups: int) -> dict[str, np.ndarray]:
    """How different the answers of each group are, and how many of them are right: each [groups, P]."""
    samples, problems = seen.lengths.shape
    each = samples // groups
    found: dict[str, list[Any]] = {name: [] for name in ("right", "solutions", "different", "ngram", "hidden")}
    for first in range(0, samples, each):
        texts = [
            [ground.words.decode(seen.tokens[s, p, : seen.lengths[s, p]].tolist()) for s in range(first, first + each)]
            for p in range(problems)
        ]
        counted = np.array([_counted(ground.task, *pair) for pair in zip(ground.problems, texts, strict=True)])
        found["right"].append(counted[:, 0])
        found["solutions"].append(counted[:, 1])
        found["different"].append(counted[:, 2] / each)
        found["ngram"].append(similarity.ngram_cosine(texts))
        found["hidden"].append(np.asarray(_alike(jnp.moveaxis(jnp.asarray(seen.pooled[first : first + each]), 0, 1))))
    return {name: np.stack(parts) for name, parts in found.items()}


def _counted(task: Any, problem: Any, texts: Sequence[str]) -> tuple[int, int, int]:
    """Right answers, different solutions among them, and different texts."""
    times = Counter(texts)
    right = [text for text in times if task.check(problem, text)]
    solutions = {task.canonical(problem, text) for text in right}
    return sum(times[text] for text in right), len(solutions), len(times)

"""The ladder of like choices: what consistency of noise is worth on an untrained base, over the number of choices.

A base that takes a rare branch with probability p at each of L like choices is asked for the rare one L times. Success
is computed, not sampled: log-probs of the right text under every perturbation, teacher forced.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from benchmarks import tables, timing
from benchmarks.ladder_options import Ladder as Options
from benchmarks.tables import Row, Table
from jaxpsn.lm import policies, scoring, tokenizer
from jaxpsn.lm.prompts import Prompts
from jaxpsn.rlvr import base as bases
from jaxpsn.rlvr.config import DecoderSize, PretrainConfig, RlvrConfig
from jaxpsn.rlvr.exploration import perturbation
from jaxpsn.rlvr.exploration.noise_family import NOISES
from jaxpsn.run import cache, startup
from jaxpsn.stats import hypotheses, statistics
from jaxpsn.stats.statistics import Estimate
from jaxpsn.tasks.ladder import Ladder

LENGTHS = (1, 2, 4, 8, 16, 32)
HELD, REDRAWN, TEMPERATURE, FORMULA = "held", "redrawn", "temperature", "formula"
NOISE = {HELD: "psn", REDRAWN: "psn(hold=tokens(1))"}
CHUNK = 128
"""Members that are scored side by side."""
SEEDS = 5
"""Bases before which no claim is judged."""


class Claim(NamedTuple):
    """A statement on log10 of success of held noise over that of another arm, made before the first run."""

    says: str
    of: str
    expects: str
    lengths: tuple[int, ...]
    margin: float = 0.0


CLAIMS = (
    Claim("Held noise loses to temperature at 4 choices", TEMPERATURE, "below", (4,)),
    Claim("Held noise beats temperature at 8 choices", TEMPERATURE, "above", (8,)),
    Claim("Held noise beats the same noise redrawn at every token, from 2 choices on", REDRAWN, "above", LENGTHS[1:]),
    Claim("Held noise over temperature is what the formula says, within a factor of 2", FORMULA, "equal",
          LENGTHS[:4], math.log10(2.0)),
)  # fmt: skip
"""At 0.05 nats a choice. Stopping rule: five seeds, each a base of its own, all members as in the options; judged once.

Supported: the 95 % bootstrap interval over seeds lies on the stated side at every named length (equal: within the
margin). Contradicted: at one it lies on the other side. Else undecided. The formula: E[sigmoid(logit p + s)^L] / p_T^L,
s normal, one shift for all choices of an answer, and p_T the branch's probability at the temperature of equal KL.
"""


def run(options: Options) -> None:
    """Measure the seeds that are not there yet, print and write after each."""
    cache.enable()
    kept: dict[str, Any] = {}
    if told := tables.there(options):
        same = all(told["options"][name] == getattr(options, name) for name in options.fixed)
        kept = told["seeds"] if same else {}
    for seed in range(options.seeds):
        if str(seed) not in kept:
            kept[str(seed)] = measured(options, seed)
        tables.write(options, Table(summary(kept), timing.machine(), {"seeds": kept, "claims": judged(kept)}))
    for row in summary(kept):
        print(" ".join(f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}"
                       for name, value in row.items()))  # fmt: skip
    for claim in judged(kept):
        print(f"{claim['says']}: {claim['verdict']}")


class Texts(NamedTuple):
    """Prompts with the texts that are scored."""

    prompts: Prompts
    tokens: Any  # i32[R, T]


def measured(options: Options, seed: int) -> dict[str, Any]:
    """Everything of one base: scales at equal KL, and log10 of success by arm and length."""
    task = Ladder(length=LENGTHS[-1])
    size = DecoderSize(options.hidden_size, options.num_layers, 4)
    pretrain = PretrainConfig(options.pretrain_steps, options.batch_size, seed=seed)
    config = RlvrConfig(task=task, decoder=size, pretrain=pretrain)
    startup.speak(f"seed {seed}: the base")
    base = bases.pretrained(config, task, cache.home() / "bases", lambda step, loss: None)
    width = task.filler + 1
    right = _texts(base.words, [task.problem(seed, index, "test") for index in range(options.prompts)])
    usual = _texts(base.words, [task.problem(seed + 1000, index, "pretrain") for index in range(options.prompts)])
    clean = _scorer(base, seed, None)
    start = clean(usual, 1.0)[..., ::width]
    arms = {arm: _scorer(base, seed, text) for arm, text in NOISE.items()} | {TEMPERATURE: clean}
    found: dict[str, Any] = {"base": _branches(clean(right, 1.0), width)}
    for arm, score in arms.items():
        startup.speak(f"seed {seed}: {arm}")
        spans = (1.0, 20.0) if arm == TEMPERATURE else (0.02, 3.0)
        scale = _solve(lambda value, score=score: _kl(score(usual, value, 0)[..., ::width], start), options.kl, spans)
        chunks = {HELD: options.members // CHUNK, REDRAWN: options.redrawn // CHUNK, TEMPERATURE: 1}[arm]
        scored = np.concatenate([score(right, scale, 1 + index) for index in range(chunks)])
        told = _success(scored, width) | {"scale": scale, "kl": _kl(score(usual, scale, 0)[..., ::width], start)}
        found[arm] = told | {"coherence": _coherence(scored[..., ::width]) if arm != TEMPERATURE else None}
    found[FORMULA] = {"log10": predicted(found["base"]["rare"], options.kl)}
    return found


def _texts(words: Any, problems: Sequence[Any]) -> Texts:
    prompts = tokenizer.pack([words.prompt(one.prompt) for one in problems])
    return Texts(prompts, jnp.asarray([words.encode(one.answer) for one in problems], jnp.int32))


@functools.cache
def _program(decoder: Any, noise: Any) -> Callable[..., Array]:
    """``(params, texts, scale, key, step) -> log-probs [M, R, T]`` of the texts; one program for all bases.

    ``scale``: the temperature of the clean policy, or the sigma of ``noise`` at temperature 1. Steps have noise of
    their own.
    """

    @jax.jit
    def score(params: Any, texts: Texts, scale: Array, key: Any, step: Array) -> Array:
        policy = policies.Single(params) if noise is None else noise.policy(params, noise.draw(key, step), scale)
        tokens = jnp.broadcast_to(texts.tokens[None], (policy.members, *texts.tokens.shape))
        lengths = jnp.full(tokens.shape[:2], tokens.shape[2], jnp.int32)
        temperature = scale if noise is None else jnp.float32(1.0)
        return scoring.score(decoder, policy, texts.prompts, tokens, lengths, temperature).log_probs

    return score


def _scorer(base: Any, seed: int, text: str | None) -> Callable[..., np.ndarray]:
    """``(texts, scale, step) -> log-probs`` under noise, or of the clean policy where ``text`` is None."""
    noise = None
    if text is not None:
        noise = perturbation.plan(NOISES.make(text, "noise"), base.decoder, base.params, CHUNK, 1)
    program = _program(base.decoder, noise)

    def score(texts: Texts, scale: float, step: int = 0) -> np.ndarray:
        found = program(base.params, texts, jnp.float32(scale), jax.random.key(seed), jnp.int32(step))
        return np.asarray(found, np.float64)

    return score


def _kl(noisy: Float[np.ndarray, "m r l"], clean: Float[np.ndarray, "one r l"]) -> float:
    """Mean KL(noisy || clean) of the event that a choice goes as the text has it, in nats, from its log-probs."""
    q, p = (np.clip(np.exp(one), 1e-12, 1 - 1e-12) for one in (noisy, clean))
    return float(np.mean(q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p))))


def _solve(function: Callable[[float], float], wanted: float, span: tuple[float, float], tries: int = 14) -> float:
    """Where an increasing ``function`` takes the value, by bisection of the logarithm; the span's end if beyond."""
    low, high = (math.log(end) for end in span)
    for _ in range(tries):
        middle = (low + high) / 2
        low, high = (middle, high) if function(math.exp(middle)) < wanted else (low, middle)
    return math.exp((low + high) / 2)


def _success(scored: Float[np.ndarray, "m r t"], width: int) -> dict[str, Any]:
    """By length: log10 of the mean success of the choices, of the whole text, and members that carry the mean."""
    choices, whole = np.cumsum(scored[..., ::width], axis=-1), np.cumsum(scored, axis=-1)
    found: dict[str, list[float]] = {"log10": [], "log10_whole": [], "members": []}
    for length in LENGTHS:
        weight = np.exp(choices[..., length - 1]).mean(axis=1)
        text = np.exp(whole[..., length * width - 1]).mean()
        found["log10"].append(float(np.log10(weight.mean())))
        found["log10_whole"].append(float(np.log10(text)))
        found["members"].append(float(weight.sum() ** 2 / np.sum(weight**2)))
    return found


def _branches(scored: Float[np.ndarray, "one r t"], width: int) -> dict[str, Any]:
    """How often the base takes the rare branch where all before it were rare: by place, and all in all."""
    rare = np.exp(scored[0, :, ::width])
    logit = float(np.mean(np.log(rare / (1 - rare))))
    return {"rare": 1 / (1 + math.exp(-logit)), "by_place": rare.mean(axis=0).tolist()}


def _coherence(scored: Float[np.ndarray, "m r l"]) -> float:
    """Share of the variance over members of a choice's log-odds that the choices of an answer have in common."""
    p = np.clip(np.exp(scored), 1e-12, 1 - 1e-12)
    odds = np.log(p / (1 - p))
    return float(np.mean(odds.mean(axis=-1).var(axis=0) / odds.var(axis=0).mean(axis=-1)))


def predicted(rare: float, kl: float, coherence: float = 1.0) -> list[float]:
    """log10 of E[sigmoid(logit p + s)^L] / p_T^L by length, both at ``kl`` nats a choice.

    ``coherence``: share of the variance of s that the choices of an answer have in common; the rest is drawn for each.
    """
    places, weights = np.polynomial.hermite_e.hermegauss(160)
    weights = weights / weights.sum()
    odds, clean = math.log(rare / (1 - rare)), np.log(np.full((1, 1, 1), rare))

    def shifted(scale: float) -> np.ndarray:
        return -np.log1p(np.exp(-(odds + scale * places)))

    def moved(scale: float) -> float:
        each = [_kl(np.full((1, 1, 1), one), clean) for one in shifted(scale)]
        return float(weights @ np.array(each))

    def cooled(temperature: float) -> float:
        return -math.log1p(math.exp(-odds / temperature))

    tau = _solve(moved, kl, (1e-3, 20.0), 40)
    hot = cooled(_solve(lambda t: _kl(np.full((1, 1, 1), cooled(t)), clean), kl, (1.0, 100.0), 40))
    apart = math.sqrt(1 - coherence) * tau * places
    common = odds + math.sqrt(coherence) * tau * places
    each = np.log(1 / (1 + np.exp(-(common[:, None] + apart))) @ weights)
    return [float(np.log10(weights @ np.exp(length * (each - hot)))) for length in LENGTHS]


def _ratios(seeds: dict[str, Any], of: str, place: int) -> np.ndarray:
    """log10 of success of held noise over that of ``of``, by seed; of the formula: what it misses the measured by."""
    found = []
    for one in seeds.values():
        if of == FORMULA:
            found.append(one[HELD]["log10"][place] - one[TEMPERATURE]["log10"][place] - one[FORMULA]["log10"][place])
        else:
            found.append(one[HELD]["log10"][place] - one[of]["log10"][place])
    return np.array(found)


_mean = functools.partial(statistics.bootstrap, statistic=statistics.mean)


def summary(seeds: dict[str, Any]) -> list[Row]:
    """A row for each length: ratios as geometric means over seeds with bootstrap intervals, and success by arm.

    ``formula_coherent`` was looked at after the runs: the formula with the coherence that was measured.
    """
    rows: list[Row] = []
    coherent = [predicted(one["base"]["rare"], one[HELD]["kl"], one[HELD]["coherence"]) for one in seeds.values()]
    for place, length in enumerate(LENGTHS):
        row: Row = {"choices": length, "seeds": len(seeds)}
        for of in (TEMPERATURE, REDRAWN):
            row |= _spread(f"over_{of}", _mean(_ratios(seeds, of, place)))
        row["formula"] = 10 ** float(np.mean([one[FORMULA]["log10"][place] for one in seeds.values()]))
        row["formula_coherent"] = 10 ** float(np.mean([told[place] for told in coherent]))
        for arm in (HELD, REDRAWN, TEMPERATURE):
            for name in ("log10", "log10_whole"):
                row[f"{arm}_{name}"] = float(np.mean([one[arm][name][place] for one in seeds.values()]))
        row["members"] = float(np.median([one[HELD]["members"][place] for one in seeds.values()]))
        rows.append(row)
    return rows


def _spread(name: str, found: Estimate) -> Row:
    ends = {f"{name}_{end}": None if value is None else 10**value
            for end, value in (("low", found.low), ("high", found.high))}  # fmt: skip
    return {name: 10**found.value} | ends


def judged(seeds: dict[str, Any]) -> list[dict[str, Any]]:
    """The claims with their verdicts: contradicted by one length, supported by all; none before all seeds are there."""
    found = []
    for claim in CLAIMS:
        each = [_verdict(claim, seeds, length) for length in claim.lengths]
        order = (hypotheses.OPEN, hypotheses.CONTRADICTED, hypotheses.UNDECIDED, hypotheses.SUPPORTED)
        found.append(claim._asdict() | {"by_length": each, "verdict": next(one for one in order if one in each)})
    return found


def _verdict(claim: Claim, seeds: dict[str, Any], length: int) -> str:
    if len(seeds) < SEEDS:
        return hypotheses.OPEN
    return hypotheses.verdict(claim.expects, _mean(_ratios(seeds, claim.of, LENGTHS.index(length))), claim.margin)

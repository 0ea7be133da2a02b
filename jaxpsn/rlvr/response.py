"""How far Variant II's indicator goes with sigma: whether its target can be reached, and which measures respond."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxpsn.rlvr import scale
from jaxpsn.rlvr.exploration import similarity
from jaxpsn.rlvr.objective.tokens import token_mask

ENOUGH = 256
"""Problems that a look at the indicator takes in, where a few steps hold as many."""
STEPS = 8
"""Steps' problems that it takes at most; each has perturbations of its own."""
TURN = 0x52454143
"""Turn of a step that probes are drawn in: no training step has as many."""


class Reach(NamedTuple):
    """The indicator at the bounds of sigma, and the target at each (relative to the same answers, or given)."""

    low: float
    high: float
    """The bounds of sigma."""
    indicators: tuple[float, float]
    targets: tuple[float, float]
    drop: float | None
    """How far below the clean policy's indicator the target is; None for a given target."""

    def told(self) -> str:
        """The response in one line, with its sign."""
        before, after = self.indicators
        way = "falls" if after < before else "rises" if after > before else "stays"
        ends = f"from {before:.3f} at sigma.low = {self.low:g} to {after:.3f} at sigma.high = {self.high:g}"
        return f"indicator {way} {ends}; its target is {np.mean(self.targets):.3f}"

    def far(self) -> str | None:
        """Why sigma will not settle; None where the target lies within reach."""
        off = [value - target for value, target in zip(self.indicators, self.targets, strict=True)]
        if off[0] > 0.0 >= off[1] or not all(map(math.isfinite, off)):
            return None
        if self.drop is None:
            asked, ends = f"sigma.target = {self.targets[0]:g}", self.indicators
        else:
            asked, ends = f"sigma.drop = {self.drop:g}", [self.drop - value for value in off]
        reach = " to ".join(f"{round(end, 3) + 0.0:.3f}" for end in sorted(ends))
        wrong = ", and the indicator rises with the noise" if off[1] > off[0] else ""
        return (
            f"{asked} is out of reach: {reach} between sigma.low = {self.low:g} and sigma.high = {self.high:g}{wrong}"
        )


def steps(prompts: int) -> int:
    """Steps' problems that a look takes, with ``prompts`` in each."""
    return min(STEPS, -(-ENOUGH // prompts))


def reach(program: Any, state: Any) -> Reach:
    """What the policy of ``state`` does at both bounds of sigma; ``program`` is a ``Reasoner`` with Variant II.

    Several steps' problems are probed, each with its own perturbations; nothing of it is trained on or counts.
    """
    asked, prompts = program.config.probed, program.config.rollout.prompts
    found = []
    for sigma in (asked.low, asked.high):
        looks = [at(state, index, prompts) for index in range(steps(prompts))]
        found.append(np.mean([program.indicator(one, program.probe(one, sigma, TURN)) for one in looks], axis=0))
    indicators, targets = np.array(found).T.tolist()
    drop = asked.drop if asked.relative else None
    return Reach(asked.low, asked.high, tuple(indicators), tuple(targets), drop)


def at(state: Any, index: int, prompts: int) -> Any:
    """``state`` as if ``index`` steps had been made without learning: other problems, other noise."""
    clock = np.int32(int(state.clock) + index)
    return state.replace(clock=clock, position=np.int32(int(state.position) + index * prompts))


def cut(row: Mapping[str, Any]) -> str | None:
    """One line if the sentence encoder did not see whole answers (an alarm of ``training.alarms``)."""
    share = row.get("probes_cut")
    if not share:
        return None
    return f"{share:.0%} of the probes are longer than the encoder of sigma.similarity reads; it saw their beginnings"


class Measures:
    """Everything that an indicator can be made of, read off one step's probes: name -> (noisy, clean).

    Similarities by name (``raw``: cosines without centring); ``certainty``, KL(U || p) on the range of the clean
    answers, and ``certainty batch`` on that of the answers themselves (the paper's min-max); ``confidence``, KL(p || U)
    as a share of log V; half of a similarity and half of certainty as ``a + b``. ``encode``: a sentence encoder.
    """

    def __init__(self, learner: Any, encode: Any = None):
        kinds = ("ngram", "equal", "hidden", *(["bert"] if encode is not None else []))
        encode = None if encode is None else _remembering(encode)
        self._alike = {kind: similarity.measure(kind, learner, True, encode) for kind in kinds}
        self._alike |= {f"{kind} raw": similarity.measure(kind, learner, False, encode) for kind in kinds[2:]}
        self._vocab = learner.vocab

    def __call__(self, params: Any, probes: scale.Probes) -> dict[str, tuple[float, float]]:
        """Means over the problems of ``probes``, of which the clean policy has answered the same."""
        sides = ((probes.answers, probes.texts), (probes.clean, probes.clean_texts))
        low, high = _range(probes.clean.certainty)
        found: dict[str, tuple[float, float]] = {}
        for name, alike in self._alike.items():
            found[name] = tuple(float(np.nanmean(alike(params, probes.prompts, *side))) for side in sides)
        found["certainty"] = tuple(_share(one.certainty, low, high) for one, _ in sides)
        found["certainty batch"] = tuple(_share(one.certainty, *_range(one.certainty)) for one, _ in sides)
        found["confidence"] = tuple(float(np.mean(one.confidence)) / math.log(self._vocab) for one, _ in sides)
        halves = {name: "certainty batch" if name.endswith("raw") else "certainty" for name in self._alike}
        for name, other in halves.items():
            both = zip(found[name], found[other], strict=True)
            found[f"{name} + {other}"] = tuple(0.5 * (one + two) for one, two in both)
        return found


def _remembering(encode: Any) -> Callable[[Sequence[str]], np.ndarray]:
    """``encode`` that is asked once for each text: the same answers come again at every sigma."""
    known: dict[str, np.ndarray] = {}

    def vectors(texts: Sequence[str]) -> np.ndarray:
        new = [text for text in dict.fromkeys(texts) if text not in known]
        known.update(zip(new, encode(new), strict=True))
        return np.stack([known[text] for text in texts])

    return vectors


def _range(values: np.ndarray) -> tuple[float, float]:
    return float(np.min(values)), float(np.max(values))


def _share(values: np.ndarray, low: float, high: float) -> float:
    return float(np.mean(np.clip((values - low) / max(high - low, 1e-9), 0.0, 1.0)))


def table(
    program: Any, sigmas: Sequence[float], looks: int, encode: Any = None, told: Callable[[float], None] = print
) -> list[dict[str, Any]]:
    """A row for each measure and sigma: ``looks`` steps' probes of the policy that ``program`` starts from.

    ``noisy`` and ``clean`` are means, ``drop`` is clean less noisy, ``spread`` the standard deviation of a step's drop,
    ``spread_noisy`` that of a step's noisy value alone (other problems and perturbations at each); ``noise_kl`` is in
    nats a token, ``reward`` the noisy probes' mean score. The program's rule must be Variant II with a relative target.
    """
    state = program.init()
    measures = Measures(program.learner, encode)
    rows = []
    for sigma in sigmas:
        found, apart, rewards = [], [], []
        for index in range(looks):
            here = at(state, index, program.config.rollout.prompts)
            probes = program.probe(here, sigma, TURN)
            params = program.whole(here).params
            found.append(measures(params, probes))
            apart.append(_noise_kl(program, params, probes))
            rewards.append(_reward(program, here, probes))
        told(sigma)
        shared = {"noise_kl": float(np.mean(apart)), "reward": float(np.mean(rewards))}
        for name in found[0]:
            noisy, clean = np.array([one[name] for one in found]).T
            drop = clean - noisy
            values = {"noisy": noisy.mean(), "clean": clean.mean(), "drop": drop.mean()}
            spreads = {"spread": drop.std(ddof=1), "spread_noisy": noisy.std(ddof=1)}
            kept = {key: float(value) for key, value in (values | spreads).items()}
            rows.append({"name": name, "sigma": float(sigma)} | kept | shared)
    return rows


def _noise_kl(program: Any, params: Any, probes: scale.Probes) -> float:
    """The k1 estimate of KL(noisy || clean), nats a token."""
    answers = probes.answers
    mask = np.asarray(token_mask(jnp.asarray(answers.lengths), answers.tokens.shape[-1]))
    apart = answers.log_probs - program.log_probs(params, probes.prompts, answers)
    return float(np.sum(apart * mask) / np.sum(mask))


def _reward(program: Any, state: Any, probes: scale.Probes) -> float:
    problems = program.problems.train
    asked = [problems.problem(int(state.position) + index) for index in range(len(probes.texts))]
    each = [problem for problem, texts in zip(asked, probes.texts, strict=True) for _ in texts]
    return float(np.mean(program.problems.reward(each, [text for texts in probes.texts for text in texts])))

"""Pieces of a user's own, one file each, as they would be written: all that a reasoning run can be given."""

TASK = '''
from dataclasses import dataclass
from typing import Annotated

from jaxpsn.core import Whole
from jaxpsn.tasks.problem import TASKS, Procedural


@TASKS.register("reverse")
@dataclass(frozen=True)
class Reverse(Procedural):
    """Digits the other way round."""

    digits: Annotated[int, Whole(1, 6)] = 2
    alphabet = "0123456789>"

    @property
    def max_prompt(self):
        return self.digits + 1

    @property
    def max_answer(self):
        return self.digits

    def draw(self, rng, narrow):
        text = "".join(rng.choice("0123456789") for _ in range(self.digits))
        return f"{text}>", text[::-1]

    def check(self, problem, answer):
        return answer.strip() == problem.answer
'''

REWARD = '''
from dataclasses import dataclass

from jaxpsn.core import Count
from jaxpsn.tasks.rewards import REWARDS, Reward


@REWARDS.register("brevity")
@dataclass(frozen=True)
class Brevity(Reward):
    """1 for a short answer."""

    limit: Count = 1

    def score(self, prompts, answers, problems):
        return [float(len(answer) <= self.limit) for answer in answers]
'''

ADVANTAGE = '''
from dataclasses import dataclass

import jax.numpy as jnp

from jaxpsn.core import Positive
from jaxpsn.rlvr.objective.algorithms import ADVANTAGES, Advantage


@ADVANTAGES.register("signs")
@dataclass(frozen=True)
class Signs(Advantage):
    """Above or below the mean of the group."""

    size: Positive = 1.0

    def compute(self, rewards):
        return self.size * jnp.sign(rewards - jnp.mean(rewards, axis=1, keepdims=True))
'''

LOSS = '''
from dataclasses import dataclass

import jax.numpy as jnp

from jaxpsn.core import Fraction
from jaxpsn.rlvr.objective.algorithms import LOSSES, Loss


@LOSSES.register("leaning")
@dataclass(frozen=True)
class Leaning(Loss):
    """Log-likelihood that counts bad answers less."""

    share: Fraction = 0.5

    def tokens(self, log_probs, log_clean_old, advantages, mask):
        leaning = jnp.where(advantages < 0.0, self.share * advantages, advantages)
        return -leaning[..., None] * jnp.where(mask, log_probs, 0.0), {}
'''

CORRECTION = '''
from dataclasses import dataclass

from jaxpsn.core import Fraction
from jaxpsn.rlvr.objective.corrections import CORRECTIONS, Correction


@CORRECTIONS.register("tempered")
@dataclass(frozen=True)
class Tempered(Correction):
    """A power of the ratio of each token."""

    power: Fraction = 0.5

    def weigh(self, ratio, mask):
        return ratio**self.power
'''

RULE = '''
from dataclasses import dataclass

import jax.numpy as jnp

from jaxpsn.core import Fraction, Positive
from jaxpsn.noise import Scale
from jaxpsn.noise.scale_rules import SCALES, ScaleRule
from jaxpsn.noise.scales import ScaleState


@SCALES.register("decay")
@dataclass(frozen=True)
class Decay(ScaleRule):
    """Less noise after every step."""

    initial: Positive = 0.4
    factor: Fraction = 0.5

    def build(self, start, run):
        return Scale(
            lambda start: ScaleState(jnp.asarray(start, jnp.float32)),
            lambda state, signals: ScaleState(state.sigma * self.factor),
        )
'''

MODEL = '''
from dataclasses import dataclass

from jaxpsn.lm.model_families import MODELS, ModelFamily


@MODELS.register("plainest")
@dataclass(frozen=True)
class Plainest(ModelFamily):
    """A decoder that is said to have norms of heads."""

    architecture = "PlainestForCausalLM"

    def read(self, source):
        return {"qk_norm": source.flag("head_norms")}

    def fits(self, config):
        return not config.qkv_bias

    def write(self, config):
        return {"head_norms": config.qk_norm}
'''

PIECES = {
    "task": TASK, "reward": REWARD, "advantage": ADVANTAGE, "loss": LOSS, "correction": CORRECTION, "sigma": RULE,
    "model": MODEL,
}  # fmt: skip
"""Family -> the file of one of its components."""


def write(folder):
    """The files of all pieces, by family."""
    found = {}
    for family, text in PIECES.items():
        found[family] = folder / f"my_{family}.py"
        found[family].write_text(text)
    return found


def flags(files):
    """``--plugin FILE`` for each of the files."""
    return [word for file in files.values() for word in ("--plugin", str(file))]

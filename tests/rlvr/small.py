"""A decoder of a few thousand weights on two-term sums, and programs of it with a verdict that both answers get."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxpsn.lm import config as decoders
from jaxpsn.lm import model
from jaxpsn.lm.tokenizer import CharTokenizer
from jaxpsn.noise.scales import ScaleState
from jaxpsn.rlvr import data, gathering, program
from jaxpsn.rlvr.base import Base
from jaxpsn.rlvr.config import AlgorithmConfig, EvaluationConfig, RlvrConfig, RolloutConfig
from jaxpsn.rlvr.exploration.noises import Psn
from jaxpsn.rlvr.placement import Placement
from jaxpsn.rlvr.program import Problems, Reasoner
from jaxpsn.tasks.problem import TASKS

TASK = TASKS.get("chain_sum")(terms=2, digits=1)
WORDS = CharTokenizer(TASK.alphabet)
# 40 x 120 entries are the fewest that low-rank noise does not treat as a small, dense head.
DECODER = decoders.tiny(WORDS.vocab_size, 40, 1, 2)
LIMIT = TASK.max_answer + 1
PROMPTS, SAMPLES = 4, 4


def weights(scale=6.0):
    """Random weights whose policy has opinions: at the usual scale of 0.02 all tokens are equally likely."""
    drawn = model.init(DECODER, jax.random.key(3))

    def grown(path, leaf):
        return leaf if path[-1].key == "scale" else scale * leaf

    return jax.tree_util.tree_map_with_path(grown, drawn)


COMPILED = {}
BASE = Base(DECODER, weights(), WORDS, None)


def even(problems, texts):
    """1 for texts whose digits add up to an even number: both verdicts are common, whatever the problem."""
    return [float(sum(map(int, filter(str.isdigit, text))) % 2 == 0) for text in texts]


def config(**sections):
    """A config of small sizes; ``noise=dict(...)`` and the like change fields of its sections; or noise as a text.

    ``sigma``: the rule as a text.
    """
    kinds = {"rollout": RolloutConfig, "algorithm": AlgorithmConfig, "evaluation": EvaluationConfig}
    asked, rule = sections.pop("noise", {}), sections.pop("sigma", "fixed(0.5)")
    noise = asked if isinstance(asked, str) else Psn(sigma=rule, **asked)
    small = {
        "rollout": {"prompts": PROMPTS, "samples": SAMPLES},
        "algorithm": {"warmup": 0},
        "evaluation": {"problems": 4, "samples": 8, "monitor_problems": 4, "monitor_samples": 2},
    }
    made = {name: kind(**(small.get(name, {}) | sections.pop(name, {}))) for name, kind in kinds.items()}
    return RlvrConfig(**{"task": "chain_sum", "noise": noise, **made, **sections})


def reasoner(settings, grade=even, base=BASE, total=8, seed=0, source=None, open_log=None):
    """The program of ``settings`` on endless sums."""
    source = source or data.Generated(TASK, "train", seed)
    test = TASK.distinct("test", 0, 8)
    problems = Problems(TASK, source, test, grade, grade, TASK.max_prompt, LIMIT)
    return Reasoner(settings, base, problems, seed, total, open_log)


def host(tree):
    """Copies on the host."""
    return jax.tree.map(lambda leaf: np.array(leaf, copy=True), tree)


def same(a, b):
    """Whether two trees of arrays are equal bit for bit."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(np.asarray(x), np.asarray(y), equal_nan=True) for x, y in pairs)


class Rows:
    """A log that keeps what it is given."""

    def __init__(self, path=None, kept=-1):
        self.rows, self.calls = [], []

    def write(self, rows):
        """Keep."""
        self.rows += rows

    def sync(self):
        """Note."""
        self.calls.append("sync")

    def close(self):
        """Note."""
        self.calls.append("close")


def gatherer(settings, grade=even, source=None):
    """What draws and verifies the answers of ``settings``."""
    noise, probe_noise = program.perturbations(settings, DECODER, BASE.params)
    plan = gathering.plan(settings, noise, probe_noise)
    source = source or data.Generated(TASK, "train", 0)
    made = gathering.Gatherer(
        settings, DECODER, WORDS, source, grade, plan, TASK.max_prompt, LIMIT, Placement(settings.mesh)
    )
    # The programs are the same whatever the problems, the verdict and the number of refills.
    name = repr(dataclasses.replace(settings, rollout=dataclasses.replace(settings.rollout, refills=0)))
    made._draw = COMPILED.setdefault(name, made._draw)
    return made


def state(sigma=0.5, clock=0, position=0, seed=0):
    """As much of a state as gathering looks at."""
    return program.RlvrState(
        clock=jnp.int32(clock),
        updates=jnp.int32(0),
        params=BASE.params,
        opt_state=None,
        sigma=ScaleState(jnp.float32(sigma)),
        position=jnp.int32(position),
        key=jax.random.key(seed),
    )

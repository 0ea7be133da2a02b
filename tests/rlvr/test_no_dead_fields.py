"""Every field of every component of reasoning changes what the component does; what would change nothing is refused."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.core import errors, fields
from jaxpsn.core.components import Nested, fields_of
from jaxpsn.lm.model_families import MODELS
from jaxpsn.noise import Posterior
from jaxpsn.noise.scale_rules import SCALES, Run, begins
from jaxpsn.rlvr.config import AlgorithmConfig, RlvrConfig, RolloutConfig
from jaxpsn.rlvr.exploration import perturbation, sigma
from jaxpsn.rlvr.exploration.likeness import SIMILARITIES
from jaxpsn.rlvr.exploration.noise_family import NOISES
from jaxpsn.rlvr.exploration.noises import Psn
from jaxpsn.rlvr.exploration.rules import Probed
from jaxpsn.rlvr.objective import correction, losses
from jaxpsn.rlvr.objective.algorithms import ADVANTAGES, LOSSES
from jaxpsn.rlvr.objective.corrections import CORRECTIONS, GATES
from jaxpsn.rlvr.objective.gating import Seen
from jaxpsn.run.reasoning import inputs
from jaxpsn.tasks import rewards
from jaxpsn.tasks.problem import TASKS, Problem

RNG = np.random.default_rng(0)
REWARDS_SEEN = jnp.asarray(RNG.integers(0, 2, (6, 8)), jnp.float32)
LIKELY = jnp.asarray(RNG.normal(-20.0, 5.0, (6, 8)), jnp.float32)
# Answers that are likelier, and less likely, than they were, by little and by much; both signs of advantages for each.
OLD = -RNG.uniform(0.0, 3.0, (16, 6))
MOVED = np.repeat(np.array([0.01, -0.01, 0.15, -0.15, 0.4, -0.4, 2.0, -2.0]), 2)[:, None]
TOKENS = {"new": OLD + MOVED, "old": OLD, "noisy": OLD - MOVED + 0.02 * RNG.normal(size=OLD.shape)}
TOKENS = {name: jnp.asarray(value, jnp.float32) for name, value in TOKENS.items()}
MASK = jnp.asarray(np.arange(6) < np.resize([6, 3, 5, 2], 16)[:, None])
KIN = jnp.asarray(np.resize([1.0, -2.0], 16), jnp.float32)
SEEN = Seen(TOKENS["old"], TOKENS["noisy"], MASK, KIN)
FAMILIES = (TASKS, rewards.REWARDS, ADVANTAGES, LOSSES, CORRECTIONS, GATES, SCALES, SIMILARITIES, NOISES, MODELS)


def of_task(task, small):
    found = [task.problem(0, index, split) for split in ("pretrain", "train") for index in range(30)]
    return [(problem.prompt, problem.answer) for problem in found], task.alphabet


def of_reward(reward, small):
    with rewards.Scorer(reward, lambda problems, texts: [1.0] * len(texts)) as scorer:
        return scorer([Problem("a", "1+1=", "2", "sums")], ["2"])


def of_loss(loss, small):
    settings = losses.Settings(loss, length=7)
    value, metrics = losses.policy_loss(TOKENS["new"], TOKENS["old"], KIN, MASK, jnp.ones((16, 6)), settings)
    return float(value), {name: float(one) for name, one in metrics.items()}


def of_correction(one, small):
    return correction.weights(one, *SEEN).tolist()


def of_gate(one, small):
    gated = CORRECTIONS.get("none")(gate=one)
    return correction.weights(gated, *SEEN).tolist(), correction.learnt(gated, SEEN).tolist()


def of_rule(rule, small):
    """Sigma over signals that go up and down, near and far; who probes; and what is read for it."""
    config = RlvrConfig(noise=Psn(sigma=rule), rollout=RolloutConfig(samples=8))
    controller, found = sigma.told(rule.build(rule.start, Run(10, 15))), []
    state = controller.init(rule.start)
    for far in (0.0051, 0.5, 0.0001, 0.004, 0.006, *[0.3] * 8, *[1e-9] * 60):
        told = {"noise_kl_k1": far, "noise_kl_k3": far * far, "similarity": 0.2 + far, "clean_similarity": 0.24}
        told |= {"certainty": jnp.asarray([0.5, 1.0 + far]), "confidence": jnp.asarray([0.3, 2.0 * far])}
        told |= {"clean_certainty": jnp.asarray([0.4, 1.1 + far]), "clean_confidence": jnp.asarray([0.2, 1.2 + far])}
        state = controller.update(state, {name: jnp.asarray(value, jnp.float32) for name, value in told.items()})
        found.append(float(state.sigma))
    counts = config.probes, config.early_samples, config.probe_members, config.clean_samples
    own = rule.similarity if isinstance(rule, Probed) else None
    return found, rule.start, rule.bounds, counts, own, inputs.named(config)


def of_likeness(one, small):
    place = SimpleNamespace(jit=lambda *_: None, whole=lambda: None)
    learner = SimpleNamespace(place=place, pooled=None, places=lambda: ())
    drawn = (np.random.default_rng(1).normal(size=(2, 3, 5)) + 1.0).astype(np.float32)
    answers = SimpleNamespace(pooled=drawn, sigma=np.zeros(1))
    measure = one.measure(learner, lambda texts: drawn.reshape(6, 5))
    texts = [["12", "21"], ["3", "3"], ["4", "45"]]
    config = RlvrConfig(noise=Psn(sigma=SCALES.get("composite")(similarity=one)))
    return np.asarray(measure(None, None, answers, texts)).tolist(), inputs.named(config)


def of_noise(noise, small):
    algorithm = AlgorithmConfig(estimator="pooled", correction="none") if noise.learnt else AlgorithmConfig()
    config = RlvrConfig(noise=noise, rollout=RolloutConfig(samples=8), algorithm=algorithm)
    members, params = config.members, small.BASE.params
    plan = perturbation.plan(noise, small.DECODER, params, members, config.noisy_samples // max(members, 1))
    told = members, config.clean_samples, config.sigma
    if not noise.learnt:
        return repr(plan), *told
    made = noise.optimizer(lambda count: 0.1, 1.0, plan.spec)
    scales, state = noise.scales(made.init(params), plan.spec), made.init(params)
    for _ in range(2):
        change, state = made.update(Posterior(params, scales), state, params)
    moved = [float(jnp.sum(leaf)) for leaf in jax.tree.leaves((change, noise.scales(state, plan.spec)))]
    return repr(plan._replace(learnt=None)), moved, *told


BEHAVIOUR = {
    "task": of_task, "reward": of_reward, "loss": of_loss, "correction": of_correction, "gate": of_gate,
    "scale": of_rule, "similarity": of_likeness, "noise": of_noise,
    "advantage": lambda one, small: one.compute(one.shaped(REWARDS_SEEN, LIKELY)).tolist(),
    "model": lambda one, small: one.architecture,
}  # fmt: skip
OWN = Path(__file__).with_name("own_rewards.py")
TEXTS = {
    "source": (f"{OWN}:ones", f"{OWN}:lengths"), "operators": ("+-", "+*"), "select": ("attention", "norms"),
    "folder": ("one", "other"),
}  # fmt: skip
NUMBERS = (0.5, 0.3, 2, 0.1, 1.5, 3, 5, 6, 8, 4, 0.9, 12, 0.01, 50)
TOGETHER = {
    ("composite", "normalisation"): {"rate": 9.0, "initial": 0.01}, ("composite", "target"): {"drop": None},
    ("psn", "replicas"): {"per": "replica"},
    ("ivon", "replicas"): {"per": "replica"}, ("token", "of"): {"high": 1.5}, ("max", "of"): {"high": 1.5},
    ("composite", "probe_policy"): {"drop": None, "target": 0.5},
}  # fmt: skip
"""What a field needs beside it."""
NEEDED = {"bert": {"folder": "some"}, "function": {"source": TEXTS["source"][0]}}
ELSEWHERE = {("function", "seconds"): "tests/tasks/test_reward_functions.py ends a function that hangs"}


def values(kind, name):
    """Other values that a field of this kind might take."""
    if isinstance(kind, fields.Maybe):
        return (*values(kind.of, name), None)
    if isinstance(kind, fields.Flag):
        return True, False
    if isinstance(kind, fields.Choice):
        return kind.names
    if isinstance(kind, Nested):
        pairs = ("dense(antithetic=true)",) if name == "structure" else ()
        return (*(other for other in kind.base.family.kinds if other != "bert"), *pairs)
    return TEXTS[name] if isinstance(kind, fields.Text) else NUMBERS


def components():
    """Each component that comes with the package, with each of its fields."""
    for family in FAMILIES:
        for name in family.modules:
            family.get(name)
        for name, kind in family.kinds.items():
            fits = family is not SCALES or begins(kind) or kind.reads  # the others are refused here
            if kind.__module__.startswith("jaxpsn.") and fits:
                fields_here = (one.name for one in fields_of(kind) if (name, one.name) not in ELSEWHERE)
                yield from ((family.name, name, field) for field in fields_here)


ALL = list(components())


@pytest.mark.parametrize(("family", "name", "field"), ALL, ids=[f"{name}.{field}" for _, name, field in ALL])
def test_every_field_changes_what_its_component_does(small, family, name, field):
    kind = next(one for one in FAMILIES if one.name == family).get(name)
    (known,) = (one for one in fields_of(kind) if one.name == field)
    base = kind(**NEEDED.get(name, {}))
    for together in ({}, TOGETHER.get((name, field), {})):
        found = set()
        for value in (*values(known.kind, field), *([] if known.required else [known.default])):
            try:
                found.add(repr(BEHAVIOUR[family](dataclasses.replace(base, **together, **{field: value}), small)))
            except errors.UserError:
                continue
            if len(found) > 1:
                return
    pytest.fail(f"{name}.{field} changes nothing")


def test_the_walk_sees_all_components():
    assert len(ALL) > 60 and {family for family, _, _ in ALL} >= {one.name for one in FAMILIES} - {"model"}

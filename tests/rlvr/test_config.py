"""What a reasoning config refuses, in one line; and the numbers it works out for others."""

import dataclasses
import subprocess
import sys

import pytest

from jaxpsn.core.errors import UserError
from jaxpsn.rlvr import advantages, correction, losses, names, sigma
from jaxpsn.rlvr.config import (
    AlgorithmConfig,
    DecoderSize,
    EvaluationConfig,
    NoiseConfig,
    PretrainConfig,
    RlvrConfig,
    RolloutConfig,
    SigmaConfig,
)
from jaxpsn.rlvr.presets import PRESETS

SECTIONS = {
    "decoder": DecoderSize, "pretrain": PretrainConfig, "rollout": RolloutConfig, "noise": NoiseConfig,
    "sigma": SigmaConfig, "algorithm": AlgorithmConfig, "evaluation": EvaluationConfig,
}  # fmt: skip


def make(**given):
    """A config from dicts for its sections; groups of eight unless they say otherwise."""
    given["rollout"] = {"samples": 8} | given.get("rollout", {})
    made = {name: SECTIONS[name](**value) if name in SECTIONS else value for name, value in given.items()}
    return RlvrConfig(**made)


REFUSED = [
    (dict(rollout={"samples": 1}), "samples = 1: at least 2"),
    (dict(rollout={"prompts": 0}), "rollout.prompts = 0"),
    (dict(rollout={"temperature": 0.0}), "rollout.temperature = 0.0: a number above 0"),
    (dict(rollout={"max_tokens": 0}), "rollout.max_tokens = 0"),
    (dict(rollout={"segment": -1}), "rollout.segment = -1"),
    (dict(rollout={"segment": 4}, mesh="data=2"), "rollout.segment = 4: 0 on a mesh"),
    (dict(rollout={"prompts": 6}, algorithm={"mini_batches": 4}), "algorithm.mini_batches = 4: a divisor of 6"),
    (
        dict(rollout={"prompts": 6}, algorithm={"mini_batches": 2, "micro_batches": 2}),
        "algorithm.micro_batches = 2: a divisor of the 3 prompts",
    ),
    (dict(algorithm={"advantage": "pass_at_k", "k": 8}), "k = 8: below the group's 8 samples"),
    (dict(algorithm={"advantage": "grpo"}), "algorithm.advantage = 'grpo'"),
    (dict(algorithm={"loss": "pp0"}), "algorithm.loss = 'pp0': unknown; nearest: ppo"),
    (dict(algorithm={"correction": "tokens"}), "algorithm.correction = 'tokens'"),
    (
        dict(algorithm={"normalise_weights": True, "correction": "none"}),
        "algorithm.normalise_weights = True: a correction",
    ),
    (dict(data_kind="math"), "data_kind = 'math': only together with data"),
    (dict(algorithm={"floor": 11.0}), "algorithm.floor = 11.0"),
    (dict(algorithm={"cap": 2.0, "floor": 2.5}), "algorithm.floor = 2.5"),
    (dict(algorithm={"correction": "sequence_mask", "cap": 0.9}), "algorithm.cap = 0.9"),
    (dict(algorithm={"correction": "token_mask", "floor": 1.5}), "algorithm.floor = 1.5"),
    (dict(algorithm={"correction": "none", "cap": 2.0}), "algorithm.cap = 2.0: nothing with"),
    (dict(algorithm={"correction": "none", "floor": 0.0}), "algorithm.floor = 0.0: nothing with"),
    (dict(algorithm={"dual_clip": 1.0}), "algorithm.dual_clip = 1.0"),
    (dict(algorithm={"learning_rate": float("nan")}), "algorithm.learning_rate = nan"),
    (dict(noise={"structure": "low_rank"}), "noise.structure = 'low_rank': unknown; nearest: lowrank"),
    (dict(noise={"target": "mpl"}), "noise.target = 'mpl': unknown; nearest: mlp"),
    (dict(noise={"target": "re:("}), "noise.target = 're:(': a regular expression"),
    (dict(noise={"per": "replica", "replicas": 3}), "noise.replicas = 3: a divisor of the 8 noisy answers"),
    (dict(noise={"antithetic": True, "per": "step"}), "noise.antithetic = True: an even number"),
    (
        dict(noise={"antithetic": True, "clean_share": 1 / 8}),
        "noise.antithetic = True: an even number of perturbations; here 7",
    ),
    (
        dict(
            noise={"antithetic": True},
            sigma={"rule": "composite", "probe_policy": "noisy", "probes": 3, "reuse_probes": False},
        ),
        "noise.antithetic = True: an even number of probes; here 3",
    ),
    (dict(sigma={"low": 0.2, "high": 0.1}), "sigma.high = 0.1"),
    (dict(sigma={"rate": 1.0}), "sigma.rate = 1.0: a number above 1"),
    (dict(sigma={"similarity": "bert"}), "sigma.bert = None: the folder of an encoder"),
    (dict(sigma={"normalisation": "fixed"}), "sigma.normalisation = 'fixed': running or batch, as nothing bounds KL(U"),
    (dict(sigma={"rule": "composite", "probe_policy": "clean"}), "sigma.probe_policy = 'clean': noisy, as sigma moves"),
    (dict(sigma={"indicator_drop": 0.0}), "sigma.indicator_drop = 0.0"),
    (dict(sigma={"gain": 0.0}), "sigma.gain = 0.0"),
    (dict(sigma={"rule": "composite", "probes": 8}), "sigma.probes = 8: few enough to leave noisy answers"),
    (dict(sigma={"rule": "composite", "probes": 9, "probe_policy": "noisy"}), "sigma.probes = 9"),
    (dict(sigma={"rule": "composite"}, noise={"structure": "none"}), "sigma.rule = 'composite': a rule for noise"),
    (dict(sigma={"rule": "composite"}, noise={"clean_share": 1.0}), "sigma.probes = 2: few enough"),
    (dict(data="x.jsonl"), "data = 'x.jsonl': only together with model"),
    (dict(test_data="x.jsonl"), "test_data = 'x.jsonl': only together with data"),
    (dict(decoder={"hidden_size": 10, "num_heads": 4}), "decoder.num_heads = 4: a divisor of hidden_size = 10"),
]  # fmt: skip


@pytest.mark.parametrize("given, said", REFUSED, ids=[said[:40] for _, said in REFUSED])
def test_bad_values_are_refused_in_one_line(given, said):
    with pytest.raises(UserError) as caught:
        make(**given)
    assert said in str(caught.value) and "\n" not in str(caught.value)


COUNTS = [
    # structure, per, share, rule, policy, reuse -> clean, noisy, members, members of probes, of a group of 8
    (("none", "sample", 0.0, "fixed", "clean", True), (8, 0, 0, 0)),
    (("lowrank", "sample", 0.0, "kl", "clean", True), (0, 8, 8, 0)),
    (("lowrank", "sample", 0.25, "kl", "clean", True), (2, 6, 6, 0)),
    (("lowrank", "step", 0.25, "kl", "clean", True), (2, 6, 1, 0)),
    (("dense", "replica", 0.0, "kl", "clean", True), (0, 8, 2, 0)),
    (("lowrank", "sample", 1.0, "kl", "clean", True), (8, 0, 0, 0)),
    (("lowrank", "sample", 0.0, "composite", "clean", True), (2, 6, 6, 0)),
    (("lowrank", "sample", 0.5, "composite", "clean", True), (4, 4, 4, 0)),
    (("lowrank", "sample", 0.0, "composite", "clean", False), (0, 8, 8, 0)),
    (("lowrank", "sample", 0.25, "composite", "noisy", True), (2, 4, 4, 2)),
    (("lowrank", "sample", 0.0, "composite", "noisy", False), (0, 8, 8, 2)),
    (("dense", "step", 0.0, "composite", "noisy", True), (0, 6, 1, 1)),
]


@pytest.mark.parametrize("given, counts", COUNTS)
def test_who_answers(given, counts):
    structure, per, share, rule, policy, reuse = given
    config = make(
        noise={"structure": structure, "per": per, "clean_share": share, "replicas": 2},
        sigma={"rule": rule, "probe_policy": policy, "reuse_probes": reuse, "indicator_target": 0.5},
    )
    found = config.clean_samples, config.noisy_samples, config.members, config.probe_members
    assert found == counts
    probes = config.early_samples if policy == "noisy" else 0
    assert config.clean_samples + config.noisy_samples + probes == 8


def test_names_are_those_of_the_registries():
    assert set(names.ADVANTAGES) == set(advantages.ADVANTAGES)
    assert set(names.LOSSES) == set(losses.LOSSES)
    assert set(names.CORRECTIONS) == set(correction.CORRECTIONS)
    assert set(names.KL_ESTIMATORS) == set(losses.KL_ESTIMATORS)
    for certainty in names.CERTAINTIES:
        for normalisation in names.NORMALISATIONS:
            sigma.composite(0.5, certainty=certainty, normalisation=normalisation)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_say_what_they_are(name):
    config = PRESETS[name]
    assert dataclasses.replace(config) == config
    if config.sigma.rule == "composite":
        assert config.sigma.relative and config.sigma.probe_policy == "noisy", (
            "sigma moves what its target is compared with"
        )
    if name.startswith("paper"):
        assert (config.noise.structure, config.noise.per, config.noise.target) == ("dense", "step", "mlp")
        assert (config.algorithm.correction, config.algorithm.cap, correction.CAP) == ("token", None, 10.0)
        assert not config.noise.relative and config.algorithm.kl_estimator == "k3"


def test_config_and_presets_need_no_jax():
    code = "import sys, jaxpsn.run.jobs.rlvr; sys.exit('jax' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

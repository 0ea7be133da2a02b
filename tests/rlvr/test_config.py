"""What a reasoning config refuses, in one line; and the numbers it works out for others."""

import dataclasses
import subprocess
import sys

import pytest

from jaxpsn.core.components import spec_of
from jaxpsn.core.errors import UserError
from jaxpsn.rlvr.config import AlgorithmConfig, DecoderSize, EvaluationConfig, PretrainConfig, RlvrConfig, RolloutConfig
from jaxpsn.rlvr.exploration.noises import Psn
from jaxpsn.rlvr.exploration.rules import Composite, Kl
from jaxpsn.rlvr.presets import PRESETS

SECTIONS = {
    "decoder": DecoderSize, "pretrain": PretrainConfig, "rollout": RolloutConfig, "algorithm": AlgorithmConfig,
    "evaluation": EvaluationConfig,
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
    (dict(algorithm={"advantage": "pass_at_k(8)"}), "pass_at_k.k = 8: below the group's 8 samples"),
    (dict(algorithm={"advantage": "group(k=4)"}), "group.k = '4': nothing, as group has no fields"),
    (dict(algorithm={"advantage": "grpo"}), "algorithm.advantage = 'grpo'"),
    (dict(algorithm={"loss": "pp0"}), "algorithm.loss = 'pp0': unknown; nearest: ppo"),
    (dict(algorithm={"loss": "cispo(dual_clip=3)"}), "cispo.dual_clip = '3': unknown; nearest: clip_"),
    (dict(algorithm={"correction": "tokens"}), "algorithm.correction = 'tokens'"),
    (dict(algorithm={"correction": "none(normalise=true)"}), "none.normalise = 'true': unknown; "),
    (dict(algorithm={"overlong_buffer": 4}), "algorithm.overlong_buffer = 4: nothing but with overlong = penalty"),
    (dict(algorithm={"kl_estimator": "k1"}), "algorithm.kl_estimator = 'k1': k3 where kl_coefficient is 0"),
    (dict(data_kind="math"), "data_kind = 'math': only together with data"),
    (dict(verifier="math"), "verifier = 'math': only together with data"),
    (dict(algorithm={"correction": "token(floor=11)"}), "token.floor = 11.0"),
    (dict(algorithm={"correction": "token(cap=2, floor=2.5)"}), "token.floor = 2.5"),
    (dict(algorithm={"correction": "sequence_mask(gate.high=0.9)"}), "sum.high = 0.9: at least 1"),
    (dict(algorithm={"correction": "token(gate=token(low=0.5, high=2, kl=0.1))"}), "token.kl = 0.1: nothing where"),
    (dict(algorithm={"correction": "none(cap=2)"}), "none.cap = '2': unknown; "),
    (dict(algorithm={"loss": "ppo(dual_clip=1)"}), "ppo.dual_clip = 1"),
    (dict(algorithm={"learning_rate": float("nan")}), "algorithm.learning_rate = nan"),
    (dict(noise="psn(structure=low_rank)"), "psn.structure = 'low_rank': unknown; nearest: lowrank"),
    (dict(noise="psn(structure=dense(rank=2))"), "dense.rank = '2': unknown; allowed: antithetic, store"),
    (dict(noise="none(rank=2)"), "none.rank = '2': nothing, as none has no fields"),
    (dict(noise="psn(select=mpl)"), "psn.select = 'mpl': unknown; nearest: mlp"),
    (dict(noise='psn(select="re:(")'), "psn.select = 're:(': a regular expression"),
    (dict(noise="psn(per=replica, replicas=3)"), "noise.replicas = 3: a divisor of the 8 noisy answers"),
    (dict(noise="psn(per=replica)"), "psn.replicas = None: how many samplers"),
    (dict(noise="psn(replicas=2)"), "psn.replicas = 2: none, but with per = replica"),
    (dict(noise="psn(antithetic=true, per=step)"), "noise.structure.antithetic = True: an even number"),
    (
        dict(noise="psn(antithetic=true, clean_share=0.125)"),
        "noise.structure.antithetic = True: an even number of perturbations; here 7",
    ),
    (
        dict(noise="psn(antithetic=true, sigma=composite(probes=3, reuse_probes=false))"),
        "noise.structure.antithetic = True: an even number of probes; here 3",
    ),
    (dict(noise="psn(sigma=kl(low=0.2, high=0.1))"), "kl.high = 0.1"),
    (dict(noise="psn(sigma=kl(rate=1))"), "kl.rate = 1: a number above 1"),
    (dict(noise="psn(sigma=fixed(target=1))"), "fixed.target = '1': unknown"),
    (dict(noise="psn(sigma=composite(similarity=bert))"), "bert.folder is missing"),
    (dict(noise="psn(sigma=composite(similarity=ngram(centre=false)))"), "ngram.centre = 'false': nothing"),
    (dict(noise="psn(sigma=composite(normalisation=fixed))"), "composite.normalisation = 'fixed': running or batch"),
    (dict(noise="psn(sigma=composite(probe_policy=clean))"), "composite.probe_policy = 'clean': noisy, as sigma moves"),
    (dict(noise="psn(sigma=composite(drop=0))"), "composite.drop = 0"),
    (dict(noise="psn(sigma=composite(target=0.5))"), "composite.target = 0.5: none where drop is given"),
    (dict(noise="psn(sigma=composite(drop=none))"), "composite.target = None: none where drop is given, else a number"),
    (dict(noise="psn(sigma=composite(gain=0))"), "composite.gain = 0"),
    (dict(noise="psn(sigma=composite(probes=8))"), "sigma.probes = 8: few enough to leave noisy answers"),
    (dict(noise="psn(sigma=composite(probes=9))"), "sigma.probes = 9"),
    (dict(noise="psn(clean_share=1, sigma=composite)"), "sigma.probes = 2: few enough"),
    (dict(task="countdown(digits=2)"), "countdown.digits = '2': unknown"),
    (dict(reward="verifer"), "reward = 'verifer': unknown; nearest: verifier"),
    (dict(reward="verifier + verifier"), "reward = 'verifier + verifier': verifier once only"),
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
    sigma = {
        "fixed": "fixed",
        "kl": "kl",
        "composite": Composite(None, 0.5, probe_policy=policy, reuse_probes=reuse),
    }[rule]
    replicas = 2 if per == "replica" else None
    noise = (
        "none" if structure == "none" else Psn(structure, per=per, clean_share=share, replicas=replicas, sigma=sigma)
    )
    config = make(noise=noise)
    found = config.clean_samples, config.noisy_samples, config.members, config.probe_members
    assert found == counts
    probes = config.early_samples if policy == "noisy" else 0
    assert config.clean_samples + config.noisy_samples + probes == 8


@pytest.mark.parametrize("name", PRESETS)
def test_presets_say_what_they_are(name):
    config = PRESETS[name]
    assert dataclasses.replace(config) == config
    if isinstance(config.sigma, Composite):
        assert config.sigma.relative and config.sigma.probe_policy == "noisy", (
            "sigma moves what its target is compared with"
        )
    if name.startswith("paper"):
        assert (spec_of(config.noise.structure), config.noise.per, config.noise.select) == ("dense", "step", "mlp")
        assert (spec_of(config.algorithm.correction), config.algorithm.correction.cap) == ("token", 10.0)
        assert not config.noise.relative and config.algorithm.kl_estimator == "k3"


def test_a_rule_belongs_to_its_noise():
    assert RlvrConfig().sigma == Kl() and RlvrConfig(noise="none").sigma.initial == 0.0
    assert RlvrConfig(noise="psn(sigma=fixed(0.4))").sigma.initial == 0.4


def test_config_and_presets_need_neither_physics_nor_plots():
    names = ("brax", "mujoco", "matplotlib", "transformers", "orbax.checkpoint", "math_verify")
    code = f"import sys, jaxpsn.run.jobs.rlvr; sys.exit(any(name in sys.modules for name in {names}))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

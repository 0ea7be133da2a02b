"""Adapters on a frozen decoder: the same function and gradient as merged weights, checkpoints of adapters alone."""

import json
import zlib
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from jaxpsn import cli
from jaxpsn.adapters import peft
from jaxpsn.core.errors import UserError
from jaxpsn.lm import lora, model
from jaxpsn.lm.folders import hub
from jaxpsn.lm.folders.places import SINGLE
from jaxpsn.rlvr import learner, presets, setup
from jaxpsn.rlvr.config import AlgorithmConfig, EvaluationConfig, LoraConfig, PretrainConfig, RlvrConfig, RolloutConfig
from jaxpsn.rlvr.placement import Placement
from jaxpsn.run import folder, loop, progress
from jaxpsn.run.checkpoints import store
from jaxpsn.run.config import RunConfig
from jaxpsn.run.loggers import sinks
from jaxpsn.run.reasoning import judging, origins, stages

ASKED = LoraConfig(rank=2, alpha=6.0)
pytestmark = pytest.mark.usefixtures("optimised")  # weights of two programs, to the last bit


def adapters(decoder, seed=5):
    """Adapters of which both factors are there."""
    start = lora.init(decoder, 2, "linear", jax.random.key(seed))
    flat, tree = jax.tree.flatten(start)
    keys = jax.random.split(jax.random.key(seed + 1), len(flat))
    moved = [leaf + 0.2 * jax.random.normal(key, leaf.shape) for leaf, key in zip(flat, keys, strict=True)]
    return start, jax.tree.unflatten(tree, moved)


def test_value_and_gradient_are_those_of_merged_weights(small):
    decoder, params = small.DECODER, small.BASE.params
    begin, moved = adapters(decoder)
    tokens, start = jnp.asarray(np.arange(18).reshape(2, 9) % decoder.vocab_size, jnp.int32), jnp.zeros(2, jnp.int32)

    def surprise(weights):
        hidden, _ = model.hidden_states(decoder, weights, tokens, start)
        found = jax.nn.log_softmax(model.logits(decoder, weights, hidden))
        return -jnp.mean(jnp.take_along_axis(found[:, :-1], tokens[:, 1:, None], axis=2))

    fused, whole = (
        jax.jit(jax.value_and_grad(lambda own, make=make: surprise(make(params, own, ASKED.scale))))
        for make in (lora.joined, lora.merged)
    )
    (value, slopes), (want, steep) = fused(moved), whole(moved)
    np.testing.assert_allclose(value, want, rtol=1e-5)
    for got, expected in zip(jax.tree.leaves(slopes), jax.tree.leaves(steep), strict=True):
        assert np.abs(expected).max() > 0
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-5 * float(np.abs(expected).max()))
    (clean, slopes), plain = fused(begin), jax.jit(surprise)(params)
    np.testing.assert_array_equal(clean, plain), "adapters change nothing before they have learnt"
    rising = [np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(slopes)]
    assert rising == [False, True] * (len(rising) // 2), "B learns first"


def test_alpha_and_targets(small):
    _, own = adapters(small.DECODER)
    whole = [lora.merged(small.BASE.params, own, LoraConfig(2, alpha).scale) for alpha in (None, 2.0, 4.0)]
    kernel = [np.asarray(one["layers"]["mlp"]["up"]["kernel"]) for one in (small.BASE.params, *whole)]
    np.testing.assert_array_equal(kernel[1], kernel[2])
    np.testing.assert_allclose(kernel[3] - kernel[0], 2 * (kernel[1] - kernel[0]), atol=1e-5)
    config = RlvrConfig(lora=LoraConfig(3, targets="mlp"))
    shapes = learner.trained(config, small.DECODER, None)
    assert set(shapes["layers"]) == {"mlp"} and shapes["layers"]["mlp"]["down"]["lora_a"].shape == (1, 120, 3)


def test_what_makes_no_sense_is_refused():
    for fields, words in (
        ({"lora": {"alpha": 4.0}}, "lora.alpha = 4.0: nothing where lora.rank is 0"),
        ({"lora": {"targets": "mlp"}}, "lora.targets"),
        ({"lora": {"rank": -1}}, "lora.rank = -1"),
    ):
        with pytest.raises(UserError, match=words):
            LoraConfig(**fields["lora"])
    with pytest.raises(UserError, match=r"mesh = 'data=2'.*lora.rank"):
        RlvrConfig(lora=LoraConfig(2), mesh="data=2")
    with pytest.raises(UserError, match=r"lora.rank = 2: 0 with estimator = evolution"):
        replace(presets.PRESETS["eggroll"], lora=LoraConfig(2))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of a step under noise whose adapters alone are trained: its program, state and folder."""
    home = tmp_path_factory.mktemp("lora")
    config = replace(
        presets.PRESETS["smoke"],
        task="modular(terms=2)",
        pretrain=PretrainConfig(steps=3, batch_size=8),
        rollout=RolloutConfig(prompts=2, samples=4),
        algorithm=AlgorithmConfig(advantage="none", learning_rate=0.05, correction="none"),
        evaluation=EvaluationConfig(problems=2, samples=2, monitor_problems=2, monitor_samples=2),
        lora=ASKED,
    )
    run = RunConfig(steps=1, chunk=1, eval_every=0, checkpoint_every=1, progress="none", out=str(home), name="run")
    with folder.claim(run, config) as claimed:
        with setup.reasoner(config, 0, 1, home, lambda *_: None, lambda *_: None, sinks.RowLog) as program:
            program._gatherer._grade = mixed
            outcome = loop.train(program, run, claimed)
            setup.export(program, outcome.state, claimed.path / stages.MODEL)
            program._journal = None  # the run is over, and its log closed
            yield program, outcome.state, claimed.path


def mixed(problems, texts):
    """A reward that differs from answer to answer, whatever the policy has learnt."""
    return [zlib.crc32(text.encode()) % 64 / 64 for text in texts]


def test_adapters_alone_learn_and_go_on_bit_for_bit(made, small):
    program, state, path = made
    base, begun = small.host(program.base.params), small.host(program.init().params)
    want, read = small.host(program.weights(state)), store.read(path / "checkpoints", program.template())
    assert jax.tree.structure(state.params) == jax.tree.structure(lora.as_shapes(program.base.decoder, 2, "linear"))
    assert not small.same(small.host(state.params), begun) and not small.same(want, base)
    after, metrics = program.step(state)
    twin, same = program.step(jax.tree.map(jnp.asarray, read.state))
    assert small.same(small.host(after.params), small.host(twin.params)) and metrics["loss"] == same["loss"]
    assert small.same(small.host(after.opt_state), small.host(twin.opt_state)) and metrics["grad_norm"] > 0
    assert small.same(small.host(program.base.params), base), "the base is frozen"


def _linear(part):
    return [module for module in part.values() if "kernel" in module]


def test_a_run_keeps_adapters_and_is_read_back_merged(made):
    _, _, path = made
    origin = origins.find("policy", str(path))
    one = judging.candidate("policy", origin, origin.config)
    found = judging.weights(one, Placement(None), "float32", progress.Progress())
    assert json.loads((path / "config.json").read_text())["config"]["lora"]["rank"] == 2 and found.step == 1
    exported = hub.load(path / stages.MODEL)
    for got, file in zip(*map(jax.tree.leaves, (found.params, exported)), strict=True):
        np.testing.assert_array_equal(got, file)
    apart = judging.weights(one, Placement(None), "float32", progress.Progress(), apart=True).params
    beside = {"kernel", "lora_a", "lora_b"}
    assert all(set(module) == beside for part in ("attention", "mlp") for module in _linear(apart["layers"][part]))
    kept = sum(file.stat().st_size for file in (path / "checkpoints").rglob("*.safetensors"))
    assert kept < 4 * sum(leaf.size for leaf in jax.tree.leaves(exported)), "less than one copy of the weights"


def test_it_is_exported_as_the_frozen_model_and_an_adapter(made, tmp_path, capsys):
    _, _, path = made
    assert cli.main(["export", str(path), "--members", "0", "--out", str(tmp_path / "out")]) == 0
    assert "adapter, what was trained" in capsys.readouterr().out
    tensors, base = load_file(tmp_path / "out/adapter" / peft.TENSORS), load_file(tmp_path / "out/model" / SINGLE)
    for name in {key.partition(".lora_")[0] for key in tensors}:
        change = tensors[f"{name}.lora_B.weight"] @ tensors[f"{name}.lora_A.weight"]
        base[f"{name.removeprefix('base_model.model.')}.weight"] += change
    for name, want in load_file(path / stages.MODEL / SINGLE).items():
        np.testing.assert_allclose(base[name], want, atol=1e-6, err_msg=name)

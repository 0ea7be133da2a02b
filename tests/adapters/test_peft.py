"""Perturbations as PEFT folders: what a reader adds to the base is what our sampler runs with."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from jaxpsn.adapters import peft
from jaxpsn.core.errors import UserError
from jaxpsn.lm import lora, model
from jaxpsn.lm.config import DecoderConfig
from jaxpsn.lm.folders import hub
from jaxpsn.noise import Dense, Flipout, LowRank
from jaxpsn.noise.hold_rules import Steps
from jaxpsn.rlvr.exploration import perturbation
from jaxpsn.rlvr.exploration.noises import Psn
from tests.lm import oracle

CONFIG = DecoderConfig(48, 72, 96, 2, 4, 2, 18, tied=True, max_positions=64)
SIGMA = 0.3


@pytest.fixture(scope="module")
def params():
    return model.init(CONFIG, jax.random.key(0))


ASKED = {
    "mlp, relative": Psn(LowRank(rank=2)),
    "linear, absolute, pairs": Psn(LowRank(rank=1, antithetic=True, dense_head=False), select="linear", relative=False),
}


@pytest.fixture(params=ASKED, scope="module")
def written(request, params, tmp_path_factory):
    """A base, the members of a draw beside it, and what they are formed whole."""
    tmp_path = tmp_path_factory.mktemp("peft")
    plan = perturbation.plan(ASKED[request.param], CONFIG, params, 2, 1)
    draw = plan.draw(jax.random.key(7), 5)
    hub.save(tmp_path / "model", CONFIG, params)
    for member in range(2):
        peft.write(tmp_path / f"{member}", peft.pairs(plan, params, draw, SIGMA, member), str(tmp_path / "model"))
    whole = [plan.kind.materialise(params, draw, SIGMA, member) for member in range(2)]
    return tmp_path, plan, draw, whole


def test_what_a_reader_adds_to_the_base_is_the_perturbation(written, params):
    folder, plan, draw, whole = written
    moved = 0
    for member in range(2):
        told = json.loads((folder / f"{member}" / peft.CONFIG).read_text())
        assert told["r"] == told["lora_alpha"] == plan.kind.rank and told["peft_type"] == "LORA"
        tensors, base = load_file(folder / f"{member}" / peft.TENSORS), load_file(folder / "model/model.safetensors")
        for name in {key.partition(".lora_")[0] for key in tensors}:
            change = tensors[f"{name}.lora_B.weight"] @ tensors[f"{name}.lora_A.weight"]
            base[f"{name.removeprefix('base_model.model.')}.weight"] += change
            assert name.rpartition(".")[2] in told["target_modules"]
        want = dict((name, hub._tensor(*rest)) for name, *rest in hub._checked(CONFIG, whole[member]))
        for name, tensor in base.items():
            np.testing.assert_allclose(tensor, want[name], atol=1e-6, err_msg=name)
        formed = peft.merged(params, peft.pairs(plan, params, draw, SIGMA, member))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), formed, whole[member])
        moved += sum(np.abs(a - b).max() > 1e-3 for a, b in zip(*map(jax.tree.leaves, (formed, params)), strict=True))
    assert moved == 2 * len(plan.spec.leaves)


@pytest.mark.filterwarnings("ignore")  # peft 0.21 asks transformers 5.24 for what that calls old
def test_peft_reads_it(written):
    library = oracle.needed()
    theirs = pytest.importorskip("peft")
    import torch

    folder, _, _, whole = written
    ids = np.random.default_rng(0).integers(0, 48, (1, 20), dtype=np.int32)
    for member in range(2):
        network = library.AutoModelForCausalLM.from_pretrained(folder / "model")
        network = theirs.PeftModel.from_pretrained(network, folder / f"{member}")
        with torch.no_grad():
            logits = network(torch.from_numpy(ids.astype(np.int64))).logits.numpy()
        hidden = model.hidden_states(CONFIG, whole[member], jax.numpy.asarray(ids), jax.numpy.zeros(1, "int32"))[0]
        ours = jax.nn.log_softmax(model.logits(CONFIG, whole[member], hidden))
        np.testing.assert_allclose(jax.nn.log_softmax(logits), ours, atol=1e-4)


@pytest.mark.parametrize(
    ("asked", "parts"),
    [
        (Psn(Dense()), ["noise.structure", "dense", "low-rank"]),
        (Psn(Flipout()), ["noise.structure", "flipout", "low-rank"]),
        (Psn(LowRank(rank=40)), ["noise.structure", "rank=40", "drawn whole"]),
        (Psn(select="norms"), ["noise.select", "scale", "linear layers"]),
        (Psn(LowRank(dense_head=False), select="all"), ["noise.select", "linear layers"]),
        (Psn(hold=Steps(4)), ["noise.hold", "steps(n=4)", "episode"]),
    ],
)
def test_what_no_adapter_holds_is_refused_by_name(params, asked, parts):
    plan = perturbation.plan(asked, CONFIG, params, 1, 1)
    with pytest.raises(UserError) as caught:
        peft.check(plan)
    assert "\n" not in str(caught.value) and all(part in str(caught.value) for part in parts), str(caught.value)


def test_a_bias_has_no_place(params):
    config = replace(CONFIG, qkv_bias=True, family="qwen2")
    params = model.init(config, jax.random.key(0))
    plan = perturbation.plan(Psn(LowRank(dense_head=False), select="linear"), config, params, 1, 1)
    with pytest.raises(UserError, match="bias"):
        peft.check(plan)


def test_a_trained_adapter_and_a_perturbation_stand_side_by_side(params):
    drawn = lora.init(CONFIG, 3, "attention", jax.random.key(1))
    adapters = jax.tree.map(lambda leaf: leaf + 0.1, drawn)
    plan = perturbation.plan(Psn(LowRank(rank=2)), CONFIG, params, 1, 1)
    noise = peft.pairs(plan, params, plan.draw(jax.random.key(7), 5), SIGMA, 0)
    own = peft.trained(adapters, 2.0)
    both = peft.together(own, noise)
    assert set(both) == {*own, *noise} and {pair.down.shape[1] for pair in both.values()} == {5}
    want = peft.merged(lora.merged(params, adapters, 2.0), noise)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), peft.merged(params, both), want)

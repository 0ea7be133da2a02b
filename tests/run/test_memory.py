"""Memory is worked out before it is taken, and where it ran out one line says what to lower."""

import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxpsn.control import program as programs
from jaxpsn.control.config import ControlConfig
from jaxpsn.control.presets import PRESETS
from jaxpsn.core.errors import UserError
from jaxpsn.rlvr import sizes
from jaxpsn.rlvr.config import DecoderSize, RlvrConfig, RolloutConfig
from jaxpsn.rlvr.placement import Placement
from jaxpsn.run import chunk, loop, memory, startup
from jaxpsn.run.config import RunConfig

SMOKE = PRESETS["smoke"]


def state(config=SMOKE, seeds=1):
    made = programs.make(config, 10)
    return made, jax.eval_shape(chunk.make_init(made, seeds), jax.eval_shape(lambda: chunk.seed_keys(0, seeds)))


def test_the_parts_of_a_state_are_its_bytes():
    made, template = state()
    parts = memory.parts(made, template)
    real = jax.jit(made.init)(jax.random.key(0), made.hyper)
    leaves = [jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x
              for x in jax.tree.leaves(real)]  # fmt: skip
    assert sum(size for name, (size, _) in parts.items() if name != "batches") == sum(x.nbytes for x in leaves)
    transition = 4 + 4 + 4 + 1 + 1 + 4  # observation, action, reward, two flags, next observation
    assert parts["replay"] == (SMOKE.agent.replay_capacity * transition, "agent.replay_capacity")
    assert parts["batches"][0] == SMOKE.agent.updates * SMOKE.agent.batch_size * transition
    assert memory.parts(*state(seeds=3), seeds=3)["replay"][0] == 3 * parts["replay"][0]


def learner(**changes):
    return replace(SMOKE, agent=replace(SMOKE.agent, **changes))


def refused(config, seeds=1):
    with pytest.raises(UserError) as caught:
        loop.ready(programs.make(config, 10), RunConfig(steps=160, seeds=seeds))
    text = str(caught.value)
    assert "\n" not in text and len(text) <= 300 and text.startswith("not enough memory")
    return text


def test_what_cannot_fit_is_refused_by_the_fields_to_lower():
    assert refused(learner(replay_capacity=9_000_000_000)).endswith("lower agent.replay_capacity")
    wide = learner(actor_hidden=(60_000, 60_000))
    assert refused(wide).endswith("lower agent.actor_hidden, agent.critic_hidden")
    many = learner(batch_size=1 << 22, updates=4096, replay_capacity=1 << 22)
    assert "agent.batch_size, agent.updates" in refused(many)
    assert refused(learner(replay_capacity=1 << 26), seeds=4096).endswith("lower agent.replay_capacity, seeds")


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        ("td3(replay_capacity=100000000000000000000)", "replay_capacity = 100000000000000000000: a whole number from"),
        ("td3(warmup=4611686018427387904)", "warmup = 4611686018427387904: at most"),
        (f"td3(actor_hidden={'x'.join(['8'] * 65)})", "1 to 64 values"),
    ],
)
def test_numbers_beyond_32_bits_are_refused(agent, said):
    with pytest.raises(UserError, match=said):
        ControlConfig(agent=agent)


def test_more_calls_than_a_clock_counts_are_refused():
    with pytest.raises(UserError, match="steps = 1000000000000: at most 17,179,869,176"):
        loop.ready(programs.make(SMOKE, 10), RunConfig(steps=10**12))


def test_a_reasoning_run_is_measured_before_a_weight_is_trained():
    def total(config):
        return sum(memory.held(tree) for tree, _ in sizes.parts(config, Placement(None)).values())

    small, parts = RlvrConfig(), sizes.parts(RlvrConfig(), Placement(None))
    weights = memory.held(sizes.weights(sizes.bases.blank(small, small.task).decoder))
    assert memory.held(parts["weights, and those of the start"][0]) == 2 * weights
    assert 2 * weights <= memory.held(parts["optimiser"][0]) < 2.01 * weights  # two moments and counters
    assert total(RlvrConfig(decoder=DecoderSize(hidden_size=65_536, num_layers=4096, num_heads=64))) > 1 << 50
    wide = RlvrConfig(rollout=RolloutConfig(prompts=1 << 16, samples=1 << 10))
    tree, fields = sizes.parts(wide, Placement(None))["caches of a rollout"]
    assert "rollout.rows" in fields and memory.held(tree) > 1000 * weights
    few = replace(wide, rollout=replace(wide.rollout, rows=1 << 10))
    assert total(few) < total(wide) / 1000


def test_the_hosts_memory_is_the_least_of_all_limits(tmp_path, monkeypatch):
    root, listed = tmp_path / "cgroup", tmp_path / "listed"
    (root / "user" / "job").mkdir(parents=True)
    listed.write_text("0::/user/job\n")
    assert memory._groups(root, listed) == memory._UNLIMITED
    (root / "user" / "memory.max").write_text("8000\n")
    (root / "user" / "job" / "memory.max").write_text("max\n")
    assert memory._groups(root, listed) == 8000
    listed.write_text("4:cpu,memory:/user/job\n")
    (root / "memory" / "user" / "job").mkdir(parents=True)
    (root / "memory" / "user" / "job" / "memory.limit_in_bytes").write_text("700\n")
    assert memory._groups(root, listed) == 700
    monkeypatch.setattr(memory, "_address_space", lambda: 5)
    assert memory.host() == 5


def test_a_shell_limit_is_seen():
    code = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))\n"
        "from jaxpsn.run import memory\n"
        "print(0 < memory.host() < 8 << 30)"
    )
    assert resource.getrlimit(resource.RLIMIT_AS)
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert done.stdout == "True\n", done.stderr


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        np.exceptions.AxisError("x"),
        jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1073741824 bytes."),
        jax.errors.JaxRuntimeError("INTERNAL: something else"),
    ],
)
def test_only_memory_that_ran_out_is_told_in_one_line(error, capsys):
    ours = isinstance(error, MemoryError) or "RESOURCE" in str(error)
    assert memory.exhausted(error) == ours
    with pytest.raises(UserError if ours else type(error)) as caught, memory.told("a, b, a", lambda: "saved at 3"):
        raise error
    if not ours:
        return
    more = ", 1.0 GiB more were asked for" if "RESOURCE" in str(error) else ""
    assert str(caught.value) == f"out of memory{more}; lower a, b; saved at 3"

    def main():
        raise error

    assert startup.main_guard(main)() == 2
    assert capsys.readouterr().err == "error: out of memory; lower the sizes of what was asked for\n"


def test_a_training_loop_that_runs_out_names_fields_and_the_checkpoint(train, fake):
    class Greedy(fake.Fake):
        @property
        def lower(self):
            return {None: "width"}

        def evaluate(self, key, state):
            raise MemoryError

    with pytest.raises(UserError, match=r"^out of memory; lower width; there is no checkpoint yet$"):
        train(Greedy())

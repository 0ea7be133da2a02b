"""Pieces of one's own go wherever a name goes, and no setting of ours does nothing."""

import contextlib
import functools
import json
import subprocess
import sys
from dataclasses import MISSING, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.interpreters import partial_eval

from jaxpsn import envs
from jaxpsn.control import agents, exploration, program
from jaxpsn.control.agents import dqn
from jaxpsn.control.bonus import BONUSES
from jaxpsn.control.config import ControlConfig, EnvConfig
from jaxpsn.control.exploration import parameter
from jaxpsn.control.schedule import Schedule
from jaxpsn.core import errors, fields, fields_of, load_plugin, replaced, spec_of
from jaxpsn.core.components import Nested
from jaxpsn.envs import registry
from jaxpsn.networks import Actor, Gaussian, Greedy, Policy, Values, noisy
from jaxpsn.networks.torso import TORSOS
from jaxpsn.noise.hold_rules import HOLDS
from jaxpsn.noise.scale_rules import SCALES
from jaxpsn.noise.structures import STRUCTURES
from tests.control import pieces
from tests.envs.test_spaces import Steps

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
FAMILIES = (agents.AGENTS, exploration.EXPLORATION, STRUCTURES, HOLDS, SCALES, registry.ENVS, BONUSES)


@pytest.fixture
def names(tmp_path):
    """The pieces as names of this process, for one test."""
    from jaxpsn.core import plugins

    before, loaded = [family.snapshot() for family in FAMILIES], dict(plugins._LOADED)
    for path in pieces.write(tmp_path)[1::2]:
        load_plugin(path)
    yield
    for family, snapshot in zip(FAMILIES, before, strict=True):
        family.restore(snapshot)
    plugins._LOADED.clear()
    plugins._LOADED.update(loaded)


@pytest.mark.parametrize("explore", [pieces.EXPLORE, "offset(size=0.4)", "offset + gaussian(std=0.1)"])
def test_pieces_of_ones_own_train_from_python(names, explore):
    config = ControlConfig(EnvConfig(name="line", num_envs=4), pieces.AGENT, explore, eval_envs=2, bonus=pieces.BONUS)
    made = program.make(config, 30)
    assert {path.split(".")[0] for path in made.hyper} == {"agent", "explore", "bonus"}
    state = jax.eval_shape(made.init, jax.random.key(0), made.hyper)
    after, metrics = jax.eval_shape(made.step, state)
    assert jax.tree.all(jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), state, after))
    assert {"critic_loss", "reward", "gift"} <= metrics.keys()
    assert registry.default_episode_length("line") == 20 and spec_of(config.agent).startswith("scaled(")
    again = ControlConfig(EnvConfig(name="line", num_envs=4), **_told(config), eval_envs=2)
    assert again == config, "it survives its record"


def _told(config):
    from jaxpsn.run import folder

    record = folder.plain(config)
    return {name: record[name] for name in ("agent", "explore", "bonus")}


def test_an_environments_name_is_taken_once(names):
    with pytest.raises(errors.UserError, match="env = 'halfcheetah': another name"):
        registry.register("halfcheetah", dict, episode_length=5)
    with pytest.raises(errors.UserError, match=r"env\.name = .lne.: unknown; nearest: .*line"):
        registry.make("lne")


def script(name, *flags, cwd):
    line = [sys.executable, str(EXPERIMENTS / name), "--out", str(cwd / "runs"), "--progress", "none", *flags]
    return subprocess.run(line, capture_output=True, text=True, cwd=cwd)


def test_pieces_of_ones_own_run_as_plugins_and_go_on(tmp_path):
    plugins = pieces.write(tmp_path)
    asked = ["--env.name", "line", "--env.num-envs", "4", "--agent", pieces.AGENT, "--explore", pieces.EXPLORE]
    asked += ["--bonus", pieces.BONUS]
    lengths = ["--steps", "160", "--chunk", "80", "--eval-every", "80", "--checkpoint-every", "80", "--seed", "1"]
    done = script("control.py", *plugins, *asked, *lengths, "--name", "mine", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "mine"
    record = json.loads((run / "config.json").read_text())
    assert len(record["plugins"]) == len(pieces.PIECES) and record["config"]["agent"]["name"] == "scaled"
    more = script("control.py", "--resume", str(run), "--steps", "320", cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    head, *_, last = (run / "metrics.csv").read_text().splitlines()
    assert last.startswith("320,") and dict(zip(head.split(","), last.split(","), strict=True))["gift"] == "0.25"
    (tmp_path / "hold_piece.py").write_text("raise SystemExit\n")
    lost = script("control.py", "--resume", str(run), cwd=tmp_path)
    assert lost.returncode == 2 and "--plugin" in lost.stderr.splitlines()[-1]


def test_pieces_of_ones_own_are_arms_of_a_study(tmp_path):
    plugins = pieces.write(tmp_path)
    asked = ["--preset", "smoke", "--env.name", "line", "--agent", pieces.AGENT, "--steps", "160", "--name", "both"]
    asked += ["--study.arms", f"mine: {pieces.EXPLORE}, bonus={pieces.BONUS}"]
    asked += ["push: offset(size=0.2)"]
    done = script("compare.py", *plugins, *asked, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    arms = json.loads((tmp_path / "runs" / "both" / "study.json").read_text())["arms"]
    assert list(arms) == ["mine", "push"] and arms["push"]["scale"]["field"] == "explore.size"
    assert arms["mine"]["bonus"]["name"] == "gift"
    assert all((tmp_path / "runs" / "both" / "arms" / arm / "finished.json").is_file() for arm in arms)


# What follows walks every field of every component of control: another value gives another program, or is refused.

N, OBS, A = 4, 3, 2
POLICY = Policy(Actor(A, hidden=(80, 80)))  # layers large enough for noise of low rank
CLEAN = POLICY.actor.init(jax.random.key(0), jnp.zeros((OBS,)))
SQUASHED = (
    Gaussian(Actor(2 * A, hidden=(80, 80))),
    Actor(2 * A, hidden=(80, 80)).init(jax.random.key(0), jnp.zeros((OBS,))),
)
CHOICES = Greedy(Values(A, hidden=(8,))), Values(A, hidden=(8,)).init(jax.random.key(0), jnp.zeros((OBS,)))
WIDE = noisy.widen(CLEAN, 0.5)
NEEDS = {  # what a field needs beside it to be of any use
    "ladder": {"member_sigma": True}, "mutation": {"member_sigma": True, "ladder": 4.0, "select": "return"},
    "select": {"member_sigma": True, "ladder": 4.0}, "target_from": {"target_from": 3.0, "target_over": 10},
    "target_over": {"target_from": 3.0, "target_over": 10}, "start": {"steps": 100},
}  # fmt: skip


def fingerprint(function, *given):
    """The program of a function, without what its results do not depend on, and the numbers in it."""
    closed = jax.make_jaxpr(function)(*given)
    jaxpr, _ = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars))
    return str(jaxpr), [np.asarray(const).tobytes() for const in closed.consts if not jax.dtypes.issubdtype(
        const.dtype, jax.dtypes.prng_key)]  # fmt: skip


def acted(explore, policy=POLICY, clean=CLEAN):
    """The program of a step with a rule and of the next action, and what the loop asks of it."""
    learnt = exploration.learnt_noise(explore)
    if isinstance(learnt, exploration.Heads):
        nets = dqn.networks(agents.AGENTS.make("dqn(hidden=8)"), OBS, A, learnt)
        policy, (clean, _) = nets.policy, nets.init(jax.random.key(0), {})
    actions = envs.Discrete(A) if isinstance(policy, Greedy) else None
    space = exploration.Space(N, OBS, A, 12, 30, actions)
    made, given = (
        exploration.make(explore, policy, WIDE if spec_of(explore).startswith(("noisynet", "ivon")) else clean, space),
        exploration.hyper_of(explore),
    )
    states = max(explore.probed_states(N), 1)

    def steps(key, params, obs, batch):
        params = learnt.widen(params, given) if isinstance(learnt, exploration.LearntNoise) else params
        state = made.init(key, params, given)
        action, state = made.act(key, params, state, obs)
        state = made.adapt(key, params, state, batch)
        first = action.reshape(N, -1)[:, 0].astype(jnp.float32)
        state = made.judge(key, state, first, first > 0, obs)
        state = made.begin(key, state, first > 0)
        told = [action, made.report(state)]
        optimizer = getattr(learnt, "optimizer", None)
        if optimizer is not None:
            told.append(optimizer.step(params, optimizer.init(key, params, given), params, jnp.float32(0.1)))
        return told, made.act(key, params, state, obs)[0]

    args = jax.random.key(0), clean, jnp.ones((N, OBS)), jnp.ones((states, OBS))
    heads = learnt if isinstance(learnt, exploration.Heads) else None
    return fingerprint(steps, *args), heads, states, explore.every, explore.members(N), explore.judges


def others(one, value):
    """Other values that a field can hold."""
    kind = one.kind.of if isinstance(one.kind, fields.Maybe) else one.kind
    if isinstance(kind, Nested):
        family = kind.base.family
        return [name for name in (*family.kinds, *family.modules) if family.name_of(value) != name][:1]
    if isinstance(kind, fields.Flag):
        return [not value]
    if isinstance(kind, fields.Choice):
        return [name for name in kind.names if name != value]
    if isinstance(kind, fields.Items):
        return [(5,)]
    if isinstance(kind, fields.Whole):
        return [2 if value != 2 else 4]
    for other in (value / 2, 2 * value, 0.5):
        with contextlib.suppress(errors.UserError):
            if other != value:
                return [kind.coerce(one.name, other)]
    raise AssertionError(f"{one.name} holds nothing but {value}")


def _components(family):
    for name in sorted(family.modules or family.kinds):
        yield name, family.get(name)


FITTED = {"natural": "natural(groups=2)"}  # to so few environments
TAKES = {"drift": "structure=dense, "}  # what a hold needs to hold


def _cases():
    for name, kind in _components(exploration.EXPLORATION):
        yield from ((f"{name}.{one.name}", FITTED.get(name, name), one.name) for one in fields_of(kind))
    for owner, family in (("structure", STRUCTURES), ("hold", HOLDS), ("scale", SCALES)):
        for name, kind in _components(family):
            if family is SCALES and not parameter.fits(kind):
                continue
            yield from (
                (f"{name}.{one.name}", f"parameter({TAKES.get(name, '')}{owner}={name})", f"{owner}.{one.name}")
                for one in fields_of(kind)
            )


ACTING = {"squashed": SQUASHED, "box": (POLICY, CLEAN), "choices": CHOICES}


@functools.cache
def before(base, acting):
    """The program of a rule as it is, which many cases change."""
    return acted(base, *ACTING[acting])


@pytest.mark.parametrize(("rule", "path"), [case[1:] for case in _cases()], ids=[case[0] for case in _cases()])
def test_no_setting_of_exploration_does_nothing(rule, path):
    base = exploration.EXPLORATION.make(rule)
    base = replaced(base, NEEDS.get(path, {}))
    owner, name = (base, path) if "." not in path else (getattr(base, path.split(".")[0]), path.split(".")[1])
    one = next(each for each in fields_of(type(owner)) if each.name == name)
    assert one.default is not MISSING
    stochastic = path == "distance" or rule.startswith("natural")
    acting = "squashed" if stochastic else "box" if envs.Box in base.spaces else "choices"
    for value in others(one, getattr(owner, name)):
        assert acted(replaced(base, {path: value}), *ACTING[acting]) != before(base, acting), f"{path} = {value}"


def _learners():
    """Every field of every agent; what several inherit is walked under the first, elsewhere only if slow."""
    seen = set()
    for name, kind in _components(agents.AGENTS):
        for one in fields_of(kind):
            owner = next(each for each in kind.__mro__ if one.name in vars(each).get("__annotations__", {}))
            marks = [pytest.mark.slow] if (owner, one.name) in seen else []
            seen.add((owner, one.name))
            yield pytest.param(name, one.name, id=f"{name}.{one.name}", marks=marks)


@functools.cache
def learnt(config):
    """What an agent makes of a run: its program, its cadences, the shapes of its state, and its numbers."""
    made = program.make(config, env=None if envs.Box in config.agent.spaces else Steps())
    state = jax.eval_shape(made.init, jax.random.key(0), made.hyper)
    told = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state)

    def begin(key):
        first = made.init(key, made.hyper)
        return first, made.step(first)

    return str(told), Schedule.from_config(config), fingerprint(begin, jax.random.key(0))


GIVEN = {"action_layer": 1, "replay_capacity": 800, "torso": TORSOS.make("gru(size=4, steps=2)")}


@pytest.mark.parametrize(("agent", "field"), list(_learners()))
def test_no_setting_of_an_agent_does_nothing(agent, field):
    made = agents.AGENTS.make(agent)
    if isinstance(made, agents.OffPolicy):
        made = replace(made, replay_capacity=400, batch_size=16, updates=2, warmup=0)
    if isinstance(made, agents.ActorCritic):
        made = replace(made, critic_hidden=(8, 8))
    task = EnvConfig(name="probe/action", num_envs=4, episode_length=10)
    config = ControlConfig(task, made, "parameter(probes=4)", eval_envs=2)
    one = next(each for each in fields_of(type(made)) if each.name == field)
    value = GIVEN[field] if field in GIVEN else others(one, getattr(made, field))[0]
    try:
        changed = replace(config, agent=replace(made, **{field: value}))
    except errors.UserError:
        return
    assert learnt(changed) != learnt(config)

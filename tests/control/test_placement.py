"""Where the parts of a state lie on a mesh, and the meshes that cannot be."""

import dataclasses

import jax
import pytest
from jax.sharding import AbstractMesh, AxisType, PartitionSpec

from jaxpsn.control import program as programs
from jaxpsn.control.config import ControlConfig
from jaxpsn.control.placement import ONE_DEVICE, Placement
from jaxpsn.control.presets import PRESETS
from jaxpsn.core.errors import UserError

WHOLE, CUT = PartitionSpec(), PartitionSpec("data")


def spread(size):
    """A placement on more devices than there are."""
    place = Placement()
    place.mesh = AbstractMesh((size, 1), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    return place


def specs(config, seeds=False):
    place = spread(4).fit(config)
    program = programs.make(config)
    state = jax.eval_shape(program.init, jax.random.key(0), program.hyper)
    axes = program.axes(state) if seeds else jax.tree.map(lambda _: None, state)
    found = place.shardings(state, axes)
    assert jax.tree.structure(found) == jax.tree.structure(state), "a sharding for every leaf"
    return jax.tree.map(lambda place: place.spec, found), state


def smoke(explore):
    config = dataclasses.replace(PRESETS["smoke"], explore=explore)
    return dataclasses.replace(config, env=dataclasses.replace(config.env, reset="cached"))


def every(tree):
    return set(jax.tree.leaves(tree, is_leaf=lambda leaf: isinstance(leaf, PartitionSpec)))


def test_environments_perturbations_and_replay_are_cut_and_the_rest_is_whole():
    found, state = specs(smoke("parameter(structure=flipout-normal, hold=steps) + ou"))
    assert every(found.replay) == {PartitionSpec(None, "data")}
    assert every((found.tally, found.envs.obs, found.envs.age, found.envs.env)) == {CUT}
    assert every((found.envs.pool, found.envs.key, found.learner, found.statistics, found.clock, found.hyper)) == {
        WHOLE
    }
    held = found.explore.behaviour
    assert every((held.draw.counter, held.draw.noise, held.hold, found.explore.noises["ou"].value)) == {CUT}
    assert every((held.draw.base, held.key, held.scale, held.hyper)) == {WHOLE} and jax.tree.leaves(state.envs.pool)


def test_sums_of_a_bonus_are_cut_and_what_it_has_learnt_is_whole():
    config = smoke("none")  # of as many environments as the predictor is wide
    found, _ = specs(dataclasses.replace(config, bonus="rnd(hidden=8, features=8)"))
    assert found.bonus.sums == CUT and every((found.bonus.learnt, found.learner.intrinsic)) == {WHOLE}


@pytest.mark.parametrize("hold", ["pink", "drift"])
def test_components_of_a_colour_are_cut_by_their_members(hold):
    held = specs(smoke(f"parameter(structure=lowrank, hold={hold})"))[0].explore.behaviour
    assert every((held.draw.counter, held.draw.noise, held.draw.number)) == {CUT} and held.scale.sigma == WHOLE


def test_groups_have_a_size_of_their_own_and_seeds_an_axis_before_it():
    found, _ = specs(smoke("parameter(groups=4, member_sigma=true)"), seeds=True)
    second = PartitionSpec(None, "data")
    assert found.explore.behaviour.draw.counter == found.explore.behaviour.scale.sigma == second
    assert every(found.tally) == {second} and every(found.replay) == {PartitionSpec(None, None, "data")}
    assert found.clock == WHOLE


@pytest.mark.parametrize("explore", ["followers", "natural(groups=4, states=8)"])
def test_a_rollout_and_its_followers_are_cut(explore):
    config = dataclasses.replace(smoke("none"), agent="ppo(rollout=5, minibatches=5)", explore=explore)
    found, state = specs(config)
    assert every(found.replay) == {PartitionSpec(None, "data")} and every(found.learner) == {WHOLE}
    own = found.explore.behaviour
    assert every(own.draw if explore == "followers" else (own.offset, own.divergence)) == {CUT}
    assert state.replay.rows == 5


@pytest.mark.parametrize(
    ("size", "config", "says"),
    [
        (3, ControlConfig(), "env.num_envs = 64: a multiple of the mesh's data = 3"),
        (8, ControlConfig(explore="parameter(groups=4)"), "explore.groups = 4: a multiple of"),
    ],
)
def test_a_mesh_that_does_not_divide_is_refused(size, config, says):
    with pytest.raises(UserError, match=says):
        spread(size).fit(config)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("data=64", "at most the .* devices? there are"),
        ("data=1,model=2", "mesh model = 2: 1: the networks of a control run lie whole"),
        ("member=2", "mesh = 'member': unknown"),
        ("8", "written like data=2"),
        ("data=0", "mesh data = 0"),
    ],
)
def test_meshes_that_cannot_be_are_refused(text, says):
    with pytest.raises(UserError, match=says):
        Placement(text)


def test_without_a_mesh_nothing_is_placed():
    batch = {"obs": jax.numpy.zeros((2, 3))}
    assert ONE_DEVICE.spread(batch) is batch and ONE_DEVICE.parts == 1
    assert ONE_DEVICE.fit(ControlConfig()).mesh is None


def test_a_mesh_of_one_device_is_a_mesh():
    place = Placement("data=1").fit(PRESETS["smoke"])
    cut = jax.jit(lambda tree: place.spread(tree, axis=1))({"a": jax.numpy.zeros((2, 3)), "b": jax.numpy.zeros(())})
    assert cut["a"].sharding.mesh == place.mesh

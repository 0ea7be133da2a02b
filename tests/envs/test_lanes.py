"""Physics in lanes: every rule does what ``jax.vmap`` does, Brax's steps stay Brax's, and copies do not mix."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxpsn import envs
from jaxpsn.core import compat, platforms
from jaxpsn.envs import brax_door, lane_rules, lane_values, lanes, registry
from jaxpsn.envs.history import History

N = 5
INDEX = np.array([[2], [0], [2], [1]], np.int32)


def varied(*shapes, seed=0):
    """One array ``[N, *shape]`` for each shape."""
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.normal(size=(N, *shape)), jnp.float32) for shape in shapes]


def in_lanes(function, *batches):
    closed = jax.make_jaxpr(function)(*(jax.ShapeDtypeStruct(batch.shape[1:], batch.dtype) for batch in batches))

    def run(*given):
        return [lane_values.whole(value, N) for value in lanes.evaluate(closed, list(map(lane_values.cut, given)), N)]

    return jax.jit(run)(*batches)


def agrees(function, *batches, exact=False):
    """Lanes and vmap make the same, in shape, type and value."""
    with compat.foreign():
        found, wanted = in_lanes(function, *batches), jax.tree.leaves(jax.jit(jax.vmap(function))(*batches))
    for one, other in zip(found, wanted, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        check = (
            np.testing.assert_array_equal
            if exact
            else functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
        )
        check(one, other)


MOVES = {
    "slices": lambda x: (x[1:, ::2], x[2], x[:, 1], x[..., None, 0], x[-1, 0]),
    "axes": lambda x: (x.T, x[None], jnp.moveaxis(x[:, None], 0, -1), jnp.flip(x, 0), jnp.roll(x, 1, 1)),
    "reshape": lambda x: (x.reshape(2, 6), x.reshape(-1), x.reshape(6, 2, 1), x[:1].reshape(3)),
    "joined": lambda x: (
        jnp.concatenate([x, x[:1] + 0, jnp.ones((2, 3))]),
        jnp.stack([x[0], x[1]], -1),
        jnp.vstack([x, x]),
    ),
    "spread": lambda x: (jnp.broadcast_to(x[0, 0], (3, 2)), jnp.broadcast_to(x, (2, 4, 3)), jnp.tile(x, (2, 2))),
    "padded": lambda x: (jnp.pad(x, ((1, 0), (0, 2)), constant_values=7.0), *jnp.split(x, 2)),
    "taken": lambda x: (x[INDEX[:, 0]], x[:, INDEX[:, 0] % 3], x[INDEX], jnp.take(x, INDEX[:, 0], axis=0, mode="clip")),
    "nothing": lambda x: (x[:0], x[:, 3:] * 2, jnp.concatenate([x[:0], x]), x),
    "chosen": lambda x: (jnp.where(x[0, 0] > 0, x, 0.0), jnp.where(x > 0, x, -x), lax.clamp(-0.5, x, 0.5)),
    "constants": lambda x: (x, jnp.arange(6.0).reshape(2, 3) * 2, jnp.float32(3)),
}


@pytest.mark.parametrize("name", MOVES)
def test_what_only_moves_numbers_is_exact(name):
    agrees(MOVES[name], *varied((4, 3)), exact=True)


ARITHMETIC = {
    "elementwise": lambda x, y, z: (
        jnp.sin(x) * 2 + x**2,
        jnp.arctan2(x, 1 + x),
        x / (1 + abs(x)),
        jnp.sqrt(abs(x)) > 0.5,
    ),
    "sizes of one": lambda x, y, z: (x[:, :1] * x, x * jnp.ones((1, 3)), x[:1] - x, x[0, 0] * x, 2.0 * x[0, 0]),
    "types": lambda x, y, z: (x.astype(jnp.int32) % 3, (x > 0).astype(jnp.float32), x * jnp.arange(3)),
    "products": lambda x, y, z: (
        x @ z,
        z @ z,
        x @ x.T,
        jnp.dot(x[0], z[0]),
        jax.vmap(jnp.matmul)(y, x),
        x @ np.eye(3, dtype=int),
    ),
    "batches": lambda x, y, z: (
        jnp.einsum("bij,bj->bi", y, x),
        jnp.einsum("bi,bi->b", x, x),
        jnp.einsum("bij,bjk->ikb", y, y),
    ),
    "sums": lambda x, y, z: (
        x.sum(),
        x.sum(0),
        x.sum(1),
        y.sum((0, 2)),
        y.max(1),
        y.min(0),
        x.prod(1),
        (x > 0).all(1),
        (x > 0).any(0),
    ),
    "scatter": lambda x, y, z: (
        jnp.zeros((3, 3)).at[INDEX[:, 0]].add(x),
        x.at[INDEX[:, 0]].add(2.0),
        x[:, 0].at[1].add(x[0, 0]),
    ),
    "segments": lambda x, y, z: jax.ops.segment_sum(x, jnp.array([0, 2, 0, 5]), 3),  # the last lies outside
    "calls": lambda x, y, z: (
        jax.nn.silu(x),
        jnp.linalg.norm(x, axis=1),
        jax.jit(jnp.cross)(x, x[::-1]),
        jax.nn.relu(x),
    ),
    "filled": lambda x, y, z: x.at[np.array([1, 9])].get(mode="fill", fill_value=3.0),
    "varying places": lambda x, y, z: (
        x[jnp.argmax(x[:, 0])],
        x.at[jnp.argmax(x[:, 0])].add(1.0),
        jnp.cumsum(x, 0),
        jnp.sort(x),
    ),
    "loops": lambda x, y, z: lax.fori_loop(0, 3, lambda i, c: c @ z * 0.5, x),
    "branches": lambda x, y, z: (
        lax.cond(x[0, 0] > 0, jnp.sin, jnp.cos, x),
        lax.platform_dependent(x, cpu=jnp.exp, default=jnp.sin),
    ),
}


@pytest.mark.parametrize("name", ARITHMETIC)
@pytest.mark.parametrize("weight", [1, 200])
def test_arithmetic_is_that_of_vmap_up_to_rounding(name, weight, monkeypatch):
    monkeypatch.setattr(lane_rules, "WEIGHT", weight)
    agrees(ARITHMETIC[name], *varied((4, 3), (4, 3, 3), (3, 3)))


def test_constants_are_computed_before_anything_runs():
    text = str(
        jax.make_jaxpr(lambda x: in_lanes(lambda y: y * jnp.sin(jnp.arange(3.0)) @ jnp.ones((3, 3)), x))(*varied((3,)))
    )
    assert " sin " not in text and "dot_general" not in text and "gather" not in text


@pytest.fixture
def dropped(monkeypatch):
    """As where XLA's CPU compiler drops barriers: lanes are only for those who compile with the options."""
    monkeypatch.setattr(platforms, "DROPS_BARRIERS", True)


def played(env, copies, steps=3, ours=True):
    """States after each of some steps of an environment's copies under random actions."""
    episodes = envs.Episodes(env, copies, 100, ours=ours)
    actions = jax.random.uniform(jax.random.key(1), (steps, copies, env.action_size), minval=-1.0, maxval=1.0)

    def step(state, action):
        state, outcome = episodes.step(state, action, restart=False)
        return state, (state.env.pipeline_state, outcome.reward)

    run = jax.jit(
        lambda: lax.scan(step, episodes.reset(jax.random.key(0)), actions)[1],
        compiler_options=episodes.compiler_options,
    )
    return run()


def close(one, other, tolerance=2e-3):
    for mine, theirs in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert (mine.shape, mine.dtype) == (theirs.shape, theirs.dtype)
        np.testing.assert_allclose(mine, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "name, backend",
    [
        ("hopper", "spring"),
        ("inverted_double_pendulum", "positional"),
        *(
            pytest.param(name, backend, marks=pytest.mark.slow)
            for name, backend in [
                ("halfcheetah", "spring"),
                ("ant", "spring"),
                ("walker2d", "positional"),
                ("fast", "spring"),
            ]
        ),
    ],
)
def test_brax_makes_the_same_steps(name, backend, dropped):
    env = registry.make(name, None if name == "fast" else backend)
    close(played(env, 16), played(env, 16, ours=False))


def test_few_copies_and_other_backends_are_brax_itself(dropped):
    env = registry.make("inverted_pendulum", "spring")
    assert lanes.spread(env, ours=True) is not env and "pipeline_step" not in vars(env)
    for other in (registry.make("inverted_pendulum", "generalized"), registry.make("cartpole_swingup")):
        assert lanes.spread(other, ours=True) is other
    few, plain = played(env, 15), played(env, 15, ours=False)
    for mine, theirs in zip(jax.tree.leaves(few), jax.tree.leaves(plain), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("drops", [True, False])
@pytest.mark.parametrize("wrap", [lambda env: env, lambda env: History(env, 2)])
def test_lanes_and_the_options_they_want_go_together(drops, wrap, monkeypatch):
    monkeypatch.setattr(platforms, "DROPS_BARRIERS", drops)
    env, still = registry.make("inverted_pendulum", "spring"), registry.make("cartpole_swingup")

    def asked(env, platform=platforms.CPU, ours=True):
        found = lanes.spread(wrap(env), platform, ours)
        within = found.env if isinstance(found, History) else found
        return within is not env, bool(lanes.compiler_options(found, platform))

    assert asked(env) == (True, drops)
    assert asked(env, ours=False) == (not drops, False)
    assert asked(still) == asked(env, platforms.CUDA) == (False, False)


def test_what_is_lowered_for_an_accelerator_is_what_it_runs(dropped):
    """Lowered here, on a CPU: the program asks for whom it is, not where it is traced."""

    def lowered(platform, ours):
        episodes = envs.Episodes(registry.make("inverted_pendulum", "spring"), 32, 100, platform=platform, ours=ours)
        state = jax.eval_shape(episodes.reset, jax.random.key(0))
        action = jax.ShapeDtypeStruct((32, 1), jnp.float32)
        step = jax.jit(lambda state, action: episodes.step(state, action, restart=False))
        return step.trace(state, action).lower(lowering_platforms=(platform,)).as_text()

    found = {platform: lowered(platform, True) for platform in ("cpu", "cuda", "tpu")}
    plain = {platform: lowered(platform, False) for platform in found}
    assert {platform for platform in found if found[platform] != plain[platform]} == {"cpu"}


def test_copies_do_not_mix_and_seeds_are_vmapped_over_them():
    env = lanes.in_lanes(registry.make("inverted_pendulum", "spring"))
    with brax_door.tracing():
        state = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.PRNGKey(0), 32)).pipeline_state
        step = jax.jit(jax.vmap(env.pipeline_step))
        action = jnp.linspace(-1, 1, 32)[:, None]
        after = step(state, action)
        broken = step(
            state.replace(x=state.x.replace(pos=state.x.pos.at[3].set(jnp.nan)), q=state.q.at[3].set(jnp.nan)), action
        )
        twice = jax.tree.map(lambda leaf: leaf.reshape(2, 16, *leaf.shape[1:]), (state, action))
        seeds = jax.jit(jax.vmap(jax.vmap(env.pipeline_step)))(*twice)
    others = np.arange(32) != 3
    assert np.isnan(broken.q[3]).any()
    for mine, theirs in zip(jax.tree.leaves(after), jax.tree.leaves(broken), strict=True):
        np.testing.assert_array_equal(mine[others], theirs[others])
    close(jax.tree.map(lambda leaf: leaf.reshape(32, *leaf.shape[2:]), seeds), after, 1e-4)


def test_a_state_that_all_copies_share_is_spread():
    env = lanes.in_lanes(registry.make("inverted_pendulum", "spring"))
    with brax_door.tracing():
        state = jax.jit(env.reset)(jax.random.PRNGKey(0)).pipeline_state
        action = jnp.linspace(-1, 1, 16)[:, None]
        after = jax.jit(jax.vmap(env.pipeline_step, in_axes=(None, 0)))(state, action)
        alone = jax.jit(env.pipeline_step)(state, action[4])
    close(jax.tree.map(lambda leaf: leaf[4], after), alone, 1e-4)


CONSTANT = {
    "taken": lambda x, at: (x[at], x[:, at % 3], x[at, at % 3], jnp.take(x, at + 3, axis=0, mode="clip"), x[at].T),
    "outside": lambda x, at: (jnp.take(x, at + 3, axis=0), jnp.take(at, at + 3)),
    "by rows": lambda x, at: jnp.take_along_axis(x, (at % 3)[:, None], 1),
    "windows": lambda x, at: (
        jax.vmap(lambda i: lax.dynamic_slice(x, (i, 0), (2, 2)))(at),
        lax.dynamic_slice_in_dim(x, 1, 2),
    ),
    "logic": lambda x, at: ((x > 0).any(0), (x > 0).all(1), (x > 0).any(), x / 3, at % 3, (at - 2) % 2, jnp.arange(5)),
    "tiled": lambda x, at: (jnp.tile(x, (2, 2)), lax.broadcasted_iota(jnp.int32, (2, 3), 1), jnp.where(x > 0, x, 0.0)),
}


@pytest.mark.parametrize("name", CONSTANT)
def test_what_is_computed_beforehand_is_what_the_compiler_makes_of_it(name, monkeypatch):
    given = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32), np.array([3, 0, 1, 1], np.int32)

    def compiled(primitive, params, *args):
        with jax.ensure_compile_time_eval():
            found = primitive.bind(*map(jnp.asarray, args), **params)
        return list(map(np.asarray, found)) if primitive.multiple_results else np.asarray(found)

    def computed():
        return [lane_values.whole(value, N)[0] for value in lanes.evaluate(closed, given, N)]

    with compat.foreign():
        closed = jax.make_jaxpr(CONSTANT[name])(*given)
        found = computed()
        monkeypatch.setattr(lane_rules, "on_host", compiled)
        wanted = computed()
    for one, other in zip(found, wanted, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        np.testing.assert_array_equal(one, other)

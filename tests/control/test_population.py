"""Scales of members: their ladder, what they are adapted to, and how episodes select them."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.control import program
from jaxpsn.control.config import ControlConfig, EnvConfig
from jaxpsn.control.exploration import Space, population
from jaxpsn.core import errors
from jaxpsn.networks.actor import Actor
from tests.control import explorers

N, OBS, A = 8, 3, 2
ACTOR = Actor(A, hidden=(16,))
PARAMS = ACTOR.init(jax.random.key(7), jnp.zeros((OBS,)))
HYPER = {}
PAIRS = "flipout(antithetic=true)"
BATCH = jax.random.normal(jax.random.key(8), (256, OBS))
KEY = jax.random.key(0)


def make(**fields):
    text = ", ".join(f"{name}={value}" for name, value in fields.items())
    return explorers.explorer(
        explorers.component(f"parameter(member_sigma=true, {text})"), ACTOR.apply, PARAMS, Space(N, OBS, A, 20)
    )


def begun(explorer, **values):
    return jax.jit(explorer.init)(KEY, PARAMS, {name: jnp.float32(value) for name, value in values.items()})


def test_rungs_are_even_in_the_logarithm():
    rungs = np.asarray(population.ladder(16.0, 5), np.float64)
    np.testing.assert_allclose(rungs, [0.25, 0.5, 1.0, 2.0, 4.0], rtol=1e-5)
    np.testing.assert_allclose(population.ladder(1.0, 3), 1.0)


def test_members_act_on_their_rungs_and_a_pair_shares_one():
    explorer = make(ladder=64.0, structure=PAIRS, scale="constant")
    state = begun(explorer, sigma=1e-4)
    np.testing.assert_allclose(state.behaviour.sigma, np.repeat(1e-4 * 8.0 ** np.linspace(-1, 1, 4), 2), rtol=1e-5)
    same = jnp.broadcast_to(BATCH[:1], (N, OBS))
    action, _ = jax.jit(explorer.act)(KEY, PARAMS, state, same)
    delta = np.asarray(action - ACTOR.apply(PARAMS, same))
    np.testing.assert_allclose(delta[::2], -delta[1::2], atol=0.1 * np.abs(delta).max())
    assert np.abs(delta[-2:]).mean() > 10 * np.abs(delta[:2]).mean()
    report = explorer.report(state)
    np.testing.assert_allclose([report["sigma_min"], report["sigma_max"]], [1e-4 / 8, 8e-4], rtol=1e-5)


def test_every_member_is_adapted_to_a_target_of_its_own():
    explorer = make(ladder=9.0, scale="first-order", groups=4)
    state = begun(explorer, sigma=0.05, target=0.1)

    def step(state, t):
        state = explorer.adapt(jax.random.fold_in(KEY, t), PARAMS, state, BATCH)
        return state, state.behaviour.distance

    state, distances = jax.jit(lambda s: jax.lax.scan(step, s, jnp.arange(120)))(state)
    targets = 0.1 * 3.0 ** np.linspace(-1, 1, 4)
    np.testing.assert_allclose(distances[40:].mean(0), targets, rtol=0.15)
    assert float(explorer.report(state)["target"]) == pytest.approx(targets.mean(), rel=1e-5)


def test_episodes_are_scored_by_return_and_described_by_where_they_went():
    by_return, by_place = (population.begin(select, N, OBS) for select in ("return", "novelty"))
    rng = np.random.default_rng(0)
    running = [[] for _ in range(N)]
    score, last = np.full(N, np.nan), np.full((N, 2 * OBS), np.nan)
    observe = jax.jit(population.observe)
    for _ in range(30):
        reward, done, obs = rng.normal(size=N), rng.random(N) < 0.15, rng.normal(size=(N, OBS))
        step = jnp.asarray(reward, jnp.float32), jnp.asarray(done), jnp.asarray(obs, jnp.float32)
        by_return, by_place = observe(by_return, *step), observe(by_place, *step)
        for i in range(N):
            running[i].append((reward[i], obs[i]))
            if done[i]:
                score[i] = sum(r for r, _ in running[i])
                places = np.array([o for _, o in running[i]])
                last[i] = np.concatenate([places.mean(0), places.std(0)])
                running[i] = []
    np.testing.assert_allclose(by_return.score, score, atol=1e-5)
    np.testing.assert_allclose(by_place.behaviour.last, last, atol=1e-3)
    assert np.isfinite(score).any()


def test_novelty_is_the_mean_distance_to_the_nearest_others():
    rng = np.random.default_rng(1)
    places = rng.normal(size=(40, 5))
    places[[3, 17]] = np.nan
    expected = np.full(40, np.nan)
    for i in range(40):
        others = [j for j in range(40) if j != i and np.isfinite(places[j]).all()]
        distances = np.sort([np.linalg.norm(places[i] - places[j]) for j in others])
        expected[i] = distances[: population.NEIGHBOURS].mean()
    np.testing.assert_allclose(population.novelty(jnp.asarray(places, jnp.float32)), expected, rtol=1e-3)
    alone = jnp.full((4, 2), jnp.nan).at[0].set(0.0)
    assert np.isnan(population.novelty(alone)).all(), "nobody to be compared with"
    many = jnp.zeros((3 * population.REFERENCES, 2)).at[5, 0].set(3.0)
    assert float(population.novelty(many)[5]) == pytest.approx(3.0, rel=1e-3), "a part of a large population will do"


def test_a_duel_is_lost_to_a_better_rival_only():
    score = jnp.array([1.0, 5.0, jnp.nan, 3.0, 3.0])
    everyone = jnp.ones(5, bool)
    met = np.zeros((5, 5))
    for i in range(200):
        loses, rival, factor = population.duel(jax.random.key(i), score, everyone, 0.3)
        np.testing.assert_array_equal(loses, np.asarray(score)[rival] > np.asarray(score))
        met[np.arange(5), rival] += 1
        assert (np.asarray(factor) > 0).all()
    assert (np.diag(met) == 0).all() and (met[~np.eye(5, dtype=bool)] > 20).all()
    loses, _, factor = population.duel(KEY, score, everyone.at[0].set(False), 0.0)
    assert not loses[0] and (np.asarray(factor) == 1.0).all()


@pytest.mark.parametrize("select", ["return", "novelty"])
@pytest.mark.parametrize("controller", ["constant", "multiplicative"])
def test_a_population_finds_the_scale_that_pays(select, controller):
    """Return is best at one rung of the ladder; behaviour is the newer, the larger the scale."""
    explorer = make(ladder=100.0, select=select, scale=controller, mutation=0.3)
    directions = jax.random.normal(jax.random.key(5), (N, OBS))

    def episode(state, t):
        key = jax.random.fold_in(KEY, t)
        rung = state.behaviour.rung
        reward = -jnp.square(jnp.log(rung / 3.0))
        obs = rung[:, None] * directions * jax.random.normal(jax.random.fold_in(key, 1), (N, 1))
        done = jnp.arange(N) % 2 == t % 2  # episodes do not end together
        return explorer.judge(key, state, reward, done, obs), rung

    state, rungs = jax.jit(lambda s: jax.lax.scan(episode, s, jnp.arange(300)))(begun(explorer, sigma=0.05))
    late = np.exp(np.log(np.asarray(rungs[-50:])).mean())
    assert late == pytest.approx(3.0, rel=0.35) if select == "return" else late > 5.0
    assert rungs.min() >= 0.1 - 1e-6 and rungs.max() <= 10.0 + 1e-4, "it stays on the ladder that it began on"
    # Sigma goes with its rung, whether it is what was chosen or what follows a target.
    np.testing.assert_allclose(state.behaviour.scale.sigma, 0.05 * state.behaviour.rung, rtol=1e-3)
    assert np.isfinite(float(explorer.report(state).get("novelty", 0.0)))


CONFIG = ControlConfig(
    env=EnvConfig(name="probe/observation_action", num_envs=4),
    agent="td3(actor_hidden=8, critic_hidden=8, batch_size=16, updates=1, replay_capacity=400, warmup=12)",
    explore="parameter(member_sigma=true, ladder=16, select=novelty, sigma=0.3, target=0.3)",
    eval_envs=3,
)


def test_seeds_side_by_side_are_single_populations():
    explorer = make(ladder=16.0, select="return", structure=PAIRS, groups=4)

    def run(seed):
        base = jax.random.key(seed)

        def step(state, t):
            key = jax.random.fold_in(base, t)
            reward = jax.random.normal(jax.random.fold_in(key, 0), (N,))
            done = jax.random.uniform(jax.random.fold_in(key, 1), (N,)) < 0.1
            obs = jnp.zeros((N, OBS))
            return explorer.judge(jax.random.fold_in(key, 2), state, reward, done, obs), state.behaviour.rung

        return jax.lax.scan(step, explorer.init(base, PARAMS, HYPER), jnp.arange(60))[1]

    together, single = jax.jit(jax.vmap(run))(jnp.arange(3)), jax.jit(run)
    assert together.shape == (3, 60, 2) and (together[:, -1] != together[:, 0]).any()
    for seed in range(3):
        np.testing.assert_allclose(together[seed], single(seed), rtol=1e-5)


def test_a_population_in_the_loop():
    made = program.make(CONFIG)

    def run(key):
        return jax.lax.scan(
            lambda s, _: (made.step(s)[0], s.explore.behaviour.rung), made.init(key, made.hyper), None, length=40
        )

    after, rungs = jax.jit(run)(jax.random.key(0))
    assert (np.asarray(rungs[:4]) == np.asarray(rungs[0])).all(), "random actions say nothing about scales"
    assert (np.asarray(rungs[-1]) != np.asarray(rungs[0])).any()
    # A behaviour is the mean and the spread of what an episode led to, as the policy sees it.
    last = after.explore.behaviour.trial.behaviour.last
    assert last.shape == (4, 2) and np.isfinite(last).all()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ("ladder=4", "parameter.ladder = 4.0: 1 unless member_sigma is true"),
        ("ladder=0.5, member_sigma=true", "parameter.ladder = 0.5"),
        ("select=return", "parameter.select = 'return': none unless"),
        ("select=return, member_sigma=true", "ladder, its range, is above 1"),
        ("select=return, member_sigma=true, ladder=4, scale=linear", "anneals every scale"),
        ("mutation=-1", "parameter.mutation = -1:"),
        ("mutation=0.3", "parameter.mutation = 0.3: 0.2, the default, as select is none"),
        ("member_sigma=true, probes=4", "parameter.probes = 4: 8, the default, as with member_sigma"),
        (f"select=return, member_sigma=true, ladder=4, groups=2, structure={PAIRS}", "a single scale"),
    ],
)
def test_refusals_are_one_line(fields, said):
    with pytest.raises(errors.UserError) as caught:
        replace(CONFIG, explore=f"parameter({fields})")
    assert said in str(caught.value) and "\n" not in str(caught.value)

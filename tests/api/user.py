"""What a user's own script may look like; a type checker reads it, nobody runs it."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import jaxpsn
from jaxpsn import noise

run = jaxpsn.train("sparse_mountain_car", agent="td3", explore="parameter(target=0.6)", steps=20_000, num_envs=16)
steps, returns = run.curve("eval_return")
print(run.metrics["eval_return"].mean(axis=1), returns.shape, run.policy(np.zeros(2)))
found = jaxpsn.evaluate(run.policy, episodes=64)
print(found.mean.value, found.returns.std(), jaxpsn.load("runs/NAME")(np.zeros(2)))
study = jaxpsn.compare(["parameter(target=0.6)", "pink"], env="sparse_mountain_car", seeds=5)
print([row["arm"] for row in study.table()])


def reward(prompts: list[str], answers: list[str], problems: list) -> list[float]:
    """One point a character."""
    return [float(len(answer)) for answer in answers]


reasoned = jaxpsn.reason(task="countdown", reward=reward, explore="psn-kl")
print(reasoned.policy.generate("1 2 3")[0][0], jaxpsn.evaluate(reasoned.policy, problems=8).pass_at(4).value)
init, step = jaxpsn.make("halfcheetah", agent="td3")
state, metrics = step(init(jax.random.key(0), {"sigma": 0.3}))

model = nn.Dense(8)
params = model.init(jax.random.key(0), jnp.zeros(27))
kind = noise.Flipout()
spec = noise.plan(model.apply, params, jnp.zeros(27))
draw = kind.init(jax.random.key(1), spec, members=256)
actions = jax.jit(noise.fused(model.apply, spec, kind))(params, draw, 0.1, jnp.zeros((256, 27)))
try:
    jaxpsn.train("nope")
except jaxpsn.UserError as error:
    print(error)

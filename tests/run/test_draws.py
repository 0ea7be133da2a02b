"""Random bits are a function of the seed, whatever the environment of the day says."""

import os
import subprocess
import sys

import jax

CODE = """
import jax
from jaxpsn.run import draws
draws.fix()
print(jax.random.bits(jax.random.key(7), (4,)).tolist(), jax.random.key(7).dtype)
"""


def drawn(**environment):
    env = os.environ | environment
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, env=env)
    return done.stdout.strip()


def test_settings_of_the_environment_draw_the_same():
    want = f"{jax.random.bits(jax.random.key(7), (4,)).tolist()} {jax.random.key(7).dtype}"
    assert drawn(JAX_DEFAULT_PRNG_IMPL="rbg", JAX_THREEFRY_PARTITIONABLE="0") == want

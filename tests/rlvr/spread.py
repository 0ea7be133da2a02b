"""One step over a mesh: ``spread.py one|mesh|PROCESS PORT`` prints what it came to, as one line of JSON."""

import contextlib
import faulthandler
import hashlib
import importlib.util
import json
import sys
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxpsn.rlvr.placement import Placement
from jaxpsn.rlvr.program import evaluation_key
from jaxpsn.run.cluster import distributed
from jaxpsn.run.config import ClusterConfig

LIMIT = 900
"""Seconds after which a process that hangs says where, and ends."""
MESHES = {"one": None, "mesh": "data=4,model=2"}

CASES = {
    "members": dict(
        noise={"clean_share": 0.25},
        sigma="composite(initial=0.5)",
        algorithm={"mini_batches": 2, "micro_batches": 2, "kl_coefficient": 0.1, "warmup": 0, "learning_rate": 0.01},
    ),
    "ivon": dict(  # dense, one draw a step, as the paper's noise is
        noise="ivon(per=step, select=linear)",
        algorithm={"estimator": "pooled", "correction": "none", "learning_rate": 0.1, "warmup": 0},
        rollout_rows=16,
    ),
}


def digest(tree):
    """SHA-256 of the bytes of all leaves."""
    sha = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        sha.update(np.ascontiguousarray(leaf).tobytes())
    return sha.hexdigest()


def whole(tree):
    """Arrays of the mesh as NumPy, on every process."""
    if jax.process_count() > 1:
        return multihost_utils.process_allgather(tree, tiled=True)
    return jax.device_get(tree)


def step(small, name, mesh):
    """What a step of a case came to."""
    given = dict(CASES[name])
    rollout = {"prompts": 8, "samples": 4, "rows": given.pop("rollout_rows", 0)}
    log = small.Rows()
    made = small.reasoner(small.config(rollout=rollout, mesh=mesh, **given), open_log=lambda path, kept: log)
    made.attach(Path("."), -1)
    made.prepare(made.template(), lambda text: None)
    state = made.init()
    noise = made.place.jit(made.noise.draw, (made.place.whole(),) * 2, made.place.whole())(state.key, state.clock)
    state, metrics = made.step(state)
    for leaf, wanted in zip(jax.tree.leaves(state), jax.tree.leaves(made.template()), strict=True):
        assert mesh is None or leaf.sharding.is_equivalent_to(wanted.sharding, leaf.ndim), (leaf.sharding, wanted)
    told = {"noise": digest(whole(noise.noise)), "tokens": digest([row["tokens"] for row in log.rows])}
    told |= {column: float(metrics[column]) for column in ("loss", "grad_norm", "reward", "sigma", "ratio_mean")}
    told["moved"] = [float(np.abs(leaf).sum()) for leaf in jax.tree.leaves(whole(state.params))]
    told["log_probs"] = [row["log_prob"] for row in log.rows]
    told["judged"] = made.evaluate(state)
    if made.config.noise.learnt:  # every answer by a draw of its own, of scales that lie where their weights do
        given = made.acting(state).params, made.problems.test[:4], 2, evaluation_key(), made.noise, state.sigma.sigma
        told["judged"] |= {one.problem.id: [one.correct, one.distinct] for one in made.judge.judge(*given)}
    return told


def main(mode, port=None):
    """Make a step of each case; with a port, as one of two processes that meet and part as those of a run do."""
    faulthandler.dump_traceback_later(LIMIT, exit=True)
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    jax.config.update("jax_numpy_rank_promotion", "raise")
    mesh = MESHES.get(mode, "data=2,model=2")
    with contextlib.ExitStack() as stack:
        if port is not None:
            team = stack.enter_context(distributed.joined(ClusterConfig(f"localhost:{port}", 2, int(mode)), mesh))
            distributed.meet(team, Placement(mesh).mesh)
        # It computes when it is imported, which must not come before the processes know each other.
        spec = importlib.util.spec_from_file_location("small", Path(__file__).parent / "small.py")
        small = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(small)
        found = {name: step(small, name, mesh) for name in CASES}
        found["devices"] = [jax.device_count(), jax.process_count()]
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

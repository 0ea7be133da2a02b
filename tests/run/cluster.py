"""The fake program cut over a mesh, maybe as one of several processes: ``cluster.py [field=value ...]``.

Besides the fields of RunConfig, ``mesh``, ``task``, and those of ClusterConfig, it takes ``stuck_at=N``: process 1 does
nothing any more from the N-th look at its signals on; and ``late=S``: process 1 comes S seconds late to the first thing
that all reckon together. It prints the digest of the weights, which are everywhere.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from jaxpsn.run import startup
from jaxpsn.run.cluster import distributed
from jaxpsn.run.config import ClusterConfig, RunConfig

CLUSTER = {"coordinator": str, "processes": int, "process": int, "start_timeout": int, "peer_timeout": int}
RUN = {"out": str, "name": str, "resume": str, "progress": str, "overwrite": bool}


def cut(mesh):
    """The fake program on ``mesh``."""
    import fake
    import jax

    from jaxpsn.core.placement import Placement

    class Place(Placement):
        """Ring and ballast are cut, the rest is whole."""

        def shardings(self, state, axes):
            cut = {"ring": self.sharding(None, "data"), "ballast": self.sharding("data")}
            return jax.tree.map(lambda _: self.whole(), state).replace(**cut)

    program = fake.Fake()
    program.place = Place(mesh)
    return program


@startup.main_guard
def main() -> int:
    """Train."""
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    mesh, task, stuck_at = given.pop("mesh", None), given.pop("task", "a"), int(given.pop("stuck_at", -1))
    late = float(given.pop("late", 0))
    cluster = ClusterConfig(**{name: kind(given.pop(name)) for name, kind in CLUSTER.items() if name in given})
    run = RunConfig(**{name: RUN.get(name, int)(value) for name, value in given.items()})
    with distributed.joined(cluster, mesh) as team:
        team.alike(distributed.common(run, {"task": task}, mesh=mesh))
        with distributed.claim(team, run, {"task": task}, "run") as folder:
            from jaxpsn.run import loop
            from jaxpsn.run.checkpoints import store

            program = cut(mesh)
            distributed.meet(team, program.place.mesh)
            if team.process == 1 and stuck_at >= 0:
                _stick(team, stuck_at)
            if team.process == 1 and late:
                _delay(team, late)
            outcome = loop.train(program, distributed.quiet(team, run), folder, team=team)
            digest = store.digest({"params": outcome.state.params, "clock": outcome.state.clock})
        startup.result(digest)
    return outcome.status


def _stick(team, looks):
    listen, made = team.agree, []

    def agree(signum):
        made.append(signum)
        if len(made) > looks:
            time.sleep(1000)
        return listen(signum)

    team.agree = agree


def _delay(team, seconds):
    gather = team.gather

    def late(text):
        said = gather(text)
        if text == "compiled":
            time.sleep(seconds)
        return said

    team.gather = late


if __name__ == "__main__":
    sys.exit(main())

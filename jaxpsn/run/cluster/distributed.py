"""Several processes as one run: how they find each other, what only the first of them writes."""

import contextlib
import dataclasses
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxpsn.core import errors
from jaxpsn.run import folder, startup, status
from jaxpsn.run.cluster.team import ALONE, PATIENCE, Team
from jaxpsn.run.config import ClusterConfig, RunConfig

_SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
_OWN = ("out", "name", "overwrite", "progress", "log")
"""Fields of a RunConfig in which processes may differ: only process 0 looks at them."""
_SHARED = 30.0  # seconds in which a folder that one host made must be seen by the others


class Seat(NamedTuple):
    """Where a process belongs; ``coordinator`` is None if JAX knows it from Slurm."""

    coordinator: str | None
    processes: int
    process: int


def seat(config: ClusterConfig, environment: Mapping[str, str]) -> Seat | None:
    """What flags, JAX's variables or Slurm's say, in this order; None for a process by itself.

    Raises UserError for half of an answer, and for a process that is not below the number of processes.
    """
    coordinator = config.coordinator or environment.get("JAX_COORDINATOR_ADDRESS")
    processes = _number("processes", config.processes, environment.get("JAX_NUM_PROCESSES"))
    process = _number("process", config.process, environment.get("JAX_PROCESS_ID"))
    given = {"coordinator": coordinator, "processes": processes, "process": process}
    if all(value is None for value in given.values()):
        if not all(name in environment for name in _SLURM) or int(environment["SLURM_NTASKS"]) < 2:
            return None
        return Seat(None, int(environment["SLURM_NTASKS"]), int(environment["SLURM_PROCID"]))
    for name, value in given.items():
        if value is None:
            errors.refuse(name, None, "needed with the other two of --coordinator, --processes and --process")
    if process >= processes:
        errors.refuse("process", process, f"below processes = {processes}")
    return Seat(coordinator, processes, process) if processes > 1 else None


def _number(name: str, flag: int | None, text: str | None) -> int | None:
    if flag is not None or text is None:
        return flag
    if not text.isdecimal():
        errors.refuse(name, text, "a whole number, as the environment gives it")
    return int(text)


def local_devices(environment: Mapping[str, str]) -> list[int] | None:
    """The accelerators of a Slurm task that has its node to itself, where JAX would take the first one only."""
    tasks = environment.get("SLURM_STEP_TASKS_PER_NODE", "")
    found = environment.get("SLURM_GPUS_ON_NODE", "")
    alone = all(part.split("(")[0] == "1" for part in tasks.split(","))
    return list(range(int(found))) if alone and found.isdecimal() else None


@contextlib.contextmanager
def joined(config: ClusterConfig, mesh: str | None) -> Iterator[Team]:
    """This process among those of its run, from before the first use of a device to the end.

    Alone it imports nothing. Of several, one that ends with an error ends at once, and all others with it: each says
    why in one line, and the status is that of the error, or ``status.PEER_LOST``.
    """
    place = seat(config, os.environ)
    if place is None:
        yield ALONE
        return
    if mesh is None:
        errors.refuse("mesh", None, f"data=N for a run of {place.processes} processes, N devices in all")
    team = _start(config, place)
    try:
        yield team
        team.gather("done")  # nobody waits in vain for one that is still writing the report
    except BaseException as error:
        team.leave(error)
    team.close()
    _leave_service()


def _start(config: ClusterConfig, place: Seat) -> Team:
    import jax

    # Preemption notices are ours to handle: JAX's would keep SIGTERM from ending a process that hangs.
    jax.config.update("jax_enable_preemption_service", False)
    _keep_stdout()
    where = place.coordinator or "the address that Slurm gives"
    startup.speak(f"process {place.process} of {place.processes}: waiting for the others at {where}")
    begun = threading.Event()
    threading.Thread(target=_limit, args=(begun, config, place), daemon=True, name="start").start()
    try:
        jax.distributed.initialize(
            place.coordinator,
            place.processes,
            place.process,
            local_device_ids=local_devices(os.environ),
            initialization_timeout=config.start_timeout + 60,
            # JAX's own way to end is an abort; ours says what to do, and must come first.
            heartbeat_timeout_seconds=2 * PATIENCE + 2 * config.peer_timeout,
        )
    except Exception as error:
        text = " ".join(str(error).split())
        raise errors.UserError(f"the processes of the run did not find each other at {where}: {text[:300]}") from error
    begun.set()
    # The public interface shares arrays, this one text, and before any device is used.
    from jax._src import distributed as service

    team = Team(place.process, place.processes, service.global_state.client, float(config.peer_timeout))
    team.watch()
    return team


def _keep_stdout() -> None:
    """Leave stdout to the result: the library behind collectives on CPUs prints there, by its descriptor."""
    sys.stdout.flush()
    sys.stdout = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)


def _limit(begun: threading.Event, config: ClusterConfig, place: Seat) -> None:
    """End the process if the others do not come; JAX would abort with a stack trace."""
    if not begun.wait(config.start_timeout):
        startup.complain(
            f"process {place.process} of {place.processes}: not all others came within {config.start_timeout} s "
            "(--start-timeout)"
        )
        os._exit(status.PEER_LOST)


def _leave_service() -> None:
    import jax

    jax.distributed.shutdown()


def meet(team: Team, mesh: Any) -> None:
    """Let the devices of ``mesh`` find each other now; refuse one on which some process of ``team`` has none.

    Groups of devices connect when they first reckon together, and some libraries of collectives (Gloo) then wait 30 s
    for a process that compiles longer than the others; once connected they wait as long as it takes.
    """
    if team.count == 1:
        return
    missing = set(range(team.count)) - {device.process_index for device in mesh.devices.flat}
    if missing:
        size = f"data={mesh.devices.size}"
        errors.refuse("mesh", size, f"devices of all {team.count} processes; process {min(missing)} has none in it")
    import jax
    import numpy as np

    everywhere = jax.sharding.PartitionSpec(mesh.axis_names)

    def sums(ones: Any) -> Any:
        groups = [*mesh.axis_names, mesh.axis_names]
        return ones + sum(jax.lax.psum(ones, group) for group in groups)

    run = jax.jit(jax.shard_map(sums, mesh=mesh, in_specs=everywhere, out_specs=everywhere))
    place = jax.sharding.NamedSharding(mesh, everywhere)
    run = run.lower(jax.ShapeDtypeStruct((mesh.devices.size,), "float32", sharding=place)).compile()
    ones = jax.make_array_from_callback((mesh.devices.size,), place, lambda _: np.ones((1,), np.float32))
    team.gather("ready to connect")
    jax.block_until_ready(run(ones))


def common(run: RunConfig, content: Any, **more: Any) -> dict[str, Any]:
    """What all processes of a run must share."""
    kept = {name: value for name, value in folder.plain(run).items() if name not in _OWN}
    return {**folder.plain(content), "run": kept, "versions": folder.versions(), **more}


def quiet(team: Team, run: RunConfig) -> RunConfig:
    """``run`` as this process makes it: only process 0 has a display and reports elsewhere."""
    return run if team.first else dataclasses.replace(run, progress="none", log="csv")


def shared(team: Team, run: RunConfig, content: Any, mesh: str | None) -> RunConfig:
    """``run`` as this process makes it, once all have found that they are asked alike, and the first one its folder."""
    team.alike(common(run, content, mesh=mesh))
    if team.first:  # the others have no folder
        folder.check(run, content)
    return quiet(team, run)


@contextlib.contextmanager
def claim(team: Team, run: RunConfig, config: Any, default_name: str) -> Iterator[folder.RunFolder]:
    """``folder.claim`` by process 0 for all; the others write into folders of their own, which go away.

    Checkpoints lie in the one folder, which all hosts must see. What process 0 refuses all refuse.
    """
    if not team.first:
        with _beside(team, config) as claimed:
            yield claimed
        return
    with contextlib.ExitStack() as stack:
        try:
            claimed = stack.enter_context(folder.claim(run, config, default_name))
        except (errors.UserError, OSError) as error:
            team.tell(f"refused {error}")
            raise
        team.tell(f"resumed {claimed.path.absolute()}" if claimed.resumed else f"new {claimed.path.absolute()}")
        yield claimed


@contextlib.contextmanager
def _beside(team: Team, config: Any) -> Iterator[folder.RunFolder]:
    kind, _, told = team.tell("").partition(" ")
    if kind == "refused":
        raise errors.UserError(told)
    shared = Path(told)
    begun = time.monotonic()
    while not (shared / "config.json").is_file():
        if time.monotonic() - begun > _SHARED:
            errors.refuse("out", told, f"a folder that all processes see; process {team.process} does not")
        time.sleep(0.1)
    with tempfile.TemporaryDirectory(prefix="jaxpsn-") as scratch:
        path = Path(scratch)
        shutil.copyfile(shared / "config.json", path / "config.json")
        yield folder.RunFolder(path, folder.plain(config), kind == "resumed", shared=shared)

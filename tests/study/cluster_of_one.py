"""A Slurm of one node on loopback, as root: munge, slurmctld and slurmd, without accounts and cgroups."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd", "squeue", "sbatch")
SETTINGS = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket
CredType=cred/munge
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.log
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerParameters=sched_interval=1
KillWait=30
MinJobAge=300
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
PartitionName=short Nodes={host} MaxTime=1 State=UP
"""


def _ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextlib.contextmanager
def started():
    """While the block runs ``SLURM_CONF`` names a Slurm of one node, of as many CPUs as there are, but two at least."""
    if os.geteuid() != 0 or any(shutil.which(name) is None for name in PROGRAMS):
        pytest.skip("needs root, and Debian's slurmctld, slurmd, slurm-client and munge")
    root = Path(tempfile.mkdtemp(prefix="slurm-"))
    root.chmod(0o755)
    for name in ("state", "spool"):
        (root / name).mkdir()
    host = socket.gethostname().split(".")[0]
    (root / "slurm.conf").write_text(SETTINGS.format(host=host, root=root, ports=_ports(2), cpus=os.cpu_count()))
    (root / "key").write_bytes(os.urandom(128))
    (root / "key").chmod(0o400)
    munge = ["munged", "--foreground", "--force", f"--key-file={root}/key", f"--socket={root}/munge.socket"]
    munge += [f"--pid-file={root}/munged.pid", f"--log-file={root}/munged.log", f"--seed-file={root}/munged.seed"]
    environment = os.environ | {"SLURM_CONF": str(root / "slurm.conf")}
    daemons = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(root / "slurm.conf"))
        try:
            for command in (munge, ["slurmctld", "-D"], ["slurmd", "-D", "-N", host]):
                with (root / f"{command[0]}.out").open("w") as log:
                    daemons.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
                time.sleep(1.0)
            _await_idle(root)
            yield
        finally:
            for one in reversed(daemons):
                one.terminate()
            for one in daemons:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    one.wait(timeout=10)
                one.kill()
            shutil.rmtree(root, ignore_errors=True)


def _await_idle(root):
    for _ in range(60):
        told = subprocess.run(["sinfo", "--noheader", "--format=%T"], capture_output=True, text=True)
        if "idle" in told.stdout:
            return
        time.sleep(0.5)
    said = "\n".join(file.read_text()[-1000:] for file in root.glob("*.out"))
    pytest.fail(f"Slurm does not come up: {told.stdout} {told.stderr} {said}")

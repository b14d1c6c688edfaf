"""A SLURM cluster of two virtual nodes on this machine, for tests: munged, slurmctld and two slurmd, no accounting.

    python tests/slurm_cluster.py FOLDER        starts one, says how to use it, and stops it at Ctrl-C

Everything runs as the current user, listens on free ports of localhost, and keeps its files in one folder. Without
root the two nodes cannot change the user of a job, which is that user anyway.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

NODES = ("node1", "node2")
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo", "scontrol")
LARGEST_ARRAY = 3  # runs: small, so that tests see a submission cut into several arrays
START_SECONDS = 60.0
CONF = """\
ClusterName=clipbench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={here}/munge.socket
CryptoType=crypto/munge
StateSaveLocation={here}/state
SlurmdSpoolDir={here}/spool.%n
SlurmctldPidFile={here}/slurmctld.pid
SlurmdPidFile={here}/slurmd.%n.pid
SlurmctldLogFile={here}/slurmctld.log
SlurmdLogFile={here}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,batch_sched_delay=0,sched_min_interval=0
MpiDefault=none
ReturnToService=2
SlurmdTimeout=30
SlurmctldTimeout=10
InactiveLimit=0
KillWait=25
MinJobAge=10
MessageTimeout=5
MaxArraySize={largest}
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=2 RealMemory=1000 State=UNKNOWN\n"
PARTITION = "PartitionName=tests Nodes=node1,node2 Default=YES MaxTime=INFINITE State=UP\n"


def missing() -> list[str]:
    """The programs of SLURM that are not installed."""
    return [name for name in NEEDED if shutil.which(name, path=_path()) is None]


@dataclass
class Cluster:
    """A cluster in `here`; `environ` is what a command needs to use it."""

    here: Path
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def environ(self) -> Mapping[str, str]:
        return {"SLURM_CONF": str(self.here / "slurm.conf"), "PATH": _path()}

    def ask(self, *command: str) -> str:
        """What a command of SLURM answers."""
        environ = {**os.environ, **self.environ}
        return subprocess.run(command, env=environ, check=True, capture_output=True, text=True).stdout

    def start(self, name: str, *command: str) -> None:
        """Start a daemon in the foreground, in a session of its own."""
        with (self.here / f"{name}.out").open("ab") as out:
            environ = {**os.environ, **self.environ}
            self.daemons[name] = subprocess.Popen(
                command, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )

    def start_controller(self) -> None:
        self.start("slurmctld", "slurmctld", "-D")

    def start_node(self, name: str) -> None:
        self.start(name, "slurmd", "-D", "-N", name)

    def wait_until_idle(self) -> None:
        """Wait until every node takes jobs."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with suppress(subprocess.CalledProcessError):
                states = self.ask("sinfo", "--noheader", "--Node", "--format=%T").split()
                if states == ["idle"] * len(NODES):
                    return
            time.sleep(0.1)
        logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in self.here.glob("*.log"))
        raise RuntimeError(f"the cluster did not start:\n{logs}")

    def end(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop a daemon and wait for it."""
        daemon = self.daemons.pop(name)
        daemon.send_signal(how)
        try:
            daemon.wait(10)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def lose_node(self, name: str) -> None:
        """Kill a node at once with all that is at work there, as when its power fails, and have it noticed."""
        members = self.at_work(name)
        self.end(name, signal.SIGKILL)
        _kill(members)
        self.ask("scontrol", "update", f"nodename={name}", "state=down", "reason=lost")

    def at_work(self, name: str = "") -> list[psutil.Process]:
        """The processes of all jobs, or of those on one node, and those that look after the jobs."""
        return [member for step in self._steps(name) for member in (step, *_below(step))]

    def _steps(self, name: str) -> Iterator[psutil.Process]:
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if "slurmstepd" in process.name() and any(self._is_on(name, each) for each in _below(process)):
                    yield process

    def _is_on(self, name: str, process: psutil.Process) -> bool:
        environ = process.environ()
        return environ.get("SLURM_CONF") == self.environ["SLURM_CONF"] and name in ("", environ.get("SLURMD_NODENAME"))


def _below(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _kill(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


@contextmanager
def cluster(here: Path) -> Iterator[Cluster]:
    """A running cluster; at the end no process of it is left, nor of its jobs."""
    made = Cluster(here)
    _configure(here)
    try:
        made.start("munged", "munged", "--foreground", "--force", *_munge_files(here))
        made.start_controller()
        for name in NODES:
            made.start_node(name)
        made.wait_until_idle()
        yield made
    finally:
        with suppress(subprocess.CalledProcessError):
            made.ask("scancel", "--full", "--signal=KILL", f"--user={_user()}")
        left = made.at_work()
        for name in [*made.daemons][::-1]:
            made.end(name)
        _kill(left)


def _configure(here: Path) -> None:
    (here / "state").mkdir(parents=True)
    (here / "munge.key").write_bytes(os.urandom(1024))
    (here / "munge.key").chmod(0o400)
    controller, *nodes = _free_ports(1 + len(NODES))
    host = socket.gethostname().split(".")[0]
    conf = CONF.format(host=host, controller=controller, user=_user(), here=here, largest=LARGEST_ARRAY)
    for name, port in zip(NODES, nodes, strict=True):
        (here / f"spool.{name}").mkdir()
        conf += NODE.format(name=name, host=host, port=port)
    (here / "slurm.conf").write_text(conf + PARTITION)


def _munge_files(here: Path) -> list[str]:
    names = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    return [f"--{option}={here}/munge.{name}" for option, name in names.items()]


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])  # where Debian has the daemons


if __name__ == "__main__":
    for stopping in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stopping, signal.default_int_handler)
    with cluster(Path(sys.argv[1]).resolve()) as running:
        sys.stdout.write(f"export SLURM_CONF={running.environ['SLURM_CONF']}\n")
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            signal.pause()

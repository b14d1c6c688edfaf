"""SLURM for real: a cluster of two virtual nodes on this machine. Runs go on whatever happens to their jobs."""

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from conftest import NOT_INSTALLED
from console import CLIPBENCH, clipbench, environment, hashes, workplace
from promises import PROMISES
from slurm_cluster import Cluster, cluster, missing

from clipbench import store
from clipbench.running.engines import Need, chosen

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm")]  # one cluster, in one process

Answer = TypeVar("Answer")
ENGINE = ("--engine", "slurm", "--engine-opt", "grace=1")
PACED = ("--set", "optimizers.sgd.use=mine:Paced", "--set", "budget.steps=4000")
RUN = ("run", "long.yaml", *PACED, *ENGINE)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if absent := missing():
        pytest.skip(f"{NOT_INSTALLED}{absent[0]}")
    pytest.importorskip("submitit", reason=f"{NOT_INSTALLED}submitit")
    tests = str(Path(__file__).parents[1])  # where jobs find the tasks of tests
    path = os.pathsep.join(filter(None, [tests, os.environ.get("PYTHONPATH", "")]))
    with cluster(tmp_path_factory.mktemp("slurm")) as running, pytest.MonkeyPatch.context() as patch:
        for name, value in {**running.environ, "PYTHONPATH": path}.items():
            patch.setenv(name, value)
        yield running


@pytest.fixture(scope="module", autouse=True)
def limited(slurm: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run whose jobs have a time limit of a minute, at work while the other tests are."""
    del slurm
    here = workplace(tmp_path_factory.mktemp("limited"))
    with at_work(here, *RUN, "--set", "budget.steps=20000", "--engine-opt", "minutes=1"):
        yield here


@pytest.fixture
def here(tmp_path: Path, slurm: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the specs of tests, of which no job is left at the end."""
    monkeypatch.chdir(workplace(tmp_path))
    yield tmp_path
    assert wait_for(lambda: not jobs(slurm, tmp_path))


def wait_for(look: Callable[[], Answer], *, seconds: float = 60.0) -> Answer:
    """The first answer that is not empty, or the last."""
    deadline = time.monotonic() + seconds
    while not (answer := look()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return answer


def jobs(slurm: Cluster, here: Path) -> dict[str, str]:
    """The jobs of a folder's commands that have not ended, each with its node: empty where it waits."""
    lines = slurm.ask("squeue", "--noheader", "--array", "--states=PD,R", "--format=%i|%N|%Z").splitlines()
    return {job: node for job, node, folder in (line.split("|") for line in lines) if folder == str(here)}


@contextmanager
def at_work(here: Path, *command: str) -> Iterator[subprocess.Popen[str]]:
    """A command at work; what it says is in the file `said`."""
    with (
        (here / "said").open("w") as said,
        subprocess.Popen(
            [*CLIPBENCH, *command], cwd=here, env=environment(), stdout=said, stderr=said, text=True, process_group=0
        ) as process,
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def goes_on(here: Path) -> Path:
    """The folder of a run at work, once its worker has said something from now on."""
    since = time.time()
    path, *_ = wait_for(lambda: [path for path in here.rglob(store.HEARTBEAT) if path.stat().st_mtime > since])
    return path.parent


def job_after(slurm: Cluster, here: Path, latest: int) -> tuple[int, str]:
    """A later job that is at work, and its node."""
    running = wait_for(
        lambda: [(int(job), node) for job, node in jobs(slurm, here).items() if node and int(job) > latest]
    )
    return running[0]


def step(folder: Path) -> float:
    beat = store.read_heartbeat(folder)
    return beat["step"] if beat else 0


@pytest.mark.parametrize("promise", PROMISES)
def test_slurm_keeps(promise: str, here: Path) -> None:
    PROMISES[promise](lambda: chosen("slurm", ["grace=1"]).build(Need("cpu", 1)), here)


def test_a_run_goes_on_whatever_happens_to_its_job_and_ends_where_it_would_have(here: Path, slurm: Cluster) -> None:
    with at_work(here, *RUN) as command:
        folder = goes_on(here)
        command.kill()
    [job] = jobs(slurm, here)  # it outlives the command
    with at_work(here, *RUN, "--retries", "1") as command:
        assert wait_for(lambda: len(jobs(slurm, here)) == 2)
        trial = max(map(int, jobs(slurm, here)))  # of the arms
        assert wait_for(lambda: [*jobs(slurm, here)] == [job])
        goes_on(here)
        assert [*jobs(slurm, here)] == [job]  # adopted
        slurm.end("slurmctld")
        time.sleep(3)
        slurm.start_controller()
        goes_on(here)
        slurm.ask("scancel", job)
        second, node = job_after(slurm, here, trial)
        kept = step(folder)  # by the checkpoint that the first has left
        goes_on(here)
        assert step(folder) >= kept > 0
        slurm.lose_node(node)
        _, other = job_after(slurm, here, second)
        assert other != node
        goes_on(here)
        assert step(folder) >= kept
        slurm.start_node(node)
        slurm.ask("scontrol", "update", f"nodename={node}", "state=resume")
        worker = next(each for each in slurm.at_work() if (folder / store.LOG).samefile(f"/proc/{each.pid}/fd/1"))
        worker.kill()  # the first of two tries
        wait_for(lambda: not worker.is_running())
        goes_on(here)
        (here / "quick").touch()
        code = command.wait()
    said = (here / "said").read_text()
    assert code == 0, said
    assert said.count("was lost with its machine, and is started again, from its checkpoint") == 2, said
    assert clipbench(here, "run", "long.yaml", *PACED, "-o", "undisturbed").returncode == 0
    assert hashes(here / "results") == hashes(here / "undisturbed")
    assert not [*here.rglob(store.JOB), *here.glob(".clipbench-slurm")]


def test_ctrl_c_leaves_checkpoints_and_no_job_at_work_or_queued(here: Path, slurm: Cluster) -> None:
    with at_work(here, *RUN, "--seeds", "0..5") as command:
        folder = goes_on(here)
        assert wait_for(lambda: [*jobs(slurm, here).values()].count("") >= 2)
        command.send_signal(signal.SIGINT)
        assert command.wait() == 130
        assert wait_for(lambda: not jobs(slurm, here), seconds=15)  # whose processes have told how they ended, and go
    assert (here / "said").read_text().splitlines()[-1].startswith("resume with: clipbench run long.yaml")
    assert (folder / store.CHECKPOINT).exists()
    assert not [*here.rglob(store.JOB), *here.glob(".clipbench-slurm")]


def test_what_is_left_to_the_cluster_is_followed_and_adopted(here: Path, slurm: Cluster) -> None:
    words = ("good.yaml", "--filter", "[as]*", "--engine", "slurm")
    left = clipbench(here, "run", *words, "--detach")
    assert left.returncode == 0
    assert left.stderr.splitlines()[-1] == "next: clipbench status good.yaml --filter '[as]*' --engine slurm"
    known = jobs(slurm, here)
    names = [store.read_job(path.parent) for path in here.rglob(store.JOB)]
    assert sorted(each["index"] for each in names if each) == [0, 0, 1, 2]  # an array is cut at three jobs
    followed = clipbench(here, "status", *words)
    assert followed.stderr.startswith("again: clipbench status good.yaml")
    assert "4 runs: " in followed.stdout
    assert "done" not in followed.stdout.splitlines()[-1]
    again = clipbench(here, "run", *words, "--detach")
    assert again.returncode == 0
    assert jobs(slurm, here).keys() <= known.keys()
    made = clipbench(here, "run", *words)
    assert made.returncode == 0, made.stderr
    ended = clipbench(here, "status", *words)
    assert ended.stdout.splitlines()[-1] == "4 runs: 4 done"
    assert ended.stderr == "next: clipbench compare results/good\n"


def test_a_run_that_reaches_its_time_limit_goes_on_in_another_job(limited: Path, slurm: Cluster) -> None:
    assert wait_for(lambda: "started again, from its checkpoint" in (limited / "said").read_text(), seconds=120)
    goes_on(limited)
    (limited / "quick").touch()
    assert wait_for(lambda: not jobs(slurm, limited))
    assert wait_for(lambda: "next: clipbench compare" in (limited / "said").read_text())


def test_the_commands_of_the_page_on_slurm_work(here: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/slurm.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\$ clipbench (.*)", page, re.MULTILINE)
    assert len(commands) == 3
    for command in commands[1:] + commands[:1]:
        done = clipbench(here, *shlex.split(command), "--filter", "sgd")
        assert done.returncode == 0, done.stderr
    assert len(hashes(here / "results")) == 1

"""Faults that are caused for real: a full or read-only disk, memory that runs out, a worker that hangs, odd clocks.

Each time no file is corrupt, nothing counts as done that is not, the same command goes on, and no process is left.
"""

import os
import platform
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from console import CLIPBENCH, clipbench, contents, environment, hashes, records, workplace
from making import make_run
from test_interruptions import at_work, nobody_is_left, wait_for_a_sign_of_life, wait_for_a_step

from clipbench import store
from clipbench.errors import DONE, STOPPED
from clipbench.records import Choice

pytestmark = pytest.mark.slow

COMMAND = ("run", "unlucky.yaml", "-o", "disk/results")
MEMORY = Path("/sys/fs/cgroup/memory")


def mounted(*words: object) -> None:
    """Mount something, or skip the test."""
    done = subprocess.run(["mount", *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no right to mount ({done.stderr.strip()})")


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Path]:
    """A workplace with a disk of 1 MB in it, called `disk`."""
    workplace(tmp_path)
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted("-t", "tmpfs", "-o", "size=1m", "none", disk)
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", "--recursive", "--lazy", disk], check=True)


def fill(disk: Path, *, left: int = 0) -> None:
    """Write until the disk is full but for so many pages of 4 kB."""
    with (disk / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            file.truncate(file.tell() // 4096 * 4096 - left * 4096)


@dataclass(frozen=True)
class Before:
    """The results folder of a run that was asked to stop after some steps, and the hashes that it is to end with."""

    results: Path
    ends: dict[str, str]

    def put(self, here: Path) -> Path:
        """Copy the results to a workplace; the run's folder there."""
        shutil.copytree(self.results, here / "disk/results")
        return next(here.rglob(store.CHECKPOINT)).parent


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Before:
    there = workplace(tmp_path_factory.mktemp("before"))
    with at_work(there, *COMMAND) as process:
        folder = wait_for_a_sign_of_life(there, after=0.0)
        while (store.read_heartbeat(folder) or {"step": 0})["step"] < 5:
            time.sleep(0.02)
        process.terminate()
        process.communicate(timeout=60)
    assert (folder / store.CHECKPOINT).exists()
    (there / "fate").write_text("hurried")
    assert clipbench(there, *COMMAND[:2], "-o", "undisturbed").returncode == 0
    return Before(there / "disk/results", hashes(there / "undisturbed"))


def ends_as_undisturbed(here: Path, before: Before) -> None:
    """The same command makes the run: it goes on from its checkpoint, and its numbers are those of any other."""
    (here / "fate").unlink(missing_ok=True)
    steps: set[float] = set()
    with at_work(here, *COMMAND) as process:
        while process.poll() is None:
            for beat in here.glob(f"disk/**/{store.HEARTBEAT}"):
                if last := store.read_heartbeat(beat.parent):
                    steps.add(last["step"])
            time.sleep(0.02)
    assert process.returncode == 0
    assert min(steps) >= 5
    assert hashes(here / "disk/results") == before.ends != {}


def test_a_disk_that_fills_up_costs_no_more_than_the_steps_since_a_checkpoint(here: Path, before: Before) -> None:
    folder = before.put(here)
    with at_work(here, *COMMAND) as process:
        wait_for_a_sign_of_life(here, after=time.time())
        fill(here / "disk")
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 4
    assert f"could not write its result into {folder.relative_to(here)}: the disk is full; once it can, run the" in said
    assert "Traceback" not in said
    assert nobody_is_left(process.pid)
    assert [record.outcome for record in records(here / "disk").values()] == [None]
    (here / "disk/filler").unlink()
    ends_as_undisturbed(here, before)


def test_a_disk_that_is_full_before_the_first_run_refuses_the_command(here: Path) -> None:
    fill(here / "disk")
    done = clipbench(here, *COMMAND)
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_checkpoint_that_has_no_room_leaves_the_one_before(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is room for the word that the run failed, and that word would take the checkpoint away."""
    from clipbench.running import worker

    disk, run = here / "disk", make_run(steps=20, task=Choice("noisy", "noisy", "faulty:noisy"))
    folder = store.folder_of(run, disk)
    store.describe(run, folder)
    asked = iter([False] * 10)
    monkeypatch.setattr(worker, "CHECKPOINT_SECONDS", 0.0)
    assert worker.work(folder, device="cpu", side_by_side=1, stop=lambda: next(asked, True)) == STOPPED
    kept = (folder / store.CHECKPOINT).read_bytes()
    fill(disk, left=3)
    assert worker.work(folder, device="cpu", side_by_side=1, stop=lambda: False) == os.EX_IOERR
    assert (folder / store.CHECKPOINT).read_bytes() == kept
    assert store.read_outcome(folder) is None
    (disk / "filler").unlink()
    assert worker.work(folder, device="cpu", side_by_side=1, stop=lambda: False) == DONE


def test_a_read_only_folder_is_refused_and_can_be_read(here: Path) -> None:
    assert clipbench(here, "run", "good.yaml", "-o", "disk/results", "--seeds", "0").returncode == 0
    mounted("-o", "remount,ro", here / "disk")
    there = contents(here / "disk")
    done = clipbench(here, "run", "good.yaml", "-o", "disk/results")
    assert done.returncode == 2
    assert "disk/results/good/.lock: cannot write this file (Read-only file system)" in done.stderr
    assert "choose another results folder with -o" in done.stderr
    assert "adam" in clipbench(here, "list", "runs", "disk/results").stdout
    assert contents(here / "disk") == there


@contextmanager
def little_memory() -> Iterator[Path]:
    """A group of processes that have 1 GiB together; the kernel kills the largest where they want more."""
    group = MEMORY / f"clipbench-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(1 << 30))
    except OSError as error:
        pytest.skip(f"no right to bound the memory of processes ({error})")
    try:
        yield group
    finally:
        group.rmdir()


def test_a_worker_that_the_kernel_kills_for_memory_loses_its_run_alone(here: Path) -> None:
    (here / "fate").write_text("hungry")
    with little_memory() as group:
        join = f'echo $$ > {group}/cgroup.procs; exec "$@"'
        with subprocess.Popen(
            ["sh", "-c", join, "sh", *CLIPBENCH, *COMMAND],
            cwd=here,
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            said = process.communicate(timeout=60)[1]
        assert nobody_is_left(process.pid)
    assert process.returncode == 4, said
    assert "the worker was killed by signal 9, as when memory runs out" in said
    [record] = records(here / "disk").values()
    assert record.outcome
    assert record.outcome.status == "failed"


@pytest.mark.parametrize("command", [(), ("--timeout", "3")])
def test_a_worker_that_hangs_and_is_deaf_is_killed(here: Path, before: Before, command: tuple[str, ...]) -> None:
    """By its timeout, or by a second Ctrl-C."""
    folder = before.put(here)
    (here / "fate").write_text("deaf")
    with at_work(here, *COMMAND, *command) as process:
        wait_for_a_step(here)
        assert process.stderr is not None
        if not command:
            os.killpg(process.pid, signal.SIGINT)
            while "stopping: " not in process.stderr.readline():
                assert process.poll() is None
            os.killpg(process.pid, signal.SIGINT)
        said = process.communicate(timeout=15)[1]
    assert process.returncode == (4 if command else 130)
    assert nobody_is_left(process.pid)
    if command:
        assert "failed: 0 steps in 0 s, timed out after 3 s" in said
    else:
        assert said.splitlines()[-2:] == [
            "interrupted: 0 of 1 runs are done; 1 unfinished run kept a checkpoint",
            "resume with: clipbench run unlucky.yaml -o disk/results",
        ]
        assert (folder / store.CHECKPOINT).exists()
        (here / "fate").unlink()
        ends_as_undisturbed(here, before)


def test_of_two_commands_at_the_same_moment_the_second_is_refused(here: Path) -> None:
    """The other on a machine of another name: who holds the results is said."""
    elsewhere = ["unshare", "--uts", "sh", "-c", 'hostname elsewhere && exec "$@"', "sh"]
    if subprocess.run([*elsewhere, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no right to give processes another host name")
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    both = [
        subprocess.Popen([*words, *CLIPBENCH, *COMMAND], cwd=here, env=environment(), **pipes)  # type: ignore[call-overload]
        for words in ([], elsewhere)
    ]
    said = [process.communicate(timeout=60)[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 2]
    winner = 0 if both[0].returncode == 0 else 1
    host = "elsewhere" if winner else platform.node()
    place = "disk/results/unlucky: another `clipbench run` is at work here"
    assert f"error: {place} (process {both[winner].pid} on {host})\n" in said[1 - winner]
    assert len(records(here / "disk")) == 1
    assert (here / "disk/results/unlucky/.lock").read_bytes() == b""


SET_BACK = """
import time
_true, _began = time.time, time.monotonic()
time.time = lambda: _true() - (18_000 if time.monotonic() - _began > 1 else 0)
"""


def test_a_clock_that_is_set_back_changes_nothing(here: Path, before: Before) -> None:
    """By five hours in every process, a second after it began; and files of next year and of long ago."""
    folder = before.put(here)
    for number, path in enumerate(sorted(folder.iterdir())):
        os.utime(path, (when := 0 if number % 2 else time.time() + 3e7, when))
    (here / "clock").mkdir()
    (here / "clock/sitecustomize.py").write_text(SET_BACK)
    paths = os.pathsep.join([str(here / "clock"), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = clipbench(here, *COMMAND, environ=environment(PYTHONPATH=paths))
    assert done.returncode == 0, done.stderr
    [record] = records(here / "disk").values()
    assert record.outcome
    assert 0 < record.outcome.train_seconds < record.outcome.wall_seconds < 60
    assert all(0 <= row.seconds < 60 for row in record.measurements)
    assert abs(record.outcome.started - time.time()) > 17_000  # the clock was set back
    assert "nothing to do" in clipbench(here, *COMMAND).stderr
    assert hashes(here / "disk") == before.ends

"""Runs that are stopped, killed or refused half-way: nothing is lost, nobody is left behind, and all can go on."""

import fcntl
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from console import CLIPBENCH, clipbench, contents, environment, hashes, records, workplace

from clipbench import store

pytestmark = pytest.mark.slow  # commands at work are interrupted and killed

COMMAND = ("run", "long.yaml", "-o", "made here")
RESUME = "resume with: clipbench run long.yaml -o 'made here'"


def left(session: int) -> list[psutil.Process]:
    """The processes of a session that are at work."""
    there = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                there.append(process)
    return there


def nobody_is_left(session: int) -> bool:
    """The command has waited for its processes; what only keeps count of semaphores may see it a little later."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and left(session):
        time.sleep(0.01)
    return not left(session)


def heed_all() -> None:
    """In a new process: stop for every signal that asks for it, also where the tests were started by `nohup`."""
    for each in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_DFL)


@contextmanager
def at_work(here: Path, *command: str) -> Iterator[subprocess.Popen[str]]:
    """The command at work, in a process group of its own as a shell would have it."""
    with subprocess.Popen(
        [*CLIPBENCH, *(command or COMMAND)],
        cwd=here,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heed_all,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def wait_for_a_sign_of_life(here: Path, *, after: float) -> Path:
    """The run's folder, once its worker has said something since the moment `after`."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for path in here.rglob(store.HEARTBEAT):
            if path.stat().st_mtime > after:
                return path.parent
        time.sleep(0.01)
    raise AssertionError("the run has not begun in a minute")


def interrupted_while_torch_is_loading(here: Path) -> None:
    """The key reaches every process of the terminal: one of them is in the midst of its imports, and stays quiet."""
    with at_work(here) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "trying 1 arm on quadratic\n"
        time.sleep(0.5)
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert "Traceback" not in said
    assert said.splitlines()[-1] == RESUME
    assert nobody_is_left(process.pid)


def refused_a_second_time(here: Path) -> None:
    """Another command for a folder where one is at work changes nothing there, not even the question."""
    before = {path: path.read_bytes() for path in here.rglob(store.QUESTION)}
    second = clipbench(here, *COMMAND, "--set", "optimizers.sgd.lr=0.00002")
    assert second.returncode == 2
    assert second.stdout == ""
    assert "another `clipbench run` is at work here" in second.stderr
    assert {path: path.read_bytes() for path in here.rglob(store.QUESTION)} == before


def stopped_at_work(here: Path, stop: signal.Signals, *, group: bool) -> None:
    """The whole group hears it, or the command alone: each time it leaves a checkpoint and says how to go on."""
    with at_work(here) as process:
        folder = wait_for_a_sign_of_life(here, after=time.time())
        if stop is signal.SIGINT:
            refused_a_second_time(here)
            assert process.poll() is None
        if group:
            os.killpg(process.pid, stop)
        else:
            process.send_signal(stop)
        product, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert product == ""
    assert said.splitlines()[-2:] == [
        "interrupted: 0 of 1 runs are done; 1 unfinished run kept a checkpoint",
        RESUME,
    ]
    assert nobody_is_left(process.pid)
    assert (folder / store.CHECKPOINT).exists()
    assert [record.outcome for record in records(here / "made here").values()] == [None]


def killed_at_work(here: Path) -> None:
    """No worker outlives its supervisor by more than a moment."""
    with at_work(here) as process:
        wait_for_a_sign_of_life(here, after=time.time())
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        gone, alive = psutil.wait_procs(children, timeout=10)
    assert len(gone) >= 2  # the server that forks, and the worker
    assert not alive


def test_a_run_that_is_stopped_in_every_way_ends_where_it_would_have_ended(tmp_path: Path) -> None:
    workplace(tmp_path)
    interrupted_while_torch_is_loading(tmp_path)
    stopped_at_work(tmp_path, signal.SIGINT, group=True)
    stopped_at_work(tmp_path, signal.SIGTERM, group=False)
    stopped_at_work(tmp_path, signal.SIGTERM, group=True)
    stopped_at_work(tmp_path, signal.SIGHUP, group=True)
    killed_at_work(tmp_path)
    done = clipbench(tmp_path, *COMMAND)
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1] == "next: clipbench compare 'made here/long'"
    record = records(tmp_path / "made here")["quadratic/sgd/seed 0"]
    assert clipbench(tmp_path, "run", "long.yaml", "-o", "undisturbed").returncode == 0
    undisturbed = records(tmp_path / "undisturbed")["quadratic/sgd/seed 0"]
    assert hashes(tmp_path / "made here") == hashes(tmp_path / "undisturbed")
    assert [(row.step, row.quantity) for row in record.measurements] == [
        (row.step, row.quantity) for row in undisturbed.measurements
    ]


def slow(here: Path, seconds: float) -> tuple[str, ...]:
    """A command whose every step takes so long, from the check of life on."""
    workplace(here)
    return *COMMAND, "--set", "optimizers.sgd.use=mine:Slow", "--set", f"optimizers.sgd.seconds={seconds}"


def wait_for_a_step(here: Path) -> None:
    deadline = time.monotonic() + 60
    while not (here / "stepping").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_run_whose_steps_are_only_tried_as_yet_stops_after_one_of_them(tmp_path: Path) -> None:
    """The check of life would take minutes, and what is told to stop has 20 s."""
    with at_work(tmp_path, *slow(tmp_path, 3.0)) as process:
        wait_for_a_step(tmp_path)
        os.killpg(process.pid, signal.SIGTERM)
        said = process.communicate(timeout=60)[1].splitlines()
    assert process.returncode == 130
    assert "stopping: runs at work have 20 s to leave a checkpoint; again: kill" in said
    assert said[-2] == "interrupted: 0 of 1 runs are done; 1 unfinished run starts again from step 0"
    assert nobody_is_left(process.pid)
    [heartbeat] = tmp_path.rglob(store.HEARTBEAT)
    last = store.read_heartbeat(heartbeat.parent)
    assert last is not None
    assert last["stopping"]  # it was not killed
    assert [record.outcome for record in records(tmp_path / "made here").values()] == [None]


def test_asked_a_second_time_a_command_kills_what_is_at_work(tmp_path: Path) -> None:
    with at_work(tmp_path, *slow(tmp_path, 600.0)) as process:
        wait_for_a_step(tmp_path)
        assert process.stderr is not None
        os.killpg(process.pid, signal.SIGTERM)
        while "stopping: " not in process.stderr.readline():
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGTERM)
        said = process.communicate(timeout=15)[1].splitlines()  # sooner than after 20 s
    assert process.returncode == 130
    assert said[-2] == "interrupted: 0 of 1 runs are done; 1 unfinished run starts again from step 0"
    assert nobody_is_left(process.pid)


def test_a_terminal_that_closes_leaves_nobody_at_work(tmp_path: Path) -> None:
    """The display can no longer be drawn, and the run is stopped as by Ctrl-C."""
    workplace(tmp_path)
    ours, theirs = os.openpty()

    def have_a_terminal() -> None:
        heed_all()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [*CLIPBENCH, *COMMAND],
        cwd=tmp_path,
        env=environment(TERM="xterm"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=have_a_terminal,
    )
    os.close(theirs)
    folder = wait_for_a_sign_of_life(tmp_path, after=0.0)
    os.close(ours)
    process.wait(timeout=60)
    assert nobody_is_left(process.pid)
    assert store.read_outcome(folder) is None
    assert (folder / store.CHECKPOINT).exists()


def test_ctrl_c_while_the_command_is_loading_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = clipbench(tmp_path, "run", "long.yaml", environ=environment(PYTHONPATH=path))
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def said_to_nobody(here: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command whose reader is gone before a word was said."""
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(
        [*CLIPBENCH, *words],
        cwd=here,
        env=environment(),
        stdout=theirs,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(theirs)
    return done


@pytest.mark.parametrize("words", [["schema"], ["list", "tasks"], ["list", "optimizers"]])
def test_a_reader_that_leaves_ends_the_command_without_a_word(tmp_path: Path, words: list[str]) -> None:
    done = said_to_nobody(tmp_path, *words)
    assert done.returncode == -signal.SIGPIPE
    assert done.stderr == ""


def test_a_reader_of_events_that_leaves_ends_the_command_as_it_ends_others(tmp_path: Path) -> None:
    workplace(tmp_path)
    done = said_to_nobody(tmp_path, "run", "good.yaml", "--format", "jsonl")
    assert done.returncode == -signal.SIGPIPE
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is a device of Linux")
@pytest.mark.parametrize("words", [("run", "good.yaml", "--format", "jsonl"), ("list", "tasks")])
def test_a_full_disk_under_the_events_or_the_product_is_said_plainly(tmp_path: Path, words: tuple[str, ...]) -> None:
    workplace(tmp_path)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*CLIPBENCH, *words],
            cwd=tmp_path,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert "error: cannot write to stdout (No space left on device)" in done.stderr


def test_a_folder_that_cannot_be_written_is_that_runs_failure_and_not_the_suites(tmp_path: Path) -> None:
    """As on a full disk: here a file lies where the folder of an arm should be."""
    workplace(tmp_path)
    (tmp_path / "results/good/quadratic").mkdir(parents=True)
    (tmp_path / "results/good/quadratic/adam").write_text("not a folder")
    done = clipbench(tmp_path, "run", "good.yaml", "--seeds", "0")
    assert done.returncode == 4
    assert "adam/seed 0 failed" in done.stderr
    assert "results/good/quadratic/adam: this is no folder (it is a file)" in done.stderr
    made = records(tmp_path / "results")
    assert {name for name, record in made.items() if record.outcome} == {
        "quadratic/sgd/seed 0",
        "quadratic/wild/seed 0",
    }
    assert list(contents(tmp_path / "results/good/quadratic")).count("adam") == 1

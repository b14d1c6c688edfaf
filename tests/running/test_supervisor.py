"""Order, retries, timeouts and losses, on an engine of our own that misbehaves, and on this machine's processes."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing import forkserver
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import psutil
import pytest
from making import make_run

from clipbench import store
from clipbench.errors import DONE, STOPPED, ClipbenchError
from clipbench.records import Arm, Choice, Measure, Outcome, Run
from clipbench.report import progress
from clipbench.running import forking, logs, supervisor
from clipbench.running.engines import GONE, LOST, Answer, Asked, Handle, Need, Slot
from clipbench.running.engines.local import LocalEngine
from clipbench.running.supervisor import InterruptedRunsError, Policy, supervise

FINISHED = Outcome("finished", steps=1)
CPU = Need("cpu", 1)


@dataclass
class Events:
    """A watcher that only remembers."""

    began: list[Run] = field(default_factory=list)
    ended: list[tuple[Run, str]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    beats: int = 0

    def started(self, run: Run) -> None:
        self.began.append(run)

    def advanced(self, run: Run, progress: float, text: str) -> None:  # noqa: ARG002
        self.texts.append(text)

    def finished(self, run: Run, outcome: Outcome) -> None:
        self.ended.append((run, outcome.status))

    def heartbeat(self) -> None:
        self.beats += 1

    def log(self, text: str) -> None:
        self.said.append(text)


class FakeEngine:
    """Ends each submission as its script says: an Outcome is written, a number is an exit code without one."""

    def __init__(
        self,
        *script: Outcome | int,
        slots: int = 1,
        delay: int = 2,
        stopping: bool = False,
        removing: bool = False,
        beating: bool = False,
    ) -> None:
        self.script, self.delay = list(script), delay
        self.slots: Sequence[Slot] = [("cpu", ())] * slots
        self.stopping, self.removing, self.beating = stopping, removing, beating
        self.submitted: list[Path] = []
        self.busy: dict[Handle, int] = {}
        self.most_at_once = 0
        self.killed: list[Handle] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    @property
    def about(self) -> str:
        return f"{len(self.slots)} at a time"

    def capacity(self) -> int:
        return len(self.slots) - len(self.busy)

    def call(self, function: Callable[Asked, Answer], *args: Asked.args, **kwargs: Asked.kwargs) -> Answer:
        return function(*args, **kwargs)

    def submit(self, folder: Path) -> Handle:
        handle = Handle(len(self.submitted), folder)
        self.submitted.append(folder)
        self.busy[handle] = self.delay
        self.most_at_once = max(self.most_at_once, len(self.busy))
        return handle

    def begun(self, handle: Handle) -> bool:  # noqa: ARG002
        return True

    def poll(self, handle: Handle) -> int | None:
        if handle not in self.busy:
            return DONE
        self.busy[handle] -= 1
        if self.busy[handle] > 0:
            if self.beating and self.busy[handle] == self.delay // 2:
                store.write_heartbeat(handle.folder, progress=0.5, step=3, loss=2.0)
            return None
        del self.busy[handle]
        if handle in self.killed:
            return -9
        if self.stopping:
            store.write_heartbeat(handle.folder, progress=0.5, step=3, loss=1.0, stopping=True)
        if self.removing:
            shutil.rmtree(handle.folder)
        end = self.script.pop(0)
        if isinstance(end, Outcome):
            store.finish(handle.folder, end, None)
            return DONE
        return end

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def cancel(self, handle: Handle, *, kill: bool) -> None:
        if kill:
            self.killed.append(handle)
        self.busy[handle] = 1


class Saving(FakeEngine):
    """Its workers leave a checkpoint as far as their script has one, and are killed."""

    def poll(self, handle: Handle) -> int | None:
        code = super().poll(handle)
        if code is not None and self.script.pop(0):
            (handle.folder / store.CHECKPOINT).write_text(str(len(self.script)))
        return code


class Unseen(FakeEngine):
    """Sees that a worker has ended, and not how."""

    def poll(self, handle: Handle) -> int | None:
        return None if super().poll(handle) is None else LOST


def runs(count: int) -> list[Run]:
    return [make_run(seed=seed) for seed in range(count)]


def test_runs_start_in_their_order_and_never_more_than_there_are_slots(tmp_path: Path) -> None:
    engine, events = FakeEngine(*[FINISHED] * 5, slots=2), Events()
    ended = supervise(runs(5), tmp_path, engine=engine, watcher=events)
    assert events.began == runs(5)
    assert engine.most_at_once == 2
    assert [outcome.status for _, outcome in ended] == ["finished"] * 5
    assert not store.missing(runs(5), tmp_path)


@pytest.mark.parametrize(
    ("code", "reason"), [(-9, "killed by signal 9"), (1, "exit code 1; its log is"), (DONE, "exit code 0; its log is")]
)
def test_a_worker_that_leaves_no_outcome_is_a_failed_run_and_the_next_goes_on(
    tmp_path: Path, code: int, reason: str
) -> None:
    events = Events()
    ended = supervise(runs(2), tmp_path, engine=FakeEngine(code, FINISHED), watcher=events)
    assert reason in ended[0][1].reason
    assert events.ended == [(runs(2)[0], "failed"), (runs(2)[1], "finished")]
    assert store.missing(runs(2), tmp_path) == runs(1)
    kept = store.read_outcome(store.folder_of(runs(1)[0], tmp_path))
    assert kept is not None
    assert kept.status == "failed"


def test_a_crash_is_tried_again_as_often_as_allowed_and_first(tmp_path: Path) -> None:
    engine, events = FakeEngine(1, Outcome("failed"), FINISHED, FINISHED), Events()
    ended = supervise(runs(2), tmp_path, engine=engine, watcher=events, policy=Policy(retries=2))
    assert [run.seed for run in events.began] == [0, 0, 0, 1]
    assert [outcome.status for _, outcome in ended] == ["finished", "finished"]
    assert len(events.ended) == 2


def test_a_run_that_gets_further_each_time_that_it_is_lost_is_started_for_ever(tmp_path: Path) -> None:
    class Limited(FakeEngine):
        def submit(self, folder: Path) -> Handle:
            handle = super().submit(folder)
            (folder / store.CHECKPOINT).write_text(str(handle.number))
            os.utime(folder / store.CHECKPOINT, ns=(handle.number, handle.number))
            return handle

    engine = Limited(*[GONE] * 8, FINISHED)
    [(_, outcome)] = supervise([make_run()], tmp_path, engine=engine, watcher=Events())
    assert outcome.status == "finished"
    assert len(engine.submitted) == 9


def test_the_longest_of_the_last_runs_are_made_first(tmp_path: Path) -> None:
    """Two slots: of the last runs, those of the slow arm begin before those of the fast one."""
    fast, slow = (make_run().arm, Arm("slow", make_run().arm.optimizer))
    planned = [make_run(arm=arm, seed=seed) for seed in range(3) for arm in (fast, slow)]
    took = {"sgd": 1.0, "slow": 9.0}
    engine, events = FakeEngine(slots=2), Events()
    engine.script = [replace(FINISHED, wall_seconds=took[run.arm.name]) for run in planned]
    engine.script[4:] = [replace(FINISHED, wall_seconds=9.0), replace(FINISHED, wall_seconds=1.0)]
    supervise(planned, tmp_path, engine=engine, watcher=events)
    assert [run.arm.name for run in events.began] == ["sgd", "slow", "sgd", "slow", "slow", "sgd"]
    assert events.began[:4] == planned[:4]


def test_a_run_that_was_lost_with_its_machine_goes_on_up_to_three_times_and_stays_unfinished(tmp_path: Path) -> None:
    engine, events = FakeEngine(GONE, GONE, FINISHED), Events()
    [(_, outcome)] = supervise(runs(1), tmp_path / "a", engine=engine, watcher=events)
    assert outcome.status == "finished"
    assert len(events.said) == 2
    engine = FakeEngine(*[GONE] * 4)
    [(run, outcome)] = supervise(runs(1), tmp_path / "b", engine=engine, watcher=Events())
    assert outcome.reason.startswith("it was lost with its machine; run the spec again")
    assert store.read_outcome(store.folder_of(run, tmp_path / "b")) is None


def test_what_waits_in_a_queue_takes_none_of_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, events = FakeEngine(FINISHED, delay=10), Events()
    monkeypatch.setattr(engine, "begun", lambda _: engine.busy and min(engine.busy.values()) < 4)
    [(_, outcome)] = supervise(runs(1), tmp_path, engine=engine, watcher=events, policy=Policy(timeout=0.3))
    assert outcome.status == "finished"
    assert list(dict.fromkeys(events.texts)) == ["queued", "preparing"]


def test_a_diverged_run_is_never_tried_again(tmp_path: Path) -> None:
    engine = FakeEngine(Outcome("diverged"))
    ended = supervise(runs(1), tmp_path, engine=engine, watcher=Events(), policy=Policy(retries=5))
    assert [outcome.status for _, outcome in ended] == ["diverged"]
    assert len(engine.submitted) == 1


def test_a_run_that_is_killed_goes_on_for_as_long_as_it_leaves_checkpoints(tmp_path: Path) -> None:
    """One that always needs too much memory has failed once it comes no further."""
    kept = []
    for saved in (1, 1, 0):
        [(run, outcome)] = supervise(runs(1), tmp_path, engine=Saving(-signal.SIGKILL, saved), watcher=Events())
        assert ("it goes on from its last checkpoint" in outcome.reason) == bool(saved)
        kept.append(store.read_outcome(store.folder_of(run, tmp_path)))
    assert kept == [None, None, outcome]


@pytest.mark.slow
def test_a_run_over_its_time_is_killed_and_says_so(tmp_path: Path) -> None:
    engine = FakeEngine(FINISHED, delay=10**9)
    ended = supervise(runs(1), tmp_path, engine=engine, watcher=Events(), policy=Policy(timeout=0.1))
    assert ended[0][1].reason == "timed out after 0.1 s"


def test_a_watcher_hears_a_heartbeat_far_more_often_than_it_speaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two clocks of a minute, one after the other, up to two minutes would pass in silence."""
    assert supervisor.HEARTBEAT_SECONDS * 30 <= progress.HEARTBEAT_SECONDS
    monkeypatch.setattr(supervisor, "HEARTBEAT_SECONDS", 0.0)
    events = Events()
    supervise(runs(1), tmp_path, engine=FakeEngine(FINISHED, delay=4), watcher=events)
    assert events.beats >= 4  # one a poll


@pytest.mark.parametrize(
    ("quiet", "words"),
    [
        (60.0, ["preparing", "step 3, loss 2"]),
        (0.0, ["preparing for 0 s", "step 3, loss 2; no step for 0 s"]),
    ],
)
def test_a_watcher_hears_how_far_a_run_is_and_for_how_long_no_step_was_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quiet: float, words: list[str]
) -> None:
    """A sign of life that an earlier process left is none of this one's."""
    [run] = runs(1)
    folder = store.folder_of(run, tmp_path)
    store.describe(run, folder)
    store.write_heartbeat(folder, progress=0.25, step=2, loss=1.0)
    monkeypatch.setattr(supervisor, "QUIET_SECONDS", quiet)
    events = Events()
    supervise([run], tmp_path, engine=FakeEngine(1, delay=6, beating=True), watcher=events)
    assert list(dict.fromkeys(events.texts)) == words


@pytest.mark.parametrize(
    ("seconds", "text"), [(59.9, "preparing"), (60.0, "preparing for 60 s"), (89.0, "preparing for 75 s")]
)
def test_the_seconds_without_a_step_are_told_in_quarters_of_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, text: str
) -> None:
    monkeypatch.setattr(supervisor, "time", SimpleNamespace(monotonic=lambda: seconds))
    job = supervisor._Job(
        supervisor._Waiting(runs(1)[0]), tmp_path, Handle(1, tmp_path), beat=0, heard=0.0, started=0.0
    )
    events = Events()
    supervisor._Supervision(tmp_path, FakeEngine(), events, Policy())._tell_how_far(job)
    assert events.texts == [text]


def test_a_step_begins_the_time_without_a_step_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 100.0, 180.0])
    monkeypatch.setattr(supervisor, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    job = supervisor._Job(
        supervisor._Waiting(runs(1)[0]), tmp_path, Handle(1, tmp_path), beat=0, heard=0.0, started=0.0
    )
    store.write_heartbeat(tmp_path, progress=0.5, step=3, loss=2.0)
    events = Events()
    for _ in range(2):
        supervisor._Supervision(tmp_path, FakeEngine(), events, Policy())._tell_how_far(job)
    assert events.texts == ["step 3, loss 2", "step 3, loss 2; no step for 75 s"]


@pytest.mark.parametrize("stopping", [False, True])
def test_a_worker_whose_end_nobody_saw_ended_as_its_folder_says(tmp_path: Path, stopping: bool) -> None:
    """What forked it was killed: it may have finished, have stopped, or have died with its server."""
    ends: tuple[Outcome | int, ...] = (FINISHED, LOST)
    for number, end in enumerate(ends):
        engine = Unseen(end, stopping=stopping)
        [(run, outcome)] = supervise(runs(1), tmp_path / str(number), engine=engine, watcher=Events())
        kept = store.read_outcome(store.folder_of(run, tmp_path / str(number)))
        if end is FINISHED:
            assert outcome == kept == FINISHED
        else:
            assert ("told to stop from outside" if stopping else "nobody saw how") in outcome.reason
            assert kept == (None if stopping else outcome)


def test_a_worker_stopped_from_outside_stays_unfinished_and_resumable(tmp_path: Path) -> None:
    ended = supervise(runs(1), tmp_path, engine=FakeEngine(STOPPED, stopping=True), watcher=Events())
    assert "told to stop from outside" in ended[0][1].reason
    assert store.read_outcome(store.folder_of(runs(1)[0], tmp_path)) is None


def test_an_exit_code_that_means_stopped_is_a_crash_where_the_worker_was_not_stopping(tmp_path: Path) -> None:
    """Any code may end Python so; believed every time, the run would never be made and never be failed."""
    ended = supervise(runs(1), tmp_path, engine=FakeEngine(STOPPED), watcher=Events())
    folder = store.folder_of(runs(1)[0], tmp_path)
    assert ended[0][1].reason == f"the worker ended with exit code {STOPPED}; its log is {folder / store.LOG}"
    assert store.read_outcome(folder) == ended[0][1]


@pytest.mark.parametrize(
    ("free", "gone", "why"),
    [
        (0, False, "the disk is full"),
        (2**40, False, "its log says why, if"),
        (0, True, "the folder was removed"),
    ],
)
def test_a_result_that_could_not_be_written_says_what_stood_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, gone: bool, why: str
) -> None:
    run = runs(1)[0]

    def usage(_: Path) -> Any:
        return SimpleNamespace(free=free)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    engine = FakeEngine(os.EX_IOERR, removing=gone)
    [(_, outcome)] = supervise([run], tmp_path, engine=engine, watcher=Events())
    assert outcome.status == "failed"
    assert why in outcome.reason


@pytest.fixture(scope="module")
def engine() -> Iterator[LocalEngine]:
    with LocalEngine(CPU, jobs=1) as local:
        yield local


@pytest.mark.slow
def test_a_run_in_its_own_process_equals_the_same_run_in_this_one(tmp_path: Path, engine: LocalEngine) -> None:
    """The same seed gives the same final weights here, there, and when only that run is made again."""
    from clipbench.running.worker import work  # here, not above: this module is also what a worker process imports

    pair = [make_run(task=Choice("noisy", "noisy", "faulty:noisy"), seed=seed) for seed in (0, 1)]
    ended = supervise(pair, tmp_path / "there", engine=engine, watcher=Events())
    folder = store.folder_of(pair[1], tmp_path / "here")
    store.describe(pair[1], folder)
    work(folder, device="cpu", side_by_side=1, stop=lambda: False)
    here = store.read_outcome(folder)
    assert here is not None
    assert ended[1][1].weights_sha256 == here.weights_sha256 != ended[0][1].weights_sha256
    (again,) = supervise(pair[1:], tmp_path / "again", engine=engine, watcher=Events())
    assert again[1].weights_sha256 == here.weights_sha256


@pytest.mark.slow
def test_a_killed_worker_loses_one_run_and_says_why(tmp_path: Path, engine: LocalEngine) -> None:
    killed = make_run(arm=Arm("killed", Choice("k", "k", "faulty:Killed", {"lr": 0.005})))
    ended = supervise([killed, make_run()], tmp_path, engine=engine, watcher=Events())
    assert [outcome.status for _, outcome in ended] == ["failed", "finished"]
    assert "killed by signal 9" in ended[0][1].reason


@pytest.mark.slow
def test_a_worker_that_cannot_load_its_run_says_so_in_its_log(tmp_path: Path, engine: LocalEngine) -> None:
    broken = make_run(task=Choice("t", "t", "no_such_module:build"))
    ended = supervise([broken], tmp_path, engine=engine, watcher=Events())
    assert "no_such_module" in ended[0][1].reason
    assert "Traceback" in store.read_log(store.folder_of(broken, tmp_path))


@pytest.mark.slow
def test_waiting_ends_when_a_worker_has_ended(tmp_path: Path, engine: LocalEngine) -> None:
    run = make_run(task=Choice("t", "t", "no_such_module:build"))
    store.describe(run, store.folder_of(run, tmp_path))
    handle = engine.submit(store.folder_of(run, tmp_path))
    begin = time.monotonic()
    engine.wait(300.0)
    assert time.monotonic() - begin < 200
    assert engine.poll(handle) == DONE


def test_a_run_has_its_cores_for_itself() -> None:
    local = LocalEngine(CPU)
    cores = [core for _, cpus in local.slots for core in cpus]
    assert len(cores) == len(set(cores)) >= 1
    assert all(len(cpus) == 1 for _, cpus in local.slots)


def test_one_timed_run_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pitfall 20."""
    monkeypatch.setattr("clipbench.running.engines.local.gpu_ids", lambda: [0, 1])
    assert LocalEngine(Need("cuda", 1)).slots == [("cuda:0", ()), ("cuda:1", ())]
    assert LocalEngine(Need("cuda:1", 1)).slots == [("cuda:1", ())]
    assert LocalEngine(Need("cuda", 1), jobs=1).slots == [("cuda:0", ())]
    assert LocalEngine(Need("cuda", 1, together=2)).slots == [("cuda:0", ()), ("cuda:1", ())] * 2
    assert LocalEngine(Need("mps", 1)).slots == [("mps", ())]


@pytest.mark.slow
def test_a_fork_server_that_cannot_load_torch_is_a_clear_error(
    tmp_path: Path, engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise EOFError

    monkeypatch.setattr(engine._context.Process, "start", lambda _: refuse())
    store.describe(make_run(), store.folder_of(make_run(), tmp_path))
    before = engine.capacity()
    with pytest.raises(ClipbenchError, match="has died"):
        engine.submit(store.folder_of(make_run(), tmp_path))
    assert engine.capacity() == before


@pytest.mark.slow
def test_a_log_is_bounded_and_keeps_the_last_word_of_a_killed_worker(tmp_path: Path, engine: LocalEngine) -> None:
    flooding = make_run(arm=Arm("flooding", Choice("f", "f", "faulty:Flooding", {"lr": 0.005})))
    [(_, outcome)] = supervise([flooding], tmp_path, engine=engine, watcher=Events())
    assert outcome.reason.startswith("the worker was killed by signal 9")
    log = (store.folder_of(flooding, tmp_path) / store.LOG).read_bytes()
    assert log.startswith(b"the first word\n")
    assert log.endswith(b"\0the last word\n")
    assert len(log) < 2.5 * logs.KEPT


@pytest.mark.slow
def test_a_process_of_the_tasks_own_ends_when_it_is_told_to(tmp_path: Path, engine: LocalEngine) -> None:
    """A pool waits for that: deaf to it, as the worker is, its processes would keep the run for ever."""
    forking = make_run(arm=Arm("forking", Choice("f", "f", "faulty:Forking", {"lr": 0.005})), steps=2)
    [(_, outcome)] = supervise([forking], tmp_path, engine=engine, watcher=Events())
    assert outcome.status == "finished", outcome.reason


@pytest.mark.slow
def test_a_worker_waits_for_the_worker_before_it_to_leave_the_run(tmp_path: Path, engine: LocalEngine) -> None:
    """The command that started the first was killed, and the same command was started again at once."""
    endless = replace(LONG, budget=replace(LONG.budget, amount=10**6))
    folder = store.folder_of(endless, tmp_path)
    store.describe(endless, folder)
    first = engine.submit(folder)
    wait_until(lambda: (store.read_heartbeat(folder) or {"step": 0})["step"] > 2)
    with LocalEngine(CPU, jobs=1) as other:
        second = other.submit(folder)
        time.sleep(2.0)  # by then it would have failed, as the first has the measurements open
        assert other.poll(second) is None
        engine.cancel(first, kill=False)
        wait_until(lambda: engine.poll(first) is not None)
        assert engine.poll(first) == STOPPED
        left_at = (store.read_heartbeat(folder) or {"step": 0})["step"]
        wait_until(lambda: (store.read_heartbeat(folder) or {"step": 0})["step"] > left_at)
        other.cancel(second, kill=False)
        wait_until(lambda: other.poll(second) is not None)
        assert other.poll(second) == STOPPED


@pytest.mark.slow
def test_a_server_that_is_killed_takes_no_worker_along_and_another_is_started(
    tmp_path: Path, engine: LocalEngine
) -> None:
    ((_, whole),) = supervise([LONG], tmp_path / "whole", engine=engine, watcher=Events())
    folder = store.folder_of(LONG, tmp_path)

    def kill_the_server() -> None:
        wait_until(lambda: store.read_heartbeat(folder) is not None)
        os.kill(psutil.Process(engine._at_work[next(iter(engine._at_work))].process.pid).ppid(), signal.SIGKILL)

    killing = threading.Thread(target=kill_the_server)
    killing.start()
    ended = supervise([LONG, replace(LONG, seed=1)], tmp_path, engine=engine, watcher=Events())
    killing.join()
    assert [outcome.status for _, outcome in ended] == ["finished", "finished"]
    assert ended[0][1].weights_sha256 == whole.weights_sha256


@pytest.mark.slow
def test_a_server_that_is_killed_while_it_loads_is_started_anew(tmp_path: Path, engine: LocalEngine) -> None:
    forking.end_server()
    server: Any = vars(forkserver)["_forkserver"]

    def kill_the_server() -> None:
        wait_until(lambda: server._forkserver_pid is not None)
        time.sleep(0.3)  # by then it has been asked for a worker
        os.kill(server._forkserver_pid, signal.SIGKILL)

    killing = threading.Thread(target=kill_the_server)
    killing.start()
    [(_, outcome)] = supervise([make_run()], tmp_path, engine=engine, watcher=Events())
    killing.join()
    assert outcome.status == "finished", outcome.reason


@pytest.mark.slow
def test_a_worker_in_a_long_step_is_killed_some_time_after_its_supervisor_has_gone() -> None:
    """In a process of its own, whose supervisor is a pipe."""
    code = """
import multiprocessing, os, time, types
from clipbench.running import entering
ours, theirs = os.pipe()
multiprocessing.parent_process = lambda: types.SimpleNamespace(sentinel=ours)
entering.STOP_SECONDS = 0.1
stopping = entering._Stopping()
stopping.hear()
assert not stopping.asked()
os.close(theirs)
time.sleep(600)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == -signal.SIGKILL


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


LONG = make_run(
    steps=300, task=Choice("noisy", "noisy", "faulty:noisy"), measure=Measure(evaluate_every=3, probe_every=50)
)


@pytest.mark.slow
def test_ctrl_c_leaves_checkpoints_and_the_same_command_goes_on(tmp_path: Path, engine: LocalEngine) -> None:
    endless = replace(LONG, budget=replace(LONG.budget, amount=10**6))
    folder = store.folder_of(endless, tmp_path)

    def interrupt() -> None:
        while store.read_heartbeat(folder) is None:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(InterruptedRunsError):
        supervise([endless], tmp_path, engine=engine, watcher=Events())
    record = store.read(folder)
    assert record.outcome is None
    assert (folder / store.CHECKPOINT).exists()
    assert store.missing([endless], tmp_path) == [endless]


@pytest.mark.slow
def test_twenty_five_kills_at_random_points_lose_nothing(tmp_path: Path, engine: LocalEngine) -> None:
    """Nothing is unreadable, nothing counts as done that is not, and the run ends as if nothing had happened."""
    begin = time.monotonic()
    ((_, whole),) = supervise([LONG], tmp_path / "whole", engine=engine, watcher=Events())
    duration = time.monotonic() - begin
    folder, moments = store.folder_of(LONG, tmp_path), random.Random(0)
    kills = 0
    while kills < 25:
        store.describe(LONG, folder)
        handle = engine.submit(folder)
        time.sleep(moments.uniform(0, duration))
        if moments.random() < 0.5:  # also while it writes its checkpoint
            engine.cancel(handle, kill=False)
            time.sleep(moments.uniform(0, 0.02))
        engine.cancel(handle, kill=True)
        while (code := engine.poll(handle)) is None:
            time.sleep(0.005)
        kills += code == -signal.SIGKILL
        records, errors = store.read_all(tmp_path / "made")
        assert not errors
        (record,) = records
        assert (record.outcome is None) == (store.missing([LONG], tmp_path) == [LONG])
        if record.outcome is not None:
            assert record.outcome.weights_sha256 == whole.weights_sha256
            (folder / store.RUN).unlink()
    ((_, ended),) = supervise([LONG], tmp_path, engine=engine, watcher=Events())
    assert ended.weights_sha256 == whole.weights_sha256
    assert len(store.read(folder).measurements) == len(
        store.read(store.folder_of(LONG, tmp_path / "whole")).measurements
    )

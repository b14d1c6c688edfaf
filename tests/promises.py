"""What every engine promises: each promise is tried on the engine that `start` gives, with real workers."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
from making import SGD, make_run

from clipbench import store
from clipbench.errors import DONE, STOPPED, ClipbenchError
from clipbench.records import Arm, Choice, ClipSettings, Measure, Outcome, Run
from clipbench.running.engines import GONE, Engine, Handle, Need, chosen
from clipbench.running.engines.local import LocalEngine
from clipbench.running.supervisor import Policy, supervise

Start = Callable[[], AbstractContextManager[Engine]]  # of runs that need one CPU

NOISY = Choice("noisy", "noisy", "faulty:noisy")
ADAM = Choice("adam", "torch.optim:Adam", "torch.optim:Adam", {"lr": 0.01})
EIGHT = [
    make_run(task=NOISY, arm=arm, seed=seed, measure=replace(make_run().measure, ghosts=(Arm("adam", ADAM),)))
    for seed in range(4)
    for arm in (Arm("sgd", SGD), Arm("clipped", SGD, clip=ClipSettings(0.25)))
]
ENDLESS = make_run(steps=10**6, task=NOISY, measure=Measure(evaluate_every=10**5, probe_every=10**5))
LONG = make_run(steps=3000, task=NOISY, measure=Measure(evaluate_every=1000, probe_every=1000))


class Silent:
    """A watcher that keeps only what was logged."""

    def __init__(self) -> None:
        self.logged: list[str] = []

    def started(self, run: Run) -> None: ...
    def advanced(self, run: Run, progress: float, text: str) -> None: ...
    def finished(self, run: Run, outcome: Outcome) -> None: ...
    def heartbeat(self) -> None: ...
    def log(self, text: str) -> None:
        self.logged.append(text)


def supervised(runs: Sequence[Run], results: Path, start: Start, policy: Policy | None = None) -> list[Outcome]:
    """How the runs ended, in their own order."""
    with start() as engine:
        ended = supervise(runs, results, engine=engine, watcher=Silent(), policy=policy)
    return [outcome for run in runs for each, outcome in ended if each == run]


def here(runs: Sequence[Run], results: Path) -> list[Outcome]:
    """The same runs by the local engine."""
    return supervised(runs, results, lambda: LocalEngine(Need("cpu", 1)))


def facts(run: Run, results: Path) -> tuple[object, ...]:
    """All that a run says of its numbers, and nothing of its times."""
    record = store.read(store.folder_of(run, results))
    assert record.outcome is not None
    rows = [(row.step, row.direction, row.quantity, row.value) for row in record.measurements]
    return record.outcome.status, record.outcome.weights_sha256, record.outcome.passes, rows


def begun(run: Run, results: Path, engine: Engine) -> tuple[Handle, Path]:
    """A run whose worker has taken some steps."""
    folder = store.folder_of(run, results)
    store.describe(run, folder)
    handle = engine.submit(folder)
    until(engine, handle, lambda: step(folder) > 5)
    return handle, folder


def step(folder: Path) -> float:
    beat = store.read_heartbeat(folder)
    return beat["step"] if beat else 0


def until(engine: Engine, handle: Handle, true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not true():
        assert time.monotonic() < deadline
        assert engine.poll(handle) is None
        engine.wait(0.02)


def end(engine: Engine, handle: Handle) -> int:
    deadline = time.monotonic() + 90
    while (code := engine.poll(handle)) is None:
        assert time.monotonic() < deadline
        engine.wait(0.02)
    assert engine.poll(handle) == code, "asked again, it gives another answer"
    return code


def eight_runs_have_the_bits_of_the_local_engine(start: Start, tmp_path: Path) -> None:
    outcomes = supervised(EIGHT, tmp_path / "there", start)
    here(EIGHT, tmp_path / "here")
    assert [outcome.status for outcome in outcomes] == ["finished"] * 8
    for run in EIGHT:
        assert facts(run, tmp_path / "there") == facts(run, tmp_path / "here")
    assert len({facts(run, tmp_path / "there")[1] for run in EIGHT}) == 8


def a_run_that_fails_says_why(start: Start, tmp_path: Path) -> None:
    raising = make_run(task=Choice("t", "t", "no_such_module:build"))
    [outcome] = supervised([raising], tmp_path, start)
    assert outcome.status == "failed"
    assert "no_such_module" in outcome.reason
    assert "Traceback" in store.read_log(store.folder_of(raising, tmp_path))


def a_worker_that_is_killed_loses_its_run_alone(start: Start, tmp_path: Path) -> None:
    killed = make_run(arm=Arm("killed", Choice("k", "k", "faulty:Killed", {"lr": 0.005})))
    first, second = supervised([killed, make_run()], tmp_path, start)
    assert (first.status, second.status) == ("failed", "finished")
    assert store.missing([killed, make_run()], tmp_path) == [killed]


def a_run_that_is_asked_to_stop_goes_on_where_it_was(start: Start, tmp_path: Path) -> None:
    here([LONG], tmp_path / "here")
    with start() as engine:
        handle, folder = begun(LONG, tmp_path, engine)
        engine.cancel(handle, kill=False)
        assert end(engine, handle) in (STOPPED, GONE)
        assert (folder / store.CHECKPOINT).exists()
        stopped_at = step(folder)
        assert 0 < stopped_at < 3000
        assert store.missing([LONG], tmp_path) == [LONG]
    log: list[float] = []
    with start() as engine:
        store.describe(LONG, folder)
        handle = engine.submit(folder)
        while engine.poll(handle) is None:
            log.append(step(folder))
            engine.wait(0.02)
    assert not [at for at in log if 0 < at < stopped_at], "it began from step 0"
    assert facts(LONG, tmp_path) == facts(LONG, tmp_path / "here")


def a_run_that_is_killed_ends_soon(start: Start, tmp_path: Path) -> None:
    with start() as engine:
        handle, folder = begun(ENDLESS, tmp_path, engine)
        engine.cancel(handle, kill=True)
        assert end(engine, handle) != DONE
        assert store.read_outcome(folder) is None


def a_killed_run_leaves_room_for_the_next(start: Start, tmp_path: Path) -> None:
    with start() as engine:
        room = engine.capacity()
        assert room >= 1
        handle, _ = begun(ENDLESS, tmp_path, engine)
        assert engine.capacity() == room - 1
        engine.cancel(handle, kill=True)
        end(engine, handle)
        assert engine.capacity() == room


def no_worker_is_left_behind(start: Start, tmp_path: Path) -> None:
    with start() as engine:
        _, folder = begun(ENDLESS, tmp_path, engine)
    time.sleep(1.0)
    left_at = step(folder)
    time.sleep(1.0)
    assert step(folder) == left_at


def a_run_over_its_time_is_killed(start: Start, tmp_path: Path) -> None:
    [outcome] = supervised([ENDLESS], tmp_path, start, Policy(timeout=2.0))
    assert outcome.reason == "timed out after 2 s"


def waiting_ends_when_a_run_has_ended(start: Start, tmp_path: Path) -> None:
    run = make_run(task=Choice("t", "t", "no_such_module:build"))
    folder = store.folder_of(run, tmp_path)
    store.describe(run, folder)
    with start() as engine:
        handle = engine.submit(folder)
        begin = time.monotonic()
        while engine.poll(handle) is None:
            engine.wait(60.0)
        assert time.monotonic() - begin < 50
        assert engine.poll(handle) == DONE


def what_is_called_is_called_where_runs_are_made(start: Start, tmp_path: Path) -> None:  # noqa: ARG001
    with start() as engine:
        assert engine.call(divmod, 17, 5) == (3, 2)
        with pytest.raises(ClipbenchError, match="there is no engine 'none'"):
            engine.call(refuse)


def refuse() -> None:
    chosen("none")


def gpu_of_ray() -> tuple[str, str]:
    """The machine that Ray has put this process on, and the GPUs."""
    import ray

    return ray.get_runtime_context().get_node_id(), os.environ["CUDA_VISIBLE_DEVICES"]


def it_says_how_many_runs_it_makes(start: Start, tmp_path: Path) -> None:  # noqa: ARG001
    with start() as engine:
        assert f"{engine.capacity()} at a time" in engine.about


def a_run_whose_folder_is_taken_away_fails_alone(start: Start, tmp_path: Path) -> None:
    """The folder of a run is taken away while it is made."""
    folder = store.folder_of(ENDLESS, tmp_path)

    def take_away() -> None:
        while step(folder) < 5:
            time.sleep(0.02)
        shutil.rmtree(folder)

    taking = threading.Thread(target=take_away)
    taking.start()
    first, second = supervised([ENDLESS, make_run()], tmp_path, start, Policy(timeout=30))
    taking.join()
    assert (first.status, second.status) == ("failed", "finished")


PROMISES: dict[str, Callable[[Start, Path], None]] = {
    promise.__name__: promise
    for promise in (
        eight_runs_have_the_bits_of_the_local_engine,
        a_run_that_fails_says_why,
        a_worker_that_is_killed_loses_its_run_alone,
        a_run_that_is_asked_to_stop_goes_on_where_it_was,
        a_run_that_is_killed_ends_soon,
        a_killed_run_leaves_room_for_the_next,
        no_worker_is_left_behind,
        a_run_over_its_time_is_killed,
        waiting_ends_when_a_run_has_ended,
        what_is_called_is_called_where_runs_are_made,
        it_says_how_many_runs_it_makes,
        a_run_whose_folder_is_taken_away_fails_alone,
    )
}

"""Arms, probes and tasks take their first steps in processes of their own, which end with whoever asked for them."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import forkserver
from pathlib import Path

import psutil
import pytest
from making import make_run

from clipbench import store
from clipbench.records import Arm, Choice, Measure, Run
from clipbench.running.trying import Tried, to_try, tried
from clipbench.running.worker import work

pytestmark = pytest.mark.slow  # arms are tried in processes of their own

NO_PROBES = Measure(4, 5)
SHELF = "clipbench.optimizers.sgd:build"


def arm(name: str, target: str, lr: float = 0.005, **options: float) -> Arm:
    return Arm(name, Choice(target, target, target, {"lr": lr, **options}))


def runs(*arms: Arm, task: str = "untried:counted", seed: int = 3) -> list[Run]:
    made = make_run(task=Choice("task", task, task), measure=NO_PROBES, seed=seed)
    return [replace(made, arm=each) for each in arms]


SOUND, ADAM = arm("sound", "torch.optim:SGD"), arm("adam", "torch.optim:Adam")
FAULTY = [
    (arm("negative", SHELF, lr=-0.1), "ValueError: lr must be a number above 0, not -0.1"),
    (arm("fast", SHELF, momentum=2.0), "ValueError: momentum must be at least 0 and below 1, not 2.0"),
    (arm("dead", "faulty:Unmoving"), "NotLiveError: no parameter moved in 20 steps"),
    (arm("leaving", "untried:Leaving"), "the code of the run ended Python: sys.exit('enough')"),
    (
        arm("none", "faulty:not_an_optimizer"),
        "'faulty:not_an_optimizer' built a int, not a torch.optim",
    ),
]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def reasons(found: Tried) -> dict[str, str]:
    return {name: fault.reason for name, fault in found.arms.items()}


def test_sound_arms_share_one_problem_of_the_first_seed_and_leave_no_trace() -> None:
    dead = arm("dead", "faulty:Unmoving")
    accepted = [replace(dead, name="warned", liveness="warn"), replace(dead, name="unchecked", liveness="off")]
    found = tried(
        runs(SOUND, *accepted, ADAM, arm("lion", "clipbench.optimizers.lion:build")),
        NO_PROBES,
    )
    assert found == Tried()
    assert Path("built").read_text() == "3\n"
    assert list(Path().iterdir()) == [Path("built")]


@pytest.mark.parametrize(("faulty", "reason"), FAULTY, ids=[faulty.name for faulty, _ in FAULTY])
def test_an_arm_fails_for_the_reason_that_its_run_would(faulty: Arm, reason: str, tmp_path: Path) -> None:
    [run] = runs(faulty)
    found = tried([run], NO_PROBES)
    assert found.arms[faulty.name].reason.startswith(reason)
    assert "Traceback" in found.arms[faulty.name].log
    folder = store.folder_of(run, tmp_path / "results")
    store.describe(run, folder)
    work(folder, device="cpu", side_by_side=1, stop=lambda: False)
    outcome = store.read(folder).outcome
    assert outcome is not None
    assert reasons(found) == {faulty.name: outcome.reason}


def test_the_contract_is_proved_where_it_is_asked_for_and_costs_no_arm() -> None:
    asked = runs(SOUND, arm("negative", SHELF, lr=-0.1), task="untried:unseeded")
    assert tried(asked, NO_PROBES).contract == ()
    found = tried(asked, NO_PROBES, prove=True)
    assert [fault.reason.partition(":")[0] for fault in found.contract] == ["the seed changes nothing"]
    assert set(reasons(found)) == {"negative"}


def test_a_task_that_is_lost_in_the_proof_is_said_and_its_arms_are_tried() -> None:
    [fault] = tried(runs(SOUND, task="untried:ending_later"), NO_PROBES, prove=True).contract
    assert fault.reason == "the worker ended with exit code 9"


def test_probes_that_leave_a_trace_break_the_contract() -> None:
    measure = replace(NO_PROBES, probes=(Choice("sharpness", "sharpness", "clipbench.probes.sharpness:measure"),))
    for task, begins in (("untried:counted", []), ("untried:forgetting", ["probing leaves a trace"])):
        found = tried(runs(SOUND, task=task), measure, prove=True)
        assert [fault.reason.partition(":")[0] for fault in found.contract] == begins


def test_a_process_that_is_lost_costs_its_arm_alone_and_nobody_is_left() -> None:
    exiting, sleeping = arm("exiting", "untried:Exiting"), arm("sleeping", "untried:Sleeping")
    found = tried(runs(SOUND, exiting, sleeping, ADAM), NO_PROBES, timeout=4)
    assert reasons(found) == {"exiting": "the worker ended with exit code 7", "sleeping": "timed out after 4 s"}
    _assert_all_are_gone()


def test_an_arm_does_not_fail_by_what_another_left_behind() -> None:
    found = tried(runs(arm("dirty", "untried:Dirty"), arm("tidy", "untried:Tidy"), SOUND), NO_PROBES)
    assert found == Tried()
    assert Path("built").read_text() == "3\n3\n"  # once more, for the arm that was doubted


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        ("untried:broken", "RuntimeError: no data for seed 3 on cpu"),
        ("untried:ending", "the worker ended with exit code 9"),
        ("faulty:not_an_optimizer", "the task 'faulty:not_an_optimizer' built a int, not a"),
    ],
)
def test_a_task_that_cannot_be_built_is_no_fault_of_its_arms(task: str, reason: str) -> None:
    found = tried(runs(SOUND, task=task), NO_PROBES)
    assert found.task is not None
    assert found.task.reason.startswith(reason)
    assert not found.arms


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_a_task_may_have_a_pool_of_processes_and_wait_for_their_end(how: str) -> None:
    pooled = Choice("pooled", "pooled", "sharing:pooled", {"how": how})
    assert tried([make_run(task=pooled, arm=SOUND)], NO_PROBES, timeout=60) == Tried()


def test_probes_look_at_a_step_and_cost_no_arm() -> None:
    probes = tuple(Choice(name, name, f"untried:{name}") for name in ("raising", "choosy"))
    probes += (Choice("norms", "norms", "clipbench.probes.norms:measure"),)
    measure = replace(NO_PROBES, probes=probes)
    found = tried(runs(arm("far", "torch.optim:SGD", lr=0.2), SOUND), measure)
    assert not found.arms
    assert {name: fault.reason for name, fault in found.probes.items()} == {
        "raising": "at step 1: ValueError: nothing to see"
    }
    measure = replace(NO_PROBES, probes=(Choice("exiting", "exiting", "untried:exiting"),))
    found = tried(runs(SOUND, ADAM), measure)
    assert not found.arms
    assert {name: fault.reason for name, fault in found.probes.items()} == {
        "exiting": "the worker ended with exit code 3"
    }


@pytest.mark.parametrize(
    ("task", "second", "built"),
    [
        ("untried:counted", arm("bereaved", "untried:Bereaved"), "3\n3\n"),
        ("untried:bereaved", ADAM, "3\n"),
    ],
)
def test_a_server_that_is_killed_costs_no_arm(task: str, second: Arm, built: str) -> None:
    found = tried(runs(SOUND, second, arm("lion", "clipbench.optimizers.lion:build"), task=task), NO_PROBES)
    assert found == Tried()
    assert Path("built").read_text() == built
    _assert_all_are_gone()


def test_a_server_that_is_killed_before_it_forks_costs_no_arm() -> None:
    assert tried(runs(SOUND), NO_PROBES) == Tried()
    server = vars(forkserver)["_forkserver"]._forkserver_pid
    os.kill(server, signal.SIGKILL)
    assert tried(runs(SOUND), NO_PROBES) == Tried()
    assert vars(forkserver)["_forkserver"]._forkserver_pid != server


def test_a_server_that_is_killed_each_time_is_said_and_is_no_traceback() -> None:
    found = tried(runs(arm("bereaved", "untried:OftenBereaved"), SOUND), NO_PROBES)
    assert reasons(found) == {"bereaved": "the worker ended with exit code 255"}
    assert len(Path("asleep").read_text().splitlines()) == 2
    _assert_all_are_gone()


def test_ctrl_c_ends_it_at_once_and_nobody_is_left() -> None:
    threading.Thread(target=_once_asleep, args=(lambda: os.kill(os.getpid(), signal.SIGINT),)).start()
    with pytest.raises(KeyboardInterrupt):
        tried(runs(arm("sleeping", "untried:Sleeping")), NO_PROBES)
    _assert_all_are_gone()


def test_nobody_outlives_whoever_asked() -> None:
    program = (
        "from dataclasses import replace\n"
        "from making import make_run\n"
        "from clipbench.records import Arm, Choice\n"
        "from clipbench.running.trying import tried\n"
        "run = make_run(arm=Arm('sleeping', Choice('', '', 'untried:Sleeping', {'lr': 0.1})))\n"
        "tried([run], replace(run.measure, probes=()))\n"
    )
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    with subprocess.Popen([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": path}) as process:
        _once_asleep(process.kill)
    _assert_all_are_gone()


def test_of_a_tuned_arm_the_first_and_the_last_trial_are_tried_in_their_order() -> None:
    rates = [0.1, 0.2, 0.3, 0.4]
    trials = [
        replace(run, seed=seed, trial_of="tuned")
        for run in runs(*(arm(f"tuned[{rate}]", "torch.optim:SGD", lr=rate) for rate in rates))
        for seed in (1000, 1001)
    ]
    fixed = [replace(run, seed=seed) for seed in (0, 1) for run in runs(SOUND)]
    assert [(run.arm.name, run.seed) for run in to_try([*trials, *fixed])] == [
        ("tuned[0.1]", 1000),
        ("tuned[0.4]", 1000),
        ("sound", 0),
    ]
    assert [run.arm.name for run in to_try(trials[:2])] == ["tuned[0.1]"]


def _once_asleep(act: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if Path("asleep").exists() and Path("asleep").read_text().endswith("\n"):
            act()
            return
        time.sleep(0.05)


def _assert_all_are_gone() -> None:
    numbers = {int(number) for number in Path("asleep").read_text().split()}
    assert len(numbers) >= 2
    deadline = time.monotonic() + 10
    while (left := {n for n in numbers if _is_alive(n)}) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


def _is_alive(number: int) -> bool:
    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

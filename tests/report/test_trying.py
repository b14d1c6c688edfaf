"""What is said of arms that cannot take their first steps."""

from dataclasses import replace

from clipbench.report.trying import _unrecorded, faults_of_arms
from clipbench.running.trying import FirstStepFault, Tried


def test_a_fault_that_arms_share_is_said_once_with_the_names_of_the_arms() -> None:
    alike, other = FirstStepFault("ValueError: no gradient", "a log"), FirstStepFault("KeyError: 'x'")
    tried = {"moons": Tried(arms={"sgd": alike, "adam": other, "lion": replace(alike, log="another log")})}
    runs = [("moons", arm) for arm in ("sgd", "sgd", "adam", "lion", "sound")]
    assert [*faults_of_arms(tried, runs=runs)] == [
        "moons/sgd and lion: ValueError: no gradient (3 runs count as failed)",
        "moons/adam: KeyError: 'x' (1 run counts as failed)",
    ]


def test_a_metric_that_tasks_lack_alike_is_said_once_with_what_they_have() -> None:
    tried = {
        "moons": Tried(recorded=("accuracy",)),
        "rings": Tried(recorded=("accuracy",)),
        "lines": Tried(),
        "dots": Tried(recorded=("acuracy",)),
        "lost": Tried(task=FirstStepFault("KeyError: 'x'")),
    }
    assert [*_unrecorded(tried, dict.fromkeys(tried, "acuracy"), "the target is of it")] == [
        "no evaluation on moons and rings records acuracy, and the target is of it; did you mean 'accuracy'? each "
        "task's metrics: accuracy",
        "no evaluation on lines records acuracy, and the target is of it; the task has no metrics",
    ]
    assert [*_unrecorded(tried, dict.fromkeys(tried, "final_loss"), "trials are selected by it")] == []

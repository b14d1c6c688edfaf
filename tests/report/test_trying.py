"""What is said of arms that cannot take their first steps."""

from dataclasses import replace

from clipbench.report.trying import faults_of_arms
from clipbench.running.trying import FirstStepFault, Tried


def test_a_fault_that_arms_share_is_said_once_with_the_names_of_the_arms() -> None:
    alike, other = FirstStepFault("ValueError: no gradient", "a log"), FirstStepFault("KeyError: 'x'")
    tried = {"moons": Tried(arms={"sgd": alike, "adam": other, "lion": replace(alike, log="another log")})}
    runs = [("moons", arm) for arm in ("sgd", "sgd", "adam", "lion", "sound")]
    assert [*faults_of_arms(tried, runs=runs)] == [
        "moons/sgd and lion: ValueError: no gradient (3 runs count as failed)",
        "moons/adam: KeyError: 'x' (1 run counts as failed)",
    ]

"""Schedules in a spec: wsd, and functions of the user's own beside the spec."""

from collections.abc import Callable
from pathlib import Path

import pytest
from spec.bench import MINIMAL, Bench, settled

from clipbench.planning.runs import plan
from clipbench.records import Schedule
from clipbench.spec import Spec

pytestmark = pytest.mark.slow  # a user's module is loaded in a process of its own

OWN = "import math\n\ndef halving(progress):\n    return 0.5 ** math.floor(4 * progress)\n"


@pytest.fixture
def load(bench: Bench, tmp_path: Path) -> Callable[..., Spec]:
    (tmp_path / "own_rates.py").write_text(OWN)
    return lambda schedule, general="cosine": bench.load(
        MINIMAL.replace("lr: 0.1}", f"lr: 0.1, schedule: {schedule}}}") + f"schedule: {general}\n"
    )


def test_a_wsd_falls_over_a_fifth_of_the_budget_unless_told_otherwise(load: Callable[..., Spec]) -> None:
    short, long = settled(load("{use: wsd, warmup: 0.1, decay: 0.4, final: 0.1}", general="wsd"))
    assert short.schedule == Schedule("wsd", 0.1, 0.1, decay=0.4)
    assert long.schedule == Schedule("wsd", decay=0.2)
    assert settled(load("linear"))[0].schedule == Schedule("linear")


def test_a_function_is_known_by_its_code(load: Callable[..., Spec], tmp_path: Path) -> None:
    spec = load("'own_rates:halving'", general="{use: 'own_rates:halving'}")
    own, general = (arm.schedule for arm in settled(spec))
    assert own == general
    assert (own.use, own.warmup, own.final) == ("own_rates:halving", 0.0, 0.0)
    assert "own_rates:" in own.source
    assert spec.code == str(tmp_path)
    before = {run.key for run in plan(spec, device="cpu")}
    (tmp_path / "own_rates.py").write_text(OWN.replace("0.5", "0.25"))
    after = {run.key for run in plan(load("'own_rates:halving'", general="'own_rates:halving'"), device="cpu")}
    assert not before & after


@pytest.mark.parametrize(
    ("schedule", "fault"),
    [
        ("'own_rates:doubling'", "the schedule 'own_rates:doubling' cannot be used: 'own_rates' has no 'doubling'"),
        ("{use: 'own_rats:halving'}", "there is no package 'own_rats' on this machine"),
        ("'own_rates:math'", "'math' in 'own_rates' is of type module, not a class or a function"),
        ("'own:rates:halving'", "'own:rates:halving' is not of the form package:Class"),
        ("'own_rates:of_two'", "it is not called with 1 argument"),
        ("'own_rates:named'", "it is not called with 1 argument"),
    ],
)
def test_a_function_that_cannot_be_used_is_a_fault_where_it_stands(
    load: Callable[..., Spec], bench: Bench, tmp_path: Path, schedule: str, fault: str
) -> None:
    more = "\ndef of_two(progress, height):\n    return 1\n\ndef named(progress, *, height):\n    return 1\n"

    def read() -> Spec:
        (tmp_path / "own_rates.py").write_text(OWN + more)
        return load(schedule)

    [found] = bench.faults(read)
    where = "optimizers.slow.schedule.use: " if schedule.startswith("{") else "optimizers.slow.schedule: "
    assert where in found
    assert fault in found
